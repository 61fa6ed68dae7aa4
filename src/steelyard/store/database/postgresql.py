"""A store on a PostgreSQL server: how it is reached, what is set for each connection, and what its faults mean.

One database, or one schema of it, is one store. Whoever writes holds one lock of it for as long as the transaction
takes, as with a file. A process that works on a run holds another one, which the server takes back when the process or
its machine is gone: so every host can tell.
"""

from __future__ import annotations

import math
import re
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, PoolProxiedConnection, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from steelyard.errors import EnvironmentFault, StoreError, StoreHeldUp, unended
from steelyard.store.database import migrations, schema
from steelyard.store.database.dialect import ANY_NUMBER

try:
    import psycopg
    from psycopg.adapt import Loader
    from psycopg.types.numeric import FloatDumper
    from psycopg.types.string import StrDumperUnknown

    from steelyard.store.database.silence import connected
except ImportError as fault:
    raise EnvironmentFault(
        f"a store on a PostgreSQL server needs a package ({fault}). Try: pip install 'steelyard[postgresql]'"
    ) from fault

FOLDER = Path(".steelyard")
GIVEN = {
    "connect_timeout": "10",
    "application_name": "steelyard",
    # a network that swallows everything is found out within a minute, on this side as on the other
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""What holds unless the URL says otherwise."""
OF_EACH_CONNECTION = (
    "SELECT set_config('lock_timeout', '30s', false), set_config('tcp_keepalives_idle', '30', false), "
    "set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false), "
    # what was returned as durable is durable, whatever a server thinks of it by default
    "set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false)"
)
DISK_FULL = "53100"
MISSING = ("42P01", "3F000")  # a table, a schema
FORBIDDEN = "42501"
PASSING = ("08", "57", "53300", "25006", "25P03", "40", "55P03")
"""A connection that is lost or was cut off, a server that ends, starts or has one too many, a reserve that takes no
writing yet, locks: the beginnings of what the server calls them (its appendix A).
"""
PERMANENT = ("57P04",)
"""A database that was dropped is not waited for."""
REFUSED = re.compile(
    r"FATAL: +(password authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects"
    r"|(\w+ )?authentication failed|(role|user|database) \".*\" (does not exist|is not permitted|is not currently)"
    r"|permission denied for database)|no password supplied"
)
"""Whom the server refuses for good. While a connection is made libpq tells no code: these are the words of servers."""
TAKEN_OVER = (
    "SELECT EXISTS (SELECT FROM sessions AS ours JOIN sessions AS theirs ON theirs.run = ours.run "
    "WHERE ours.id = %s AND theirs.id > ours.id)"
)


for index in (index for table in schema.METADATA.tables.values() for index in table.indexes):
    # the schema says it for SQLite alone, since to say it for PostgreSQL loads all that SQLAlchemy has for that
    index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]


class PostgreSQL:
    """A database of a server, as ``Database`` has it."""

    fault: type[Exception] = psycopg.Error
    file: Path | None = None
    folder = FOLDER

    def __init__(self, address: str) -> None:
        try:
            url = make_url(address)
            query = GIVEN | {name: str(value) for name, value in url.query.items()}
            url = url.set(drivername="postgresql+psycopg", query=query)
        except (ArgumentError, ValueError) as error:
            raise StoreError(
                "the store's URL cannot be understood. Try: postgresql://USER@HOST/DATABASE, its signs percent-encoded"
            ) from error
        shown = URL.create("postgresql", host=url.host, port=url.port, database=url.database)
        self.location = shown.render_as_string()  # without the user: it names the store
        self.address = address
        self.engine = create_engine(url, paramstyle="format", pool_pre_ping=True, max_overflow=ANY_NUMBER)
        event.listen(self.engine, "do_connect", lambda dialect, record, words, named: connected(*words, **named))
        event.listen(self.engine, "connect", _configure)
        self._holding = threading.RLock()
        self._held: dict[int, PoolProxiedConnection | None] = {}
        """The connection that holds each session's lock, ``None`` where it was lost and is to be had again."""

    def is_there(self) -> bool:
        """Whether the database holds a store."""
        try:
            with self.engine.connect() as connection:
                return migrations.version_of(connection) > 0
        except SQLAlchemyError as error:
            raise StoreError(f"cannot open the store {self.location}: {self.reason_of(error)}") from error

    def make_place(self) -> None:
        """Nothing: a database is made by whoever runs the server."""

    def keep_copy(self, version: int) -> None:
        """Nothing: copies are made by whoever runs the server; a migration happens whole, or not at all."""

    def settle(self, connection: Connection) -> None:
        """Nothing is left to be set."""

    @property
    def is_in_place(self) -> bool:
        """Whether every session's connection stands; not where another thread is looking after them."""
        if not self._holding.acquire(blocking=False):
            return False
        try:
            return not any(map(_is_lost, list(self._held.values())))
        finally:
            self._holding.release()

    def check_writable(self) -> None:
        """Nothing: the first row that is written shows it."""

    def check_place(self) -> None:
        """Hold anew every session whose connection the server has ended: with it the lock was gone."""
        with self._holding:
            for session, held in list(self._held.items()):
                if _is_lost(held):
                    self._hold_anew(session)

    def _hold_anew(self, session: int) -> None:
        """As before, unless another process has gone on with the run in between: then never again."""
        self._lose(session)
        try:
            self.hold(session)
            with self.engine.connect() as connection:
                is_taken_over = connection.exec_driver_sql(TAKEN_OVER, (session,)).scalar_one()
        except (SQLAlchemyError, psycopg.Error) as error:
            self._lose(session)
            kind = StoreHeldUp if self.is_held_up(error) else StoreError
            raise kind(f"cannot write to the store {self.location}: {self.reason_of(error)}") from error
        if is_taken_over:
            self._lose(session)
            raise StoreError(
                f"while the store {self.location} was out of reach another process went on with this run: it ends here"
            )

    def hold(self, session: int) -> None:
        """Hold the session's lock on a connection of its own, which ends with this process."""
        held = self.engine.raw_connection()
        connection: Any = held.driver_connection
        try:
            connection.autocommit = True
            connection.execute("SELECT set_config('idle_session_timeout', '0', false)")
            connection.execute("SELECT pg_advisory_lock(hashtext('steelyard ' || current_schema()), %s)", (session,))
        except psycopg.Error:
            held.invalidate()  # whoever was given it next would write without a transaction
            raise
        self._held[session] = held

    def release(self, session: int) -> None:
        """Give the session's lock back, while nobody looks after it: who finds it gone would take it again."""
        with self._holding:
            if (held := self._held.pop(session, None)) is not None:
                held.invalidate()  # ended, not given back: the lock goes with it

    def _lose(self, session: int) -> None:
        """Whoever writes next has to have the lock first, and to see whose the run is."""
        self.release(session)
        self._held[session] = None

    def is_passing(self, error: OperationalError) -> bool:
        """Who makes the tables is waited for: nothing is."""
        return False

    def is_full(self, error: Exception) -> bool:
        """Whether the server's disk has no room."""
        return _code(error) == DISK_FULL

    def is_held_up(self, error: Exception) -> bool:
        """Whether the connection is lost or cannot be had at present, or a lock."""
        code = _code(error)
        if code is None:  # of a server that cannot be heard
            cause = getattr(error, "orig", error)
            return isinstance(cause, psycopg.OperationalError) and not REFUSED.search(str(cause))
        return code.startswith(PASSING) and code not in PERMANENT

    def reason_of(self, error: BaseException) -> str:
        """What went wrong, in one line, with what to try."""
        said = str(getattr(error, "orig", None) or error).split("\n(Background", 1)[0]
        told = [line.strip() for line in said.splitlines() if not line.endswith("?")]  # libpq asks whether it runs
        reason = unended(" ".join(filter(None, told)))
        if _code(error) in MISSING:
            return f"{reason}. Is the schema in the search_path the one with the store?"
        if _code(error) is None and REFUSED.search(said):
            return f"{reason}. The server will say so again: mend the user, the password or the database, there or here"
        if _code(error) == FORBIDDEN:
            return f"{reason}. Reading takes SELECT, writing all rights on the schema: GRANT them, or use another user"
        return reason

    def close(self) -> None:
        """Close every connection."""
        for session in list(self._held):
            self.release(session)
        self.engine.dispose()


class _UnknownAsNull(FloatDumper):
    """What is no number is not known, as in SQLite."""

    def dump(self, obj: float) -> Any:
        return None if math.isnan(obj) else super().dump(obj)


class _WithoutNul(StrDumperUnknown):
    """PostgreSQL's texts hold no NUL, an answer may: it becomes the sign for what cannot be shown."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd"))


class _Sum(Loader):
    """A sum of whole numbers is one."""

    def load(self, data: Any) -> int:
        return int(bytes(data))


def _configure(connection: Any, _: Any) -> None:
    """Set a new connection up."""
    connection.adapters.register_dumper(float, _UnknownAsNull)
    connection.adapters.register_dumper(str, _WithoutNul)
    connection.adapters.register_loader("numeric", _Sum)
    connection.execute(OF_EACH_CONNECTION)
    connection.commit()


def _is_lost(held: PoolProxiedConnection | None) -> bool:
    """Whether the server has ended a connection on which nothing was asked."""
    connection: Any = held.driver_connection if held is not None else None
    if connection is None or connection.closed:
        return True
    try:
        for _ in ("its last words", "its end"):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return bool(connection.pgconn.status != psycopg.pq.ConnStatus.OK)


def _code(error: BaseException) -> str | None:
    """What the server calls it."""
    return getattr(getattr(error, "orig", error), "sqlstate", None)
