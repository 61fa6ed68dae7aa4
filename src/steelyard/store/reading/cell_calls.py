"""The calls of a cell as flat arrays, in the order in which they lie in the file.

What costs is the way to each row and the driver's object for each value. So rows are read as they lie, not through an
index that jumps between them, and a column that nearly always says one thing is not read row by row: its few other
values are fetched by themselves. A cell of any size costs a few bytes per figure and never a Python object per row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from sqlalchemy import Column, ColumnElement, Connection, Select, func, or_, select

from steelyard.store.database import schema

ROWS_AT_ONCE = 500
"""Fewer than the new objects at which Python looks for garbage: it would look through every row."""
FEW = 1_000
"""Of fewer calls than this every column is read: to ask which of them say one thing would take as long."""
SPARSE = 4
"""Where other cells' calls lie between, up to so many rows a call of its own are read past sooner than jumped over."""
PROBED = 250
"""So many calls tell which columns nearly always say one thing."""
MOST_OTHERS = 0.02
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
    "reasoned_s",
    "total_s",
    "tpot_s",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_usd",
    "saved_usd",
)
KINDS: dict[str, type] = WHOLE | dict.fromkeys(NUMBERS, np.float64)
WORDS = ("failure", "stop_reason", "model_reported", "fingerprint")
GAPS = "gaps_us"
PLACES = ("id", "position", "repeat")
"""What is read of every row."""


class Extent(Struct, frozen=True, kw_only=True):
    """How many calls a cell has, and between which numbers they lie (0 where there are none)."""

    n: int
    first: int
    last: int

    @property
    def is_dense(self) -> bool:
        """Whether most of what lies there is the cell's own."""
        return self.last - self.first < SPARSE * self.n


class Words:
    """Words that recur, as whole numbers; code 0 need not mean "none"."""

    def __init__(self) -> None:
        self.known: dict[str | None, int] = {}

    def codes(self, words: Sequence[str | None]) -> np.ndarray:
        """The words as codes, those that are new with codes of their own."""
        for word in dict.fromkeys(words):
            self.known.setdefault(word, len(self.known))
        return np.fromiter(map(self.known.__getitem__, words), dtype=np.int32, count=len(words))

    @property
    def none(self) -> int:
        """The code of no word, -1 where there always is one."""
        return self.known.get(None, -1)

    def texts(self, codes: np.ndarray) -> np.ndarray:
        """The words themselves, "" where there is none."""
        texts: np.ndarray = np.array([*(word or "" for word in self.known), ""], dtype=object)[codes]
        return texts


class Calls(Struct, frozen=True, kw_only=True):
    """Every call of a cell, as parallel arrays by column; ``gaps`` is ``None`` where no call has any."""

    figures: dict[str, np.ndarray]
    words: dict[str, Words]
    codes: dict[str, np.ndarray]
    gaps: list[bytes] | None


