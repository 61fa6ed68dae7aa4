"""One choice out of several: how the letter is read from a reply, and what it is worth.

Extraction never guesses: a reply that names no letter, or that names two with nothing to tell them apart, is
unparsed, which is wrong and is counted as such.
"""

from __future__ import annotations

import re

from steelyard.scoring.reply import visible
from steelyard.types import Sample, Score

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_MARKUP = re.compile(r"\*\*|__|\$|\\boxed|\\text|\\mathrm|[{}]")
_ANSWER_LINE = re.compile(r"(?i)answer[ \t]{0,9}(?:is[ \t]{0,9})?[:：]?[ \t]{0,9}\(?([A-Z])\b\)?")  # noqa: RUF001
_LEADING = re.compile(r"^\W*\(?([A-Z])(?:\)|\.|:|,|\s|$)")
_STANDING_ALONE = re.compile(r"([A-Z])(?![\w'])(?<=(?<![\w'])[A-Z])")  # the letter first: it is found fast
_BEFORE_A_NOUN = re.compile(r"[ \t]+(?!(?:or|and|is|because)\b)[a-z]")


def listed(choices: tuple[str, ...]) -> str:
    """The choices as ``A) first`` lines."""
    return "\n".join(f"{LETTERS[i]}) {text}" for i, text in enumerate(choices))


def answer_letter(reply: str, count: int) -> str | None:
    """The letter after the first ``Answer:``, as simple-evals reads it; markup is removed first."""
    return _after_answer(_MARKUP.sub("", visible(reply)), count)


def _after_answer(plain: str, count: int) -> str | None:
    for match in _ANSWER_LINE.finditer(plain):
        letter = match.group(1).upper()
        if letter in LETTERS[:count]:
            return letter
    return None


def short_letter(reply: str, count: int) -> str | None:
    """The letter of a reply that was asked for the letter alone: said first, after ``Answer:``, or as the only one."""
    text = _MARKUP.sub("", visible(reply)).strip()
    leading = _LEADING.match(text)
    if leading and leading.group(1) in LETTERS[:count] and not _reads_as_article(text, leading):
        return leading.group(1)
    if named := _after_answer(text, count):
        return named
    alone = {match.group(1) for match in _STANDING_ALONE.finditer(text) if not _reads_as_article(text, match)}
    alone &= set(LETTERS[:count])
    return alone.pop() if len(alone) == 1 else None


def _reads_as_article(text: str, letter: re.Match[str]) -> bool:
    """``A gas giant`` holds a word, not a choice; ``A or B`` and ``A is right`` do."""
    return letter.group(1) in "AI" and _BEFORE_A_NOUN.match(text, letter.end(1)) is not None


def grade(sample: Sample, letter: str | None) -> Score:
    """1 for the gold letter, 0 for another one or none."""
    if letter is None:
        return Score(value=0.0, answer=None, reason="no letter found")
    return Score(value=float(LETTERS.index(letter) == int(sample.target)), answer=letter)
