"""``steelyard gate``: a run held against a baseline, with an exit code.

Of a plan file everything is asked anew first, since answers of earlier runs say nothing of today.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from steelyard.cli import arguments as args
from steelyard.cli.run import sigterm_as_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.analysis.gate import GateReport
    from steelyard.criteria import Margin
    from steelyard.plan.plan import Plan
    from steelyard.report.comparing.verdict import Asked
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
        example="steelyard gate plan.yaml --baseline main --margin accuracy=0.02 --margin latency.p95=10%",
    )
    parser.add_argument(
        "run",
        nargs="?",
        default="last",
        metavar="RUN|PLAN",
        help="number, id or its start, name, or 'last' (default); or a plan.yaml, which is asked anew and then judged",
    )
    parser.add_argument("--baseline", metavar="NAME", help="a name, NAME@VERSION, or an exported file (.jsonl)")
    add_criteria(parser)
    parser.add_argument("--model", action=args.Once, metavar="MODEL", help="only this model of the run")
    parser.add_argument(
        "--benchmark", action=args.Once, metavar="NAME", help="only this benchmark, as NAME or NAME@PROTOCOL"
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="try the gate on the model against itself: how often it errs"
    )
    parser.add_argument("--trials", type=args.count, default=TRIALS, metavar="N", help=f"calibrate: default {TRIALS}")
    parser.add_argument("--budget", type=args.usd, metavar="USD", help="of a plan: end before it spends more than this")
    parser.add_argument("--yes", action="store_true", help="of a plan: do not ask before a high forecast")
    parser.add_argument("--quiet", action="store_true", help="of a plan: no progress, only the verdict")
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
    from steelyard.benchmarks import DESCRIPTION_SUFFIXES
    from steelyard.store import Store

    if parsed.run.endswith(DESCRIPTION_SUFFIXES):
        return _ask_and_judge(parsed)
    with Store.open(parsed.store, create=False) as store:
        run = store.run(parsed.run)
        if parsed.calibrate:
            return _calibrate(store, run, parsed)
        return _judge(store, run, parsed)


@sigterm_as_ctrl_c()
def _ask_and_judge(parsed: argparse.Namespace) -> int:
    """Ask all that the plan asks anew, then judge; what can be known to be wrong is said before anything is sent."""
    from steelyard.cli.run import MEASURED, carry_out, confirm, exit_code_of, say_how_it_ended
    from steelyard.plan.names import BASELINE
    from steelyard.report.comparing.verdict import verdict_beforehand
    from steelyard.store import Store

    plan = _plan(parsed)
    with Store.open(parsed.store) as store:
        if parsed.calibrate or parsed.model or parsed.benchmark:
            _check_named(plan, parsed)
        if not parsed.calibrate:
            models = [spec.id for spec in plan.models if spec.provider != BASELINE]
            beforehand = verdict_beforehand(store, asked_of(plan.as_document(), parsed), models)
            if beforehand is not None and beforehand.exit_code:
                return _show(beforehand, parsed)
        confirm(plan, store, parsed)
        ended = carry_out(plan, store, None, parsed)
        say_how_it_ended(ended, parsed.store)
        if ended.status not in MEASURED:
            return exit_code_of(ended)
        return _calibrate(store, ended.run, parsed) if parsed.calibrate else _judge(store, ended.run, parsed)


def _plan(parsed: argparse.Namespace) -> Plan:
    """The plan, to be asked anew; to try the gate on it every item is asked twice at least.

    What is required of it is among its criteria, so that a mistake in one is told before anything is sent.
    """
    from pathlib import Path

    import msgspec

    from steelyard.plan.file import read_plan

    plan = read_plan(Path(parsed.run))
    return msgspec.structs.replace(
        plan,
        fresh=True,
        runs=max(2, plan.runs) if parsed.calibrate else plan.runs,
        budget_usd=parsed.budget or plan.budget_usd,
        success=tuple(dict.fromkeys((*plan.success, *parsed.requirements))),
    )


def _check_named(plan: Plan, parsed: argparse.Namespace) -> None:
    """Refuse a model or benchmark that the plan has not, and a margin that cannot be tried on what it measures."""
    from steelyard.analysis.gate import refuse_mistaken
    from steelyard.engine.run import Given, prepare
    from steelyard.engine.schedule.cascade import check_metrics
    from steelyard.report.comparing.verdict import chosen_of

    cells = [cell for cell in prepare(plan, Given()) if cell.floor is None]
    chosen_of([cell.info for cell in cells], parsed.model, parsed.benchmark)
    margins = _margins(parsed) if parsed.calibrate else []  # else they are held against the baseline's figures
    check_metrics([margin.metric for margin in margins], cells)
    for margin in margins:
        for cell in cells:
            refuse_mistaken(margin, cell.info)


def _margins(parsed: argparse.Namespace) -> list[Margin]:
    from steelyard.criteria import parse_margin

    return [parse_margin(text) for text in parsed.margins]


def _judge(store: Store, run: RunInfo, parsed: argparse.Namespace) -> int:
    from steelyard.report.comparing.verdict import gate

    asked = asked_of(run.plan, parsed)
    verdict = gate(store, run, asked)
    exit_code = _show(verdict, parsed)
    is_open = any(check.verdict != "pass" and check.baseline is not None for check in verdict.checks)
    if is_open and asked.baseline and not parsed.json:
        _lead_on(store, asked.baseline, run)
    return exit_code


def _lead_on(store: Store, baseline: str, run: RunInfo) -> None:
    """How the items that turned are read, while the baseline's run is still in the store."""
    from steelyard.errors import UsageError
    from steelyard.report.evidence import find_baseline

    try:
        before = store.run(find_baseline(store, baseline).content.run)
    except UsageError:
        return
    print(f"Which items turned: steelyard compare {before.number} {run.number} --flips")


def _show(verdict: GateReport, parsed: argparse.Namespace) -> int:
    from steelyard.report.comparing.verdict import print_verdict, verdict_document

    if parsed.json:
        args.print_json(verdict_document(verdict))
    else:
        print_verdict(verdict)
    return verdict.exit_code


def asked_of(plan: Mapping[str, Any], parsed: argparse.Namespace) -> Asked:
    """The criteria of the command line and of the plan."""
    from steelyard.analysis.gate import Policy
    from steelyard.report.comparing import verdict

    return verdict.asked_of(
        plan,
        baseline=parsed.baseline,
        margins=parsed.margins,
        requirements=parsed.requirements,
        policy=Policy(mode=parsed.mode, inconclusive=parsed.inconclusive, allowed=tuple(dict.fromkeys(parsed.allow))),
        model=parsed.model,
        benchmark=parsed.benchmark,
    )


def _calibrate(store: Store, run: RunInfo, parsed: argparse.Namespace) -> int:
    from steelyard.report.comparing.calibration import calibrations, calibrations_document, print_calibrations

    found = calibrations(
        store, run, _margins(parsed), trials=parsed.trials, model=parsed.model, benchmark=parsed.benchmark
    )
    if parsed.json:
        args.print_json(calibrations_document(found))
    else:
        print_calibrations(found)
    return 0
