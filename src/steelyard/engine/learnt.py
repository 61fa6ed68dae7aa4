"""Settings that models turned out not to take while a run goes on, kept with its session as they are learnt.

They are part of what was asked: two scores of one model, one with a temperature of 0 and one with the model's own
default, are not scores of the same system.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from steelyard.errors import StoreError
from steelyard.providers.accepted import Learns
from steelyard.store import Store
from steelyard.types import LEFT_OUT

LOOKED_AT_EVERY_S = 1.0


class LeftOut:
    """What each model, by its id, was asked without. ``askers`` are whoever asks it."""

    def __init__(self, store: Store, session: int, askers: Mapping[str, Sequence[object]]) -> None:
        self._store, self._session = store, session
        self._askers = {
            model: [asker for asker in asking if isinstance(asker, Learns)] for model, asking in askers.items()
        }
        self._kept: dict[str, dict[str, str]] = {}

    def learnt(self) -> dict[str, dict[str, str]]:
        """By model: each setting that is not sent as the plan has it, with what happens instead."""
        found = {
            model: {setting: instead for asker in asking for setting, instead in asker.learnt.items()}
            for model, asking in self._askers.items()
        }
        return {model: settings for model, settings in found.items() if settings}

    def keep(self) -> None:
        """Write it down where there is something new."""
        if (learnt := self.learnt()) != self._kept:
            self._store.add_provenance(self._session, {LEFT_OUT: learnt})
            self._kept = learnt

    async def watch(self) -> None:
        """Write down what is new, now and then, for ever."""
        while True:
            await asyncio.sleep(LOOKED_AT_EVERY_S)
            await asyncio.to_thread(self.keep)


@asynccontextmanager
async def noted(left_out: LeftOut) -> AsyncIterator[None]:
    """Keep what is learnt while the block goes on; a store that cannot be written now says so elsewhere."""
    task = asyncio.ensure_future(left_out.watch())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, StoreError):
            await task
        with suppress(StoreError):
            await asyncio.to_thread(left_out.keep)
