"""``steelyard compare``: models, or runs, against each other on the same items."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.report.comparing.pairs import Question
    from steelyard.store import Store
    from steelyard.types import RunInfo

ACROSS = ("protocol",)
FLIPS_SHOWN = 20
IN_THE_BENCHMARK = ""


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "compare",
        execute,
        summary="compare models or runs on the same items: differences, intervals, tests, ranks",
        example="steelyard compare 41 42 --metric accuracy",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="one run: its models against its first (default: the last run); several: each later one against the first",
    )
    parser.add_argument(
        "--model", action="append", default=[], metavar="MODEL", help="only these; the first one is the baseline"
    )
    parser.add_argument("--metric", default="accuracy", metavar="METRIC", help="a score, latency.p95, cost.per_request")
    parser.add_argument("--benchmark", metavar="BENCHMARK", help="only this one, by name or NAME@PROTOCOL")
    parser.add_argument(
        "--margin",
        type=args.percentage,
        metavar="POINTS",
        help="differences up to this do not matter: within it is 'equivalent' (of a time or a cost: per cent)",
    )
    parser.add_argument(
        "--detect", type=args.percentage, metavar="POINTS", help="how many items would find such a difference"
    )
    parser.add_argument(
        "--across", action="append", choices=ACROSS, default=[], help="let the protocols differ: they are compared too"
    )
    parser.add_argument(
        "--control-variate",
        action="store_true",
        help="the candidate was asked a part of the items: estimate it on all the baseline's, and say what that saves",
    )
    parser.add_argument(
        "--ppi",
        nargs="?",
        const=IN_THE_BENCHMARK,
        metavar="RATINGS",
        help="put a judge right by people's ratings of some: a file of sample_id and rating, or the benchmark's own",
    )
    parser.add_argument(
        "--correlations", action="store_true", help="latency, length and cost against being right, and the Pareto front"
    )
    parser.add_argument("--flips", action="store_true", help="the items that one side got right and the other wrong")
    parser.add_argument(
        "--most", type=args.count, metavar="N", help="flips to print each way (default 20; with --json all)"
    )
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Compare and print."""
    from steelyard.store import Store

    with Store.open(parsed.store, create=False) as store:
        runs = [store.run(reference) for reference in parsed.runs or ["last"]]
        question = _question(parsed)
        if parsed.ppi is not None:
            _print_predictions(store, runs, question, parsed)
        elif parsed.correlations:
            _print_correlations(store, runs, question, as_json=parsed.json)
        elif parsed.flips:
            _print_flips(store, runs, question, parsed)
        else:
            _print_comparisons(store, runs, question, as_json=parsed.json)
    return 0


def _question(parsed: argparse.Namespace) -> Question:
    from steelyard.report.comparing.pairs import Question

    return Question(
        metric=parsed.metric,
        models=tuple(dict.fromkeys(parsed.model)),
        benchmark=parsed.benchmark,
        margin=parsed.margin,
        detect=parsed.detect,
        across=tuple(parsed.across),
        control_variate=parsed.control_variate,
    )


def _print_comparisons(store: Store, runs: list[RunInfo], question: Question, *, as_json: bool) -> None:
    from steelyard.report.comparing.comparison import comparisons_document, load_comparisons
    from steelyard.report.comparing.comparison_text import print_comparisons

    found = load_comparisons(store, runs, question)
    if as_json:
        args.print_json(comparisons_document(found))
    else:
        print_comparisons(found)


def _print_flips(store: Store, runs: list[RunInfo], question: Question, parsed: argparse.Namespace) -> None:
    from steelyard.analysis.compare_measures import MEASURES
    from steelyard.errors import UsageError
    from steelyard.report.comparing.comparison import load_comparisons
    from steelyard.report.comparing.flips import flips_document, load_flips, print_flips

    if question.metric in MEASURES:
        raise UsageError(f"--flips is for scores, and {question.metric} is none. Try: --metric accuracy")
    compared = load_comparisons(store, runs, question)
    found = load_flips(store, compared, most=parsed.most if parsed.json else parsed.most or FLIPS_SHOWN)
    if parsed.json:
        args.print_json(flips_document(found))
        return
    for number, flips in enumerate(found):
        print("\n" * (number > 0), end="")
        print_flips(flips)


def _print_predictions(store: Store, runs: list[RunInfo], question: Question, parsed: argparse.Namespace) -> None:
    from pathlib import Path

    from steelyard.cli.ratings import label_value, read_ratings
    from steelyard.report.comparing.predictions import load_predictions, predictions_document, print_predictions

    ratings = None if parsed.ppi == IN_THE_BENCHMARK else read_ratings(Path(parsed.ppi))
    found = [load_predictions(store, run, question, ratings, label_value) for run in runs]
    if parsed.json:
        args.print_json([predictions_document(one) for one in found])
        return
    for one in found:
        print_predictions(one)


def _print_correlations(store: Store, runs: list[RunInfo], question: Question, *, as_json: bool) -> None:
    from steelyard.report.comparing.correlations import correlations_document, load_correlations, print_correlations

    found = load_correlations(store, runs, question)
    if as_json:
        args.print_json(correlations_document(found))
    else:
        print_correlations(found)
