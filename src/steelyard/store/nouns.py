"""What is handed to the store, and what it finds for others, without the database that keeps it.

A worker process keeps nothing itself, and loads no more than this.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from steelyard.types import Call, Completion, Sample, Score

PREFIX_BYTES = 8
"""So much of a digest is kept in memory."""

SHORTEST = 40
"""Characters from which on an answer is worth a look for its place in the reply."""


class NewCall(Struct, frozen=True, kw_only=True):
    """A call to be written. ``position`` is the item's place in the benchmark's own order.

    ``reused_from`` is the call whose answer this is, where nothing was sent; ``saved_usd`` is what that one had cost.
    """

    cell: int
    session: int
    position: int
    sample: Sample
    call: Call
    started_at_s: float
    ended_at_s: float
    reused_from: int | None = None
    saved_usd: float | None = None


class NewVerdict(Struct, frozen=True, kw_only=True):
    """One reply of a judge, by the digest of what it was asked. ``judge`` is what the judge is called."""

    digest: bytes
    judge: str
    completion: Completion
    started_s: float
    cost_usd: float | None = None


class NewScore(Struct, frozen=True, kw_only=True):
    """What one grader says of one call: a score per metric, and what a judge said for it where one was asked.

    ``reply`` is the visible text that was judged, as the call was given to the store: an answer that stands in it is
    not kept again. Without it answers are kept whole.
    """

    call: int
    grader: str
    grader_version: str
    scores: dict[str, Score]
    verdicts: tuple[NewVerdict, ...] = ()
    reply: str | None = None


class Reusable(Struct, frozen=True, kw_only=True):
    """An answer of an earlier run: the row it stands in, when it was given (seconds since the epoch), what it cost."""

    id: int
    call: Call
    started_s: float
    ended_s: float
    cost_usd: float | None


class Remembered(Struct, frozen=True, kw_only=True):
    """A reply of an earlier run, and what it had cost."""

    completion: Completion
    cost_usd: float | None


class Known:
    """Where answers stand that may be used again: eight bytes of each digest, and the number of the row it is in.

    A digest that is not known is surely not among them. Of one that is there may be several, and a row may be gone by
    the time it is looked up, or stand for something else.
    """

    def __init__(self, rows: Iterable[tuple[bytes, int]] = ()) -> None:
        prefixes, numbers = array("q"), array("q")
        for digest, number in rows:
            prefixes.append(_prefix(digest))
            numbers.append(number)
        order = sorted(range(len(prefixes)), key=prefixes.__getitem__)
        self._prefixes = array("q", map(prefixes.__getitem__, order))
        self._numbers = array("q", map(numbers.__getitem__, order))

    def __len__(self) -> int:
        return len(self._prefixes)

    def __contains__(self, digest: bytes) -> bool:
        return bool(self._prefixes) and len(self.rows_of(digest)) > 0

    def rows_of(self, digest: bytes) -> Sequence[int]:
        """The numbers of the rows in which its answers stood."""
        prefix = _prefix(digest)
        first = bisect_left(self._prefixes, prefix)
        return self._numbers[first : bisect_right(self._prefixes, prefix, first)]


def _prefix(digest: bytes) -> int:
    return int.from_bytes(digest[:PREFIX_BYTES], "big", signed=True)


def reused(call: Call, sample_id: str) -> Call:
    """The call as it stands in a run that used its answer. ``started_at`` stays: it says how old the answer is."""
    assert call.completion is not None
    completion = replace(call.completion, cached=True, timing=None)
    return replace(call, sample_id=sample_id, attempts=(), completion=completion, cost_usd=0.0)


def reply_to_keep_by(completion: Completion | None, scores: Mapping[str, Score]) -> str | None:
    """The reply, where an answer that was found in it is long enough to be kept as a place there."""
    if completion is not None:
        for score in scores.values():
            if is_long(score.answer):
                return completion.text
    return None


def is_long(answer: str | None) -> bool:
    """Whether an answer is worth a look for its place in the reply."""
    return answer is not None and len(answer) >= SHORTEST