class Rows:
    """The calls of a cell while they are being read.

    A partition becomes arrays at once, a column at a time: numpy makes NaN of what is not known. ``usual`` are the
    columns that are not read row by row, with what they nearly always say.
    """

    def __init__(self, usual: Mapping[str, Any]) -> None:
        self._usual = usual
        self._words = {name: Words() for name in WORDS}
        self._read: dict[str, list[np.ndarray]] = {name: [] for name in (*KINDS, *WORDS)}
        self._others: dict[str, list[Any]] = {name: [] for name in ("id", *usual)}
        self._gaps: list[bytes] = []

    def extend(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Take in one partition, column by column."""
        for name, parts in self._read.items():
            if name in columns:
                parts.append(self._array(name, columns[name]))
        self._gaps.extend([value or b"" for value in columns.get(GAPS, ())])

    def correct(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Take in rows in which some of the usual columns say something else."""
        for name, values in self._others.items():
            values.extend(columns[name])

    def whole(self) -> Calls:
        """All that was taken in."""
        ids = joined(self._read["id"], np.int64)
        places = places_of(ids, np.array(self._others["id"], dtype=np.int64))
        columns = {name: self._column(name, len(ids), places) for name in self._read}
        return Calls(
            figures={name: columns[name] for name in KINDS},
            words=self._words,
            codes={name: columns[name] for name in WORDS},
            gaps=self._all_gaps(len(ids), places),
        )

    def _array(self, name: str, values: Sequence[Any]) -> np.ndarray:
        return self._words[name].codes(values) if name in WORDS else np.array(values, dtype=KINDS[name])

    def _column(self, name: str, n: int, places: np.ndarray) -> np.ndarray:
        if name not in self._usual:
            return joined(self._read[name], KINDS.get(name, np.int32))
        (usual,) = self._array(name, [self._usual[name]])
        if not len(places):
            return np.broadcast_to(usual, n)
        column = np.full(n, usual)
        column[places] = self._array(name, self._others[name])
        return column

    def _all_gaps(self, n: int, places: np.ndarray) -> list[bytes] | None:
        if GAPS not in self._usual:
            return self._gaps
        usual = self._usual[GAPS] or b""
        if not usual and not any(self._others[GAPS]):
            return None
        gaps = [usual] * n
        for place, value in zip(places.tolist(), self._others[GAPS], strict=True):
            gaps[place] = value or b""
        return gaps


def read_calls(connection: Connection, cell: int, extent: Extent) -> Calls:
    """Every call of the cell, in no order that is promised."""
    usual = {} if extent.n < FEW else _usual(connection, cell, extent)
    rows = Rows(usual)
    of_cell = lies_in(cell, extent)
    for columns in partitions(connection, select(*_columns(usual, are_in=False)).where(*of_cell)):
        rows.extend(columns)
    if usual:
        differs = or_(*(column.is_distinct_from(usual[column.name]) for column in _columns(usual, are_in=True)))
        others = select(schema.calls.c.id, *_columns(usual, are_in=True)).where(*of_cell, differs)
        for columns in partitions(connection, others):
            rows.correct(columns)
    return rows.whole()


def extent_of(connection: Connection, cell: int) -> Extent:
    """Where the cell's calls lie."""
    calls = schema.calls
    chosen = select(func.count(), func.min(calls.c.id), func.max(calls.c.id)).where(calls.c.cell == cell)
    n, first, last = connection.execute(chosen).one()
    return Extent(n=n, first=first or 0, last=last or 0)


def lies_in(cell: int, extent: Extent) -> tuple[ColumnElement[bool], ...]:
    """Whether a call is one of the cell's, in words for which SQLite goes the shorter way to it."""
    calls = schema.calls
    if not extent.is_dense:
        return (calls.c.cell == cell,)
    return (calls.c.id.between(extent.first, extent.last), calls.c.cell + 0 == cell)  # + 0: by id, not by the index


def reported_words(connection: Connection, cell: int) -> list[tuple[str | None, str | None, int]]:
    """Each (model, fingerprint) that answers of the cell name, with the number of those answers.

    Nearly always all say the same, which is seen without putting them in groups.
    """
    calls = schema.calls
    model, fingerprint = calls.c.model_reported, calls.c.fingerprint
    answered = (*lies_in(cell, extent_of(connection, cell)), calls.c.failure.is_(None))
    ends = [end(column) for column in (model, fingerprint) for end in (func.min, func.max, func.count)]
    n, *found = connection.execute(select(func.count(), *ends).where(*answered)).one()
    words = (found[:3], found[3:])
    if all(first == last and known in (0, n) for first, last, known in words):
        return [(words[0][0], words[1][0], n)] if n else []
    chosen = select(model, fingerprint, func.count()).where(*answered).group_by(model, fingerprint)
    return [(row[0], row[1], row[2]) for row in connection.execute(chosen)]


def partitions(connection: Connection, chosen: Select[Any]) -> Iterator[dict[str, tuple[Any, ...]]]:
    """The rows a partition at a time, as columns. As the driver gives them: its rows need no wrapping to be turned."""
    names = [column.name for column in chosen.selected_columns]
    cursor = connection.execute(chosen).cursor
    assert cursor is not None
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        yield dict(zip(names, zip(*rows, strict=True), strict=True))


def joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    """The parts as one array, an empty one where there are none."""
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)


def places_of(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted id stands in ``ids``, -1 where it is not there."""
    if not len(ids):
        return np.full(len(wanted), -1)
    by_id = np.argsort(ids, kind="stable")
    place = by_id[np.minimum(np.searchsorted(ids, wanted, sorter=by_id), len(ids) - 1)]
    return np.where(ids[place] == wanted, place, -1)


def _columns(usual: Mapping[str, Any], *, are_in: bool) -> list[Column[Any]]:
    return [schema.calls.c[name] for name in (*KINDS, *WORDS, GAPS) if (name in usual) is are_in]


def _usual(connection: Connection, cell: int, extent: Extent) -> dict[str, Any]:
    """The columns that say one thing in nearly all of the first calls, with what they say."""
    probe = select(*_columns(dict.fromkeys(PLACES), are_in=False)).where(*lies_in(cell, extent)).limit(PROBED)
    usual = {}
    for columns in partitions(connection, probe):
        for name, values in columns.items():
            value, count = Counter(values).most_common(1)[0]
            if len(values) - count <= MOST_OTHERS * len(values):
                usual[name] = value
    return usual
