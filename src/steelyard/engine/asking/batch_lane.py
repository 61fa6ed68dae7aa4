"""The way of one model's requests through a batch API: gathered, handed in once, awaited, given back as calls.

A few batches are in progress at once; they are handed in one after the other, so that never more than one is at the
service without its name being on disk. What was handed in is only given up for handing in anew where the service said
no to it: whatever else happens, it is looked for again.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

from steelyard.engine.asking.heard import cut_at_stop
from steelyard.engine.asking.standings import Piece, Standings, key_of
from steelyard.engine.money.budget import SPENT, may_be_billed
from steelyard.engine.progress import BatchProgress
from steelyard.engine.work import Work
from steelyard.errors import ProviderError
from steelyard.providers.batches import (
    AnothersBatch,
    Answered,
    BatchService,
    Ticket,
    Unsettled,
    find_settled,
    hand_in,
    wait_for,
)
from steelyard.types import Failure

MOST_REQUESTS = 10_000
MOST_BYTES = 90_000_000
"""A batch's limits, below those of both services (50,000 and 200 MB; 100,000 and 256 MB)."""

AT_ONCE = 4
MOST_HELD = AT_ONCE * MOST_REQUESTS
"""How many batches of a model are in progress at once, and how many requests they hold."""

MONEY_COMES_WITHIN_S = 1.0
"""How long a batch that has something to hand in waits for money that others may give back."""

LOOK_AGAIN_S = 30.0
LONGEST_PAUSE_S = 600.0
MOST_LOOKS = {"malformed": 5}
PATIENT_LOOKS = 200
"""How often what may pass is waited out, one after the other: more than a day."""

MOST_ROUNDS = 6
"""How often the same requests are handed in again, each time without a setting that the model refused."""

NO_ANSWER = Failure(kind="provider", message="the batch is over and holds no answer to this request")
T = TypeVar("T")
REFUSALS = ("rejected", "auth", "quota", "unavailable")


class Collected(Struct, frozen=True, kw_only=True):
    """What came of a batch, by the place of each request. ``refused`` is set where it was given up as a whole.

    ``is_short``: the service counts more answers than its results hold, so that some that were paid may still come.
    """

    answers: dict[int, Answered] = {}
    refused: Failure | None = None
    others_are_unbilled: bool = False
    is_short: bool = False

    def of(self, index: int) -> Answered:
        """What came of one request."""
        if self.refused is not None:
            return Answered(index=index, failure=self.refused, is_unbilled=True)
        missing = Answered(index=index, failure=NO_ANSWER, is_unbilled=self.others_are_unbilled)
        return self.answers.get(index, missing)


class _Short(ProviderError):
    """The results of a batch are short; ``collected`` is what they hold so far."""

    def __init__(self, message: str, collected: Collected) -> None:
        super().__init__(Failure(kind="malformed", message=message))
        self.collected = collected


class BatchLane(Struct, frozen=True, kw_only=True):
    """What a lane needs to ask by batches. ``afford`` holds the money, ``answered`` takes what came of a request.

    ``ready`` returns when answers can be kept: a batch is not handed in while the disk is full. ``begin`` gives a
    batch of so many requests its place in what the user sees. ``is_loaded`` says whether a queue that has come to its
    end was the last: more may follow a look at what came of this one.
    """

    service: BatchService
    standings: Standings
    ready: Callable[[], Awaitable[None]]
    afford: Callable[[Work], Awaitable[bool]]
    owe: Callable[[Work, Piece], None]
    leave: Callable[[Work], None]
    answered: Callable[[Work, Answered], None]
    drain: Callable[[], Awaitable[None]]
    stopped: Callable[[], str | None]
    tell: Callable[[str], None]
    begin: Callable[[int], BatchProgress]
    is_loaded: Callable[[], bool]

    async def serve(self, loaded: asyncio.Queue[Work | None]) -> None:
        """Collect what stands from an earlier session, hand in the rest piece by piece, until nothing is left."""
        async with asyncio.TaskGroup() as group:
            await _Serving(self, group).serve(loaded)


