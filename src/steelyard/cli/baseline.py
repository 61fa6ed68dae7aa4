"""``steelyard baseline``: the runs that others are held against."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.store import Store
    from steelyard.store.rows.baselines import Baseline

ACTIONS = ("list", "set", "show", "export", "import")
FINISHED = ("done", "budget")


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "baseline",
        execute,
        summary="bless a run as a baseline, list baselines, write one to a file or read it back",
        example="steelyard baseline set main last; steelyard baseline export main --output main.jsonl",
    )
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", metavar="|".join(ACTIONS))
    parser.add_argument(
        "what", nargs="?", metavar="NAME|FILE", help="the baseline's name, or NAME@VERSION; for import its file"
    )
    parser.add_argument("run", nargs="?", default="last", metavar="RUN", help="set: the run to bless (default: last)")
    parser.add_argument("--note", metavar="TEXT", help="set: why")
    parser.add_argument("--name", metavar="NAME", help="import: another name than the file's")
    parser.add_argument("--output", metavar="FILE", help="export: default standard output")
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """List, or do one thing with one baseline."""
    from steelyard.errors import UsageError
    from steelyard.store import Store

    if parsed.action != "list" and parsed.what is None:
        missing = "which file" if parsed.action == "import" else "which baseline"
        raise UsageError(f"{missing}? Try: steelyard baseline {parsed.action} main{_suffix(parsed.action)}")
    with Store.open(parsed.store, create=parsed.action == "import") as store:
        act = {"list": _list, "set": _set, "show": _show, "export": _export, "import": _import}[parsed.action]
        act(store, parsed)
    return 0


def _suffix(action: str) -> str:
    return ".jsonl" if action == "import" else ""


def _set(store: Store, parsed: argparse.Namespace) -> None:
    from steelyard.errors import UsageError
    from steelyard.store.transfer.taking import snapshot

    run = store.run(parsed.run)
    if run.status not in FINISHED:
        raise UsageError(
            f"run #{run.number} is {run.status}: only part of it was measured. "
            f"Try: steelyard run --resume {run.number}, then set the baseline"
        )
    baseline = store.baselines.set(parsed.what, snapshot(store, run), note=parsed.note)
    _tell(baseline, parsed)


def _import(store: Store, parsed: argparse.Namespace) -> None:
    from pathlib import Path

    from steelyard.store.rows.baselines import read_baseline

    found = read_baseline(Path(parsed.what))
    baseline = store.baselines.set(parsed.name or found.name, found.content, note=parsed.note or found.note)
    _tell(baseline, parsed)


def _export(store: Store, parsed: argparse.Namespace) -> None:
    import sys
    from pathlib import Path

    from steelyard.errors import UsageError
    from steelyard.store.rows.baselines import write_baseline

    text = write_baseline(store.baselines.get(parsed.what))
    if parsed.output is None:
        sys.stdout.write(text)
        return
    try:
        Path(parsed.output).write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {parsed.output}: {error}") from error


def _show(store: Store, parsed: argparse.Namespace) -> None:
    _tell(store.baselines.get(parsed.what), parsed)


def _tell(baseline: Baseline, parsed: argparse.Namespace) -> None:
    from steelyard.report.comparing.baselines import baseline_document, print_baseline

    if parsed.json:
        args.print_json(baseline_document(baseline))
    else:
        print_baseline(baseline)


def _list(store: Store, parsed: argparse.Namespace) -> None:
    from steelyard.report.comparing.baselines import print_baselines

    found = store.baselines.all()
    if parsed.json:
        args.print_json(found)
    elif found:
        print_baselines(found)
    else:
        print("no baselines yet. Try: steelyard baseline set main last")
