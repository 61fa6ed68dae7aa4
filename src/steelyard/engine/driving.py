"""Lanes driven to their end, or to the moment when the user wants no more: then what is in flight comes in first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

from steelyard.engine.interrupt import Interrupt
from steelyard.engine.money.budget import SPENT, Ledger
from steelyard.engine.pipeline import GRACE_S, Lane
from steelyard.engine.processes.shared_lane import SharedLane
from steelyard.engine.schedule.looks import Looks
from steelyard.engine.work import Work
from steelyard.engine.writer import Writer
from steelyard.errors import StoreError
from steelyard.types import RunStatus


async def drive(
    lanes: Mapping[Lane | SharedLane, AsyncIterable[Work]],
    looks: Looks,
    writer: Writer,
    ledger: Ledger,
    interrupt: Interrupt,
) -> RunStatus:
    """Run every lane to its end, or to the user's wish to stop; each with what was answered earlier and not scored."""
    working: asyncio.Future[Any] = asyncio.ensure_future(
        _all_of([looks.serve(), *(lane.run(unscored) for lane, unscored in lanes.items())])
    )
    writing: asyncio.Future[Any] = asyncio.ensure_future(writer.serve())
    wished: asyncio.Future[Any] = asyncio.ensure_future(interrupt.wait())
    try:
        await asyncio.wait((working, writing, wished), return_when=asyncio.FIRST_COMPLETED)
        if writing.done():
            _raise_first(writing)
        if not working.done():
            writer.hurry()
            await _wind_down(lanes, working, writing, interrupt)
            await _drain(writer, writing)
            interrupt.heed()
            return "interrupted"
        if working.exception() is not None:
            writer.hurry()
            with suppress(StoreError):  # it is not what went wrong first
                await _drain(writer, writing)
        _raise_first(working)
    finally:
        for task in (wished, working, writing):
            task.cancel()
        await asyncio.gather(wished, working, writing, return_exceptions=True)
    if any(lane.stopped not in (None, SPENT) for lane in lanes):
        return "failed"
    return "budget" if ledger.is_exhausted else "done"


async def _all_of(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Return when all is done; where one fails, nothing of the others is at work any more."""
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)


async def _drain(writer: Writer, writing: asyncio.Future[Any]) -> None:
    """Return when everything is durable; raise where it cannot be."""
    drained: asyncio.Future[Any] = asyncio.ensure_future(writer.drain())
    await asyncio.wait((drained, writing), return_when=asyncio.FIRST_COMPLETED)
    if writing.done():
        drained.cancel()
        _raise_first(writing)


async def _wind_down(
    lanes: Iterable[Lane | SharedLane],
    working: asyncio.Future[Any],
    writing: asyncio.Future[Any],
    interrupt: Interrupt,
) -> None:
    """Send nothing more; let what is in flight come in for a few seconds, unless asked a second time.

    What comes in where nothing can be written is lost all the same: then nobody waits for it.
    """
    for lane in lanes:
        lane.stop("interrupted")
    at_once: asyncio.Future[Any] = asyncio.ensure_future(interrupt.wait(2))
    await asyncio.wait((working, writing, at_once), timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED)
    at_once.cancel()
    working.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await working


def _raise_first(ended: asyncio.Future[Any]) -> None:
    error = ended.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error
