"""One run from plan to summary: prepare, open, ask, score, sum up. Reads like a table of contents."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from steelyard import prices
from steelyard.engine.attempts import RetryPolicy
from steelyard.engine.budget import check_prices, is_free
from steelyard.engine.calibration import instrument
from steelyard.engine.cascade import check_criteria
from steelyard.engine.cells import Cell, prepare_cells, prepare_tasks
from steelyard.engine.crew import Crew
from steelyard.engine.driving import drive
from steelyard.engine.gpus import open_gpus
from steelyard.engine.lanes import (
    batch_service_of,
    concurrency_of,
    lanes_of,
    lend_earlier_answers,
    open_cell,
    set_up_batches,
    set_up_tills,
    share_out,
    unscored,
)
from steelyard.engine.learnt import learnt_by, noted, together
from steelyard.engine.looks import check_stop
from steelyard.engine.loops import loop_name
from steelyard.engine.pipeline import Lane
from steelyard.engine.progress import Progress
from steelyard.engine.provenance import provenance
from steelyard.engine.purse import Purse, check_store_budget
from steelyard.engine.resources import Resources
from steelyard.engine.served import served_pids
from steelyard.engine.signs import told
from steelyard.engine.stage import distinct_providers, measuring, opened, probe, watched
from steelyard.engine.summary import forget_summary, summarise_run
from steelyard.engine.turns import looks_of
from steelyard.engine.writer import BY_A_PROCESS, BY_A_THREAD, WRITTEN_BY, Writer
from steelyard.errors import StoreFull, UsageError
from steelyard.plan.names import OF_THE_USER
from steelyard.plan.plan import Plan
from steelyard.store import Store
from steelyard.store.places import network_file_system, warning
from steelyard.types import ModelSpec, RunInfo, RunStatus, SessionInfo


class Given(Struct, frozen=True, kw_only=True):
    """What was passed as Python objects, by the id or name that the plan calls it."""

    providers: dict[str, Any] = {}
    benchmarks: dict[str, Any] = {}


class Ended(Struct, frozen=True, kw_only=True):
    """How a run ended. ``stopped`` maps a model that was given up to the reason."""

    run: RunInfo
    status: RunStatus
    stopped: dict[str, str] = {}


def prepare(plan: Plan, given: Given) -> list[Cell]:
    """Everything that can be wrong, found before anything is sent."""
    cells = prepare_cells(plan, prepare_tasks(plan, given.benchmarks), given.providers)
    _check_batches(cells, plan)
    check_stop(cells, plan)
    check_criteria(plan.success, [cell for cell in cells if cell.floor is None])
    if plan.workers is not None and os.name == "nt":
        raise UsageError("workers need Linux or macOS. Try: without --workers")
    if plan.budget_usd is not None:
        check_prices(_who_is_paid(cells))
    return cells


def _check_batches(cells: Sequence[Cell], plan: Plan) -> None:
    for cell in cells:
        if not cell.spec.batch or cell.floor is not None:
            continue
        if cell.info.kind == "likelihood":
            raise UsageError(f"{cell.spec.id}: {cell.info.label} weighs likelihoods, which no batch API gives")
        if "latency" in plan.metrics:
            raise UsageError(f"{cell.spec.id}: a batch has no latency. Try: without 'latency' in metrics, or no batch")
        batch_service_of(cell.spec)


def _who_is_paid(cells: Sequence[Cell]) -> list[ModelSpec]:
    asked = (asked for cell in cells for asked in cell.spec.asked)
    return [*asked, *(cell.judge.spec for cell in cells if cell.judge is not None)]


async def execute(
    plan: Plan,
    store: Store,
    *,
    given: Given,
    progress: Progress,
    resume: RunInfo | None = None,
    on_start: Callable[[RunInfo], None] = lambda run: None,
    policy: RetryPolicy | None = None,
) -> Ended:
    """Carry out a plan, or go on with a run of it, and leave records and summaries in the store."""
    policy = policy or RetryPolicy()
    cells = prepare(plan, given)
    if store.budget.account() is not None:
        check_store_budget(_who_is_paid(cells), progress.tell)
    if any(prices.price_source(spec) == prices.TABLE for spec in _who_is_paid(cells)):
        await asyncio.to_thread(prices.load_table)
    origin = _origin(cells, plan, progress.tell)
    if resume is not None:
        store.check_free(resume.id)
    run = _register(plan, store, resume)
    for doubt in _doubts(cells, plan, store, resume):
        progress.tell(doubt)
    session = store.begin_session(run.id, origin)
    providers = distinct_providers(cells)
    resources = Resources(
        lambda: _pids(cells), is_waiting=lambda: _is_waiting(cells, progress), gpus=await asyncio.to_thread(open_gpus)
    )
    writer = Writer(store, progress.tell)
    writer.on_hire = partial(store.add_provenance, session, {WRITTEN_BY: "a process"})
    open_cells = [open_cell(store, run, session, cell, progress) for cell in cells]
    looks = looks_of(store, plan, open_cells, run.id, progress.tell)
    lanes = lanes_of(open_cells, writer, plan, progress, policy)
    lend_earlier_answers(lanes, store, run, plan)
    set_up_batches(lanes, store, run)
    purse = Purse(store, run.id, plan.budget_usd)
    progress.ledger = purse.ledger
    set_up_tills(lanes, cells, purse.ledger)
    crew = Crew(
        plan,
        run_id=run.id,
        session=session,
        store=store.address,
        ledger=purse.ledger,
        writer=writer,
        tell=progress.tell,
        policy=policy,
    )
    shared = share_out(lanes, crew, store, given.benchmarks, progress.tell)
    on_start(run)
    status: RunStatus = "failed"
    try:
        async with opened(providers), watched(resources), measuring(), told(store, session, progress, shared):
            await probe(cells)
            async with crew, noted(store, session, lambda: together(learnt_by(cells, lanes), crew.learnt)):
                status = await drive({lane: unscored(lane, store) for lane in shared}, looks, writer, purse.ledger)
        if status == "done" and _unanswered(lanes):
            status = "failed"
    finally:
        await writer.close()
        resources.close()
        with _room_or_not(progress.tell):
            forget_summary(store, run.id)
            store.end_session(session, crew.figures(resources.figures()) | purse.figures())
            purse.close()
            store.set_status(run.id, status)
            summarise_run(store, run.id)
    return Ended(
        run=store.run(run.id),
        status=status,
        stopped=_given_up(lanes) if status == "failed" else {},
    )


def _given_up(lanes: Iterable[Lane]) -> dict[str, str]:
    """Each model that was stopped, or that answered nothing, with the reason."""
    return _unanswered(lanes) | {lane.model: lane.stopped for lane in lanes if lane.stopped}


def _unanswered(lanes: Iterable[Lane]) -> dict[str, str]:
    """The models that failed at all they were asked: there is nothing to show of them."""
    found = {}
    for lane in lanes:
        asked = [cell for cell in lane.cells if cell.progress.errored or cell.progress.finished]
        if asked and all(cell.progress.came_to_nothing for cell in asked):
            last = asked[-1].progress.last_failure
            assert last is not None
            said = last.kind if any(cell.cell.info.is_confidential for cell in lane.cells) else last.message
            found[lane.model] = f"not one of its calls was answered; the last one: {said}"
    return found


def _origin(cells: Sequence[Cell], plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Where the figures of this session come from: code, machine, prices, workers, and the clock that reads them."""
    origin = provenance(loop_name()) | {"prices": _quotes(cells, tell), "workers": plan.workers}
    return origin | {"instrument": instrument(_streams(cells, plan), origin)}


