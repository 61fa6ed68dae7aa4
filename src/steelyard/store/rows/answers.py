"""Answers that may be used again: they are found among the calls of all runs, and never copied.

An answer counts if the call succeeded, and was not itself taken from another one. Which there are is learnt by digest
once, and each is then a row that has a number: an index by digest would be a page more to write for nearly every call.
``clear`` takes nothing away from any run: it sets a mark, and what was answered before the mark is not used again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import AbstractContextManager
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, case, func, select, update

from steelyard.store.database import schema
from steelyard.store.database.dialect import put
from steelyard.store.nouns import Known, Reusable, reused
from steelyard.store.writing.codec import pack_as, unpack
from steelyard.store.writing.payload import read_payload, to_keep
from steelyard.types import Call, CellInfo, Sample
from steelyard.types.ready import ready

ORIGINAL = schema.calls.alias("original")
"""The call that a used answer came from, with its cell and the item that it asked."""
ORIGINAL_CELL = schema.cells.alias("original_cell")
ORIGINAL_SAMPLE = schema.samples.alias("original_sample")

Open = Callable[[], AbstractContextManager[Connection]]

AT_ONCE = 500
ROWS_AT_ONCE = 5_000
CLEARED = "cache_cleared_at"


class Earlier(Struct, frozen=True, kw_only=True):
    """A call of some run about an item, with the cell that it belongs to."""

    run: int
    info: CellInfo
    call: Call
    started_s: float


class Kept(Struct, frozen=True, kw_only=True):
    """What a cell holds: answers of its own with their size and age, and those it used again from elsewhere."""

    info: CellInfo
    answers: int
    size_bytes: int
    oldest_s: float | None
    newest_s: float | None
    used_again: int
    saved_usd: float


class Answers:
    """The answers of a store's runs that may be used again."""

    def __init__(self, open_to_read: Open, open_to_write: Open, number_of: Callable[[Connection, str], int]) -> None:
        self._reading, self._writing, self._number_of = open_to_read, open_to_write, number_of

    def known(self, origins: Set[str], *, run_id: str | None = None, since_s: float = 0.0) -> Known:
        """All that these have answered, outside the run, after ``since_s``."""
        with self._reading() as connection:
            return known_answers(connection, origins, but_not_run=self._number(connection, run_id), since_s=since_s)

    def find(
        self, known: Known, digests: Sequence[bytes], *, run_id: str | None = None, since_s: float = 0.0
    ) -> dict[bytes, Reusable]:
        """Of what is known the newest answer to each digest that has one, outside the run, given after ``since_s``."""
        with self._reading() as connection:
            number = self._number(connection, run_id)
            return find_answers(connection, known, digests, but_not_run=number, since_s=since_s)

    def earlier(self, sample_id: str, *, run_id: str, before_s: float, most: int) -> list[Earlier]:
        """What other runs asked about an item before that moment, the newest first."""
        with self._reading() as connection:
            number = self._number_of(connection, run_id)
            return earlier_calls(connection, sample_id, but_not_run=number, before_s=before_s, most=most)

    def kept(self) -> list[Kept]:
        """What every cell holds that may be used again, and what it used."""
        with self._reading() as connection:
            return kept(connection)

    def cleared_at_s(self, model: str) -> float:
        """Seconds since the epoch before which nothing of the model is used again; 0.0 where nothing was cleared."""
        with self._reading() as connection:
            return Cleared(connection).at_s(model)

    def clear(self, model: str | None = None) -> None:
        """Use nothing again that was answered before now, by one model or by all; every run keeps its answers."""
        with self._writing() as connection:
            clear(connection, model)

    def _number(self, connection: Connection, run_id: str | None) -> int | None:
        return None if run_id is None else self._number_of(connection, run_id)


def answer_columns() -> tuple[ColumnElement[Any], ...]:
    """What ``read_call`` reads of a row, from among what ``with_original`` joins."""
    payload = func.coalesce(ORIGINAL.c.payload, schema.calls.c.payload).label("payload")
    return schema.calls.c.digest, schema.calls.c.cached, payload, ORIGINAL_SAMPLE.c.content.label("asked")


