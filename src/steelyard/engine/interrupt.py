"""The wish that a run should stop: heard from its first step to its last, in one place.

What comes before the first request is cut off by it. Answers that are on their way are let in, so whoever drives the
lanes sees to it; and what comes after the last one is always done, but for sums that nobody waits for any more.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any


class Interrupt:
    """A wish to stop: the first one lets what is in flight come in, the second one does not wait."""

    def __init__(self) -> None:
        self.wishes = 0
        self._heeded = 0
        self._at_stake: asyncio.Task[Any] | None = None
        self._changed = asyncio.Event()

    def wish(self, times: int = 1) -> None:
        """Ask to stop; twice: to stop now."""
        self.wishes += times
        self._changed.set()
        if self._at_stake is not None:
            self._at_stake.cancel()
            self._at_stake = None

    def wish_once(self) -> None:
        """Ask to stop, unless that was asked before: a terminal that is closed may say so twice."""
        if not self.wishes:
            self.wish()

    async def wait(self, wishes: int = 1) -> None:
        """Return when the run has been asked to stop that often."""
        while self.wishes < wishes:
            self._changed.clear()
            await self._changed.wait()

    def heed(self) -> None:
        """The run has stopped as it was asked to: from now on a further wish alone is pressing."""
        self._heeded = self.wishes

    @property
    def is_pressing(self) -> bool:
        """Whether there is a wish that nobody has seen to."""
        return self.wishes > self._heeded

    @contextmanager
    def cuts_off(self) -> Iterator[None]:
        """Let a wish that comes while the block goes on end it, as ``KeyboardInterrupt``."""
        task = self._at_stake = asyncio.current_task()
        assert task is not None
        try:
            yield
        except asyncio.CancelledError:
            if self._at_stake is not None:  # somebody else's wish
                raise
            task.uncancel()
            raise KeyboardInterrupt from None
        finally:
            self._at_stake = None


_hearing: list[Interrupt] = []
"""Of the runs that go on at once on the main thread: they have one loop, and what it hears is for all of them."""
_before: dict[int, Any] = {}
"""Who heard of each signal before the first of them."""


@contextmanager
def heard() -> Iterator[Interrupt]:
    """Ctrl-C, a terminal that is closed and SIGTERM as wishes; SIGTERM does not wait.

    Elsewhere than on the main thread there are none. Whoever started the run may want it to outlive its terminal, or
    hear of that end itself; and hears of all of them again once the last of several runs has ended.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    loop = asyncio.get_running_loop()  # it may have ended where a run that was given up is taken apart
    _hearing.append(interrupt)
    try:
        if len(_hearing) == 1:
            _listen(loop)
        yield interrupt
    finally:
        _hearing.remove(interrupt)
        if not _hearing:
            _give_back(loop)


def _listen(loop: asyncio.AbstractEventLoop) -> None:
    wishes: dict[int, Callable[[Interrupt], None]] = {
        signal.SIGINT: Interrupt.wish,
        signal.SIGTERM: partial(Interrupt.wish, times=2),
    }
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        wishes[signal.SIGHUP] = Interrupt.wish_once
    with suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt; what is committed stays committed
        for number, wish in wishes.items():
            others = signal.getsignal(number)
            loop.add_signal_handler(number, _all_wish, wish)
            _before[number] = others


def _all_wish(wish: Callable[[Interrupt], None]) -> None:
    for interrupt in list(_hearing):
        wish(interrupt)


def _give_back(loop: asyncio.AbstractEventLoop) -> None:
    for number, others in _before.items():
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL if others is None else others)  # None: not Python's own
    _before.clear()
