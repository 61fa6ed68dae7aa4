"""What a kill can have cost: the calls that were in flight or not yet durable, and the most that those can be billed.

They may be paid for twice. Nobody knows what of it was billed, so all of it counts in a run's budget, as in doubt.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from msgspec import Struct

from steelyard.engine.cells import Cell
from steelyard.engine.judging.judges import INSTRUCTION_TOKENS
from steelyard.engine.lanes import concurrency_of
from steelyard.engine.money.budget import ASSUMED_OUTPUT_TOKENS, WorstCase, input_bound, is_free, output_bound
from steelyard.engine.pipeline import MOST_SCORERS
from steelyard.engine.writer import BY_A_PROCESS, BY_A_THREAD, WRITTEN_BY
from steelyard.plan.plan import Plan, plan_from_document
from steelyard.types import ModelSpec, Request, RunInfo, SessionInfo


class CutOff(Struct, frozen=True, kw_only=True):
    """At most so many calls, for at most so much; ``usd`` is ``None`` where a price is unknown."""

    calls: int
    usd: float | None


def cut_off(cells: Sequence[Cell], resume: RunInfo, sessions: Sequence[SessionInfo]) -> CutOff | None:
    """What a kill of the last session can have cost; ``None`` where it was not killed, or nothing could be lost.

    For each slot that is what was in flight and what was not yet durable. An answer costs every call behind it, and so
    does a verdict. The slots are those of the plan as it was then. Batches are found again at the service.
    """
    if not sessions or sessions[-1].ended_at is not None:
        return None
    origin, then = sessions[-1].provenance, plan_from_document(resume.plan)
    each = 1 + (BY_A_PROCESS if WRITTEN_BY in origin or origin.get("workers") else BY_A_THREAD)
    specs = {spec.id: spec for spec in then.models}
    by_model: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.spec.id in specs:
            by_model.setdefault(cell.spec.id, []).append(replace(cell, spec=specs[cell.spec.id]))
    lost = [part for asked in by_model.values() for part in (_answers(asked, then, each), _verdicts(asked, then, each))]
    calls, costs = sum(part.calls for part in lost), [part.usd for part in lost]
    known = [cost for cost in costs if cost is not None]
    return CutOff(calls=calls, usd=sum(known) if len(known) == len(costs) else None) if calls else None


def _answers(cells: Sequence[Cell], plan: Plan, each: int) -> CutOff:
    """Of one model's answers."""
    asked = [cell for cell in cells if cell.provider is not None and not cell.spec.batch]
    if not asked:
        return CutOff(calls=0, usd=0.0)
    answers = each * concurrency_of(asked[0], plan)
    calls = asked[0].spec.calls_per_answer
    costs = (
        cost for cell in asked for cost in _costs(cell, plan, cell.spec.asked, calls, is_read=len(cell.spec.asked) > 1)
    )
    return CutOff(calls=answers * calls, usd=_dearest(costs, answers))


def _verdicts(cells: Sequence[Cell], plan: Plan, each: int) -> CutOff:
    """Of the verdicts on them."""
    judged = [(cell, cell.judge) for cell in cells if cell.judge is not None]
    if not judged:
        return CutOff(calls=0, usd=0.0)
    workers = plan.workers or 1
    widest = max(max(concurrency_of(cell, plan), judge.concurrency, workers) for cell, judge in judged)
    heard = each * min(widest, MOST_SCORERS * workers)
    calls = max(judge.calls_per_answer for _, judge in judged)
    costs = (
        cost
        for cell, judge in judged
        for cost in _costs(cell, plan, (judge.spec,), judge.calls_per_answer, is_read=True)
    )
    return CutOff(calls=heard * calls, usd=_dearest(costs, heard))


def _costs(cell: Cell, plan: Plan, specs: Iterable[ModelSpec], calls: int, *, is_read: bool) -> Iterator[float | None]:
    """The most that so many calls to any of these models can cost, for each request of the cell.

    ``is_read``: they may read the answer to the request, with the words around it.
    """
    paid = [(WorstCase(spec), spec.max_tokens) for spec in specs if not is_free(spec)]
    samples = cell.task.dataset.samples
    for position in cell.task.positions if paid else ():
        request = cell.request(position, samples[position], 0, plan.seed)
        costs = [worst.of_tokens(*_tokens(request, limit, is_read=is_read)) for worst, limit in paid]
        known = [cost for cost in costs if cost is not None]
        cost = calls * max(known) if len(known) == len(costs) else None
        for _ in range(cell.info.repeats):
            yield cost


def _tokens(request: Request, limit: int | None, *, is_read: bool) -> tuple[int, int]:
    """More tokens than go in and come out."""
    read, said = input_bound(request), output_bound(request)
    if not is_read:
        return read, said
    return read + said + INSTRUCTION_TOKENS, max(said, limit or ASSUMED_OUTPUT_TOKENS)


def _dearest(costs: Iterable[float | None], n: int) -> float | None:
    """So many of the dearest together; ``None`` where the cost of one is unknown."""
    known: list[float] = []
    for cost in costs:
        if cost is None:
            return None
        known.append(cost)
    return sum(heapq.nlargest(n, known))
