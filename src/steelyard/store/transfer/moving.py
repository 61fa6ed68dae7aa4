"""One run, copied from one store into another, where its rows get the numbers that are free there.

Rows go from file to file inside SQLite, in one transaction. Only what stands between runs is looked into: an answer
that was used again from another run comes along as one of this run's own, and where the stores hold an item in other
words each answer keeps those that it was asked in. Baselines, marks of a cleared cache and the budget are a store's and
stay.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from msgspec.structs import replace

from steelyard.errors import StoreError, StoreFull
from steelyard.store.database import schema
from steelyard.store.nouns import reused
from steelyard.store.reading.redaction import LONGEST_ANSWER, REDACTED, redact_call, redact_completion, redact_sample
from steelyard.store.transfer.damage import quoted
from steelyard.store.writing.codec import pack, pack_as, unpack, unpack_any
from steelyard.store.writing.payload import read_payload, to_keep
from steelyard.types import LOST_TEXT, CellInfo, Completion, RunInfo, Sample
from steelyard.types.ready import ready

BUSY_TIMEOUT_S = 30
HIDDEN_SET = " without its texts"
"""Ends the digest of an item set that came without its texts: nothing that is asked later is mixed with it."""

NUMBERED = {
    "sessions": "SELECT id FROM old.sessions WHERE run = :run",
    "cells": "SELECT id FROM old.cells WHERE run = :run",
    "calls": "SELECT t.id FROM old.calls t JOIN new_cells n ON n.old = t.cell",
    "looks": "SELECT t.id FROM old.looks t JOIN new_cells n ON n.old = t.cell",
    "verdicts": "SELECT t.id FROM old.verdicts t JOIN new_calls n ON n.old = t.call",
}
"""Which rows of a table get new numbers."""

HAS_SAME_KEY = {
    "sets": "t.benchmark = o.benchmark AND t.version = o.version AND t.part = o.part "
    "AND t.digest = o.digest || CASE WHEN n.hidden THEN :hidden_set ELSE '' END",
    "measures": "t.grader = o.grader AND t.grader_version = o.grader_version AND t.metric = o.metric",
}
"""When a row that others point to is there already."""

ANSWERS = """
    JOIN new_calls n ON n.old = t.id JOIN new_cells c ON c.old = t.cell JOIN new_sessions s ON s.old = t.session
    JOIN old.cells cell ON cell.id = t.cell
    JOIN old.samples item ON item."set" = cell."set" AND item.position = t.position
    JOIN new_sets w ON w.old = cell."set" JOIN main.samples there ON there."set" = w.new AND there.position = t.position
    LEFT JOIN new_calls own ON own.old = t.reused_from
    LEFT JOIN old.calls other ON other.id = t.reused_from
    LEFT JOIN old.cells other_cell ON other_cell.id = other.cell
    LEFT JOIN old.samples asked ON asked."set" = other_cell."set" AND asked.position = other.position
