"""What can still be read of a damaged store, as a store of its own; the damaged one is left as it is.

A payload carries its checksum, and the figures beside it follow from it: an answer that is kept is the one that was
given. Rows that hold others together (a run, a session, an item's text) are made anew from what hangs on them.
"""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Column

from steelyard.errors import StoreError
from steelyard.store.database import migrations, schema
from steelyard.store.nouns import reused
from steelyard.store.reading.redaction import REDACTED
from steelyard.store.store import Store
from steelyard.store.transfer.damage import Row, quoted, rows_of
from steelyard.store.transfer.snapshots import Snapshot
from steelyard.store.writing.codec import pack, prepared, squeezed, unpack
from steelyard.store.writing.figures import figures_of
from steelyard.store.writing.payload import LOST, kept_call
from steelyard.types import LOST_TEXT, Call, CellInfo, Completion, Estimate, Look, RunStatus, Sample
from steelyard.types.ready import ready

BESIDE = ("", "-wal", "-shm")
CLOCKS_APART_S = 1.0
SUMMARY = tuple[Estimate, ...]
MAY_HOLD: dict[type, tuple[type, ...]] = {
    int: (int,), bool: (int,), float: (int, float), str: (str,), bytes: (bytes, str)
}  # fmt: skip
"""What SQLite gives back of a column, by what it is declared to hold."""


class Bad(Struct, frozen=True, kw_only=True):
    """A row that is lost: its table, which one it is as far as that can be told, and why."""

    table: str
    row: str
    reason: str


class Salvaged(Struct, frozen=True, kw_only=True):
    """How many rows of each table were kept, which are lost, and how many were mended or made anew.

    ``runs`` have answers or scores among the lost; they can be gone on with.
    """

    kept: dict[str, int]
    bad: tuple[Bad, ...]
    mended: dict[str, int]
    runs: tuple[str, ...]


def salvage(source: Path, target: Path) -> Salvaged:
    """Copy every good row of ``source`` into a new store at ``target``."""
    if target.exists():
        raise StoreError(f"{target} exists already. Try: another file")
    with TemporaryDirectory(prefix="salvage-", dir=target.absolute().parent) as folder:
        copy = Path(folder) / "damaged.db"
        for end in BESIDE:
            if (part := source.with_name(source.name + end)).exists():
                shutil.copyfile(part, copy.with_name(copy.name + end))
        with closing(sqlite3.connect(copy, isolation_level=None)) as damaged:
            damaged.execute("PRAGMA writable_schema=ON")  # lets a file be read that is shorter than it says
            _check_readable(damaged, source)
            Store.open(target).close()
            try:
                with closing(sqlite3.connect(target, isolation_level=None)) as whole:
                    return _Salvage(damaged, whole).run()
            except BaseException:
                target.unlink()
                raise


