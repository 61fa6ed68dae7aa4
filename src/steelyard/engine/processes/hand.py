"""One worker as its run sees it: a process at the end of a wire, with items in hand and money to spend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec

from steelyard.engine.money.budget import Grant
from steelyard.engine.processes import child
from steelyard.engine.processes.frames import Begin, End, Errand, Kept, Standing, ToRun, ToWorker, Wire
from steelyard.engine.work import OpenCell
from steelyard.types.ready import ready


class Hand:
    """One worker as the run sees it: its process, the items it has in hand, what it may spend."""

    def __init__(self, number: int, cells: Sequence[OpenCell], slots: Mapping[str, int], grant: Grant) -> None:
        self.number, self.cells, self.slots, self.grant = number, cells, slots, grant
        self.number_of = {cell.row: number for number, cell in enumerate(cells)}
        self.in_hand: dict[str, set[Errand]] = {cell.cell.spec.id: set() for cell in cells}
        self.done: set[str] = set()
        self.standing: dict[str, Standing] = {}
        self.figures: dict[str, float] = {}
        self.has_ended, self._is_gone = asyncio.Event(), asyncio.Event()
        self.is_alive = True
        self.has_told_all = False
        self._kept: list[tuple[int, int]] = []
        self._unsaid: list[ToWorker] = []
        self._has_begun = asyncio.Event()
        self._process, self._end = child.start("steelyard.engine.processes.worker")

    async def begin(self, begin: Begin) -> None:
        """Say what to work on, and then what was to be said meanwhile."""
        self._wire = await Wire.over(self._end)
        for message in (begin, *self._unsaid):
            self._wire.say(message)
        self._has_begun.set()

    def say(self, message: ToWorker) -> None:
        """Tell it something, unless it is gone."""
        if not self._has_begun.is_set():
            self._unsaid.append(message)
        elif self.is_alive:
            self._wire.say(message)

    def keep(self, number: int, call_id: int) -> None:
        """A row of its own is durable; all that became so at once are told at once."""
        if not self._kept:
            asyncio.get_running_loop().call_soon(self._say_kept)
        self._kept.append((number, call_id))

    def _say_kept(self) -> None:
        kept, self._kept = self._kept, []
        self.say(Kept(rows=tuple(kept)))

    async def listen(self, hear: Callable[[Hand, ToRun], None]) -> None:
        """Hear it out, until it is gone."""
        decoder = msgspec.msgpack.Decoder(ready(list[ToRun]))
        try:
            while said := await self._wire.hear(decoder):
                for message in said:
                    hear(self, message)
            self.is_alive = False
        finally:
            self._is_gone.set()

    async def end(self, *, patiently: bool) -> None:
        """Let it say what it took, where it has come to its end, and see its process gone."""
        try:
            async with asyncio.timeout(child.GRACE_S):
                await self._has_begun.wait()
        except TimeoutError:
            self._end.close()
        else:
            await self._hear_out(patiently=patiently)
        await asyncio.to_thread(child.bury, self._process)

    async def _hear_out(self, *, patiently: bool) -> None:
        if patiently and self.is_alive:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.has_ended.wait(), child.GRACE_S)
        self.say(End())
        with suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self._wire.flush(), child.GRACE_S)
        with suppress(TimeoutError):  # its last words are what it may have spent on what was cut off
            await asyncio.wait_for(self._is_gone.wait(), child.GRACE_S)
        self._wire.close()

    def in_flight(self, row: int) -> int:
        """Requests of one cell on their way when it last told."""
        return sum(standing.in_flight.get(row, 0) for standing in self.standing.values())

    def how_it_died(self) -> str:
        """What the system says of its process."""
        return child.bury(self._process)
