"""What is not waited for gives way to pages.

A download of a million answers keeps Python busy for minutes. Made a block at a time, and none while a page is made, it
holds a page up by a block at most.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_S = 0.25
"""So long a block gives way, so that a download comes to its end however many pages are asked for."""


class GivingWay:
    """Counts the pages that are being made, and makes blocks of all downloads one at a time."""

    def __init__(self) -> None:
        self._turn, self._changed = asyncio.Lock(), threading.Condition()
        self._pages = 0

    @contextmanager
    def page(self) -> Iterator[None]:
        """While it lasts a page is being made."""
        with self._changed:
            self._pages += 1
        try:
            yield
        finally:
            with self._changed:
                self._pages -= 1
                self._changed.notify_all()

    async def next(self, blocks: Iterator[str]) -> str | None:
        """The next block, made in a thread; ``None`` behind the last."""
        from starlette.concurrency import run_in_threadpool

        async with self._turn:
            return await run_in_threadpool(self._next, blocks)

    def _next(self, blocks: Iterator[str]) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: not self._pages, LONGEST_S)
        return next(blocks, None)
