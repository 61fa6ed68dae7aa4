"""What a kill can have cost: the calls that were in flight or not yet durable, and the most that those can be billed.

They may be paid for twice. Nobody knows what of it was billed, so all of it counts in a run's budget, as in doubt.
What is durable is known: only what the run still lacks, answers and verdicts, can have been cut off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import Struct

from steelyard.engine.cells import Cell
from steelyard.engine.judging.judges import INSTRUCTION_TOKENS
from steelyard.engine.lanes import concurrency_of
from steelyard.engine.money.budget import ASSUMED_OUTPUT_TOKENS, WorstCase, input_bound, is_free, output_bound
from steelyard.engine.pipeline import MOST_SCORERS
from steelyard.engine.writer import BY_A_PROCESS, BY_A_THREAD, FROM_WORKERS, WRITTEN_BY
from steelyard.plan.plan import Plan, plan_from_document
from steelyard.store import Store
from steelyard.store.rows.account import CUT_OFF_CALLS, CUT_OFF_USD
from steelyard.types import ModelSpec, Request, RunInfo


class CutOff(Struct, frozen=True, kw_only=True):
    """At most so many calls, for at most so much; ``usd`` is ``None`` where a price is unknown."""

    calls: int
    usd: float | None


@dataclass(frozen=True, kw_only=True)
class _Killed:
    """A session as it was: its plan, what each slot may have lost, and the rows of its cells by model and label."""

    plan: Plan
    each: int
    rows: dict[tuple[str, str], int]
    store: Store


def cut_off(cells: Sequence[Cell], resume: RunInfo, store: Store) -> CutOff | None:
    """What a kill of the last session can have cost; ``None`` where it was not killed, or nothing could be lost.

    For each slot that is what was in flight and what was not yet durable. An answer costs every call behind it, and so
    does a verdict. The slots are those of the plan as it was then, and what was in flight was no more than its budget
    had left. Batches are found again at the service.
    """
    sessions = store.sessions(resume.id)
    if not sessions or sessions[-1].ended_at is not None or not sessions[-1].may_have_sent:
        return None
    origin, counted = sessions[-1].provenance, sessions[-1].resources
    if CUT_OFF_CALLS in counted:  # by one that was itself killed before its session began
        return CutOff(calls=int(counted[CUT_OFF_CALLS]), usd=counted.get(CUT_OFF_USD))
    killed = _Killed(
        plan=plan_from_document(resume.plan),
        each=1 + _uncommitted(origin),
        rows={(info.model, info.label): info.id for info in store.cells(resume.id) if info.id is not None},
        store=store,
    )
    lost = []
    for asked in _as_it_was(cells, killed):
        lost += [_answers(asked, killed), *(_verdicts(cell, killed) for cell in asked)]
    calls, costs = sum(part.calls for part in lost), [part.usd for part in lost]
    known = [cost for cost in costs if cost is not None]
    usd = sum(known) if len(known) == len(costs) else None
    return CutOff(calls=calls, usd=_within_budget(usd, resume, store)) if calls else None


def _uncommitted(origin: Mapping[str, Any]) -> int:
    """How many answers a slot of a session may have had uncommitted, at the utmost."""
    if WRITTEN_BY not in origin:
        return BY_A_THREAD
    return FROM_WORKERS if origin.get("workers") else BY_A_PROCESS


def _as_it_was(cells: Sequence[Cell], killed: _Killed) -> Iterable[list[Cell]]:
    """Each model's cells that were opened, with the model's settings of then."""
    specs = {spec.id: spec for spec in killed.plan.models}
    by_model: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.spec.id in specs and (cell.info.model, cell.info.label) in killed.rows:
            by_model.setdefault(cell.spec.id, []).append(replace(cell, spec=specs[cell.spec.id]))
    return by_model.values()


def _within_budget(usd: float | None, run: RunInfo, store: Store) -> float | None:
    limit_usd: float | None = run.plan.get("budget_usd")
    if limit_usd is None or usd is None:
        return usd
    return min(usd, max(0.0, limit_usd - store.budget.spent_of_run(run.id)))


def _answers(cells: Sequence[Cell], killed: _Killed) -> CutOff:
    """Of one model's answers."""
    asked = [cell for cell in cells if cell.provider is not None and not cell.spec.batch]
    if not asked:
        return CutOff(calls=0, usd=0.0)
    spec, lacking = asked[0].spec, [(cell, _lacking(cell, killed)) for cell in asked]
    answers = min(killed.each * concurrency_of(asked[0], killed.plan), sum(some.total() for _, some in lacking))
    requests = (one for cell, some in lacking for one in _requests(cell, some, killed))
    usd = _most_usd(requests, answers, spec.asked, is_read=len(spec.asked) > 1)
    return _times(spec.calls_per_answer, answers, usd)


