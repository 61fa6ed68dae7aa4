"""One run from plan to summary: prepare, open, ask, score, sum up. Reads like a table of contents."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec import Struct

from steelyard.engine.asking.attempts import RetryPolicy
from steelyard.engine.cells import Cell, prepare_cells, prepare_tasks
from steelyard.engine.driving import drive
from steelyard.engine.interrupt import Interrupt, heard
from steelyard.engine.lanes import (
    check_batches,
    lanes_of,
    lend_earlier_answers,
    open_cell,
    row_of,
    set_up_batches,
    set_up_tills,
    share_out,
    unscored,
)
from steelyard.engine.learnt import learnt_by, noted, together
from steelyard.engine.money.budget import check_amounts, check_prices
from steelyard.engine.money.cut_off import CutOff, cut_off
from steelyard.engine.money.purse import Purse, check_store_budget, load_prices, who_is_paid
from steelyard.engine.origin import doubts, session_origin
from steelyard.engine.pipeline import Lane
from steelyard.engine.processes.crew import Crew
from steelyard.engine.processes.shared_lane import SharedLane
from steelyard.engine.progress import Progress
from steelyard.engine.schedule.cascade import check_criteria
from steelyard.engine.schedule.looks import Looks, check_stop
from steelyard.engine.schedule.turns import looks_of
from steelyard.engine.signs import told
from steelyard.engine.stage import distinct_providers, measuring, opened, probe, watched
from steelyard.engine.summary import forget_summary, summarise_run
from steelyard.engine.weight.resources import Resources
from steelyard.engine.weight.weighing import resources_of
from steelyard.engine.writer import WRITTEN_BY, Writer, patiently
from steelyard.errors import StoreError, StoreHeldUp, UsageError
from steelyard.plan.plan import Plan
from steelyard.store import Store
from steelyard.store.rows.runs import new_uid
from steelyard.types import HAS_SENT, RunInfo, RunStatus


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
    check_batches(cells, plan)
    check_stop(cells, plan)
    check_criteria(plan.success, [cell for cell in cells if cell.floor is None])
    if plan.workers is not None and os.name == "nt":
        raise UsageError("workers need Linux or macOS. Try: without --workers")
    check_amounts(plan.budget_usd, who_is_paid(cells))
    if plan.budget_usd is not None:
        check_prices(who_is_paid(cells))
    return cells


@dataclass(kw_only=True)
class _Running:
    """A run at work: who is asked, who looks, who writes, who pays, what is weighed, and how it stands."""

    run: RunInfo
    session: int
    cells: list[Cell]
    lanes: list[Lane]
    shared: list[Lane | SharedLane]
    looks: Looks
    writer: Writer
    purse: Purse
    crew: Crew
    resources: Resources
    status: RunStatus = "failed"


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
    cells = prepare(plan, given)
    with heard() as interrupt:
        try:
            with interrupt.cuts_off():
                running = await _begin(plan, store, given, progress, resume, policy or RetryPolicy(), cells)
        except StoreHeldUp as error:
            raise type(error)(f"{error}; nothing was sent. Once it can be used, try the same again") from error
        on_start(running.run)
        try:
            await _ask(running, store, progress, interrupt)
        except BaseException as error:
            if not isinstance(error, Exception):
                running.status = "interrupted"
            with suppress(StoreError):  # it is not what went wrong first
                await _wind_up(running, store, progress, interrupt)
            raise
        await _wind_up(running, store, progress, interrupt)
        if interrupt.is_pressing:
            raise KeyboardInterrupt
    stopped = _given_up(running.lanes) if running.status == "failed" else {}
    return Ended(run=await _as_kept(running, store, progress.tell), status=running.status, stopped=stopped)


async def _begin(
    plan: Plan,
    store: Store,
    given: Given,
    progress: Progress,
    resume: RunInfo | None,
    policy: RetryPolicy,
    cells: list[Cell],
) -> _Running:
    """All that comes before the first request; a store that is held up meanwhile is waited for."""
    wait = partial(patiently, tell=progress.tell)
    store.check_writable()
    await _see_to_money(cells, store, progress)
    origin = session_origin(cells, plan, progress.tell)
    lost = None if resume is None else await wait(partial(_count_cut_off, cells, store, resume))
    run = await wait(partial(_register, plan, store, resume, new_uid()))
    for doubt in doubts(cells, store, lost):
        progress.tell(doubt)
    session = await wait(partial(store.begin_session, run.id, origin | {HAS_SENT: False}))
    try:
        return await _set_up(plan, store, run, session, cells, given, progress, policy)
    except BaseException as error:
        with suppress(StoreError):  # nothing was sent that somebody who goes on would take for lost
            store.end_session(session, {})
            store.set_status(run.id, "failed" if isinstance(error, Exception) else "interrupted")
        raise


async def _see_to_money(cells: Sequence[Cell], store: Store, progress: Progress) -> None:
    if await patiently(store.budget.account, progress.tell) is not None:
        check_store_budget(who_is_paid(cells), progress.tell)
    await load_prices(who_is_paid(cells))


def _register(plan: Plan, store: Store, resume: RunInfo | None, uid: str) -> RunInfo:
    """A new run, or the one that is gone on with, unless another process is at it: then nothing of it changes."""
    document, digest = plan.as_document(), plan.digest()
    if resume is None:
        return store.create_run(name=plan.name, plan=document, plan_digest=digest, tags=plan.tags, run_id=uid)
    store.check_free(resume.id)
    store.set_plan(resume.id, document, digest)
    store.set_status(resume.id, "running")
    return resume


def _count_cut_off(cells: Sequence[Cell], store: Store, resume: RunInfo) -> CutOff | None:
    """What a kill can have cost, which from now on counts as in doubt; while the run still has the plan of then."""
    store.check_free(resume.id)
    lost = cut_off(cells, resume, store)
    if lost is not None:
        store.note_cut_off(resume.id, lost.calls, lost.usd)
    return lost


async def _set_up(
    plan: Plan,
    store: Store,
    run: RunInfo,
    session: int,
    cells: list[Cell],
    given: Given,
    progress: Progress,
    policy: RetryPolicy,
) -> _Running:
    """Open a lane for each model, with what it may use again and whom it pays from, and hire workers if asked for."""
    wait = partial(patiently, tell=progress.tell)
    resources = await resources_of(cells, progress)
    writer = Writer(store, progress.tell, resume=str(run.number))
    writer.before_hire = partial(store.add_provenance, session, {WRITTEN_BY: "a process"})
    rows = await wait(lambda: [row_of(store, run, cell) for cell in cells])
    open_cells = [open_cell(row, session, cell, progress) for row, cell in zip(rows, cells, strict=True)]
    looks = await wait(partial(looks_of, store, plan, open_cells, run.id, progress.tell))
    lanes = lanes_of(open_cells, writer, plan, progress, policy)
    writer.slots = min([lane.concurrency for lane in lanes], default=1)
    lend_earlier_answers(lanes, store, run, plan, progress.tell)
    purse = await wait(partial(Purse, store, run.id, plan.budget_usd, tell=progress.tell))
    counted = await wait(store.budget.counted_shares)
    set_up_batches(lanes, store, run, purse.share, counted, progress.tell)
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
    return _Running(
        run=run,
        session=session,
        cells=cells,
        lanes=lanes,
        shared=share_out(lanes, crew, store, given.benchmarks, progress.tell),
        looks=looks,
        writer=writer,
        purse=purse,
        crew=crew,
        resources=resources,
    )


async def _ask(running: _Running, store: Store, progress: Progress, interrupt: Interrupt) -> None:
    """Drive the lanes, with all that stands around them; ``running.status`` is how far that came."""
    cells, lanes, crew = running.cells, running.lanes, running.crew
    async with AsyncExitStack() as around:
        with interrupt.cuts_off():
            running.writer.warm_up(_to_come(lanes))
            await around.enter_async_context(opened(distinct_providers(cells)))
            await around.enter_async_context(watched(running.resources))
            await around.enter_async_context(measuring())
            await around.enter_async_context(told(store, running.session, progress, running.shared))
            await probe(cells)
            # what workers learnt last is heard while the crew ends
            learnt = noted(store, running.session, lambda: together(learnt_by(cells, lanes), crew.learnt))
            await around.enter_async_context(learnt)
            await around.enter_async_context(crew)
            await crew.hire()
            await running.writer.warm()
            earlier = {lane: unscored(lane, store, progress.tell) for lane in running.shared}
            await patiently(partial(store.add_provenance, running.session, {HAS_SENT: True}), progress.tell)
        running.status = await drive(earlier, running.looks, running.writer, running.purse.ledger, interrupt)
    if running.status == "done" and _unanswered(lanes):
        running.status = "failed"


async def _wind_up(running: _Running, store: Store, progress: Progress, interrupt: Interrupt) -> None:
    """Whatever happened: write what is still to be written, settle accounts, and sum up what there is."""
    await running.writer.close()
    running.resources.close()
    figures = running.crew.figures(running.resources.figures()) | running.purse.figures()
    close, patience_s = partial(_close, running, store, figures, interrupt), running.writer.patience_s
    try:
        await patiently(close, progress.tell, patience_s, is_called_off=lambda: interrupt.is_pressing)
    except StoreHeldUp as error:  # a run of which nobody wrote down that it ended counts as interrupted
        running.writer.hurry()
        progress.tell(str(error))


def _close(running: _Running, store: Store, figures: dict[str, float], interrupt: Interrupt) -> None:
    """Each step of it may be done twice."""
    run = running.run
    forget_summary(store, run.id)
    store.end_session(running.session, figures)
    running.purse.close()
    store.set_status(run.id, running.status)
    summarise_run(store, run.id, lambda: not interrupt.is_pressing)


async def _as_kept(running: _Running, store: Store, tell: Callable[[str], None]) -> RunInfo:
    """The run as it stands in the store, for which no longer is waited than the run's end was."""
    try:
        return await patiently(partial(store.run, running.run.id), tell, running.writer.patience_s)
    except StoreError as error:
        hint = f"Once it can be read, try: steelyard run --resume {running.run.number}"
        raise type(error)(f"{error}; all answers are kept. {hint}") from error


def _to_come(lanes: Iterable[Lane]) -> int:
    """How many calls are to be made, some of which an earlier run may have answered."""
    of_lanes = (cell.progress for lane in lanes for cell in lane.cells)
    return sum(progress.planned - progress.reused for progress in of_lanes)


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
