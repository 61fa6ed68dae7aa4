"""``steelyard gate``: a run held against a baseline, with an exit code."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.report.verdict import Asked
    from steelyard.store import Store
    from steelyard.types import RunInfo

MODES = ("regression", "noninferiority")
ALLOWANCES = ("cached", "machine", "model-change")
TRIALS = 200


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "gate",
        execute,
        summary="hold a run against a baseline: pass, fail or inconclusive, with an exit code",
        example="steelyard gate last --baseline main --margin accuracy=0.02 --margin latency.p95=10%",
    )
    args.add_run(parser)
    parser.add_argument("--baseline", metavar="NAME", help="a name, NAME@VERSION, or an exported file (.jsonl)")
    add_criteria(parser)
    parser.add_argument("--model", metavar="MODEL", help="only this model of the run")
    parser.add_argument("--benchmark", metavar="NAME", help="only this benchmark, as NAME or NAME@PROTOCOL")
    parser.add_argument(
        "--calibrate", action="store_true", help="try the gate on the model against itself: how often it errs"
    )
    parser.add_argument("--trials", type=args.count, default=TRIALS, metavar="N", help=f"calibrate: default {TRIALS}")
    args.add_store(parser)
    args.add_json(parser)


def add_criteria(parser: argparse.ArgumentParser) -> None:
    """What a run is held to, and how strictly."""
    parser.add_argument(
        "--margin",
        dest="margins",
        action="append",
        default=[],
        metavar="METRIC=M",
        help="how much worse is borne: accuracy=0.02, latency.p95=10%%, latency.p95=10%%,50ms (both); may be repeated",
    )
    parser.add_argument(
        "--require",
        dest="requirements",
        action="append",
        default=[],
        metavar="CRITERION",
        help='a plain bound: "accuracy >= 0.70"; those of the plan (success:) are held too',
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="regression",
        help="regression: blocks when it surely got worse (default); noninferiority: unless it surely did not",
    )
    parser.add_argument(
        "--inconclusive", choices=("warn", "block"), help="exit 0 or 3 when inconclusive, whatever the mode"
    )
    parser.add_argument(
        "--allow",
        action="append",
        choices=ALLOWANCES,
        default=[],
        help="answers of earlier runs, times of another machine, a model that changed in mid-run; may be repeated",
    )


def execute(parsed: argparse.Namespace) -> int:
    """Judge and print; the exit code is the verdict's."""
    from steelyard.store import Store

    with Store.open(parsed.store, create=False) as store:
        run = store.run(parsed.run)
        if parsed.calibrate:
            return _calibrate(store, run, parsed)
        return _judge(store, run, parsed)


def _judge(store: Store, run: RunInfo, parsed: argparse.Namespace) -> int:
    from steelyard.report.verdict import gate, print_verdict, verdict_document

    verdict = gate(store, run, asked_of(run, parsed))
    if parsed.json:
        args.print_json(verdict_document(verdict))
    else:
        print_verdict(verdict)
    return verdict.exit_code


def asked_of(run: RunInfo, parsed: argparse.Namespace) -> Asked:
    """The criteria of the command line and of the plan."""
    from steelyard.analysis.gate import Policy
    from steelyard.criteria import parse_margin, parse_threshold
    from steelyard.report.verdict import Asked

    planned = run.plan.get("success") or ()
    return Asked(
        baseline=parsed.baseline or run.plan.get("baseline"),
        margins=tuple(parse_margin(text) for text in parsed.margins),
        thresholds=tuple(parse_threshold(text) for text in dict.fromkeys((*planned, *parsed.requirements))),
        policy=Policy(mode=parsed.mode, inconclusive=parsed.inconclusive, allowed=tuple(dict.fromkeys(parsed.allow))),
        model=parsed.model,
        benchmark=parsed.benchmark,
    )


def _calibrate(store: Store, run: RunInfo, parsed: argparse.Namespace) -> int:
    from steelyard.criteria import parse_margin
    from steelyard.report.calibration import calibrations, calibrations_document, print_calibrations

    margins = [parse_margin(text) for text in parsed.margins]
    found = calibrations(store, run, margins, trials=parsed.trials)
    if parsed.json:
        args.print_json(calibrations_document(found))
    else:
        print_calibrations(found)
    return 0
