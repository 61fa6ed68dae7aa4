"""When the answer began of a model that thinks in the answer's own text, between tags.

Which tags these are, and what stands behind them, is as ``scoring.reply`` reads it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import msgspec

from steelyard.types import Timing

TAGS = re.compile(r"<(/?)(?:think|thinking|reasoning)>", re.IGNORECASE)


def behind_thoughts(timing: Timing, pieces: Sequence[str]) -> Timing:
    """The times of an answer that was streamed in these pieces and in no others: it begins behind its thoughts."""
    if not timing.streamed:
        return timing
    text = "".join(pieces)
    if TAGS.search(text) is None:
        return timing
    begins = answer_begins(text)
    if begins is None:
        return msgspec.structs.replace(timing, first_answer_ns=None)
    ends = itertools.accumulate(map(len, pieces))
    stamps_ns = itertools.accumulate(timing.gaps_ns, initial=timing.first_token_ns)
    began_ns = next(at_ns for end, at_ns in zip(ends, stamps_ns, strict=True) if end > begins)
    return msgspec.structs.replace(timing, first_answer_ns=began_ns)


def answer_begins(text: str) -> int | None:
    """Where the first character stands that is the answer's and no white space; ``None`` where there is none."""
    tags = list(TAGS.finditer(text))
    start = max((tag.end() for tag in tags if tag[1]), default=0)
    end = next((tag.start() for tag in tags if not tag[1] and tag.start() >= start), len(text))
    shown = text[start:end]
    return start + len(shown) - len(shown.lstrip()) if shown.strip() else None
