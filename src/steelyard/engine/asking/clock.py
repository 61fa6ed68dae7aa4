"""The clock of a session: seconds of the epoch that nobody can set, and whether this process was kept from running.

People and time servers set the wall clock, so it is read once and counted on from there. A machine that sleeps, or a
process that is stopped, makes every answer on its way look slow: such an answer keeps its words and loses its times.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from steelyard.engine.asking.attempts import Outcome

LONGEST_PAUSE_S = 30.0
LOOKED_EVERY_S = 1.0
GOES_ON: int | None = getattr(
    time, {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}.get(sys.platform, ""), None
)


def with_sleep_ns() -> int:
    """Monotonic nanoseconds that go on while the machine sleeps, where the system has such a clock."""
    return time.monotonic_ns() if GOES_ON is None else time.clock_gettime_ns(GOES_ON)


def in_words(at_s: float) -> str:
    """The moment, seconds since the epoch, in ISO 8601 to the millisecond."""
    second = int(at_s)
    return f"{_second(second)}.{min(round((at_s - second) * 1e6) // 1000, 999):03d}+00:00"


@functools.lru_cache(maxsize=16)
def _second(at_s: int) -> str:
    """A second in words, which many answers share."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class Clock:
    """Looked at every second while something is asked: what then takes longer than ``LONGEST_PAUSE_S`` is a pause."""

    def __init__(
        self,
        wall_s: Callable[[], float] = time.time,
        steady_ns: Callable[[], int] = time.perf_counter_ns,
        sleeping_ns: Callable[[], int] = with_sleep_ns,
    ) -> None:
        self._steady_ns, self._sleeping_ns = steady_ns, sleeping_ns
        self._began_s, self._began_ns = wall_s(), steady_ns()
        self._looked_ns = sleeping_ns()
        self._paused_s = 0.0

    def now_s(self) -> float:
        """Seconds since the epoch, as if nobody had set the clock since the session began; a sleep does not count."""
        return self._began_s + (self._steady_ns() - self._began_ns) / 1e9

    def paused_s(self) -> float:
        """Seconds for which this process did not run, as far as the pauses were too long to be chance."""
        now_ns = self._sleeping_ns()
        away_s, self._looked_ns = (now_ns - self._looked_ns) / 1e9, now_ns
        if away_s > LONGEST_PAUSE_S:
            self._paused_s += away_s
        return self._paused_s

    async def watch(self) -> None:
        """Look until cancelled, so that waiting for something is not taken for a pause."""
        self._looked_ns = self._sleeping_ns()
        while True:
            await asyncio.sleep(LOOKED_EVERY_S)
            self.paused_s()


def without_times(outcome: Outcome) -> Outcome:
    """What came back in spite of a pause: its words and tokens, and nothing of how long it took."""
    stages = tuple(msgspec.structs.replace(stage, took_s=None, ttft_s=None) for stage in outcome.stages)
    completion = outcome.completion
    if completion is not None:
        completion = msgspec.structs.replace(completion, timing=None, stages=stages if completion.stages else ())
    return msgspec.structs.replace(outcome, completion=completion, last_try_s=None, stages=stages)
