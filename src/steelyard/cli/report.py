"""``steelyard report``: a run as a page to be sent, as Markdown for a pull request, as JUnit for a CI service."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args
from steelyard.cli.gate import add_criteria, asked_of

if TYPE_CHECKING:
    from steelyard.analysis.gate import GateReport
    from steelyard.report.comparing.flips import Flips
    from steelyard.store import Store
    from steelyard.types import RunInfo

FORMATS = ("html", "markdown", "junit")
FLIPS_SHOWN = 10


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "report",
        execute,
        summary="write a run as one HTML page, as Markdown or as JUnit",
        example="steelyard report last --html report.html --markdown summary.md --baseline main --margin accuracy=0.02",
    )
    parser.add_argument(
        "runs", nargs="*", default=["last"], metavar="RUN", help="one, or several on one page (default: last)"
    )
    parser.add_argument("--html", metavar="FILE", help="one file that opens anywhere, without any network")
    parser.add_argument("--markdown", metavar="FILE", help="for a pull request; - is standard output")
    parser.add_argument("--junit", metavar="FILE", help="for a CI service; - is standard output")
    parser.add_argument("--baseline", metavar="NAME", help="say what changed since: a name, NAME@VERSION or a file")
    add_criteria(parser)
    args.add_reveal(parser)
    args.add_store(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Read the runs and write what was asked for; the verdict is shown, and the exit code is not its."""
    from steelyard.errors import UsageError
    from steelyard.store import Store

    if not any(getattr(parsed, name) for name in FORMATS):
        raise UsageError("nothing to write. Try: --html report.html, --markdown summary.md or --junit results.xml")
    with Store.open(parsed.store, create=False) as store:
        _write_all(store, [store.run(reference) for reference in parsed.runs], parsed)
    return 0


def _write_all(store: Store, runs: list[RunInfo], parsed: argparse.Namespace) -> None:
    from steelyard.report.evidence import load_evidence
    from steelyard.report.short import basis_of_large, keep_reported

    parsed.baseline = parsed.baseline or _planned(store, runs)
    verdict = _verdict(store, runs, parsed)
    basis = basis_of_large(store, runs[0]) if len(runs) == 1 else None
    evidence = load_evidence(store, runs, baseline=parsed.baseline)
    if basis is not None:
        keep_reported(store, evidence, basis)
    if parsed.html:
        from steelyard.cli.about import about_benchmarks
        from steelyard.report.html import html_report

        page = html_report(store, evidence, verdict, reveal=parsed.reveal, about=about_benchmarks(evidence))
        _write(parsed.html, page)
    flips = _flips(store, runs, parsed.baseline) if parsed.markdown or parsed.junit else []
    if parsed.markdown:
        from steelyard.report.markdown import markdown_report

        _write(parsed.markdown, markdown_report(evidence, verdict, flips))
    if parsed.junit:
        from steelyard.report.junit import junit_report

        _write(parsed.junit, junit_report(evidence, verdict, flips))


def _planned(store: Store, runs: list[RunInfo]) -> str | None:
    """The baseline that the plan names, where it has been set."""
    names = {run.plan.get("baseline") for run in runs} - {None}
    name = names.pop() if len(names) == 1 else None
    return name if name and store.baselines.find(name) is not None else None


def _verdict(store: Store, runs: list[RunInfo], parsed: argparse.Namespace) -> GateReport | None:
    """The verdict, where the run is held to something."""
    import msgspec

    from steelyard.errors import UsageError
    from steelyard.report.comparing.verdict import gate

    parsed.model = parsed.benchmark = None
    is_held = bool(parsed.margins or parsed.requirements or (len(runs) == 1 and runs[0].plan.get("success")))
    if not is_held:
        return None
    if len(runs) > 1:
        raise UsageError("a verdict is on one run. Try: one RUN, or no --margin and no --require")
    asked = asked_of(runs[0].plan, parsed)
    if not asked.margins:  # the baseline is then only what changes are told against
        asked = msgspec.structs.replace(asked, baseline=None)
    return gate(store, runs[0], asked)


def _flips(store: Store, runs: list[RunInfo], baseline: str | None) -> list[Flips]:
    """What turned since the baseline's run, where that is still in the store and was asked the same."""
    from steelyard.errors import SteelyardError
    from steelyard.report.comparing.comparison import load_comparisons
    from steelyard.report.comparing.flips import load_flips
    from steelyard.report.comparing.pairs import Question
    from steelyard.report.evidence import find_baseline

    if baseline is None or len(runs) != 1:
        return []
    kept = find_baseline(store, baseline)
    try:
        before = store.run(kept.content.run)
        return load_flips(store, load_comparisons(store, [before, runs[0]], Question()), most=FLIPS_SHOWN)
    except SteelyardError:  # a baseline outlives its run, and one of other questions has nothing that could turn
        return []


def _write(target: str, text: str) -> None:
    import sys
    from pathlib import Path

    from steelyard.store.transfer.export import new_file

    if target == "-":
        sys.stdout.write(_scrubbed(text))
        return
    path = Path(target)
    with new_file(path) as unfinished:
        unfinished.write_text(_scrubbed(text), "utf-8", newline="\n")
    print(f"{path}: {path.stat().st_size / 1000:,.0f} kB")


def _scrubbed(text: str) -> str:
    """The text without keys; embedded files are let be, since in base64 chance could make what looks like one."""
    import re

    from steelyard.secrets import scrub

    parts = re.split(r'("data:[a-z/;=0-9-]+,[A-Za-z0-9+/=]*")', text)
    return "".join(part if place % 2 else scrub(part) for place, part in enumerate(parts))
