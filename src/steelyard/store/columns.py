"""A cell as arrays: what every metric is computed from.

Rows are read in order of (position, repeat) and go straight into flat arrays, so a cell of any size costs a few bytes
per figure and never a Python object per row.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, select

from steelyard.store import schema
from steelyard.types import CellInfo, Columns

ROWS_AT_ONCE = 2_000
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
)
NAN = float("nan")


class Table:
    """The arrays while they are being filled."""

    def __init__(self) -> None:
        self.call_ids = array("q")
        self.whole = {name: array("q") for name in ("position", "repeat", "session", "tries", "cached", "empty")}
        self.numbers = {name: array("d") for name in NUMBERS}
        self.codes = {name: array("q") for name in ("failure", "stop_reason", "stratum", "cluster")}
        self.words: dict[str, dict[str | None, int]] = {name: {} for name in self.codes}
        self.gaps: list[bytes] = []
        self.gap_starts = array("q", [0])
        self.names: list[str] = []
        self.superseded = 0
        self.superseded_cost_usd = 0.0

    def add(self, row: Any, *, with_name: bool) -> None:
        """The call that counts for one (item, repeat)."""
        self.call_ids.append(row.id)
        for name, values in self.whole.items():
            values.append(int(getattr(row, name)))
        for name, figures in self.numbers.items():
            value = getattr(row, name)
            figures.append(NAN if value is None else value)
        for name, codes in self.codes.items():
            words = self.words[name]
            codes.append(words.setdefault(getattr(row, name), len(words)))
        gaps = row.gaps_us or b""
        if gaps:
            self.gaps.append(gaps)
        self.gap_starts.append(self.gap_starts[-1] + len(gaps) // 4)
        if with_name:
            self.names.append(row.name)

    def supersede(self, row: Any) -> None:
        """A call that was asked again later."""
        self.superseded += row.tries
        self.superseded_cost_usd += row.cost_usd or 0.0

    def decoded(self, name: str) -> np.ndarray:
        """The words of a coded column, "" where there is none."""
        words = np.array([word or "" for word in self.words[name]], dtype=object)
        return words[np.frombuffer(self.codes[name], dtype=np.int64)] if len(self.codes[name]) else words


def read_columns(connection: Connection, cell: int, *, with_names: bool) -> Columns:
    """Every (item, repeat) of the cell that was asked, with the scores of the cell's own protocol."""
    info = msgspec.json.decode(
        connection.execute(select(schema.cells.c.info).where(schema.cells.c.id == cell)).scalar_one(), type=CellInfo
    )
    table = Table()
    for _, group in groupby(_rows(connection, cell), key=attrgetter("position", "repeat")):
        tries = list(group)
        counting = the_one_that_counts(tries)
        for row in tries:
            if row is counting:
                table.add(row, with_name=with_names)
            else:
                table.supersede(row)
    values, parsed = _scores(connection, cell, info, table)
    whole = {name: np.frombuffer(column, dtype=np.int64) for name, column in table.whole.items()}
    numbers = {name: np.frombuffer(column, dtype=np.float64) for name, column in table.numbers.items()}
    return Columns(
        names=tuple(table.names),
        sample=whole["position"],
        repeat=whole["repeat"],
        session=whole["session"],
        tries=whole["tries"],
        cached=whole["cached"].astype(bool),
        answered_empty=whole["empty"].astype(bool),
        stratum=np.frombuffer(table.codes["stratum"], dtype=np.int64),
        strata=tuple(word or "" for word in table.words["stratum"]),
        cluster=np.frombuffer(table.codes["cluster"], dtype=np.int64),
        failure=table.decoded("failure"),
        stop_reason=table.decoded("stop_reason"),
        gaps_s=np.frombuffer(b"".join(table.gaps), dtype="<u4") / 1e6,
        gap_starts=np.frombuffer(table.gap_starts, dtype=np.int64),
        scores=values,
        parsed=parsed,
        superseded=table.superseded,
        superseded_cost_usd=table.superseded_cost_usd,
        **numbers,
    )


def the_one_that_counts(tries: list[Any]) -> Any:
    """Of the calls for one (item, repeat), in order of time: the last answer, or the last failure if there is none."""
    answers = [row for row in tries if row.failure is None]
    return (answers or tries)[-1]


def _rows(connection: Connection, cell: int) -> Iterator[Any]:
    calls, samples = schema.calls, schema.samples
    columns = [calls.c[name] for name in ("id", "position", "repeat", "session", "tries", "cached", "empty", "gaps_us")]
    columns += [calls.c[name] for name in (*NUMBERS, "failure", "stop_reason")]
    chosen = (
        select(*columns, samples.c.name, samples.c.stratum, samples.c.cluster)
        .join(schema.cells, schema.cells.c.id == calls.c.cell)
        .join(samples, (samples.c.set == schema.cells.c.set) & (samples.c.position == calls.c.position))
        .where(calls.c.cell == cell)
        .order_by(calls.c.position, calls.c.repeat, calls.c.id)
    )
    return iter(connection.execute(chosen).yield_per(ROWS_AT_ONCE))


def _scores(
    connection: Connection, cell: int, info: CellInfo, table: Table
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    ids = np.frombuffer(table.call_ids, dtype=np.int64)
    by_id = np.argsort(ids, kind="stable")
    values = {metric: np.full(len(ids), np.nan) for metric in info.scored}
    parsed = {metric: np.zeros(len(ids), dtype=bool) for metric in info.scored}
    scores, calls = schema.scores, schema.calls
    chosen = (
        select(scores.c.call, scores.c.metric, scores.c.value, scores.c.parsed)
        .join(calls, calls.c.id == scores.c.call)
        .where(calls.c.cell == cell, scores.c.grader == info.protocol)
        .where(scores.c.grader_version == info.protocol_version)
        .order_by(scores.c.id)
    )
    ordered = ids[by_id]
    for call, metric, value, is_parsed in connection.execute(chosen).yield_per(ROWS_AT_ONCE):
        place = int(np.searchsorted(ordered, call))
        if metric in values and place < len(ordered) and ordered[place] == call:
            values[metric][by_id[place]] = NAN if value is None else value
            parsed[metric][by_id[place]] = is_parsed and value is not None
    return values, parsed
