"""One worker: a process that asks its share of a run's items, and leaves keeping, money and stopping to the run.

It works as the run's own process would: the same lanes, gates, judges and retries. What it hands in goes over the wire
and counts when the run says that it is durable; what it may spend it asks for; where the run is gone, it ends at once.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from steelyard import prices, sandbox
from steelyard.benchmarks import readings
from steelyard.engine.asking.attempts import RetryPolicy
from steelyard.engine.asking.gates import Gates
from steelyard.engine.asking.throttle import Door
from steelyard.engine.cells import Cell, prepare_cells, prepare_tasks
from steelyard.engine.judging.verdicts import Verdicts
from steelyard.engine.learnt import learnt_by
from steelyard.engine.loading import Item, Source
from steelyard.engine.money.budget import Ledger, Till, costs_nothing
from steelyard.engine.pipeline import Lane
from steelyard.engine.processes import child
from steelyard.engine.processes.frames import (
    Ahead,
    Begin,
    Books,
    Broken,
    CallRow,
    Draw,
    Earlier,
    End,
    Granted,
    Held,
    HeldBack,
    Items,
    Kept,
    LaneDone,
    Learnt,
    Refused,
    Room,
    ScoreRow,
    Standing,
    Stop,
    Stopped,
    Tell,
    ToWorker,
    Wanted,
    Weighed,
    Wire,
)
from steelyard.engine.progress import CellProgress, Progress
from steelyard.engine.reuse.cache import Cache, identity
from steelyard.engine.stage import distinct_providers, measuring, opened, probe, watched
from steelyard.engine.weight.loops import loop_factory
from steelyard.engine.weight.resources import Resources
from steelyard.engine.work import OpenCell
from steelyard.engine.writer import BY_A_THREAD, FROM_WORKERS
from steelyard.errors import SteelyardError
from steelyard.plan.plan import plan_from_document
from steelyard.providers.refusals import LONGEST_ASKED_S
from steelyard.secrets import scrub
from steelyard.store import NewCall, NewScore
from steelyard.types import Score
from steelyard.types.ready import ready

if TYPE_CHECKING:
    from steelyard.store import Store

STANDING_EVERY_S = 0.25
LEAST_ASKED_FOR = 4
CUT_OFF_WITHIN_S = 2.0


class Keeper:
    """The run's writer, seen from here: rows go over the wire, and come back as durable."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._numbers = itertools.count()
        self._waiting: dict[int, Callable[[int], None]] = {}
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.numbers_of_cells: dict[int, int] = {}
        self.uncommitted_per_slot, self.most_uncommitted_per_slot = BY_A_THREAD, FROM_WORKERS

    def call(self, row: NewCall, then: Callable[[int], None]) -> None:
        """Hand in a call."""
        self.scored_call(row, None, then)

    def scored_call(self, row: NewCall, scores: dict[str, Score] | None, then: Callable[[int], None]) -> None:
        """Hand in a call with its scores, which the run keeps when it is durable."""
        number = next(self._numbers)
        self._waiting[number] = then
        self._wire.say(CallRow(number=number, cell=self.numbers_of_cells[row.cell], row=row, scores=scores))

    def scores(self, row: NewScore, then: Callable[[], None]) -> None:
        """Hand in the scores of a call that is durable."""
        number = next(self._numbers)
        self._waiting[number] = lambda _: then()
        self._wire.say(ScoreRow(number=number, row=row))

    def kept(self, said: Kept) -> None:
        """Rows are durable."""
        for number, call_id in said.rows:
            self._waiting.pop(number)(call_id)

    def room(self, said: Room) -> None:
        """The disk is full, or is not any more."""
        self._has_room.set() if said.is_there else self._has_room.clear()

    @property
    def is_full(self) -> bool:
        """Whether the run has no room on its disk."""
        return not self._has_room.is_set()

    async def ready(self) -> None:
        """Return when what is paid for from now on can be kept."""
        if not self._has_room.is_set():
            await self._has_room.wait()

    async def drain(self) -> None:
        """Nothing here waits for all that was handed in: a lane ends when each of its items has."""


class Supply:
    """The items that the run leaves to one lane here: while some are loaded, the next ones are on their way."""

    def __init__(self, wire: Wire, model: str, cells: dict[int, OpenCell], most: int) -> None:
        self._wire, self._model, self._cells, self._most = wire, model, cells, most
        self._items: list[Item] = []
        self._is_last = False
        self._came = asyncio.Event()

    def items(self, said: Items) -> None:
        """Some more, or the word that there will be none."""
        self._items.extend((self._cells[cell], position, repeat) for cell, position, repeat in said.errands)
        if said.is_last:
            self.end()
        self._came.set()

    def end(self) -> None:
        """Ask for nothing more, and wait for nothing that was asked for."""
        self._is_last = True
        self._came.set()

    async def __call__(self) -> Source:
        """What the run leaves to this lane, some at a time."""
        self._ask()
        while self._items or not self._is_last:
            await self._came.wait()
            self._came.clear()
            items, self._items = self._items, []
            self._ask()
            yield items

    def _ask(self) -> None:
        if not self._is_last:
            self._wire.say(Wanted(model=self._model, most=self._most))


