"""One run, from one store into another of which either may be on a server.

From file to file SQLite does it by itself (``moving``). A run leaves a server by way of a file, in which its rows have
the numbers that they have there. It comes to a server row by row in one transaction, and takes the numbers that are
free; where an item is there in other words, the answers keep those that they were asked in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Table, func, or_, select, text

from steelyard.errors import StoreError
from steelyard.store.database import schema
from steelyard.store.database.dialect import insert_unless_there, spoken
from steelyard.store.store import Store
from steelyard.store.transfer.moving import copy_run
from steelyard.store.writing.codec import pack_as, unpack
from steelyard.store.writing.payload import read_payload, to_keep
from steelyard.types import RunInfo, Sample

ROWS_AT_ONCE = 1_000
Row = dict[str, Any]


def copy_between(source: Store, target: Store, run: RunInfo, *, hide_confidential: bool = False) -> None:
    """Copy the run, whole or not at all; ``hide_confidential`` leaves out texts whose authors ask for that."""
    if source.file is None:
        with TemporaryDirectory(prefix="steelyard-run-") as folder, Store.open(Path(folder) / "run.db") as aside:
            _leave(source, aside, run)
            copy_between(aside, target, run, hide_confidential=hide_confidential)
    elif target.file is not None:
        copy_run(Path(source.address), Path(target.address), run, hide_confidential=hide_confidential)
    elif hide_confidential:
        with TemporaryDirectory(prefix="steelyard-run-") as folder, Store.open(Path(folder) / "run.db") as aside:
            copy_between(source, aside, run, hide_confidential=True)
            copy_between(aside, target, aside.run(run.id))
    else:
        with source.reading() as rows, target.writing() as connection:
            _Arrival(rows, connection, run).take_in()


def _leave(source: Store, aside: Store, run: RunInfo) -> None:
    """Copy the run's rows and those that they point to, with their numbers, into a file that holds nothing else."""
    with source.reading() as rows, aside.writing() as connection:
        rows.execution_options(isolation_level="REPEATABLE READ")  # the run may go on meanwhile
        for table, which in _rows_of(run.number):
            for part in _parts(rows, table, which):
                connection.execute(table.insert(), part)


def _rows_of(run: int) -> Iterator[tuple[Table, ColumnElement[bool] | None]]:
    """Which rows of each table a run cannot do without; ``None`` is all of them."""
    calls, cells = schema.calls, schema.cells
    own_cells = select(cells.c.id).where(cells.c.run == run)
    own_calls = select(calls.c.id).where(calls.c.cell.in_(own_cells))
    used = select(calls.c.reused_from).where(calls.c.cell.in_(own_cells), calls.c.reused_from.is_not(None))
    used_cells = select(calls.c.cell).where(calls.c.id.in_(used))
    all_cells = or_(cells.c.id.in_(own_cells), cells.c.id.in_(used_cells))
    used_sessions = select(calls.c.session).where(calls.c.id.in_(used))
    runs = select(cells.c.run).where(all_cells)
    sets = select(cells.c.set).where(all_cells)
    yield schema.runs, or_(schema.runs.c.id == run, schema.runs.c.id.in_(runs))
    yield schema.run_tags, schema.run_tags.c.run == run
    yield schema.sessions, or_(schema.sessions.c.run == run, schema.sessions.c.id.in_(used_sessions))
    yield schema.sets, schema.sets.c.id.in_(sets)
    yield schema.samples, schema.samples.c.set.in_(sets)
    yield schema.cells, all_cells
    yield schema.calls, or_(calls.c.cell.in_(own_cells), calls.c.id.in_(used))
    yield schema.measures, None
    yield schema.scores, schema.scores.c.call.in_(own_calls)
    yield schema.verdicts, schema.verdicts.c.call.in_(own_calls)
    yield schema.looks, schema.looks.c.cell.in_(own_cells)
    yield schema.gradings, schema.gradings.c.cell.in_(own_cells)
    yield schema.dictionaries, None


def _parts(connection: Connection, table: Table, which: ColumnElement[bool] | None = None) -> Iterator[list[Row]]:
    """The rows of a table in the order of its key, some at a time, but for what follows from the others."""
    columns = [column for column in table.columns if column.computed is None]
    chosen = select(*columns).order_by(*table.primary_key.columns)
    rows = connection.execute(chosen if which is None else chosen.where(which)).yield_per(ROWS_AT_ONCE)
    for part in rows.mappings().partitions():
        yield [dict(row) for row in part]


class Words(Struct, frozen=True, kw_only=True):
    """An item that two stores hold in different words, as each of them keeps it."""

    here: bytes
    there: bytes


