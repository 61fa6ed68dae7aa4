"""``steelyard import``: answers made elsewhere, graded by us and kept as a run; or a run that left as one file."""

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
        summary="grade answers made elsewhere and keep them as a run, or bring back a run that was exported",
        example="steelyard import answers.jsonl --benchmark gsm8k@zero-shot --model their-model\n"
        "         steelyard import run.steelyard",
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help='JSON lines: {"sample_id": ..., "completion": ...}; or a bundle of steelyard export',
    )
    parser.add_argument("--benchmark", metavar="NAME[:PART][@PROTOCOL]", help="what was asked (not for a bundle)")
    parser.add_argument("--model", metavar="NAME", help="what the tables call it (not for a bundle)")
    parser.add_argument("--shots", type=args.non_negative, metavar="N", help="worked examples it was given")
    parser.add_argument("--limit", type=args.count, metavar="N", help="how many generated items there are")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed by which the items were generated, or drawn by prompts --order shuffled (default 0)",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="what to call the run (default: the file's name, a bundle's own)"
    )
    args.add_unsafe(parser)
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Read, store, grade, show."""
    from pathlib import Path

    from steelyard.api import import_file
    from steelyard.errors import UsageError
    from steelyard.store import Store
    from steelyard.store.transfer.bundle import is_bundle

    if is_bundle(Path(parsed.file)):
        return _bring_back(parsed)
    if parsed.benchmark is None or parsed.model is None:
        raise UsageError(
            f"{parsed.file} is no bundle of steelyard export; answers need --benchmark and --model. "
            "Try: --benchmark gsm8k@zero-shot --model their-model"
        )
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


def _bring_back(parsed: argparse.Namespace) -> int:
    from pathlib import Path

    from steelyard.errors import UsageError
    from steelyard.report.results import load_results
    from steelyard.report.terminal import print_results
    from steelyard.store import Store
    from steelyard.store.transfer.bundle import read_bundle

    for option in ("benchmark", "model", "shots", "limit"):
        if getattr(parsed, option) is not None:
            raise UsageError(f"{parsed.file} is a whole run, which says itself what was asked. Try: without --{option}")
    run = read_bundle(Path(parsed.file), parsed.store, name=parsed.name)
    with Store.open(parsed.store, create=False) as store:
        if parsed.json:
            answers = store.progress(run.id).done
            args.print_json(
                {"run": run.number, "id": run.id, "name": run.name, "status": run.status, "answers": answers}
            )
        else:
            print_results(load_results(store, run))
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
