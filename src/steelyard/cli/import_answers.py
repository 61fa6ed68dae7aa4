"""``steelyard import``: answers made elsewhere, graded by us and kept as a run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.store import Store
    from steelyard.types import RunInfo


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "import",
        execute,
        summary="grade answers made elsewhere and keep them as a run",
        example="steelyard import answers.jsonl --benchmark gsm8k@zero-shot --model their-model",
    )
    parser.add_argument("file", metavar="FILE", help='JSON lines: {"sample_id": ..., "completion": ...}')
    parser.add_argument("--benchmark", required=True, metavar="NAME[:PART][@PROTOCOL]")
    parser.add_argument("--model", required=True, metavar="NAME", help="what the tables call it")
    parser.add_argument("--shots", type=args.non_negative, metavar="N", help="worked examples it was given")
    parser.add_argument("--limit", type=args.count, metavar="N", help="how many generated items there are")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of generated items (default 0)")
    parser.add_argument("--name", metavar="NAME", help="what to call the run (default: the file's name)")
    args.add_unsafe(parser)
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Read, store, grade, show."""
    from pathlib import Path

    from steelyard.api import import_file
    from steelyard.store import Store

    args.allow_unsafe(parsed)
    with Store.open(parsed.store) as store:
        run = import_file(
            store,
            Path(parsed.file),
            parsed.benchmark,
            parsed.model,
            name=parsed.name,
            shots=parsed.shots,
            limit=parsed.limit,
            seed=parsed.seed,
        )
        _print(store, run, as_json=parsed.json)
    return 0


def _print(store: Store, run: RunInfo, *, as_json: bool) -> None:
    from steelyard.report.results import load_results
    from steelyard.report.terminal import print_results

    results = load_results(store, run)
    if not as_json:
        print_results(results)
        return
    cell = results.cells[0]
    scored = int(cell.value("scored") or 0)
    micro = cell.estimates.get("accuracy.micro", cell.estimates["accuracy"]).value
    args.print_json(
        {
            "run": run.number,
            "benchmark": cell.info.benchmark,
            "part": cell.info.part,
            "protocol": cell.info.protocol,
            "protocol_version": cell.info.protocol_version,
            "model": cell.info.model,
            "n": scored,
            "correct": None if micro is None else round(micro * scored, 6),
            "accuracy": cell.value("accuracy"),
            "estimates": cell.estimates,
        }
    )
