"""Copies of a store: as it was before it is migrated, which can so be undone, and of one that was removed in use."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

from steelyard.errors import StoreError, StoreFull

_rescuing = threading.Lock()  # whoever writes misses the file, and all who do so at the same time


def backup_path(location: Path, version: int) -> Path:
    """Where the copy of a store of that schema is kept."""
    return location.with_name(f"{location.name}.schema-{version}")


def rescue(connection: sqlite3.Connection, location: Path, number: int) -> Path | None:
    """Copy an open store whose file is not in its place any more, by its ``number`` once; ``None`` if that fails."""
    rescued = location.with_name(f"{location.name}.rescued-{number}")
    try:
        with _rescuing:
            if not rescued.exists():
                rescued.parent.mkdir(parents=True, exist_ok=True)
                _copy(connection, rescued)
    except (OSError, sqlite3.Error):
        return None
    return rescued


def keep_copy(location: Path, version: int) -> Path:
    """Copy the store, its log included, to a file beside it that only the user may read; whole, or not at all."""
    kept = backup_path(location, version)
    try:
        with closing(sqlite3.connect(location)) as source:
            _copy(source, kept)
    except (OSError, sqlite3.Error) as error:
        kind = StoreFull if isinstance(error, sqlite3.OperationalError) and "full" in str(error) else StoreError
        raise kind(
            f"the store {location} is of an older Steelyard, and a copy of it cannot be kept before it is changed: "
            f"{error}. Nothing was changed. Try: room for {kept.name}, or another --store"
        ) from error
    return kept


def _copy(source: sqlite3.Connection, to: Path) -> None:
    unfinished = to.with_name(f"{to.name}.{os.getpid()}")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(unfinished)) as copy:
            source.backup(copy)
        unfinished.replace(to)
    except (OSError, sqlite3.Error):
        with suppress(OSError):
            unfinished.unlink()
        raise
