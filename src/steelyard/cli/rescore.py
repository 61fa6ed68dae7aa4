"""``steelyard rescore``: grade a run's answers again under another protocol; no model is called."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.grading.stored import Regraded


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "rescore",
        execute,
        summary="grade stored answers again under another protocol; no model is called",
        example="steelyard rescore last --protocol lm-eval",
    )
    args.add_run(parser)
    parser.add_argument("--protocol", required=True, metavar="NAME", help="the protocol that grades")
    parser.add_argument("--benchmark", metavar="NAME", help="only this benchmark's answers")
    parser.add_argument("--model", metavar="MODEL", help="only this model's answers")
    args.add_unsafe(parser)
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Grade, and say what changed."""
    from steelyard.api import rescore_run
    from steelyard.store import Store

    args.allow_unsafe(parsed)
    with Store.open(parsed.store, create=False) as store:
        run = store.run(parsed.run)
        found = rescore_run(store, run, parsed.protocol, benchmark=parsed.benchmark, model=parsed.model)
    if parsed.json:
        args.print_json(found)
    else:
        for regraded in found:
            print(_sentence(regraded))
        print(f"Both stand side by side: steelyard show {run.number}")
    return 0


def _sentence(regraded: Regraded) -> str:
    before, after = (_percent(value) for value in (regraded.before, regraded.after))
    changed = f"{regraded.became_right} became right, {regraded.became_wrong} became wrong"
    where = f"{regraded.model} on {regraded.benchmark}"
    return f"{where}: {before} as asked, {after} graded as {regraded.graded_as} (n = {regraded.n:,}; {changed})"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"
