"""What the run weighs: CPU, peak memory and loop lag of this process, the models' own processes, and the GPUs.

The client is the measuring instrument; where it is the bottleneck, the figures are about the client.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import psutil

from steelyard.engine.asking.clock import Clock
from steelyard.engine.weight.gpus import Gpus, Reading
from steelyard.engine.weight.served import Mean, Served

INTERVAL_S = 0.1
SERVED_EVERY = 2
MOST_LAGS = 36_000
BUSY_LAG_S = 0.025
BUSY_CORES = 0.9
LEAST_WAITED_S = 5.0
ADDED_UP = (
    "wall_s",
    "slept_s",
    "cpu_s",
    "machine_cpu_s",
    "model_cpu_s",
    "model_watched_s",
    "model_gpu_busy_s",
    "model_gpu_busy_of_s",
    "model_gpu_energy_j",
    "model_gpu_energy_of_s",
    "gpu_busy_s",
    "gpu_busy_of_s",
    "gpu_energy_j",
    "gpu_energy_of_s",
    "doubtful_usd",
    "doubtful_tries",
)
"""Figures that add up over processes and sessions; of all others the largest counts."""


class Waiting:
    """This process while requests were on their way: how late its loop was, and how much processor it took."""

    def __init__(self) -> None:
        self._lags_s: list[float] = []
        self._cpu_s = self._wall_s = 0.0

    def add(self, lag_s: float, cpu_s: float, wall_s: float) -> None:
        """One look at it."""
        if len(self._lags_s) < MOST_LAGS:
            self._lags_s.append(lag_s)
        self._cpu_s += cpu_s
        self._wall_s += wall_s

    def figures(self) -> dict[str, float]:
        """Seconds, cores, lag, and whether it held the answers up; nothing after so short a time that one hiccup tells.

        Two late looks are asked for, since the 99th percentile of few is their largest.
        """
        if self._wall_s < LEAST_WAITED_S:
            return {}
        lag_s, cores = percentile_99(self._lags_s), self._cpu_s / self._wall_s
        is_late = lag_s > BUSY_LAG_S and sum(late_s > BUSY_LAG_S for late_s in self._lags_s) > 1
        return {
            "client_waited_s": self._wall_s,
            "client_cores": cores,
            "client_lag_p99_s": lag_s,
            "client_is_bottleneck": float(is_late or cores > BUSY_CORES),
        }


class Resources:
    """Samples while the run goes on; ``figures`` sums it up.

    ``pids`` gives the processes that answer for each model, if any is to be looked at; ``is_waiting`` whether requests
    are on their way.
    ``came`` is how many have come to their end: of a very fast service none may be on its way when that is looked at.
    """

    def __init__(
        self,
        pids: Callable[[], Mapping[str, Sequence[int]]] | None = None,
        *,
        is_waiting: Callable[[], bool] = lambda: False,
        came: Callable[[], int] = lambda: 0,
        gpus: Gpus | None = None,
    ) -> None:
        self._is_alone = pids is None and gpus is None
        self._pids, self._is_waiting, self._came, self._gpus = pids or dict, is_waiting, came, gpus
        self._process = psutil.Process()
        self._lags_s: list[float] = []
        self._waiting = Waiting()
        self._served: dict[int, Served] = {}
        self._models: dict[str, set[int]] = {}
        self._models_bytes = 0
        self._peak_bytes = 0
        self._gpu_bytes: dict[int, int] = {}
        self._gpu_busy: dict[int, Mean] = {}
        self._gpu_power: dict[int, Mean] = {}
        self._looking = threading.Lock()
        self._clock = Clock()
        self._began_s = time.time()
        self._started_s = self._looked_s = time.monotonic()
        self._cpu_s, self._machine_cpu_s = time.process_time(), machine_cpu_s()
        self.sample()

    async def watch(self) -> None:
        """Sample until cancelled; the models' processes and the GPUs on a thread, since a driver may take its time."""
        looks, slept_s = 0, self._clock.paused_s()
        while True:
            was_waiting, came = self._is_waiting(), self._came()
            cpu_s, asked_s = time.process_time(), time.monotonic()
            await asyncio.sleep(INTERVAL_S)
            took_s = time.monotonic() - asked_s
            if (paused_s := self._clock.paused_s()) > slept_s:
                slept_s = paused_s  # the process was stopped, which is no lag
                continue
            lag_s = max(0.0, took_s - INTERVAL_S)
            if len(self._lags_s) < MOST_LAGS:
                self._lags_s.append(lag_s)
            if (was_waiting and self._is_waiting()) or self._came() > came:
                self._waiting.add(lag_s, time.process_time() - cpu_s, took_s)
            self._peak_bytes = max(self._peak_bytes, self._process.memory_info().rss)
            looks += 1
            if looks % SERVED_EVERY == 0 and not self._is_alone:
                await asyncio.to_thread(self.sample_models)

    def sample(self) -> None:
        """Look once at the memory of this process, and at what the models take."""
        self._peak_bytes = max(self._peak_bytes, self._process.memory_info().rss)
        self.sample_models()

    def sample_models(self) -> None:
        """Look once at the models' processes and at the GPUs."""
        with self._looking:
            self._sample_models()

    def close(self) -> None:
        """Let go of the GPUs' driver."""
        with self._looking:
            if self._gpus is not None:
                self._gpus.close()
            self._gpus = None

    def _sample_models(self) -> None:
        now_s = time.monotonic()
        readings = self._gpus.read() if self._gpus else {}
        self._keep(readings, now_s - self._looked_s)
        self._looked_s = now_s
        for model, pids in dict(self._pids()).items():
            self._models.setdefault(model, set()).update(pids)
        named = {pid for pids in self._models.values() for pid in pids}
        for pid in named - self._served.keys():
            with suppress(psutil.Error):
                self._served[pid] = Served(pid, self._began_s)
        self._models_bytes = max(self._models_bytes, sum(served.sample(readings) for served in self._served.values()))

    def figures(self) -> dict[str, float]:
        """What this stretch of the run took; absent where not known. ``NAME/MODEL`` and ``NAME/DEVICE`` are of one."""
        figures = {
            "wall_s": time.monotonic() - self._started_s,
            "cpu_s": time.process_time() - self._cpu_s,
            "machine_cpu_s": machine_cpu_s() - self._machine_cpu_s,
            "machine_cores": float(psutil.cpu_count() or 1),
            "peak_rss_bytes": float(self._peak_bytes),
            **self._waiting.figures(),
            **self._gpu_figures(),
            **self._model_figures(),
            **_load(),
        }
        if slept_s := self._clock.paused_s():
            figures["slept_s"] = slept_s
        if self._lags_s:
            figures["loop_lag_p99_s"] = percentile_99(self._lags_s)
            figures["loop_lag_max_s"] = max(self._lags_s)
        return figures

    def _keep(self, readings: Mapping[int, Reading], seconds: float) -> None:
        for index, reading in readings.items():
            if reading.memory_bytes is not None:
                self._gpu_bytes[index] = max(self._gpu_bytes.get(index, 0), reading.memory_bytes)
            self._gpu_busy.setdefault(index, Mean()).add(reading.utilisation, seconds)
            self._gpu_power.setdefault(index, Mean()).add(reading.power_w, seconds)

    def _gpu_figures(self) -> dict[str, float]:
        figures = {f"gpu_peak_bytes/{index}": float(most) for index, most in self._gpu_bytes.items()}
        for index, mean in self._gpu_busy.items():
            figures |= mean.figures(f"gpu_busy_s/{index}", f"gpu_busy_of_s/{index}")
        for index, mean in self._gpu_power.items():
            figures |= mean.figures(f"gpu_energy_j/{index}", f"gpu_energy_of_s/{index}")
        return figures

    def _model_figures(self) -> dict[str, float]:
        if not self._models_bytes:
            return {}
        total = {
            "model_peak_rss_bytes": float(self._models_bytes),
            "model_cpu_s": sum(served.cpu_s for served in self._served.values()),
        }
        for model, pids in self._models.items():
            found = [self._served[pid].figures() for pid in pids if pid in self._served]
            total |= {f"{name}/{model}": value for name, value in added_up(found).items()}
        return total


