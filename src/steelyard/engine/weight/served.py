"""What a model's own process on this machine takes: memory, processor time and GPUs, its children included.

A process that began with the run is weighed from its birth; one that was there before, from when it is first looked
at. When it ends, what was seen stands, and nothing is added.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

from steelyard.engine.weight.gpus import Reading, devices_of, held_by
from steelyard.errors import UsageError
from steelyard.providers.cascade import Several
from steelyard.providers.interface import OwnsProcess, Provider
from steelyard.types import ModelSpec

CHILDREN_EVERY_S = 2.0
BIRTH_SLACK_S = 1.0  # the kernel tells a birth from a boot time in whole seconds


class Mean:
    """A quantity over time: its integral, and the seconds for which it was known."""

    def __init__(self) -> None:
        self.integral, self.known_s = 0.0, 0.0

    def add(self, value: float | None, seconds: float) -> None:
        """The value that held for so many seconds; unknown ones do not count."""
        if value is not None:
            self.integral += value * seconds
            self.known_s += seconds

    def figures(self, integral: str, known: str) -> dict[str, float]:
        """Both under their names; nothing where it was never known."""
        return {integral: self.integral, known: self.known_s} if self.known_s else {}


class Served:
    """One server: a process and what it started. ``since_s`` is when the run began, in seconds of the epoch."""

    def __init__(self, pid: int, since_s: float) -> None:
        self._root = psutil.Process(pid)
        self._since_s = since_s - BIRTH_SLACK_S
        self._children: list[psutil.Process] = []
        self._children_at_s = -CHILDREN_EVERY_S
        self._first_cpu_s: dict[psutil.Process, float] = {}
        self._last_cpu_s: dict[psutil.Process, float] = {}
        self._last_s = time.monotonic()
        self._began_s = self._last_s - self._age_s()
        self.peak_bytes = 0
        self.peak_gpu_bytes: int | None = None
        self._gpu_busy, self._gpu_power = Mean(), Mean()
        self.ended_after_s: float | None = None

    @property
    def cpu_s(self) -> float:
        """Processor seconds since it is watched."""
        return sum(last_s - self._first_cpu_s[process] for process, last_s in self._last_cpu_s.items())

    def sample(self, gpus: dict[int, Reading]) -> int:
        """Look once; the bytes it holds in memory now, 0 where it has ended."""
        now_s = time.monotonic()
        if self.ended_after_s is not None:
            return 0
        if not _is_alive(self._root):
            self.ended_after_s = now_s - self._began_s
            return 0
        processes = self._processes(now_s)
        held_bytes = sum(self._weigh(process) for process in processes)
        self.peak_bytes = max(self.peak_bytes, held_bytes)
        self._weigh_gpus(gpus, [process.pid for process in processes], now_s - self._last_s)
        self._last_s = now_s
        return held_bytes

    def figures(self) -> dict[str, float]:
        """What it took, under the names that a session keeps; absent where not known."""
        if not self.peak_bytes:
            return {}
        figures = {
            "model_peak_rss_bytes": float(self.peak_bytes),
            "model_cpu_s": self.cpu_s,
            "model_watched_s": self._last_s - self._began_s,
            **self._gpu_busy.figures("model_gpu_busy_s", "model_gpu_busy_of_s"),
            **self._gpu_power.figures("model_gpu_energy_j", "model_gpu_energy_of_s"),
        }
        if self.peak_gpu_bytes is not None:
            figures["model_peak_gpu_bytes"] = float(self.peak_gpu_bytes)
        if self.ended_after_s is not None:
            figures["model_ended_after_s"] = self.ended_after_s
        return figures

    def _age_s(self) -> float:
        """How long it has run, if it began with the run; one that was there before is looked at from now on."""
        born_s = self._root.create_time()
        return max(0.0, time.time() - born_s) if born_s >= self._since_s else 0.0

    def _processes(self, now_s: float) -> list[psutil.Process]:
        """The server and its children; these are looked for every now and then, since that reads the process table."""
        if now_s - self._children_at_s >= CHILDREN_EVERY_S:
            self._children_at_s = now_s
            with suppress(psutil.Error):
                self._children = self._root.children(recursive=True)
        return [self._root, *self._children]

    def _weigh(self, process: psutil.Process) -> int:
        with suppress(psutil.Error):
            with process.oneshot():
                times = process.cpu_times()
                is_new = process.create_time() >= self._since_s
                held_bytes = int(process.memory_info().rss)
            self._last_cpu_s[process] = float(times.user + times.system)
            self._first_cpu_s.setdefault(process, 0.0 if is_new else self._last_cpu_s[process])
            return max(held_bytes, _high_water_bytes(process.pid) if is_new else 0)
        return 0

    def _weigh_gpus(self, gpus: dict[int, Reading], pids: list[int], seconds: float) -> None:
        held_bytes = held_by(gpus, pids)
        if held_bytes is not None:
            self.peak_gpu_bytes = max(self.peak_gpu_bytes or 0, held_bytes)
        used = devices_of(gpus, pids)
        busy = [device.utilisation for device in used if device.utilisation is not None]
        power_w = [device.power_w for device in used if device.power_w is not None]
        self._gpu_busy.add(sum(busy) / len(busy) if busy and len(busy) == len(used) else None, seconds)
        self._gpu_power.add(sum(power_w) if power_w and len(power_w) == len(used) else None, seconds)


def check_server(spec: ModelSpec, provider: Provider | None) -> None:
    """Raise ``UsageError`` where ``server_pid`` names no process that can be weighed."""
    pid = spec.server_pid
    if pid is None:
        return
    if provider is None or isinstance(provider, OwnsProcess):
        raise UsageError(f"{spec.id}: server_pid is for a model that something else serves on this machine")
    is_alive = False
    try:
        process = psutil.Process(pid)
        process.memory_info()
        is_alive = _is_alive(process)
    except psutil.AccessDenied:
        raise UsageError(f"{spec.id}: process {pid} may not be read. Try: as the user who started it") from None
    except (psutil.Error, OverflowError, ValueError):
        pass
    if not is_alive:
        raise UsageError(
            f"{spec.id}: there is no process {pid} on this machine. Try: --server-pid $(pgrep -of 'vllm serve'), or "
            "without it"
        )


def served_pids(spec: ModelSpec, provider: Provider | None) -> Iterator[int]:
    """The process that answers for a model, where it is known."""
    if isinstance(provider, Several):
        for member in provider.members:
            yield from served_pids(member.spec, member.provider)
        return
    owner: object = provider
    pid = owner.pid if isinstance(owner, OwnsProcess) else spec.server_pid
    if pid is not None:
        yield pid


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _high_water_bytes(pid: int) -> int:
    """The kernel's own high-water mark of resident memory, on Linux; 0 elsewhere."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
