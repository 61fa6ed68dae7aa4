"""The options of ``steelyard run``, by what they decide."""

from __future__ import annotations

import argparse

from steelyard.cli import arguments as args

ASK_ABOVE_USD = 10.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """All of them, in the order in which the help tells them."""
    _add_what(parser)
    _add_models(parser)
    _add_items(parser)
    _add_pace(parser)
    _add_protocol(parser)
    _add_sampling(parser)
    _add_confidence(parser)
    _add_ending(parser)
    _add_name(parser)
    _add_forecast(parser)
    _add_show(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    """What is asked."""
    parser.add_argument(
        "what",
        nargs="*",
        metavar="PLAN|BENCHMARK",
        help="a plan.yaml, or NAME[:PART][@PROTOCOL], or a file of your own questions, or its description in YAML",
    )


def _add_models(parser: argparse.ArgumentParser) -> None:
    """Who answers, and where."""
    parser.add_argument(
        "-m", "--model", dest="models", action="append", default=[], metavar="PROVIDER/MODEL", help="may be repeated"
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="where the models given with -m answer, if not at their provider"
    )
    parser.add_argument("--api-key-env", metavar="NAME", help="the environment variable that holds the key")
    parser.add_argument(
        "--server-pid",
        type=args.count,
        metavar="PID",
        help="the process of this machine that serves the models given with -m (or the run's): its memory, CPU and GPU",
    )


def _add_items(parser: argparse.ArgumentParser) -> None:
    """Which items, and how often."""
    parser.add_argument("--limit", type=args.count, metavar="N", help="items per benchmark")
    parser.add_argument("--runs", type=args.count, metavar="N", help="ask every item N times")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the order, of draws and of sampling (default 0)")
    parser.add_argument("--order", choices=("shuffled", "file"), help="'file' takes the first items as they stand")


def _add_pace(parser: argparse.ArgumentParser) -> None:
    """How much is asked at once."""
    parser.add_argument("--concurrency", type=args.count, metavar="N", help="requests in flight per model")
    parser.add_argument("--workers", type=args.count, metavar="N", help="processes that share the items of the run")
    parser.add_argument("--rpm", type=args.positive, metavar="N", help="requests a minute, for models given with -m")
    parser.add_argument("--tpm", type=args.positive, metavar="N", help="tokens a minute, for models given with -m")
    parser.add_argument("--batch", action="store_true", help="ask all models through their batch APIs")


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    """How an item is put, and its answer judged."""
    parser.add_argument("--judge-repeats", type=args.count, metavar="N", help="ask a judge N times about each answer")
    parser.add_argument("--shots", type=args.non_negative, metavar="N", help="worked examples before each item")
    parser.add_argument("--grader", metavar="NAME", help="how a FILE.jsonl is judged: exact, number, contains, ...")


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    """The settings that models are asked with, and what they cost."""
    parser.add_argument("--temperature", type=float, metavar="T", help="for all models given with -m")
    parser.add_argument("--max-tokens", type=args.count, metavar="N", help="for all models given with -m")
    parser.add_argument("--system", metavar="TEXT", help="system message for all models given with -m")
    parser.add_argument(
        "--price", metavar="IN/OUT", help="USD per million tokens of all models given with -m: 0.15/0.60[/CACHED]"
    )


def _add_confidence(parser: argparse.ArgumentParser) -> None:
    """How sure a model is of its answers, and when a dearer one is asked."""
    parser.add_argument(
        "--confidence",
        choices=("logprob", "agreement", "judge"),
        help="give each answer of the models given with -m a confidence; in a cascade the first model's answers",
    )
    parser.add_argument(
        "--samples", type=args.count, metavar="K", help="with --confidence agreement: answers to each question (5)"
    )
    parser.add_argument(
        "--confidence-judge", metavar="PROVIDER/MODEL", help="with --confidence judge: who says whether it is right"
    )
    parser.add_argument(
        "--escalate-below",
        type=float,
        metavar="C",
        help="of -m 'cascade/CHEAP>DEAR': ask DEAR wherever the confidence in CHEAP's answer is below this (up to 1)",
    )


def _add_ending(parser: argparse.ArgumentParser) -> None:
    """When the run ends, and what it is held to."""
    parser.add_argument("--budget", type=args.usd, metavar="USD", help="end the run before it spends more than this")
    parser.add_argument(
        "--stop",
        metavar="RULE",
        action="append",
        help="end early: half_width=0.03, compare, anytime, or variance=0.0004; further settings after commas",
    )
    parser.add_argument(
        "--cascade",
        metavar="WHEN",
        action="append",
        default=[],
        help="cheapest model first: 'worse_by 0.05' drops what is clearly worse, 'success' skips dearer ones",
    )
    parser.add_argument(
        "--success",
        metavar="CRITERION",
        action="append",
        default=[],
        help="such as 'accuracy >= 0.70': what the run is held to; exit 1 where it surely fails; may be repeated",
    )


def _add_name(parser: argparse.ArgumentParser) -> None:
    """What the run is called, and what earlier ones give it."""
    parser.add_argument("--name", metavar="NAME", help="what to call the run")
    parser.add_argument("--tag", dest="tags", action="append", default=[], metavar="TAG", help="may be repeated")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run: ask what is missing or failed")
    args.add_freshness(parser)


def _add_forecast(parser: argparse.ArgumentParser) -> None:
    """What is told or asked before anything is sent."""
    parser.add_argument("--dry-run", action="store_true", help="print what would be asked, and send nothing")
    parser.add_argument(
        "--detect", type=args.percentage, metavar="POINTS", help="with --dry-run: what finding such a difference takes"
    )
    parser.add_argument("--yes", action="store_true", help=f"do not ask before a forecast above {ASK_ABOVE_USD:g} USD")


def _add_show(parser: argparse.ArgumentParser) -> None:
    """What is allowed, where it is kept, and what is shown of it."""
    args.add_unsafe(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress, only the results")
    args.add_accept_data(parser)
    args.add_store(parser)
    args.add_json(parser)
