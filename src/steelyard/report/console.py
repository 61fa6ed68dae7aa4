"""The console that results are printed on: it prints what it is given, and breaks no figure.

A name is neither markup nor obeyed by the terminal, whoever chose it. A table that is too wide for the terminal is
printed as several, each with the first column, before a figure or a name would be broken within.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from steelyard.report.unseen import harmless, visible

GAP = 2
BREAKS = re.compile(r"\s*[\t\r\n]\s*")
LOG_WIDTH = 160
UNBROKEN = 24
"""A text of so many characters stands on one line; a longer one may be broken between its words."""


class LinedTable(Table):
    """A table whose rows are broken by the terminal's width alone: a name's own line breaks are blanks."""

    def add_row(self, *cells: Any, **settings: Any) -> None:
        """Add a row."""
        super().add_row(*map(_on_one_line, cells), **settings)


def _on_one_line(cell: Any) -> Any:
    if isinstance(cell, Text) and BREAKS.search(cell.plain):
        return Text(BREAKS.sub(" ", cell.plain), style=cell.style)
    return BREAKS.sub(" ", cell) if isinstance(cell, str) else cell


class PlainConsole(Console):
    """A console that prints every text literally, and a table as wide as there is room."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """The text with what cannot be seen written out: every string of a line or of a table comes through here."""
        return super().render_str(visible(text), **settings)

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print; a table as several where it must be."""
        for one in objects:
            if isinstance(one, Table):
                for number, part in enumerate(tables_that_fit(one, self.width)):
                    super().print(*([""] if number else []), part, sep="\n")
            else:
                super().print(one, **settings)
        if not objects:
            super().print(**settings)

    def say(self, text: str) -> None:
        """One line in a log, where it is searched for; on a terminal as many as it takes, broken between words."""
        for line in [BREAKS.sub(" ", text)] if not self.is_terminal else hanging(text, self.width):
            self.print(line, soft_wrap=True)


def console() -> PlainConsole:
    """Standard output: as wide as the terminal, or wide enough for a log."""
    if sys.stdout.isatty():
        return PlainConsole()
    log = Log(sys.stdout)
    plain = PlainConsole(file=log)
    return plain if plain.is_terminal else PlainConsole(file=log, width=LOG_WIDTH, no_color=True)


class Log:
    """A log that is written to in whole lines, broken as they are to be: none is a command for a CI service."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.encoding = file.encoding

    def write(self, text: str) -> int:
        """Write what is harmless of it."""
        return self._file.write(harmless(text))

    def flush(self) -> None:
        """Hand over what was written."""
        self._file.flush()


def new_table(*headings: str) -> Table:
    """A table without lines."""
    table = LinedTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(Text(visible(BREAKS.sub(" ", heading))), overflow="fold")
    return table


def tables_that_fit(table: Table, width: int) -> list[Table]:
    """The table, or as many as it takes, each beginning with the first column; a column that is wider stands alone."""
    first, *others = table.columns
    room = width - GAP - min(width // 2, _width(first))
    groups: list[list[Column]] = [[]]
    taken = 0
    for column in others:
        needed = GAP + _width(column)
        if groups[-1] and taken + needed > room:
            groups.append([])
            taken = 0
        groups[-1].append(column)
        taken += needed
    if len(groups) == 1:
        return [table]
    parts = [_part(table, [first, *group]) for group in groups]
    parts[0].title = table.title
    return parts


def _part(table: Table, columns: Sequence[Column]) -> Table:
    part = Table(title_justify="left", box=None, pad_edge=False, padding=table.padding, header_style=table.header_style)
    for column in columns:
        part.add_column(column.header, justify=column.justify, overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        part.add_row(*row)
    return part


def _width(column: Column) -> int:
    """Places on the line that a column needs; some characters take two."""
    return max(_needed(str(text)) for text in (column.header, *column.cells))


def _needed(text: str) -> int:
    lines = text.split("\n") if len(text) <= UNBROKEN else [text[:UNBROKEN], *text.split()]
    return max(map(cell_len, lines))


def hanging(text: str, width: int) -> list[str]:
    """The text in lines that are broken between words, the further ones set in by two."""
    text = BREAKS.sub(" ", text)
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