def with_original(chosen: Select[Any]) -> Select[Any]:
    """The selection from calls, joined with their items and with the calls and items whose answers they used."""
    calls, cells, samples = schema.calls, schema.cells, schema.samples
    return (
        chosen.select_from(calls)
        .join(cells, cells.c.id == calls.c.cell)
        .join(samples, (samples.c.set == cells.c.set) & (samples.c.position == calls.c.position))
        .outerjoin(ORIGINAL, ORIGINAL.c.id == calls.c.reused_from)
        .outerjoin(ORIGINAL_CELL, ORIGINAL_CELL.c.id == ORIGINAL.c.cell)
        .outerjoin(
            ORIGINAL_SAMPLE,
            (ORIGINAL_SAMPLE.c.set == ORIGINAL_CELL.c.set) & (ORIGINAL_SAMPLE.c.position == ORIGINAL.c.position),
        )
    )


def read_call(row: Any, sample: Sample) -> Call:
    """The call of a row; of an answer used again the words alone: it took no time, no tries and no money.

    What the payload does not repeat stands in the item that was asked when the answer was given: ``row.asked``, or
    ``sample`` where that is the row's own.
    """
    call = read_payload(row.payload, row.digest, sample if row.asked is None else row.asked)
    return reused(call, sample.id) if row.cached else call


def known_answers(connection: Connection, origins: Set[str], *, but_not_run: int | None, since_s: float) -> Known:
    """All answers of these that may be used again."""
    calls, cleared = schema.calls, Cleared(connection)

    def of_cells() -> Iterator[tuple[bytes, int]]:
        for cell, model in _cells(connection, origins, but_not_run):
            may_be_used = _may_be_used(max(since_s, cleared.at_s(model)))
            rows = connection.execute(select(calls.c.digest, calls.c.id).where(calls.c.cell == cell, may_be_used))
            for partition in rows.yield_per(ROWS_AT_ONCE).partitions():
                yield from ((row.digest, row.id) for row in partition)

    return Known(of_cells())


def find_answers(
    connection: Connection, known: Known, digests: Sequence[bytes], *, but_not_run: int | None, since_s: float
) -> dict[bytes, Reusable]:
    """The newest answer to each of the digests that has one."""
    calls, cells, samples = schema.calls, schema.cells, schema.samples
    names = ("id", "digest", "payload", "started_s", "ended_s", "cached", "cost_usd", "saved_usd")
    figures = [calls.c[name] for name in names]
    cleared, wanted = Cleared(connection), set(digests)
    numbers = sorted(number for digest in wanted for number in known.rows_of(digest))
    found: dict[bytes, Reusable] = {}
    for start in range(0, len(numbers), AT_ONCE):
        chosen = (
            select(*figures, cells.c.model, samples.c.content)
            .join(cells, cells.c.id == calls.c.cell)
            .join(samples, (samples.c.set == cells.c.set) & (samples.c.position == calls.c.position))
            .where(calls.c.id.in_(numbers[start : start + AT_ONCE]), _may_be_used(since_s))
        )
        if but_not_run is not None:
            chosen = chosen.where(cells.c.run != but_not_run)
        for row in connection.execute(chosen):
            if row.digest in wanted and row.started_s > cleared.at_s(row.model) and _is_newer(row, found):
                found[row.digest] = _reusable(row)
    return found


def _is_newer(row: Any, found: dict[bytes, Reusable]) -> bool:
    other = found.get(row.digest)
    return other is None or (row.started_s, row.id) > (other.started_s, other.id)


def earlier_calls(
    connection: Connection, sample_id: str, *, but_not_run: int, before_s: float, most: int
) -> list[Earlier]:
    """What other runs asked about an item before that moment, the newest first."""
    calls, cells, samples = schema.calls, schema.cells, schema.samples
    chosen = (
        select(cells.c.run, cells.c.info, calls.c.started_s, calls.c.digest, calls.c.payload, samples.c.content)
        .join(cells, cells.c.id == calls.c.cell)
        .join(samples, (samples.c.set == cells.c.set) & (samples.c.position == calls.c.position))
        .where(samples.c.name == sample_id, cells.c.run != but_not_run, calls.c.reused_from.is_(None))
        .where(calls.c.started_s < before_s)
        .order_by(calls.c.id.desc())
        .limit(most)
    )
    return [
        Earlier(
            run=row.run,
            info=msgspec.json.decode(row.info, type=ready(CellInfo)),
            call=read_payload(row.payload, row.digest, row.content),
            started_s=row.started_s,
        )
        for row in connection.execute(chosen)
    ]


