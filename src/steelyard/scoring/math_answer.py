r"""A mathematical answer: how it is read from a reply, and whether it is the target in another spelling.

The normal form is the field's (Hendrycks et al. 2021, ``is_equiv``; Lewkowycz et al. 2022, appendix D): spacing,
sizing, units, degrees, dollars and per cent signs go, fractions and roots are spelled out. What then still differs is
compared part by part (tuples, intervals, sets, matrices) and by value: 0.50 is ``\frac12``, ``2\sqrt2`` is ``\sqrt8``.
"""

from __future__ import annotations

import re

from steelyard.scoring import expression
from steelyard.scoring.reply import last_box, visible
from steelyard.types import Score

LONGEST = 2_000  # characters of an answer that are looked at
_MARK = re.compile(r"(?i)\banswer\s{0,9}(?:is|:)\s{0,9}:?")
_BARE_BOX = re.compile(r"\\f?box(?:ed)?\s+([^\s$]+)")


def boxed(reply: str) -> str | None:
    r"""What the last ``\boxed{...}`` or ``\fbox{...}`` of the reply holds; also ``\boxed 5``."""
    text = visible(reply)
    found = last_box(text.replace("\\fbox{", "\\boxed{"))
    if found is not None:
        return found
    bare = _BARE_BOX.findall(text)
    return bare[-1] if bare else None


def final_answer(reply: str) -> str | None:
    """The box, else the line after the last ``answer is`` or ``Answer:``."""
    if (box := boxed(reply)) is not None:
        return box or None
    text = visible(reply)
    ends = [mark.end() for mark in _MARK.finditer(text)]
    if not ends:
        return None
    line = text[ends[-1] :].strip().split("\n", 1)[0].replace("**", "").strip()
    return line.removesuffix(".").strip() or None


def grade(target: str, answer: str | None) -> Score:
    """1 where the answer is the target, spelled in whatever way."""
    if answer is None:
        return Score(value=0.0, answer=None, reason="no answer in a box, nor after 'answer is'")
    return Score(value=float(is_equivalent(answer, target)), answer=answer)


def grade_spelling(target: str, answer: str | None) -> Score:
    """1 where a boxed answer and the target have one normal form."""
    if answer is None:
        return Score(value=0.0, answer=None, reason="no box")
    return Score(value=float(normal_form(answer) == normal_form(target)), answer=answer)


def is_equivalent(answer: str, target: str) -> bool:
    """Whether both say the same, however they are spelled."""
    if len(answer) > LONGEST:
        return False
    given, wanted = _spelled(answer), _spelled(target)
    if given.count("=") == wanted.count("=") == 1 and _equations_agree(given, wanted):
        return True
    return _is_same(_unnamed(given), _unnamed(wanted))


