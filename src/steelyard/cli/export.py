"""``steelyard export``: every record of a run as CSV, JSON lines or Parquet, or the whole run as one file."""

from __future__ import annotations

import argparse
import io
from typing import TYPE_CHECKING, TextIO

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.store import Store
    from steelyard.types import RunInfo

FORMATS = ("csv", "jsonl", "parquet", "bundle")
NEEDS_FILE = {"parquet": "run.parquet", "bundle": "run.steelyard"}


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "export",
        execute,
        summary="write every record of a run as csv, jsonl or parquet, or the whole run as one file",
        example="steelyard export last --format csv --output run.csv\n"
        "         steelyard export last --format bundle --output run.steelyard",
    )
    parser.set_defaults(only_prints=True)
    args.add_run(parser)
    parser.add_argument(
        "--format", choices=FORMATS, required=True, help="bundle: all of the run, for steelyard import elsewhere"
    )
    parser.add_argument("--output", metavar="FILE", help="default: standard output (not for parquet and bundle)")
    args.add_reveal(parser)
    args.add_store(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Stream the records out."""
    import sys
    from pathlib import Path

    from steelyard.errors import UsageError
    from steelyard.store import Store
    from steelyard.store.transfer.export import export

    if parsed.format in NEEDS_FILE and parsed.output is None:
        raise UsageError(f"{parsed.format} needs a file. Try: --output {NEEDS_FILE[parsed.format]}")
    with Store.open(parsed.store, create=False) as store:
        run = store.run(parsed.run)
        output = Path(parsed.output) if parsed.output else None
        if parsed.format == "bundle" and output is not None:
            _write_bundle(store, run, output, reveal=parsed.reveal)
            return 0
        stream = _Plain(sys.stdout) if sys.stdout.isatty() else sys.stdout
        export(store, run.id, parsed.format, output, stream, reveal=parsed.reveal)
    return 0


def _write_bundle(store: Store, run: RunInfo, output: Path, *, reveal: bool) -> None:
    import sys

    from steelyard.report.answers import plain
    from steelyard.store.transfer.bundle import write_bundle

    written = write_bundle(store, run, output, reveal=reveal)
    what = f"{output}: run #{run.number} {run.name}, {written.answers:,} answers, {output.stat().st_size / 1e6:.2g} MB"
    print(plain(what), file=sys.stderr)
    if run.status == "running":
        print("the run goes on: this is what it had until now", file=sys.stderr)
    if written.hidden:
        print(
            "without the texts of a confidential benchmark, as its authors ask (--reveal: with them)", file=sys.stderr
        )


class _Plain(io.StringIO):
    """A terminal that is written to without what it would obey: what a model wrote is text."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal

    def write(self, text: str) -> int:
        from steelyard.report.answers import plain

        return self._terminal.write(plain(text))
