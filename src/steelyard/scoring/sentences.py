"""Sentences counted as the Punkt tokenizer counts English ones (Kiss & Strunk 2006), without its trained tables.

A question or exclamation mark ends a sentence, and so does a full stop, unless it belongs to an abbreviation, an
initial or a number that goes on. Punkt learnt abbreviations and usual first words from a newspaper; here they are two
short lists, so that nothing has to be downloaded. ``docs/known-limitations.md`` says how often the two counts differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_CLOSERS = "\"')]}‘’“”«»"  # noqa: RUF001 - typographic quotation marks
_APART = rf"[;*:@({{\[!?{re.escape(_CLOSERS)}]"
_END = re.compile(rf"[.?!](?=(?P<mark>{_APART})|\s+(?P<word>\S+))")
_REST_OF_END = re.compile(rf"[{re.escape(_CLOSERS)}]+?(?:\s+|(?=--)|$)", re.MULTILINE)
_NUMBER = re.compile(r"-?[.,]?\d[\d,.-]*\.?")
_INITIAL = re.compile(r"[^\W\d]\.")
_OPENING = re.compile(r"[(\"`{\[:;&#*@)}\]\-,‘’“”«»'!?]")  # noqa: RUF001 - typographic quotation marks
_WORD = re.compile(r"\S+")
_INSIDE = "(\"{[:;*@)}]‘’“”«»'!?"  # noqa: RUF001 - typographic quotation marks

ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof messrs st jr sr gov sen rep reps gen adm lt maj inc ltd co cos corp bros vs yr ft ave jan feb "
    "aug sept sep oct nov dec tues wed fri a.m p.m u.s u.k u.n u.s.a u.s.s.r ph.d b.a m.b.a d.c n.y n.j n.h n.c n.d "
    "n.m n.v s.c w.va r.i b.v s.a d.h calif conn minn tenn wash mich wis ill ore okla ariz colo fla ga pa ky kan va "
    "vt nev ala ok la.a h.w j.p d.w c.i.t r chg".split()
)
UNENDING = frozenset("c e h k n p r s t v w".split())  # single letters that Punkt takes for abbreviations always
FIRST_WORDS = frozenset(
    "according although among both but despite does even finally he hence her here however if in indeed instead it "
    "many meanwhile moreover most nevertheless nonetheless nor please separately similarly since so some the there "
    "therefore these they this though thus under were when which while yet your additionally "
    "furthermore consequently".split()
)


class Break(NamedTuple):
    """Where a sentence ends, and where the next one begins."""

    end: int
    start: int


def count_sentences(text: str) -> int:
    """How many sentences the text has; none where it is blank."""
    text = text.rstrip()
    found, start = 0, 0
    for ending in [*_breaks(text), Break(len(text), len(text))]:
        if start < ending.end:
            found += 1
        start = max(start, ending.start)
        if rest := _REST_OF_END.match(text, start):
            start = rest.end()
    return found


class Mark(NamedTuple):
    """A possible end: the match, where its word begins, and the word before that on the same line."""

    match: re.Match[str]
    begin: int
    before: str


def _breaks(text: str) -> list[Break]:
    """Every end of a sentence but the last. Marks that share a word are looked at together, the last one for all."""
    found: list[Break] = []
    marks = list(_marks(text))
    for mark, follower in zip(marks, [*marks, None][1:], strict=True):
        if follower is not None and follower.begin == mark.begin:
            continue
        sign, word = mark.match["mark"], mark.match["word"]
        if _ends(text[mark.begin : mark.match.end()], sign or _first_token(word), mark.before):
            found.append(Break(mark.match.end(), mark.match.start("word") if word else mark.match.end()))
    return found


def _marks(text: str) -> Iterator[Mark]:
    """One walk over the words and one over the marks, side by side."""
    words = _WORD.finditer(text)
    word: re.Match[str] | None = None
    before = ""
    for match in _END.finditer(text):
        while word is None or word.end() <= match.start():
            former, word = word, next(words)
            is_on_line = former is not None and "\n" not in text[former.end() : word.start()]
            before = former.group()[:1] if former is not None and is_on_line else ""
        yield Mark(match, word.start(), before)


def _first_token(word: str) -> str:
    """What the tokenizer takes first of a word: a sign that stands before it, else the word up to the next sign."""
    if _OPENING.match(word):
        return word[0]
    end = _OPENING.search(word)
    return (word[: end.start()] if end and end.group() not in "-'" else word).rstrip(",")


def _ends(word: str, follower: str, before: str) -> bool:
    """Whether a word with its mark ends a sentence, given the token after it and the first letter before it."""
    if any(sign in word for sign in "?!"):
        return True
    token = word[max(map(word.rfind, _INSIDE)) + 1 :]
    stem = token[:-1].lower()
    if _INITIAL.fullmatch(token):
        is_within = before.isupper() or _INITIAL.fullmatch(follower) is not None  # else it may head a list: "I."
        is_name = is_within and follower[:1].isupper() and follower.lower() not in FIRST_WORDS
        return not (stem in UNENDING or is_name or _goes_on(follower))
    if token.endswith("..") or stem in ABBREVIATIONS or stem.rpartition("-")[2] in ABBREVIATIONS:
        return follower[:1].isupper() and follower.lower().rstrip(".,") in FIRST_WORDS
    return not (_NUMBER.fullmatch(token) and _goes_on(follower))


def _goes_on(follower: str) -> bool:
    return follower[:1].islower() or follower in ";:,.!?"
