"""A copy of a store as it was before it is migrated: what a newer Steelyard made of it can be undone."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from steelyard.errors import StoreError, StoreFull


def backup_path(location: Path, version: int) -> Path:
    """Where the copy of a store of that schema is kept."""
    return location.with_name(f"{location.name}.schema-{version}")


def keep_copy(location: Path, version: int) -> Path:
    """Copy the store, its log included, to a file beside it that only the user may read; whole, or not at all."""
    kept = backup_path(location, version)
    unfinished = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(location)) as source, closing(sqlite3.connect(unfinished)) as copy:
            source.backup(copy)
        unfinished.replace(kept)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            unfinished.unlink()
        kind = StoreFull if isinstance(error, sqlite3.OperationalError) and "full" in str(error) else StoreError
        raise kind(
            f"the store {location} is of an older Steelyard, and a copy of it cannot be kept before it is changed: "
            f"{error}. Nothing was changed. Try: room for {kept.name}, or another --store"
        ) from error
    return kept
