"""The tables, and how an older store becomes a newer one.

``calls`` and ``scores`` are append-only: an answer is written when it has arrived, a judgement of it later, and again
by another grader. A call's hot figures stand in columns; the rest is one compressed payload, which does not repeat what
its item says. An answer that was used again is a row with an empty payload that points to the call it came from.
``dictionaries`` holds what the payloads of a set of items have in common, ``measures`` what scores are scores of,
``verdicts`` what judges said. ``looks`` are what a run saw of itself where it might have ended early, and decided.

A score's number holds the number of its call, so that a call's scores are found without an index.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    func,
    inspect,
    literal_column,
    select,
)

from steelyard.errors import StoreError
from steelyard.store.codec import squeezed
from steelyard.store.dialect import WHOLE, WORDS, Derived

METADATA = MetaData()

JUDGEMENTS = 2**16
"""How many scores a call can have."""
PREFIX_BYTES = 8
"""So much of a digest is in its index."""

meta = Table("meta", METADATA, Column("key", WORDS, primary_key=True), Column("value", WORDS, nullable=False))

runs = Table(
    "runs",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("uid", WORDS, nullable=False, unique=True),
    Column("name", WORDS, nullable=False),
    Column("status", WORDS, nullable=False),
    Column("created_at", WORDS, nullable=False),
    Column("finished_at", WORDS),
    Column("plan", LargeBinary, nullable=False),
    Column("plan_digest", WORDS, nullable=False),
    sqlite_autoincrement=True,
)

run_tags = Table(
    "run_tags",
    METADATA,
    Column("run", ForeignKey("runs.id"), primary_key=True),
    Column("tag", WORDS, primary_key=True),
)

sessions = Table(
    "sessions",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("run", ForeignKey("runs.id"), nullable=False, index=True),
    Column("started_at", WORDS, nullable=False),
    Column("ended_at", WORDS),
    Column("pid", WHOLE),
    Column("host", WORDS),
    Column("provenance", LargeBinary, nullable=False),
    Column("resources", LargeBinary),
    Column("sign", LargeBinary),
)

sets = Table(
    "sets",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("benchmark", WORDS, nullable=False),
    Column("version", WORDS, nullable=False),
    Column("part", WORDS, nullable=False),
    Column("digest", WORDS, nullable=False),
    UniqueConstraint("benchmark", "version", "part", "digest"),
)

samples = Table(
    "samples",
    METADATA,
    Column("set", ForeignKey("sets.id"), primary_key=True),
    Column("position", WHOLE, primary_key=True),
    Column("name", WORDS, nullable=False),
    Column("stratum", WORDS),
    Column("cluster", WORDS),
    Column("flags", WORDS),
    Column("content", LargeBinary, nullable=False),
    Index("samples_by_name", "name"),
)

cells = Table(
    "cells",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("run", ForeignKey("runs.id"), nullable=False),
    Column("set", ForeignKey("sets.id"), nullable=False),
    Column("model", WORDS, nullable=False),
    Column("label", WORDS, nullable=False),
    Column("info", LargeBinary, nullable=False),
    Column("summary", LargeBinary),
    UniqueConstraint("run", "model", "label"),
)

calls = Table(
    "calls",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("cell", ForeignKey("cells.id"), nullable=False),
    Column("session", ForeignKey("sessions.id"), nullable=False),
    Column("position", WHOLE, nullable=False),
    Column("repeat", WHOLE, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("failure", WORDS),
    Column("stop_reason", WORDS),
    Column("empty", Boolean, nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("tries", WHOLE, nullable=False),
    Column("answer", WHOLE, nullable=False),
    Column("started_s", Float, nullable=False),
    Column("ended_s", Float, nullable=False),
    Column("queued_s", Float),
    Column("ttft_s", Float),
    Column("total_s", Float),
    Column("tpot_s", Float),
    Column("input_tokens", WHOLE),
    Column("output_tokens", WHOLE),
    Column("cached_input_tokens", WHOLE),
    Column("reasoning_tokens", WHOLE),
    Column("cost_usd", Float),
    Column("model_reported", WORDS),
    Column("fingerprint", WORDS),
    Column("gaps_us", LargeBinary),
    Column("payload", LargeBinary, nullable=False),
    Column("reused_from", WHOLE),
    Column("saved_usd", Float),
    Index("calls_by_item", "cell", "position", "repeat"),
)
PREFIX = func.substr(calls.c.digest, literal_column("1"), literal_column(str(PREFIX_BYTES)))
Index("calls_by_digest", PREFIX)
Index("calls_by_source", calls.c.reused_from, sqlite_where=calls.c.reused_from.is_not(None))
HAS_COST = calls.c.cost_usd > literal_column("0")
"""In words that SQLite finds again in the index: with a bound parameter it would read every row."""
Index("calls_by_cost", calls.c.cell, calls.c.cost_usd, sqlite_where=HAS_COST)

measures = Table(
    "measures",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("metric", WORDS, nullable=False),
    Column("grader", WORDS, nullable=False),
    Column("grader_version", WORDS, nullable=False),
    UniqueConstraint("grader", "grader_version", "metric"),
)

scores = Table(
    "scores",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("call", WHOLE, Derived("id >> 16")),
    Column("measure", ForeignKey("measures.id"), nullable=False),
    Column("value", Float),
    Column("parsed", Boolean, nullable=False),
    Column("answer", WORDS),
    Column("reason", WORDS),
    Column("calls", WHOLE),
    Column("input_tokens", WHOLE),
    Column("output_tokens", WHOLE),
    Column("cost_usd", Float),
    Column("cached", WHOLE),
    Column("saved_usd", Float),
    Column("answer_at", WHOLE),
    Column("answer_length", WHOLE),
)
"""An answer that stands in the reply to the letter is kept as the place where it begins there, and its length."""
Index("scores_by_a_judge", scores.c.call, sqlite_where=scores.c.calls.is_not(None))

verdicts = Table(
    "verdicts",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("call", ForeignKey("calls.id"), nullable=False, index=True),
    Column("digest", LargeBinary, nullable=False),
    Column("judge", WORDS, nullable=False),
    Column("started_s", Float, nullable=False),
    Column("cost_usd", Float),
    Column("payload", LargeBinary, nullable=False),
    Index("verdicts_by_digest", "digest"),
)

shares = Table(
    "budget_shares",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("opened_at", WORDS, nullable=False),
    Column("pid", WHOLE, nullable=False),
    Column("host", WORDS, nullable=False),
    Column("granted_usd", Float, nullable=False),
    Column("spent_usd", Float),
)

looks = Table(
    "looks",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("cell", ForeignKey("cells.id"), nullable=False, index=True),
    Column("content", LargeBinary, nullable=False),
)

dictionaries = Table(
    "dictionaries",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("set", ForeignKey("sets.id"), nullable=False, index=True),
    Column("content", LargeBinary, nullable=False),
)

gradings = Table(
    "gradings",
    METADATA,
    Column("cell", ForeignKey("cells.id"), primary_key=True),
    Column("grader", WORDS, primary_key=True),
    Column("grader_version", WORDS, primary_key=True),
    Column("info", LargeBinary, nullable=False),
    Column("summary", LargeBinary, nullable=False),
)

baselines = Table(
    "baselines",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("name", WORDS, nullable=False),
    Column("version", WHOLE, nullable=False),
    Column("set_at", WORDS, nullable=False),
    Column("note", WORDS),
    Column("run", WORDS, nullable=False),
    Column("number", WHOLE, nullable=False),
    Column("run_name", WORDS, nullable=False),
    Column("content", LargeBinary, nullable=False),
    UniqueConstraint("name", "version"),
)
"""No foreign key to the run: a baseline holds its own figures and outlives it."""

findings = Table(
    "findings",
    METADATA,
    Column("run", ForeignKey("runs.id"), primary_key=True),
    Column("made_of", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
"""What a large run shows; made again at any time, so it neither travels with the run nor is salvaged."""


def is_of_call(call: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a score is one of the call's, in words for which SQLite goes to it without an index."""
    return scores.c.id.between(call * JUDGEMENTS, call * JUDGEMENTS + (JUDGEMENTS - 1))


