"""NVIDIA GPUs through NVML: how busy each is, what it holds, what it draws, and which process holds how much of it.

Reading is optional throughout. Where there is no driver nothing is imported; what a device does not tell is ``None``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

DRIVER_FILES = (
    "/proc/driver/nvidia/version",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    os.path.join(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvml.dll"),
)
NOT_INSTALLED = "not read: there is an NVIDIA driver, but no nvidia-ml-py. Try: pip install 'steelyard[gpu]'"


class Reading(Struct, frozen=True, kw_only=True):
    """One device at one moment. ``utilisation``: share of the driver's last sampling period in which it computed.

    ``held_bytes`` maps the processes that compute on it to the memory they hold; ``None`` where it is not told.
    """

    utilisation: float | None
    memory_bytes: int | None
    power_w: float | None
    held_bytes: dict[int, int | None]


class Device(Struct, frozen=True, kw_only=True):
    """What a device is, as it stands in a run's provenance."""

    name: str | None
    memory_bytes: int | None
    power_limit_w: float | None


class Gpus:
    """The devices of this machine, open for reading until ``close``."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        count = self._told(nvml.nvmlDeviceGetCount) or 0
        handles = (self._told(nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count))
        self._handles = [(index, handle) for index, handle in enumerate(handles) if handle is not None]

    def devices(self) -> dict[int, Device]:
        """Name, memory and power limit of each device, by its number."""
        return {index: self._device(handle) for index, handle in self._handles}

    def driver(self) -> str | None:
        """The version of the driver."""
        return _text(self._told(self._nvml.nvmlSystemGetDriverVersion))

    def read(self) -> dict[int, Reading]:
        """Every device as it is now, by its number."""
        return {index: self._reading(handle) for index, handle in self._handles}

    def close(self) -> None:
        """Let go of the driver."""
        self._told(self._nvml.nvmlShutdown)

    def _device(self, handle: Any) -> Device:
        memory = self._told(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        limit_mw = self._told(self._nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        return Device(
            name=_text(self._told(self._nvml.nvmlDeviceGetName, handle)),
            memory_bytes=None if memory is None else int(memory.total),
            power_limit_w=None if limit_mw is None else limit_mw / 1000,
        )

    def _reading(self, handle: Any) -> Reading:
        rates = self._told(self._nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._told(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        power_mw = self._told(self._nvml.nvmlDeviceGetPowerUsage, handle)
        processes = self._told(self._nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
        return Reading(
            utilisation=None if rates is None else rates.gpu / 100,
            memory_bytes=None if memory is None else int(memory.used),
            power_w=None if power_mw is None else power_mw / 1000,
            held_bytes={int(process.pid): process.usedGpuMemory for process in processes},
        )

    def _told(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What NVML answers; ``None`` where this device, driver or permission does not give it."""
        with suppress(self._nvml.NVMLError):
            return function(*arguments)
        return None


def has_driver() -> bool:
    """Whether an NVIDIA driver is installed, found without loading anything."""
    candidates = DRIVER_FILES[2:] if sys.platform == "win32" else DRIVER_FILES[:2]
    return any(Path(file).exists() for file in candidates)


def open_gpus() -> Gpus | None:
    """The devices, ready to be read; ``None`` without a driver, without nvidia-ml-py, or where it does not start."""
    nvml = _nvml() if has_driver() else None
    if nvml is None:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return Gpus(nvml)


def gpu_provenance() -> dict[str, Any] | None:
    """Driver and devices for a run's provenance; ``None`` without a driver, and why where one cannot be read."""
    if not has_driver():
        return None
    if _nvml() is None:
        return {"status": NOT_INSTALLED}
    gpus = open_gpus()
    if gpus is None:
        return {"status": "not read: NVML did not start"}
    try:
        devices = {str(index): _as_dict(device) for index, device in gpus.devices().items()}
        return {"status": "read", "driver": gpus.driver(), "devices": devices}
    finally:
        gpus.close()


def devices_of(readings: dict[int, Reading], pids: Iterable[int]) -> list[Reading]:
    """The devices on which one of the processes computes."""
    wanted = set(pids)
    return [reading for reading in readings.values() if wanted & reading.held_bytes.keys()]


def held_by(readings: dict[int, Reading], pids: Iterable[int]) -> int | None:
    """The memory that the processes hold on all devices together; ``None`` where none is told."""
    wanted = set(pids)
    held = [size for reading in readings.values() for pid, size in reading.held_bytes.items() if pid in wanted]
    known = [size for size in held if size is not None]
    return sum(known) if known and len(known) == len(held) else None


def _nvml() -> Any | None:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def _as_dict(device: Device) -> dict[str, Any]:
    return {name: getattr(device, name) for name in device.__struct_fields__}


def _text(name: str | bytes | None) -> str | None:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
