"""Which database is meant, and what a store needs of it besides SQL: a file here, or a PostgreSQL server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from steelyard.errors import StoreError
from steelyard.store.database.sqlite_file import SQLiteFile

DEFAULT = ".steelyard/steelyard.db"
SERVERS = ("postgresql", "postgres")


class Database(Protocol):
    """Where a store lies. ``location`` is for people and holds no password, ``address`` opens the same elsewhere.

    ``file`` is that of a store which is one; ``folder`` is where files lie that belong to a store. ``fault`` is what
    the driver raises by itself.
    """

    location: str
    address: str
    file: Path | None
    folder: Path
    engine: Engine
    fault: type[Exception]

    def is_there(self) -> bool:
        """Whether there is a store to open."""
        ...

    def make_place(self) -> None:
        """Make what a new store is made in."""
        ...

    def keep_copy(self, version: int) -> None:
        """Copy a store of that older schema before it is changed."""
        ...

    def settle(self, connection: Connection) -> None:
        """The tables are as they should be: set up what depends on it."""
        ...

    @property
    def is_in_place(self) -> bool:
        """Whether ``check_place`` would find nothing to do: seen at once, without waiting for a server or a lock."""
        ...

    def check_place(self) -> None:
        """Raise where what is written now would be lost; hold anew what was held by a connection that is gone."""
        ...

    def check_writable(self) -> None:
        """Raise where nothing can be written until somebody sees to it."""
        ...

    def hold(self, session: int) -> None:
        """Let every host know, until this process ends, that it works on a session."""
        ...

    def release(self, session: int) -> None:
        """It does so no more."""
        ...

    def is_passing(self, error: OperationalError) -> bool:
        """Whether another process is in the way only for the moment."""
        ...

    def is_full(self, error: Exception) -> bool:
        """Whether there was no room."""
        ...

    def is_held_up(self, error: Exception) -> bool:
        """Whether the same may succeed later: the way to a server is broken, or another holds the lock."""
        ...

    def reason_of(self, error: BaseException) -> str:
        """What went wrong, in one line, with what to try."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def database_at(url_or_path: str | Path | None) -> Database:
    """The database that is meant: the one given, else ``STEELYARD_STORE``, else the file in the working folder."""
    meant = url_or_path or os.environ.get("STEELYARD_STORE") or DEFAULT
    if isinstance(meant, str) and meant.partition("://")[0] in SERVERS:
        from steelyard.store.database.postgresql import PostgreSQL

        return PostgreSQL(meant)
    return SQLiteFile(_path_of(meant))


def file_of(url_or_path: str | Path | None, *, what_for: str) -> Path:
    """The file that is meant, for what can only be done to a file."""
    meant = url_or_path or os.environ.get("STEELYARD_STORE") or DEFAULT
    if isinstance(meant, str) and meant.partition("://")[0] in SERVERS:
        raise StoreError(f"{what_for} is for a store that is a file; a server has its own ways (pg_dump, pg_restore)")
    return _path_of(meant)


def _path_of(url_or_path: str | Path) -> Path:
    """The file that a path or ``sqlite:///PATH`` means."""
    text = str(url_or_path)
    if isinstance(url_or_path, str) and "://" in text:
        scheme, _, rest = text.partition("://")
        if scheme != "sqlite" or len(rest) < 2 or not rest.startswith("/"):
            raise StoreError(
                f"a store is a file, sqlite:///PATH or postgresql://USER@HOST/DATABASE; {scheme}:// is not understood"
            )
        text = rest[1:]
    return Path(text).expanduser()
