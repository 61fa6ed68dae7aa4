"""``steelyard trend``: a metric over the runs of the store."""

from __future__ import annotations

import argparse

from steelyard.cli import arguments as args


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "trend",
        execute,
        summary="show a metric over past runs, with an arrow only where a change is detected",
        example="steelyard trend accuracy --model openai/gpt-4o-mini --by week",
    )
    parser.add_argument("metric", nargs="?", default="accuracy", metavar="METRIC", help="default: accuracy")
    parser.add_argument("--by", choices=("run", "day", "week"), default="run", help="one point for each (default: run)")
    parser.add_argument("--model", action=args.Once, metavar="MODEL", help="only this model")
    parser.add_argument(
        "--benchmark", action=args.Once, metavar="NAME", help="only this benchmark, as NAME or NAME@PROTOCOL"
    )
    parser.add_argument(
        "--margin",
        type=args.positive,
        metavar="M",
        help="a smaller change is called flat, in the metric's unit (default: 0.02 of a share, else a tenth)",
    )
    parser.add_argument("--most", type=args.count, metavar="N", help="only the newest N finished runs")
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Print every series of the metric."""
    from steelyard.report.comparing.trends import load_trends, print_trends, trends_document
    from steelyard.store import Store

    with Store.open(parsed.store, create=False) as store:
        found = load_trends(
            store,
            parsed.metric,
            by=parsed.by,
            model=parsed.model,
            benchmark=parsed.benchmark,
            margin=parsed.margin,
            most=parsed.most,
        )
    if parsed.json:
        args.print_json(trends_document(found))
    else:
        print_trends(found)
    return 0
