"""``steelyard cascade``: what two models would be worth as a cascade, from answers that are stored."""

from __future__ import annotations

import argparse

from steelyard.cli import arguments as args


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "cascade",
        execute,
        summary="what a cheap and a dear model would score and cost as a cascade, at each threshold; asks nothing",
        example="steelyard cascade 41 42 --cheap openai/gpt-4o-mini --dear openai/gpt-4o",
    )
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="where both models answered the same items (default: the last run)"
    )
    parser.add_argument(
        "--cheap", required=True, metavar="MODEL", help="asked first; its run had --confidence logprob, say"
    )
    parser.add_argument("--dear", required=True, metavar="MODEL", help="asked where confidence is low")
    parser.add_argument("--benchmark", metavar="BENCHMARK", help="only this one, by name or NAME@PROTOCOL")
    aim = parser.add_mutually_exclusive_group()
    aim.add_argument(
        "--within",
        type=args.percentage,
        default=0.01,
        metavar="POINTS",
        help="choose the fewest escalations within so many points of the dear model (default 1)",
    )
    aim.add_argument(
        "--at-most", type=args.usd, metavar="USD", help="choose the best score at no more than this an item"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="draws the half that chooses; the other half judges"
    )
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Print every benchmark's frontier."""
    from steelyard.analysis.frontier import Aim
    from steelyard.report.comparing.frontier import frontiers_document, load_frontiers, print_frontier
    from steelyard.store import Store

    aim = Aim(within=parsed.within, at_most_usd=parsed.at_most, seed=parsed.seed)
    with Store.open(parsed.store, create=False) as store:
        runs = [store.run(reference) for reference in parsed.runs or ["last"]]
        found = load_frontiers(store, runs, parsed.cheap, parsed.dear, aim, benchmark=parsed.benchmark)
    if parsed.json:
        args.print_json(frontiers_document(found))
        return 0
    for number, one in enumerate(found):
        print("\n" * (number > 0), end="")
        print_frontier(one)
    return 0
