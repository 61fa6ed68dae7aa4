"""How well this machine reads times, as ``steelyard selftest`` found it: kept once, recorded with every run.

The calibration is of this machine with these versions. With others it does not count.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.errors import EnvironmentFault
from steelyard.folders import cache_folder
from steelyard.types.ready import ready

FILE = "instrument.json"
PACKAGES = ("httptools", "msgspec", "uvloop")


class Bias(Struct, frozen=True, kw_only=True):
    """Measured minus true, in milliseconds: its median with a 95 % interval, and the 95th percentile of its size."""

    median_ms: float
    low_ms: float | None
    high_ms: float | None
    p95_ms: float
    n: int


class Level(Struct, frozen=True, kw_only=True):
    """One number of concurrent streams: the errors of what a run reports, and how late the server itself was.

    ``cpu`` is in cores, the client's, and ``others_cpu`` what programs beside client and server took meanwhile;
    ``is_clean``: median errors of TTFT and ITL are within the bound.
    """

    streams: int
    ttft: Bias
    itl: Bias
    total: Bias
    server_late: Bias
    loop_lag_p99_ms: float | None
    cpu: float
    others_cpu: float
    is_clean: bool


class Calibration(Struct, frozen=True, kw_only=True):
    """A selftest's result. ``clean_streams``: the most at which it and every smaller level was clean; 0 if none was."""

    made_at: str
    bound_ms: float
    clean_streams: int
    levels: tuple[Level, ...]
    server: dict[str, float]
    setup: dict[str, Any]


def setup(origin: Mapping[str, Any]) -> dict[str, Any]:
    """What a calibration holds for, out of the provenance of a process: machine, versions, event loop."""
    machine = {name: origin["machine"][name] for name in ("system", "architecture", "processor", "cores")}
    packages = {name: origin["packages"].get(name) for name in PACKAGES}
    return {**machine, **packages, **{name: origin[name] for name in ("steelyard", "python", "event_loop")}}


def keep(calibration: Calibration) -> Path:
    """Write it where every run on this machine finds it."""
    file = cache_folder() / FILE
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(calibration), indent=1))
        draft.replace(file)
    except OSError as error:
        raise EnvironmentFault(f"cannot keep the calibration in {file}: {error.strerror}") from error
    return file


def kept() -> Calibration | None:
    """The last one; ``None`` where there is none that can be read."""
    try:
        return msgspec.json.decode((cache_folder() / FILE).read_bytes(), type=ready(Calibration))
    except (OSError, msgspec.DecodeError):
        return None


def instrument(streams: int, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What a run records: how many streams it may read at once, up to how many this machine reads cleanly, and how
    far off it was at the level that covers them. Without a calibration that holds, ``status`` says why.
    """
    found = kept()
    if found is None:
        return {"streams": streams, "status": "not calibrated: steelyard selftest was never run here"}
    changed = [name for name, value in setup(origin).items() if found.setup.get(name) != value]
    if changed:
        return {"streams": streams, "status": f"not calibrated: {', '.join(changed)} changed since {found.made_at}"}
    covering = next((level for level in found.levels if level.streams >= streams), None)
    return {
        "streams": streams,
        "status": "calibrated",
        "clean_streams": found.clean_streams,
        "most_streams": max(level.streams for level in found.levels),
        "bound_ms": found.bound_ms,
        "made_at": found.made_at,
        "bias": None if covering is None else msgspec.to_builtins(covering),
    }
