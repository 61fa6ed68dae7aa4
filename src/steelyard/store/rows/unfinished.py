"""What of a cell is still to be asked, and which of its answers are still to be judged."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from steelyard.store.database import schema
from steelyard.store.rows.answers import answer_columns, read_call, with_original
from steelyard.store.writing.codec import unpack
from steelyard.store.writing.judgements import measures_of
from steelyard.types import Call, Sample

MOST_READ_AT_ONCE = 1_000


def completed(connection: Connection, cell: int) -> set[tuple[int, int]]:
    """(position, repeat) of every item of the cell that has been answered."""
    table = schema.calls
    chosen = select(table.c.position, table.c.repeat).where(table.c.cell == cell, table.c.failure.is_(None))
    return {(position, repeat) for position, repeat in connection.execute(chosen)}


def unscored(
    connection: Connection, cell: int, grader: str, grader_version: str, after: int = 0, most: int | None = None
) -> Iterator[tuple[int, Sample, Call]]:
    """Answers that this grader has not judged, or left unscored, oldest first, without those that were asked again."""
    calls, scores, samples = schema.calls, schema.scores, schema.samples
    later = calls.alias()
    asked_again = (
        select(later.c.id)
        .where(later.c.cell == calls.c.cell, later.c.position == calls.c.position)
        .where(later.c.repeat == calls.c.repeat, later.c.failure.is_(None), later.c.id > calls.c.id)
        .exists()
    )
    measures = measures_of(connection, grader, grader_version)
    judged = (
        select(scores.c.id)
        .where(schema.is_of_call(calls.c.id), scores.c.measure.in_(measures), scores.c.value.is_not(None))
        .exists()
    )
    chosen = (
        with_original(select(calls.c.id, samples.c.content, *answer_columns()))
        .where(calls.c.cell == cell, calls.c.id > after, calls.c.failure.is_(None), ~judged, ~asked_again)
        .order_by(calls.c.id)
        .limit(most)
    )
    for row in connection.execute(chosen).yield_per(MOST_READ_AT_ONCE):
        sample = unpack(row.content, Sample)
        yield row.id, sample, read_call(row, sample)
