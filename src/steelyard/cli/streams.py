"""Standard output and standard error whose other end may go away: a pipe's reader, a terminal, the disk of a log.

A command that was begun goes on, so that what it keeps and what it exits with are what they would have been: whoever
reads its first line alone (``| head -1``) must not cost a run its answers, nor make a gate that failed look like one
that passed. Results that cannot be written are a fault all the same; what is only told on the way is not.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Container
from typing import TYPE_CHECKING, TextIO, TypeGuard

from steelyard.errors import EnvironmentFault

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NOBODY_READS = frozenset({errno.EPIPE, errno.EIO})
WHATEVER = errno.errorcode


def fill_closed_streams() -> None:
    """Open nothing in place of a stream that is closed: else the next file that is opened, a store, would be it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or _opened(0, "r")
    sys.stdout = sys.stdout or _opened(1, "w")
    sys.stderr = sys.stderr or _opened(2, "w")


def _opened(descriptor: int, mode: str) -> TextIO:
    return open(descriptor, mode, encoding="utf-8", closefd=False)  # type: ignore[return-value]


def outlive_readers(*, of_output: bool) -> None:
    """Have the streams of this process go on into nothing once nobody reads them.

    ``of_output`` is false where there is nothing to do but to print. Streams that another program has put in their
    place are left to it.
    """
    if of_output and sys.stdout is sys.__stdout__ and _is_of_bytes(sys.stdout):
        sys.stdout = _outliving(sys.stdout, NOBODY_READS)
    if sys.stderr is sys.__stderr__ and _is_of_bytes(sys.stderr):
        sys.stderr = _outliving(sys.stderr, WHATEVER)


def _is_of_bytes(stream: object) -> TypeGuard[io.TextIOWrapper]:
    """Whether text goes as bytes to a descriptor: a console of Windows takes it otherwise."""
    return isinstance(stream, io.TextIOWrapper) and isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO)


def _outliving(stream: io.TextIOWrapper, excused: Container[int | None]) -> TextIO:
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Outliving(stream.fileno(), excused)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


class _Outliving(io.FileIO):
    """What is written here goes nowhere from the first time on that it could not be written."""

    def __init__(self, descriptor: int, excused: Container[int | None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._excused = excused

    def write(self, data: ReadableBuffer, /) -> int:
        """Write it, or nothing."""
        try:
            return super().write(data)
        except OSError as error:
            self._go_nowhere()
            if error.errno not in self._excused:
                raise EnvironmentFault(f"cannot write to standard output: {error.strerror}") from error
            return memoryview(data).nbytes

    def _go_nowhere(self) -> None:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.fileno())
        os.close(nothing)
