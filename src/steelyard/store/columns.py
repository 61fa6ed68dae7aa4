"""A cell as arrays: what every metric is computed from.

Rows are read in order of (position, repeat) in partitions and go straight into flat arrays, so a cell of any size costs
a few bytes per figure and never a Python object per row. A column that says one thing in the whole cell is not read row
by row: what costs is the driver's object per value, and the database finds such columns without making any.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Column, ColumnElement, Connection, Select, func, select

from steelyard.store import schema
from steelyard.store.dialect import listed
from steelyard.store.judgements import measures_of
from steelyard.types import CellInfo, Columns, Spent

ROWS_AT_ONCE = 2_000
FEW = 1_000
"""Of fewer calls than this every column is read: to ask which of them say one thing would take as long."""
WHOLE = {
    "id": np.int64,
    "position": np.int64,
    "repeat": np.int32,
    "session": np.int64,
    "tries": np.int32,
    "cached": np.int8,
    "empty": np.int8,
    "answer": np.int64,
}
"""The columns of whole numbers, each with the type of its array."""
NUMBERS = (
    "started_s",
    "ended_s",
    "queued_s",
    "ttft_s",
    "total_s",
    "tpot_s",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_usd",
    "saved_usd",
)
LIST = msgspec.json.Decoder(list[int])
KINDS: dict[str, type] = WHOLE | dict.fromkeys(NUMBERS, np.float64)
OF_CALLS = ("failure", "stop_reason", "model_reported", "fingerprint")
OF_SAMPLES = ("stratum", "cluster", "flags")
WORDS = (*OF_CALLS, *OF_SAMPLES)


class Words:
    """A column of words that recur, as whole numbers; code 0 need not mean "none"."""

    def __init__(self) -> None:
        self.codes = array("i")
        self.known: dict[str | None, int] = {}

    def extend(self, words: Sequence[str | None]) -> None:
        """Take in the words of more rows."""
        for word in dict.fromkeys(words):
            self.known.setdefault(word, len(self.known))
        self.codes.extend(map(self.known.__getitem__, words))

    def repeat(self, word: str | None, n: int) -> None:
        """Take in one word for all of n rows."""
        self.codes.extend(array("i", [self.known.setdefault(word, len(self.known))]) * n)

    def array(self) -> np.ndarray:
        """The codes."""
        return np.frombuffer(self.codes, dtype=self.codes.typecode)

    def texts(self) -> np.ndarray:
        """The words themselves, "" where there is none."""
        texts: np.ndarray = np.array([*(word or "" for word in self.known), ""], dtype=object)[self.array()]
        return texts


class Rows:
    """Every call of the cell while it is being read, in order of item, repeat and time.

    A partition becomes arrays at once, a column at a time: numpy makes NaN of what is not known. ``said_once`` are the
    columns that are not read, with what they say in every row.
    """

    def __init__(self, said_once: Mapping[str, Any]) -> None:
        self._said_once = said_once
        self._read: dict[str, list[np.ndarray]] = {name: [] for name in KINDS if name not in said_once}
        self._n = 0
        self.words = {name: Words() for name in WORDS}
        self.gaps: list[bytes] = []
        self.names: list[str] = []

    def extend(self, columns: dict[str, Sequence[Any]]) -> None:
        """Take in one partition, column by column."""
        n = len(columns["id"])
        self._n += n
        for name, parts in self._read.items():
            parts.append(np.array(columns[name], dtype=KINDS[name]))
        for name, words in self.words.items():
            if name in columns:
                words.extend(columns[name])
            else:
                words.repeat(self._said_once[name], n)
        gaps = columns["gaps_us"] if "gaps_us" in columns else [self._said_once["gaps_us"]] * n
        self.gaps.extend([value or b"" for value in gaps])
        self.names.extend(columns.get("name", ()))

    def whole(self) -> dict[str, np.ndarray]:
        """The columns of whole numbers."""
        return {name: self._column(name) for name in WHOLE}

    def numbers(self) -> dict[str, np.ndarray]:
        """The columns of figures."""
        return {name: self._column(name) for name in NUMBERS}

    def _column(self, name: str) -> np.ndarray:
        if name in self._said_once:
            return np.full(self._n, self._said_once[name], dtype=KINDS[name])
        return _joined(self._read[name], KINDS[name])


def read_columns(
    connection: Connection, cell: int, grader: str | None, grader_version: str | None, *, with_names: bool
) -> Columns:
    """Every (item, repeat) of the cell that was asked, with the scores of one grader."""
    said_once = _said_once(connection, cell)
    rows = Rows(said_once)
    chosen = _calls(cell, with_names, said_once)
    names = [column.name for column in chosen.selected_columns]
    for columns in _partitions(connection, chosen):
        rows.extend(dict(zip(names, columns, strict=True)))
    whole, numbers = rows.whole(), rows.numbers()
    keep, left_out = _the_ones_that_count(whole["position"], whole["repeat"], rows.words["failure"])
    gaps = [rows.gaps[index] for index in keep] if len(left_out) else rows.gaps
    counts = {name: _kept(column, keep, left_out) for name, column in whole.items()}
    words = {name: rows.words[name] for name in WORDS}
    scores, parsed = _scores(connection, cell, grader, grader_version, counts["id"])
    return Columns(
        names=tuple(rows.names[index] for index in keep) if with_names else (),
        sample=counts["position"],
        repeat=counts["repeat"],
        session=counts["session"],
        tries=counts["tries"],
        cached=counts["cached"].astype(bool),
        answered_empty=counts["empty"].astype(bool),
        stratum=words["stratum"].array()[keep],
        strata=tuple(word or "" for word in words["stratum"].known),
        cluster=_clusters(words["cluster"])[keep],
        flags=words["flags"].texts()[keep],
        answer=counts["answer"],
        failure=words["failure"].texts()[keep],
        stop_reason=words["stop_reason"].texts()[keep],
        model_reported=words["model_reported"].texts()[keep],
        fingerprint=words["fingerprint"].texts()[keep],
        gaps_s=np.frombuffer(b"".join(gaps), dtype="<u4") / 1e6,
        gap_starts=np.cumsum([0, *map(len, gaps)], dtype=np.int64) // 4,
        scores=scores,
        parsed=parsed,
        judging=_judging(connection, cell, grader, grader_version),
        superseded=int(whole["tries"][left_out].sum()),
        superseded_cost_usd=float(np.nansum(numbers["cost_usd"][left_out])),
        **{name: _kept(column, keep, left_out) for name, column in numbers.items()},
    )


def the_one_that_counts(tries: list[Any]) -> Any:
    """Of the calls for one (item, repeat), in order of time: the last answer, or the last failure if there is none."""
    answers = [row for row in tries if row.failure is None]
    return (answers or tries)[-1]


def _clusters(words: Words) -> np.ndarray:
    """The clusters' codes, -1 where an item belongs to none."""
    codes = words.array()
    return np.where(codes == words.known.get(None, -1), -1, codes)


