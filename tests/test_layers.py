"""Who may import whom, as one table; a wrong arrow fails."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "steelyard"

GROUND = {"types", "errors"}
NUMBERS = {"stats", "prices", "folders", "threads", "sandbox", "secrets"}
MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "sandbox": GROUND,
    "errors": {"types"},
    "document": GROUND,
    "folders": set(),
    "threads": set(),
    "secrets": set(),
    "criteria": GROUND,
    "stats": GROUND,
    "prices": GROUND,
    "providers": GROUND | NUMBERS,
    "scoring": GROUND | NUMBERS,
    "store": GROUND | NUMBERS,
    "benchmarks": GROUND | NUMBERS | {"document", "scoring"},
    "analysis": GROUND | {"criteria", "stats"},
    "plan": GROUND | {"criteria", "document", "benchmarks", "providers"},
    "engine": GROUND | NUMBERS | {"criteria", "benchmarks", "providers", "store", "plan", "analysis"},
    "grading": GROUND | NUMBERS | {"benchmarks", "scoring", "store", "plan", "engine", "analysis"},
    "instrument": GROUND | NUMBERS | {"providers", "engine"},
    "report": GROUND | {"analysis", "criteria", "store"},
    "dashboard": GROUND | {"analysis", "criteria", "store", "report"},
    "api": GROUND
    | NUMBERS
    | {"criteria", "analysis", "benchmarks", "providers", "store", "plan", "engine", "grading", "report"},
}


def imported_rooms(path: Path) -> set[str]:
    """The rooms of ours that a file imports, wherever in the file."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "steelyard":
                names = [f"steelyard.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("steelyard.")}
    return rooms


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if room_of(path) not in ("cli", "__init__", "__main__"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards_only(path):
    room = room_of(path)
    assert imported_rooms(path) <= MAY_IMPORT[room] | {room}


def test_nobody_imports_the_command_line():
    assert not [path for path in FILES if "cli" in imported_rooms(path)]


AS_ON_WINDOWS = """
import asyncio, os, pkgutil, signal, sys
import aiohttp, psutil, sqlalchemy, uvicorn
import steelyard
for module in ("resource", "fcntl", "termios", "pwd", "grp", "tty", "uvloop"):
    sys.modules[module] = None
for owner, names in (
    (os, "O_CLOEXEC O_NONBLOCK O_TMPFILE fork geteuid getuid killpg pread register_at_fork sched_getaffinity setsid"),
    (signal, "SIGALRM SIGHUP SIGKILL SIGQUIT SIGSTOP SIGUSR1"),
):
    for name in names.split():
        delattr(owner, name)
for module in pkgutil.walk_packages(steelyard.__path__, "steelyard."):
    if not module.name.startswith(("steelyard.sandbox.inside", "steelyard.__main__")):
        __import__(module.name)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes away what Linux has")
def test_every_module_can_be_imported_without_what_windows_lacks():
    done = subprocess.run([sys.executable, "-c", AS_ON_WINDOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
