"""What SQLite and PostgreSQL say in different words, so that everything else is said once.

A connection tells which of them is spoken. What PostgreSQL needs is loaded when it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

from msgspec import Struct
from sqlalchemy import BigInteger, Computed, Connection, Insert, Integer, Table, Text
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

WHOLE = Integer().with_variant(BigInteger(), "postgresql")
"""A whole number of up to 64 bits, as every one is in SQLite."""
WORDS = Text().with_variant(Text(collation="C"), "postgresql")
"""A text that is compared byte by byte, as every one is in SQLite."""
ANY_NUMBER = -1
"""Of connections: a thread that reads by one may need a second, which it would wait for while others do the same."""

LAST_OF_CALLS = (
    "SELECT calls.id, (SELECT max(id) FROM scores WHERE scores.id BETWEEN calls.id << 16 AND (calls.id << 16) + 65535) "
    "FROM {} AS asked JOIN calls ON calls.id = asked.value"
)
WRITER = "hashtext('steelyard ' || current_schema()), 0"
"""The lock of whoever writes to the store in this schema; a session's has its number for 0, and those begin at 1."""


class Derived(Computed):
    """A column that follows from the others of its row: SQLite works it out, PostgreSQL keeps it."""

    inherit_cache = True

    def __init__(self, expression: str) -> None:
        super().__init__(expression, persisted=False)


@compiles(Derived, "postgresql")
def _kept(derived: Derived, compiler: Any, **how: Any) -> str:
    return f"GENERATED ALWAYS AS ({derived.sqltext}) STORED"


class Dialect(Struct, frozen=True, kw_only=True):
    """How one of the two says it.

    ``begin_to_write`` begins a transaction that no other one writes beside, ``begin_to_read`` one whose questions all
    see the store as it is at the first. ``last_of_calls`` gives the last score of each call that is there, of calls
    that are a list in JSON. ``insert`` makes a statement that can say what to do with rows that are there already.
    ``is_held`` tells whether the process of a session lives, also where that is on another host; ``None`` where the
    database cannot know. ``ahead_s`` is how far the clock of its machine is ahead of this one's, to a second.
    """

    begin_to_write: str
    begin_to_read: str
    last_of_calls: str
    insert: Callable[[Table], Any]
    is_held: Callable[[Connection, int], bool | None]
    ahead_s: Callable[[Connection], float]


def _postgresql_insert(table: Table) -> Any:
    from sqlalchemy.dialects.postgresql import insert

    return insert(table)


def _is_held(connection: Connection, session: int) -> bool:
    """Nobody else gets the lock of a session as long as its process has it; a lock that is got goes at once."""
    got = "SELECT pg_try_advisory_xact_lock_shared(hashtext('steelyard ' || current_schema()), %s)"
    return not connection.exec_driver_sql(got, (session,)).scalar_one()


def _ahead_s(connection: Connection) -> float:
    there_s = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())::float8").scalar_one()
    return float(round(there_s - time.time()))


SQLITE = Dialect(
    begin_to_write="BEGIN IMMEDIATE",
    begin_to_read="BEGIN",
    last_of_calls=LAST_OF_CALLS.format("json_each(?)"),
    insert=sqlite_insert,
    is_held=lambda connection, session: None,
    ahead_s=lambda connection: 0.0,
)
POSTGRESQL = Dialect(
    # whoever holds the lock and says nothing for a minute is gone, and his transaction with him
    begin_to_write=(
        "SELECT set_config('idle_in_transaction_session_timeout', '60s', true), pg_advisory_xact_lock(" + WRITER + ")"
    ),
    begin_to_read="SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    last_of_calls=LAST_OF_CALLS.format("(SELECT each::bigint AS value FROM jsonb_array_elements(%s::jsonb) AS each)"),
    insert=_postgresql_insert,
    is_held=_is_held,
    ahead_s=_ahead_s,
)


def spoken(connection: Connection) -> Dialect:
    """The dialect of the database at the other end."""
    return POSTGRESQL if connection.dialect.name == "postgresql" else SQLITE


@cache
def insert_unless_there(table: Table, dialect: Dialect) -> Insert:
    """Insert rows, but for those whose key is there already."""
    statement: Insert = dialect.insert(table).on_conflict_do_nothing()
    return statement


def put(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Insert a row, or change the one that has this key."""
    row = spoken(connection).insert(table).values(**key, **values)
    changed = {name: row.excluded[name] for name in values}
    connection.execute(row.on_conflict_do_update(index_elements=list(key), set_=changed))


class listed(GenericFunction[str]):  # noqa: N801 - it is called like an SQL function
    """All values of a column as a list in JSON, in the order in which the rows are read."""

    type = Text()
    inherit_cache = True


@compiles(listed, "sqlite")
def _in_sqlite(values: listed, compiler: Any, **how: Any) -> str:
    return f"json_group_array{compiler.function_argspec(values, **how)}"


@compiles(listed, "postgresql")
def _in_postgresql(values: listed, compiler: Any, **how: Any) -> str:
    return f"coalesce(CAST(json_agg{compiler.function_argspec(values, **how)} AS TEXT), '[]')"