def _judgements_have_costs(connection: Connection) -> None:
    for column in ("calls INTEGER", "input_tokens INTEGER", "output_tokens INTEGER", "cost_usd FLOAT"):
        connection.exec_driver_sql(f"ALTER TABLE scores ADD COLUMN {column}")
    connection.exec_driver_sql("CREATE INDEX scores_by_a_judge ON scores (call) WHERE calls IS NOT NULL")


def _answers_are_used_again(connection: Connection) -> None:
    for column in ("reused_from INTEGER", "saved_usd FLOAT"):
        connection.exec_driver_sql(f"ALTER TABLE calls ADD COLUMN {column}")
    connection.exec_driver_sql("CREATE INDEX calls_by_source ON calls (reused_from) WHERE reused_from IS NOT NULL")


def _a_budget_stands_over_the_store(connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE budget_shares (id INTEGER PRIMARY KEY NOT NULL, opened_at TEXT NOT NULL, pid INTEGER NOT NULL, "
        "host TEXT NOT NULL, granted_usd FLOAT NOT NULL, spent_usd FLOAT)"
    )


def _payloads_share_dictionaries(connection: Connection) -> None:
    dictionaries.create(connection)


def _costs_are_summed_from_an_index(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE INDEX calls_by_cost ON calls (cell, cost_usd) WHERE cost_usd > 0")


def _runs_are_blessed_as_baselines(connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE baselines (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, "
        "set_at TEXT NOT NULL, note TEXT, run TEXT NOT NULL, number INTEGER NOT NULL, run_name TEXT NOT NULL, "
        "content BLOB NOT NULL, UNIQUE (name, version))"
    )


def _looks_are_kept(connection: Connection) -> None:
    looks.create(connection)


def _verdicts_are_used_again(connection: Connection) -> None:
    for column in ("cached INTEGER", "saved_usd FLOAT"):
        connection.exec_driver_sql(f"ALTER TABLE scores ADD COLUMN {column}")
    verdicts.create(connection)


def _nothing_is_kept_twice(connection: Connection) -> None:
    """Scores take numbers that say where they belong; payloads stay as they are."""
    for statement in (
        "DROP INDEX calls_by_digest",
        "CREATE INDEX calls_by_digest ON calls (substr(digest, 1, 8))",
        "CREATE TABLE measures (id INTEGER PRIMARY KEY NOT NULL, metric TEXT NOT NULL, grader TEXT NOT NULL, "
        "grader_version TEXT NOT NULL, UNIQUE (grader, grader_version, metric))",
        "INSERT INTO measures (metric, grader, grader_version) SELECT metric, grader, grader_version FROM scores "
        "GROUP BY grader, grader_version, metric ORDER BY min(id)",
        "ALTER TABLE scores RENAME TO old_scores",
        "DROP INDEX scores_by_a_judge",
        "CREATE TABLE scores (id INTEGER PRIMARY KEY NOT NULL, call INTEGER GENERATED ALWAYS AS (id >> 16) VIRTUAL, "
        "measure INTEGER NOT NULL REFERENCES measures (id), value FLOAT, parsed BOOLEAN NOT NULL, answer TEXT, "
        "reason TEXT, calls INTEGER, input_tokens INTEGER, output_tokens INTEGER, cost_usd FLOAT, cached INTEGER, "
        "saved_usd FLOAT, answer_at INTEGER, answer_length INTEGER)",
        "INSERT INTO scores (id, measure, value, parsed, answer, reason, calls, input_tokens, output_tokens, cost_usd, "
        "cached, saved_usd) SELECT (call << 16) + row_number() OVER (PARTITION BY call ORDER BY o.id) - 1, m.id, "
        "value, parsed, answer, reason, calls, input_tokens, output_tokens, cost_usd, cached, saved_usd "
        "FROM old_scores o JOIN measures m USING (grader, grader_version, metric)",
        "DROP TABLE old_scores",
        "CREATE INDEX scores_by_a_judge ON scores (call) WHERE calls IS NOT NULL",
    ):
        connection.exec_driver_sql(statement)


def _dictionaries_are_squeezed(connection: Connection) -> None:
    for number, content in connection.exec_driver_sql("SELECT id, content FROM dictionaries").all():
        connection.exec_driver_sql("UPDATE dictionaries SET content = ? WHERE id = ?", (squeezed(content), number))


def _findings_are_kept(connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE findings (run INTEGER NOT NULL PRIMARY KEY REFERENCES runs (id), made_of BLOB NOT NULL, "
        "content BLOB NOT NULL)"
    )


def _a_run_tells_how_it_stands(connection: Connection) -> None:
    kind = sessions.c.sign.type.compile(connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE sessions ADD COLUMN sign {kind}")


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    _judgements_have_costs,
    _answers_are_used_again,
    _a_budget_stands_over_the_store,
    _payloads_share_dictionaries,
    _costs_are_summed_from_an_index,
    _runs_are_blessed_as_baselines,
    _looks_are_kept,
    _verdicts_are_used_again,
    _nothing_is_kept_twice,
    _dictionaries_are_squeezed,
    _findings_are_kept,
    _a_run_tells_how_it_stands,
)
"""Step ``i`` turns a store of version ``i + 1`` into one of version ``i + 2``; steps are added, never changed.

Stores on a server begin with version 12: every later step has to be said in words that both dialects understand.
"""

VERSION = 1 + len(MIGRATIONS)


def version_of(connection: Connection) -> int:
    """The schema that the database has, 0 where it is empty; what cannot be used is refused. Writes nothing."""
    present = inspect(connection).get_table_names()
    if not present:
        return 0
    if "meta" not in present:
        raise StoreError("this database holds other tables, but it is not a store of Steelyard's")
    value = connection.execute(select(meta.c.value).where(meta.c.key == "schema_version")).scalar()
    if value is None or not re.fullmatch("[1-9][0-9]{0,8}", str(value)):
        raise StoreError(f"this is not a store of Steelyard's, or a damaged one: its schema version is {value!r}")
    found = int(value)
    if found > VERSION:
        raise StoreError(
            f"the store was written by a newer Steelyard (schema {found}; this one knows {VERSION}). "
            "Nothing was changed. Try: pip install --upgrade steelyard"
        )
    return found


def bring_up_to_date(connection: Connection) -> None:
    """Create the tables, or migrate an older store, within the transaction that is open."""
    found = version_of(connection)
    if found == 0:
        METADATA.create_all(connection)
        connection.execute(meta.insert().values(key="schema_version", value=str(VERSION)))
        return
    for step in MIGRATIONS[found - 1 :]:
        step(connection)
    connection.execute(meta.update().where(meta.c.key == "schema_version").values(value=str(VERSION)))
