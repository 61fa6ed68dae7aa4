"""A process that writes for a run, once answers come so fast that a thread which writes would slow the event loop down.

It makes the same transactions as the thread, on another core, and says what it has written: a row counts no sooner
than it is durable. It ends with its run; where it dies before, the thread goes on in its place.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec
import psutil

from steelyard import secrets
from steelyard.engine.processes import child
from steelyard.engine.processes.frames import (
    Broken,
    Durable,
    End,
    FromScribe,
    HeldUp,
    Open,
    Ready,
    Rows,
    ToScribe,
    Weighed,
    Wire,
)
from steelyard.engine.weight import collector
from steelyard.engine.weight.loops import loop_factory
from steelyard.engine.weight.resources import cores
from steelyard.errors import EnvironmentFault, StoreError, StoreFull, StoreHeldUp
from steelyard.store import NewCall, NewScore
from steelyard.types.ready import ready

if TYPE_CHECKING:
    from steelyard.store.pen import Pen

S = TypeVar("S", bound=FromScribe)


def has_a_core() -> bool:
    """Whether another process can write while this one asks."""
    return cores() > 1 and sys.platform != "win32"


class Scribe:
    """The process as its run sees it."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None
        self._known_keys: set[str] = set()
        self._decoder = msgspec.msgpack.Decoder(ready(list[FromScribe]))

    async def start(self) -> None:
        """Return when it can write."""
        self._process, end = await asyncio.to_thread(child.start, "steelyard.engine.processes.scribe")
        self._wire = await Wire.over(end)
        await self._ask(Open(store=self._location), Ready)

    async def append(self, calls: Sequence[NewCall], scores: Sequence[NewScore], *, is_new: bool = True) -> list[int]:
        """Write in one transaction, as ``Store.append`` does, or ``append_once`` what is not new; with its errors."""
        keys = secrets.read_so_far() - self._known_keys
        self._known_keys |= keys
        rows = Rows(keys=tuple(keys), calls=tuple(calls), scores=tuple(scores), is_new=is_new)
        durable = await self._ask(rows, Durable)
        return list(durable.ids)

    async def end(self) -> dict[str, float]:
        """See it gone, which has written all that it was given; what it took."""
        figures: dict[str, float] = {}
        if self._wire is not None:
            with suppress(EnvironmentFault, StoreError):
                figures = (await self._ask(End(), Weighed)).figures
            await self._bury(self._wire)
        return figures

    async def dismiss(self) -> None:
        """See it gone at once, whatever it is at: it was given nothing to write."""
        if self._wire is not None:
            self._wire.close()
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(child.bury, self._process)

    async def _bury(self, wire: Wire) -> str:
        assert self._process is not None
        wire.close()
        return await asyncio.to_thread(child.bury, self._process)

    async def _ask(self, wish: ToScribe, answer: type[S]) -> S:
        assert self._wire is not None
        self._wire.say(wish)
        with suppress(ConnectionError):  # it is gone, which is heard next
            await self._wire.flush()  # at once: a busy event loop would come to it some answers later
        match await self._wire.hear(self._decoder):
            case [HeldUp(text=text, is_full=is_full)]:
                raise (StoreFull if is_full else StoreHeldUp)(text)
            case [Broken(text=text)]:
                raise StoreError(text)
            case [said] if isinstance(said, answer):
                return said
        raise EnvironmentFault(f"the process that writes the store died ({await self._bury(self._wire)})")


async def _serve() -> None:
    """Write what comes, until the run wants no more of this or is gone."""
    wire = await Wire.over(child.own_socket())
    decoder = msgspec.msgpack.Decoder(ready(list[ToScribe]))
    said = await wire.hear(decoder)
    if not said or not isinstance(opening := said[0], Open):
        return
    from steelyard.store.database.opening import database_at  # a worker imports this module too, and no database
    from steelyard.store.pen import Pen

    try:
        pen = Pen(database_at(opening.store))
        pen.open(create=False)
    except StoreError as error:
        wire.say(Broken(text=str(error)))
        await wire.flush()
        return
    with pen, collector.held_back():
        wire.say(Ready())
        while said := await wire.hear(decoder):
            for wish in said:
                if isinstance(wish, Rows):
                    wire.say(_written(pen, wish))
                elif isinstance(wish, End):
                    wire.say(Weighed(figures=_figures()))
            with suppress(ConnectionError):  # then the run is gone, which is heard next
                await wire.flush()


def _written(pen: Pen, rows: Rows) -> FromScribe:
    for key in rows.keys:
        secrets.Secret(key)  # from now on it is known here too, and never written
    try:
        append = pen.append if rows.is_new else pen.append_once
        return Durable(ids=tuple(append(rows.calls, rows.scores)))
    except StoreHeldUp as error:
        return HeldUp(text=str(error), is_full=isinstance(error, StoreFull))
    except StoreError as error:
        return Broken(text=str(error))


def _figures() -> dict[str, float]:
    """What this process took, by the names that ``Resources`` has for it."""
    held_bytes = psutil.Process().memory_info().rss
    return {"cpu_s": time.process_time(), "peak_rss_bytes": float(held_bytes)}


def _give_way() -> None:
    """Let whoever asks go on where both want the same core: to be woken is no reason to go first."""
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


if __name__ == "__main__":
    _give_way()
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve())