_DROPPED = re.compile(
    r"\\(?:left|right|displaystyle|limits|quad|qquad|big|Big|bigg|Bigg)(?![a-zA-Z])|\\[!,;: ]|~|\\[()]|\$|\\?%"
    r"|\^\{?\\circ\}?|\\degree(?![a-zA-Z])|°"
)
_FONTS = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}")
_UNIT = re.compile(r"(?<=[\d})])\s*\\(?:text|mathrm|mbox|textrm)\s*\{\s*[^{}\d,]*\}(?:\^\{?[23]\}?)?\s*$")
_UNIT_WORDS = re.compile(
    r"(?<=[\d})])\s*(?:degrees?|dollars?|cents?|units?|square|cubic|inches|inch|feet|foot|ft|miles?|mph|meters?|cm|km|mm|"
    r"hours?|minutes?|seconds?|days?|pounds?|grams?|kg|points?|ways|students|people|cups)(?:\s*\^\{?[23]\}?)?\.?"
    r"(?:\s+(?:units?|inches|feet|meters?|cm|miles|per\s+hour))?\s*$"
)
_NAMED = re.compile(r"(?:[a-zA-Z](?:_\{?\w+\}?)?|[a-zA-Z]\([a-zA-Z]\)|\\(?:theta|alpha|lambda))(?:=|\\in(?![a-z]))")
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])")
_SPELLINGS = (
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\leqs?(?:lant)?(?![a-zA-Z])"), r"\\le"),
    (re.compile(r"\\geqs?(?:lant)?(?![a-zA-Z])"), r"\\ge"),
    (re.compile(r"\\neq(?![a-zA-Z])"), r"\\ne"),
    (re.compile(r"\\(?:cdot|times|ast)(?![a-zA-Z])|[×·]"), "*"),  # noqa: RUF001 - signs of multiplication
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"[−–]"), "-"),  # noqa: RUF001 - dashes for a minus
    (re.compile("π"), r"\\pi "),
    (re.compile("∞"), r"\\infty "),
    (re.compile(r"√\s*\(([^()]*)\)|√\s*(\w)"), r"\\sqrt{\1\2}"),
    (re.compile(r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])"), r"\\pi "),
    (re.compile(r"\\(?:begin|end)\{([bpvBV]?)matrix\}"), r"\\\1matrix "),
)
_TIGHT = (
    (re.compile(r"\s+"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\frac(\d)(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac(\d)(?=\{)"), r"\\frac{\1}"),
    (re.compile(r"(\\frac\{[^{}]*\})(\w)"), r"\1{\2}"),
    (re.compile(r"\\sqrt(?:(\[[^\]]*\])?)(\w)"), r"\\sqrt\1{\2}"),
    (re.compile(r"([_^])\{(\w)\}"), r"\1\2"),
    (re.compile(r"_\{(\d+)\}"), r"_\1"),
    (re.compile(r"(?<![\d])\.(?=\d)"), "0."),
)
_SLASH = re.compile(r"(-?)(\d+)/(\d+)")


def normal_form(text: str) -> str:
    """The answer in the one spelling that it shares with its equals, as far as spelling goes."""
    return _unnamed(_spelled(text))


def _spelled(text: str) -> str:
    text = text[:LONGEST].strip().rstrip(".").replace("\\\\", "\\row ").replace("\\$", "")
    text = _UNIT.sub("", text)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    text = _UNIT_WORDS.sub("", _FONTS.sub(r" \1 ", _DROPPED.sub("", text)))
    text = re.sub(r"\s(?:or|and)\s", ",", text).replace(",,", ",")
    for pattern, spelling in _TIGHT:
        text = pattern.sub(spelling, text)
    text = _THOUSANDS.sub(lambda found: found.group().replace(",", ""), text)
    return _SLASH.sub(r"\1\\frac{\2}{\3}", text) if _SLASH.fullmatch(text) else text


def _unnamed(text: str) -> str:
    """``x=5`` says 5, and ``x\\in[0,1]`` the interval."""
    named = _NAMED.match(text)
    return text[named.end() :] if named and text.count("=") <= 1 else text


def _is_same(one: str, other: str) -> bool:
    if not one or not other:
        return False
    if one.casefold() == other.casefold() if one.isalpha() else one == other:
        return True
    if _is_letter(one.strip("()")) and _is_letter(other.strip("()")):
        return one.strip("()") == other.strip("()")
    for split in (_matrix, _union, _sequence):
        parts, others = split(one), split(other)
        if parts is not None and others is not None:
            return _parts_agree(parts, others)
    return _values_agree(one, other)


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text.isalpha()


Parts = tuple[str, list[str]]  # what holds them together; the order within a set does not count


def _parts_agree(one: Parts, other: Parts) -> bool:
    (kind, parts), (other_kind, others) = one, other
    if kind != other_kind or len(parts) != len(others):
        return False
    if not kind.startswith("set"):
        return all(_is_same(a, b) for a, b in zip(parts, others, strict=True))
    rest = list(others)
    for part in parts:
        match = next((index for index, candidate in enumerate(rest) if _is_same(part, candidate)), None)
        if match is None:
            return False
        rest.pop(match)
    return True


_MATRIX = re.compile(r"\\([bpvBV]?)matrix(.*)\\\1matrix")


def _matrix(text: str) -> Parts | None:
    """A matrix by its cells; round and square brackets are one, bars are a determinant."""
    found = _MATRIX.fullmatch(text)
    if found is None:
        return None
    rows = [row.split("&") for row in found[2].removesuffix("\\row").split("\\row")]
    shape = "x".join(str(len(row)) for row in rows)
    return f"matrix {'|' if found[1] in 'vV' and found[1] else ''}{shape}", [cell for row in rows for cell in row]


def _union(text: str) -> Parts | None:
    parts = text.split("\\cup")
    return ("set union", parts) if len(parts) > 1 else None


def _sequence(text: str) -> Parts | None:
    r"""Things between commas: a tuple or interval with its brackets, a set in braces, or a bare list in any order.

    ``a\pm b`` in a set, or alone, stands for two.
    """
    if text.startswith("\\{") and text.endswith("\\}"):
        return "set", _signs_apart(_between_commas(text[2:-2]))
    if text[0] in "([" and text[-1] in ")]" and _closes_at_end(text):
        parts = _between_commas(text[1:-1])
        return (f"{text[0]} {text[-1]}", parts) if len(parts) > 1 else None
    parts = _signs_apart(_between_commas(text))
    return ("set", parts) if len(parts) > 1 else None


def _signs_apart(parts: list[str]) -> list[str]:
    """Each part with one plus or minus as the two that it stands for."""
    found = []
    for part in parts:
        is_double = part.count("\\pm") == 1
        found += [part.replace("\\pm", "+").removeprefix("+"), part.replace("\\pm", "-")] if is_double else [part]
    return found


def _closes_at_end(text: str) -> bool:
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 0:
            return place == len(text) - 1
    return False


def _between_commas(text: str) -> list[str]:
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _values_agree(one: str, other: str) -> bool:
    """Both are numbers, or expressions, of one value."""
    if "," in one + other:
        return False
    values, others = expression.values_of(one), expression.values_of(other)
    return values is not None and others is not None and expression.are_equal(values, others)


def _equations_agree(one: str, other: str) -> bool:
    """Each is one equation, and they have one set of solutions: their differences are proportional."""
    differences = []
    for text in (one, other):
        left, _, right = text.partition("=")
        differences.append(expression.values_of(f"({left})-({right})"))
    first, second = differences
    return first is not None and second is not None and expression.are_proportional(first, second)
