"""A run, or a part of it, as a flat table, one row per item and repeat, streamed to CSV, JSON lines or Parquet.

JSON lines hold the whole record. CSV and Parquet hold the columns below; text in CSV is made safe for spreadsheets,
which run a cell that begins like a formula.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from unicodedata import category, normalize

import msgspec
from msgspec import Struct

from steelyard.errors import EnvironmentFault, StoreError, UsageError
from steelyard.store.reading.answer_pages import is_in
from steelyard.store.reading.conditions import Condition
from steelyard.store.store import Store
from steelyard.types import CellInfo, Record

_FORMULA_START = ("=", "+", "-", "@", "\u2212")
_CONTROL_START = ("\t", "\r")
_NO_INK = {"Cc", "Cf", "Zs", "Zl", "Zp", "Mn"}
TYPES = {
    "repeat": "BIGINT",
    "tries": "BIGINT",
    "cached": "BOOLEAN",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "cached_input_tokens": "BIGINT",
    "reasoning_tokens": "BIGINT",
    "queued_s": "DOUBLE",
    "ttft_s": "DOUBLE",
    "first_answer_s": "DOUBLE",
    "latency_s": "DOUBLE",
    "tpot_s": "DOUBLE",
    "cost_usd": "DOUBLE",
}


class Part(Struct, frozen=True, kw_only=True):
    """Which of a run's records: of these cells, those that fit and in which the text stands."""

    cells: tuple[int, ...] | None = None
    where: Condition | None = None
    text: str = ""


def export(
    store: Store, run_id: str, format_: str, output: Path | None, stream: TextIO, *, reveal: bool = False
) -> None:
    """Write the run's records to ``output``, or to ``stream`` where there is none; a file appears when complete."""
    if format_ == "parquet":
        if output is None:
            raise UsageError("parquet needs a file, it cannot go to standard output")
        with new_file(output) as unfinished:
            _write_parquet(store, run_id, unfinished, reveal)
        return
    written = lines(store, run_id, format_, reveal=reveal)
    if output is None:
        stream.writelines(written)
        return
    with new_file(output) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        file.writelines(written)


def lines(store: Store, run_id: str, format_: str, *, reveal: bool = False) -> Iterator[str]:
    """The records as ``csv`` or ``jsonl``, a line at a time."""
    written = _writer(format_, store.cells(run_id))
    yield from written.head()
    for cell, record in _records(store, run_id, reveal):
        yield written.line(cell, record)


def blocks(store: Store, run_id: str, format_: str, part: Part, *, reveal: bool = False) -> Iterator[str]:
    """The part's lines, some at once, for whoever may take them slowly or not at all.

    Nothing of the store is held from one block to the next. Where nothing fits for a while, blocks are empty.
    """
    cells = [info for info in store.cells(run_id) if part.cells is None or info.id in part.cells]
    written = _writer(format_, cells)
    yield "".join(written.head())
    for info in cells:
        for records in store.records_in_pieces(run_id, info, where=part.where, reveal=reveal):
            yield "".join(written.line(info, one) for one in records if _holds(one, info, part.text, reveal))


def flat_row(record: Record, cell: CellInfo, metrics: dict[str, str]) -> dict[str, Any]:
    """One record as a flat row; ``metrics`` gives the column of each metric."""
    call, completion = record.call, record.call.completion
    timing = completion.timing if completion else None
    usage = completion.usage if completion else None
    headline = record.scores.get(cell.scored[0])
    return {
        "run": record.run,
        "model": record.model,
        "benchmark": record.benchmark,
        "part": cell.part,
        "protocol": record.protocol,
        "protocol_version": cell.protocol_version,
        "sample_id": record.sample.id,
        "repeat": call.repeat,
        "status": "answered" if completion else "failed",
        "failure": call.failure.kind if call.failure else None,
        "failure_message": call.failure.message if call.failure else None,
        "stop_reason": completion.stop_reason if completion else None,
        "target": record.sample.target,
        "answer": headline.answer if headline else None,
        "text": completion.text if completion else None,
        **{column: _value(record, metric) for metric, column in metrics.items()},
        "started_at": None if cell.is_imported else call.started_at,
        "tries": None if cell.is_imported else call.sent,
        "cached": completion.cached if completion else False,
        "queued_s": timing.queued_s if timing else None,
        "ttft_s": timing.ttft_s if timing else None,
        "first_answer_s": timing.first_answer_s if timing else None,
        "latency_s": timing.total_s if timing and not (completion and completion.likelihoods) else None,
        "tpot_s": timing.tpot_s(usage.output_tokens if usage else None) if timing else None,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cached_input_tokens": usage.cached_input_tokens if usage else None,
        "reasoning_tokens": usage.reasoning_tokens if usage else None,
        "cost_usd": call.cost_usd,
    }


COLUMNS = (
    "run", "model", "benchmark", "part", "protocol", "protocol_version", "sample_id", "repeat", "status", "failure",
    "failure_message", "stop_reason", "target", "answer", "text", "started_at", "tries", "cached", "queued_s", "ttft_s",
    "first_answer_s", "latency_s", "tpot_s", "input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens",
    "cost_usd",
)  # fmt: skip
"""What every flat row has, in this order; the metrics stand after ``text``."""


def metric_columns(metrics: Iterable[str]) -> dict[str, str]:
    """A column for each metric: its name, unless something else is called so."""
    columns: dict[str, str] = {}
    for metric in metrics:
        column = metric.replace(".", "_")
        while column in COLUMNS or column in columns.values():
            column = f"score_{column}"
        columns[metric] = column
    return columns


