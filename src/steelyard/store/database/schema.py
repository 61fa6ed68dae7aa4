"""The tables of a store, as the newest version has them.

``calls`` and ``scores`` are append-only: an answer is written when it has arrived, a judgement of it later, and again
by another grader. A call's hot figures stand in columns; the rest is one compressed payload, which does not repeat what
its item says. An answer that was used again is a row with an empty payload that points to the call it came from.
``dictionaries`` holds what the payloads of a set of items have in common, ``measures`` what scores are scores of,
``verdicts`` what judges said. ``looks`` are what a run saw of itself where it might have ended early, and decided.

A score's number holds the number of its call, so that a call's scores are found without an index.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    literal_column,
)

from steelyard.store.database.dialect import WHOLE, WORDS, Derived

METADATA = MetaData()

JUDGEMENTS = 2**16
"""How many scores a call can have."""

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
    Column("reasoned_s", Float),
    Index("calls_by_item", "cell", "position", "repeat"),
)
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


def now() -> str:
    """This moment, as the columns hold it whose names end in ``_at``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def is_of_call(call: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a score is one of the call's, in words for which SQLite goes to it without an index."""
    return scores.c.id.between(call * JUDGEMENTS, call * JUDGEMENTS + (JUDGEMENTS - 1))
