"""What the run itself weighs: CPU, peak memory and loop lag of this process, CPU and peak memory of local models.

The client is the measuring instrument; where it is the bottleneck, the figures are about the client.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import psutil

from steelyard.engine.gpu import Gpus

INTERVAL_S = 0.1
GPUS_EVERY = 10  # asking a driver takes milliseconds, which the loop would be late by
MOST_LAGS = 36_000
LEAST_JUDGED_S = 5.0
LATE_S = 0.025
BUSY = 0.9


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
        self._gpus = Gpus()
        self._looks = 0

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
        if self._looks % GPUS_EVERY == 0:
            self._gpus.sample()
        self._looks += 1

    def figures(self) -> dict[str, float]:
        """CPU seconds, wall seconds, peak bytes, lag and GPUs of this stretch of the run; absent where not known."""
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
        with suppress(OSError):  # some containers hide it
            figures["load_average_1m"] = psutil.getloadavg()[0]
        return figures | self._gpus.figures()

    def close(self) -> None:
        """Look no more."""
        self._gpus.close()


def bottleneck(figures: Mapping[str, float]) -> str | None:
    """Why the figures of this stretch may be the client's own rather than the models'; ``None`` where they are not."""
    wall_s, lag_s = figures["wall_s"], figures.get("loop_lag_p99_s", 0.0)
    share = figures["cpu_s"] / wall_s if wall_s else 0.0
    if wall_s < LEAST_JUDGED_S or (lag_s < LATE_S and share < BUSY):
        return None
    return (
        f"this machine was the bottleneck: the client used {share:.2f} cores, and its event loop was "
        f"{1000 * lag_s:.0f} ms late at the 99th percentile. Latency and rates are the client's as much as the "
        "models'. Try: a lower --concurrency, or a machine with nothing else to do; steelyard selftest tells how many "
        "streams it takes"
    )


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
