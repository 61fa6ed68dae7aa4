"""What an answer is worth: a score per metric, and the record that joins it with what was asked."""

from __future__ import annotations

from msgspec import Struct

from steelyard.types.answered import Call
from steelyard.types.asked import Sample


class Spent(Struct, frozen=True, kw_only=True):
    """What a judge took: requests sent, retries included; tokens and money are ``None`` where any is unknown.

    ``cached`` replies were given in earlier runs and used again: they took nothing, and had cost ``saved_usd``.
    """

    calls: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    cached: int = 0
    saved_usd: float | None = 0.0


class Score(Struct, frozen=True, kw_only=True):
    """The judgement of one answer by one metric; ``value`` is ``None`` where nothing could be judged.

    ``answer`` is what was extracted; ``None`` means the reply held no answer in the asked form (*unparsed*).
    ``spent`` is what a judge took for it, where a model judged: never part of the judged model's own cost.
    """

    value: float | None
    answer: str | None = None
    reason: str | None = None
    spent: Spent | None = None


class Record(Struct, frozen=True, kw_only=True):
    """One attempt joined: who was asked what, what came back, how it scored, what it cost."""

    run: str
    model: str
    benchmark: str
    protocol: str
    sample: Sample
    call: Call
    scores: dict[str, Score]
