"""A command as a user gives it: in this process, which spares an interpreter's start, or in a process of its own.

What only a process shows (signals, what it imports, how it ends, who holds a file) is asked of one of its own.
"""

import contextlib
import gc
import io
import os
import subprocess
import sys

import pytest

from steelyard.cli import main


def steelyard(*arguments, env=None):
    """What the command exits with and prints, in this process, to which no trace of it is left."""
    out, err = _Stream(), _Stream()
    with _surroundings(env or {}), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in arguments])
        except SystemExit as ended:
            code = ended.code or 0
    return subprocess.CompletedProcess(arguments, code, out.text(), err.text())


def ok(*arguments, **options):
    return _succeeded(steelyard(*arguments, **options))


def steelyard_process(*arguments, env=None, **options):
    return subprocess.run(
        [sys.executable, "-m", "steelyard", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env=os.environ | (env or {}),
        check=False,
        **options,
    )


def ok_process(*arguments, **options):
    return _succeeded(steelyard_process(*arguments, **options))


def _succeeded(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


class _Stream(io.TextIOWrapper):
    """A stream of a process: text over bytes, and no terminal."""

    def __init__(self):
        super().__init__(io.BytesIO(), encoding="utf-8", newline="")

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode().replace("\r\n", "\n")


@contextlib.contextmanager
def _surroundings(env):
    """A process's own: environment, standard input, where modules are found, how often garbage is looked for."""
    threshold = gc.get_threshold()
    with pytest.MonkeyPatch.context() as patch, open(os.devnull) as nothing, modules_of(os.getcwd()):
        patch.setattr(sys, "stdin", nothing)
        for name, value in env.items():
            patch.setenv(name, value)
        try:
            yield
        finally:
            gc.set_threshold(*threshold)


@contextlib.contextmanager
def modules_of(folder):
    """What is imported from a working folder is forgotten after it: the next may have another module of that name."""
    path, known = [*sys.path], {*sys.modules}
    try:
        yield
    finally:
        sys.path[:] = path
        for name in sys.modules.keys() - known:
            file = getattr(sys.modules[name], "__file__", None)
            if file and os.path.abspath(file).startswith(f"{folder}{os.sep}"):
                del sys.modules[name]
