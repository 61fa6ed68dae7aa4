"""``steelyard report``: a run as a page to be sent, as Markdown for a pull request, as JUnit for a CI service."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.store import Store
    from steelyard.types import RunInfo


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "report",
        execute,
        summary="write a run as one HTML page, as Markdown or as JUnit",
        example="steelyard report last --html report.html",
    )
    parser.add_argument(
        "runs", nargs="*", default=["last"], metavar="RUN", help="one or several on one page (default: last)"
    )
    parser.add_argument("--html", metavar="FILE", help="one file that opens anywhere, without any network")
    parser.add_argument("--baseline", metavar="NAME", help="say what changed since: a name, NAME@VERSION or a file")
    args.add_reveal(parser)
    args.add_store(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Read the runs and write what was asked for."""
    from steelyard.errors import UsageError
    from steelyard.store import Store

    if parsed.html is None:
        raise UsageError("nothing to write. Try: --html report.html")
    with Store.open(parsed.store, create=False) as store:
        runs = [store.run(reference) for reference in parsed.runs]
        _write_html(store, runs, parsed)
    return 0


def _write_html(store: Store, runs: list[RunInfo], parsed: argparse.Namespace) -> None:
    from pathlib import Path

    from steelyard.report.evidence import load_evidence
    from steelyard.report.html import html_report

    evidence = load_evidence(store, runs, baseline=parsed.baseline)
    _write(Path(parsed.html), html_report(store, evidence, reveal=parsed.reveal))


def _write(path: Path, text: str) -> None:
    from steelyard.store.export import new_file

    with new_file(path) as unfinished:
        unfinished.write_text(_scrubbed(text), "utf-8", newline="\n")
    print(f"{path}: {path.stat().st_size / 1000:,.0f} kB")


def _scrubbed(text: str) -> str:
    """The text without keys; embedded files are let be, since in base64 chance could make what looks like one."""
    import re

    from steelyard.secrets import scrub

    parts = re.split(r'("data:[a-z/;=0-9-]+,[A-Za-z0-9+/=]*")', text)
    return "".join(part if place % 2 else scrub(part) for place, part in enumerate(parts))