class _Arrival:
    """One way through the tables of a file that holds one run, those first that others point to."""

    def __init__(self, rows: Connection, connection: Connection, run: RunInfo) -> None:
        self._rows, self._connection, self._run = rows, connection, run
        self._new: dict[str, dict[int, int]] = {}
        self._in_other_words: dict[tuple[int, int], Words] = {}

    def take_in(self) -> None:
        """Copy all that the run is made of."""
        runs = {self._run.number: self._number_of_run()}
        self._new["run"] = runs
        self._add(schema.runs, id=lambda row: runs[row["id"]], status=_status)
        self._add(schema.run_tags, run=self._there("run"))
        self._number("session", schema.sessions)
        self._add(schema.sessions, id=self._there("session", "id"), run=self._there("run"), pid=_pid, sign=_none)
        self._intern("set", schema.sets)
        self._intern("measure", schema.measures)
        self._add_dictionaries()
        self._add_samples()
        self._number("cell", schema.cells)
        self._add(schema.cells, id=self._there("cell", "id"), run=self._there("run"), set=self._there("set"))
        cells = self._rows.execute(select(schema.cells.c.id, schema.cells.c.set)).all()
        sets = {row.id: row.set for row in cells}
        self._number("call", schema.calls)
        self._add(
            schema.calls,
            id=self._there("call", "id"),
            cell=self._there("cell"),
            session=self._there("session"),
            reused_from=lambda row: self._new["call"].get(row["reused_from"]),
            payload=lambda row: self._payload(row, sets[row["cell"]]),
        )
        self._add(schema.scores, id=self._number_of_score, measure=self._there("measure"))
        self._number("verdict", schema.verdicts)
        self._add(schema.verdicts, id=self._there("verdict", "id"), call=self._there("call"))
        self._number("look", schema.looks)
        self._add(schema.looks, id=self._there("look", "id"), cell=self._there("cell"))
        self._add(schema.gradings, cell=self._there("cell"))

    def _add(self, table: Table, **changed: Callable[[Row], Any]) -> None:
        """Copy the rows of a table, with some columns made otherwise."""
        for part in _parts(self._rows, table):
            made = [row | {name: how(row) for name, how in changed.items()} for row in part]
            self._connection.execute(table.insert(), made)

    def _there(self, kind: str, column: str = "") -> Callable[[Row], int]:
        """How a row's number is told there."""
        numbers, name = self._new.setdefault(kind, {}), column or kind
        return lambda row: numbers[row[name]]

    def _number(self, kind: str, table: Table) -> None:
        """Give each row the next free number, in the order in which they had theirs."""
        here = self._rows.execute(select(table.c.id).order_by(table.c.id)).scalars().all()
        if table is schema.calls:  # these are counted by whoever holds the lock
            last = self._connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
            free: Sequence[int] = range(last + 1, last + 1 + len(here))
        else:
            taken = f"SELECT nextval(pg_get_serial_sequence('{table.name}', 'id')) FROM generate_series(1, :n)"  # noqa: S608 - our own name
            free = self._connection.execute(text(taken), {"n": len(here)}).scalars().all()
        self._new.setdefault(kind, {}).update(zip(here, sorted(free), strict=True))

    def _number_of_run(self) -> int:
        """The number that the run has, where that is still to come, else the next one."""
        number = int(
            self._connection.execute(text("SELECT nextval(pg_get_serial_sequence('runs', 'id'))")).scalar_one()
        )
        if self._run.number <= number:
            return number
        self._connection.execute(
            text("SELECT setval(pg_get_serial_sequence('runs', 'id'), :n)"), {"n": self._run.number}
        )
        return self._run.number

    def _intern(self, kind: str, table: Table) -> None:
        """Add those rows that are not there yet, and note which number each has there."""
        numbers = self._new.setdefault(kind, {})
        for part in _parts(self._rows, table):
            for row in part:
                key = {name: value for name, value in row.items() if name != "id"}
                self._connection.execute(insert_unless_there(table, spoken(self._connection)).values(**key))
                same = [table.c[name] == value for name, value in key.items()]
                numbers[row["id"]] = int(self._connection.execute(select(table.c.id).where(*same)).scalar_one())

    def _add_dictionaries(self) -> None:
        """Those that payloads name; a number that stands for another dictionary there cannot be."""
        table = schema.dictionaries
        for part in _parts(self._rows, table):
            for row in part:
                there = self._connection.execute(select(table.c.content).where(table.c.id == row["id"])).scalar()
                if there is None:
                    self._connection.execute(table.insert().values(**row | {"set": self._new["set"][row["set"]]}))
                elif there != row["content"]:
                    raise StoreError(f"dictionary {row['id']} of the run's answers is another one there")

    def _add_samples(self) -> None:
        """The items that are not there yet; of the others it is noted which are there in other words."""
        table = schema.samples
        for part in _parts(self._rows, table):
            made = [row | {"set": self._new["set"][row["set"]]} for row in part]
            self._connection.execute(insert_unless_there(table, spoken(self._connection)), made)
            for row, new in zip(part, made, strict=True):
                same = (table.c.set == new["set"]) & (table.c.position == new["position"])
                there = self._connection.execute(select(table.c.content).where(same)).scalar_one()
                if there != row["content"]:
                    self._in_other_words[row["set"], row["position"]] = Words(here=row["content"], there=there)

    def _payload(self, row: Row, item_set: int) -> bytes:
        """The answer, in words that stand for its item as it is there."""
        payload: bytes = row["payload"]
        words = self._in_other_words.get((item_set, row["position"]))
        if words is None or not payload:
            return payload
        call = read_payload(payload, row["digest"], words.here)
        return pack_as(payload, to_keep(call, unpack(words.there, Sample)))

    def _number_of_score(self, row: Row) -> int:
        call, place = divmod(int(row["id"]), schema.JUDGEMENTS)
        return self._new["call"][call] * schema.JUDGEMENTS + place


def _status(row: Row) -> str:
    return "interrupted" if row["status"] == "running" else str(row["status"])


def _none(row: Row) -> None:
    """What a process tells of a run is nothing to another store."""


def _pid(row: Row) -> int | None:
    """No process there works on the run."""
    return None if row["ended_at"] is None else row["pid"]
