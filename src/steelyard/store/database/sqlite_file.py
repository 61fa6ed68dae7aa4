"""A store that is one file: how it is made and set up, and what SQLite's faults mean."""

from __future__ import annotations

import os
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import OperationalError

from steelyard.errors import StoreError
from steelyard.store.database.backup import keep_copy, rescue
from steelyard.store.database.dialect import ANY_NUMBER

BUSY_TIMEOUT_S = 30

KEPT_IN_THE_FILE = "PRAGMA journal_mode=WAL"
"""A property of the file, so it is made only after the file has proved to be ours."""
OF_EACH_CONNECTION = (
    "PRAGMA page_size=4096",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-8000",
)
"""Items are asked in random order, so nearly every row changes a page of its own in each index of a large store: pages
are small (which counts only while a file is empty) and stay at hand (8 MB of them, where SQLite has 2)."""
LOG_BYTES = 32_000_000
"""So long the log grows before its pages go into the file, each once for many changes; SQLite has 4 MB."""

# A quota is told as a failed write, and a log that cannot grow as a failure to size it.
NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)

PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY)  # a file system may be mended
PRIMARY = 0xFF
"""What is common to all codes of a kind (sqlite.org/rescode.html)."""

READ_ONLY = "attempt to write a readonly database"
DAMAGE = ("database disk image is malformed", "file is not a database")  # what SQLite calls it


class SQLiteFile:
    """A file on this machine, as ``Database`` has it."""

    fault: type[Exception] = sqlite3.Error

    def __init__(self, file: Path) -> None:
        self.file: Path | None = file
        self._file = file
        self.location = str(file)
        self.address = str(file.absolute())
        self.folder = file.parent
        self.engine = create_engine(
            URL.create("sqlite", database=self.address),
            connect_args={"timeout": BUSY_TIMEOUT_S},
            max_overflow=ANY_NUMBER,
        )
        event.listen(self.engine, "connect", _configure)
        self._number: int | None = None

    def is_there(self) -> bool:
        """Whether there is a file."""
        try:
            return self._file.exists()
        except OSError as error:  # a name that is too long for the file system
            raise StoreError(f"cannot open a store at {self.location}: {error.strerror}") from error

    def make_place(self) -> None:
        """Only the user may read what was asked and answered."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():
            os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))

    def keep_copy(self, version: int) -> None:
        """Copy the file to one beside it."""
        keep_copy(self._file, version)

    def settle(self, connection: Connection) -> None:
        """Keep a log, and know the file again."""
        connection.exec_driver_sql(KEPT_IN_THE_FILE)
        self._number = _number_of(self.address)

    @property
    def is_in_place(self) -> bool:
        """Whether the file is the one that was opened."""
        return self._number is None or _number_of(self.address) == self._number

    def check_place(self) -> None:
        """What is written to a file that was removed goes with it: such a store is copied, and takes nothing more."""
        if self.is_in_place:
            return
        assert self._number is not None
        with closing(self.engine.raw_connection()) as connection:
            raw = connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            rescued = rescue(raw, Path(self.address), self._number)
        became = f"What it held is in {rescued}. Try: --store {rescued}" if rescued else "What it held is lost"
        raise StoreError(f"the store {self.location} was removed, or another file put in its place. {became}")

    def check_writable(self) -> None:
        """A file, or a folder for its log, that is read-only from the start is nothing that passes."""
        for place in (self._file, self._file.parent):
            if not os.access(place, os.W_OK):
                hint = f"Try: chmod u+w {shlex.quote(str(place))}, or --store FILE"
                raise StoreError(f"cannot write to the store {self.location}: {place} is read-only. {hint}")

    def hold(self, session: int) -> None:
        """Nothing: whether a process of this machine lives can be seen."""

    def release(self, session: int) -> None:
        """Nothing, likewise."""

    def is_passing(self, error: OperationalError) -> bool:
        """SQLite does not wait while another process makes the file."""
        return "locked" in str(error)

    def is_full(self, error: Exception) -> bool:
        """Whether there was no room."""
        return _code(error) in NO_ROOM

    def is_held_up(self, error: Exception) -> bool:
        """Whether another process has held the lock all the while, or the file system takes no writing at present."""
        return _code(error) & PRIMARY in PASSING

    def reason_of(self, error: BaseException) -> str:
        """What went wrong, in one line, with what to try where the file is damaged."""
        reason = str(getattr(error, "orig", None) or error).split("\n", 1)[0]
        is_damage = isinstance(error, UnicodeDecodeError | msgspec.DecodeError) or reason.startswith(DAMAGE)
        if is_damage:
            return f"{reason}. The file is damaged, or no store. Try: an earlier copy of it, or steelyard runs salvage"
        if reason.startswith(READ_ONLY):
            return f"{reason}. It takes writing to open a store, be it only to read. Try: a copy of it"
        return reason

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _configure(connection: Any, _: Any) -> None:
    """Set a new connection up."""
    connection.isolation_level = None  # transactions begin where we say so
    for pragma in OF_EACH_CONNECTION:
        connection.execute(pragma)
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA wal_autocheckpoint={LOG_BYTES // page_bytes}")


def _code(error: Exception) -> int:
    """What SQLite calls it, 0 where it is none of its own."""
    return getattr(getattr(error, "orig", error), "sqlite_errorcode", 0)


def _number_of(path: str) -> int | None:
    """Which file is there, by its number in the file system."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None
