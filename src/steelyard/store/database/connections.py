"""Connections to a store's database: one to read by, one transaction at a time to write in, and the tables made ready.

What the database says went wrong leaves here as a ``StoreError`` that names the store and what to try.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from steelyard.errors import StoreError, StoreFull, StoreHeldUp
from steelyard.store.database import migrations
from steelyard.store.database.dialect import spoken
from steelyard.store.database.opening import Database

RETRY_OPEN_S = 0.05
PATIENCE_S = 30


class Connections:
    """The ways into one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its start, so that two writers wait for one another."""
        database = self._database
        database.check_place()
        try:
            with database.engine.connect() as connection:
                connection.exec_driver_sql(spoken(connection).begin_to_write)
                yield connection
                connection.commit()
        except (SQLAlchemyError, OverflowError, database.fault) as error:
            raise self._told("cannot write to", error) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read by."""
        database = self._database
        try:
            with database.engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, UnicodeDecodeError, msgspec.DecodeError, database.fault) as error:
            raise self._told("cannot read", error) from error

    def _told(self, what: str, error: Exception) -> StoreError:
        database = self._database
        kind = StoreFull if database.is_full(error) else StoreHeldUp if database.is_held_up(error) else StoreError
        return kind(f"{what} the store {database.location}: {database.reason_of(error)}")

    def bring_up_to_date(self) -> None:
        """Create or migrate the tables. SQLite does not wait while another process makes the file; we do."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self._database.engine.connect() as connection:
                    self._migrate(connection)
                    self._database.settle(connection)
                    return
            except OperationalError as error:
                if not self._database.is_passing(error) or time.monotonic() > deadline_s:
                    raise
            time.sleep(RETRY_OPEN_S)

    def _migrate(self, connection: Connection) -> None:
        """Look again behind the write lock: another process may have migrated it meanwhile."""
        if migrations.version_of(connection) >= migrations.VERSION:
            return
        connection.rollback()
        connection.exec_driver_sql(spoken(connection).begin_to_write)
        if 0 < (found := migrations.version_of(connection)) < migrations.VERSION:
            self._database.keep_copy(found)
        migrations.bring_up_to_date(connection)
        connection.commit()