def formula_safe(value: Any) -> Any:
    """Text that a spreadsheet would run gets an apostrophe before it; numbers stay numbers.

    What leaves no ink is looked past: a spreadsheet trims it, or did so in some version. Full-width and small forms
    count as the signs they stand for (OWASP, "CSV Injection").
    """
    if not isinstance(value, str):
        return value
    for character in value:
        if character.startswith(_CONTROL_START) or normalize("NFKC", character).startswith(_FORMULA_START):
            return f"'{value}"
        if category(character) not in _NO_INK:
            return value
    return value


def _value(record: Record, metric: str) -> float | None:
    score = record.scores.get(metric)
    return score.value if score else None


def _metrics(cells: Iterable[CellInfo]) -> dict[str, str]:
    return metric_columns(dict.fromkeys(metric for cell in cells for metric in cell.scored))


def _records(store: Store, run_id: str, reveal: bool) -> Iterator[tuple[CellInfo, Record]]:
    for info in store.cells(run_id):
        for record in store.records(run_id, cell=info.id, reveal=reveal):
            yield info, record


def _holds(record: Record, info: CellInfo, text: str, reveal: bool) -> bool:
    """Whether the text stands in the item's name or in what may be shown of the record."""
    wanted, sample = text.casefold(), record.sample
    is_searched = reveal or not info.is_confidential
    return wanted in sample.id.casefold() or (is_searched and is_in(wanted, record.call, sample))


def _header(metrics: dict[str, str]) -> list[str]:
    after = COLUMNS.index("text") + 1
    return [*COLUMNS[:after], *metrics.values(), *COLUMNS[after:]]


def _writer(format_: str, cells: Sequence[CellInfo]) -> _CSVLines | _JSONLines:
    return _CSVLines(_metrics(cells)) if format_ == "csv" else _JSONLines()


class _PlainLineEnds:
    """A line of CSV with a bare newline at its end, given back by the writer.

    The writer itself must believe in CRLF: it quotes only the line ends that it knows, and an unquoted carriage return
    in an answer begins a new row, and a formula, in a spreadsheet.
    """

    def write(self, line: str) -> str:
        return line.removesuffix("\r\n") + "\n"


class _CSVLines:
    """Records as rows below a heading."""

    def __init__(self, metrics: dict[str, str]) -> None:
        self._metrics, self._columns = metrics, _header(metrics)
        self._writer = csv.writer(_PlainLineEnds(), lineterminator="\r\n")

    def head(self) -> Iterator[str]:
        yield self._row(self._columns)

    def line(self, cell: CellInfo, record: Record) -> str:
        row = flat_row(record, cell, self._metrics)
        return self._row([row[column] for column in self._columns])

    def _row(self, values: Sequence[Any]) -> str:
        return str(self._writer.writerow(map(formula_safe, values)))


class _JSONLines:
    """Whole records, one a line."""

    def head(self) -> Iterator[str]:
        yield from ()

    def line(self, cell: CellInfo, record: Record) -> str:
        document = msgspec.to_builtins(record)
        document["call"]["digest"] = record.call.digest.hex()
        if cell.is_imported:
            document["call"]["started_at"] = None
        return msgspec.json.encode(document).decode() + "\n"


def _write_parquet(store: Store, run_id: str, path: Path, reveal: bool) -> None:
    """Through a JSON lines file beside it, which DuckDB turns into columns of known types without holding them all."""
    try:
        import duckdb
    except ImportError as error:
        raise EnvironmentFault("Parquet needs a package. Try: pip install 'steelyard[parquet]'") from error
    metrics = _metrics(store.cells(run_id))
    scored = set(metrics.values())
    columns = {name: "DOUBLE" if name in scored else TYPES.get(name, "VARCHAR") for name in _header(metrics)}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source, written = Path(folder) / "rows.jsonl", Path(folder) / "rows.parquet"
        with source.open("wb") as file:
            rows_written = 0
            for cell, record in _records(store, run_id, reveal):
                file.write(msgspec.json.encode(flat_row(record, cell, metrics)) + b"\n")
                rows_written += 1
        if not rows_written:
            raise StoreError("the run has no records to export")
        try:
            with duckdb.connect() as connection:
                rows = connection.read_json(str(source), columns=columns, format="newline_delimited")
                rows.write_parquet(str(written), compression="zstd")
        except duckdb.Error as error:
            raise StoreError(f"cannot write Parquet: {error}") from error
        written.chmod(0o600)  # DuckDB makes its file anew, readable by others; the folder is private
        written.replace(path)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A file that takes the target's name only when it is complete, readable by the user alone.

    A device, a pipe or a stream is written to, when all is there, and never replaced; neither is a link.
    """
    if _is_stream(target):
        with _poured_into(target) as unfinished:
            yield unfinished
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target = target.resolve()
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600))
        yield unfinished
        unfinished.replace(target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _is_stream(target: Path) -> bool:
    """Whether what is there has no bytes of its own, or is a stream's (``/dev/stdout``), which may lead into a file."""
    folder = target.parent.resolve()
    return target.exists() and (not target.is_file() or folder == Path("/dev") or folder.is_relative_to("/proc"))


@contextmanager
def _poured_into(target: Path) -> Iterator[Path]:
    """A file whose bytes go behind what is there already."""
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder) / "whole"
        unfinished.touch()
        yield unfinished
        try:
            with unfinished.open("rb") as whole, target.open("ab") as place:
                shutil.copyfileobj(whole, place)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