def _verdicts(cell: Cell, killed: _Killed) -> CutOff:
    """Of the verdicts on a cell's answers, none of which is asked for before the answer is durable."""
    if (judge := cell.judge) is None:
        return CutOff(calls=0, usd=0.0)
    protocol, row = cell.task.protocol, killed.rows[cell.info.model, cell.info.label]
    waiting = [(call.request, 1) for _, _, call in killed.store.unscored(row, protocol.name, protocol.version)]
    workers = killed.plan.workers or 1
    seats = min(max(concurrency_of(cell, killed.plan), judge.concurrency, workers), MOST_SCORERS * workers)
    heard = min(killed.each * seats, len(waiting))
    return _times(judge.calls_per_answer, heard, _most_usd(waiting, heard, (judge.spec,), is_read=True))


def _times(calls: int, answers: int, usd: float | None) -> CutOff:
    """So many calls for each, where one call for each comes to so much."""
    return CutOff(calls=calls * answers, usd=None if usd is None else calls * usd)


def _lacking(cell: Cell, killed: _Killed) -> Counter[int]:
    """How often each item has yet to be answered."""
    done = killed.store.completed(killed.rows[cell.info.model, cell.info.label])
    times = Counter(position for position, repeat in done if repeat < cell.info.repeats)
    return Counter({position: cell.info.repeats - times[position] for position in cell.task.positions})


def _requests(cell: Cell, lacking: Counter[int], killed: _Killed) -> Iterator[tuple[Request, int]]:
    """What the items are asked, each with how often."""
    for position, times in lacking.items():
        if times:
            yield cell.request(position, cell.task.dataset.samples[position], 0, killed.plan.seed), times


def _most_usd(
    requests: Iterable[tuple[Request, int]], n: int, specs: Iterable[ModelSpec], *, is_read: bool
) -> float | None:
    """The most that one call for each of ``n`` of the requests can cost, to whichever of these models is the dearest.

    ``is_read``: it may read the answer to the request, with the words around it. ``None`` where a price is unknown. No
    request is looked at where that costs nothing, or nobody knows what.
    """
    paid = [(WorstCase(spec), spec.max_tokens) for spec in specs if not is_free(spec)]
    if not (n and paid):
        return 0.0
    if any(worst.of_tokens(1, 1) is None for worst, _ in paid):
        return None
    sizes: Counter[tuple[int, int]] = Counter()
    for request, times in requests:
        sizes[input_bound(request), output_bound(request)] += times
    costs = ((_dearest(paid, *size, is_read=is_read), times) for size, times in sizes.items())
    total_usd = 0.0
    for usd, times in sorted(costs, reverse=True):
        total_usd += usd * min(times, n)
        n -= min(times, n)
    return total_usd


def _dearest(paid: Iterable[tuple[WorstCase, int | None]], read: int, said: int, *, is_read: bool) -> float:
    """The most that a call about a request of so many tokens, for an answer of so many, can cost."""
    if not is_read:
        return max(worst.of_tokens(read, said) or 0.0 for worst, _ in paid)
    all_read = read + said + INSTRUCTION_TOKENS
    return max(worst.of_tokens(all_read, max(said, limit or ASSUMED_OUTPUT_TOKENS)) or 0.0 for worst, limit in paid)
