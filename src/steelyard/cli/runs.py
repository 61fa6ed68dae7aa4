"""``steelyard runs``: past runs, their names and tags, and what is left of them in a damaged store."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.store import Store
    from steelyard.types import RunInfo

ACTIONS = ("list", "rename", "tag", "untag", "delete", "salvage")


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "runs",
        execute,
        summary="list past runs, rename, tag or delete one; salvage a damaged store",
        example="steelyard runs rename 3 first-try",
    )
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", metavar="|".join(ACTIONS))
    parser.add_argument("run", nargs="?", metavar="RUN|FILE", help="the run to change, or the new store of salvage")
    parser.add_argument("word", nargs="?", metavar="NAME|TAG", help="its new name, or the tag")
    parser.add_argument("--most", type=args.count, default=30, metavar="N", help="runs to list (default 30)")
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """List, or change one run."""
    from steelyard.store import Store

    if parsed.action == "salvage":
        from steelyard.cli import salvage

        return salvage.execute(parsed)
    with Store.open(parsed.store, create=False) as store:
        if parsed.action == "list":
            _list(store, parsed)
        else:
            _change(store, parsed)
    return 0


def _list(store: Store, parsed: argparse.Namespace) -> None:
    from steelyard.report.terminal import print_runs

    runs = store.runs(parsed.most)
    if parsed.json:
        args.print_json([_document(store, run) for run in runs])
    else:
        print_runs([(run, store.cells(run.id)) for run in runs])


def _document(store: Store, run: RunInfo) -> dict[str, object]:
    cells = store.cells(run.id)
    return {
        "number": run.number,
        "id": run.id,
        "name": run.name,
        "tags": run.tags,
        "status": run.status,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "models": sorted({cell.model for cell in cells}),
        "benchmarks": sorted({cell.label for cell in cells}),
        "plan_digest": run.plan_digest,
    }


def _change(store: Store, parsed: argparse.Namespace) -> None:
    from steelyard.errors import UsageError

    if parsed.run is None:
        raise UsageError(f"which run? Try: steelyard runs {parsed.action} 3")
    run = store.run(parsed.run)
    if parsed.action == "delete":
        _delete(store, run, parsed.yes)
        return
    if parsed.word is None:
        raise UsageError(f"a name or tag is missing. Try: steelyard runs {parsed.action} {run.number} WORD")
    {"rename": store.rename, "tag": store.tag, "untag": store.untag}[parsed.action](run.id, parsed.word)


def _delete(store: Store, run: RunInfo, yes: bool) -> None:
    import sys

    from steelyard.errors import UsageError

    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"deleting run #{run.number} loses its answers. Try: --yes")
        print(
            f"Delete run #{run.number} ({run.name}) with all its answers? [y/N] ", end="", file=sys.stderr, flush=True
        )
        if input().strip().lower() not in ("y", "yes"):
            return
    store.delete(run.id)
