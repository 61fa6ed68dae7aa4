"""Settings that models turned out not to take while a run goes on, kept with its session as they are learnt.

They are part of what was asked: a score of a model with a temperature of 0 and one with the model's own default are not
scores of the same system.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from steelyard.engine.cells import Cell
from steelyard.engine.pipeline import Lane
from steelyard.errors import StoreError
from steelyard.providers.interface import Learns

if TYPE_CHECKING:
    from steelyard.store import Store

LEFT_OUT = "settings_left_out"
"""What they are called in a session's provenance."""
LOOKED_AT_EVERY_S = 1.0

Learnt = dict[str, dict[str, str]]
"""By model: each setting that is not sent as the plan has it, with what happens instead."""


def learnt_by(cells: Sequence[Cell], lanes: Iterable[Lane] = ()) -> Learnt:
    """What the models of these cells, their judges and the batch services of these lanes have learnt so far."""
    asking = [(cell.spec.id, cell.provider) for cell in cells]
    judging = [(cell.judge.spec.id, cell.judge.provider) for cell in cells if cell.judge is not None]
    by_batches = [(lane.model, lane.batches.service) for lane in lanes if lane.batches is not None]
    found: Learnt = {}
    for model, asker in (*asking, *judging, *by_batches):
        if isinstance(asker, Learns) and asker.learnt:
            found.setdefault(model, {}).update(asker.learnt)
    return found


def together(*learnt: Mapping[str, Mapping[str, str]]) -> Learnt:
    """What several have learnt, as one."""
    found: Learnt = {}
    for each in learnt:
        for model, settings in each.items():
            found.setdefault(model, {}).update(settings)
    return found


@asynccontextmanager
async def noted(store: Store, session: int, look: Callable[[], Learnt]) -> AsyncIterator[None]:
    """Keep with the session what ``look`` says, whenever it is something new, while the block goes on."""
    kept: Learnt = {}

    def keep() -> None:
        nonlocal kept
        if (learnt := look()) != kept:
            store.add_provenance(session, {LEFT_OUT: learnt})
            kept = learnt

    async def watch() -> None:
        while True:
            await asyncio.sleep(LOOKED_AT_EVERY_S)
            with suppress(StoreError):  # a full disk is the writer's to tell
                await asyncio.to_thread(keep)

    task = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with suppress(StoreError):
            await asyncio.to_thread(keep)
