"""Records: a call joined with the item it asked and the scores it got."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, select

from steelyard.store import schema
from steelyard.store.answers import ORIGINAL, payload_of_answer, read_call
from steelyard.store.codec import unpack
from steelyard.store.columns import the_one_that_counts
from steelyard.types import CellInfo, Record, Sample, Score, Spent

ROWS_AT_ONCE = 500


def read_records(
    connection: Connection,
    run_id: str,
    cell: CellInfo,
    sample_id: str | None,
    *,
    wrong_only: bool,
    errors_only: bool,
) -> Iterator[Record]:
    """The cell's records in order of item and repeat, the call that counts for each."""
    counting = _counting(_rows(connection, cell, sample_id))
    for rows in _batches(row for row in counting if row.failure is not None or not errors_only):
        scores = _scores_of(connection, cell, [row.id for row in rows])
        for row in rows:
            sample = unpack(row.content, Sample)
            record = Record(
                run=run_id,
                model=cell.model,
                benchmark=cell.benchmark,
                protocol=cell.protocol,
                sample=sample,
                call=read_call(row.payload, sample, is_reused=row.cached),
                scores=scores.get(row.id, {}),
            )
            if not wrong_only or is_wrong(record, cell.scored[0]):
                yield record


def is_wrong(record: Record, headline: str) -> bool:
    """Failed, not scored, or scored below 1."""
    score = record.scores.get(headline)
    return score is None or score.value is None or score.value < 1.0


def _rows(connection: Connection, cell: CellInfo, sample_id: str | None) -> Iterator[Any]:
    calls, samples = schema.calls, schema.samples
    figures = (calls.c.id, calls.c.position, calls.c.repeat, calls.c.failure, calls.c.cached)
    chosen = (
        select(*figures, payload_of_answer(), samples.c.content)
        .outerjoin(ORIGINAL, ORIGINAL.c.id == calls.c.reused_from)
        .join(schema.cells, schema.cells.c.id == calls.c.cell)
        .join(samples, (samples.c.set == schema.cells.c.set) & (samples.c.position == calls.c.position))
        .where(calls.c.cell == cell.id)
        .order_by(calls.c.position, calls.c.repeat, calls.c.id)
    )
    if sample_id is not None:
        chosen = chosen.where(samples.c.name == sample_id)
    return iter(connection.execute(chosen).yield_per(ROWS_AT_ONCE))


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


def _scores_of(connection: Connection, cell: CellInfo, calls: Sequence[int]) -> dict[int, dict[str, Score]]:
    table = schema.scores
    chosen = (
        select(table)
        .where(table.c.call.in_(calls), table.c.grader == cell.protocol)
        .where(table.c.grader_version == cell.protocol_version)
        .order_by(table.c.id)
    )
    found: dict[int, dict[str, Score]] = {}
    for row in connection.execute(chosen):
        found.setdefault(row.call, {})[row.metric] = Score(
            value=row.value, answer=row.answer, reason=row.reason, spent=_spent(row)
        )
    return found


def _spent(row: Any) -> Spent | None:
    if row.calls is None:
        return None
    return Spent(
        calls=row.calls,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost_usd=row.cost_usd,
        cached=row.cached or 0,
        saved_usd=row.saved_usd if row.cached else 0.0,
    )
