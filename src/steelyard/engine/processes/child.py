"""Processes that a run starts beside itself: modules of ours in our own interpreter, each at the end of a wire."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

GRACE_S = 5.0


def start(module: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start ``python -m MODULE NUMBER``, the number being that of its socket; the process, and our end of the pair.

    Modules are found where this process finds them (``-P``: a file in the working folder hides none).
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the run, which passes it on
        )
    return process, ours


def own_socket() -> socket.socket:
    """The socket whose number the run gave to this process."""
    return socket.socket(fileno=int(sys.argv[1]))


def bury(process: subprocess.Popen[bytes]) -> str:
    """See a process gone; what the system says of its end."""
    try:
        code = process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
