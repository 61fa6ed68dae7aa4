"""Runs held against one another: a comparison, a baseline, a gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard.api.finished import Run
from steelyard.errors import UsageError
from steelyard.store import Store
from steelyard.types import Comparison

if TYPE_CHECKING:
    from steelyard.analysis.gate import Allowance, Blocking, GateReport, Mode


def compare(
    run: Run,
    *others: Run | str,
    metric: str = "accuracy",
    benchmark: str | None = None,
    margin: float | None = None,
    across: Sequence[str] = (),
    control_variate: bool = False,
) -> Comparison:
    """A candidate against a baseline on the same items; the difference is candidate - baseline.

    ``compare(run, "a", "b")``: model b against model a, in one run. ``compare(old, new)``: a run against an earlier
    one, model by model; models may be named too. ``metric`` is a score, or one such as ``latency.p95``. ``benchmark``
    may be left out where there is one. ``margin``: what does not matter, as a share; within it is ``equivalent``.
    ``across=["protocol"]`` lets protocols differ. What cannot be paired raises ``UsageError`` with the differing field.
    ``control_variate``: the candidate was asked a random part of the baseline's items, and is estimated on all of them;
    what that saved is the result's ``control_variate``.
    """
    from steelyard.report.comparing.comparison import load_comparisons
    from steelyard.report.comparing.pairs import Question

    runs = [run, *(other for other in others if isinstance(other, Run))]
    question = Question(
        metric=metric,
        models=tuple(other for other in others if isinstance(other, str)),
        benchmark=benchmark,
        margin=margin,
        across=tuple(across),
        control_variate=control_variate,
    )
    if len({one._location for one in runs}) > 1:
        raise UsageError("the runs are in different stores. Try: steelyard export, and import into one of them")
    with Store.open(run._location) as store:
        found = load_comparisons(store, [one.info for one in runs], question).pairs
    if len(found) != 1:
        pairs = (f"{pair.comparison.candidate} on {pair.comparison.benchmark}" for pair in found)
        raise UsageError(f"name one pair by models and benchmark=; {len(found)} fit: {', '.join(pairs)}")
    return found[0].comparison


def set_baseline(name: str, run: Run, *, note: str | None = None) -> str:
    """Bless a run as the next version of a baseline, kept apart from the run; returns ``NAME@VERSION``."""
    from steelyard.store.transfer.taking import snapshot

    with Store.open(run._location) as store:
        return store.baselines.set(name, snapshot(store, store.run(run.info.id)), note=note).label


def gate(
    run: Run,
    *,
    baseline: str | None = None,
    margins: Mapping[str, float | str] | None = None,
    require: Sequence[str] = (),
    mode: Mode = "regression",
    inconclusive: Blocking | None = None,
    allow: Sequence[Allowance] = (),
    model: str | None = None,
    benchmark: str | None = None,
) -> GateReport:
    """Hold a run against a baseline, or to plain criteria: pass, fail or inconclusive, with a sentence.

    ``margins={"accuracy": 0.02, "latency.p95": "10%"}``: how much worse is borne. ``require=["accuracy >= 0.70"]``,
    beside the ``success`` criteria that the run was made with.
    ``baseline``: a name, ``NAME@VERSION``, or the path of an exported one. ``exit_code`` is what the command line ends
    with: 1 for a fail, 3 for an inconclusive that blocks.
    """
    from steelyard.analysis.gate import Policy
    from steelyard.report.comparing.verdict import asked_of
    from steelyard.report.comparing.verdict import gate as judge

    asked = asked_of(
        run.info.plan,
        baseline=baseline,
        margins=[f"{metric}={margin}" for metric, margin in (margins or {}).items()],
        requirements=require,
        policy=Policy(mode=mode, inconclusive=inconclusive, allowed=tuple(allow)),
        model=model,
        benchmark=benchmark,
    )
    with Store.open(run._location) as store:
        return judge(store, store.run(run.info.id), asked)
