"""One model's items dealt out among workers, and what comes back of them counted and kept."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterable, Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from steelyard.engine.loading import Item, Source
from steelyard.engine.money.budget import SPENT, Ledger
from steelyard.engine.pipeline import Lane
from steelyard.engine.processes.frames import CallRow, HeldBack, Items, ScoreRow, Standing
from steelyard.engine.processes.hand import Hand
from steelyard.engine.schedule.horizon import Place
from steelyard.engine.work import OpenCell, Work
from steelyard.engine.writer import Writer
from steelyard.types import Score

READY_A_WORKER = 128


class Workers(Protocol):
    """Those among whom a lane is dealt out, so far as the lane sees them."""

    ledger: Ledger
    hands: list[Hand]
    deaths: int

    @property
    def has_hands(self) -> bool:
        """Whether any worker is left."""
        ...

    @property
    def uncommitted_per_slot(self) -> int:
        """How many answers a slot of a worker may have handed in that are not durable yet."""
        ...

    async def until(self, over: asyncio.Event, drawing: asyncio.Future[None]) -> None:
        """Return when a lane is over; raise where no worker can go on with it, or no item can be drawn."""
        ...

    async def kept(self) -> None:
        """Return when all that workers have handed in is durable."""
        ...

    def stop(self, model: str, reason: str) -> None:
        """Tell every worker that a model is to be asked nothing more."""
        ...


class Unscored(NamedTuple):
    """A call that is kept and waits for its scores, from the worker that made it."""

    hand: Hand
    cell: OpenCell
    place: Place
    is_reused: bool


class SharedGate:
    """What keeps the requests to one model back, or those to its judge, over all workers."""

    def __init__(self, model: str, hands: Sequence[Hand], which: Callable[[Standing], HeldBack]) -> None:
        self._model, self._hands, self._which = model, hands, which

    def _standings(self) -> list[HeldBack]:
        alive = [hand.standing[self._model] for hand in self._hands if self._model in hand.standing and hand.is_alive]
        return [self._which(standing) for standing in alive]

    @property
    def waiting(self) -> int:
        """Requests that wait to be let go."""
        return sum(standing.waiting for standing in self._standings())

    @property
    def held_for_s(self) -> float:
        """Seconds until the next one may go, at the worker that waits longest."""
        return max((standing.held_for_s for standing in self._standings()), default=0.0)

    @property
    def is_closed(self) -> bool:
        """Whether the service cannot be reached at present."""
        return any(standing.is_closed for standing in self._standings())

    @property
    def resting(self) -> int:
        """Requests that failed and wait until they are tried again."""
        return sum(standing.resting for standing in self._standings())

    @property
    def is_short(self) -> bool:
        """Whether a worker's request waits for money that others hold."""
        return any(standing.is_short for standing in self._standings())


class SharedJudge:
    """The judge of a model's answers, over all workers."""

    def __init__(self, model: str, hands: Sequence[Hand]) -> None:
        self.throttle = self.till = SharedGate(model, hands, lambda standing: standing.judge)


