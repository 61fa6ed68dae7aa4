"""A run as a flat table, one row per item and repeat, streamed to CSV, JSON lines or Parquet.

JSON lines hold the whole record. CSV and Parquet hold the columns below; text in CSV is made safe for spreadsheets,
which run a cell that begins like a formula.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import msgspec

from steelyard.errors import EnvironmentFault, StoreError
from steelyard.store.store import Store
from steelyard.types import CellInfo, Record

_FORMULA_START = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001 - full-width forms count too
_INVISIBLE = " \n\u00a0\u200b\u200c\u200d\u2060\ufeff"
TYPES = {
    "repeat": "BIGINT",
    "tries": "BIGINT",
    "cached": "BOOLEAN",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "queued_s": "DOUBLE",
    "ttft_s": "DOUBLE",
    "latency_s": "DOUBLE",
    "cost_usd": "DOUBLE",
}


def export(store: Store, run_id: str, format_: str, output: Path | None, stream: TextIO) -> None:
    """Write the run's records to ``output``, or to ``stream`` where there is none; a file appears when complete."""
    if format_ == "parquet":
        assert output is not None
        with _new_file(output) as unfinished:
            _write_parquet(store, run_id, unfinished)
        return
    write = _write_csv if format_ == "csv" else _write_json_lines
    if output is None:
        write(store, run_id, stream)
        return
    with _new_file(output) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        write(store, run_id, file)


def flat_row(record: Record, cell: CellInfo, metrics: list[str]) -> dict[str, Any]:
    """One record as a flat row."""
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
        **{metric.replace(".", "_"): _value(record, metric) for metric in metrics},
        "started_at": call.started_at,
        "tries": len(call.attempts) + 1,
        "cached": completion.cached if completion else False,
        "queued_s": timing.queued_s if timing else None,
        "ttft_s": timing.ttft_s if timing else None,
        "latency_s": timing.total_s if timing and not (completion and completion.likelihoods) else None,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cost_usd": call.cost_usd,
    }


def formula_safe(value: Any) -> Any:
    """Text that a spreadsheet would run gets an apostrophe before it; numbers stay numbers."""
    if isinstance(value, str) and value.lstrip(_INVISIBLE).startswith(_FORMULA_START):
        return f"'{value}"
    return value


def _value(record: Record, metric: str) -> float | None:
    score = record.scores.get(metric)
    return score.value if score else None


def _flat_rows(store: Store, run_id: str) -> Iterator[dict[str, Any]]:
    cells = {(cell.model, cell.benchmark, cell.part, cell.protocol): cell for cell in store.cells(run_id)}
    metrics = list(dict.fromkeys(metric for cell in cells.values() for metric in cell.scored))
    for cell in cells.values():
        for record in store.records(run_id, cell=cell.id):
            yield flat_row(record, cell, metrics)


def _write_csv(store: Store, run_id: str, file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    for number, row in enumerate(_flat_rows(store, run_id)):
        if number == 0:
            writer.writerow(row)
        writer.writerow([formula_safe(value) for value in row.values()])


def _write_json_lines(store: Store, run_id: str, file: TextIO) -> None:
    for record in store.records(run_id):
        document = msgspec.to_builtins(record)
        document["call"]["digest"] = record.call.digest.hex()
        file.write(msgspec.json.encode(document).decode() + "\n")


def _write_parquet(store: Store, run_id: str, path: Path) -> None:
    """Through a JSON lines file beside it, which DuckDB turns into columns of known types without holding them all."""
    try:
        import duckdb
    except ImportError as error:
        raise EnvironmentFault("Parquet needs a package. Try: pip install 'steelyard[parquet]'") from error
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        lines = Path(folder) / "rows.jsonl"
        columns: dict[str, str] = {}
        with lines.open("w", encoding="utf-8") as file:
            for row in _flat_rows(store, run_id):
                columns = columns or {name: _type(name) for name in row}
                file.write(msgspec.json.encode(row).decode() + "\n")
        if not columns:
            raise StoreError("the run has no records to export")
        with duckdb.connect() as connection:
            rows = connection.read_json(str(lines), columns=columns, format="newline_delimited")
            rows.write_parquet(str(path), compression="zstd")


def _type(column: str) -> str:
    return "DOUBLE" if column.startswith("accuracy") else TYPES.get(column, "VARCHAR")


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """A file that takes the target's name only when it is complete, readable by the user alone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600))
        yield unfinished
        unfinished.replace(target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
