"""The schema's versions: which one a database has, and the steps that bring an older one up to date.

Steps are added, never changed: what each of them does to a store was decided when that version was published.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sqlalchemy import Connection, inspect, select

from steelyard.errors import StoreError
from steelyard.store.database import schema
from steelyard.store.writing.codec import squeezed


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
    schema.dictionaries.create(connection)


def _costs_are_summed_from_an_index(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE INDEX calls_by_cost ON calls (cell, cost_usd) WHERE cost_usd > 0")


def _runs_are_blessed_as_baselines(connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE baselines (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, "
        "set_at TEXT NOT NULL, note TEXT, run TEXT NOT NULL, number INTEGER NOT NULL, run_name TEXT NOT NULL, "
        "content BLOB NOT NULL, UNIQUE (name, version))"
    )


def _looks_are_kept(connection: Connection) -> None:
    schema.looks.create(connection)


def _verdicts_are_used_again(connection: Connection) -> None:
    for column in ("cached INTEGER", "saved_usd FLOAT"):
        connection.exec_driver_sql(f"ALTER TABLE scores ADD COLUMN {column}")
    schema.verdicts.create(connection)


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
    kind = schema.sessions.c.sign.type.compile(connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE sessions ADD COLUMN sign {kind}")


def _first_answers_are_timed(connection: Connection) -> None:
    kind = schema.calls.c.reasoned_s.type.compile(connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE calls ADD COLUMN reasoned_s {kind}")


def _digests_are_learnt_before_they_are_looked_for(connection: Connection) -> None:
    """Their indexes cost a page more to write for nearly every row, since digests are random."""
    for index in ("calls_by_digest", "verdicts_by_digest"):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {index}")


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
    _first_answers_are_timed,
    _digests_are_learnt_before_they_are_looked_for,
)
"""Step ``i`` turns a store of version ``i + 1`` into one of version ``i + 2``.

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
    value = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")).scalar()
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
        schema.METADATA.create_all(connection, checkfirst=False)  # nothing is there
        connection.execute(schema.meta.insert().values(key="schema_version", value=str(VERSION)))
        return
    for step in MIGRATIONS[found - 1 :]:
        step(connection)
    connection.execute(schema.meta.update().where(schema.meta.c.key == "schema_version").values(value=str(VERSION)))
