"""The self-test that decides which back end holds: real attacks on bait of our own, through the path of real code.

Nothing is believed by version or by name: a canary file is read for, two canary sockets are called, a process is
forked, a file is written, the environment is looked into. A back end holds when all of it fails and a right answer
still passes.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from steelyard.sandbox.backends import Recipe
from steelyard.sandbox.process import CheckerLost, Zygote, ZygoteLost
from steelyard.sandbox.verdict import Backend, Limits, Program

LIMITS = Limits(wall_s=5.0)
ATTEMPTS = """
import os, socket

def tried(attempt):
    try:
        return bool(attempt())
    except Exception:
        return False

def forked():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True

def called(family, address):
    with socket.socket(family) as caller:
        caller.settimeout(1)
        caller.connect(address)
    return True

def written(path):
    with open(path, "w") as file:
        file.write("x")
    return True

def probe(folder, port):
    attempts = {
        "read a file": lambda: open(folder + "/canary").read(),
        "list a folder": lambda: os.listdir(folder),
        "write a file": lambda: written(folder + "/written"),
        "make a nameless file": lambda: os.open("/", os.O_TMPFILE | os.O_RDWR),
        "connect to a port": lambda: called(socket.AF_INET, ("127.0.0.1", port)),
        "connect to a unix socket": lambda: called(socket.AF_UNIX, folder + "/socket"),
        "start a process": forked,
        "see the environment": lambda: list(os.environ),
    }
    return sorted(name for name, attempt in attempts.items() if tried(attempt))

def right():
    return 42
"""
NOTHING_WORKED = 'done = probe({folder!r}, {port})\nassert not done, ", ".join(done)'


class Finding(Struct, frozen=True, kw_only=True):
    """What the self-test of one back end found: the back end as it is recorded, or why it does not hold."""

    recipe: Recipe
    backend: Backend | None
    problem: str | None = None


def self_test(recipe: Recipe, *, expect_confinement: bool | None = None) -> Finding:
    """Start the back end once and try to break out of it (out of the unsafe one only if asked to)."""
    confines = recipe.level != "limits" if expect_confinement is None else expect_confinement
    try:
        zygote = Zygote(recipe)
    except (ZygoteLost, OSError) as error:
        return Finding(recipe=recipe, backend=None, problem=f"it cannot be started: {error}")
    try:
        problem = _problem(zygote, confines=confines)
    except (ZygoteLost, CheckerLost) as error:
        problem = str(error)
    finally:
        zygote.close()
    if problem:
        return Finding(recipe=recipe, backend=None, problem=problem)
    return Finding(recipe=recipe, backend=_backend(recipe, zygote))


def _backend(recipe: Recipe, zygote: Zygote) -> Backend:
    return Backend(
        name=recipe.name,
        guarantees=recipe.guarantees,
        has_landlock=zygote.has_landlock,
        is_unsafe=recipe.level == "limits",
    )


def _problem(zygote: Zygote, *, confines: bool) -> str | None:
    for test, expected in (("assert right() == 42", "passed"), ("assert right() == 41", "failed")):
        verdict = zygote.judge(Program(code=ATTEMPTS, test=test, entry_point="right"), LIMITS)
        if verdict.outcome != expected:
            return f"a harmless program {verdict.outcome} ({verdict.reason})"
    if not confines:
        return None
    with _bait() as (folder, port):
        test = NOTHING_WORKED.format(folder=folder, port=port)
        verdict = zygote.judge(Program(code=ATTEMPTS, test=test, entry_point="probe"), LIMITS)
    if not verdict.passed:
        return f"code in it was not held back: {verdict.reason or verdict.outcome}"
    return None


@contextmanager
def _bait() -> Iterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory(prefix="steelyard-") as folder, socket.socket() as port:
        Path(folder, "canary").write_text("sing", "utf-8")
        port.bind(("127.0.0.1", 0))
        port.listen()
        with socket.socket(socket.AF_UNIX) as named:
            named.bind(f"{folder}/socket")
            named.listen()
            yield folder, port.getsockname()[1]
