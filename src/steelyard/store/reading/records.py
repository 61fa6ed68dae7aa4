"""Records: a call joined with the item it asked and the scores it got."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, select, tuple_

from steelyard.store.database import schema
from steelyard.store.reading.columns import the_one_that_counts
from steelyard.store.reading.conditions import Condition
from steelyard.store.reading.fitting import fits_condition
from steelyard.store.reading.states import counts
from steelyard.store.rows.answers import answer_columns, read_call, with_original
from steelyard.store.writing.codec import unpack, unpack_any
from steelyard.store.writing.judgements import scores_of
from steelyard.types import CellInfo, Record, Sample, Stage

ROWS_AT_ONCE = 500
IN_A_PIECE = 500
"""So many calls are looked through before whoever reads in pieces lets go of the store."""


class Place(NamedTuple):
    """Where a call stands in its cell."""

    position: int
    repeat: int


class Piece(NamedTuple):
    """The calls behind ``after`` up to ``last``; ``None`` where they are the last of the cell."""

    after: Place
    last: Place | None


START = Place(-1, -1)


class Weighed(Struct):
    """Of a completion only how sure the model was of it, and what stages it went through."""

    confidence: float | None = None
    stages: tuple[Stage, ...] = ()


class Answer(Struct):
    """Of a call only that."""

    completion: Weighed | None = None


def read_records(
    connection: Connection,
    run_id: str,
    cell: CellInfo,
    sample_id: str | None = None,
    *,
    repeat: int | None = None,
    where: Condition | None = None,
    piece: Piece | None = None,
) -> Iterator[Record]:
    """The cell's records in order of item and repeat, the call that counts for each, so far as they fit."""
    for rows in _batches(_counting(_rows(connection, cell, sample_id, repeat, where, piece))):
        samples = [unpack(row.content, Sample) for row in rows]
        calls = {row.id: read_call(row, sample) for row, sample in zip(rows, samples, strict=True)}
        completions = {number: call.completion for number, call in calls.items()}
        scores = scores_of(connection, completions, cell.protocol, cell.protocol_version)
        for row, sample in zip(rows, samples, strict=True):
            yield Record(
                run=run_id,
                model=cell.model,
                benchmark=cell.benchmark,
                protocol=cell.protocol,
                sample=sample,
                call=calls[row.id],
                scores=scores.get(row.id, {}),
            )


def piece_behind(connection: Connection, cell: CellInfo, after: Place) -> Piece:
    """The cell's next calls in order of item and repeat, found without looking at them."""
    calls = schema.calls
    place = (calls.c.position, calls.c.repeat)
    behind = select(*place).where(calls.c.cell == cell.id, tuple_(*place) > tuple_(*after)).order_by(*place)
    last = connection.execute(behind.offset(IN_A_PIECE - 1).limit(1)).one_or_none()
    return Piece(after=after, last=None if last is None else Place(*last))


def read_weighed(connection: Connection, cell: CellInfo) -> list[Weighed | None]:
    """Each (item, repeat) in the order of the cell's columns; ``None`` where the call failed."""
    return [_answer(row.payload).completion for row in _counting(_rows(connection, cell))]


def _answer(payload: bytes) -> Answer:
    """What there is to weigh in a payload, whether or not its prompt has marks."""
    kept = unpack_any(payload, Answer | tuple[Answer, int], "call")
    found: Answer = kept[0] if isinstance(kept, tuple) else kept
    return found


def _rows(
    connection: Connection,
    cell: CellInfo,
    sample_id: str | None = None,
    repeat: int | None = None,
    where: Condition | None = None,
    piece: Piece | None = None,
) -> Iterator[Any]:
    calls, samples = schema.calls, schema.samples
    figures = (calls.c.id, calls.c.position, calls.c.repeat, calls.c.failure, samples.c.content)
    chosen = (
        with_original(select(*figures, *answer_columns()))
        .where(calls.c.cell == cell.id)
        .order_by(calls.c.position, calls.c.repeat, calls.c.id)
    )
    if sample_id is not None:
        chosen = chosen.where(calls.c.position.in_(_positions(connection, cell, sample_id)))
    if repeat is not None:
        chosen = chosen.where(calls.c.repeat == repeat)
    if where is not None:
        chosen = chosen.where(counts(), fits_condition(connection, cell, where))
    if piece is not None:
        chosen = chosen.where(*_of_piece(piece))
    return iter(connection.execute(chosen).yield_per(ROWS_AT_ONCE))


def _of_piece(piece: Piece) -> Iterator[ColumnElement[bool]]:
    calls = schema.calls
    place = tuple_(calls.c.position, calls.c.repeat)
    yield place > tuple_(*piece.after)
    if piece.last is not None:
        yield place <= tuple_(*piece.last)


def _positions(connection: Connection, cell: CellInfo, sample_id: str) -> list[int]:
    """Where the item is in the cell's set: asked for by its name, all answers of the cell would be looked at."""
    samples, cells = schema.samples, schema.cells
    own = select(cells.c.set).where(cells.c.id == cell.id).scalar_subquery()
    # + 0: by the index of names, not through all items of the set
    found = select(samples.c.position).where(samples.c.name == sample_id, samples.c.set + 0 == own)
    return list(connection.execute(found).scalars())


def _counting(rows: Iterator[Any]) -> Iterator[Any]:
    for _, group in groupby(rows, key=attrgetter("position", "repeat")):
        yield the_one_that_counts(list(group))


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
