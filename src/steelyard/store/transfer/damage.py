"""Reading a table of which pages are damaged: every row that SQLite can still reach, and the numbers of the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

Row = dict[str, Any]
Tell = Callable[[str, str], None]

ONE_BY_ONE = 20_000
LAST = 2**62


def rows_of(
    raw: sqlite3.Connection, table: str, columns: Iterable[str], lost: Tell, *, stride: int = 1
) -> Iterator[tuple[int, Row]]:
    """The rows with their numbers, in order; ``lost`` hears of what cannot be reached.

    ``stride`` is how far apart numbers usually are: in such steps a damaged place is gone over.

    A row comes without those columns that cannot be read. A damaged page gives an error for every row in it; a damaged
    number stands out between its neighbours.
    """
    there = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]
    reader = _Reader(raw, table, [name for name in columns if name in there], lost, stride)
    waiting: tuple[int, Row] | None = None
    before = -1
    for row in reader.rows():
        if waiting is None or row[0] > waiting[0]:
            if waiting is not None:
                yield waiting
                before = waiting[0]
            waiting = row
        elif row[0] > before:
            lost(str(waiting[0]), "its number is damaged")
            waiting = row
        else:
            lost(str(row[0]), "its number is damaged")
    if waiting is not None:
        yield waiting


def quoted(names: Iterable[str]) -> str:
    """The names as SQL takes them: ``set`` is a word of its own there."""
    return ", ".join(f'"{name}"' for name in names)


class _Reader:
    """One table of one file, read as it lies there."""

    def __init__(self, raw: sqlite3.Connection, table: str, names: list[str], lost: Tell, stride: int) -> None:
        self._raw, self._table, self._names, self._lost, self._stride = raw, table, names, lost, stride

    def rows(self) -> Iterator[tuple[int, Row]]:
        start = 0
        while True:
            try:
                for number, *values in self._select(f"rowid, {quoted(self._names)}", ">=", start):
                    yield number, dict(zip(self._names, values, strict=True))
                    start = max(start, number + 1)
                return
            except sqlite3.DatabaseError as error:
                number_there = self._next(start, error)
                if number_there is None:
                    return
                yield number_there, self._pieces(number_there)
                start = number_there + 1

    def _select(self, what: str, which: str, number: int) -> sqlite3.Cursor:
        chosen = f"SELECT {what} FROM {self._table} WHERE rowid {which} ? ORDER BY rowid"  # noqa: S608 - our own names
        return self._raw.execute(chosen, (number,))

    def _next(self, start: int, error: sqlite3.DatabaseError) -> int | None:
        """The number of the next row whose page can be read; ``None`` where nothing follows."""
        number, step = start, 1
        while number < LAST:
            try:
                row = self._select("rowid", ">=", number).fetchone()
            except sqlite3.DatabaseError:
                number = (number // self._stride + step) * self._stride
                step = 1 if number - start < ONE_BY_ONE * self._stride else 2 * step
                continue
            if number > start:
                self._lost(_range(start, None if row is None else number), str(error))
            return None if row is None else int(row[0])
        self._lost(_range(start, None), str(error))
        return None

    def _pieces(self, number: int) -> Row:
        """The columns of one row that can be read on their own: what lies before a damaged place."""
        found: Row = {}
        for name in self._names:
            with suppress(sqlite3.DatabaseError):
                if (row := self._select(quoted([name]), "=", number).fetchone()) is not None:
                    (found[name],) = row
        return found


def _range(low: int, found: int | None) -> str:
    if found is None:
        return f"{low} and all after it"
    return str(low) if found - 1 == low else f"{low} to {found - 1}"