def _the_ones_that_count(position: np.ndarray, repeat: np.ndarray, failure: Words) -> tuple[np.ndarray, np.ndarray]:
    """``the_one_that_counts`` for all rows at once: where those rows are, and where the superseded ones are."""
    n = len(position)
    if n == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, (np.diff(position) != 0) | (np.diff(repeat) != 0)])
    is_answer = failure.array() == failure.known.get(None, -1)
    last_answer = np.maximum.reduceat(np.where(is_answer, np.arange(n), -1), starts)
    last = np.r_[starts[1:], n] - 1
    keep = np.where(last_answer >= 0, last_answer, last)
    is_left_out = np.ones(n, dtype=bool)
    is_left_out[keep] = False
    return keep, np.flatnonzero(is_left_out)


def read_names(connection: Connection, cell: int) -> dict[int, str]:
    """What the items of the cell that were asked are called, by position."""
    calls, samples = schema.calls, schema.samples
    chosen = (
        select(samples.c.position, samples.c.name)
        .join(schema.cells, schema.cells.c.set == samples.c.set)
        .where(schema.cells.c.id == cell)
        .where(samples.c.position.in_(select(calls.c.position).where(calls.c.cell == cell)))
    )
    return {position: name for part in _partitions(connection, chosen) for position, name in zip(*part, strict=True)}