class Worker:
    """What this process does for a run."""

    def __init__(self, wire: Wire, begin: Begin) -> None:
        self._wire, self._begin = wire, begin
        self._keeper = Keeper(wire)
        self._progress = Progress(say=lambda text: wire.say(Tell(text=text)))
        self._draws: dict[int, asyncio.Future[float]] = {}
        self._numbers = itertools.count()
        self._ledger = Ledger(draw=self._draw if begin.is_limited else None)
        self._lanes: dict[str, Lane] = {}
        self._supplies: dict[str, Supply] = {}
        self._learnt: dict[str, dict[str, str]] = {}

    async def work(self) -> None:
        """Prepare, work to the end, say what it took. Nothing is heard before there are lanes that it is for."""
        plan = plan_from_document(msgspec.json.decode(self._begin.plan))
        with readings.shared(self._begin.readings):
            cells = prepare_cells(plan, prepare_tasks(plan, {}), {})
        if any(prices.price_source(spec) == prices.TABLE for model in plan.models for spec in model.asked):
            prices.load_table()
        with _opened(self._begin.earlier) as store:
            self._open_lanes(cells, store, plan.seed)
            resources = Resources(
                is_waiting=lambda: any(cell.in_flight for cell in self._progress.cells),
                came=lambda: sum(cell.came for cell in self._progress.cells),
            )
            async with opened(distinct_providers(cells)), watched(resources), measuring():
                await probe(cells)
                await self._drive()
            resources.close()
        self._wire.say(Weighed(figures=resources.figures()))

    async def _drive(self) -> None:
        telling = asyncio.create_task(self._tell_standing())
        async with asyncio.TaskGroup() as working:  # where one lane fails, the others ask nothing more
            for model, lane in self._lanes.items():
                working.create_task(self._run(model, lane))
        telling.cancel()
        self.say_books(is_last=True)
        self._say_learnt()

    async def _run(self, model: str, lane: Lane) -> None:
        await lane.run(None, self._supplies[model]())
        self._wire.say(LaneDone(model=model, reason=lane.stopped))

    def hear(self, said: ToWorker) -> None:
        """Take what the run says to whom it is for."""
        match said:
            case Kept():
                self._keeper.kept(said)
            case Items(model=model):
                self._supplies[model].items(said)
            case Granted(number=number, usd=usd):
                self._draws.pop(number).set_result(usd)
            case Room():
                self._keeper.room(said)
            case Ahead(uncommitted=uncommitted):
                self._keeper.uncommitted_per_slot = uncommitted
            case Stop(model=model, reason=reason):
                self._lanes[model].stop(reason)
            case Held(model=model, seconds=seconds, gate=gate):
                self._lanes[model].throttles[gate].gate.hold(seconds, most_s=LONGEST_ASKED_S)

    def _open_lanes(self, cells: list[Cell], store: Store | None, seed: int) -> None:
        begin = self._begin
        policy = msgspec.json.decode(begin.policy, type=ready(RetryPolicy))
        of_model: dict[str, dict[int, OpenCell]] = {}
        for number, (cell, row) in enumerate(zip(cells, begin.rows, strict=True)):
            counters = CellProgress(model=cell.spec.id, label=cell.info.label, planned=0)
            self._progress.cells.append(counters)
            of_model.setdefault(cell.spec.id, {})[number] = OpenCell(
                cell=cell, row=row, session=begin.session, done=set(), progress=counters, identity=identity(cell.info)
            )
            self._keeper.numbers_of_cells[row] = number
        for seat in {cell.judge for cell in cells if cell.judge is not None}:
            seat.share(begin.workers)
            seat.policy, seat.tell = policy, self._progress.tell
            if store is not None and begin.earlier is not None:
                seat.memory = Verdicts(store, begin.run_id, since_s=begin.earlier.since_s, tell=seat.tell)
            seat.till = None if costs_nothing(seat.spec) else Till(self._ledger, seat.spec)
        gates = Gates(policy)
        for model, group in of_model.items():
            concurrency = next(iter(group.values())).cell.spec.concurrency
            assert concurrency is not None
            self._supplies[model] = Supply(self._wire, model, group, max(concurrency, LEAST_ASKED_FOR))
            self._lanes[model] = self._lane(list(group.values()), store, concurrency, seed, gates)

    def _lane(self, cells: list[OpenCell], store: Store | None, concurrency: int, seed: int, gates: Gates) -> Lane:
        spec = cells[0].cell.spec
        lane = Lane(
            cells,
            writer=self._keeper,
            progress=self._progress,
            concurrency=concurrency,
            seed=seed,
            policy=gates.policy,
            gates=gates,
            on_stop=partial(self._stopped, spec.id),
        )
        lane.pay_from(self._ledger)
        for gate, throttle in enumerate(lane.throttles):
            throttle.gate.on_refusal = partial(self._refused, spec.id, gate)
        earlier = self._begin.earlier
        if store is not None and earlier is not None:
            asked = [cell.cell for cell in cells]
            tell = self._progress.tell
            lane.use_again(Cache(store, self._begin.run_id, asked, since_s=earlier.since_s, tell=tell))
        return lane

    def _stopped(self, model: str, reason: str) -> None:
        """Nothing more is asked here: what the run deals out all the same, others ask once this lane is done."""
        self._supplies[model].end()
        self._wire.say(Stopped(model=model, reason=reason))

    def _refused(self, model: str, gate: int, seconds: float) -> None:
        self._wire.say(Refused(model=model, seconds=seconds, gate=gate))

    async def _draw(self, wanted_usd: float) -> float:
        number = next(self._numbers)
        given: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._draws[number] = given
        self.say_books()
        self._wire.say(Draw(number=number, usd=wanted_usd))
        return await given

    async def _tell_standing(self) -> None:
        while True:
            await asyncio.sleep(STANDING_EVERY_S)
            self.say_books()
            self._say_learnt()
            for model, lane in self._lanes.items():
                judges = {cell.cell.judge for cell in lane.cells if cell.cell.judge is not None}
                self._wire.say(
                    Standing(
                        model=model,
                        in_flight={cell.row: cell.progress.in_flight for cell in lane.cells},
                        own=held_back([(lane.throttle, lane.till)]),
                        judge=held_back([(judge.throttle, judge.till) for judge in judges]),
                    )
                )

    def _say_learnt(self) -> None:
        cells = [cell.cell for lane in self._lanes.values() for cell in lane.cells]
        if (learnt := learnt_by(cells)) != self._learnt:
            self._learnt = learnt
            self._wire.say(Learnt(settings=learnt))

    def say_books(self, *, is_last: bool = False) -> None:
        """Tell the run what was spent here, and what may have been."""
        ledger = self._ledger
        self._wire.say(
            Books(
                spent_usd=ledger.spent_usd,
                doubtful_usd=ledger.doubtful_usd,
                doubtful_tries=ledger.doubtful_tries,
                cut_off_tries=ledger.cut_off_tries,
                is_last=is_last,
            )
        )


