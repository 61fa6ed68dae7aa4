"""A candidate against a baseline on times, tokens and money: ratios and differences on the same items.

Times are compared by their percentiles, since a mean hides a tail; amounts by the ratio of their sums. A time belongs
to this run: another hour of the same service may give another one.
"""

from __future__ import annotations

import math

import numpy as np

from steelyard import stats
from steelyard.analysis.clusters import (
    are_of_a_size,
    bear_percentile,
    cluster_warning,
    clustered_t,
    percentile_warning,
    worth_of,
)
from steelyard.analysis.compare import (
    CONFIDENCE,
    HAS,
    Side,
    beside,
    detectable_difference,
    logarithm,
    names_apart,
    pairing_of,
    unshared_note,
    verdict,
)
from steelyard.analysis.estimates import is_answered, unknown
from steelyard.analysis.pairing import Paired, pair_values
from steelyard.analysis.times import LIKELIHOOD, in_flight
from steelyard.analysis.wording import counted
from steelyard.stats.intervals import ClusteredMean
from steelyard.stats.paired import TTest
from steelyard.types import Columns, Comparison, Estimand, Estimate, Pairing

TIMES = {"latency": "total_s", "ttft": "ttft_s", "ttfo": "ttfo_s", "tpot": "tpot_s"}
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
AMOUNTS = {
    "cost.per_request": "USD",
    "input_tokens": "tokens",
    "output_tokens": "tokens",
    "reasoning_tokens": "tokens",
}
LOADS_APART = 2.0
"""How many times as many requests in flight make another load of it."""
FEWEST_AT_ONCE = 4
"""Fewer in flight are hardly a load, and of quick answers their number is chance."""
HOW = {
    "smooth": "Harrell-Davis percentiles, jackknife over pairs",
    "order": "order statistics, recombined by the pairs' correlation",
    "none": "none",
}
MEASURES = (*(f"{name}.{percentile}" for name in TIMES for percentile in PERCENTILES), *AMOUNTS)
"""What can be compared besides scores."""


def compare_measure(
    baseline: Side,
    candidate: Side,
    metric: str,
    *,
    confidence: float = CONFIDENCE,
    margin: float | None = None,
) -> Comparison:
    """A time's percentile, or a mean amount an answer, candidate / baseline; lower is better.

    ``margin`` is relative: 0.05 is 5 % either way.
    """
    of_a, of_b = (_figures(metric, side.columns) for side in (candidate, baseline))
    pair = pair_values(candidate.columns, of_a, baseline.columns, of_b)
    if fault := _fault(metric, pair, candidate, baseline):
        found = _unknown(metric, fault)
    elif metric in AMOUNTS:
        found = _amounts(metric, pair, confidence)
    else:
        found = _percentiles(metric, pair, (candidate.columns, of_a), (baseline.columns, of_b), confidence)
    of_candidate, of_baseline, difference, ratio = found
    met = pairing_of(pair)
    return Comparison(
        metric=metric,
        benchmark=candidate.info.label,
        baseline=baseline.name,
        candidate=candidate.name,
        baseline_run=baseline.run,
        candidate_run=candidate.run,
        of_baseline=of_baseline,
        of_candidate=of_candidate,
        difference=difference,
        ratio=ratio,
        margin=margin,
        verdict=verdict(ratio, margin=margin, better="lower", none=1.0),
        pairing=met,
        detectable=None
        if (least := detectable_difference(logarithm(ratio), confidence)) is None
        else math.expm1(least),
        notes=notes_on_measure(metric, met, baseline, candidate),
    )


def notes_on_measure(metric: str, met: Pairing, baseline: Side, candidate: Side) -> tuple[str, ...]:
    """What a reader must know of the items that are not among the pairs, and of what was compared."""
    return (
        *unshared_note(met, baseline, candidate),
        *without_figure_note(metric, met, baseline, candidate),
        *beside(baseline, candidate),
        *(load_note(baseline, candidate) if metric not in AMOUNTS else []),
    )


def without_figure_note(metric: str, met: Pairing, baseline: Side, candidate: Side) -> list[str]:
    """The items that both sides were asked and one has no figure of: failed, used again, or never counted.

    Where that is all of them, the estimate itself says why.
    """
    without = met.n_common - met.n
    if not (without and met.n):
        return []
    names = names_apart(baseline, candidate)
    note = (
        f"{counted(without, 'item', HAS)} no {metric} on a side ({met.lost_baseline:,} of {names[0]}, "
        f"{met.lost_candidate:,} of {names[1]}) and {'is' if without == 1 else 'are'} left out"
    )
    is_timed_anew = metric in AMOUNTS or not any(side.columns.cached.any() for side in (baseline, candidate))
    return [note if is_timed_anew else f"{note}; an answer used again has no time. Try: steelyard run --fresh"]


