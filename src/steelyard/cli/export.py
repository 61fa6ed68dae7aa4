"""``steelyard export``: every record of a run as CSV, JSON lines or Parquet."""

from __future__ import annotations

import argparse
import io
from typing import TextIO

from steelyard.cli import arguments as args

FORMATS = ("csv", "jsonl", "parquet")


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "export",
        execute,
        summary="write every record of a run as csv, jsonl or parquet",
        example="steelyard export last --format csv --output run.csv",
    )
    args.add_run(parser)
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--output", metavar="FILE", help="default: standard output (not for parquet)")
    args.add_reveal(parser)
    args.add_store(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Stream the records out."""
    import sys
    from pathlib import Path

    from steelyard.errors import UsageError
    from steelyard.store import Store
    from steelyard.store.export import export

    if parsed.format == "parquet" and parsed.output is None:
        raise UsageError("parquet needs a file. Try: --output run.parquet")
    with Store.open(parsed.store, create=False) as store:
        run = store.run(parsed.run)
        output = Path(parsed.output) if parsed.output else None
        stream = _Plain(sys.stdout) if sys.stdout.isatty() else sys.stdout
        export(store, run.id, parsed.format, output, stream, reveal=parsed.reveal)
    return 0


class _Plain(io.StringIO):
    """A terminal that is written to without what it would obey: what a model wrote is text."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal

    def write(self, text: str) -> int:
        from steelyard.report.answers import plain

        return self._terminal.write(plain(text))
