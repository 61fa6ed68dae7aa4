"""What the models of a cascade did: how many answers the dear one gave, and what each took of tokens and money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from steelyard.analysis.estimates import Context, share
from steelyard.analysis.wording import counted, written
from steelyard.store import Store
from steelyard.types import CellInfo, Estimate, Stage, StagePart


class StageResult(Struct, frozen=True, kw_only=True):
    """One model's part in all answers of a cell. Sums are ``None`` where any is unknown; ``mean_s`` is of its answers.

    Answers that were used again count with what they took when they were asked.
    """

    model: str
    part: StagePart
    answers: int
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    mean_s: float | None


class SystemResult(Struct, frozen=True, kw_only=True):
    """A cascade on one benchmark: the share of its answers that the dear model gave, and every stage."""

    escalated: Estimate
    stages: tuple[StageResult, ...]


def system_result(store: Store, info: CellInfo) -> SystemResult | None:
    """What became of a cascade's answers; ``None`` for a model that is none."""
    if info.settings.get("model", {}).get("cascade") is None:
        return None
    answers = [answer.stages for answer in store.weighed(info) if answer is not None and answer.stages]
    goes_on = sum(any(stage.part == "escalation" for stage in stages) for stages in answers)
    parts: dict[tuple[StagePart, str], list[Stage]] = {}
    for stage in (stage for stages in answers for stage in stages):
        parts.setdefault((stage.part, stage.model), []).append(stage)
    order: tuple[StagePart, ...] = ("answer", "judge", "escalation")
    return SystemResult(
        escalated=share("escalated", goes_on, len(answers), Context(info=info)),
        stages=tuple(_result(parts[key]) for key in sorted(parts, key=lambda key: order.index(key[0]))),
    )


def system_line(name: str, system: SystemResult) -> str | None:
    """The same as a line of text; ``None`` where nothing was answered."""
    if not system.stages:
        return None
    total = _sum([stage.cost_usd for stage in system.stages])
    told = [_words(stage, total) for stage in system.stages]
    return f"{name}: {written(system.escalated)} escalated; {'; '.join(told)}"


def _result(stages: Sequence[Stage]) -> StageResult:
    known = [stage.took_s for stage in stages if stage.took_s is not None]
    return StageResult(
        model=stages[0].model,
        part=stages[0].part,
        answers=len(stages),
        calls=sum(stage.calls for stage in stages),
        input_tokens=_count(stages, "input_tokens"),
        output_tokens=_count(stages, "output_tokens"),
        cost_usd=_sum([stage.cost_usd for stage in stages]),
        mean_s=float(np.mean(known)) if known else None,
    )


def _count(stages: Sequence[Stage], name: Literal["input_tokens", "output_tokens"]) -> int | None:
    total = _sum([getattr(stage.usage, name) for stage in stages])
    return None if total is None else int(total)


def _sum(amounts: Sequence[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _words(stage: StageResult, total_usd: float | None) -> str:
    of_cost = ""
    if stage.cost_usd is not None and total_usd:
        of_cost = f", {100 * stage.cost_usd / total_usd:.0f} % of the cost"
    took = "" if stage.mean_s is None else f", {stage.mean_s:.3g} s each time"
    return f"{stage.model} {counted(stage.calls, 'call')}{took}{of_cost}"
