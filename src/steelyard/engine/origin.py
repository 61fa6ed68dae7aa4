"""Where the figures of a session come from, and what of it the user should hear before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from steelyard import prices
from steelyard.engine.cells import Cell
from steelyard.engine.lanes import concurrency_of
from steelyard.engine.money.budget import is_free
from steelyard.engine.money.purse import who_is_paid
from steelyard.engine.pipeline import MOST_SCORERS
from steelyard.engine.provenance import provenance
from steelyard.engine.weight.calibration import instrument
from steelyard.engine.weight.loops import loop_name
from steelyard.engine.writer import BY_A_PROCESS, BY_A_THREAD, WRITTEN_BY
from steelyard.plan.names import OF_THE_USER
from steelyard.plan.plan import Plan, plan_from_document
from steelyard.store import Store
from steelyard.store.database.places import network_file_system, warning
from steelyard.types import RunInfo, SessionInfo


def session_origin(cells: Sequence[Cell], plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Where the figures of this session come from: code, machine, prices, workers, and the clock that reads them."""
    origin = provenance(loop_name()) | {"prices": _quotes(cells, tell), "workers": plan.workers}
    return origin | {"instrument": instrument(_streams(cells, plan), origin)}


def _quotes(cells: Sequence[Cell], tell: Callable[[str], None]) -> dict[str, Any]:
    """The rates of everyone who is paid, as they are kept with the session; ``None`` where they are unknown."""
    found: dict[str, Any] = {}
    for spec in who_is_paid(cells):
        if is_free(spec) or spec.id in found:
            continue
        quote = prices.quote(spec, datetime.now(UTC))
        found[spec.id] = msgspec.to_builtins(quote)
        if quote is not None and not quote.is_tier_listed:
            tell(f"{spec.id}: the price of service tier {quote.tier!r} is not listed; costs are the standard tier's")
    return found


def _streams(cells: Sequence[Cell], plan: Plan) -> int:
    """How many answers may stream in at once, over all models; what is made in this process does not come in."""
    by_model: dict[str, int] = {}
    for cell in cells:
        is_streamed = cell.provider is not None and cell.provider.streams and not cell.spec.batch
        if (
            is_streamed
            and any(asked.provider not in OF_THE_USER for asked in cell.spec.asked)
            and cell.info.kind != "likelihood"
        ):
            asked = by_model.get(cell.spec.id, 0) + len(cell.task.positions) * cell.info.repeats
            by_model[cell.spec.id] = min(asked, concurrency_of(cell, plan))
    return sum(by_model.values())


def doubts(cells: Sequence[Cell], store: Store, resume: RunInfo | None) -> Iterator[str]:
    """What the user should hear before anything is sent."""
    if store.file is not None and (kind := network_file_system(store.file)) is not None:
        yield warning(store.file, kind)
    if resume is not None and (at_risk := _paid_twice(cells, resume, store.sessions(resume.id))):
        yield f"the run was killed: up to {at_risk} calls without a record may be paid for twice"
    yield from dict.fromkeys(note for cell in cells for note in cell.task.benchmark.notes)


def _paid_twice(cells: Sequence[Cell], resume: RunInfo, sessions: Sequence[SessionInfo]) -> int:
    """What a kill of the last session can have cost: for each slot, what was in flight and what was not yet durable.

    An answer costs every call behind it, and so does a verdict. The slots are those of the plan as it was then. Batches
    are found again at the service.
    """
    if not sessions or sessions[-1].ended_at is not None:
        return 0
    origin, then = sessions[-1].provenance, plan_from_document(resume.plan)
    uncommitted = BY_A_PROCESS if WRITTEN_BY in origin or origin.get("workers") else BY_A_THREAD
    specs = {spec.id: spec for spec in then.models}
    asked = [replace(cell, spec=specs[cell.spec.id]) for cell in cells if cell.spec.id in specs]
    return (1 + uncommitted) * (_calls_for_answers(asked, then) + _calls_for_verdicts(asked, then))


def _calls_for_answers(cells: Sequence[Cell], plan: Plan) -> int:
    one_by_one = [cell for cell in cells if cell.provider is not None and not cell.spec.batch]
    return sum({cell.spec.id: concurrency_of(cell, plan) * cell.spec.calls_per_answer for cell in one_by_one}.values())


def _calls_for_verdicts(cells: Sequence[Cell], plan: Plan) -> int:
    workers = plan.workers or 1
    most: dict[str, int] = {}
    for cell in cells:
        if cell.judge is not None:
            heard = min(max(concurrency_of(cell, plan), cell.judge.concurrency, workers), MOST_SCORERS * workers)
            most[cell.spec.id] = max(most.get(cell.spec.id, 0), heard * cell.judge.calls_per_answer)
    return sum(most.values())
