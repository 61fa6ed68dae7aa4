"""A short answer in words: what stands after the last ``answer is``, held against the target exactly or loosely.

Loosely means as a reader would: ``(B)``, ``B`` and ``**B**`` are one choice, ``yes.`` is Yes, a list of words is the
same with or without commas.
"""

from __future__ import annotations

import re

from steelyard.scoring.reply import visible
from steelyard.types import Score

_LAST = re.compile(r"(?i)\banswer\s{0,9}(?:is|:)\s{0,9}:?")
_MARKUP = re.compile(r"\*\*|__|`|\$|\\text|\\mathrm")
_BOXED = re.compile(r"\\boxed\{(.*)\}")
_LETTER = re.compile(r"^\(?([A-Za-z])\)?(?=$|[\s.,:;)])")


def after_answer_is(reply: str) -> str | None:
    """The paper's rule (Suzgun et al. 2022): all that follows the last ``answer is ``, without a final full stop."""
    _, mark, answer = reply.rpartition("answer is ")
    return answer.strip().removesuffix(".") if mark else None


def short_answer(reply: str) -> str | None:
    """What a chat model gives as its answer: the line after the last ``answer is`` or ``Answer:``, markup removed."""
    text = _MARKUP.sub("", visible(reply))
    ends = [mark.end() for mark in _LAST.finditer(text)]
    if not ends:
        return None
    line = text[ends[-1] :].strip().split("\n", 1)[0].strip().removesuffix(".").strip()
    boxed = _BOXED.fullmatch(line)
    return (boxed.group(1) if boxed else line).strip(" \t\"'") or None


def same(answer: str, target: str) -> bool:
    """Whether a reader would take the answer for the target."""
    wanted = _LETTER.match(target)
    if wanted and len(target) <= len("(A)"):
        given = _LETTER.match(answer)
        return given is not None and given.group(1).upper() == wanted.group(1).upper()
    return _plain(answer) == _plain(target)


def grade(target: str, answer: str | None, *, exactly: bool) -> Score:
    """1 where the answer is the target."""
    if answer is None:
        return Score(value=0.0, answer=None, reason="no answer found")
    is_right = answer == target if exactly else same(answer, target)
    return Score(value=float(is_right), answer=answer)


def _plain(text: str) -> str:
    words = re.sub(r"[,;]", " ", text).casefold().split()
    return " ".join(words) or re.sub(r"\s+", " ", text).strip()
