"""Where a result comes from: code, git state, packages, machine, price table. No key, no user name, no address."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
from contextlib import suppress
from typing import Any

import msgspec
import psutil

from steelyard.engine.weight.gpus import gpu_provenance
from steelyard.engine.weight.resources import cores

PACKAGES = (
    "aiohttp",
    "httptools",
    "genai-prices",
    "huggingface_hub",
    "msgspec",
    "nvidia-ml-py",
    "numpy",
    "scipy",
    "SQLAlchemy",
    "uvloop",
    "xllamacpp",
)


def provenance(loop: str) -> dict[str, Any]:
    """What this process is made of, as JSON-ready values; unknown is ``None``."""
    return {
        "steelyard": _version("steelyard"),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "event_loop": loop,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "price_table": f"genai-prices {_version('genai-prices')}",
        "machine": _machine(),
        "load": _load(),
        "gpu": gpu_provenance(),
        **_sandbox(),
        "git": _git(),
    }


def _version(package: str) -> str | None:
    """The version in a package's metadata, of which no more is read: as an e-mail, which it is, it takes far longer."""
    try:
        found = re.search(
            "^Version: *(.+)$", importlib.metadata.distribution(package).read_text("METADATA") or "", re.M
        )
    except importlib.metadata.PackageNotFoundError:
        return None
    return found and found[1].strip()


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def _load() -> dict[str, Any]:
    """How busy the machine is as the run begins, and how fast its processors run; unknown is ``None``.

    A frequency below the highest on an idle machine is the power governor's: it makes the client's times longer.
    """
    averages, frequency = None, None
    with suppress(OSError):
        averages = psutil.getloadavg()
    with suppress(OSError, NotImplementedError, RuntimeError):
        frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return {
        **{f"{minutes}min": averages[i] if averages else None for i, minutes in enumerate((1, 5, 15))},
        "cpu_mhz": frequency.current or None if frequency else None,
        "cpu_max_mhz": frequency.max or None if frequency else None,
        "governor": _governor(),
    }


def _governor() -> str | None:
    with suppress(OSError), open("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", encoding="ascii") as file:
        return file.read().strip() or None
    return None


def _sandbox() -> dict[str, Any]:
    """The sandbox that judges model-written code and what it guarantees; nothing where there is none to judge."""
    sandbox = sys.modules.get("steelyard.sandbox")  # imported by the benchmark that needs it, or by nobody
    backend = sandbox.chosen() if sandbox else None
    return {} if backend is None else {"sandbox": msgspec.to_builtins(backend)}


def _processor() -> str | None:
    if sys.platform == "linux":
        try:
            with open("/proc/cpuinfo", encoding="utf-8") as file:
                for line in file:
                    if line.startswith("model name"):
                        return line.partition(":")[2].strip()
        except OSError:
            return None
    return platform.processor() or None


def _git() -> dict[str, Any] | None:
    """The commit of the working folder and whether anything in it is changed; ``None`` outside a checkout."""
    commit = _run_git("rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _run_git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "is_dirty": None if changed is None else bool(changed)}


def _run_git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            ["git", *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