def _check_readable(damaged: sqlite3.Connection, source: Path) -> None:
    """That there are tables of ours, written by no newer Steelyard."""
    try:
        tables = {name for (name,) in damaged.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise StoreError(f"nothing can be read of {source}: {error}. Try: an earlier copy of it") from error
    if not {"calls", "cells"} <= tables:
        raise StoreError(f"nothing can be read of {source}: it has no table of answers. Try: an earlier copy of it")
    if _version(damaged) > migrations.VERSION:
        raise StoreError(f"{source} was written by a newer Steelyard. Try: pip install --upgrade steelyard")


def _version(damaged: sqlite3.Connection) -> int:
    """The schema that the store says it has, 0 where it says nothing that can be read."""
    try:
        (found,) = damaged.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone() or ("",)
    except sqlite3.DatabaseError:
        return 0
    return int(found) if str(found).isdecimal() else 0


def _drop_mistyped(row: Row, columns: Iterable[Column[Any]]) -> list[str]:
    """Leave out what stands where a number or words belong and is neither; the names of those columns."""
    found = [
        one.name for one in columns if not isinstance(row.get(one.name), (*MAY_HOLD[one.type.python_type], NoneType))
    ]
    for name in found:
        del row[name]
    return found


class _Salvage:
    """One way through the tables, those first that others point to."""

    def __init__(self, damaged: sqlite3.Connection, whole: sqlite3.Connection) -> None:
        self._damaged, self._whole = damaged, whole
        self._kept: Counter[str] = Counter()
        self._mended: Counter[str] = Counter()
        self._bad: list[Bad] = []
        self._infos: dict[int, CellInfo] = {}
        self._run_of: dict[int, int] = {}
        self._set_of: dict[int, int] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._cell_of_call: dict[int, int] = {}
        self._measures: dict[tuple[str, ...], int] = {}
        self._scores_of_call: Counter[int] = Counter()
        self._hurt: set[int] = set()
        self._is_older = 0 < _version(damaged) < migrations.VERSION

    def run(self) -> Salvaged:
        """Copy, in one transaction."""
        self._whole.execute("BEGIN IMMEDIATE")
        self._copy("dictionaries", _dictionary)
        self._copy("meta", lambda row: None if row["key"] != "schema_version" else "")
        self._copy("runs", _run)
        self._copy("sessions", _session)
        self._copy("sets", lambda row: None)
        self._copy("cells", self._cell)
        self._copy("run_tags", lambda row: None if self._is_there("runs", row["run"]) else "its run is lost")
        self._copy("samples", self._sample)
        self._copy("calls", self._call)
        self._copy("measures", self._measure)
        self._copy("scores", self._score)
        self._copy("verdicts", self._verdict)
        self._copy("gradings", self._grading)
        self._copy("looks", self._look)
        self._copy("budget_shares", lambda row: None)
        self._copy("baselines", _baseline)
        self._hold_together()
        self._whole.execute("COMMIT")
        names = [self._whole.execute("SELECT name FROM runs WHERE id = ?", (run,)).fetchone()[0] for run in self._hurt]
        return Salvaged(
            kept=dict(self._kept), bad=tuple(self._bad), mended=dict(+self._mended), runs=tuple(sorted(names))
        )

    def _copy(self, table: str, fault: Callable[[Row], str | None]) -> None:
        """Copy the rows in which no fault is found; "" stands for a row that is not wanted."""
        if self._is_older and not self._damaged.execute(f"PRAGMA table_info({table})").fetchall():
            return  # it was not there yet
        stored = [column for column in schema.METADATA.tables[table].columns if column.computed is None]
        columns = [column.name for column in stored] + [*(OF_OLDER_SCORES if table == "scores" else ())]
        needed = [column.name for column in stored if not column.nullable]
        try:
            stride = schema.JUDGEMENTS if table == "scores" and self._is_numbered_by_call() else 1
            for number, row in rows_of(
                self._damaged, table, columns, lambda which, why: self._lose(table, which, why), stride=stride
            ):
                reason = self._try(self._numbered_score, row) if table == "scores" else None
                mistyped = _drop_mistyped(row, stored)
                wanted = needed if table == "calls" else needed + mistyped  # a call's figures follow from its payload
                unread = [name for name in wanted if name not in row]
                reason = reason or (f"its {unread[0]} cannot be read" if unread else self._try(fault, row))
                if reason is None:
                    reason = self._insert(table, row)
                if reason:
                    self._lose(table, self._name_of(table, number, row), reason)
        except sqlite3.DatabaseError as error:  # the table itself cannot be found
            if "no such table" not in str(error):
                self._lose(table, "all", str(error))

    @staticmethod
    def _try(fault: Callable[[Row], str | None], row: Row) -> str | None:
        try:
            return fault(row)
        except (StoreError, msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
            return str(error).partition(". Try:")[0]

    def _is_numbered_by_call(self) -> bool:
        return any(row[1] == "measure" for row in self._damaged.execute("PRAGMA table_info(scores)"))

    def _numbered_score(self, row: Row) -> None:
        """Give a score of an older store the number and the measure that it has today."""
        if "call" not in row:
            return
        call = row.pop("call")
        row["id"] = call * schema.JUDGEMENTS + self._scores_of_call[call]
        self._scores_of_call[call] += 1
        measure = tuple(row.pop(name) for name in ("grader", "grader_version", "metric"))
        if measure not in self._measures:
            self._measures[measure] = len(self._measures) + 1
            number = self._measures[measure]
            self._insert(
                "measures", {"id": number, **dict(zip(("grader", "grader_version", "metric"), measure, strict=True))}
            )
            self._kept["measures"] -= 1
        row["measure"] = self._measures[measure]

    def _insert(self, table: str, row: Row) -> str | None:
        into = f"INSERT INTO {table} ({quoted(row)}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608 - our own names
        try:
            self._whole.execute(into, tuple(row.values()))
        except (sqlite3.IntegrityError, OverflowError) as error:
            return str(error)
        self._kept[table] += 1
        return None

    def _lose(self, table: str, which: str, reason: str) -> None:
        self._bad.append(Bad(table=table, row=which, reason=reason))

    def _name_of(self, table: str, number: int, row: Row) -> str:
        """Which row it is, in the user's words where they are known."""
        if table != "calls" or row.get("cell") not in self._infos:
            return str(number)
        info = self._infos[row["cell"]]
        self._hurt.add(self._run_of[row["cell"]])
        position = row.get("position", "unknown")
        name = self._names.get((self._set_of[row["cell"]], position), f"item {position}")
        return f"{number}: {info.model} on {info.label}, {name}"

    def _is_there(self, table: str, number: Any) -> bool:
        return self._whole.execute(f"SELECT 1 FROM {table} WHERE id = ?", (number,)).fetchone() is not None  # noqa: S608 - names of our own schema

    def _verdict(self, row: Row) -> str | None:
        unpack(row["payload"], Completion)
        return None if self._is_there("calls", row["call"]) else "the call whose answer it judges is lost"

    def _look(self, row: Row) -> str | None:
        msgspec.json.decode(row["content"], type=ready(Look))
        return None if self._is_there("cells", row["cell"]) else "its cell is lost"

    def _cell(self, row: Row) -> str | None:
        info = msgspec.json.decode(row["info"], type=ready(CellInfo))
        try:
            msgspec.json.decode(row.get("summary") or b"[]", type=ready(SUMMARY))
        except msgspec.MsgspecError:
            row["summary"] = None
        if (row["model"], row["label"]) != (info.model, info.label):
            row["model"], row["label"] = info.model, info.label
            self._mended["cells"] += 1
        self._infos[row["id"]], self._run_of[row["id"]], self._set_of[row["id"]] = info, row["run"], row["set"]
        return None

    def _sample(self, row: Row) -> str | None:
        sample = unpack(row["content"], Sample)
        row |= {"name": sample.id, "stratum": sample.stratum, "cluster": sample.cluster}
        self._names[row["set"], row["position"]] = sample.id
        return None

    def _call(self, row: Row) -> str | None:
        cell = row["cell"]
        if cell not in self._infos:
            return "the cell that it belongs to is lost"
        if row.get("reused_from") is not None and not row["payload"]:
            if row["reused_from"] not in self._cell_of_call:
                return "the answer that it used again is lost"
        else:
            call, has_marks = kept_call(row["payload"])
            self._mend(row, reused(call, call.sample_id) if row.get("cached") and call.completion else call)
            self._name_item((self._set_of[cell], row["position"]), call, has_marks)
        self._cell_of_call[row["id"]] = cell
        return None

    def _mend(self, row: Row, call: Call) -> None:
        """Let the figures beside a payload be those that follow from it."""
        figures = figures_of(call)
        true = {name: value for name, value in figures.items() if row.get(name) != value}
        if call.completion is not None and call.completion.text == REDACTED:
            true.pop("answer", None)  # the column still tells the answers apart that are left out
        started_s = datetime.fromisoformat(call.started_at).timestamp()
        if abs(row["started_s"] - started_s) > CLOCKS_APART_S:
            true |= {"started_s": started_s, "ended_s": started_s + (figures["total_s"] or 0.0)}
        is_new = "reasoned_s" in true and row.get("reasoned_s") is None  # older versions wrote none: that is no damage
        self._mended["calls"] += len(true) > is_new
        row |= true

    def _name_item(self, place: tuple[int, int], call: Call, has_marks: bool) -> None:
        """An item whose text is lost keeps its name, so that its answers and scores still count.

        It also keeps what was asked, where the call says so in full.
        """
        known = self._names.get(place)
        if known is None:
            prompt = call.request.prompt
            asked = prompt.messages[-1].content if prompt.messages else prompt.text
            stub = Sample(id=call.sample_id, input=LOST if has_marks else asked, target="", flags=(LOST_TEXT,))
            self._names[place] = call.sample_id
            row = {"set": place[0], "position": place[1], "name": stub.id, "flags": LOST_TEXT, "content": pack(stub)}
            self._insert("samples", row)
            self._kept["samples"] -= 1
            self._mended["samples"] += 1
        elif known != call.sample_id:
            raise StoreError(f"it stands at the place of {known} and answers {call.sample_id}")

    def _measure(self, row: Row) -> None:
        self._measures[row["grader"], row["grader_version"], row["metric"]] = row["id"]

    def _score(self, row: Row) -> str | None:
        if row["id"] // schema.JUDGEMENTS not in self._cell_of_call:
            return "the answer that it judges is lost"
        if row["measure"] not in self._measures.values():
            return "what it is a score of is lost"
        if row.get("value") is not None and not math.isfinite(row["value"]):
            return f"its value is {row['value']}"
        return None

    def _grading(self, row: Row) -> str | None:
        msgspec.json.decode(row["info"], type=ready(CellInfo))
        msgspec.json.decode(row["summary"], type=ready(SUMMARY))
        return None if row["cell"] in self._infos else "the cell that it belongs to is lost"

    def _hold_together(self) -> None:
        """Make anew what others point to and is lost; mark the runs in which something is missing."""
        for run in dict.fromkeys(self._run_of.values()):
            if not self._is_there("runs", run):
                self._make_anew("runs", {**NO_RUN, "id": run, "uid": f"{run:016x}", "name": f"salvaged-{run}"})
        for cell, item_set in self._set_of.items():
            info = self._infos[cell]
            if not self._is_there("sets", item_set):
                version, part = info.benchmark_version, info.part or ""
                named = {"benchmark": info.benchmark, "version": version, "part": part, "digest": info.dataset_digest}
                self._make_anew("sets", {"id": item_set, **named})
        chosen = "SELECT DISTINCT session, cell FROM calls WHERE session NOT IN (SELECT id FROM sessions)"
        for session, cell in self._whole.execute(chosen).fetchall():
            if not self._is_there("sessions", session):
                self._make_anew("sessions", {**NO_SESSION, "id": session, "run": self._run_of[cell]})
        for table, column, other in (("sessions", "run", "runs"), ("samples", '"set"', "sets")):
            hanging = f"FROM {table} WHERE {column} NOT IN (SELECT id FROM {other})"  # noqa: S608 - our own names
            for (number,) in self._whole.execute(f"SELECT rowid {hanging}").fetchall():
                self._lose(table, str(number), f"what it belongs to in {other} is lost")
                self._kept[table] -= 1
            self._whole.execute(f"DELETE {hanging}")
        if self._bad or self._mended.total():  # a run of a whole store may be done with less: it ended early
            self._hurt |= set(self._runs_that_miss_something())
        for run in self._hurt:
            self._whole.execute("UPDATE runs SET status = 'interrupted' WHERE id = ? AND status = 'done'", (run,))

    def _make_anew(self, table: str, row: Row) -> None:
        self._insert(table, row)
        self._kept[table] -= 1
        self._mended[table] += 1

    def _runs_that_miss_something(self) -> Iterator[int]:
        """The runs that were done and whose cells lack calls, or whose answers lack a score."""
        asked = "SELECT count(*) FROM (SELECT DISTINCT position, repeat FROM calls WHERE cell = ?)"
        unjudged = "SELECT 1 FROM calls WHERE cell = ? AND failure IS NULL AND id NOT IN (SELECT id >> 16 FROM scores)"
        for cell, info in self._infos.items():
            run = self._run_of[cell]
            is_over = self._whole.execute("SELECT 1 FROM runs WHERE id = ? AND status = 'done'", (run,)).fetchone()
            (attempted,) = self._whole.execute(asked, (cell,)).fetchone()
            is_short = attempted < info.items * info.repeats
            if is_over and (is_short or self._whole.execute(f"{unjudged} LIMIT 1", (cell,)).fetchone()):
                yield run


NO_RUN = {"status": "interrupted", "created_at": "", "plan": b"{}", "plan_digest": ""}
NO_SESSION = {"started_at": "1970-01-01T00:00:00.000+00:00", "ended_at": "", "provenance": b"{}"}


OF_OLDER_SCORES = ("call", "metric", "grader", "grader_version")
"""Columns that are no more, of which today's follow."""


def _dictionary(row: Row) -> str | None:
    row["content"] = squeezed(row["content"])  # in an older store it lies as it is used
    return None if prepared(row["content"]).dict_id() == row["id"] else "its number is not the one it names"


def _run(row: Row) -> str | None:
    msgspec.json.decode(row["plan"])
    msgspec.convert(row["status"], type=RunStatus)
    return None


def _session(row: Row) -> str | None:
    msgspec.json.decode(row["provenance"])
    msgspec.json.decode(row.get("resources") or b"{}", type=dict[str, float])
    row["sign"] = None  # its process writes to the damaged store
    return None


def _baseline(row: Row) -> str | None:
    unpack(row["content"], Snapshot)
    return None
