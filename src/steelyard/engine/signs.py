"""Tells the store how a run stands while it goes on, for whoever watches it from another process.

The counters that a display reads are read every few seconds, and written down where they have changed: one row, from a
thread, however fast answers come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from steelyard.errors import StoreError
from steelyard.secrets import scrub
from steelyard.store.rows.signs import TOLD_AT_LEAST_EVERY_S, TOLD_EVERY_S
from steelyard.store.writing.codec import mended
from steelyard.types import CellSign, Sign

if TYPE_CHECKING:
    from steelyard.engine.pipeline import Lane
    from steelyard.engine.processes.shared_lane import SharedLane
    from steelyard.engine.progress import Progress
    from steelyard.engine.work import OpenCell
    from steelyard.store import Store

MOST_MESSAGES = 5
LONGEST_MESSAGE = 400


@asynccontextmanager
async def told(
    store: Store, session: int, progress: Progress, lanes: Sequence[Lane | SharedLane]
) -> AsyncIterator[None]:
    """Keep with the session how the run stands, while the block goes on."""

    async def tell() -> None:
        last, is_known = Sign(told_s=0.0), False
        while True:
            try:
                sign = sign_of(progress, lanes)
                if replace(sign, told_s=last.told_s) != last or sign.told_s - last.told_s >= TOLD_AT_LEAST_EVERY_S:
                    await asyncio.to_thread(store.signs.keep, session, sign)
                    last = sign
            except StoreError:
                pass  # a full disk is the writer's to tell
            except Exception as error:  # noqa: BLE001 - silence would tell those who watch that the process is gone
                if not is_known:
                    why = scrub(f"{type(error).__name__}: {error}")
                    progress.tell(f"how the run stands could not be told to those who watch it ({why}); it goes on")
                is_known = True
            await asyncio.sleep(TOLD_EVERY_S)

    task = asyncio.ensure_future(tell())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def sign_of(progress: Progress, lanes: Sequence[Lane | SharedLane]) -> Sign:
    """How the run stands now."""
    ledger = progress.ledger
    sign = Sign(
        told_s=time.time(),
        cells=tuple(_cell(cell) for lane in lanes for cell in lane.cells),
        doubtful_usd=0.0 if ledger is None else ledger.doubt_added_usd,
        doubtful_tries=0 if ledger is None else ledger.doubt_added_tries,
        batches=tuple(f"{one.model}  {one.state()}" for one in progress.batches if not one.is_over),
        messages=tuple(scrub(text)[:LONGEST_MESSAGE] for text in progress.messages[-MOST_MESSAGES:]),
    )
    return mended(sign)


def _cell(cell: OpenCell) -> CellSign:
    counters = cell.progress
    return CellSign(
        cell=cell.row,
        in_flight=counters.in_flight,
        failed=counters.errored,
        retries=counters.retries,
        waits=tuple(counters.waits()),
        stopped=None if counters.stopped is None else scrub(counters.stopped)[:LONGEST_MESSAGE],
    )
