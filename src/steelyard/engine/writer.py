"""The one writer of a run: what has gathered while the last commit went on goes into the next one.

It writes on a thread; once answers come fast, in a process of its own that stands ready, and on the thread again where
that dies. Where the disk is full or the store's server is away nothing more is sent: what is in flight is kept in
memory and written once it can be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from steelyard.engine.processes.scribe import Scribe, has_a_core
from steelyard.errors import EnvironmentFault, StoreError, StoreFull, StoreHeldUp
from steelyard.store import NewCall, NewScore
from steelyard.types import Score

if TYPE_CHECKING:
    from steelyard.store import Store

T = TypeVar("T")
ScoredCall = Callable[[NewCall, dict[str, Score], Callable[[int], None]], None]

TRIED_AGAIN_EVERY_S = 1.0
PATIENCE_S = 600.0
PACE_OF_CALLS = 200
FAST_A_SECOND = 500.0
LEAST_TO_COME = 1_000
"""Calls still to be written from which on a process is worth its start, which takes as long as a thread writes them."""
READY_WITHIN_S = 10.0
BY_A_THREAD, BY_A_PROCESS, FROM_WORKERS = 1, 3, 5
"""How many answers a slot may have uncommitted: the longer their way to the disk, the more go on it without a wait.

From workers it is one too, until a process writes: a kill of a slow run, whose answers may be dear, costs few.
"""
GATHERS_S = 0.01
WRITTEN_BY = "written_by"
"""Where a session's provenance says that a process writes."""


async def patiently(
    do: Callable[[], T],
    tell: Callable[[str], None],
    patience_s: float | None = None,
    *,
    is_called_off: Callable[[], bool] = lambda: False,
) -> T:
    """What ``do`` returns, on a thread; where the store is held up it is tried again, as patiently as answers are.

    Once it ``is_called_off`` it is not tried again. What holds it up is told once: a server that goes away is missed
    in other words at each try.
    """
    until_s = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    is_told = False
    while True:
        try:
            return await asyncio.to_thread(do)
        except StoreHeldUp as error:
            if is_called_off() or time.monotonic() >= until_s:
                raise
            if not is_told:
                tell(f"{error}; the run waits for {'room' if isinstance(error, StoreFull) else 'it'}")
            is_told = True
            await asyncio.sleep(TRIED_AGAIN_EVERY_S)


class Keeps(Protocol):
    """Where a lane hands in what is to be kept: the writer itself, or the way to it from another process."""

    @property
    def uncommitted_per_slot(self) -> int:
        """How many answers a slot may have handed in that are not durable yet, before it hands in another."""
        ...

    @property
    def most_uncommitted_per_slot(self) -> int:
        """How many that may come to be."""
        ...

    def call(self, row: NewCall, then: Callable[[int], None]) -> None:
        """Have a call written; ``then`` is called with its id when it is durable."""
        ...

    @property
    def scored_call(self) -> ScoredCall | None:
        """Have a call written, and once it is durable its scores, where they may be handed in together."""
        ...

    def scores(self, row: NewScore, then: Callable[[], None]) -> None:
        """Have the scores of a call written; ``then`` is called when they are durable."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether that cannot be kept at present."""
        ...

    async def ready(self) -> None:
        """Return when what is paid for from now on can be kept."""
        ...

    async def drain(self) -> None:
        """Return when everything handed in so far is durable."""
        ...


