"""The verdict on a run: pass, fail or inconclusive, each criterion by its own bounds; never green for want of evidence.

A criterion fails where even the favourable bound is beyond the margin, passes where the unfavourable one is within it,
and is inconclusive between. Two kinds of inconclusive differ: figures that are too few for so small a margin, and
figures that cannot be judged at all (a ``fault``: no baseline, other questions, too many failed calls, no price).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import msgspec
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.compare import POWER
from steelyard.analysis.estimates import headline_scored
from steelyard.analysis.margins import ALPHA, TOKENS, Cell, Scale, Standing, better_of, standing
from steelyard.analysis.metrics import JUDGE_METRICS, METRICS
from steelyard.analysis.pairing import differing_fields
from steelyard.analysis.shared import shared_confidence
from steelyard.criteria import Margin, Threshold
from steelyard.errors import UsageError
from steelyard.stats.gates import Word
from steelyard.types import Agreement, CellInfo, Columns, Estimate, Pairing

Mode = Literal["regression", "noninferiority"]
Blocking = Literal["warn", "block"]
Allowance = Literal["cached", "machine", "model-change"]

MUCH_LOST = 0.01
PARTLY_MEASURED = ("running", "interrupted", "failed")
MACHINE = ("processor", "cores", "architecture", "system")
UNITS_OF_HARDWARE = ("s", "tokens/s", "requests/s", "MB", "cores", "W")
ONE_FIGURE = ("errored", "retried", "untimed", "api_calls", "strata_gap", "peak_rss_mb", "model_peak_rss_mb",
              "model_gpu_memory_mb", "cpu", "model_cpu")  # fmt: skip
"""Counts, peaks and means over the whole run: which change of them is chance is not known."""
OF_FAILURES = ("errored", "reliability", "accuracy.lower_bound", "accuracy.first_try")
"""They count what failed, so many failures are what they say, and no reason to say nothing."""
TOTALS = ("cost.total", *TOKENS)
Z = NormalDist().inv_cdf(1 - ALPHA)


class Check(Struct, frozen=True, kw_only=True):
    """One criterion on one model and benchmark.

    ``value``, ``low`` and ``high`` are candidate - baseline or candidate / baseline (``scale``), or the metric itself
    of a threshold; each bound holds with ``level``, ``None`` where there is no sampling error. ``p`` is that of failing
    by chance, ``adjusted_p`` among all criteria (Holm). ``detectable`` is the smallest true change for the worse that
    is told from none with a power of 80 %, and ``needed_items`` how many would settle an inconclusive verdict with that
    power, were the truth what was seen. ``missing`` is how many requests more the metric needs to be known at all,
    ``clusters_needed`` in how many clusters of one size its items must lie, where nothing else is in the way.
    """

    metric: str
    criterion: str
    model: str
    benchmark: str
    verdict: Word
    fault: str | None = None
    scale: Scale | Literal["value"] = "difference"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = 1 - ALPHA
    margin: float | None = None
    unit: str = ""
    n: int = 0
    method: str = ""
    baseline: Estimate | None = None
    candidate: Estimate | None = None
    better: Literal["higher", "lower"] = "higher"
    p: float | None = None
    adjusted_p: float | None = None
    detectable: float | None = None
    needed_items: int | None = None
    available: int | None = None
    missing: int | None = None
    clusters_needed: int | None = None
    pairing: Pairing | None = None
    agreement: Agreement | None = None
    sentence: str = ""


class GateReport(Struct, frozen=True, kw_only=True):
    """What a gate says: the word for all criteria together, each of them, and the exit code.

    ``faults`` are what keeps the run from being judged at all; ``run`` is ``None`` where nothing was asked for it.
    """

    verdict: Word
    mode: Mode
    run: int | None
    baseline: str | None
    checks: tuple[Check, ...]
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exit_code: int = 0
    sentence: str = ""


class Policy(Struct, frozen=True, kw_only=True):
    """How strict a gate is. ``inconclusive`` overrides what the mode does; ``allowed`` is borne on purpose."""

    mode: Mode = "regression"
    inconclusive: Blocking | None = None
    allowed: tuple[Allowance, ...] = ()


def check_margin(
    margin: Margin,
    baseline: Cell,
    candidate: Cell,
    policy: Policy = Policy(),  # noqa: B008 - frozen
    *,
    called: str = "the baseline",
) -> Check:
    """Whether the candidate is worse than the baseline by more than the margin; what a fault calls the baseline."""
    refuse_mistaken(margin, candidate.info)
    fault = _fault(margin.metric, candidate, policy) or _fault(margin.metric, baseline, policy, f"of {called}, ")
    fault = fault or _incomparable(margin.metric, baseline, candidate, policy)
    if fault:
        return _unjudged(margin.metric, f"margin {margin.text}", candidate, fault)
    tried: list[Check] = []
    if margin.relative is not None:
        tried.append(_held(margin, margin.relative, standing(margin.metric, baseline, candidate, "ratio"), candidate))
    if margin.absolute is not None:
        found = standing(margin.metric, baseline, candidate, "difference")
        tried.append(_held(margin, margin.absolute, found, candidate))
    return _either(tried)


def refuse_mistaken(margin: Margin, info: CellInfo) -> None:
    """Refuse a margin on a metric that has no better and worse or no interval, and one that nothing could exceed."""
    if margin.metric in JUDGE_METRICS:
        sign = ">=" if JUDGE_METRICS[margin.metric].better == "higher" else "<="
        raise UsageError(
            f"{margin.metric} weighs the judge and not the model, so it has no margin. "
            f'Try: --require "{margin.metric} {sign} ...", a plain bound'
        )
    better = better_of(margin.metric, info)
    if better is None and margin.metric not in METRICS:
        raise UsageError(f"{info.label} has no {margin.metric}. Try: --benchmark, one that has it")
    if better is None:
        raise UsageError(
            f"{margin.metric} is neither better high nor low, so it has no margin. Try: --require, a plain bound"
        )
    if margin.metric in ONE_FIGURE:
        raise UsageError(
            f"{margin.metric} is one figure of a run, without an interval, so it has no margin. "
            f'Try: --require "{margin.metric} <= ...", a plain bound'
        )
    if margin.metric in TOTALS and margin.absolute is not None:
        raise UsageError(f"{margin.metric} is a sum, which has an interval by its ratio alone. Try: {margin.metric}=5%")
    if better == "higher" and margin.relative is not None and margin.relative >= 1:
        raise UsageError(f"{margin.text!r} would bear anything: {margin.metric} cannot fall by more than 100 %")


def check_threshold(threshold: Threshold, candidate: Cell, policy: Policy = Policy()) -> Check:  # noqa: B008 - frozen
    """Whether the metric keeps its bound, by its own interval; a count or a peak has none and is what it is."""
    fault = _fault(threshold.metric, candidate, policy)
    if fault:
        return _unjudged(threshold.metric, threshold.text, candidate, fault)
    return _held_to_bound(threshold, candidate, candidate.estimate(threshold.metric))


def _held_to_bound(threshold: Threshold, candidate: Cell, found: Estimate) -> Check:
    if found.value is None or (found.low is None and found.method != "count"):
        return msgspec.structs.replace(
            _unjudged(threshold.metric, threshold.text, candidate, _unbounded(found)),
            candidate=None if found.value is None else found,
            missing=found.missing,
            clusters_needed=found.clusters_needed,
        )
    low, high = (found.value, found.value) if found.low is None or found.high is None else (found.low, found.high)
    is_floor = threshold.sign == ">="
    bound = threshold.value
    passes, fails = (low >= bound, high < bound) if is_floor else (high <= bound, low > bound)
    gap = found.value - bound if is_floor else bound - found.value
    reach = high - found.value if is_floor else found.value - low
    level = None if found.level is None else (1 + found.level) / 2
    settling_level = 1 - ALPHA if level is None else level
    return Check(
        metric=threshold.metric,
        criterion=threshold.text,
        model=candidate.info.model,
        benchmark=candidate.info.label,
        verdict="pass" if passes else "fail" if fails else "inconclusive",
        scale="value",
        value=found.value,
        low=found.low,
        high=found.high,
        level=level,
        margin=bound,
        unit=found.unit,
        n=found.n,
        method=found.method,
        candidate=found,
        better="higher" if is_floor else "lower",
        p=_p_of_failing(gap, reach, settling_level),
        needed_items=_needed_for_bound(found, threshold, gap, (high - low) / 2, settling_level),
        available=candidate.info.available,
    )


def _needed_for_bound(found: Estimate, threshold: Threshold, gap: float, reach: float, level: float) -> int | None:
    """Items that would settle a plain bound; of a share by its own spread there, which near all or none is another."""
    bound = threshold.value
    if found.method != "wilson" or found.value is None or not 0 <= bound <= 1:
        return _needed(gap, reach, found.n, level)
    needed = stats.sample_size_against_bound(share=found.value, bound=bound, alpha=1 - level, power=POWER).n
    return None if needed is None else int(needed)


def check_among(
    threshold: Threshold,
    candidate: Cell,
    shared: Sequence[Estimate],
    models: int,
    policy: Policy = Policy(),  # noqa: B008 - frozen
) -> Check:
    """The same of one model among several, where one that is good enough was looked for.

    Any of them may be taken for it by luck, so a pass has to hold by the ``shared`` estimates. What they do not know is
    stored with the run, at a level that may be too low for a pass. A fail needs none: the run fails where all do.
    """
    alone = check_threshold(threshold, candidate, policy)
    if alone.verdict == "fail" or _fault(threshold.metric, candidate, policy):
        return alone
    own = next((one for one in shared if one.metric == threshold.metric and one.value is not None), None)
    if own is not None:
        return _held_to_bound(threshold, candidate, own)
    needed = (1 + shared_confidence(models)) / 2
    stored = _held_to_bound(threshold, candidate, candidate.stored(threshold.metric))
    if stored.verdict != "pass" or stored.level is None or stored.level >= needed:
        return stored
    fault = (
        f"it is kept with {100 * stored.level:.3g} %, and where one of {models} models is chosen a pass takes "
        f"{100 * needed:.3g} %: its values one by one are not there, from which to say more"
    )
    return msgspec.structs.replace(stored, verdict="inconclusive", fault=fault)


def _unbounded(found: Estimate) -> str:
    """Why nothing can be held to a bound: there is no value, or one whose interval is not known."""
    if found.value is None:
        return f"{found.metric} is not known: {found.status}"
    why = "" if found.status == "ok" else f": {found.status}"
    return f"{found.metric} has no interval{why}"


def good_enough(checks: Sequence[Check]) -> tuple[list[Check], tuple[str, ...]]:
    """The criteria of the models that stand best to them, where one good enough was looked for; who is passed over.

    A model stands as its worst criterion does: it takes one that meets them all, and the others decide nothing.
    """
    rank = {"pass": 0, "inconclusive": 1, "fail": 2}
    standing: dict[str, int] = {}
    for check in checks:
        standing[check.model] = max(standing.get(check.model, 0), rank[check.verdict])
    best = min(standing.values(), default=0)
    kept = [check for check in checks if standing[check.model] == best]
    decisive = ", ".join(model for model, place in standing.items() if place == best)
    told = "does not meet" if best == 0 else "fails"
    over = (f"{model} {told} the criteria; {decisive} decides" for model, place in standing.items() if place > best)
    return kept, tuple(over)


def verdict_of(
    checks: Sequence[Check],
    *,
    policy: Policy,
    run: int | None,
    baseline: str | None,
    faults: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> GateReport:
    """All criteria together: a fail by Holm's adjusted p, so that many criteria do not block by luck.

    A pass needs every criterion to pass, and no correction: all must be shown at once (Berger 1982).
    """
    judged = _in_family(checks)
    words = {check.verdict for check in judged}
    unjudged = [unjudged_words(check) for check in judged if check.fault]
    every = tuple(dict.fromkeys((*faults, *unjudged)))
    word: Word = "fail" if "fail" in words else "inconclusive" if every or "inconclusive" in words else "pass"
    return GateReport(
        verdict=word if judged or every else "inconclusive",
        mode=policy.mode,
        run=run,
        baseline=baseline,
        checks=tuple(judged),
        faults=every,
        notes=tuple(notes),
        exit_code=_exit_code(word, policy, has_fault=bool(every) or not judged),
    )


def unjudged_words(check: Check) -> str:
    """Why a criterion could not be judged, with whose it is."""
    return f"{check.model} on {check.benchmark}: {check.fault}"


def _exit_code(word: Word, policy: Policy, *, has_fault: bool) -> int:
    """1 for a fail; 3 for an inconclusive that blocks: all in mode noninferiority, else those that judged nothing."""
    if word == "fail":
        return 1
    if word == "pass" and not has_fault:
        return 0
    blocks = has_fault or policy.mode == "noninferiority"
    if policy.inconclusive is not None:
        blocks = policy.inconclusive == "block"
    return 3 if blocks else 0


def _in_family(checks: Sequence[Check]) -> list[Check]:
    adjusted = stats.holm_adjust(p=[check.p for check in checks]).adjusted
    found = []
    for check, p in zip(checks, adjusted, strict=True):
        is_by_luck = check.verdict == "fail" and p is not None and p >= ALPHA
        found.append(
            msgspec.structs.replace(check, adjusted_p=p, verdict="inconclusive" if is_by_luck else check.verdict)
        )
    return found


def _held(margin: Margin, size: float, found: Standing, candidate: Cell) -> Check:
    """The bounds against the margin, turned so that more is better."""
    better = better_of(margin.metric, candidate.info) or "higher"
    check = Check(
        metric=margin.metric,
        criterion=f"margin {margin.text}",
        model=candidate.info.model,
        benchmark=candidate.info.label,
        verdict="inconclusive",
        fault=found.fault,
        scale=found.scale,
        value=found.value,
        low=found.low,
        high=found.high,
        margin=size,
        unit=found.unit,
        n=found.n,
        method=found.method,
        baseline=found.baseline,
        candidate=found.candidate,
        better=better,
        available=candidate.info.available,
        pairing=found.pairing,
        agreement=found.agreement,
    )
    if found.fault or found.value is None or found.low is None or found.high is None:
        return check
    borne = _borne(size, found.scale, better)
    low, value, high = _gain((found.low, found.value, found.high), found.scale, better)
    word = stats.margin_verdict(low=low, high=high, margin=borne)
    se = (high - low) / 2 / Z
    least = stats.minimum_detectable_effect(n=1, omega2=se**2, alpha=2 * ALPHA, power=POWER).mde
    return msgspec.structs.replace(
        check,
        verdict=word,
        p=_p_of_failing(value + borne, high - value),
        detectable=least if least is None or found.scale == "difference" else _change_for_the_worse(least, better),
        needed_items=_needed(value + borne, (high - low) / 2, found.n),
    )


def _borne(size: float, scale: Scale, better: str) -> float:
    """The margin on the scale of the gain: of a ratio its logarithm."""
    if scale == "difference":
        return size
    return math.log1p(size) if better == "lower" else -math.log1p(-size)


def _change_for_the_worse(logarithm: float, better: str) -> float:
    """So much more of what is better low, or so much less of what is better high, as a share of the baseline."""
    return math.expm1(logarithm) if better == "lower" else -math.expm1(-logarithm)


def _gain(bounds: tuple[float, float, float], scale: Scale, better: str) -> tuple[float, float, float]:
    low, value, high = (_log(one) if scale == "ratio" else one for one in bounds)
    return (low, value, high) if better == "higher" else (-high, -value, -low)


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


def _either(tried: Sequence[Check]) -> Check:
    """Worse by more than the margin is worse by more than both of its parts, so either part's pass is a pass.

    Where one part is not known and the other no pass, nobody can say.
    """
    unknown = [check for check in tried if check.fault is not None]
    if len(tried) == 1 or (unknown and all(check.verdict != "pass" for check in tried)):
        return (unknown or tried)[0]
    rank = {"pass": 0, "inconclusive": 1, "fail": 2}
    chosen = min(tried, key=lambda check: (check.fault is not None, rank[check.verdict]))
    p = [check.p for check in tried]
    return msgspec.structs.replace(chosen, p=None if None in p else max(value for value in p if value is not None))


def _p_of_failing(gap: float, reach: float, level: float = 1 - ALPHA) -> float | None:
    """The chance of so bad a figure if the truth were at the bound; below 5 % exactly where the verdict is a fail.

    ``gap`` is how far the figure is inside, ``reach`` from it to its favourable bound, at 95 % taken as 1.645 errors.
    """
    if not math.isfinite(gap) or not math.isfinite(reach):
        return None
    if reach <= 0:
        return 1.0 if gap >= 0 else 0.0
    return NormalDist().cdf(gap * NormalDist().inv_cdf(level) / reach)


def _needed(gap: float, reach: float, n: int, level: float = 1 - ALPHA) -> int | None:
    """Items that would settle it with a power of 80 %, were the truth what was seen; ``None`` where none would do."""
    se = reach / NormalDist().inv_cdf(level)
    if not (math.isfinite(gap) and math.isfinite(se)) or not gap or not n:
        return None
    needed = stats.sample_size_paired(delta=gap, omega2=n * se**2, alpha=2 * (1 - level), power=POWER).n
    return None if needed is None else int(needed)


def _fault(metric: str, cell: Cell, policy: Policy, whose: str = "") -> str | None:
    """Why nothing can be said of a cell."""
    total = len(cell.columns.sample)
    if cell.status in PARTLY_MEASURED:
        return f"{whose}run #{cell.run} is {cell.status}: only a part was measured"
    if not total:
        return f"{whose}nothing was asked"
    if metric not in OF_FAILURES and is_much_lost(cell.columns):
        lost = total - headline_scored(cell.columns)
        return f"{whose}{lost} of {total} requests failed or could not be graded, which is more than 1 %"
    if len(cell.reported) > 1 and "model-change" not in policy.allowed:
        return f"{whose}the model changed in mid-run: {', '.join(cell.reported)} (--allow model-change bears it)"
    reused = int(cell.columns.cached.sum())
    if reused > MUCH_LOST * total and "cached" not in policy.allowed:
        return (
            f"{whose}{reused} of {total} answers were those of an earlier run; run --fresh asks anew (--allow cached)"
        )
    if metric.startswith("cost.") and (cost := cell.estimate("cost.total")).value is None:
        return f"{whose}the cost is not known: {cost.status}. Try: --price when it is run"
    return None


def is_much_lost(columns: Columns) -> bool:
    """Whether so many requests have no score that the others decide nothing."""
    total = len(columns.sample)
    return total - headline_scored(columns) > MUCH_LOST * total


def _incomparable(metric: str, baseline: Cell, candidate: Cell, policy: Policy) -> str | None:
    differing = differing_fields(baseline.info, candidate.info)
    if differing:
        told = "; ".join(f"{one.field.replace('_', ' ')} {_short(one.a)} and {_short(one.b)}" for one in differing)
        return f"baseline and candidate cannot be paired, they differ: {told}"
    of_machine = candidate.estimate(metric).unit in UNITS_OF_HARDWARE
    if of_machine and "machine" not in policy.allowed:
        other = [name for name in MACHINE if baseline.machine.get(name) != candidate.machine.get(name)]
        if other:
            return f"measured on another machine than the baseline ({', '.join(other)} differ; --allow machine)"
    return None


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text


def _unjudged(metric: str, criterion: str, cell: Cell, fault: str) -> Check:
    return Check(
        metric=metric,
        criterion=criterion,
        model=cell.info.model,
        benchmark=cell.info.label,
        verdict="inconclusive",
        fault=fault,
        available=cell.info.available,
    )