def load_note(baseline: Side, candidate: Side) -> list[str]:
    """That two runs asked with very different numbers of requests on their way, on which all times depend."""
    if baseline.run == candidate.run:
        return []
    of_baseline, of_candidate = in_flight(baseline.columns), in_flight(candidate.columns)
    if of_baseline is None or of_candidate is None or not are_other_loads(of_baseline, of_candidate):
        return []
    return [f"their {in_words(of_baseline, baseline.run, of_candidate, candidate.run)}"]


def are_other_loads(one: float, other: float) -> bool:
    """Whether times under so many requests in flight, the medians, are no times under so many others."""
    least, most = sorted((one, other))
    return most >= FEWEST_AT_ONCE and most > LOADS_APART * least


def in_words(before: float, its_run: int, now: float, run: int) -> str:
    """That the times of two runs were taken under different loads."""
    return (
        "times were taken under different loads, by the requests on their way at once: "
        f"{before:,.0f} in run #{its_run}, {now:,.0f} in run #{run} (medians). Try: the same --concurrency"
    )


Four = tuple[Estimate, Estimate, Estimate, Estimate]
"""The candidate, the baseline, their difference and their ratio."""


def _figures(metric: str, columns: Columns) -> np.ndarray:
    """The figure of each request, NaN where it has none; a request that timed out took longer than any other."""
    if metric == "cost.per_request":
        figures = np.where(columns.cached, columns.saved_usd, columns.cost_usd)
    elif metric in AMOUNTS:
        figures = getattr(columns, metric)
    else:
        column = TIMES[metric.partition(".")[0]]
        figures = np.where(columns.cached, np.nan, getattr(columns, column))
        if column == "total_s":
            return np.asarray(np.where(columns.failure == "timeout", np.inf, _answered_only(figures, columns)))
    return _answered_only(figures, columns)


def _answered_only(figures: np.ndarray, columns: Columns) -> np.ndarray:
    return np.asarray(np.where(is_answered(columns), figures, np.nan))


def _fault(metric: str, pair: Paired, *sides: Side) -> str | None:
    if metric not in AMOUNTS and any(side.info.kind == "likelihood" for side in sides):
        return LIKELIHOOD
    for side in sides:
        if side.info.is_floor:
            return f"{side.name} is a floor: it takes no time and no money"
    unknown_to = [side.name for side in sides if np.isnan(_figures(metric, side.columns)).all()]
    if unknown_to:
        return f"no {metric} is known of {' and '.join(dict.fromkeys(unknown_to))}"
    return None if pair.n else "no item has a figure on both sides"


def _amounts(metric: str, pair: Paired, confidence: float) -> Four:
    unit = AMOUNTS[metric]
    above, below = _by_unit(pair.a, pair.clusters), _by_unit(pair.b, pair.clusters)
    found = stats.ratio_interval_fieller(numerator=above, denominator=below, confidence=confidence)
    of_a, of_b, gap = (_mean(values, pair.clusters, confidence) for values in (pair.a, pair.b, pair.differences))
    warned = "" if pair.clusters is None else cluster_warning(worth_of(pair.clusters))
    is_enough = pair.clusters is None or worth_of(pair.clusters).degrees is not None
    low, high = (found.low, found.high) if is_enough else (None, None)
    status = warned or ("ok" if low is not None else "every item costs the same, or too few to tell")
    over, told = ("items", "ok") if pair.clusters is None else ("clusters", warned or "ok")
    n = pair.n
    return (
        *(
            _estimate(metric, side.mean_diff, side.low, side.high, confidence, n, f"t over {over}", unit, told)
            for side in (of_a, of_b)
        ),
        _estimate(metric, gap.mean_diff, gap.low, gap.high, confidence, n, f"paired t over {over}", unit, told),
        _estimate(metric, found.ratio, low, high, confidence, n, "ratio of sums, Fieller", "ratio", status),
    )  # type: ignore[return-value]  # two sides make four


def _mean(values: np.ndarray, clusters: np.ndarray | None, confidence: float) -> TTest:
    if clusters is not None:
        return clustered_t(values, clusters, confidence=confidence)
    return stats.paired_t(a=values, b=np.zeros(len(values)), confidence=confidence)


