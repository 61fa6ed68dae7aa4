"""Everything that stops a run, and nothing else.

A wrong answer is a score. A failed call is a record with a ``Failure``. Only a mistake of the user or a broken
environment is raised::

    SteelyardError                 exit code
    ├── UsageError                 2   found before any call: a typo, a missing key, an impossible combination
    │   ├── PlanError              2   a plan file's fault, with file, line and key
    │   ├── UnknownName            2   a benchmark, model, protocol, metric or run that does not exist
    │   └── Incomparable           2   runs or answers that cannot stand side by side
    ├── DataError                  2   a benchmark's rows are missing, changed, gated or malformed
    ├── EnvironmentFault           4   this machine lacks something: a package, the weights, a port
    ├── StoreError                 4   the store cannot be opened, read or written
    │   └── StoreHeldUp            4   it cannot be reached or written at present
    │       └── StoreFull          4   the disk that it is on is full
    └── ProviderError              -   raised by a provider; the engine turns it into a ``Failure`` on the record
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from steelyard.types import Failure


class SteelyardError(Exception):
    """The root. ``exit_code`` is what the command line ends with."""

    exit_code = 4


class UsageError(SteelyardError):
    """The user asked for something that cannot be; found before any call was made."""

    exit_code = 2


class PlanError(UsageError):
    """A plan file says something that cannot be understood."""

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        where = f"{file or 'plan'}, line {line}: " if line is not None else f"{file}: " if file else ""
        super().__init__(where + message)
        self.file = file
        self.line = line


class UnknownName(UsageError):
    """A name that nothing goes by, with the nearest ones that exist."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown {what} {name!r}. {nearest(name, known)}")
        self.name = name


class Incomparable(UsageError):
    """What cannot be paired. ``needs``: the choice that would make it so; ``what`` is the fault without the hint."""

    def __init__(
        self, what: str, hint: str, *, needs: Literal["another run", "models", "protocols"] | None = None
    ) -> None:
        super().__init__(f"{what} Try: {hint}")
        self.what, self.needs = what, needs


class DataError(SteelyardError):
    """A benchmark's data cannot be had, or is not what was pinned."""

    exit_code = 2


class EnvironmentFault(SteelyardError):
    """This machine lacks something that the request needs; the message names the command that mends it."""


class StoreError(SteelyardError):
    """The store cannot be opened, read or written."""


class StoreHeldUp(StoreError):
    """What may pass: a server that is away, another who holds the lock.

    The same may be tried again. Where a connection was lost nobody knows whether what was being written is there.
    """


class StoreFull(StoreHeldUp):
    """There is no room where the store is; nothing was written, and the same may be written once there is."""


class ProviderError(SteelyardError):
    """Raised by a provider for one call. The engine attributes it; it never reaches the user as a traceback."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def unended(told: object) -> str:
    """What somebody else says, without its full stop: more follows."""
    return str(told).rstrip(". ")


def not_utf_8(error: UnicodeDecodeError) -> str:
    """Which byte of a file is no text of ours, and what to try."""
    return f"not UTF-8 (byte {error.object[error.start]:#04x}). Try: save as UTF-8"


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers what the user may have meant."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    if not names:
        return "None like it is known."
    shown = ", ".join(names[:12])
    return f"Known: {shown}{', ...' if len(names) > 12 else ''}."
