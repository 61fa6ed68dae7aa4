"""How a candidate stands to a baseline on any metric, as one-sided bounds at 95 %.

Scores and measures of the same items are paired. What is no property of an item (throughput, ITL, cost per right
answer, shares of outcomes) is compared by the intervals of both sides: their distances from the points, recombined as
if the sides were independent, on the logarithmic scale for a ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.compare import Side, compare_scores
from steelyard.analysis.compare_measures import AMOUNTS, MEASURES, compare_measure
from steelyard.analysis.estimates import Context, unknown
from steelyard.analysis.metrics import METRICS
from steelyard.analysis.pairing import pair_values
from steelyard.analysis.stopped import as_looked_at, is_repeated
from steelyard.types import Agreement, CellInfo, Columns, Estimate, Pairing

ALPHA = 0.05
CONFIDENCE = 1 - 2 * ALPHA
"""Two-sided, so that each bound holds with 95 %."""
TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens")
SAME_RATIO = {
    "cost.total": "cost.per_request",
    "cost.per_item": "cost.per_request",
    **{name: name for name in TOKENS},
}
"""Over the same items, asked as often, the totals stand to one another as the means do."""

OF_THE_RUN = ("MB", "cores", "W")
"""Measured over the run's processes, not its requests."""

ROUNDING = 1e-9

Scale = Literal["difference", "ratio"]


class Cell(Struct, frozen=True, kw_only=True):
    """One model on one benchmark as a gate sees it: its figures, its run, where it was measured, who answered."""

    run: int
    run_name: str
    status: str
    info: CellInfo
    columns: Columns
    estimates: tuple[Estimate, ...]
    reported: tuple[str, ...] = ()
    machine: dict[str, Any] = {}

    @property
    def side(self) -> Side:
        """The cell as comparisons take it."""
        return Side(name=self.info.model, run=self.run, info=self.info, columns=self.columns)

    def estimate(self, metric: str) -> Estimate:
        """The metric with an interval each of whose bounds holds with 95 %; the stored one where it needs the run.

        A stored one holds with 95 % both ways; of a run that was looked at while it grew it allows for all looks.
        """
        stored = self.stored(metric)
        if is_repeated(stored):
            return stored
        known = METRICS.get(metric)
        has_no_gaps = metric.startswith("itl.") and not len(self.columns.gaps_s)  # a baseline keeps none
        if known is None or has_no_gaps or stored.unit in OF_THE_RUN:
            return stored
        return known.compute(self.columns, Context(info=self.info, confidence=CONFIDENCE))

    def stored(self, metric: str) -> Estimate:
        """The metric as the run was summed up."""
        found = (one for one in self.estimates if one.metric == metric)
        return next(found, unknown(metric, "", f"not measured in run #{self.run}"))


class Standing(Struct, frozen=True, kw_only=True):
    """Candidate - baseline or candidate / baseline with its bounds; ``fault`` says why there are none."""

    metric: str
    scale: Scale
    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    method: str
    baseline: Estimate
    candidate: Estimate
    fault: str | None = None
    pairing: Pairing | None = None
    agreement: Agreement | None = None


def better_of(metric: str, info: CellInfo) -> Literal["higher", "lower"] | None:
    """Which way a metric is better; a further score of a grader is better when it is higher."""
    if metric in METRICS:
        return METRICS[metric].better
    return "higher" if metric in info.scored or metric.startswith(("accuracy", "pass@")) else None


def standing(metric: str, baseline: Cell, candidate: Cell, scale: Scale) -> Standing:
    """The candidate against the baseline on one metric."""
    if metric in baseline.info.scored and metric in candidate.info.scored:
        return _of_scores(metric, baseline, candidate, scale)
    if SAME_RATIO.get(metric, metric) in MEASURES and (scale == "ratio" or metric not in SAME_RATIO):
        return _of_measure(metric, baseline, candidate, scale)
    return _of_intervals(metric, baseline, candidate, scale)


def _of_scores(metric: str, baseline: Cell, candidate: Cell, scale: Scale) -> Standing:
    if scale == "ratio":
        return _of_intervals(metric, baseline, candidate, scale)
    found = compare_scores(baseline.side, candidate.side, metric, confidence=CONFIDENCE)
    return _bounded(
        metric,
        scale,
        found.difference,
        as_looked_at(found.of_baseline, baseline.estimates),
        as_looked_at(found.of_candidate, candidate.estimates),
        pairing=found.pairing,
        agreement=found.agreement,
    )