def held_back(gates: Sequence[tuple[Door | None, Till | None]]) -> HeldBack:
    """What waits before some models, each with where it is paid."""
    doors = [door for door, _ in gates if door is not None]
    return HeldBack(
        waiting=sum(door.waiting for door in doors),
        held_for_s=max((door.held_for_s for door in doors), default=0.0),
        is_closed=any(door.is_closed for door in doors),
        resting=sum(door.resting for door in doors),
        is_short=any(till is not None and till.is_short for _, till in gates),
    )


def _opened(earlier: Earlier | None) -> AbstractContextManager[Store | None]:
    """The store, to look something up; where nothing is to be found there it is not even loaded."""
    if earlier is None:
        return nullcontext()
    from steelyard.store import Store  # its database takes as long to load as all the rest of a worker

    return Store.open(earlier.store, create=False)


async def _serve(end: socket.socket) -> None:
    wire = await Wire.over(end)
    decoder = msgspec.msgpack.Decoder(ready(list[ToWorker]))
    said = await wire.hear(decoder)
    if not said or not isinstance(begin := said[0], Begin):
        return
    if begin.allows_unsafe_code:
        sandbox.allow_unsafe()
    worker = Worker(wire, begin)
    working = asyncio.create_task(worker.work())
    hearing = asyncio.create_task(_hear(wire, decoder, worker, said[1:]))
    await asyncio.wait((working, hearing), return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        if hearing.exception() is None and hearing.result():
            await _break_off(wire, worker, working)
        os._exit(0)  # the run is gone, or wants no more of this: what is in flight is nobody's any more
    if (error := working.exception()) is not None:
        worker.say_books(is_last=True)
        wire.say(Broken(text=_words(error)))
    with suppress(ConnectionError):  # then the run is gone, which is heard next
        await wire.flush()
    await hearing


async def _break_off(wire: Wire, worker: Worker, working: asyncio.Task[None]) -> None:
    """Cut off what is in flight, and tell what it may cost: in all, unless some of it takes too long to be cut off."""
    working.cancel()
    await asyncio.wait((working,), timeout=CUT_OFF_WITHIN_S)
    worker.say_books(is_last=working.done())
    with suppress(ConnectionError, TimeoutError):
        await asyncio.wait_for(wire.leave(), CUT_OFF_WITHIN_S)


async def _hear(
    wire: Wire, decoder: msgspec.msgpack.Decoder[list[ToWorker]], worker: Worker, said: Sequence[ToWorker]
) -> bool:
    """Take what was said already, and listen until the run ends this (true), or is gone."""
    while True:
        for message in said:
            if isinstance(message, End):
                return True
            worker.hear(message)
        if not (said := await wire.hear(decoder)):
            return False


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return scrub(str(error) if isinstance(error, SteelyardError) else f"{type(error).__name__}: {error}")


def main() -> None:
    """Work for the run that started this process, over the socket whose number it gave."""
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(child.own_socket()))


if __name__ == "__main__":
    main()
