"""``steelyard run``: ask models a benchmark's items and keep every answer."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args
from steelyard.cli.run_options import ASK_ABOVE_USD, add_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.analysis.gate import GateReport
    from steelyard.engine.run import Ended
    from steelyard.plan.plan import Plan
    from steelyard.store import Store
    from steelyard.types import RunInfo

EXAMPLE = "steelyard run gsm8k mmlu@cloze -m local/smollm2-135m -m baseline/random --limit 100"
MEASURED = ("done", "budget")


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs, "run", execute, summary="ask models a benchmark's items and keep every answer", example=EXAMPLE
    )
    add_options(parser)


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end what comes before a run and after it, as Ctrl-C does; the run itself heeds both."""
    import signal
    import threading

    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@sigterm_as_ctrl_c()
def execute(parsed: argparse.Namespace) -> int:
    """Prepare, forecast, ask, show."""
    from steelyard.benchmarks import readings
    from steelyard.errors import UsageError
    from steelyard.store import Store

    args.allow_unsafe(parsed)
    if parsed.dry_run:
        return _dry_run(parsed)
    if parsed.detect is not None:
        raise UsageError("--detect tells what finding a difference takes before a run. Try: with --dry-run")
    with Store.open(parsed.store, create=parsed.resume is None) as store:
        resume = store.run(parsed.resume) if parsed.resume else None
        plan = _plan(parsed, resume)
        with readings.shared():
            confirm(plan, store, parsed)
            ended = carry_out(plan, store, resume, parsed)
        success = _success(ended, store)
        _print_results(ended, success, store, parsed)
    return _exit_code(ended, success)


def _dry_run(parsed: argparse.Namespace) -> int:
    from steelyard.cli.forecast import forecast, print_forecast
    from steelyard.cli.power import FIND
    from steelyard.store import Store

    find = parsed.detect or FIND
    if parsed.resume or Store.exists(parsed.store):
        with Store.open(parsed.store, create=False) as store:
            expected = forecast(_plan(parsed, store.run(parsed.resume) if parsed.resume else None), store, find)
    else:
        expected = forecast(_plan(parsed, None), find=find)
    if parsed.json:
        args.print_json(expected)
    else:
        print_forecast(expected)
    return 0


def _plan(parsed: argparse.Namespace, resume: RunInfo | None) -> Plan:
    from steelyard.cli.planning import plan_from_arguments

    return plan_from_arguments(parsed, resume)


def confirm(plan: Plan, store: Store, parsed: argparse.Namespace) -> None:
    """Ask before much money is spent; without a terminal, refuse."""
    import sys

    from steelyard.benchmarks import DESCRIPTION_SUFFIXES
    from steelyard.errors import UsageError

    costs_nothing = all(
        asked.provider in ("local", "python", "baseline") for spec in plan.models for asked in spec.asked
    )
    may_have_a_judge = any(spec.name.endswith(DESCRIPTION_SUFFIXES) for spec in plan.benchmarks)
    if costs_nothing and not may_have_a_judge:
        return
    from steelyard.cli.forecast import forecast

    standing = store.budget.account()
    if parsed.yes and plan.budget_usd is None and standing is None:
        return
    most_usd = forecast(plan, store).most_usd
    if not (parsed.quiet or parsed.json):
        if plan.budget_usd is not None:
            print(_against_budget(most_usd, plan.budget_usd, "a budget of"), file=sys.stderr)
        if standing is not None:
            print(_against_budget(most_usd, standing.remaining_usd, "the store's"), file=sys.stderr)
    if parsed.yes or plan.budget_usd is not None or most_usd <= ASK_ABOVE_USD:
        return
    question = f"This run may cost up to {most_usd:.2f} USD."
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{question} Try: --yes to go ahead, --limit for fewer items, --dry-run for the forecast")
    print(f"{question} Go ahead? [y/N] ", end="", file=sys.stderr, flush=True)
    if input().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was sent")


