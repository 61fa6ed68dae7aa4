"""What a reader writes to narrow a list of answers, read: ``score < 0.5 and latency_s > 2 and model = "a"``.

    any   = all { "or" all }
    all   = one { "and" one }
    one   = "not" one | "(" any ")" | name sign value | name "is" [ "not" ] ( "unknown" | "none" )

Names are those of the export's columns. A text becomes a tree of few kinds and nothing else, so whoever turns it into
a query decides about each kind. An unknown figure fits no comparison, nor its contrary: ``is unknown`` finds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from msgspec import Struct

from steelyard.errors import UsageError, nearest
from steelyard.store.reading.states import ANSWER_STATES

FIGURES = ("score", "latency_s", "ttft_s", "first_answer_s", "queued_s", "input_tokens", "output_tokens",
           "reasoning_tokens", "cost_usd", "tries", "repeat")  # fmt: skip
WORDS = ("outcome", "failure", "stop_reason", "model", "benchmark", "subject", "item")
NAMES = (*FIGURES, *WORDS)
SIGNS_OF_FIGURES = ("=", "!=", "<", "<=", ">", ">=")
SIGNS_OF_WORDS = ("=", "!=", "~")
SIGNS_OF_OUTCOMES = ("=", "!=")
KEYWORDS = ("and", "or", "not", "is")
NOTHING = ("unknown", "none")
ALWAYS_KNOWN = ("outcome", "model", "benchmark", "item", "tries", "repeat")
LONGEST, MOST, DEEPEST = 300, 12, 8
"""Characters, comparisons, and how deep they may stand within one another: each comparison is made for each answer."""
EXAMPLE = "score < 0.5 and latency_s > 2"
_PART = re.compile(
    r"""\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w./:@-]))|(?P<word>[\w./:@-]+)"""
    r"""|(?P<quoted>"[^"]*"|'[^']*')|(?P<sign><=|>=|!=|==|[=<>~])|(?P<bracket>[()]))"""
)


class Compared(Struct, frozen=True, kw_only=True):
    """A figure or a word of an answer against a value; ``~``: it stands in it, whatever its case."""

    name: str
    sign: str
    value: float | str


class Unknown(Struct, frozen=True, kw_only=True):
    """That an answer has no such figure or word."""

    name: str


class Not(Struct, frozen=True, kw_only=True):
    """The contrary."""

    one: Condition


class AllOf(Struct, frozen=True, kw_only=True):
    """Each of these."""

    parts: tuple[Condition, ...]


class AnyOf(Struct, frozen=True, kw_only=True):
    """One of these at least."""

    parts: tuple[Condition, ...]


Condition = Compared | Unknown | Not | AllOf | AnyOf
NOT_RIGHT = Compared(name="outcome", sign="!=", value="right")
"""Scored below 1, or not scored at all: the failed and the undecided as well."""
FAILED = Compared(name="outcome", sign="=", value="failed")


class _Part(NamedTuple):
    """A piece of the text: what it says, of which kind it is, and where it begins."""

    text: str
    kind: str
    at: int


def parse_condition(text: str) -> Condition | None:
    """The condition that is written; ``None`` where nothing is. An error names the place, and what to try."""
    if len(text) > LONGEST:
        raise UsageError(f"Filter: at most {LONGEST} characters, not {len(text):,}")
    parts = [*_parts(text)]
    return _Reader(text, parts).whole() if parts else None


def told(condition: Condition) -> Iterator[Compared | Unknown]:
    """Every comparison of it."""
    if isinstance(condition, AllOf | AnyOf):
        for part in condition.parts:
            yield from told(part)
    elif isinstance(condition, Not):
        yield from told(condition.one)
    else:
        yield condition


def _parts(text: str) -> Iterator[_Part]:
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _PART.match(text, place)
        if found is None or found.lastgroup is None:
            at = place + len(text[place:]) - len(text[place:].lstrip())
            _refuse(text, at, f"{text[at]!r} cannot stand here", "a text with other signs stands in quotes")
        yield _Part(found[found.lastgroup], found.lastgroup, found.start(found.lastgroup))
        place = found.end()


def _signs(name: str) -> tuple[str, ...]:
    if name in FIGURES:
        return SIGNS_OF_FIGURES
    return SIGNS_OF_OUTCOMES if name == "outcome" else SIGNS_OF_WORDS


