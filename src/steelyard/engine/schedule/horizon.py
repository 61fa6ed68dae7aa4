"""How far along its order a cell may be asked, and how far everything asked has come to its end.

Who deals out items takes stretches of the order up to the horizon, and says of each item when it is done; who decides
moves the horizon, or closes it. The two share nothing else. Workers know of no horizon: they ask what they are given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

Place = tuple[int, int]
"""The position of an item and which repeat of it."""


class Stretch:
    """Items of the order from ``first`` up to ``last`` (excluded) that are sent without a look in between."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.is_loaded = False
        self.in_hand = 0

    @property
    def is_done(self) -> bool:
        """Whether each of its requests has been sent and has come to its end: scored, or failed for good."""
        return self.is_loaded and self.in_hand == 0


class Horizon:
    """The horizon of one cell: items of its order before ``end`` may be sent. Closed, it moves no more.

    ``on_done`` is told how many items of the order, from its start, are done.
    """

    def __init__(self, end: int = 0, *, is_closed: bool = True) -> None:
        self.end, self.is_closed = end, is_closed
        self.is_abandoned = False
        self.on_done: Callable[[int], None] | None = None
        self.on_abandoned: Callable[[], None] | None = None
        self.moved = asyncio.Event()
        self.earlier = Stretch(0, 0)
        """What an earlier session was answered and did not score: all of it comes before the first stretch."""
        self._stretches = [self.earlier]
        self._stretch_of: dict[Place, Stretch] = {}
        self._taken = 0

    @property
    def has_more(self) -> bool:
        """Whether a stretch can be taken."""
        return self._taken < self.end and not self.is_abandoned

    @property
    def is_spent(self) -> bool:
        """Whether nothing can be taken now or later."""
        return self.is_abandoned or (self.is_closed and self._taken >= self.end)

    def take(self) -> Stretch:
        """The stretch from where the last one ended up to the horizon."""
        stretch = Stretch(self._taken, self.end)
        self._taken = self.end
        self._stretches.append(stretch)
        return stretch

    def loaded(self, stretch: Stretch) -> None:
        """Everything of the stretch is on its way."""
        self.earlier.is_loaded = stretch.is_loaded = True
        self._say_done()

    def enter(self, stretch: Stretch, place: Place) -> None:
        """One request of the stretch is on its way. Where nobody looks, nothing is counted."""
        if self.on_done is not None:
            stretch.in_hand += 1
            self._stretch_of[place] = stretch

    def leave(self, place: Place) -> None:
        """The request has come to its end."""
        stretch = self._stretch_of.pop(place, None)
        if stretch is None:
            return
        stretch.in_hand -= 1
        if stretch.is_done:
            self._say_done()

    def move(self, end: int) -> None:
        """Let the lane go on up to ``end``."""
        self.end = max(end, self.end)
        self.moved.set()

    def close(self) -> None:
        """The cell ends where it stands."""
        self.is_closed = True
        self.moved.set()

    def abandon(self) -> None:
        """The lane was stopped: what is under way may not come to its end, so nothing is said to be done any more."""
        if self.is_abandoned:
            return
        self.is_abandoned = True
        self.moved.set()
        if self.on_abandoned is not None:
            self.on_abandoned()

    def _say_done(self) -> None:
        done = 0
        for stretch in self._stretches:
            if not stretch.is_done:
                break
            done = stretch.last
        if self.on_done is not None and done and not self.is_abandoned:
            self.on_done(done)


async def wait_for_move(horizons: Iterable[Horizon]) -> None:
    """Return when one of the horizons has moved, or was closed or abandoned, since this was last asked."""
    events: Sequence[asyncio.Event] = [horizon.moved for horizon in horizons]
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
    for event in events:
        event.clear()
