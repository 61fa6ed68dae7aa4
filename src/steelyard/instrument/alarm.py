"""Calls at absolute nanoseconds. Event loops round timers to whole milliseconds, which a known delay cannot bear.

On Linux the kernel's own timer file is watched by the loop; elsewhere the loop's timers are used, and what they are
late by stands in the mock's figures.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import itertools
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress

Due = Callable[[int], None]

CLOCK_MONOTONIC = 1  # what time.perf_counter_ns reads on Linux
TFD_NONBLOCK_CLOEXEC = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)  # Windows has neither
TFD_TIMER_ABSTIME = 1


class Alarm:
    """One clock for everything that is due; the earliest entry sets it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._entries: list[tuple[int, int, Due]] = []
        self._order = itertools.count()
        self._set_ns: int | None = None
        self._timer: KernelTimer | None = None
        self._handle: asyncio.TimerHandle | None = None
        if sys.platform == "linux":
            with suppress(OSError, AttributeError):  # a kernel or a C library without it
                timer = KernelTimer()
                loop.add_reader(timer.fileno, self._kernel_rings)
                self._timer = timer

    def at(self, due_ns: int, call: Due) -> None:
        """Call ``call(now_ns)`` when ``time.perf_counter_ns()`` reaches ``due_ns``."""
        heapq.heappush(self._entries, (due_ns, next(self._order), call))
        if self._set_ns is None or due_ns < self._set_ns:
            self._set(due_ns)

    def close(self) -> None:
        """Ring no more."""
        self._entries.clear()
        if self._handle is not None:
            self._handle.cancel()
        if self._timer is not None:
            self._loop.remove_reader(self._timer.fileno)
            self._timer.close()
            self._timer = None

    def _set(self, due_ns: int) -> None:
        self._set_ns = due_ns
        if self._timer is not None:
            self._timer.set(due_ns)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0, due_ns - time.perf_counter_ns()) / 1e9, self._ring)

    def _kernel_rings(self) -> None:
        if self._timer is not None:
            self._timer.clear()
        self._ring()

    def _ring(self) -> None:
        self._set_ns = 0  # what is added meanwhile is looked at below
        while self._entries and self._entries[0][0] <= (now_ns := time.perf_counter_ns()):
            heapq.heappop(self._entries)[2](now_ns)
        self._set_ns = None
        if self._entries:
            self._set(self._entries[0][0])


class _Moment(ctypes.Structure):
    _fields_ = (("s", ctypes.c_long), ("ns", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("every", _Moment), ("at", _Moment))


class KernelTimer:
    """Linux's timerfd, which Python offers itself from 3.13 on."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._setting = _Setting()
        self._reference = ctypes.byref(self._setting)
        self.fileno = self._libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK_CLOEXEC)
        if self.fileno < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, due_ns: int) -> None:
        """Become readable at ``due_ns``; a time that has passed is now."""
        self._setting.at.s, self._setting.at.ns = divmod(max(1, due_ns), 1_000_000_000)
        if self._libc.timerfd_settime(self.fileno, TFD_TIMER_ABSTIME, self._reference, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Forget that it has rung."""
        with suppress(BlockingIOError):
            os.read(self.fileno, 8)

    def close(self) -> None:
        """Give the file back."""
        os.close(self.fileno)