def _by_unit(values: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
    """What each independent unit adds up to: an item, or a cluster of items."""
    if clusters is None:
        return values
    return np.bincount(np.unique(clusters, return_inverse=True)[1], weights=values)


def _percentiles(
    metric: str,
    pair: Paired,
    candidate: tuple[Columns, np.ndarray],
    baseline: tuple[Columns, np.ndarray],
    confidence: float,
) -> Four:
    p = PERCENTILES[metric.partition(".")[2]]
    (items_a, a), (items_b, b) = _of_items(pair, *candidate), _of_items(pair, *baseline)
    worth = None if pair.clusters is None else worth_of(pair.clusters)
    degrees = None if worth is None or are_of_a_size(worth) else worth.degrees
    found = stats.paired_quantiles(
        a=a, b=b, p=p, items_a=items_a, items_b=items_b, confidence=confidence, degrees=degrees
    )
    need = stats.min_n_for_quantile_bound(p=p, confidence=confidence, sided="two").n
    is_enough = worth is None or bear_percentile(worth, p, confidence=confidence)
    is_bounded = is_enough and found.ratio_low is not None and found.ratio_high is not None
    warned = "" if worth is None else percentile_warning(worth, p, confidence=confidence)
    status = warned or ("ok" if is_bounded else _too_few(need, pair.n, a, b))
    has_tail = p <= 0.5 or (not is_enough and need is not None and pair.n >= need)
    is_known = is_bounded or has_tail  # a tail of too few values is no number
    low, high = (found.ratio_low, found.ratio_high) if is_bounded else (None, None)
    gap_low, gap_high = (found.difference_low, found.difference_high) if is_bounded else (None, None)
    how = HOW[found.method]
    difference, ratio = (found.difference, found.ratio) if is_known else (None, None)
    return (
        *(
            _bounded(metric, point if is_known else None, values, units, worth, p, confidence, status)
            for point, values, units in ((found.a, a, items_a), (found.b, b, items_b))
        ),
        _estimate(metric, difference, gap_low, gap_high, confidence, pair.n, how, "s", status),
        _estimate(metric, ratio, low, high, confidence, pair.n, how, "ratio", status),
    )  # type: ignore[return-value]  # two sides make four


def _of_items(pair: Paired, columns: Columns, figures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The requests of the paired items that have a figure: whose they are (item or cluster), and what it is."""
    chosen = np.isin(columns.sample, pair.items) & ~np.isnan(figures)
    items = columns.sample[chosen]
    units = items if pair.clusters is None else pair.clusters[np.searchsorted(pair.items, items)]
    return units, figures[chosen]


def _bounded(
    metric: str,
    point: float | None,
    values: np.ndarray,
    units: np.ndarray,
    worth: ClusteredMean | None,
    p: float,
    confidence: float,
    status: str,
) -> Estimate:
    """One side's percentile; ``status`` says why it has no value, or no bounds."""
    if worth is None:
        bounds = stats.quantile_interval(values=values, p=p, confidence=confidence)
    else:
        bounds = stats.clustered_quantile_interval(
            values=values, clusters=units, p=p, confidence=confidence, degrees=worth.degrees
        )
    is_enough = worth is None or bear_percentile(worth, p, confidence=confidence)
    low, high = (bounds.low, bounds.high) if is_enough else (None, None)
    high = high if high is not None and np.isfinite(high) else None
    told = "ok" if point is not None and (worth is None or low is not None) else status
    return _estimate(metric, point, low, high, confidence, len(values), "order statistics", "s", told)


def _too_few(need: int | None, have: int, a: np.ndarray, b: np.ndarray) -> str:
    if need is not None and have < need:
        return f"n too small: need {need}, have {have}"
    is_timed = np.isfinite(a).all() and np.isfinite(b).all()
    return "too few that differ" if is_timed else "among answers that timed out"


def _estimate(
    metric: str,
    value: float | None,
    low: float | None,
    high: float | None,
    confidence: float,
    n: int,
    method: str,
    unit: str,
    status: str = "ok",
) -> Estimate:
    estimand: Estimand = "this run" if metric not in AMOUNTS else "questions like these"
    is_bounded = value is not None and low is not None and high is not None
    return Estimate(
        metric=metric,
        value=value,
        low=low if is_bounded else None,
        high=high if is_bounded else None,
        level=confidence if is_bounded else None,
        n=n,
        method=method,
        unit=unit,
        estimand=estimand,
        status=status,
    )


def _unknown(metric: str, fault: str) -> Four:
    unit = AMOUNTS.get(metric, "s")
    side, ratio = unknown(metric, unit, fault), unknown(metric, "ratio", fault)
    return side, side, side, ratio
