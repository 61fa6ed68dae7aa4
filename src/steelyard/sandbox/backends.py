"""The ways to start a zygote on this machine, strongest first.

Which one holds is not known here; it is found out by trying (``probe.py``).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from msgspec import Struct

from steelyard.sandbox.verdict import Guarantee

if TYPE_CHECKING:
    from steelyard.sandbox.inside.confinement import Level  # not for running: it needs a Unix

INSIDE = Path(__file__).parent / "inside"
INSIDE_THERE = "/steelyard"
IMAGE = "python:{}.{}-slim".format(*sys.version_info)

# The zygote sees this one folder of ours, under its usual name, and none of the packages around it.
START = """
import sys, types
for name, path in ("steelyard", []), ("steelyard.sandbox", []), ("steelyard.sandbox.inside", [sys.argv.pop(1)]):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = path
from steelyard.sandbox.inside import zygote
zygote.main()
"""

ALL: tuple[Guarantee, ...] = get_args(Guarantee)
UNSAFE: tuple[Guarantee, ...] = ("no environment variable of yours is seen", "time is capped")


class Recipe(Struct, frozen=True, kw_only=True):
    """How one back end is started. ``needs`` is what a user must do where it does not hold.

    ``environment`` names the variables that its first process gets; what is judged gets none.
    """

    name: str
    command: tuple[str, ...]
    level: Level
    guarantees: tuple[Guarantee, ...] = ALL
    needs: str
    environment: tuple[str, ...] = ()
    start_s: float = 20.0


def recipes() -> list[Recipe]:
    """Every back end whose parts are on this machine, strongest first. None of them is proven to hold."""
    found = []
    if sys.platform == "linux":
        if bwrap := shutil.which("bwrap"):
            found.append(_strong(bwrap))
        found.append(_landlock())
    if engine := shutil.which("docker") or shutil.which("podman"):
        found.append(_container(engine))
    return found


def unsafe() -> Recipe:
    """No sandbox: resource limits and a clean environment, nothing else."""
    return Recipe(
        name="unsafe",
        command=(*_python(), START, str(INSIDE), _asked("limits", [])),
        level="limits",
        guarantees=UNSAFE,
        needs="an interpreter that can be started",
    )


def _strong(bwrap: str) -> Recipe:
    roots = _roots()
    return Recipe(
        name="linux-strong",
        command=(
            *(bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
            *(word for root in roots for word in _shown(root)),
            *("--ro-bind", str(INSIDE), INSIDE_THERE, "--remount-ro", "/", "--chdir", "/", "--"),
            *(*_python(), START, INSIDE_THERE, _asked("seccomp", roots)),
        ),
        level="seccomp",
        needs=(
            "bubblewrap may not make namespaces here. "
            "Try: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        ),
    )


def _landlock() -> Recipe:
    return Recipe(
        name="linux-landlock",
        command=(*_python(), START, str(INSIDE), _asked("landlock", _roots())),
        level="landlock",
        needs="landlock is missing or off in this kernel (it needs Linux 5.13). Try: apt-get install bubblewrap",
    )


def _container(engine: str) -> Recipe:
    limits = "--network none --read-only --pids-limit 64 --memory 3g --cap-drop ALL --security-opt no-new-privileges"
    return Recipe(
        name="container",
        command=(
            *(engine, "run", "--rm", "--interactive", "--pull", "never", *limits.split()),
            *("--volume", f"{INSIDE}:{INSIDE_THERE}:ro", "--user", "65534:65534", IMAGE),
            *("python", *_flags(), START, INSIDE_THERE, _asked("seccomp", ["/usr", "/lib"])),
        ),
        level="seccomp",
        needs=f"the container engine cannot start {IMAGE}. Try: {Path(engine).name} pull {IMAGE}",
        environment=("PATH", "HOME", "XDG_RUNTIME_DIR", "DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST"),
        start_s=60.0,
    )


def _asked(level: Level, roots: Sequence[str]) -> str:
    return json.dumps({"level": level, "roots": list(roots)})


def _python() -> tuple[str, ...]:
    """The interpreter itself, not the environment around it: what is judged sees no installed package."""
    return (os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable), *_flags())


def _flags() -> tuple[str, ...]:
    return ("-I", "-S", "-B", "-X", "utf8", "-c")


def _roots() -> list[str]:
    """The folders that an interpreter needs: the system's libraries and its own, never a home as a whole."""
    prefix = os.path.realpath(sys.base_prefix)
    own = [os.path.join(prefix, name) for name in ("bin", "lib", "lib64")]
    wanted = ["/usr", "/lib", "/lib64", *(path for path in own if not path.startswith("/usr/"))]
    return [path for path in wanted if os.path.isdir(path)]


def _shown(root: str) -> tuple[str, ...]:
    if os.path.islink(root):
        return ("--symlink", os.readlink(root), root)
    return ("--ro-bind", root, root)
