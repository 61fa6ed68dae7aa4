"""The scores of a cell, and what judging took, as arrays beside its calls.

Most scores are 0 or 1: they are read as one text of whole numbers, which is decoded at once, and the others apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from sqlalchemy import ColumnElement, Connection, case, func, select

from steelyard.store.database import schema
from steelyard.store.database.dialect import listed
from steelyard.store.reading.cell_calls import Extent, joined, partitions, places_of
from steelyard.store.writing.judgements import measures_of
from steelyard.types import CellInfo, Spent
from steelyard.types.ready import ready

CALLS_AT_ONCE = 100_000
LIST = msgspec.json.Decoder(list[int])


def read_scores(
    connection: Connection, cell: int, extent: Extent, grader: str | None, grader_version: str | None, ids: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By metric, the score of each of the calls and whether an answer was found in it, by one grader."""
    values: dict[str, np.ndarray] = {}
    parsed: dict[str, np.ndarray] = {}
    metrics: tuple[str, ...] | None = None
    if grader is None:
        info = _info(connection, cell)
        grader, grader_version, metrics = info.protocol, info.protocol_version, info.scored
        for metric in metrics:
            values[metric], parsed[metric] = _unscored(len(ids))
    measures = measures_of(connection, grader, grader_version, metrics)
    judged = _judged(connection, cell, extent, list(measures))
    place = places_of(ids, judged.score // schema.JUDGEMENTS)
    ours = place >= 0  # other cells' scores lie between
    for metric in _in_order(judged.measure[ours], measures):
        if metric not in values:
            values[metric], parsed[metric] = _unscored(len(ids))
        of_metric = np.isin(judged.measure, [number for number, name in measures.items() if name == metric])
        rows = of_metric & ours  # of one call's several, the last one written stays
        values[metric][place[rows]] = judged.value[rows]
        parsed[metric][place[rows]] = judged.is_parsed[rows] & ~np.isnan(judged.value[rows])
    return values, parsed


def read_judged_items(
    connection: Connection, cell: int, grader: str | None, grader_version: str | None, metric: str
) -> list[int]:
    """The positions of the items that a grader judged by one metric, also of those that it could not decide on."""
    scores, calls = schema.scores, schema.calls
    if grader is None:
        info = _info(connection, cell)
        grader, grader_version = info.protocol, info.protocol_version
    chosen = (
        select(calls.c.position)
        .distinct()
        .join(scores, schema.is_of_call(calls.c.id))
        .where(calls.c.cell == cell, scores.c.measure.in_(measures_of(connection, grader, grader_version, (metric,))))
    )
    return sorted(connection.execute(chosen).scalars())


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """Scores by some measures, those of a cell among them, as parallel arrays in the order in which they were written.

    A score is said as one whole number: its measure, whether an answer was found, and its value as one of four.
    """

    score: np.ndarray
    said: np.ndarray
    value: np.ndarray

    @property
    def measure(self) -> np.ndarray:
        """By which measure."""
        return self.said >> 3

    @property
    def is_parsed(self) -> np.ndarray:
        """Whether an answer was found."""
        return (self.said & 4) > 0


NONE, OTHER = 2, 3
VALUES = np.array([0.0, 1.0, np.nan, np.nan])


def _judged(connection: Connection, cell: int, extent: Extent, measures: list[int]) -> Judged:
    scores = schema.scores
    value = case((scores.c.value == 0, 0), (scores.c.value == 1, 1), (scores.c.value.is_(None), NONE), else_=OTHER)
    said = scores.c.measure * 8 + case((scores.c.parsed, 4), else_=0) + value
    numbers: list[np.ndarray] = []
    says: list[np.ndarray] = []
    others: list[np.ndarray] = []
    theirs: list[np.ndarray] = []
    for where in _parts(cell, extent):
        of_measures = (*where, scores.c.measure.in_(measures))
        chosen = select(listed(scores.c.id), listed(said)).where(*of_measures)
        for parts, encoded in zip((numbers, says), connection.execute(chosen).one(), strict=True):
            parts.append(np.array(LIST.decode(encoded), dtype=np.int64))
        apart = select(scores.c.id, scores.c.value).where(*of_measures, value == OTHER)
        for columns in partitions(connection, apart):
            others.append(np.array(columns["id"], dtype=np.int64))
            theirs.append(np.array(columns["value"], dtype=np.float64))
    score, coded = joined(numbers, np.int64), joined(says, np.int64)
    values = VALUES[coded & 3]
    values[places_of(score, joined(others, np.int64))] = joined(theirs, np.float64)
    order = np.argsort(score, kind="stable")
    return Judged(score=score[order], said=coded[order], value=values[order])


def _parts(cell: int, extent: Extent) -> Iterator[tuple[ColumnElement[bool], ...]]:
    """Where the cell's scores are, a part at a time."""
    scores, calls = schema.scores, schema.calls
    if not extent.is_dense:
        yield (schema.is_of_call(calls.c.id), calls.c.cell == cell)
        return
    for first in range(extent.first, extent.last + 1, CALLS_AT_ONCE):
        last = min(first + CALLS_AT_ONCE - 1, extent.last)
        yield (scores.c.id.between(first * schema.JUDGEMENTS, last * schema.JUDGEMENTS + schema.JUDGEMENTS - 1),)


def _in_order(found: np.ndarray, measures: dict[int, str]) -> list[str]:
    """The metrics of the measures that are there, the one that was written first, first."""
    numbers, first = np.unique(found, return_index=True)
    return list(dict.fromkeys(measures[number] for number in numbers[np.argsort(first)].tolist()))


def read_judging(connection: Connection, cell: int, grader: str | None, grader_version: str | None) -> Spent | None:
    """What all judgements of the cell took, the repeated ones included; ``None`` where no model judged."""
    scores, calls = schema.scores, schema.calls
    if grader is None:
        info = _info(connection, cell)
        grader, grader_version = info.protocol, info.protocol_version
    counts = [scores.c[name] for name in ("calls", "input_tokens", "output_tokens", "cost_usd")]
    saved = (func.coalesce(func.sum(scores.c.cached), 0), func.sum(scores.c.saved_usd))
    chosen = (
        select(func.count(), *(figure(column) for column in counts for figure in (func.count, func.sum)), *saved)
        .join(calls, calls.c.id == scores.c.call)
        .where(calls.c.cell == cell, scores.c.calls.is_not(None))
        .where(scores.c.measure.in_(measures_of(connection, grader, grader_version)))
    )
    n, _, sent, *pairs, cached, saved_usd = connection.execute(chosen).one()
    if not n:
        return None
    input_tokens, output_tokens, cost_usd = (
        total if known == n else None for known, total in zip(pairs[::2], pairs[1::2], strict=True)
    )
    return Spent(
        calls=sent,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost_usd,
        cached=cached,
        saved_usd=saved_usd or 0.0,
    )


def _info(connection: Connection, cell: int) -> CellInfo:
    encoded = connection.execute(select(schema.cells.c.info).where(schema.cells.c.id == cell)).scalar_one()
    return msgspec.json.decode(encoded, type=ready(CellInfo))


def _unscored(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(n, np.nan), np.zeros(n, dtype=bool)
