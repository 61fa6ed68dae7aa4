"""Rows of a user's file, whatever its format: read through once, then again one at a time by where they begin.

Nothing is kept of a row but its offset, so a file of any size costs a few bytes a row. A Parquet file, which has no
rows to point at, is first written out as JSON lines to a temporary file without a name, which goes with the process.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from steelyard.errors import DataError, EnvironmentFault, not_utf_8

Row = dict[str, Any]
JSON_SUFFIXES = (".jsonl", ".ndjson")
SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*JSON_SUFFIXES, *SEPARATORS, ".parquet")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_CELL = 16_000_000  # characters, beyond which a quotation mark was surely never closed
USUAL_LINE_BYTES = 2_048
ROWS_AT_ONCE = 1_000
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)
CAN_READ_AT_A_PLACE = hasattr(os, "pread")  # wherever others are reading: without a turn of one's own


class Entry(NamedTuple):
    """One row where it stands: ``row``, or the ``fault`` that keeps it from being one."""

    offset: int
    number: int
    row: Row | None
    fault: str | None = None


class RowFile:
    """A file of rows. ``unit`` is what its numbers count; ``columns`` are those of every row, where it has a head."""

    unit = "line"
    columns: tuple[str, ...] | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.RLock()
        self._kept: IO[bytes] | None = None

    def scan(self) -> Iterator[Entry]:
        """Every row in order, the faulty ones included."""
        raise NotImplementedError

    def read(self, offset: int) -> Row:
        """The row that begins at ``offset``, which ``scan`` found to be well-formed."""
        raise NotImplementedError

    def _open(self) -> AbstractContextManager[IO[bytes]]:
        return self.path.open("rb")

    def _kept_open(self) -> IO[bytes]:
        """The file, kept open from the first row that is read: opening it for each would take longer than reading."""
        with self._turn:
            if self._kept is None:
                self._kept = self.path.open("rb")
                weakref.finalize(self, self._kept.close)
            return self._kept

    @contextmanager
    def _reading(self) -> Iterator[IO[bytes]]:
        """The file for as long as nobody else moves about in it."""
        with self._turn:
            yield self._kept_open()


class JsonLines(RowFile):
    """One JSON object a line. Lines end at a line feed only: other separators may stand inside a string."""

    _lately = (0, b"")  # where the bytes began that were read last; one pair, of which no thread sees half

    def scan(self) -> Iterator[Entry]:
        """Every line that is not blank."""
        offset = 0
        with self._open() as file:
            for number, line in enumerate(file, 1):
                if line.strip().removeprefix(BYTE_ORDER_MARK):
                    yield self._entry(offset, number, line)
                offset += len(line)

    def read(self, offset: int) -> Row:
        """The object in the line that begins there."""
        if CAN_READ_AT_A_PLACE:
            line = self._line_at(offset)
        else:
            with self._reading() as file:
                file.seek(offset)
                line = file.readline()
        try:
            row: Row = msgspec.json.decode(line.removeprefix(BYTE_ORDER_MARK))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"{self.path} has changed since it was read through. Try: let it be while a run reads it, then --resume"
            ) from error
        return row

    def _entry(self, offset: int, number: int, line: bytes) -> Entry:
        try:
            row = msgspec.json.decode(line.removeprefix(BYTE_ORDER_MARK))
        except UnicodeDecodeError as error:
            return Entry(offset, number, None, not_utf_8(error))
        except msgspec.DecodeError as error:
            return Entry(offset, number, None, f"not JSON ({error})")
        if not isinstance(row, dict):
            return Entry(offset, number, None, f"expected an object, found {type(row).__name__}")
        return Entry(offset, number, row)

    def _line_at(self, offset: int) -> bytes:
        """The line that begins there: mostly it stands right behind the one that was read last."""
        begins, piece = self._lately
        start = offset - begins
        if not (0 <= start < len(piece) and (end := piece.find(b"\n", start)) >= 0):
            piece = _piece_at(self._kept or self._kept_open(), offset)
            self._lately = offset, piece
            start, end = 0, piece.find(b"\n")
        return piece[start : end + 1] if end >= 0 else piece


def _piece_at(file: IO[bytes], offset: int) -> bytes:
    """The bytes from there on, up to some that hold the end of the line: a buffered seek would read a page anew."""
    pieces: list[bytes] = []
    size = USUAL_LINE_BYTES
    while piece := os.pread(file.fileno(), size, offset):
        pieces.append(piece)
        if b"\n" in piece:
            break
        offset += len(piece)
        size *= 4
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Parquet(JsonLines):
    """The rows of Parquet files, one after another, as JSON lines in a temporary file without a name."""

    unit = "row"

    def __init__(self, path: Path, *further: Path) -> None:
        super().__init__(path)
        self._kept = self._lines = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the rows are read
        weakref.finalize(self, self._lines.close)
        for part in (path, *further):
            self._write_out(part)

    def _write_out(self, path: Path) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise EnvironmentFault("reading Parquet needs a package. Try: pip install 'steelyard[parquet]'") from error
        try:
            with duckdb.connect() as connection:
                found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
                names = tuple(column[0] for column in found.description or ())
                while rows := found.fetchmany(ROWS_AT_ONCE):
                    encoded = (msgspec.json.encode(dict(zip(names, row, strict=True)), enc_hook=str) for row in rows)
                    self._lines.writelines(line + b"\n" for line in encoded)
        except duckdb.Error as error:
            raise DataError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from error
        if self.columns not in (None, names):
            raise DataError(f"{path}: its columns differ from those of {self.path}")
        self.columns = names

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        with self._turn:
            self._lines.seek(0)
            yield self._lines


class Separated(RowFile):
    """Comma- or tab-separated values in UTF-8 whose first row names the columns; cells are texts."""

    def __init__(self, path: Path, separator: str) -> None:
        super().__init__(path)
        self._separator = separator
        csv.field_size_limit(LONGEST_CELL)
        with self._open() as file:
            head = next(self._records(file), None)
        if head is None:
            raise DataError(f"{path}: no items in the file")
        if isinstance(head.cells, str):
            raise DataError(f"{path}, line {head.number}: {head.cells}")
        self.columns = tuple(head.cells)
        if twice := next((name for name in head.cells if head.cells.count(name) > 1), None):
            raise DataError(f"{path}, line {head.number}: two columns are called {twice!r}")

    def scan(self) -> Iterator[Entry]:
        """Every record below the head."""
        with self._open() as file:
            records = self._records(file)
            next(records, None)
            for record in records:
                yield self._entry(record)

    def read(self, offset: int) -> Row:
        """The record that begins there."""
        with self._reading() as file:
            file.seek(offset)
            row = self._entry(next(self._records(file))).row
        assert row is not None
        return row

    def _entry(self, record: Record) -> Entry:
        assert self.columns is not None
        if isinstance(record.cells, str):
            return Entry(record.offset, record.number, None, record.cells)
        if len(record.cells) != len(self.columns):
            fault = f"{len(record.cells)} cells where the head has {len(self.columns)}"
            return Entry(record.offset, record.number, None, fault)
        return Entry(record.offset, record.number, dict(zip(self.columns, record.cells, strict=True)))

    def _records(self, file: IO[bytes]) -> Iterator[Record]:
        """The records from where the file stands; what cannot be read is a record too, and says why."""
        tape = Tape(file)
        reader = csv.reader(tape, delimiter=self._separator, strict=True)
        while True:
            offset, number = tape.offset, tape.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(offset, number, f"its quoting cannot be read ({error})")
            except UnicodeDecodeError as error:
                yield Record(offset, tape.number, not_utf_8(error))
            else:
                if any(cells):
                    yield Record(offset, number, cells)


class Record(NamedTuple):
    """The cells of one record, or why it cannot be read."""

    offset: int
    number: int
    cells: list[str] | str


class Tape:
    """Lines as text, with where the next one begins and how many there were."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.offset = file.tell()
        self.number = 0

    def __iter__(self) -> Tape:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        is_first = self.offset == 0
        self.offset += len(line)
        self.number += 1
        return (line.removeprefix(BYTE_ORDER_MARK) if is_first else line).decode("utf-8")


def open_rows(path: Path, separator: str | None = None) -> RowFile:
    """The rows of a file, by what its name ends in. ``separator`` is that of a CSV, where it is not a comma."""
    check_readable(path)
    suffix = path.suffix.lower()
    if suffix in JSON_SUFFIXES:
        return JsonLines(path)
    if suffix == ".parquet":
        return Parquet(path)
    if suffix in SEPARATORS:
        return Separated(path, separator or SEPARATORS[suffix])
    raise DataError(f"{path}: its name ends in none of {', '.join(SUFFIXES)}")


def check_readable(path: Path) -> None:
    """Raise where there is no file, or none that this user may read."""
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder. Try: a file in it")
        if not path.is_file():
            raise DataError(f"no such file: {path}")
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Try: a file that you may read") from error


def canonical(row: Row) -> bytes:
    """The row as one line of bytes, the same for the same values whatever the format."""
    return ENCODER.encode(row).encode("utf-8", "surrogatepass")