def _refuse(text: str, at: int, what: str, trying: str) -> NoReturn:
    before = f" after {text[:at].strip()[-30:]!r}" if text[:at].strip() else ""
    raise UsageError(f"Filter, at character {at + 1}{before}: {what}. {trying[:1].upper()}{trying[1:]}")


class _Reader:
    """Reads the parts from the first to the last."""

    def __init__(self, text: str, parts: list[_Part]) -> None:
        self._text, self._parts = text, parts
        self._place = self._compared = 0

    def whole(self) -> Condition:
        found = self._any(0)
        if self._place < len(self._parts):
            self._stop(f"{self._next.text!r} follows what is complete", 'try: "and" or "or" before it')
        return found

    @property
    def _next(self) -> _Part:
        """The part that comes; an empty one at the end."""
        if self._place < len(self._parts):
            return self._parts[self._place]
        return _Part("", "end", len(self._text.rstrip()))

    def _takes(self, *words: str) -> bool:
        """Whether one of these comes, which is then behind us. A word in quotes is none of ours."""
        is_ours = self._next.kind in ("word", "bracket") and self._next.text.lower() in words
        self._place += is_ours
        return is_ours

    def _stop(self, what: str, trying: str) -> NoReturn:
        _refuse(self._text, self._next.at, what, trying)

    def _any(self, depth: int) -> Condition:
        if depth > DEEPEST:
            self._stop(f"brackets stand more than {DEEPEST} deep", "try: fewer of them")
        parts = [self._all(depth)]
        while self._takes("or"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else AnyOf(parts=tuple(parts))

    def _all(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while self._takes("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else AllOf(parts=tuple(parts))

    def _one(self, depth: int) -> Condition:
        if self._takes("not"):
            if depth > DEEPEST:
                self._stop(f"what is denied stands more than {DEEPEST} deep", "try: fewer of them")
            return Not(one=self._one(depth + 1))
        if self._takes("("):
            found = self._any(depth + 1)
            if not self._takes(")"):
                self._stop("a bracket is not closed", "try: )")
            return found
        return self._comparison()

    def _comparison(self) -> Condition:
        name = self._name()
        self._compared += 1
        if self._compared > MOST:
            self._stop(f"a filter has at most {MOST} comparisons", "try: fewer of them")
        if self._takes("is"):
            return self._known(name)
        sign = "=" if self._next.text == "==" else self._next.text
        signs = _signs(name)
        if self._next.kind != "sign" or sign not in signs:
            came = f"{sign!r} came" if sign else "nothing came"
            self._stop(f"{name} wants one of {' '.join(signs)} or “is unknown”, and {came}", f"for example: {EXAMPLE}")
        self._place += 1
        return Compared(name=name, sign=sign, value=self._figure(name) if name in FIGURES else self._word(name))

    def _name(self) -> str:
        part = self._next
        name = part.text.lower()
        if part.kind == "end":
            self._stop("a comparison is missing", f"for example: {EXAMPLE}")
        if part.kind != "word" or name not in NAMES:
            self._stop(f"{part.text[:40]!r} is no figure of an answer", nearest(name[:40], NAMES))
        self._place += 1
        return name

    def _known(self, name: str) -> Condition:
        is_denied = self._takes("not")
        if name in ALWAYS_KNOWN or not self._takes(*NOTHING):
            trying = f"try: {name} =" if name in ALWAYS_KNOWN else f"try: {name} is unknown"
            self._stop(f"{name} “is” nothing of the kind", trying)
        return Not(one=Unknown(name=name)) if is_denied else Unknown(name=name)

    def _figure(self, name: str) -> float:
        part = self._next
        if part.kind != "number" or abs(value := float(part.text)) > 1e15:
            came = f"and {part.text[:40]!r} is none" if part.text else "and nothing came"
            self._stop(f"{name} is compared with a number, {came}", f"for example: {name} > 2")
        self._place += 1
        return value

    def _word(self, name: str) -> str:
        part = self._next
        if part.kind not in ("word", "number", "quoted") or (part.kind == "word" and part.text.lower() in KEYWORDS):
            came = f"and {part.text!r} is none" if part.text else "and nothing came"
            self._stop(f"{name} is compared with a word, {came}", f'for example: {name} = "a word"')
        word = part.text[1:-1] if part.kind == "quoted" else part.text
        if name == "outcome" and word not in ANSWER_STATES:
            self._stop(f"{word[:40]!r} is no outcome", f"known: {', '.join(ANSWER_STATES)}")
        self._place += 1
        return word