"""
"""A call with its new numbers, its item on both sides, and the call and item whose answer it used."""

PAYLOAD = """CASE
    WHEN own.new IS NOT NULL THEN t.payload
    WHEN NOT c.hidden AND t.reused_from IS NULL AND there.content = item.content THEN as_it_is(t.payload)
    ELSE made_anew(coalesce(other.payload, t.payload), t.digest, t.cached, coalesce(asked.content, item.content),
                   item.content, there.content, c.hidden)
    END"""


def copy_run(source: Path, target: Path, run: RunInfo, *, hide_confidential: bool = False) -> None:
    """Copy the run into the other store, whole or not at all; it keeps its number where that is still to come there.

    ``hide_confidential`` leaves out the texts of benchmarks whose authors ask for that. Both stores have today's
    schema, and the source is open in this process, so that its payloads find their dictionaries.
    """
    try:
        with closing(sqlite3.connect(target, isolation_level=None, timeout=BUSY_TIMEOUT_S)) as raw:
            raw.execute("PRAGMA foreign_keys=ON")
            raw.execute("ATTACH DATABASE ? AS old", (str(source),))
            raw.execute("BEGIN IMMEDIATE")
            _Move(raw, run, hide_confidential).move()
            raw.execute("COMMIT")
    except sqlite3.Error as error:
        kind = StoreFull if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL else StoreError
        raise kind(f"cannot copy run #{run.number} from {source} to {target}: {error}") from error


class _Move:
    """One way through the tables, those first that others point to; within the transaction that is open."""

    def __init__(self, raw: sqlite3.Connection, run: RunInfo, hide_confidential: bool) -> None:
        self._raw, self._hide = raw, hide_confidential
        self._values: dict[str, Any] = {"uid": run.id, "hidden_set": HIDDEN_SET, "text": REDACTED}
        self._values["status"] = "interrupted" if run.status == "running" else run.status
        self._used: set[int] = set()
        self._fault: StoreError | None = None
        self._teach("as_it_is", 1, self._as_it_is)
        self._teach("made_anew", 7, self._made_anew)
        self._teach("hidden_item", 1, _hidden_item)
        self._teach("hidden_verdict", 1, _hidden_verdict)
        self._teach("hidden_digest", 1, _hidden_digest)

    def move(self) -> None:
        """Copy all that the run is made of."""
        try:
            self._add_run()
            self._add_cells()
            self._add_items()
            self._add_calls()
            self._add_what_hangs_on_cells()
            self._add_dictionaries()
        except sqlite3.OperationalError as error:
            raise self._fault or error from error

    def _add_run(self) -> None:
        (self._values["run"],) = self._do("SELECT id FROM old.runs WHERE uid = :uid").fetchone()
        (last,) = self._do("SELECT coalesce(max(seq), 0) FROM main.sqlite_sequence WHERE name = 'runs'").fetchone()
        self._values["to"] = max(last + 1, self._values["run"])
        self._copy("runs", "WHERE t.id = :run", id=":to", status=":status")
        self._copy("run_tags", "WHERE t.run = :run", run=":to")
        self._number("sessions")
        pid = "CASE WHEN t.ended_at IS NULL THEN NULL ELSE t.pid END"  # no process here works on the run
        self._copy("sessions", "JOIN new_sessions n ON n.old = t.id", id="n.new", run=":to", pid=pid, sign="NULL")

    def _add_cells(self) -> None:
        self._number("cells")
        for number, info in self._do("SELECT id, info FROM old.cells WHERE run = :run").fetchall():
            if self._hide and msgspec.json.decode(info, type=ready(CellInfo)).is_confidential:
                self._raw.execute("UPDATE new_cells SET hidden = 1 WHERE old = ?", (number,))
        self._do(
            'CREATE TEMP TABLE new_sets AS SELECT "set" AS old, max(n.hidden) AS hidden, 0 AS new '
            'FROM old.cells t JOIN new_cells n ON n.old = t.id GROUP BY "set"'
        )
        digest = "t.digest || CASE WHEN n.hidden THEN :hidden_set ELSE '' END"
        self._intern("sets", id="NULL", digest=digest)
        joined = 'JOIN new_cells n ON n.old = t.id JOIN new_sets s ON s.old = t."set"'
        self._copy("cells", f"{joined} ORDER BY t.id", id="n.new", run=":to", set="s.new")

    def _add_items(self) -> None:
        """The items that were asked; one that is there stays as it is."""
        self._number("calls")
        content = "CASE WHEN n.hidden THEN hidden_item(t.content) ELSE as_it_is(t.content) END"
        asked = """JOIN new_sets n ON n.old = t."set" WHERE EXISTS (
            SELECT 1 FROM old.cells cell JOIN new_cells c ON c.old = cell.id JOIN old.calls x ON x.cell = cell.id
            WHERE cell."set" = t."set" AND x.position = t.position)"""
        self._copy("samples", asked, how="INSERT OR IGNORE", set="n.new", content=content)

    def _add_calls(self) -> None:
        digest = "CASE WHEN c.hidden THEN hidden_digest(t.digest) ELSE t.digest END"
        moved = {"id": "n.new", "cell": "c.new", "session": "s.new", "digest": digest, "reused_from": "own.new"}
        self._copy("calls", f"{ANSWERS} ORDER BY t.id", **moved, payload=PAYLOAD)
        self._do(
            "CREATE TEMP TABLE new_measures AS SELECT DISTINCT o.measure AS old, 0 AS hidden, 0 AS new "
            "FROM new_calls n JOIN old.scores o ON o.id BETWEEN n.old << 16 AND (n.old << 16) + 65535"
        )
        self._intern("measures", id="NULL")
        joined = """JOIN new_calls n ON t.id BETWEEN n.old << 16 AND (n.old << 16) + 65535
            JOIN old.calls x ON x.id = n.old JOIN new_cells c ON c.old = x.cell
            JOIN new_measures m ON m.old = t.measure"""
        self._copy(
            "scores",
            joined,
            id="(n.new << 16) + (t.id & 65535)",
            measure="m.new",
            answer=f"CASE WHEN c.hidden AND (length(t.answer) > {LONGEST_ANSWER} OR t.answer_at IS NOT NULL) "
            "THEN :text ELSE t.answer END",
            reason="CASE WHEN c.hidden AND t.reason IS NOT NULL THEN :text ELSE t.reason END",
            answer_at="CASE WHEN c.hidden THEN NULL ELSE t.answer_at END",
            answer_length="CASE WHEN c.hidden THEN NULL ELSE t.answer_length END",
        )

    def _add_what_hangs_on_cells(self) -> None:
        self._number("looks")
        self._copy("looks", "JOIN new_looks n ON n.old = t.id JOIN new_cells c ON c.old = t.cell ORDER BY t.id",
                   id="n.new", cell="c.new")  # fmt: skip
        self._copy("gradings", "JOIN new_cells c ON c.old = t.cell", cell="c.new")
        self._number("verdicts")
        hidden = {"digest": "hidden_digest(t.digest)", "payload": "hidden_verdict(t.payload)"}
        self._copy(
            "verdicts",
            "JOIN new_verdicts n ON n.old = t.id JOIN old.calls x ON x.id = t.call JOIN new_calls k ON k.old = x.id "
            "JOIN new_cells c ON c.old = x.cell ORDER BY t.id",
            id="n.new",
            call="k.new",
            **{name: f"CASE WHEN c.hidden THEN {how} ELSE t.{name} END" for name, how in hidden.items()},
        )

    def _add_dictionaries(self) -> None:
        """Those that payloads name; a number that stands for another dictionary there cannot be."""
        for number in sorted(self._used):
            there = "SELECT content FROM {}.dictionaries WHERE id = ?"
            own = self._raw.execute(there.format("old"), (number,)).fetchone()
            known = self._raw.execute(there.format("main"), (number,)).fetchone()
            if own is None or (known is not None and known != own):
                raise StoreError(f"dictionary {number} of the run's answers is lost, or another one is there")
            if known is None:
                self._raw.execute(
                    "INSERT INTO main.dictionaries SELECT d.id, coalesce((SELECT new FROM new_sets WHERE "
                    'old = d."set"), (SELECT min(new) FROM new_sets)), d.content FROM old.dictionaries d '
                    "WHERE d.id = ?",
                    (number,),
                )

    # Rows and their numbers

    def _do(self, statement: str) -> sqlite3.Cursor:
        return self._raw.execute(statement, self._values)

    def _number(self, table: str) -> None:
        """Give each of the rows the next free number, in the order in which they had theirs."""
        self._do(f"CREATE TEMP TABLE new_{table} (old INTEGER PRIMARY KEY, new INTEGER, hidden INTEGER DEFAULT 0)")
        last = f"SELECT coalesce(max(id), 0) FROM main.{table}"  # noqa: S608 - names of our own schema
        self._do(
            f"INSERT INTO new_{table} (old, new) SELECT id, ({last}) + row_number() OVER (ORDER BY id) "  # noqa: S608 - our own names
            f"FROM ({NUMBERED[table]})"
        )

    def _intern(self, table: str, **changed: str) -> None:
        """Add those rows that are not there yet, and note which number each has there."""
        self._copy(table, f"JOIN new_{table} n ON n.old = t.id ORDER BY t.id", how="INSERT OR IGNORE", **changed)
        same = f"SELECT t.id FROM main.{table} t, old.{table} o WHERE o.id = n.old AND {HAS_SAME_KEY[table]}"  # noqa: S608 - our own names
        self._do(f"UPDATE new_{table} AS n SET new = ({same})")  # noqa: S608 - our own names

    def _copy(self, table: str, which: str, *, how: str = "INSERT", **changed: str) -> None:
        """Copy rows of a table, ``t``, with some columns made by other expressions."""
        names = [column.name for column in schema.METADATA.tables[table].columns if column.computed is None]
        values = ", ".join(changed.get(name, f't."{name}"') for name in names)
        self._do(f"{how} INTO main.{table} ({quoted(names)}) SELECT {values} FROM old.{table} t {which}")  # noqa: S608 - our own names

    def _teach(self, name: str, arguments: int, function: Callable[..., bytes]) -> None:
        """Let SQL call a function of ours; SQLite forgets why one failed, so that is kept."""

        def called(*values: Any) -> bytes:
            try:
                return function(*values)
            except StoreError as error:
                self._fault = error
                raise

        self._raw.create_function(name, arguments, called)

    # Payloads

    def _as_it_is(self, packed: bytes) -> bytes:
        """The bytes, if they can be read; their dictionary goes with them."""
        unpack_any(packed, msgspec.Raw, "answer or item")
        if number := zstandard.get_frame_parameters(packed).dict_id:
            self._used.add(number)
        return packed

    def _made_anew(
        self, payload: bytes, digest: bytes, cached: int, asked: bytes, item: bytes, there: bytes, hidden: int
    ) -> bytes:
        """The answer as one of the run's own, in words that stand for the item as the other store holds it."""
        call = read_payload(payload, digest, asked)
        if cached:
            call = reused(call, unpack(item, Sample).id)
        if hidden:
            return pack(to_keep(redact_call(call), None))
        return self._as_it_is(pack_as(payload, to_keep(call, unpack(there, Sample))))


def _hidden_item(content: bytes) -> bytes:
    """An item without its texts: nothing can be graded by it."""
    sample = redact_sample(unpack(content, Sample))
    return pack(replace(sample, flags=(*sample.flags, LOST_TEXT)))


def _hidden_verdict(payload: bytes) -> bytes:
    return pack(redact_completion(unpack(payload, Completion)))


def _hidden_digest(digest: bytes) -> bytes:
    """A digest that no request has: what stands for an answer is never given as one."""
    return blake2b(digest, digest_size=len(digest), person=b"withheld").digest()
