"""From cells to lanes: opened in the store, given earlier answers, batches and money, and dealt out among workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Sequence
from functools import partial
from typing import NamedTuple

from steelyard.engine.asking.attempts import RetryPolicy
from steelyard.engine.asking.gates import Gates
from steelyard.engine.asking.standings import Standings
from steelyard.engine.cells import Cell
from steelyard.engine.judging.verdicts import Verdicts
from steelyard.engine.money.budget import Ledger, Till, costs_nothing
from steelyard.engine.pipeline import Lane
from steelyard.engine.processes.crew import Crew
from steelyard.engine.processes.shared_lane import SharedLane
from steelyard.engine.progress import CellProgress, Progress
from steelyard.engine.reuse.cache import Cache, identity, oldest_used_s
from steelyard.engine.schedule.horizon import Horizon
from steelyard.engine.work import OpenCell, Work
from steelyard.engine.writer import Writer, patiently
from steelyard.errors import UsageError
from steelyard.plan.plan import Plan
from steelyard.providers.batches import BatchService
from steelyard.store import Store
from steelyard.types import Call, ModelSpec, RunInfo, Sample

FLOOR_CONCURRENCY = 64
READ_AT_ONCE = 256
OF_THIS_MACHINE = ("local", "baseline")


class Row(NamedTuple):
    """A cell's row in the store, and what is done of it."""

    row: int
    done: set[tuple[int, int]]


def row_of(store: Store, run: RunInfo, cell: Cell) -> Row:
    """The row of a cell, which is made where it is new."""
    row = store.add_cell(run.id, cell.info)
    return Row(row, store.completed(row))


def open_cell(found: Row, session: int, cell: Cell, progress: Progress) -> OpenCell:
    """A cell with what is done of it, and the counters that a display reads."""
    row, done = found
    planned = len(cell.task.positions) * cell.info.repeats
    counters = CellProgress(model=cell.spec.id, label=cell.info.label, planned=planned, reused=min(planned, len(done)))
    progress.cells.append(counters)
    horizon = Horizon(len(cell.task.positions))
    return OpenCell(
        cell=cell,
        row=row,
        session=session,
        done=done,
        progress=counters,
        identity=identity(cell.info),
        horizon=horizon,
    )


def lanes_of(
    cells: Sequence[OpenCell], writer: Writer, plan: Plan, progress: Progress, policy: RetryPolicy
) -> list[Lane]:
    """A lane for each model, over all its cells."""
    by_model: dict[str, list[OpenCell]] = {}
    for seat in {cell.cell.judge for cell in cells if cell.cell.judge is not None}:
        seat.policy, seat.tell = policy, progress.tell
    for cell in cells:
        by_model.setdefault(cell.cell.spec.id, []).append(cell)
    gates = Gates(policy)
    return [
        Lane(
            group,
            writer=writer,
            progress=progress,
            concurrency=concurrency_of(group[0].cell, plan),
            seed=plan.seed,
            policy=policy,
            gates=gates,
        )
        for group in by_model.values()
    ]


def lend_earlier_answers(
    lanes: Sequence[Lane], store: Store, run: RunInfo, plan: Plan, tell: Callable[[str], None]
) -> None:
    """Let each lane and judge use again what other runs were answered, unless the plan asks for fresh answers."""
    since_s = oldest_used_s(plan)
    if since_s is not None:
        for lane in lanes:
            lane.use_again(Cache(store, run.id, [cell.cell for cell in lane.cells], since_s=since_s, tell=tell))
        memory = Verdicts(store, run.id, since_s=since_s, tell=tell)
        for seat in {cell.cell.judge for lane in lanes for cell in lane.cells if cell.cell.judge is not None}:
            seat.memory = memory


