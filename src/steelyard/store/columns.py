"""A cell as arrays: what every metric is computed from.

Rows are read in order of (position, repeat) in partitions and go straight into flat arrays, so a cell of any size costs
a few bytes per figure and never a Python object per row.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, Select, func, select

from steelyard.store import schema
from steelyard.types import CellInfo, Columns, Spent

ROWS_AT_ONCE = 2_000
WHOLE = {
    "id": "q",
    "position": "q",
    "repeat": "i",
    "session": "q",
    "tries": "i",
    "cached": "b",
    "empty": "b",
    "answer": "q",
}
"""The columns of whole numbers, each with the type code of its array."""
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
NAN = float("nan")


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
        return _as_numpy(self.codes)

    def texts(self) -> np.ndarray:
        """The words themselves, "" where there is none."""
        texts: np.ndarray = np.array([*(word or "" for word in self.known), ""], dtype=object)[self.array()]
        return texts


class Rows:
    """Every call of the cell while it is being read, in order of item, repeat and time."""

    def __init__(self) -> None:
        self.whole = {name: array(code) for name, code in WHOLE.items()}
        self.numbers = {name: array("d") for name in NUMBERS}
        self.words = {name: Words() for name in WORDS}
        self.gaps: list[bytes] = []
        self.names: list[str] = []

    def extend(self, columns: dict[str, Sequence[Any]]) -> None:
        """Take in one partition, column by column."""
        for name, codes in self.whole.items():
            codes.extend(map(int, columns[name]))
        for name, figures in self.numbers.items():
            figures.extend([NAN if value is None else value for value in columns[name]])
        for name, words in self.words.items():
            words.extend(columns[name])
        self.gaps.extend(value or b"" for value in columns["gaps_us"])
        self.names.extend(columns.get("name", ()))


def read_columns(
    connection: Connection, cell: int, grader: str | None, grader_version: str | None, *, with_names: bool
) -> Columns:
    """Every (item, repeat) of the cell that was asked, with the scores of one grader."""
    rows = Rows()
    chosen = _calls(cell, with_names)
    names = [column.name for column in chosen.selected_columns]
    for partition in connection.execute(chosen).yield_per(ROWS_AT_ONCE).partitions():
        rows.extend(dict(zip(names, zip(*partition, strict=True), strict=True)))
    keep, left_out = _the_ones_that_count(rows)
    gaps = [rows.gaps[index] for index in keep] if len(left_out) else rows.gaps
    counts = {name: _kept(column, keep, left_out) for name, column in rows.whole.items()}
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
        superseded=int(_as_numpy(rows.whole["tries"])[left_out].sum()),
        superseded_cost_usd=float(np.nansum(_as_numpy(rows.numbers["cost_usd"])[left_out])),
        **{name: _kept(column, keep, left_out) for name, column in rows.numbers.items()},
    )


def the_one_that_counts(tries: list[Any]) -> Any:
    """Of the calls for one (item, repeat), in order of time: the last answer, or the last failure if there is none."""
    answers = [row for row in tries if row.failure is None]
    return (answers or tries)[-1]


def _clusters(words: Words) -> np.ndarray:
    """The clusters' codes, -1 where an item belongs to none."""
    codes = words.array()
    return np.where(codes == words.known.get(None, -1), -1, codes)


def _the_ones_that_count(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """``the_one_that_counts`` for all rows at once: where those rows are, and where the superseded ones are."""
    position, repeat = _as_numpy(rows.whole["position"]), _as_numpy(rows.whole["repeat"])
    n = len(position)
    if n == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, (np.diff(position) != 0) | (np.diff(repeat) != 0)])
    failure = rows.words["failure"]
    is_answer = failure.array() == failure.known.get(None, -1)
    last_answer = np.maximum.reduceat(np.where(is_answer, np.arange(n), -1), starts)
    last = np.r_[starts[1:], n] - 1
    keep = np.where(last_answer >= 0, last_answer, last)
    is_left_out = np.ones(n, dtype=bool)
    is_left_out[keep] = False
    return keep, np.flatnonzero(is_left_out)


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
    chosen = (
        select(scores.c.call, scores.c.metric, scores.c.value, scores.c.parsed)
        .join(calls, calls.c.id == scores.c.call)
        .where(calls.c.cell == cell)
        .order_by(scores.c.id)
    )
    if grader is None:
        info = _info(connection, cell)
        grader, grader_version = info.protocol, info.protocol_version
        chosen = chosen.where(scores.c.metric.in_(info.scored))
        for metric in info.scored:
            values[metric], parsed[metric] = _unscored(len(ids))
    chosen = chosen.where(scores.c.grader == grader)
    if grader_version is not None:
        chosen = chosen.where(scores.c.grader_version == grader_version)
    by_id = np.argsort(ids, kind="stable")
    for partition in connection.execute(chosen).yield_per(ROWS_AT_ONCE).partitions():
        call, metrics, figures, is_parsed = zip(*partition, strict=True)
        place = _places(ids, by_id, np.array(call, dtype=np.int64))
        figure = np.array(figures, dtype=np.float64)
        answered = np.array(is_parsed, dtype=bool) & ~np.isnan(figure)
        named = np.array(metrics, dtype=object)
        for metric in dict.fromkeys(metrics):
            if metric not in values:
                values[metric], parsed[metric] = _unscored(len(ids))
            chosen_rows = (named == metric) & (place >= 0)  # of one call's several, the last one written stays
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
        .where(calls.c.cell == cell, scores.c.calls.is_not(None), scores.c.grader == grader)
    )
    if grader_version is not None:
        chosen = chosen.where(scores.c.grader_version == grader_version)
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


def _kept(column: array[Any], keep: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """The rows that count; the column itself, not a copy of it, where all do."""
    return _as_numpy(column)[keep] if len(left_out) else _as_numpy(column)


def _as_numpy(column: array[Any]) -> np.ndarray:
    return np.frombuffer(column, dtype=column.typecode)