def _doubts(cells: Sequence[Cell], plan: Plan, store: Store, resume: RunInfo | None) -> Iterator[str]:
    """What the user should hear before anything is sent."""
    if store.file is not None and (kind := network_file_system(store.file)) is not None:
        yield warning(store.file, kind)
    if resume is not None and (at_risk := _paid_twice(cells, plan, store.sessions(resume.id))):
        yield f"the run was killed: up to {at_risk} calls without a record may be paid for twice"
    yield from _notes(cells)


def _quotes(cells: Sequence[Cell], tell: Callable[[str], None]) -> dict[str, Any]:
    """The rates of everyone who is paid, as they are kept with the session; ``None`` where they are unknown."""
    found: dict[str, Any] = {}
    for spec in _who_is_paid(cells):
        if is_free(spec) or spec.id in found:
            continue
        quote = prices.quote(spec, datetime.now(UTC))
        found[spec.id] = msgspec.to_builtins(quote)
        if quote is not None and not quote.is_tier_listed:
            tell(f"{spec.id}: the price of service tier {quote.tier!r} is not listed; costs are the standard tier's")
    return found


def _register(plan: Plan, store: Store, resume: RunInfo | None) -> RunInfo:
    document, digest = plan.as_document(), plan.digest()
    if resume is None:
        return store.create_run(name=plan.name, plan=document, plan_digest=digest, tags=plan.tags)
    store.set_plan(resume.id, document, digest)
    store.set_status(resume.id, "running")
    return resume


def _paid_twice(cells: Sequence[Cell], plan: Plan, sessions: Sequence[SessionInfo]) -> int:
    """What a kill of the last session can have cost: for each slot, a call in flight and the answers not yet durable.

    Batches are found again at the service.
    """
    if not sessions or sessions[-1].ended_at is not None:
        return 0
    origin = sessions[-1].provenance
    uncommitted = BY_A_PROCESS if WRITTEN_BY in origin or origin.get("workers") else BY_A_THREAD
    one_by_one = (cell for cell in cells if cell.provider is not None and not cell.spec.batch)
    return (1 + uncommitted) * sum({cell.spec.id: concurrency_of(cell, plan) for cell in one_by_one}.values())


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


def _notes(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(note for cell in cells for note in cell.task.benchmark.notes))


def _pids(cells: Sequence[Cell]) -> dict[str, list[int]]:
    """The processes of this machine that answer for each model, where they are known."""
    found = {cell.spec.id: list(served_pids(cell.spec, cell.provider)) for cell in cells}
    return {model: pids for model, pids in found.items() if pids}


def _is_waiting(cells: Sequence[Cell], progress: Progress) -> bool:
    """Whether answers are awaited from outside this process: what a callable computes here is not the client's work."""
    awaited = {cell.spec.id for cell in cells if any(asked.provider not in OF_THE_USER for asked in cell.spec.asked)}
    return any(counters.in_flight for counters in progress.cells if counters.model in awaited)


@contextmanager
def _room_or_not(tell: Callable[[str], None]) -> Iterator[None]:
    """Let a run end also where the disk is too full to write down that it did: it then counts as interrupted."""
    try:
        yield
    except StoreFull as error:
        tell(str(error))