def added_up(stretches: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Times added up and peaks maximised, over sessions of a run or over processes that followed one another."""
    total: dict[str, float] = {}
    for figures in stretches:
        for name, value in figures.items():
            before = total.get(name, 0.0)
            total[name] = before + value if name.partition("/")[0] in ADDED_UP else max(before, value)
    return total


def together(own: Mapping[str, float], others: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The figures of a process and of those that worked for it: time and memory in sum, of lags and loads the worst."""
    total = dict(own)
    for figures in others:
        for name, value in figures.items():
            if name in ("cpu_s", "peak_rss_bytes"):
                total[name] = total.get(name, 0.0) + value
            elif name.startswith(("client_", "loop_lag_")):
                total[name] = max(total.get(name, 0.0), value)
    return total


def percentile_99(values: Sequence[float]) -> float:
    """The value that at most one in a hundred exceeds; the largest of fewer than a hundred."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_cpu_s() -> float:
    """Processor seconds of this machine since it began, all programs together."""
    times = psutil.cpu_times()._asdict()
    counted_twice = ("guest", "guest_nice")  # part of user and nice
    return float(sum(value for name, value in times.items() if name not in (*counted_twice, "idle", "iowait")))


def _load() -> dict[str, float]:
    """How many programs wanted a processor over the last minute, at the end of the run."""
    with suppress(OSError):
        return {"load_1min_end": psutil.getloadavg()[0]}
    return {}
