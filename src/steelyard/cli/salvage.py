"""``steelyard runs salvage``: a new store from what can be read of a damaged one, and what is lost, by name."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.store.transfer.salvage import Salvaged

MOST_NAMED = 20


def execute(parsed: argparse.Namespace) -> int:
    """Salvage, sum up anew, say what is lost; 1 where anything is."""
    from pathlib import Path

    from steelyard.engine.summary import summarise_run
    from steelyard.errors import StoreError
    from steelyard.store import Store
    from steelyard.store.transfer.salvage import salvage

    source = Store.place(parsed.store, what_for="salvage")
    if not Store.exists(parsed.store):
        raise StoreError(f"there is no store at {source}. Try: --store PATH")
    target = Path(parsed.run) if parsed.run else source.with_name(f"{source.name}.salvaged")
    found = salvage(source, target)
    with Store.open(target) as store:
        for run in store.runs():
            summarise_run(store, run.id)
    if parsed.json:
        args.print_json(found)
    else:
        _print(found, source, target)
    return 1 if found.bad else 0


def _print(found: Salvaged, source: Path, target: Path) -> None:
    from steelyard.report.answers import plain

    kept = ", ".join(f"{n:,} {name}" for name, n in found.kept.items() if n and name in ("runs", "calls", "scores"))
    print(f"Kept in {target}: {kept or 'nothing'}. {source} is as it was.")
    if found.mended:
        anew = ", ".join(f"{n:,} {name}" for name, n in found.mended.items() if n)
        print(f"Mended, or made anew from what hangs on them: {anew}.")
    for bad in found.bad[:MOST_NAMED]:
        print(plain(f"! lost from {bad.table}: {bad.row} ({bad.reason})"))
    if len(found.bad) > MOST_NAMED:
        print(f"! and {len(found.bad) - MOST_NAMED:,} more: steelyard runs salvage FILE --json names them all")
    for name in found.runs:
        print(plain(f"Go on with: steelyard run --resume {name} --store {target}"), file=sys.stderr)
