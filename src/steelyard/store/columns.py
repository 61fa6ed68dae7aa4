"""A cell as arrays: what every metric is computed from.

Rows are read in order of (position, repeat) in partitions and go straight into flat arrays, so a cell of any size costs
a few bytes per figure and never a Python object per row.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, Select, func, select

from steelyard.store import schema
from steelyard.store.judgements import measures_of
from steelyard.types import CellInfo, Columns, Spent

ROWS_AT_ONCE = 2_000
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
WORDS = ("failure", "stop_reason", "stratum", "cluster", "flags", "model_reported", "fingerprint")


class Words:
    """A column of words that recur, as whole numbers; code 0 need not mean "none"."""

    def __init__(self) -> None:
        self.codes = array("i")
        self.known: dict[str | None, int] = {}

    def extend(self, words: Iterable[str | None]) -> None:
        """Take in the words of more rows."""
        known = self.known
        self.codes.extend([known.setdefault(word, len(known)) for word in words])

    def array(self) -> np.ndarray:
        """The codes."""
        return np.frombuffer(self.codes, dtype=self.codes.typecode)

    def texts(self) -> np.ndarray:
        """The words themselves, "" where there is none."""
        texts: np.ndarray = np.array([*(word or "" for word in self.known), ""], dtype=object)[self.array()]
        return texts


class Rows:
    """Every call of the cell while it is being read, in order of item, repeat and time.

    A partition becomes arrays at once, a column at a time: numpy makes NaN of what is not known.
    """

    def __init__(self) -> None:
        self._whole: dict[str, list[np.ndarray]] = {name: [] for name in WHOLE}
        self._numbers: dict[str, list[np.ndarray]] = {name: [] for name in NUMBERS}
        self.words = {name: Words() for name in WORDS}
        self.gaps: list[bytes] = []
        self.names: list[str] = []

    def extend(self, columns: dict[str, Sequence[Any]]) -> None:
        """Take in one partition, column by column."""
        for name, parts in self._whole.items():
            parts.append(np.array(columns[name], dtype=WHOLE[name]))
        for name, parts in self._numbers.items():
            parts.append(np.array(columns[name], dtype=np.float64))
        for name, words in self.words.items():
            words.extend(columns[name])
        self.gaps.extend([value or b"" for value in columns["gaps_us"]])
        self.names.extend(columns.get("name", ()))

    def whole(self) -> dict[str, np.ndarray]:
        """The columns of whole numbers."""
        return {name: _joined(parts, WHOLE[name]) for name, parts in self._whole.items()}

    def numbers(self) -> dict[str, np.ndarray]:
        """The columns of figures."""
        return {name: _joined(parts, np.float64) for name, parts in self._numbers.items()}


def read_columns(
    connection: Connection, cell: int, grader: str | None, grader_version: str | None, *, with_names: bool
) -> Columns:
    """Every (item, repeat) of the cell that was asked, with the scores of one grader."""
    rows = Rows()
    chosen = _calls(cell, with_names)
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
        gap_starts=np.cumsum([0, *(len(value) // 4 for value in gaps)], dtype=np.int64),
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


def _calls(cell: int, with_names: bool) -> Select[Any]:
    calls, samples = schema.calls, schema.samples
    columns = [
        calls.c[name]
        for name in (*WHOLE, *NUMBERS, "failure", "stop_reason", "model_reported", "fingerprint", "gaps_us")
    ]
    columns += [samples.c.stratum, samples.c.cluster, samples.c.flags, *([samples.c.name] if with_names else [])]
    return (
        select(*columns)
        .join(schema.cells, schema.cells.c.id == calls.c.cell)
        .join(samples, (samples.c.set == schema.cells.c.set) & (samples.c.position == calls.c.position))
        .where(calls.c.cell == cell)
        .order_by(calls.c.position, calls.c.repeat, calls.c.id)
    )


def _scores(
    connection: Connection, cell: int, grader: str | None, grader_version: str | None, ids: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    scores, calls = schema.scores, schema.calls
    values: dict[str, np.ndarray] = {}
    parsed: dict[str, np.ndarray] = {}
    metrics: tuple[str, ...] | None = None
    if grader is None:
        info = _info(connection, cell)
        grader, grader_version, metrics = info.protocol, info.protocol_version, info.scored
        for metric in metrics:
            values[metric], parsed[metric] = _unscored(len(ids))
    measures = measures_of(connection, grader, grader_version, metrics)
    chosen = (
        select(calls.c.id, scores.c.measure, scores.c.value, scores.c.parsed)
        .join(scores, schema.is_of_call(calls.c.id))
        .where(calls.c.cell == cell, scores.c.measure.in_(measures))
        .order_by(scores.c.id)
    )
    by_id = np.argsort(ids, kind="stable")
    for call, numbers, figures, is_parsed in _partitions(connection, chosen):
        place = _places(ids, by_id, np.array(call, dtype=np.int64))
        figure = np.array(figures, dtype=np.float64)
        answered = np.array(is_parsed, dtype=bool) & ~np.isnan(figure)
        measured = np.array(numbers)
        for metric in dict.fromkeys(measures[number] for number in numbers):
            if metric not in values:
                values[metric], parsed[metric] = _unscored(len(ids))
            of_metric = np.isin(measured, [number for number, name in measures.items() if name == metric])
            chosen_rows = of_metric & (place >= 0)  # of one call's several, the last one written stays
            values[metric][place[chosen_rows]] = figure[chosen_rows]
            parsed[metric][place[chosen_rows]] = answered[chosen_rows]
    return values, parsed


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