def kept(connection: Connection) -> list[Kept]:
    """What every cell of the store holds."""
    calls, cells = schema.calls, schema.cells
    is_own = and_(calls.c.failure.is_(None), calls.c.reused_from.is_(None))
    started_s = case((is_own, calls.c.started_s))
    figures = (
        func.count(case((is_own, 1))).label("answers"),
        func.coalesce(func.sum(case((is_own, func.length(calls.c.payload)))), 0).label("size_bytes"),
        func.min(started_s).label("oldest_s"),
        func.max(started_s).label("newest_s"),
        func.count(case((calls.c.cached, 1))).label("used_again"),
        func.coalesce(func.sum(calls.c.saved_usd), 0.0).label("saved_usd"),
    )
    chosen = select(cells.c.info, *figures).join(calls, calls.c.cell == cells.c.id).group_by(cells.c.id)
    names = [figure.name for figure in figures]
    return [
        Kept(info=msgspec.json.decode(row.info, type=ready(CellInfo)), **{name: getattr(row, name) for name in names})
        for row in connection.execute(chosen)
    ]


def hand_over(connection: Connection, cells: Select[Any]) -> None:
    """Before calls of these cells are deleted: whoever points to their answers gets the answer itself."""
    calls, samples = schema.calls, schema.samples
    going = select(calls.c.id).where(calls.c.cell.in_(cells))
    pointing = (
        with_original(select(calls.c.id, samples.c.content, *answer_columns()))
        .where(calls.c.reused_from.in_(going), calls.c.cell.not_in(cells))
        .limit(AT_ONCE)
    )
    handed = update(calls).where(calls.c.id == bindparam("of")).values(payload=bindparam("own"), reused_from=None)
    while rows := connection.execute(pointing).all():
        owned = [{"of": row.id, "own": _own_payload(row)} for row in rows]
        connection.execute(handed, owned)


def _own_payload(row: Any) -> bytes:
    """The answer that the row used, as an answer about its own item."""
    sample = unpack(row.content, Sample)
    return pack_as(row.payload, to_keep(read_call(row, sample), sample))


def clear(connection: Connection, model: str | None) -> None:
    """Use nothing again that was answered before now: by one model, or by all."""
    put(connection, schema.meta, {"key": _mark(model)}, {"value": str(time.time())})


class Cleared:
    """The marks that ``clear`` set."""

    def __init__(self, connection: Connection) -> None:
        marks = select(schema.meta.c.key, schema.meta.c.value).where(schema.meta.c.key.startswith(CLEARED))
        self._marks = {key: float(value) for key, value in connection.execute(marks)}

    def at_s(self, model: str) -> float:
        """Seconds since the epoch before which nothing of the model is used again; 0.0 where nothing was cleared."""
        return max(self._marks.get(_mark(None), 0.0), self._marks.get(_mark(model), 0.0))


def _mark(model: str | None) -> str:
    return CLEARED if model is None else f"{CLEARED}/{model}"


def _may_be_used(since_s: float) -> ColumnElement[bool]:
    calls = schema.calls
    return and_(calls.c.failure.is_(None), calls.c.reused_from.is_(None), calls.c.started_s > since_s)


class _Answerer(Struct, frozen=True):
    """Who answers in a cell, as the cell's row holds it."""

    origin: str


def _cells(connection: Connection, origins: Set[str], but_not_run: int | None) -> list[tuple[int, str]]:
    cells = schema.cells
    chosen = select(cells.c.id, cells.c.model, cells.c.info)
    if but_not_run is not None:
        chosen = chosen.where(cells.c.run != but_not_run)
    rows = connection.execute(chosen)
    return [
        (row.id, row.model) for row in rows if msgspec.json.decode(row.info, type=ready(_Answerer)).origin in origins
    ]


def _reusable(row: Any) -> Reusable:
    return Reusable(
        id=row.id,
        call=read_payload(row.payload, row.digest, row.content),
        started_s=row.started_s,
        ended_s=row.ended_s,
        cost_usd=row.saved_usd if row.cached else row.cost_usd,
    )
