"""Comparisons in words: every number of a sentence is one of its comparison's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steelyard.analysis.stopped import is_repeated
from steelyard.analysis.wording import factor, point_decimals, signed_points, written
from steelyard.types import Comparison, Estimate

MEASURES = {
    "latency.p50": "median latency",
    "latency.p95": "P95 latency",
    "latency.p99": "P99 latency",
    "ttft.p50": "median time to first token",
    "ttft.p95": "P95 time to first token",
    "ttft.p99": "P99 time to first token",
    "ttfo.p50": "median time to first answer token",
    "ttfo.p95": "P95 time to first answer token",
    "ttfo.p99": "P99 time to first answer token",
    "tpot.p50": "median time per output token",
    "tpot.p95": "P95 time per output token",
    "tpot.p99": "P99 time per output token",
    "tokens_per_second": "output tokens per second",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "reasoning_tokens": "reasoning tokens",
    "cost.total": "cost",
    "cost.per_request": "cost a request",
    "cost.per_correct": "cost a right answer",
}
"""Measures as a sentence names them."""
TWICE = 1.995
PLAIN = {"wilson": "Wilson", "item means, t": "t over item means"}


def descriptive(estimate: Estimate) -> str:
    """``accuracy 86.4 % (84.2 to 88.4, Wilson 95 %, n = 1,000)``; without an interval, why there is none."""
    if estimate.value is None:
        return f"{estimate.metric} unknown: {estimate.status}"
    text, opened, bounds = written(estimate).partition(" (")
    level = f"{100 * (estimate.level or 0):.4g} %"
    known = PLAIN.get(estimate.method)
    how = f"{known} {level}" if known else f"{level}, {estimate.method}"
    why = [] if estimate.status == "ok" else [f"no interval: {estimate.status}"]
    inner = [bounds.rstrip(")"), how] if opened else [estimate.method, *why]
    return f"{estimate.metric} {text} ({', '.join([*inner, f'n = {estimate.n:,}'])})"


def points(estimate: Estimate) -> str:
    """A difference of shares with its sign and bounds: ``+2.1 (+0.8 to +3.4)``."""
    if estimate.value is None:
        return "unknown"
    decimals = point_decimals(estimate)
    text = signed_points(estimate.value, decimals)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({signed_points(estimate.low, decimals)} to {signed_points(estimate.high, decimals)})"


def times(estimate: Estimate | None, form: str = "x{}") -> str:
    """A ratio with its bounds: ``x0.82 (0.78 to 0.86)``."""
    if estimate is None or estimate.value is None:
        return "unknown" if estimate is None or not estimate.status.startswith("n too small") else "n too small"
    text = form.format(factor(estimate.value))
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({factor(estimate.low)} to {factor(estimate.high)})"


def named(metric: str) -> str:
    """A metric as a sentence names it; one without other words by its own name."""
    return MEASURES.get(metric, metric)


def names(comparison: Comparison) -> tuple[str, str]:
    """Candidate and baseline, with their runs where a model stands against itself."""
    if comparison.candidate != comparison.baseline:
        return comparison.candidate, comparison.baseline
    pair = (comparison.candidate_run, comparison.baseline_run)
    return f"{comparison.candidate} in #{pair[0]}", f"{comparison.baseline} in #{pair[1]}"


def sentence(comparison: Comparison, measures: Sequence[Comparison] = (), *, where: str = "") -> str:
    """The comparison as one sentence; of ``measures`` the cost, and else the latency, is put beside it.

    ``where`` names the benchmark, where there are several.
    """
    difference = comparison.ratio if comparison.ratio is not None else comparison.difference
    if difference.value is None:
        who, other = names(comparison)
        return f"{who} and {other} cannot be compared on {comparison.metric}: {difference.status}."
    claim = f"{_claim(comparison)} on {where}" if where else _claim(comparison)
    return f"{claim} ({_evidence(comparison, difference)}){_beside(measures, difference.level)}.{_doubt(comparison)}"


def lead_words(comparison: Comparison, measures: Sequence[Comparison] = ()) -> str:
    """What a leader has over the next one, to go on a sentence: ``5.0 points more than b (95 % interval ...)``."""
    words = f"{_more_or_less(comparison)} than {names(comparison)[1]}"
    evidence = _evidence(comparison, comparison.difference)
    return f"{words} ({evidence}){_beside(measures, comparison.difference.level)}"


def _more_or_less(comparison: Comparison) -> str:
    value = 100 * (comparison.difference.value or 0.0)
    return f"{abs(value):.{point_decimals(comparison.difference)}f} points {'more' if value > 0 else 'less'}"


def _claim(comparison: Comparison) -> str:
    who, other = names(comparison)
    if comparison.ratio is not None:
        assert comparison.ratio.value is not None
        measure = named(comparison.metric)
        if is_alike(comparison):
            return f"{who}'s {measure} is that of {other}"
        return f"{who}'s {measure} is {factor(comparison.ratio.value)} times that of {other}"
    value = 100 * (comparison.difference.value or 0.0)
    what = "answers" if comparison.metric == "accuracy" else f"scores on {comparison.metric}"
    if round(abs(value), point_decimals(comparison.difference)) == 0:
        return f"{who} {what} as much as {other}"
    return f"{who} {what} {_more_or_less(comparison)} than {other}"


def is_alike(comparison: Comparison) -> bool:
    """Whether both sides took the same on every item, so that there is nothing to tell apart."""
    ratio = comparison.ratio
    ends = () if ratio is None else (ratio.value, ratio.low, ratio.high)
    return bool(ends) and all(end is not None and math.isclose(end, 1.0, rel_tol=1e-9) for end in ends)


def _evidence(comparison: Comparison, difference: Estimate) -> str:
    parts = []
    if difference.low is not None and difference.high is not None and not is_alike(comparison):
        decimals = point_decimals(difference)
        low, high = (
            factor(end) if comparison.ratio is not None else signed_points(end, decimals)
            for end in (difference.low, difference.high)
        )
        looks = " over all looks" if is_repeated(difference) else ""
        parts.append(f"{100 * (difference.level or 0):.3g} % interval {low} to {high}{looks}")
    variate = comparison.control_variate
    if variate is not None and difference.estimand == "this benchmark":
        where = "of this benchmark" if variate.is_whole else "of the baseline's items"
        return ", ".join([*parts, where, "regression estimator", f"n = {variate.items:,} of {variate.population:,}"])
    return ", ".join([*parts, "paired", f"n = {difference.n:,}"])


def _beside(measures: Sequence[Comparison], level: float | None) -> str:
    """The cost, and else the latency; its bounds name their level where it is another than the difference's."""
    for metric, words in (("cost.per_request", "the cost"), ("latency.p50", "the median latency")):
        for one in measures:
            if one.metric == metric and one.ratio is not None and one.ratio.value is not None:
                return f" at {_share_or_times(one.ratio.value)} {words}{_between(one.ratio, level)}"
    return ""