class _Serving:
    """What one lane has gathered and in progress."""

    def __init__(self, lane: BatchLane, group: asyncio.TaskGroup) -> None:
        self._lane, self._group = lane, group
        self._left = {key: piece for piece in lane.standings.left() for key in piece.keys}
        self._standing: dict[str, list[Work]] = {}
        self._works: list[Work] = []
        self._size = 0
        self._most = MOST_REQUESTS
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._handing_in = asyncio.Lock()
        self._in_progress = self._waiting = 0
        self._one_ended = asyncio.Event()

    async def serve(self, loaded: asyncio.Queue[Work | None]) -> None:
        try:
            await self._serve(loaded)
        finally:
            for work in self._works:  # gathered, and never handed in
                if work.bill is not None:
                    work.bill.unsend()

    async def _serve(self, loaded: asyncio.Queue[Work | None]) -> None:
        while (work := await loaded.get()) is not None:
            if (piece := self._left.get(key_of(work))) is not None:
                self._lane.owe(work, piece)
                self._standing.setdefault(piece.label, []).append(work)
            else:
                await self._gather(work)
            if sum(map(len, self._standing.values())) + len(self._works) >= MOST_HELD:
                await self._collect_standing(is_all=False)
        await self._collect_standing(is_all=self._lane.is_loaded() and self._lane.stopped() is None)
        await self._hand_in()

    async def _gather(self, work: Work) -> None:
        lane = self._lane
        bytes_asked = len(msgspec.json.encode(work.request))
        if self._size + bytes_asked > MOST_BYTES:
            await self._hand_in()
        if (self._works or self._standing) and not await self._has_money_soon(work):
            await self._collect_standing(is_all=False)
            await self._hand_in()
        if lane.stopped() or not (work.bill or await lane.afford(work)):
            lane.leave(work)
            return
        self._works.append(work)
        self._size += bytes_asked
        if len(self._works) >= self._most:
            await self._hand_in()

    async def _has_money_soon(self, work: Work) -> bool:
        """Hold money for one more request; who waits must not wait for what its own batches hold."""
        try:
            async with asyncio.timeout(MONEY_COMES_WITHIN_S):
                await self._lane.afford(work)
        except TimeoutError:
            return False
        return True

    async def _collect_standing(self, *, is_all: bool) -> None:
        """Collect what stands from earlier; ``is_all``: no more requests will come that may belong to it."""
        pieces = {piece.label: piece for piece in self._left.values()}
        for label, works in self._standing.items():
            is_whole = is_all or len(works) == len(pieces[label].keys)
            await self._slots.acquire()
            self._group.create_task(self._carry_out(pieces[label], works, is_whole=is_whole))
        self._standing = {}

    async def _hand_in(self) -> None:
        """Make a batch of what is gathered, once there is room for it."""
        if not self._works:
            return
        await self._slots.acquire()
        piece = await self._noted(self._works)
        works, self._works, self._size = self._works, [], 0
        if piece is None:
            self._slots.release()
            self._give_back(works)
            return
        self._group.create_task(self._carry_out(piece, works))

    async def _noted(self, works: Sequence[Work], doubted: Collection[str] = ()) -> Piece | None:
        """The requests as a piece; ``None`` where the model is given up, be it while that waited for room."""
        lane = self._lane
        await lane.ready()
        if lane.stopped() not in (None, SPENT):
            return None
        piece = await lane.standings.keep(works, doubted)
        if lane.stopped() in (None, SPENT):
            return piece
        lane.standings.collected(piece)
        return None

    async def _carry_out(self, piece: Piece, works: Sequence[Work], *, is_whole: bool = True) -> None:
        """See a piece to its end, and give back its slot."""
        self._in_progress += 1
        shown = self._lane.begin(len(works))
        try:
            await self._see_through(piece, works, shown, is_whole=is_whole)
        finally:
            shown.is_over = True
            self._in_progress -= 1
            self._slots.release()
            self._one_ended.set()

    async def _see_through(
        self, piece: Piece, works: Sequence[Work], shown: BatchProgress, *, is_whole: bool = True, rounds: int = 0
    ) -> None:
        """Give every request its answer or its failure, asking again where the service's words make that sensible.

        A piece that not all its requests were here for (``is_whole`` is false) stays for the others.
        """
        started_s = time.time()
        for work in works:
            work.started_at_s = started_s
        try:
            collected = await self._collected(piece, works, shown)
        except ProviderError as error:
            await self._fail(piece, works, error)
        else:
            if collected is None:
                await self._again(piece, works, shown, rounds)
            elif collected.refused is not None and collected.refused.kind == "rate_limit":
                await self._later_or_smaller(piece, works, shown, rounds, collected.refused)
            else:
                is_whole = is_whole and not collected.is_short
                learning = await self._hand_out(piece, works, collected, may_learn=rounds < MOST_ROUNDS)
                if not is_whole:
                    await self._stays_in_doubt(piece, works, collected.of)
                if learning:
                    await self._again(piece, learning, shown, rounds + 1, is_whole=is_whole)
                elif is_whole:
                    self._lane.standings.collected(piece)

    async def _hand_out(
        self, piece: Piece, works: Sequence[Work], collected: Collected, *, may_learn: bool
    ) -> list[Work]:
        """Let the answers and failures be written; what is left over is to be asked again with other settings."""
        by_key = {key_of(work): work for work in works}
        learning: list[Work] = []
        for index, key in enumerate(piece.keys):
            if (work := by_key.get(key)) is None:
                continue
            came = collected.of(index)
            if came.completion is not None:
                answer = cut_at_stop(came.completion, work.request.stop)
                came = msgspec.structs.replace(came, completion=answer)
            if may_learn and came.failure is not None and self._lane.service.learn(came.failure, work.request):
                learning.append(work)
            else:
                self._lane.answered(work, came)
        await self._lane.drain()
        return learning

    async def _again(
        self,
        piece: Piece,
        works: Sequence[Work],
        shown: BatchProgress,
        rounds: int,
        *,
        is_whole: bool = True,
    ) -> None:
        """Hand the requests in as another piece, which takes the place of the one that they stood in."""
        following = await self._noted(works, piece.doubted)
        if following is None:
            self._give_back(works)
            if is_whole:
                await self._lane.standings.doubt(piece, {*piece.doubted}.difference(map(key_of, works)))
            return
        if is_whole:
            self._lane.standings.collected(piece)
        shown.restart(len(works))
        await self._see_through(following, works, shown, rounds=rounds)

    async def _later_or_smaller(
        self, piece: Piece, works: Sequence[Work], shown: BatchProgress, rounds: int, failure: Failure
    ) -> None:
        """The account may not have so much waiting: wait for another batch to end, or where none is, halve this one."""
        if self._in_progress - self._waiting > 1:
            self._lane.tell(f"{failure.message}; handing it in again when another batch has ended")
            self._waiting += 1
            self._one_ended.clear()
            await self._one_ended.wait()
            self._waiting -= 1
            await self._again(piece, works, shown, rounds)
        elif len(works) == 1:
            self._lane.answered(works[0], Answered(index=0, failure=failure, is_unbilled=True))
            await self._lane.drain()
            self._lane.standings.collected(piece)
        else:
            half = len(works) // 2
            self._most = min(self._most, half)
            self._lane.tell(f"{failure.message}; handing in {half:,} requests at a time")
            await self._again(piece, works[:half], shown, rounds)
            await self._again(piece, works[half:], shown, rounds)

    async def _fail(self, piece: Piece, works: Sequence[Work], error: ProviderError) -> None:
        """No answers. Only what the service said no to is given up: anything else may stand there."""
        lane, failure = self._lane, error.failure
        ticket = lane.standings.journal.ticket(piece.label)
        may_be_taken = isinstance(error, Unsettled) or (ticket is not None and ticket.batch is not None)
        is_refused = failure.kind in (*REFUSALS, "rate_limit") and not may_be_taken
        if may_be_taken:
            failure = Failure(kind="provider", message=failure.message)  # whatever it was, the batch may be billed
        came = Answered(index=0, failure=failure, is_unbilled=is_refused)
        for work in works:
            lane.answered(work, came)
        await lane.drain()
        if is_refused:
            lane.standings.collected(piece)
            return
        await self._stays_in_doubt(piece, works, lambda index: came)
        self._tell_it_stays(piece, failure.message)

    async def _stays_in_doubt(self, piece: Piece, works: Sequence[Work], came: Callable[[int], Answered]) -> None:
        """Note which requests of a piece that stays are in doubt: of these only those whose end is not known."""
        asked = {key_of(work) for work in works}
        endless = {key for index, key in enumerate(piece.keys) if key in asked and _may_yet_be_billed(came(index))}
        await self._lane.standings.doubt(piece, {*piece.doubted} - asked | endless)

    def _tell_it_stays(self, piece: Piece, why: str) -> None:
        path = self._lane.standings.path(piece)
        self._lane.tell(f"{why}; the batch is looked for again by --resume, unless {path} is removed")

    def _give_back(self, works: Sequence[Work]) -> None:
        for work in works:
            if work.bill is not None:
                work.bill.unsend()
            self._lane.leave(work)

    async def _collected(self, piece: Piece, works: Sequence[Work], shown: BatchProgress) -> Collected | None:
        """What came of the piece in the end; ``None`` where it turns out that the service never took it."""
        journal = self._lane.standings.journal
        while True:
            async with self._handing_in:
                ticket = await self._patiently("handing in", lambda: self._handed_in(piece, works))
            if ticket is None:
                return None
            awaited = functools.partial(self._awaited, ticket, shown)
            try:
                return await self._patiently(f"batch {ticket.batch}", awaited)
            except _Short as short:
                self._tell_it_stays(piece, str(short))
                return short.collected
            except AnothersBatch:
                not_these = (*ticket.not_these, str(ticket.batch))
                reset = msgspec.structs.replace(ticket, batch=None, is_guessed=False, not_these=not_these)
                await journal.keep(reset)

    async def _handed_in(self, piece: Piece, works: Sequence[Work]) -> Ticket | None:
        lane, journal = self._lane, self._lane.standings.journal
        kept = journal.ticket(piece.label)
        if kept is not None and kept.batch is None and len(works) < len(piece.keys):
            return await find_settled(lane.service, journal, kept)
        if kept is None:
            lane.tell(f"handing in a batch of {len(piece.keys):,} requests")
        ticket = await hand_in(lane.service, journal, piece.label, [work.request for work in works])
        for setting, instead in lane.service.learnt.items():
            lane.tell(f"{setting!r} is not sent: {instead}")
        return ticket

    async def _awaited(self, ticket: Ticket, shown: BatchProgress) -> Collected:
        service = self._lane.service
        self._lane.tell(f"waiting for batch {ticket.batch} of {ticket.requests:,} requests; Ctrl-C leaves it standing")
        shown.begun()
        ended = await wait_for(service, ticket, tell=shown.look)
        shown.look(ended)
        if ended.failure is not None:
            return Collected(refused=ended.failure)
        answers: dict[int, Answered] = {}
        async for answered in service.answers(ticket):
            known = answers.get(answered.index)
            if known is None or known.completion is None:  # told twice, an answer stands: it is paid
                answers[answered.index] = answered
        completed = sum(answered.completion is not None for answered in answers.values())
        if ended.answered is None:
            return Collected(answers=answers)
        if len(answers) < ticket.requests and completed < ended.answered:
            told = f"batch {ticket.batch}: of {ended.answered:,} answers its results hold {completed:,}"
            raise _Short(told, Collected(answers=answers, is_short=True))
        return Collected(answers=answers, others_are_unbilled=completed >= ended.answered)

    async def _patiently(self, what: str, do: Callable[[], Awaitable[T]]) -> T:
        """Do it, again and again where the service only fails for the time being."""
        failed: Counter[str] = Counter()
        while True:
            try:
                return await do()
            except AnothersBatch:
                raise
            except ProviderError as error:
                failure = error.failure
                failed[failure.kind] += 1
                looks = failed[failure.kind]
                if not failure.is_transient or looks >= MOST_LOOKS.get(failure.kind, PATIENT_LOOKS):
                    raise
                self._lane.tell(f"{what}: {failure.message}; looking again")
                await asyncio.sleep(min(LONGEST_PAUSE_S, LOOK_AGAIN_S * 1.5 ** (looks - 1)))


def _may_yet_be_billed(came: Answered) -> bool:
    return came.failure is not None and not came.is_unbilled and may_be_billed(came.failure)
