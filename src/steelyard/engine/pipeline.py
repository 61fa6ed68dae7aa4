"""The way of an answer through one run: load, generate, store, score, store.

Every model has a lane of its own, so models run side by side. A lane's window bounds how many items are anywhere
between loading and the last write, which bounds every queue and the memory; one writer commits in batches; an answer
is scored only after it is durable, or scored in passing and its scores kept after. Nothing here knows what a benchmark
asks or how a provider answers.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterable, Callable, Container, Sequence
from datetime import UTC, datetime
from functools import partial

from steelyard import prices
from steelyard.engine.asking.attempts import Asker, Outcome, RetryPolicy
from steelyard.engine.asking.batch_lane import MOST_HELD, BatchLane
from steelyard.engine.asking.believed import believed
from steelyard.engine.asking.clock import Clock, in_words, without_times
from steelyard.engine.asking.gates import Gates
from steelyard.engine.asking.standings import Piece, Standings, key_of
from steelyard.engine.asking.system import System, Unpaid, system_of
from steelyard.engine.asking.throttle import Door, GateShut
from steelyard.engine.asking.way import extractor, total_usd
from steelyard.engine.judging.grade import grade, grade_at_once, is_quick
from steelyard.engine.loading import Loader, Occupancy, Source, Window
from steelyard.engine.money.budget import SPENT, Bill, Ledger, Till, costs_nothing
from steelyard.engine.progress import Progress
from steelyard.engine.reuse.cache import Cache
from steelyard.engine.stragglers import Stragglers
from steelyard.engine.work import OpenCell, Work
from steelyard.engine.writer import Keeps
from steelyard.errors import unended
from steelyard.providers.batches import Answered, BatchService
from steelyard.providers.services import where_the_key_is
from steelyard.types import Call, Completion, Failure, Score

MOST_SCORERS = 32
HOPELESS_AFTER = 10
GRACE_S = 5.0


class Lane:
    """All cells of one model, from loading to the last write.

    A kill loses, for each request in flight, at most that one and the answers that the writer lets it have uncommitted.
    """

    def __init__(
        self,
        cells: Sequence[OpenCell],
        *,
        writer: Keeps,
        progress: Progress,
        concurrency: int,
        seed: int,
        policy: RetryPolicy,
        gates: Gates | None = None,
        on_stop: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.cells, self._writer, self._progress = cells, writer, progress
        self.till: Till | None = None
        self._spec = cells[0].cell.spec
        self.model = self._spec.id
        self._on_stop = on_stop
        self.concurrency = concurrency
        gates, generator = gates or Gates(policy), random.Random()
        self._system = system_of(
            cells[0].cell,
            policy=policy,
            gates=gates,
            concurrency=concurrency,
            tell=progress.tell,
            generator=generator,
        )
        first = cells[0].cell.provider
        self.throttle = (
            self._system.first.asker.throttle if self._system else gates.door(concurrency, self._spec, first)
        )
        self._asker: Asker | None = None
        if first is not None:
            self._asker = Asker(
                first,
                timeout_s=self._spec.timeout_s,
                policy=policy,
                generator=generator,
                throttle=self.throttle,
                notice=progress.tell,
            )
        self._clock = Clock()
        self._stragglers = Stragglers(self.model, self._spec.timeout_s, progress.tell, self._held)
        for cell in cells:
            cell.progress.throttle, cell.progress.disk = self.throttle, writer
            cell.progress.judge = cell.cell.judge
        self.batches: BatchLane | None = None
        self._counted_shares: Container[int | None] = ()
        of_slots = concurrency * (1 + writer.most_uncommitted_per_slot)
        self._window = Window(MOST_HELD if self._spec.batch else of_slots)
        self._loader = Loader(cells, self._window, seed, answered=self._keep)
        self._durable: asyncio.Queue[Work | None] = asyncio.Queue()
        self._failures = 0
        self._has_answered = False
        self.stopped: str | None = None

    def pay_from(self, ledger: Ledger) -> None:
        """Let what may cost something be paid from the one ledger."""
        first, *_ = self._spec.asked
        self.till = None if costs_nothing(self._spec) else Till(ledger, first)
        for cell in self.cells:
            cell.progress.purse = self.till
        if self._system is not None:
            self._system.pay_from(ledger)

    @property
    def cache(self) -> Cache | None:
        """The answers of earlier runs that may be used again."""
        return self._loader.cache

    def use_again(self, cache: Cache) -> None:
        """Answer from earlier runs what they have answered."""
        self._loader.cache = cache

    def remaining(self) -> Source:
        """Every item that is still to be asked, in the order of the plan, some at a time, as far as horizons let go."""
        return self._loader.remaining()

    def _held(self) -> str | None:
        return next((held for cell in self.cells if (held := cell.progress.held())), None)

    @property
    def throttles(self) -> tuple[Door, ...]:
        """The gate before each model that is asked."""
        return (self.throttle,) if self._system is None else self._system.throttles

    def stop(self, reason: str) -> None:
        """Send nothing more; what is in flight may still come in, and what was reserved before the money ended."""
        self.stopped = self.stopped or reason
        self._loader.stop()
        for cell in self.cells:
            cell.horizon.abandon()
            cell.progress.stopped = self.stopped
        if reason != SPENT:
            for throttle in self.throttles:
                throttle.shut()
        self._on_stop(reason)

    async def run(self, unscored: AsyncIterable[Work] | None, source: Source | None = None) -> None:
        """Work until every item of ``source`` is scored or has failed, or until stopped.

        ``unscored`` were answered earlier, if any; without a source every remaining item is asked.
        """
        seats = [cell.cell.judge.concurrency for cell in self.cells if cell.cell.judge is not None]
        scorers = min(max([1, self.concurrency, *seats]), MOST_SCORERS)
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(self._clock.watch())
            scoring = [group.create_task(self._score()) for _ in range(scorers)]
            if self.batches is not None:
                generating = [group.create_task(self._by_batches(self.batches))]
            else:
                generating = [group.create_task(self._generate()) for _ in range(self.concurrency)]
            if unscored is not None:
                await self._load_unscored(unscored)
            await self._loader.load(source or self.remaining(), askers=self.concurrency)
            watching = group.create_task(self._stragglers.watch())
            await asyncio.gather(*generating)
            watching.cancel()
            ticking.cancel()
            await self._window.until_at_most(0)
            for _ in scoring:
                self._durable.put_nowait(None)

    async def _load_unscored(self, unscored: AsyncIterable[Work]) -> None:
        async for work in unscored:
            await self._window.room()
            self._window.enter()
            work.cell.horizon.enter(work.cell.horizon.earlier, work.place)
            self._durable.put_nowait(work)

    def _leave(self, work: Work) -> None:
        if work.bill is not None:
            work.bill.keep_promise()
        work.cell.horizon.leave(work.place)
        self._window.leave()

    async def _generate(self) -> None:
        """Ask one item after another, the next one while the last few answers are being committed."""
        loaded, uncommitted = self._loader.loaded, Occupancy()
        while (work := await loaded.get() if loaded.empty() else loaded.get_nowait()) is not None:
            if self.stopped or not await self._afford(work):
                self._leave(work)
                continue
            try:
                work.call = await self._answer(work)
            except GateShut:  # the model was given up before the request was sent: the item is still to be asked
                self._leave(work)
                continue
            self._reconsider(work.call)
            try:
                if uncommitted.items >= (most := self._writer.uncommitted_per_slot):
                    await uncommitted.until_at_most(most - 1)
            finally:  # it is paid: whoever breaks the run off has it written all the same
                uncommitted.enter()
                work.when_durable = uncommitted.leave
                self._keep(work)

    async def _by_batches(self, batches: BatchLane) -> None:
        """One round of batches after another, as far as the horizons let go each time."""
        while not (self._loader.is_through and self._loader.loaded.empty()):
            await batches.serve(self._loader.loaded)

    def ask_by_batches(
        self, service: BatchService, standings: Standings, counted_shares: Container[int | None]
    ) -> None:
        """Have this lane's requests handed in as batches instead of one by one.

        What stands and was to be paid by one of ``counted_shares`` is spent already to the store's budget.
        """
        self._counted_shares = counted_shares
        self._loader.gathers = True
        self.batches = BatchLane(
            service=service,
            standings=standings,
            ready=self._writer.ready,
            afford=self._afford,
            owe=self._owe,
            leave=self._leave,
            answered=self._answered_in_batch,
            drain=self._writer.drain,
            stopped=lambda: self.stopped,
            tell=lambda text: self._progress.tell(f"{self.model}: {text}"),
            begin=lambda requests: self._progress.begin_batch(self.model, requests),
            is_loaded=lambda: self._loader.is_through,
        )

    def _owe(self, work: Work, piece: Piece) -> None:
        """The request was handed in by an earlier session: it is paid whether there is money or not."""
        if self.till is not None:
            work.bill = Bill(self.till.ledger, self.till.worst_case, work.request)
            counted_in = piece.share if piece.share in self._counted_shares else None
            work.bill.owe(counted_in, is_doubted=key_of(work) in piece.doubted)

    def _answered_in_batch(self, work: Work, answered: Answered) -> None:
        started = datetime.fromtimestamp(work.started_at_s, UTC)
        work.ended_at_s = time.time()
        completion = answered.completion and believed(answered.completion, work.request, self._progress.tell)
        outcome = Outcome(attempts=(), completion=completion, failure=answered.failure, last_try_s=0.0)
        if answered.is_unbilled and work.bill is not None:
            work.bill.unsend()
            work.bill = None
        work.call = self._called(work, outcome, started)
        self._reconsider(work.call)
        self._keep(work)

    async def _afford(self, work: Work) -> bool:
        """Whether there is room for the answer and money for the request; without money the lane comes to its end."""
        if self._writer.is_full:
            await self._writer.ready()
        if self.till is None:
            return self.stopped is None
        judge = work.cell.cell.judge
        promise_usd = 0.0 if judge is None else judge.most_usd(work.request)
        request = work.request
        if self._system is not None:
            request = self._system.first_request(work.request)
            promise_usd += self._system.most_to_follow_usd(work.request)
        work.bill = await self.till.bill(request, promise_usd=promise_usd)
        if work.bill is None:
            self.stop(SPENT)
        elif self.stopped:  # while it waited for its turn
            work.bill.unsend()
        return self.stopped is None

    def _keep(self, work: Work) -> None:
        """Hand the call in: with its scores, where they may go together and are there at once."""
        scored_call = self._writer.scored_call
        if scored_call is None or (scores := _scores_at_once(work)) is None:
            self._writer.call(work.new_call(), partial(self._stored, work))
        else:
            work.scores = scores
            scored_call(work.new_call(), scores, partial(self._stored_with_scores, work))

    def _stored(self, work: Work, call_id: int) -> None:
        """The call is durable: an answer goes on to be judged, a failure has come to its end."""
        call = self._count(work, call_id)
        if call.completion is None:
            self._leave(work)
        elif (scores := _scores_at_once(work)) is not None:
            self._keep_scores(work, scores)
        else:
            self._durable.put_nowait(work)

    def _stored_with_scores(self, work: Work, call_id: int) -> None:
        """The call is durable, and its scores will be: the item is done."""
        self._count(work, call_id)
        self._done(work)

    def _count(self, work: Work, call_id: int) -> Call:
        """A call is durable: its slot may go on."""
        work.call_id = call_id
        work.when_durable()
        assert work.call is not None
        reused = work.reused
        saved_usd = None if reused is None else reused.cost_usd
        work.cell.progress.count_call(work.call, is_reused=reused is not None, saved_usd=saved_usd)
        return work.call

    async def _answer(self, work: Work) -> Call:
        work.started_at_s = self._clock.now_s()
        paused_s = self._clock.paused_s()
        counters = work.cell.progress
        counters.started_s = counters.started_s or time.monotonic()
        counters.in_flight += 1
        self._stragglers.asked(work, work.sample.id)
        try:
            outcome = await self._outcome(work)
        finally:
            self._stragglers.answered(work)
            counters.in_flight -= 1
        work.ended_at_s = self._clock.now_s()
        slept_s = self._clock.paused_s() - paused_s
        if slept_s:
            outcome = without_times(outcome)
        return self._called(work, outcome, datetime.fromtimestamp(work.started_at_s, UTC), slept_s=slept_s or None)

    def _called(self, work: Work, outcome: Outcome, started: datetime, *, slept_s: float | None = None) -> Call:
        if self._system is not None:
            cost_usd = total_usd(outcome.stages)  # each stage has been paid
        else:
            cost_usd = self._cost(outcome.completion, started)
            if work.bill is not None:
                work.bill.close(cost_usd, outcome.failure)
        return Call(
            sample_id=work.sample.id,
            repeat=work.repeat,
            request=work.request,
            digest=work.digest,
            started_at=in_words(work.started_at_s),
            attempts=outcome.attempts,
            completion=outcome.completion,
            failure=outcome.failure,
            failed_after_s=outcome.last_try_s if outcome.failure and self.batches is None else None,
            cost_usd=cost_usd,
            stages=outcome.stages if outcome.failure else (),
            slept_s=slept_s,
        )

    async def _outcome(self, work: Work) -> Outcome:
        cell = work.cell.cell
        if cell.floor is not None:
            answer = cell.floor.answer(work.sample, work.repeat)
            return Outcome(attempts=(), completion=answer, failure=None, last_try_s=0.0)
        if self._system is not None:
            return await self._through(self._system, work)
        assert self._asker is not None
        return await self._asker.ask(work.request, work.bill)

    async def _through(self, system: System, work: Work) -> Outcome:
        """Stage by stage; where the money does not reach for the next one, the item is still to be asked."""
        extract = extractor(work.cell.cell.task.protocol, work.sample)
        try:
            return await system.ask(work.request, work.digest, work.bill, extract)
        except Unpaid:
            self.stop(SPENT)
            raise GateShut from None

    def _cost(self, completion: Completion | None, at: datetime) -> float | None:
        return None if completion is None else prices.cost_usd(completion.usage, self._spec, at)

    def _reconsider(self, call: Call) -> None:
        """Give the model up where no call can succeed, or where the first ones all failed."""
        if call.failure is None:
            self._has_answered = True
            return
        self._failures += 1
        if any(throttle.is_lost for throttle in self.throttles):
            self._give_up(call.failure)
        is_hopeless = not self._has_answered and self._failures >= HOPELESS_AFTER
        if call.failure.is_permanent or is_hopeless:
            self._give_up(call.failure)

    def _give_up(self, failure: Failure) -> None:
        if self.stopped:
            return
        said = failure.kind if any(cell.cell.info.is_confidential for cell in self.cells) else failure.message
        if failure.kind == "auth":
            said = unended(said) + where_the_key_is(self._spec)
        self.stop(said)
        why = f"the first {HOPELESS_AFTER} calls all failed: "
        if failure.is_permanent or self._has_answered:
            is_lost = any(throttle.is_lost for throttle in self.throttles)
            why = "it could not be reached any more: " if is_lost else ""
        self._progress.tell(f"{self._spec.id} stopped: {why}{said}")

    async def _score(self) -> None:
        """Judge one answer after another, the next one while the last few scores are being committed."""
        uncommitted = Occupancy()
        while (work := await self._durable.get()) is not None:
            assert work.call is not None
            assert work.call.completion is not None
            await self._writer.ready()
            seat = work.cell.cell.judge
            hearing = seat.hearing(work.sample.id, work.repeat) if seat is not None else None
            scores = await grade(work.cell.cell.task.protocol, work.sample, work.call.completion, hearing)
            work.verdicts = tuple(hearing.replies) if hearing is not None else ()
            await uncommitted.until_at_most(self._writer.uncommitted_per_slot - 1)
            uncommitted.enter()
            self._keep_scores(work, scores, uncommitted.leave)

    def _keep_scores(self, work: Work, scores: dict[str, Score], then: Callable[[], None] = lambda: None) -> None:
        work.scores = scores
        self._writer.scores(work.new_score(), partial(self._judged, work, then))

    def _judged(self, work: Work, then: Callable[[], None]) -> None:
        """The scores are durable: the item is done."""
        then()
        self._done(work)

    def _done(self, work: Work) -> None:
        self._leave(work)
        if not work.answered_before:
            headline = work.cell.cell.info.scored[0]
            work.cell.progress.count_score(work.scores[headline], is_reused=work.reused is not None)


def _scores_at_once(work: Work) -> dict[str, Score] | None:
    """What is quick to judge, judged; of anything else nothing."""
    completion, protocol = work.call.completion if work.call else None, work.cell.cell.task.protocol
    if completion is None or not is_quick(protocol, completion):
        return None
    return grade_at_once(protocol, work.sample, completion)