def _share_or_times(ratio: float) -> str:
    """Per cent are read well below twice as much."""
    if ratio < TWICE:
        return f"{100 * ratio:.3g} % of"
    return f"{ratio:.3g} times" if ratio < 999.5 else f"{ratio:,.0f} times"


def _between(ratio: Estimate, level: float | None) -> str:
    """The bounds in the same unit; nothing where there are none, or where every item has the same ratio."""
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return ""
    scale = 100 if ratio.value < TWICE else 1
    low, high = (
        f"{scale * end:.3g}" if scale * end < 999.5 else f"{scale * end:,.0f}" for end in (ratio.low, ratio.high)
    )
    named = f"{100 * (ratio.level or 0):.3g} % interval " if level is not None and ratio.level != level else ""
    return "" if low == high else f" ({named}{low} to {high})"


def _doubt(comparison: Comparison) -> str:
    if comparison.verdict == "equivalent" and comparison.margin is not None:
        return f" Within the margin of {_margin(comparison)} either way: equivalent."
    if comparison.verdict == "inconclusive" and not is_alike(comparison):
        return " That is not enough to tell them apart."
    return ""


def _margin(comparison: Comparison) -> str:
    margin = 100 * (comparison.margin or 0.0)
    return f"{margin:g} %" if comparison.ratio is not None else f"{margin:g} points"