def set_up_batches(
    lanes: Sequence[Lane],
    store: Store,
    run: RunInfo,
    share: int | None,
    counted_shares: Container[int | None],
    tell: Callable[[str], None],
) -> None:
    """Let every model that is to be asked by batches hand them in, and keep account of them beside the store.

    ``share`` of the store's budget pays for them; ``counted_shares`` are spent already.
    """
    folder = store.folder / "batches"
    for lane in lanes:
        cell = lane.cells[0].cell
        if cell.spec.batch and cell.floor is None:
            standings = Standings(folder, run.id, cell.spec.id, share=share, tell=tell)
            lane.ask_by_batches(batch_service_of(cell.spec), standings, counted_shares)


def check_batches(cells: Sequence[Cell], plan: Plan) -> None:
    """Refuse what no batch API can do, and whom none is known of."""
    for cell in cells:
        if not cell.spec.batch or cell.floor is not None:
            continue
        if cell.info.kind == "likelihood":
            raise UsageError(f"{cell.spec.id}: {cell.info.label} weighs likelihoods, which no batch API gives")
        if "latency" in plan.metrics:
            raise UsageError(f"{cell.spec.id}: a batch has no latency. Try: without 'latency' in metrics, or no batch")
        batch_service_of(cell.spec)


def set_up_tills(lanes: Sequence[Lane], cells: Sequence[Cell], ledger: Ledger) -> None:
    """Let every model and every judge that may cost something pay from the one ledger."""
    for lane in lanes:
        lane.pay_from(ledger)
    for seat in {cell.judge for cell in cells if cell.judge is not None}:
        seat.till = None if costs_nothing(seat.spec) else Till(ledger, seat.spec)


def share_out(
    lanes: Sequence[Lane], crew: Crew, store: Store, nameless: Container[str], tell: Callable[[str], None]
) -> list[Lane | SharedLane]:
    """Deal the lanes out among workers where the plan asks for some, but for those that have to stay in this process.

    A server or a floor of this machine gains nothing by it; what was given as an object has no name to be found by
    (``nameless`` are the benchmarks that were).
    """
    if crew.workers is None:
        return list(lanes)
    shared: list[Lane | SharedLane] = []
    for lane in lanes:
        spec = lane.cells[0].cell.spec
        has_no_name = any(asked.provider == "object" for asked in spec.asked) or any(
            cell.cell.task.spec.name in nameless for cell in lane.cells
        )
        if has_no_name:
            tell(f"{spec.id} stays in this process: workers find only what has a name, such as python:MODULE:FUNCTION")
        is_here = any(asked.provider in OF_THIS_MACHINE for asked in spec.asked)
        if has_no_name or spec.batch or is_here:
            shared.append(lane)
        else:
            shared.append(crew.take(lane, partial(unscored, lane, store, tell)))
    return shared


def concurrency_of(cell: Cell, plan: Plan) -> int:
    """Requests in flight at the utmost: the model's own setting, the plan's, or what its provider suits."""
    if cell.provider is None:
        return FLOOR_CONCURRENCY
    return cell.spec.concurrency or plan.concurrency or cell.provider.concurrency


async def unscored(lane: Lane | SharedLane, store: Store, tell: Callable[[str], None]) -> AsyncIterator[Work]:
    """What was answered in an earlier stretch of the run and never scored; a store that is held up is waited for.

    Nothing is read from while answers are scored: a judge may take hours for those that were read at once.
    """
    for cell in lane.cells:
        last = 0
        while some := await patiently(partial(_unscored_after, last, cell, store), tell):
            for call_id, sample, call in some:
                yield Work(
                    cell=cell,
                    position=-1,
                    repeat=call.repeat,
                    sample=sample,
                    request=call.request,
                    call=call,
                    call_id=call_id,
                    answered_before=True,
                )
            last, *_ = some[-1]


def _unscored_after(last: int, cell: OpenCell, store: Store) -> list[tuple[int, Sample, Call]]:
    protocol = cell.cell.task.protocol
    return list(store.unscored(cell.row, protocol.name, protocol.version, after=last, most=READ_AT_ONCE))


def batch_service_of(spec: ModelSpec) -> BatchService:
    """Where the model's batches are handed in."""
    from steelyard.providers.batch_services import batch_service  # its client takes longer to load than a short run

    return batch_service(spec)
