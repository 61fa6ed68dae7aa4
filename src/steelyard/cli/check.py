"""``steelyard check``: does a benchmark hold: gold scores 1, empty scores 0, counts and digests as pinned."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.benchmarks.check import Conformance

GENERATED_ITEMS = 500


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "check",
        execute,
        summary="check a benchmark: gold scores 1, empty scores 0, rows as pinned",
        example="steelyard check gsm8k mmlu",
    )
    parser.add_argument("benchmarks", nargs="+", metavar="NAME[:PART]")
    parser.add_argument("--grader", metavar="NAME", help="for a FILE.jsonl")
    args.add_accept_data(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Check each benchmark; 1 where one is off."""
    found = [result for name in parsed.benchmarks for result in _check(name, parsed)]
    if parsed.json:
        args.print_json(found)
    else:
        from steelyard.report.unseen import on_one_line

        for result in found:
            verdict = "ok" if result.ok else f"OFF: {on_one_line(result.problem or '')}"
            gold = "none" if result.gold is None else f"{result.gold:.4f}"
            print(
                f"{result.benchmark}@{result.protocol}  {result.items:,} items  gold {gold}  "
                f"empty {result.empty:.4f}  digest {result.digest[:12]}  {verdict}"
            )
    return 0 if all(result.ok for result in found) else 1


def _check(name: str, parsed: argparse.Namespace) -> list[Conformance]:
    from steelyard.benchmarks import find_benchmark
    from steelyard.benchmarks.benchmark import Selection
    from steelyard.benchmarks.check import check_benchmark
    from steelyard.plan.names import parse_benchmark

    spec = parse_benchmark(name)
    benchmark = find_benchmark(spec.name, parsed.grader)
    limit = GENERATED_ITEMS if benchmark.is_endless(spec.part) else None
    accept = parsed.accept_data[0] if parsed.accept_data else None
    return check_benchmark(benchmark, Selection(part=spec.part, limit=limit, accept_digest=accept))
