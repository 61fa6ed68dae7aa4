"""What the calls behind one answer came to: what each stage took, what all took together, what most of them said."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec.structs import replace

from steelyard.benchmarks.benchmark import Protocol
from steelyard.engine.judging.grade import grade
from steelyard.types import Attempt, Completion, Sample, Stage, StagePart, Timing, Usage

Number = TypeVar("Number", int, float)
Extract = Callable[[Completion], Awaitable[str | None]]
"""What the protocol's grader takes an answer to say; ``None`` where it says nothing in the asked form."""

COUNTS = (
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)


@dataclass(frozen=True, kw_only=True)
class Came:
    """An answer of one call, with its price."""

    completion: Completion
    cost_usd: float | None


@dataclass(kw_only=True)
class Way:
    """One item's way through a system: the tries that failed, the stages that were answered, what each call cost."""

    attempts: list[Attempt] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    paid_usd: list[float] = field(default_factory=list)


def extractor(protocol: Protocol, sample: Sample) -> Extract:
    """How answers to one item are read; where the grader says only how right one is, its words are what it says."""

    async def extract(completion: Completion) -> str | None:
        answer = (await grade(protocol, sample, completion))[protocol.metrics[0]].answer
        return completion.text.strip() or None if answer == "" else answer

    return extract


def stage_of(
    model: str, part: StagePart, came: Sequence[Came], *, answers: Sequence[str | None] = (), is_uncounted: bool = False
) -> Stage:
    """What calls to one model took together: side by side the longest, in tokens and money the sum.

    ``is_uncounted``: it runs here and costs nothing that we could count, beside others that cost something.
    """
    last, is_single = came[-1].completion, len(came) == 1
    return Stage(
        model=model,
        part=part,
        calls=len(came),
        usage=sum_usage([one.completion.usage for one in came]),
        took_s=max(_took_s(one.completion) for one in came),
        ttft_s=last.timing.ttft_s if is_single and last.timing is not None else None,
        cost_usd=0.0 if is_uncounted else _sum([one.cost_usd for one in came]),
        answers=tuple(answers),
        stop_reason=last.stop_reason if is_single else None,
        model_reported=last.model_reported,
        fingerprint=last.fingerprint,
    )


def total_usd(stages: Sequence[Stage]) -> float | None:
    """What the stages cost together; ``None`` where that of any is unknown, or there is none."""
    return _sum([stage.cost_usd for stage in stages]) if stages else None


def commonest(said: Sequence[str | None]) -> tuple[int, float]:
    """Where the commonest answer first stands, and its share of all; what says nothing agrees with nobody."""
    counts = Counter(answer for answer in said if answer is not None)
    if not counts:
        return 0, 0.0
    most = max(counts.values())
    chosen = next(place for place, answer in enumerate(said) if answer is not None and counts[answer] == most)
    return chosen, most / len(said)


def _took_s(completion: Completion) -> float:
    timing = completion.timing
    return 0.0 if timing is None else (timing.ended_ns - timing.dispatched_ns) / 1e9


def as_one(completion: Completion, stages: Sequence[Stage], scheduled_ns: int) -> Completion:
    """The answer with the whole way behind it: dispatched so long before its end as its stages took together."""
    assert completion.timing is not None
    ended_ns = time.perf_counter_ns()
    took_ns = round(sum(stage.took_s or 0.0 for stage in stages) * 1e9)
    timing = Timing(scheduled_ns=scheduled_ns, dispatched_ns=max(scheduled_ns, ended_ns - took_ns), ended_ns=ended_ns)
    usage = sum_usage([stage.usage for stage in stages])
    told = {"model_reported": None, "fingerprint": None}  # each stage has its own
    return replace(completion, timing=timing, usage=usage, stages=tuple(stages), **told)


def sum_usage(usages: Sequence[Usage]) -> Usage:
    """Tokens of several calls; a count that one of them lacks is unknown."""
    if len(usages) == 1:
        return usages[0]
    totals: dict[str, Any] = {name: _sum([getattr(usage, name) for usage in usages]) for name in COUNTS}
    sources = {usage.source for usage in usages}
    return Usage(source=sources.pop() if len(sources) == 1 else "none", **totals)


def _sum(amounts: Sequence[Number | None]) -> Number | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None