def _against_budget(most_usd: float, left_usd: float, whose: str) -> str:
    """What the run may cost beside what it may spend."""
    from steelyard.analysis.wording import amount

    outlook = "it fits" if most_usd <= left_usd else "it may end before all is asked"
    return f"forecast: up to about {amount(most_usd)} USD of {whose} {left_usd:g} USD; {outlook}"


def carry_out(plan: Plan, store: Store, resume: RunInfo | None, parsed: argparse.Namespace) -> Ended:
    """Ask what the plan asks, with what there is to see meanwhile."""
    from steelyard.api import run_plan
    from steelyard.cli.live import Display
    from steelyard.engine.progress import Progress

    display = Display(Progress(), quiet=parsed.quiet or parsed.json)
    begun: list[RunInfo] = []

    def on_start(run: RunInfo) -> None:
        begun.append(run)
        display.started(run)

    try:
        with display:
            return run_plan(plan, store, progress=display.progress, resume=resume, on_start=on_start)
    except KeyboardInterrupt:  # the run sums itself up, and does not wait for answers any more
        raise KeyboardInterrupt(*(f"Go on with: {_resume(run, parsed.store)}" for run in begun)) from None


def _success(ended: Ended, store: Store) -> GateReport | None:
    """How a run that was measured as planned stands to its success criteria."""
    from steelyard.report.comparing.verdict import held_to_success

    return held_to_success(store, ended.run) if ended.status in MEASURED else None


def _print_results(ended: Ended, success: GateReport | None, store: Store, parsed: argparse.Namespace) -> None:
    from steelyard.report.comparing.verdict import print_verdict, verdict_document
    from steelyard.report.results import load_results, results_document
    from steelyard.report.terminal import print_results

    results = load_results(store, ended.run)
    if parsed.json:
        args.print_json(results_document(results) | {"success": success and verdict_document(success)})
    else:
        print_results(results)
        if success is not None:
            print()
            print_verdict(success)
        read = f"steelyard show {ended.run.number} --wrong{_in_store(parsed.store)}"
        print(f"Records: {store.location}   Read answers: {read}")
    say_how_it_ended(ended, parsed.store)


def say_how_it_ended(ended: Ended, store: str | None) -> None:
    """What was given up, or is still to be asked, on standard error."""
    import sys

    from steelyard.report.answers import plain

    for model, reason in ended.stopped.items():
        print(plain(f"steelyard: {model} failed: {reason}"), file=sys.stderr)
    if ended.status == "budget":
        print(f"steelyard: {_out_of_money(ended, store)}", file=sys.stderr)
    elif ended.status != "done":
        print(f"steelyard: {ended.status}. Go on with: {_resume(ended.run, store)}", file=sys.stderr)


def _out_of_money(ended: Ended, store: str | None) -> str:
    budget_usd = ended.run.plan.get("budget_usd")
    if budget_usd is None:
        more = f"steelyard budget set USD{_in_store(store)}; {_resume(ended.run, store)}"
        return f"what is left of the store's budget buys no further request. Go on with: {more}"
    return f"stopped by budget. Go on with more: {_resume(ended.run, store, f' --budget {2 * budget_usd:g}')}"


def _resume(run: RunInfo, store: str | None, more: str = "") -> str:
    """The command that goes on with a run, as it can be copied: it names the store that was named."""
    return f"steelyard run --resume {run.number}{more}{_in_store(store)}"


def _in_store(store: str | None) -> str:
    import shlex

    from steelyard.secrets import scrub

    return f" --store {scrub(shlex.quote(store))}" if store else ""


def _exit_code(ended: Ended, success: GateReport | None) -> int:
    """A criterion that surely fails comes before a budget that ended; one that cannot be judged after it."""
    code = exit_code_of(ended)
    if success is None:
        return code
    return 1 if success.exit_code == 1 else code or success.exit_code


def exit_code_of(ended: Ended) -> int:
    """How far the run came."""
    return {"done": 0, "interrupted": 130, "budget": 5}.get(ended.status, 4)
