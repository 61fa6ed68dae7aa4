"""What the run itself weighs: CPU, peak memory and loop lag of this process, CPU and peak memory of local models.

The client is the measuring instrument; where it is the bottleneck, the figures are about the client.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

INTERVAL_S = 0.1
MOST_LAGS = 36_000


class Resources:
    """Samples while the run goes on; ``figures`` sums it up."""

    def __init__(self, pids: Callable[[], Iterable[int]] = lambda: ()) -> None:
        self._pids = pids
        self._process = psutil.Process()
        self._lags_s: list[float] = []
        self._models_bytes = 0
        self._models_cpu_s: dict[int, float] = {}
        self._peak_bytes = 0
        self._started_s = time.monotonic()
        self._cpu_s = _cpu_s(self._process)

    async def watch(self) -> None:
        """Sample until cancelled."""
        while True:
            asked_s = time.monotonic()
            await asyncio.sleep(INTERVAL_S)
            if len(self._lags_s) < MOST_LAGS:
                self._lags_s.append(max(0.0, time.monotonic() - asked_s - INTERVAL_S))
            self.sample()

    def sample(self) -> None:
        """Look once at the memory of this process, and at memory and processor time of the local models."""
        self._peak_bytes = max(self._peak_bytes, self._process.memory_info().rss)
        pids = list(self._pids())
        self._models_bytes = max(self._models_bytes, sum(peak_rss_bytes(pid) or 0 for pid in pids))
        for pid in pids:
            with suppress(psutil.Error):
                self._models_cpu_s[pid] = _cpu_s(psutil.Process(pid))

    def figures(self) -> dict[str, float]:
        """CPU seconds, wall seconds, peak bytes and lag of this stretch of the run; absent where not known."""
        wall_s = time.monotonic() - self._started_s
        figures = {
            "wall_s": wall_s,
            "cpu_s": _cpu_s(self._process) - self._cpu_s,
            "peak_rss_bytes": float(self._peak_bytes),
        }
        if self._models_bytes:
            figures["model_peak_rss_bytes"] = float(self._models_bytes)
            figures["model_cpu_s"] = sum(self._models_cpu_s.values())
        if self._lags_s:
            ordered = sorted(self._lags_s)
            figures["loop_lag_p99_s"] = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
            figures["loop_lag_max_s"] = ordered[-1]
        return figures


def peak_rss_bytes(pid: int) -> int | None:
    """The peak resident memory of a process: the kernel's own high-water mark on Linux, else what it holds now."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return None


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