def _of_measure(metric: str, baseline: Cell, candidate: Cell, scale: Scale) -> Standing:
    measure = SAME_RATIO.get(metric, metric)
    found = compare_measure(baseline.side, candidate.side, measure, confidence=CONFIDENCE)
    chosen = found.ratio if scale == "ratio" and found.ratio is not None else found.difference
    own = (baseline.estimate(metric), candidate.estimate(metric))
    of_baseline, of_candidate = own if metric in SAME_RATIO else (found.of_baseline, found.of_candidate)
    if chosen.low is None and (exact := _same_for_all(measure, baseline, candidate)) is not None:
        chosen = _exactly(chosen, exact if scale == "ratio" else None)
    return _bounded(metric, scale, chosen, of_baseline, of_candidate, pairing=found.pairing)


def _same_for_all(measure: str, baseline: Cell, candidate: Cell) -> float | None:
    """The ratio that every item has, as after a change of price alone; ``None`` where items differ."""
    if measure not in AMOUNTS:
        return None
    of_candidate, of_baseline = (_amounts_of(measure, cell.columns) for cell in (candidate, baseline))
    pair = pair_values(candidate.columns, of_candidate, baseline.columns, of_baseline)
    if pair.n < 2 or not (pair.b > 0).all():
        return None
    ratios = pair.a / pair.b
    return float(ratios.mean()) if np.ptp(ratios) <= ROUNDING * abs(ratios.mean()) else None


def _amounts_of(measure: str, columns: Columns) -> np.ndarray:
    if measure != "cost.per_request":
        return np.asarray(getattr(columns, measure))
    return np.where(columns.cached, columns.saved_usd, columns.cost_usd)


def _exactly(found: Estimate, ratio: float | None) -> Estimate:
    value = found.value if ratio is None else ratio
    method = "the same ratio for every item"
    return msgspec.structs.replace(found, value=value, low=value, high=value, method=method, status="ok")


def _bounded(
    metric: str, scale: Scale, found: Estimate, of_baseline: Estimate, of_candidate: Estimate, **more: Any
) -> Standing:
    is_bounded = found.low is not None and found.high is not None
    return Standing(
        metric=metric,
        scale=scale,
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        unit=of_baseline.unit,
        method=found.method,
        baseline=of_baseline,
        candidate=of_candidate,
        fault=None if is_bounded else found.status if found.status != "ok" else "no interval can be given",
        **more,
    )


def _of_intervals(metric: str, baseline: Cell, candidate: Cell, scale: Scale) -> Standing:
    """By the intervals of both sides (Zou & Donner 2008; of two Wilson intervals it is Newcombe's)."""
    of_baseline, of_candidate = baseline.estimate(metric), candidate.estimate(metric)
    empty = Standing(
        metric=metric,
        scale=scale,
        value=None,
        low=None,
        high=None,
        n=min(of_baseline.n, of_candidate.n),
        unit=of_candidate.unit or of_baseline.unit,
        method="both intervals, unpaired",
        baseline=of_baseline,
        candidate=of_candidate,
    )
    for side, estimate in (("the baseline", of_baseline), ("the candidate", of_candidate)):
        if estimate.value is None or estimate.low is None or estimate.high is None:
            why = estimate.status if estimate.status != "ok" else "it has no interval"
            return msgspec.structs.replace(empty, fault=f"{metric} of {side}: {why}")
    return _recombined(empty, *(_bounds(one) for one in (of_candidate, of_baseline)))


Bounds = tuple[float, float, float]


def _bounds(estimate: Estimate) -> Bounds:
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.value, estimate.high


def _recombined(empty: Standing, candidate: Bounds, baseline: Bounds) -> Standing:
    into: Callable[[float], float] = float
    back: Callable[[float], float] = float
    if empty.scale == "ratio":
        if min(*candidate, *baseline) <= 0:
            fault = f"{empty.metric} may be 0, of which no share can be told. Try: a margin in its own unit"
            return msgspec.structs.replace(empty, fault=fault)
        into, back = math.log, math.exp
    one, other = [into(value) for value in candidate], [into(value) for value in baseline]
    value = one[1] - other[1]
    low = value - _apart(one[1] - one[0], other[2] - other[1])
    high = value + _apart(one[2] - one[1], other[1] - other[0])
    return msgspec.structs.replace(empty, value=back(value), low=back(low), high=back(high))


def _apart(one: float, other: float) -> float:
    return stats.paired_se_from_correlation(se_a=one, se_b=other, correlation=0.0).unpaired
