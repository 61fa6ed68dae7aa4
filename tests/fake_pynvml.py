"""NVML as nvidia-ml-py names it, for machines without a GPU: two devices, the second of which tells no power.

Names, units and the way of failing are NVML's: utilisation in percent, memory in bytes, power in milliwatts, and
``NVMLError`` for what a device does not support.
"""

from types import SimpleNamespace

NVML_ERROR_UNINITIALIZED, NVML_ERROR_NOT_SUPPORTED = 1, 3


class NVMLError(Exception):
    def __init__(self, value):
        super().__init__(value)
        self.value = value


class NVMLError_NotSupported(NVMLError):  # noqa: N801 - the library's own name
    def __init__(self):
        super().__init__(NVML_ERROR_NOT_SUPPORTED)


class Nvml:
    """One loaded library. ``held`` maps a device to the processes on it and the bytes each holds."""

    NVMLError = NVMLError

    def __init__(self, held=None, *, starts=True):
        self.held, self.starts, self.inits = held or {}, starts, 0

    def nvmlInit(self):  # noqa: N802
        if not self.starts:
            raise NVMLError(NVML_ERROR_UNINITIALIZED)
        self.inits += 1

    def nvmlShutdown(self):  # noqa: N802
        self._check()
        self.inits -= 1

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return "550.54.15"

    def nvmlDeviceGetCount(self):  # noqa: N802
        self._check()
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        self._check()
        return index

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return b"NVIDIA L4"

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        self._check()
        return SimpleNamespace(gpu=(80, 10)[handle], memory=40)

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        self._check()
        return SimpleNamespace(total=24 * 2**30, used=(20, 1)[handle] * 2**30, free=0)

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        self._check()
        if handle == 1:
            raise NVMLError_NotSupported
        return 65_500

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):  # noqa: N802
        raise NVMLError_NotSupported

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        self._check()
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.held.get(handle, {}).items()]

    def _check(self):
        if not self.inits:
            raise NVMLError(NVML_ERROR_UNINITIALIZED)
