"""What NVIDIA cards do while a run goes on: utilisation, memory and power, through nvidia-ml-py where it is installed.

The figures are the machine's, all its cards together and whoever uses them: a server on this machine is seen, one
elsewhere is not. Where there is no card, no driver or no package, nothing is recorded.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

PACKAGE = "pynvml"
WATTS_PER_MILLIWATT = 1e-3


class Gpus:
    """The cards of this machine. What a card does not tell is left out, and so are its figures."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._cards: list[Any] = []
        self._utilisations: list[float] = []
        self._watts: list[float] = []
        self._peak_bytes = 0
        if find_spec(PACKAGE) is not None:
            self._open()

    def sample(self) -> None:
        """Look once at every card."""
        if not self._cards:
            return
        nvml = self._nvml
        used = [at_all.used for card in self._cards if (at_all := self._ask(nvml.nvmlDeviceGetMemoryInfo, card))]
        rates = [at_all.gpu for card in self._cards if (at_all := self._ask(nvml.nvmlDeviceGetUtilizationRates, card))]
        power = [self._ask(nvml.nvmlDeviceGetPowerUsage, card) for card in self._cards]
        self._peak_bytes = max(self._peak_bytes, sum(used))
        if rates:
            self._utilisations.append(sum(rates) / len(rates) / 100.0)
        if None not in power:
            self._watts.append(sum(power) * WATTS_PER_MILLIWATT)

    def figures(self) -> dict[str, float]:
        """Cards, mean utilisation (share of the time), peak memory and mean power of all of them; absent if unknown."""
        figures: dict[str, float] = {}
        if self._cards:
            figures["gpus"] = float(len(self._cards))
        if self._utilisations:
            figures["gpu_utilisation"] = sum(self._utilisations) / len(self._utilisations)
        if self._peak_bytes:
            figures["gpu_peak_memory_bytes"] = float(self._peak_bytes)
        if self._watts:
            figures["gpu_power_w"] = sum(self._watts) / len(self._watts)
        return figures

    def close(self) -> None:
        """Let the driver go."""
        if self._cards:
            self._cards = []
            self._ask(self._nvml.nvmlShutdown)

    def _open(self) -> None:
        self._nvml = import_module(PACKAGE)
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            self._cards = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]

    def _ask(self, question: Any, *of: Any) -> Any:
        """What the driver says, or ``None`` where the card does not know (a laptop's has no power meter)."""
        with suppress(self._nvml.NVMLError):
            return question(*of)
        return None
