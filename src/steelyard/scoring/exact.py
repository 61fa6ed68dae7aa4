"""A text as the answer, held against the target word for word or loosely."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from steelyard.scoring.reply import visible
from steelyard.types import Score


def grade(reply: str, target: str, accept: Callable[[str, str], bool]) -> Score:
    """1 where ``accept`` says that the reply gives the target; a blank reply holds no answer."""
    answer = visible(reply).strip()
    if not answer:
        return Score(value=0.0, answer=None, reason="empty reply")
    return Score(value=float(accept(answer, target)), answer=answer)


def same(reply: str, target: str) -> bool:
    """Equal up to case, outer punctuation, runs of white space and Unicode form."""
    return _plain(reply) == _plain(target)


def contains(reply: str, target: str) -> bool:
    """The target stands in the reply as whole words."""
    return re.search(rf"(?<!\w){re.escape(_plain(target))}(?!\w)", _plain(reply)) is not None


def matches(reply: str, pattern: str) -> bool:
    """The regular expression in the target is found somewhere in the reply."""
    return re.search(pattern, reply) is not None


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(" \"'`*.,;:!?()[]")