class Writer:
    """The one writer: takes what has gathered while the last commit went on, and commits it in one transaction.

    ``slots`` is how many answers the lane that has fewest may await at once; ``from_workers`` how many a slot of a
    worker may have uncommitted; ``resume`` is what the run is called when somebody wants to go on with it.
    ``before_hire`` is called on a thread before a process writes, ``on_hired`` once it does.
    """

    scored_call = None  # within a process nothing is saved by it

    def __init__(self, store: Store, tell: Callable[[str], None], *, resume: str = "last") -> None:
        self._store, self._tell, self._resume = store, tell, resume
        self.slots = 1
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.on_room: Callable[[bool], None] = lambda is_there: None
        self.before_hire: Callable[[], None] = lambda: None
        self.on_hired: Callable[[], None] = lambda: None
        self.from_workers = BY_A_THREAD
        self.patience_s = PATIENCE_S
        self._times_held_up = 0
        self._calls: list[tuple[NewCall, Callable[[int], None]]] = []
        self._scores: list[tuple[NewScore, Callable[[], None]]] = []
        self._drains: list[asyncio.Event] = []
        self._is_wanted, self._is_plenty = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="steelyard-writer")
        self._scribe: Scribe | None = None
        self._idle: Scribe | None = None
        self._warming: asyncio.Task[None] | None = None
        self._hiring: asyncio.Task[None] | None = None
        self._paced_calls, self._paced_from_s = 0, time.monotonic()
        self.figures: dict[str, float] = {}

    @property
    def uncommitted_per_slot(self) -> int:
        """One by a thread; some more by a process, which takes longer to say that they are durable."""
        return BY_A_THREAD if self._scribe is None else BY_A_PROCESS

    @property
    def most_uncommitted_per_slot(self) -> int:
        """What a process may have."""
        return BY_A_PROCESS

    def warm_up(self, to_come: int) -> None:
        """Begin to make a process ready that may write, if so many calls to come may be worth it."""
        if to_come >= LEAST_TO_COME and has_a_core():
            self._warming = asyncio.create_task(self._make_ready())

    async def warm(self) -> None:
        """Return when that is done: what starts takes processor time, and would delay what is measured meanwhile."""
        if self._warming is not None:
            await asyncio.shield(self._warming)

    def call(self, row: NewCall, then: Callable[[int], None]) -> None:
        """Have a call written; ``then`` is called with its id when it is durable."""
        self._calls.append((row, then))
        self._want(len(self._calls))

    def scores(self, row: NewScore, then: Callable[[], None]) -> None:
        """Have the scores of a call written; ``then`` is called when they are durable."""
        self._scores.append((row, then))
        self._want(len(self._scores))

    async def serve(self) -> None:
        """Commit batch after batch until cancelled; raise where the store cannot be written."""
        while True:
            await self._is_wanted.wait()
            if self._scribe is not None:
                await self._gather()
            self._is_wanted.clear()
            self._is_plenty.clear()
            calls, self._calls = self._calls, []
            scores, self._scores = self._scores, []
            drains, self._drains = self._drains, []
            ids = await self._commit([row for row, _ in calls], [row for row, _ in scores])
            for (_, then_call), call_id in zip(calls, ids, strict=True):
                then_call(call_id)
            for _, then_scores in scores:
                then_scores()
            for drained in drains:
                drained.set()
            self._keep_pace(len(calls))

    def _want(self, rows: int) -> None:
        """There is something to write, of which so many rows are of one kind."""
        self._is_wanted.set()
        if rows >= self.slots:
            self._is_plenty.set()

    async def _gather(self) -> None:
        """Let one answer a slot come together for a process: a transaction costs as much as ten rows of it.

        No slot waits for this, since each may have more than one that is not durable.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHERS_S):
                await self._is_plenty.wait()

    @property
    def is_full(self) -> bool:
        """Whether there is no room, so that nothing is sent."""
        return not self._has_room.is_set()

    async def ready(self) -> None:
        """Return when what is paid for from now on can be kept: at once, unless the store is held up."""
        if not self._has_room.is_set():
            await self._has_room.wait()

    def hurry(self) -> None:
        """Wait for the store no longer: the run is to end."""
        self.patience_s = 0.0

    async def drain(self) -> None:
        """Return when everything handed in so far is durable."""
        drained = asyncio.Event()
        self._drains.append(drained)
        self._want(self.slots)
        await drained.wait()

    async def close(self) -> None:
        """End the writer's thread after what it is doing, and its process; ``figures`` are what that took."""
        if self._warming is not None:
            self._warming.cancel()  # which means something only where it is not done yet
        await asyncio.gather(*filter(None, (self._warming, self._hiring)), return_exceptions=True)
        if (scribe := self._scribe or self._idle) is not None:
            self.figures = await scribe.end()
        self._thread.shutdown()

    async def _make_ready(self) -> None:
        scribe = Scribe(self._store.address)
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await scribe.start()
            self._idle = scribe
        except Exception:  # noqa: BLE001 - whatever it is, the thread can write
            return
        finally:
            if self._idle is None:
                await scribe.dismiss()

    def _keep_pace(self, calls: int) -> None:
        """Have the process write, where a thread would hold the interpreter against the event loop too often."""
        self._paced_calls += calls
        if self._paced_calls < PACE_OF_CALLS:
            return
        now_s = time.monotonic()
        is_fast = self._paced_calls / (now_s - self._paced_from_s) >= FAST_A_SECOND
        self._paced_calls, self._paced_from_s = 0, now_s
        if is_fast and self._idle is not None and self._hiring is None:
            self._hiring = asyncio.create_task(self._hire(self._idle))

    async def _hire(self, scribe: Scribe) -> None:
        """From now on more is uncommitted at once, which a resume has to know."""
        try:
            await asyncio.to_thread(self.before_hire)
        except Exception:  # noqa: BLE001 - whatever it is, the thread goes on
            return
        self._scribe, self.from_workers = scribe, FROM_WORKERS
        self.on_hired()

    async def _commit(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """Write the batch; where the store is held up, hold the run up and try again until patience ends."""
        held_since_s: float | None = None
        is_new = True
        while True:
            try:
                ids = await self._append(calls, scores, is_new)
                break
            except StoreHeldUp as error:
                is_new = is_new and isinstance(error, StoreFull)  # what a lost connection made of it is not known
                held_since_s = held_since_s or self._hold(error)
                if time.monotonic() - held_since_s >= self.patience_s:
                    self.patience_s = 0.0
                    raise type(error)(self._lost(error, len(calls) + len(scores))) from error
                await asyncio.sleep(TRIED_AGAIN_EVERY_S)
            except StoreError as error:
                self.patience_s = 0.0
                raise StoreError(self._lost(error, len(calls) + len(scores))) from error
        if held_since_s is not None:
            self._has_room.set()
            self.on_room(True)
            self._tell(f"the store {self._store.location} is written again: the run goes on{self._which_time()}")
        return ids

    async def _append(self, calls: Sequence[NewCall], scores: Sequence[NewScore], is_new: bool) -> list[int]:
        here = partial(asyncio.get_running_loop().run_in_executor, self._thread)
        if self._scribe is not None:
            if not self._store.is_in_place:  # whose the run is stands with who began its session
                await here(self._store.check_place)
            try:
                return await self._scribe.append(calls, scores, is_new=is_new)
            except EnvironmentFault as fault:  # it may have died on either side of the commit
                self._scribe, is_new = None, False
                self._tell(f"{fault}: the run itself writes from now on")
        append = self._store.append if is_new else self._store.append_once
        return await here(append, calls, scores)

    def _hold(self, error: StoreHeldUp) -> float:
        self._has_room.clear()
        self._times_held_up += 1
        self.on_room(False)
        wanted = "Free some space: the run waits" if isinstance(error, StoreFull) else "The run waits"
        self._tell(f"{error}; nothing more is sent. {wanted} {PATIENCE_S / 60:.0f} minutes for it{self._which_time()}")
        return time.monotonic()

    def _which_time(self) -> str:
        """What makes each time a message of its own: the same words are said once."""
        return "" if self._times_held_up == 1 else f" (held up {self._times_held_up} times so far)"

    def _lost(self, error: StoreError, in_hand: int) -> str:
        waiting = in_hand + len(self._calls) + len(self._scores)
        kept = f"up to {waiting} answers or scores in memory were lost, all earlier ones are kept"
        if isinstance(error, StoreFull):
            why, first = f"the disk with the store {self._store.location} is full", "Free some space. Then try"
        else:
            why, first = str(error), "Once it can be written, try"
        return f"{why}: {kept}. {first}: steelyard run --resume {self._resume}"