class SharedLane:
    """All cells of one model, dealt out among workers. Answers that were never scored are scored in this process.

    Scores that come with a call are this process's to keep: the lane is not over before they are durable.
    """

    def __init__(self, inner: Lane, crew: Workers, left_over: Callable[[], AsyncIterable[Work]]) -> None:
        self.model, self.cells, self.concurrency = inner.model, inner.cells, inner.concurrency
        self._inner, self._crew, self._left_over = inner, crew, left_over
        self._ready: deque[Item] = deque()
        self._asking: deque[tuple[Hand, int]] = deque()
        self._in_hand = 0
        self._is_drawn = self._has_run_short = False
        self._is_wanted, self._is_over = asyncio.Event(), asyncio.Event()
        self._unscored: dict[int, Unscored] = {}
        self._with_scores = 0
        for cell in self.cells:
            cell.progress.throttle = cell.progress.purse = SharedGate(
                self.model, crew.hands, lambda standing: standing.own
            )
            cell.progress.judge = None if cell.cell.judge is None else SharedJudge(self.model, crew.hands)

    @property
    def stopped(self) -> str | None:
        """Why the model was given up, if it was."""
        return self._inner.stopped

    async def may_use_earlier(self) -> bool:
        """Whether the store may hold an answer, or a judge's word, that a worker can use again."""
        cache = self._inner.cache
        if cache is None or any(cell.cell.judge is not None for cell in self.cells):
            return cache is not None
        await cache.open()
        return not cache.is_empty

    def stop(self, reason: str) -> None:
        """Send nothing more, anywhere."""
        if self._inner.stopped is None:
            self._inner.stop(reason)
        self._crew.stop(self.model, reason)
        self._deal()

    async def run(self, unscored: AsyncIterable[Work]) -> None:
        """Work until every item is scored or has failed, or until stopped."""
        await self._inner.run(unscored, _nothing())
        drawing = asyncio.ensure_future(self._draw(self._inner.remaining()))
        try:
            await self._crew.until(self._is_over, drawing)
        finally:
            drawing.cancel()
        if self._crew.deaths and not self.stopped:
            await self._crew.kept()
            await self._inner.run(self._left_over(), _nothing())

    async def _draw(self, source: Source) -> None:
        """Keep some items ready to be dealt, as long as there are any."""
        async for some in source:
            self._ready.extend(some)
            while len(self._ready) >= READY_A_WORKER * len(self._crew.hands):
                self._is_wanted.clear()
                await self._is_wanted.wait()
            if self._asking:
                self._deal()
        self._is_drawn = True
        self._deal()

    def wanted(self, hand: Hand, most: int) -> None:
        """A worker has room for more."""
        self._asking.append((hand, most))
        self._deal()

    def call(self, hand: Hand, said: CallRow, keep: Writer) -> None:
        """A worker hands in a call."""
        cell = hand.cells[said.cell]
        errand = (said.cell, said.row.position, said.row.call.repeat)
        if errand in hand.in_hand[self.model]:
            hand.in_hand[self.model].discard(errand)
            self._in_hand -= 1
        self._with_scores += said.scores is not None
        keep.call(said.row, partial(self._call_is_kept, hand, said, cell, keep))
        if not self._in_hand:
            self._deal()

    def scores(self, hand: Hand, said: ScoreRow, keep: Writer) -> None:
        """A worker hands in the scores of a call."""
        keep.scores(said.row, partial(self._scores_are_kept, hand, said))

    def knows(self, call_id: int) -> bool:
        """Whether the call is one of this model's that waits for its scores."""
        return call_id in self._unscored

    def done(self, hand: Hand, reason: str | None) -> None:
        """A worker has come to the end of what it was given, or its money has."""
        hand.done.add(self.model)
        self._has_run_short |= reason == SPENT
        self._take_back(hand)
        self._look_for_the_end()

    def at_risk(self, hand: Hand) -> int:
        """The calls that a worker's death can cost at the utmost: those behind answers and verdicts not handed in."""
        asked = min(len(hand.in_hand[self.model]), (1 + self._crew.uncommitted_per_slot) * hand.slots[self.model])
        judges = [waiting.cell.cell.judge for waiting in self._unscored.values() if waiting.hand is hand]
        heard = sum(judge.calls_per_answer for judge in judges if judge is not None)
        return asked * self.cells[0].cell.spec.calls_per_answer + heard

    def lost(self, hand: Hand) -> None:
        """A worker is gone: what it had in hand is dealt anew, what it was to score is scored at the end."""
        for waiting in self._unscored.values():
            if waiting.hand is hand:
                waiting.cell.horizon.leave(waiting.place)
        hand.done.add(self.model)
        self._take_back(hand)
        self._look_for_the_end()

    def _take_back(self, hand: Hand) -> None:
        left = hand.in_hand[self.model]
        self._ready.extendleft((hand.cells[cell], position, repeat) for cell, position, repeat in sorted(left))
        self._in_hand -= len(left)
        left.clear()
        self._asking = deque(asking for asking in self._asking if asking[0] is not hand)
        self._deal()

    def _look_for_the_end(self) -> None:
        """The lane is over once nobody works on it. One that died does, until what it had in hand is taken back."""
        if self._with_scores or any(self.model not in hand.done for hand in self._crew.hands):
            return
        if self._has_run_short and (self._ready or not self._is_drawn) and self.stopped is None:
            self._inner.stop(SPENT)
            self._crew.ledger.is_exhausted = True
        if self._has_none_left or self._crew.has_hands:
            self._is_over.set()

    @property
    def _has_none_left(self) -> bool:
        """Whether no item is left that anybody could ask."""
        return self.stopped is not None or (self._is_drawn and not self._ready and not self._in_hand)

    def _deal(self) -> None:
        """Give items to those that have asked for some; the word that there are no more once none can come back."""
        while self._asking and self._ready and self.stopped is None:
            hand, most = self._asking.popleft()
            items = [self._ready.popleft() for _ in range(min(self._fair(most), len(self._ready)))]
            errands = tuple((hand.number_of[cell.row], position, repeat) for cell, position, repeat in items)
            hand.in_hand[self.model].update(errands)
            self._in_hand += len(errands)
            for cell, _, _ in items:
                cell.progress.started_s = cell.progress.started_s or time.monotonic()
            hand.say(Items(model=self.model, errands=errands, is_last=False))
        self._is_wanted.set()
        if self._has_none_left:
            while self._asking:
                hand, _ = self._asking.popleft()
                hand.say(Items(model=self.model, errands=(), is_last=True))

    def _fair(self, most: int) -> int:
        """Towards the end smaller shares, so that all workers end at about the same time."""
        if not self._is_drawn:
            return most
        return min(most, math.ceil(len(self._ready) / (2 * len(self._crew.hands))))

    def _call_is_kept(self, hand: Hand, said: CallRow, cell: OpenCell, keep: Writer, call_id: int) -> None:
        row, is_reused = said.row, said.row.reused_from is not None
        cell.progress.count_call(row.call, is_reused=is_reused, saved_usd=row.saved_usd)
        call = Unscored(hand, cell, (row.position, row.call.repeat), is_reused)
        if said.scores is not None:
            scores = cell.new_score(call_id, row.call.completion, said.scores)
            keep.scores(scores, partial(self._scores_with_call_are_kept, call, said.scores))
        elif row.call.failure is None and hand.is_alive:
            self._unscored[call_id] = call
        else:
            cell.horizon.leave(call.place)
        hand.keep(said.number, call_id)

    def _scores_with_call_are_kept(self, call: Unscored, scores: dict[str, Score]) -> None:
        self._count_scores(call, scores)
        self._with_scores -= 1
        self._look_for_the_end()

    def _scores_are_kept(self, hand: Hand, said: ScoreRow) -> None:
        self._count_scores(self._unscored.pop(said.row.call), said.row.scores)
        hand.keep(said.number, said.row.call)

    def _count_scores(self, call: Unscored, scores: dict[str, Score]) -> None:
        headline = scores[call.cell.cell.info.scored[0]]
        call.cell.progress.count_score(headline, is_reused=call.is_reused)
        call.cell.horizon.leave(call.place)


async def _nothing() -> Source:
    """No items at all."""
    yield ()