def _partitions(connection: Connection, chosen: Select[Any]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows a partition at a time, as columns. As the driver gives them: its rows need no wrapping to be turned."""
    cursor = connection.execute(chosen).cursor
    assert cursor is not None
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        yield list(zip(*rows, strict=True))


def _calls(cell: int, with_names: bool, said_once: Mapping[str, Any]) -> Select[Any]:
    calls, samples = schema.calls, schema.samples
    of_samples = [*OF_SAMPLES, "name"] if with_names else OF_SAMPLES
    columns = [calls.c[name] for name in (*KINDS, *OF_CALLS, "gaps_us") if name not in said_once]
    beside = [samples.c[name] for name in of_samples if name not in said_once]
    chosen = select(*columns, *beside)
    if beside:
        chosen = chosen.join(schema.cells, schema.cells.c.id == calls.c.cell).join(
            samples, (samples.c.set == schema.cells.c.set) & (samples.c.position == calls.c.position)
        )
    return chosen.where(calls.c.cell == cell).order_by(calls.c.position, calls.c.repeat, calls.c.id)


def _said_once(connection: Connection, cell: int) -> dict[str, Any]:
    """The columns that say one thing in every call of the cell, or of every item of its set, with what they say."""
    calls, samples = schema.calls, schema.samples
    of_cell = calls.c.cell == cell
    if connection.execute(select(func.count()).where(of_cell)).scalar_one() < FEW:
        return {}
    of_set = samples.c.set == select(schema.cells.c.set).where(schema.cells.c.id == cell).scalar_subquery()
    of_calls = [calls.c[name] for name in (*KINDS, *OF_CALLS, "gaps_us") if name not in ("id", "position")]
    of_samples = [samples.c[name] for name in OF_SAMPLES]
    return _alike(connection, of_calls, of_cell) | _alike(connection, of_samples, of_set)


def _alike(connection: Connection, columns: list[Column[Any]], where: ColumnElement[bool]) -> dict[str, Any]:
    """Those columns in which every row of the table says what the first one says."""
    first = connection.execute(select(*columns).where(where).limit(1)).one()
    others = [func.count().filter(column.is_distinct_from(value)) for column, value in zip(columns, first, strict=True)]
    counts = connection.execute(select(*others).where(where)).one()
    return {column.name: value for column, value, count in zip(columns, first, counts, strict=True) if count == 0}


def _scores(
    connection: Connection, cell: int, grader: str | None, grader_version: str | None, ids: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    values: dict[str, np.ndarray] = {}
    parsed: dict[str, np.ndarray] = {}
    metrics: tuple[str, ...] | None = None
    if grader is None:
        info = _info(connection, cell)
        grader, grader_version, metrics = info.protocol, info.protocol_version, info.scored
        for metric in metrics:
            values[metric], parsed[metric] = _unscored(len(ids))
    measures = measures_of(connection, grader, grader_version, metrics)
    judged = _judged(connection, cell, list(measures))
    by_id = np.argsort(ids, kind="stable")
    place = _places(ids, by_id, judged.score // schema.JUDGEMENTS)
    for metric in dict.fromkeys(measures[number] for number in dict.fromkeys(judged.measure.tolist())):
        if metric not in values:
            values[metric], parsed[metric] = _unscored(len(ids))
        of_metric = np.isin(judged.measure, [number for number, name in measures.items() if name == metric])
        rows = of_metric & (place >= 0)  # of one call's several, the last one written stays
        values[metric][place[rows]] = judged.value[rows]
        parsed[metric][place[rows]] = judged.is_parsed[rows] & ~np.isnan(judged.value[rows])
    return values, parsed


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """All scores of a cell by some measures, as parallel arrays in the order in which they were written."""

    score: np.ndarray
    measure: np.ndarray
    value: np.ndarray
    is_parsed: np.ndarray


def _judged(connection: Connection, cell: int, measures: list[int]) -> Judged:
    """Read by what was said, since many scores say the same: a row for each value, with the numbers of its scores."""
    scores, calls = schema.scores, schema.calls
    said = (scores.c.measure, scores.c.value, scores.c.parsed)
    chosen = (
        select(*said, listed(scores.c.id))
        .join_from(calls, scores, schema.is_of_call(calls.c.id))
        .where(calls.c.cell == cell, scores.c.measure.in_(measures))
        .group_by(*said)
    )
    rows = connection.execute(chosen).all()
    numbers = [np.array(LIST.decode(encoded), dtype=np.int64) for *_, encoded in rows]
    score = _joined(numbers, np.int64)
    order = np.argsort(score)
    sizes = [len(part) for part in numbers]

    def spread(said: list[Any], kind: type) -> np.ndarray:
        return np.repeat(np.array(said, dtype=kind), sizes)[order]

    return Judged(
        score=score[order],
        measure=spread([row.measure for row in rows], np.int64),
        value=spread([row.value for row in rows], np.float64),
        is_parsed=spread([row.parsed for row in rows], bool),
    )


def _judging(connection: Connection, cell: int, grader: str | None, grader_version: str | None) -> Spent | None:
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
    return msgspec.json.decode(encoded, type=CellInfo)


def _unscored(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(n, np.nan), np.zeros(n, dtype=bool)


def _places(ids: np.ndarray, by_id: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted id stands in ``ids``, -1 where it is not there."""
    if not len(ids):
        return np.full(len(wanted), -1)
    place = by_id[np.minimum(np.searchsorted(ids, wanted, sorter=by_id), len(ids) - 1)]
    return np.where(ids[place] == wanted, place, -1)


def _kept(column: np.ndarray, keep: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """The rows that count; the column itself, not a copy of it, where all do."""
    return column[keep] if len(left_out) else column


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)
