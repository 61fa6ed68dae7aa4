"""Statements put into SQL once for all SQLite stores of a process: each store does it anew, and tests have thousands.

The dialects of two stores are then equal, as they are in fact: one process has one library of SQLite.
"""

import functools

from sqlalchemy import create_engine, create_mock_engine
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

from steelyard.store.database import schema, sqlite_file

MOST = 2000
create_all = schema.METADATA.create_all


def share():
    SQLiteDialect_pysqlite.__eq__ = lambda one, other: type(one) is type(other)
    SQLiteDialect_pysqlite.__hash__ = lambda one: hash(type(one))
    kept = {"compiled_cache": LRUCache(MOST)}
    sqlite_file.create_engine = functools.partial(create_engine, execution_options=kept)
    schema.METADATA.create_all = _create_all


def _create_all(connection, **options):
    if connection.dialect.name != "sqlite":
        create_all(connection, **options)
        return
    for statement in _tables():
        connection.exec_driver_sql(statement)


@functools.cache
def _tables():
    said = []
    engine = create_mock_engine("sqlite://", lambda ddl, *_: said.append(str(ddl.compile(dialect=engine.dialect))))
    create_all(engine, checkfirst=False)
    return said
