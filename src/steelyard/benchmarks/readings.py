"""Files of rows that were read through and checked already: before in this command, or by the run that a worker is of.

A command forecasts before it asks, and its workers ask what it has checked: one file, which need be read through once.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from msgspec import Struct


class Stamp(Struct, frozen=True, array_like=True):
    """Which file was read, in which state, as what, and what else enters into its digest."""

    path: str
    size_bytes: int
    modified_ns: int
    read_as: bytes
    salt: bytes

    @classmethod
    def of(cls, path: Path, read_as: bytes, salt: bytes) -> Stamp:
        """The file as it is now."""
        state = path.stat()
        return cls(str(path.absolute()), state.st_size, state.st_mtime_ns, read_as, salt)


class Reading(Struct, frozen=True, array_like=True):
    """What reading a file through has found: where its rows begin and on which lines, as eight bytes each, which of
    them repeat an earlier one, and the digest of all.
    """

    stamp: Stamp
    offsets: bytes
    numbers: bytes
    repeated: tuple[int, ...]
    digest: str

    def places(self) -> tuple[array[int], array[int]]:
        """Offsets and numbers of the rows."""
        offsets, numbers = array("q"), array("q")
        offsets.frombytes(self.offsets)
        numbers.frombytes(self.numbers)
        return offsets, numbers


_known: ContextVar[dict[Stamp, Reading] | None] = ContextVar("readings", default=None)


@contextmanager
def shared(known: Iterable[Reading] = ()) -> Iterator[None]:
    """Let a file that stays as it was be read through once while the block goes on; ``known`` were already."""
    token = _known.set({reading.stamp: reading for reading in known})
    try:
        yield
    finally:
        _known.reset(token)


def find(stamp: Stamp) -> Reading | None:
    """What is known of the file in this state."""
    return (_known.get() or {}).get(stamp)


def note(stamp: Stamp, found: Callable[[], Reading]) -> None:
    """A file was read through: what was found is kept where it is of use to others."""
    if (readings := _known.get()) is not None:
        readings[stamp] = found()
