"""Where a store lies, how its file is made and set up, and what SQLite's faults mean."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from steelyard.errors import StoreError

DEFAULT = ".steelyard/steelyard.db"
BUSY_TIMEOUT_S = 30

# SQLite's settings. The first is a property of the file, so it is made only after the file has proved to be ours; the
# page size counts only while a file is empty (8 kB: fewer bytes a record than 4 kB, and more records a second).
KEPT_IN_THE_FILE = "PRAGMA journal_mode=WAL"
OF_EACH_CONNECTION = ("PRAGMA page_size=8192", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON")

# A quota is told as a failed write, and a log that cannot grow as a failure to size it.
NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)

READ_ONLY = "attempt to write a readonly database"
DAMAGE = ("database disk image is malformed", "file is not a database")  # what SQLite calls it


def configure(connection: Any, _: Any) -> None:
    """Set a new connection up."""
    connection.isolation_level = None  # transactions begin where we say so
    for pragma in OF_EACH_CONNECTION:
        connection.execute(pragma)


def location_of(url_or_path: str | Path | None) -> Path:
    """The file that is meant: the one given, else ``STEELYARD_STORE``, else the one in the working folder."""
    return _path_of(url_or_path or os.environ.get("STEELYARD_STORE") or DEFAULT)


def _path_of(url_or_path: str | Path) -> Path:
    """The file that is meant; ``sqlite:///PATH`` is the only URL so far."""
    text = str(url_or_path)
    if isinstance(url_or_path, str) and "://" in text:
        scheme, _, rest = text.partition("://")
        if scheme != "sqlite" or len(rest) < 2 or not rest.startswith("/"):
            raise StoreError(f"a store is a file or sqlite:///PATH; {scheme}:// is not understood yet")
        text = rest[1:]
    return Path(text).expanduser()


def is_there(location: Path) -> bool:
    """Whether there is a file."""
    try:
        return location.exists()
    except OSError as error:  # a name that is too long for the file system
        raise StoreError(f"cannot open a store at {location}: {error.strerror}") from error


def file_at(path: str) -> int | None:
    """Which file is there, by its number in the file system."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def create_privately(location: Path) -> None:
    """Only the user may read what was asked and answered."""
    location.parent.mkdir(parents=True, exist_ok=True)
    if not location.exists():
        os.close(os.open(location, os.O_CREAT | os.O_RDWR, 0o600))


def reason_of(error: BaseException) -> str:
    """What went wrong, in one line, with what to try where the file is damaged."""
    reason = str(getattr(error, "orig", None) or error).split("\n", 1)[0]
    is_damage = isinstance(error, UnicodeDecodeError | msgspec.DecodeError) or reason.startswith(DAMAGE)
    if is_damage:
        return f"{reason}. The file is damaged, or no store. Try: an earlier copy of it, or steelyard runs salvage"
    if reason.startswith(READ_ONLY):
        return f"{reason}. It takes writing to open a store, be it only to read. Try: a copy of it"
    return reason


def is_full(error: Exception) -> bool:
    """Whether there was no room."""
    return getattr(getattr(error, "orig", error), "sqlite_errorcode", None) in NO_ROOM
