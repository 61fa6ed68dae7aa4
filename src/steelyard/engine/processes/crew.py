"""Workers: processes of this machine that share the items, the limits and the money of one run.

The run deals out items as workers have room for them, keeps every row that comes back (it alone writes), gives out
money, passes refusals on, and goes on with those that are left where a worker dies. Any number of workers asks the same
items and ends with the same records; nothing but values crosses, so a worker may as well live elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping

import msgspec
from msgspec.structs import replace

from steelyard import sandbox
from steelyard.benchmarks.readings import Reading
from steelyard.engine import learnt
from steelyard.engine.asking.attempts import RetryPolicy
from steelyard.engine.money.budget import SPENT, Grant, Ledger
from steelyard.engine.pipeline import Lane
from steelyard.engine.processes.frames import (
    Ahead,
    Begin,
    Books,
    Broken,
    CallRow,
    Draw,
    Earlier,
    Granted,
    Held,
    LaneDone,
    Learnt,
    Refused,
    Room,
    ScoreRow,
    Standing,
    Stop,
    Stopped,
    Tell,
    ToRun,
    Wanted,
    Weighed,
)
from steelyard.engine.processes.hand import Hand
from steelyard.engine.processes.shared_lane import SharedLane
from steelyard.engine.reuse.cache import oldest_used_s
from steelyard.engine.weight.resources import together
from steelyard.engine.work import OpenCell, Work
from steelyard.engine.writer import BY_A_THREAD, Writer
from steelyard.errors import EnvironmentFault
from steelyard.plan.plan import Plan
from steelyard.types import ModelSpec

MOST_DEATHS = 3


class Crew:
    """The workers of one run; an async context in which they live."""

    def __init__(
        self,
        plan: Plan,
        *,
        run_id: str,
        session: int,
        store: str,
        ledger: Ledger,
        writer: Writer,
        tell: Callable[[str], None],
        policy: RetryPolicy,
    ) -> None:
        self.ledger, self.deaths = ledger, 0
        self.hands: list[Hand] = []
        self.learnt: learnt.Learnt = {}
        self.lanes: dict[str, SharedLane] = {}
        self._plan, self.workers = plan, plan.workers
        self._run_id, self._session, self._store = run_id, session, store
        self._writer, self._tell, self._policy = writer, tell, policy
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_ending = False
        writer.on_room, writer.on_hired = self._room, self._ahead

    def take(self, inner: Lane, left_over: Callable[[], AsyncIterable[Work]]) -> SharedLane:
        """The lane, shared out; to be called before the workers are hired."""
        lane = self.lanes[inner.model] = SharedLane(inner, self, left_over)
        return lane

    @property
    def has_hands(self) -> bool:
        """Whether any worker is left."""
        return any(hand.is_alive for hand in self.hands)

    async def __aenter__(self) -> Crew:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._is_ending = True
        is_complete = kind is None and all(hand.done >= self.lanes.keys() for hand in self.hands if hand.is_alive)
        await asyncio.gather(*(hand.end(patiently=is_complete) for hand in self.hands))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._failed.cancel()
        for hand in self.hands:
            hand.grant.close(was_lost=not hand.has_told_all)

    async def hire(self) -> None:
        """Start the workers, if there is anything for them to do."""
        if self.lanes:
            for number in range(self.workers or 0):
                await self._hire(number)

    async def until(self, over: asyncio.Event, drawing: asyncio.Future[None]) -> None:
        """Return when a lane is over; raise where no worker can go on with it, or no item can be drawn."""
        waiting: asyncio.Future[object] = asyncio.ensure_future(over.wait())
        try:
            pending: set[asyncio.Future[object]] = {waiting, self._failed, drawing}  # type: ignore[arg-type]
            while not over.is_set():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for future in done:
                    future.result()
        finally:
            waiting.cancel()

    @property
    def uncommitted_per_slot(self) -> int:
        """How many answers a slot of a worker may have handed in that are not durable yet."""
        return self._writer.from_workers

    async def kept(self) -> None:
        """Return when all that workers have handed in is durable."""
        await self._writer.drain()

    def stop(self, model: str, reason: str) -> None:
        """Tell every worker that a model is to be asked nothing more."""
        for hand in self.hands:
            hand.say(Stop(model=model, reason=reason))

    def figures(self, own: Mapping[str, float]) -> dict[str, float]:
        """What this process took, and what writes and works for it: time and memory in sum, of lags the worst."""
        return together(own, [self._writer.figures, *(hand.figures for hand in self.hands)])

    async def _hire(self, number: int) -> None:
        """Start a worker, and say what its share is."""
        specs = self._share(number)
        cells = [cell for spec in specs for cell in self.lanes[spec.id].cells]
        earlier = await self._earlier()
        hand = Hand(number, cells, {spec.id: spec.concurrency or 1 for spec in specs}, Grant(self.ledger))
        self.hands.append(hand)
        await hand.begin(
            Begin(
                plan=msgspec.json.encode(replace(self._plan, models=specs, workers=None)),
                workers=self.workers or 1,
                run_id=self._run_id,
                session=self._session,
                rows=tuple(cell.row for cell in cells),
                allows_unsafe_code=sandbox.is_unsafe_allowed(),
                is_limited=self.ledger.is_limited,
                earlier=earlier,
                readings=_readings(cells),
                policy=msgspec.json.encode(self._policy),
            )
        )
        hand.done = self.lanes.keys() - hand.in_hand.keys()
        if self._writer.is_full:
            hand.say(Room(is_there=False))
        if self.uncommitted_per_slot > BY_A_THREAD:
            hand.say(Ahead(uncommitted=self.uncommitted_per_slot))
        self._begin(self._attend(hand))

    async def _earlier(self) -> Earlier | None:
        """What the workers may use again; ``None`` where nothing may be, or the store holds nothing for them."""
        since_s = oldest_used_s(self._plan)
        if since_s is None or not any([await lane.may_use_earlier() for lane in self.lanes.values()]):
            return None
        return Earlier(store=self._store, since_s=since_s)

    def _share(self, number: int) -> tuple[ModelSpec, ...]:
        """The models as one worker asks them: with its share of what may be in flight, and of requests a minute."""
        specs = []
        for spec in self._plan.models:
            if spec.id not in self.lanes:
                continue
            whole = self.lanes[spec.id].concurrency
            if slots := shared(whole, number, self.workers or 1):
                specs.append(replace(_part_of(spec, slots / whole), concurrency=slots))
        return tuple(specs)

    async def _attend(self, hand: Hand) -> None:
        """Hear a worker out; where it dies, go on without it."""
        await hand.listen(self._hear)
        if not self._is_ending and not hand.has_ended.is_set():
            await self._replace(hand, await asyncio.to_thread(hand.how_it_died))

    async def _replace(self, hand: Hand, how: str) -> None:
        """Hire another in the place of one that died, unless too many have died, or the run has ended meanwhile."""
        if self._is_ending:
            return
        self.deaths += 1
        in_hand = sum(map(len, hand.in_hand.values()))
        at_risk = sum(self.lanes[model].at_risk(hand) for model in hand.in_hand)
        hand.grant.close(was_lost=True)
        self._tell(
            f"worker {hand.number + 1} died ({how}): {in_hand} items are asked by others; up to {at_risk} calls "
            "without a record may be paid for twice"
        )
        if self.deaths <= MOST_DEATHS:
            await self._writer.ready()  # who is hired may have to read the store, and without it would end the run
            await self._hire(hand.number)
        elif not self.has_hands:
            self._fail(EnvironmentFault(f"{self.deaths} workers died, the last one {how}; what is durable is kept"))
        for model in hand.in_hand:
            self.lanes[model].lost(hand)

    def _hear(self, hand: Hand, said: ToRun) -> None:
        match said:
            case CallRow():
                self.lanes[hand.cells[said.cell].cell.spec.id].call(hand, said, self._writer)
            case ScoreRow():
                next(lane for lane in self.lanes.values() if lane.knows(said.row.call)).scores(hand, said, self._writer)
            case Wanted(model=model, most=most):
                self.lanes[model].wanted(hand, most)
            case Draw():
                self._begin(self._give(hand, said))
            case Books():
                hand.grant.told(said.spent_usd, said.doubtful_usd, said.doubtful_tries, said.cut_off_tries)
                if said.is_last:
                    hand.has_told_all = True
                    hand.grant.close()
            case Standing():
                hand.standing[said.model] = said
                self._count_in_flight(said.model)
            case Refused(model=model, seconds=seconds, gate=gate):
                for other in self.hands:
                    if other is not hand and model in other.in_hand:
                        other.say(Held(model=model, seconds=seconds, gate=gate))
            case Tell(text=text):
                self._tell(text)
            case Learnt(settings=settings):
                self.learnt = learnt.together(self.learnt, settings)
            case Stopped(model=model, reason=reason):
                if reason != SPENT and self.lanes[model].stopped is None:
                    self.lanes[model].stop(reason)
            case LaneDone(model=model, reason=reason):
                self.lanes[model].done(hand, reason)
            case Weighed(figures=figures):
                hand.figures = figures
                hand.has_ended.set()
            case Broken(text=text):
                self._fail(EnvironmentFault(f"worker {hand.number + 1} cannot go on: {text}"))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What goes wrong between a worker and the run ends the run: nobody is left to wait for an answer."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _give(self, hand: Hand, said: Draw) -> None:
        hand.say(Granted(number=said.number, usd=await hand.grant.more(said.usd)))

    def _count_in_flight(self, model: str) -> None:
        for cell in self.lanes[model].cells:
            cell.progress.in_flight = sum(hand.in_flight(cell.row) for hand in self.hands if hand.is_alive)

    def _room(self, is_there: bool) -> None:
        for hand in self.hands:
            hand.say(Room(is_there=is_there))

    def _ahead(self) -> None:
        for hand in self.hands:
            hand.say(Ahead(uncommitted=self.uncommitted_per_slot))

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)


def _readings(cells: Iterable[OpenCell]) -> tuple[Reading, ...]:
    """What reading the users' own files through has found, so that no worker has to."""
    from steelyard.benchmarks.own import Samples

    own = [samples for cell in cells if isinstance(samples := cell.cell.task.dataset.samples, Samples)]
    return tuple({id(samples): samples.reading() for samples in own}.values())


def _part_of(spec: ModelSpec, part: float) -> ModelSpec:
    """The model, and whoever else is asked for its answers, with a part of what each may be asked a minute."""
    cascade, confidence = spec.cascade, spec.confidence
    if cascade is not None:
        cascade = replace(cascade, cheap=_part_of(cascade.cheap, part), dear=_part_of(cascade.dear, part))
    if confidence is not None and confidence.judge is not None:
        confidence = replace(confidence, judge=_part_of(confidence.judge, part))
    return replace(
        spec,
        concurrency=spec.concurrency and max(1, round(spec.concurrency * part)),
        requests_per_minute=spec.requests_per_minute and spec.requests_per_minute * part,
        tokens_per_minute=spec.tokens_per_minute and spec.tokens_per_minute * part,
        server_pid=None,
        cascade=cascade,
        confidence=confidence,
    )


def shared(total: int, number: int, among: int) -> int:
    """The ``number``-th share of a whole that is dealt out one by one."""
    return total // among + (number < total % among)
