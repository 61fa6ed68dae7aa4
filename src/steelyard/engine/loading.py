"""From items to requests: what one model is asked next, as far as horizons let go and as there is room for it.

What an earlier run was answered is used again here, and asks nobody.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence

from steelyard.engine.reuse.cache import Cache
from steelyard.engine.schedule.horizon import wait_for_move
from steelyard.engine.work import OpenCell, Work
from steelyard.store.nouns import reused

SPARE_WINDOW = 16
LOADED_AT_ONCE = 64

Item = tuple[OpenCell, int, int]
"""A cell, the position of one of its items, and which repeat of it."""

Source = AsyncIterator[Sequence[Item]]
"""Items to be asked, some at a time, as they come."""


class Occupancy:
    """How many items are somewhere, for who waits until some have left."""

    def __init__(self) -> None:
        self.items = 0
        self._has_left = asyncio.Event()

    def enter(self) -> None:
        """Count an item in."""
        self.items += 1

    def leave(self) -> None:
        """Count one out."""
        self.items -= 1
        self._has_left.set()

    async def until_at_most(self, items: int) -> None:
        """Return when no more than so many are within."""
        while self.items > items:
            self._has_left.clear()
            await self._has_left.wait()


class Window(Occupancy):
    """How many items may be anywhere between loading and the last write, which bounds every queue and the memory."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most + SPARE_WINDOW

    @property
    def is_full(self) -> bool:
        """Whether one has to leave before another enters."""
        return self.items >= self._most

    async def room(self) -> None:
        """Return when there is room for an item."""
        await self.until_at_most(self._most - 1)


class Loader:
    """Puts what one model is to be asked into ``loaded``, and ``None`` for each asker at the end.

    ``answered`` is told what an earlier run has answered. Where a model ``gathers`` its requests, as batches do, a
    ``None`` also says that nothing more comes before what is gathered has been answered.
    """

    def __init__(
        self, cells: Sequence[OpenCell], window: Window, seed: int, *, answered: Callable[[Work], None]
    ) -> None:
        self._cells, self._window, self._seed, self._answered = cells, window, seed, answered
        self.cache: Cache | None = None
        self.gathers = False
        self.loaded: asyncio.Queue[Work | None] = asyncio.Queue()
        self.is_through = False
        self._is_stopped = False

    def stop(self) -> None:
        """Load nothing more."""
        self._is_stopped = True

    async def load(self, source: Source, *, askers: int) -> None:
        """Load what the source gives, and tell each asker when that was all."""
        if self.cache is not None:
            await self.cache.open()
        async for some in source:
            if self._is_stopped:
                break
            await self._load_some(some)
        self.is_through = True
        for _ in range(askers):
            self.loaded.put_nowait(None)

    async def _load_some(self, items: Sequence[Item]) -> None:
        """Load items; those that may have been answered earlier are looked up many at a time."""
        known: list[Work] = []
        for cell, position, repeat in items:
            if self._is_stopped:
                break
            if self._window.is_full:
                await self._use_again(known)
                known = []
                await self._window.room()
            self._window.enter()
            work = self._work(cell, position, repeat)
            if self.cache is not None and self.cache.may_hold(work.digest):
                known.append(work)
            else:
                self.loaded.put_nowait(work)
        await self._use_again(known)

    def _work(self, cell: OpenCell, position: int, repeat: int) -> Work:
        sample = cell.cell.task.dataset.samples[position]
        request = cell.cell.request(position, sample, repeat, self._seed)
        digest = cell.identity.key(request)
        return Work(cell=cell, position=position, repeat=repeat, sample=sample, request=request, digest=digest)

    async def _use_again(self, known: Sequence[Work]) -> None:
        """Answer from earlier runs what they have answered; ask the rest."""
        if not known:
            return
        assert self.cache is not None
        found = await self.cache.find([work.digest for work in known])
        for work in known:
            answer = work.reused = found.get(work.digest)
            if answer is None:
                self.loaded.put_nowait(work)
                continue
            work.call = reused(answer.call, work.sample.id)
            work.started_at_s, work.ended_at_s = answer.started_s, answer.ended_s
            self._answered(work)

    async def remaining(self) -> Source:
        """Every item that is still to be asked, in the order of the plan, some at a time, as far as horizons let go."""
        while (cell := await self._next_open()) is not None:
            stretch = cell.horizon.take()
            items = ((cell, position, repeat) for position, repeat in cell.remaining(stretch))
            while some := list(itertools.islice(items, LOADED_AT_ONCE)):
                for _, position, repeat in some:
                    cell.horizon.enter(stretch, (position, repeat))
                yield some
            cell.horizon.loaded(stretch)

    async def _next_open(self) -> OpenCell | None:
        """The first cell that may go on, once there is one; none are left where all are spent."""
        while not self._is_stopped:
            open_cell = next((cell for cell in self._cells if cell.horizon.has_more), None)
            if open_cell is not None or all(cell.horizon.is_spent for cell in self._cells):
                return open_cell
            if self.gathers:
                self.loaded.put_nowait(None)  # what is gathered goes in as it is: the look waits for it
            await wait_for_move(cell.horizon for cell in self._cells)
        return None
