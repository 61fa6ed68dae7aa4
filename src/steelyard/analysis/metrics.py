"""Every number that Steelyard knows: its name, unit, definition, and how it is computed from a cell's columns.

A metric is a value in a literal table. What does not apply to a cell (latency of a likelihood) or is not known (a
price) has no value and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.types import CellInfo, Columns, Estimand, Estimate

MUCH_ERRORED = 0.01
WINDOWS = 10
FEWEST_FOR_WINDOWS = 50
PERCENTILES = (0.50, 0.95, 0.99)
TRUNCATED = ("length", "max_tokens")
REFUSED = ("refusal", "content_filter")
BYTES_PER_MB = 1e6
LIKELIHOOD = "not measured: log-likelihood requests are none that a user would make"
NOT_STREAMED = "not streamed"


class Context(Struct, frozen=True, kw_only=True):
    """What a metric may need to know beside the columns. ``resources`` are the run's, over all its sessions."""

    info: CellInfo
    resources: dict[str, float] = {}
    confidence: float = 0.95


class Metric(Struct, frozen=True, kw_only=True):
    """One number: what it is called, in which unit, which way is better, what it means."""

    name: str
    unit: str
    better: Literal["higher", "lower"] | None
    definition: str
    compute: Callable[[Columns, Context], Estimate]


def unknown(metric: str, unit: str, status: str, *, n: int = 0, method: str = "none") -> Estimate:
    """An estimate without a value, which says why."""
    return Estimate(metric=metric, value=None, n=n, method=method, unit=unit, status=status)


def counted(metric: str, unit: str, value: float, *, n: int = 1) -> Estimate:
    """A count or a peak: no sampling error, so no interval."""
    return Estimate(metric=metric, value=float(value), n=n, method="count", unit=unit, estimand="this run")


# Accuracy


def accuracy(metric: str, columns: Columns, context: Context) -> Estimate:
    """The mean score of scored items. One answer an item: Wilson. Repeats: item means, Student's t."""
    scores = columns.scores.get(metric)
    if scores is None:
        return unknown(metric, "share", "not given by this protocol")
    scored = ~np.isnan(scores)
    if not scored.any():
        return unknown(metric, "share", "nothing was scored")
    means = _item_means(scores[scored], columns.sample[scored])
    if len(means) == int(scored.sum()) and _is_binary(means):
        return _share(metric, float(means.sum()), len(means), context, status=_error_warning(columns))
    return _mean_of_items(metric, means, context, status=_error_warning(columns))


def _item_means(scores: np.ndarray, items: np.ndarray) -> np.ndarray:
    _, membership, counts = np.unique(items, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(membership, weights=scores) / counts)


def _is_binary(values: np.ndarray) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _mean_of_items(metric: str, means: np.ndarray, context: Context, *, status: str) -> Estimate:
    found = stats.mean_interval(values=means, confidence=context.confidence)
    if found.low is None or found.high is None:  # all items alike: no spread to build a t interval on
        return _share(metric, float(means.sum()), len(means), context, status=status)
    return Estimate(
        metric=metric,
        value=found.mean,
        low=max(0.0, found.low),
        high=min(1.0, found.high),
        level=context.confidence,
        n=len(means),
        method="item means, t",
        unit="share",
        status=status,
    )


def _share(
    metric: str,
    successes: float,
    n: int,
    context: Context,
    *,
    status: str = "ok",
    estimand: Estimand = "questions like these",
) -> Estimate:
    if n == 0:
        return unknown(metric, "share", "nothing to count", method="wilson")
    bounds = stats.wilson_interval(successes=successes, n=n, confidence=context.confidence)
    return Estimate(
        metric=metric,
        value=successes / n,
        low=bounds.low,
        high=bounds.high,
        level=context.confidence,
        n=n,
        method="wilson",
        unit="share",
        estimand=estimand,
        status=status,
    )


def _error_warning(columns: Columns) -> str:
    total = len(columns.sample)
    lost = total - _headline_scored(columns)
    if total and lost / total > MUCH_ERRORED:
        return f"{lost} of {total} not scored: read it with its bounds"
    return "ok"


def _headline(columns: Columns) -> np.ndarray:
    return next(iter(columns.scores.values()), np.array([]))


def _headline_scored(columns: Columns) -> int:
    return int((~np.isnan(_headline(columns))).sum())


def bound(metric: str, fill: float, columns: Columns, context: Context) -> Estimate:
    """Accuracy if every unscored item were wrong (0) or right (1)."""
    scores = _headline(columns)
    if not len(scores):
        return unknown(metric, "share", "nothing was asked")
    filled = np.where(np.isnan(scores), fill, scores)
    return counted(metric, "share", float(_item_means(filled, columns.sample).mean()), n=len(filled))


# Counts and shares of outcomes


def attempted(columns: Columns, context: Context) -> Estimate:
    """Requests whose end is known."""
    return counted("attempted", "requests", len(columns.sample))


def answered(columns: Columns, context: Context) -> Estimate:
    """Requests that were answered, well or not."""
    return counted("answered", "requests", int(_answered(columns).sum()))


def scored(columns: Columns, context: Context) -> Estimate:
    """Answers that a grader has judged."""
    return counted("scored", "requests", _headline_scored(columns))


def errored(columns: Columns, context: Context) -> Estimate:
    """Requests that failed after their last try."""
    return counted("errored", "requests", int((~_answered(columns)).sum()))


def api_calls(columns: Columns, context: Context) -> Estimate:
    """Requests that were sent, retries and calls asked again included."""
    if context.info.is_floor:
        return counted("api_calls", "requests", 0)
    return counted("api_calls", "requests", int(columns.tries[~columns.cached].sum()) + columns.superseded)


def reliability(columns: Columns, context: Context) -> Estimate:
    """The share of requests that were answered."""
    if context.info.is_floor:
        return unknown("reliability", "share", "a floor sends nothing")
    return _share("reliability", float(_answered(columns).sum()), len(columns.sample), context)


def unparsed(columns: Columns, context: Context) -> Estimate:
    """Answers that were judged but held no answer in the asked form."""
    parsed = next(iter(columns.parsed.values()), np.array([], dtype=bool))
    judged = ~np.isnan(_headline(columns))
    return _share("unparsed", float((judged & ~parsed).sum()), int(judged.sum()), context)


def truncated(columns: Columns, context: Context) -> Estimate:
    """Answers cut off by the token limit."""
    return _outcome_share("truncated", np.isin(columns.stop_reason, TRUNCATED), columns, context)


def refused(columns: Columns, context: Context) -> Estimate:
    """Answers that the model or the service's filter refused to give."""
    return _outcome_share("refused", np.isin(columns.stop_reason, REFUSED), columns, context)


def empty(columns: Columns, context: Context) -> Estimate:
    """Answers without any text."""
    return _outcome_share("empty", columns.answered_empty, columns, context)


def _outcome_share(metric: str, has_it: np.ndarray, columns: Columns, context: Context) -> Estimate:
    came = _answered(columns)
    return _share(metric, float((has_it & came).sum()), int(came.sum()), context)


def _answered(columns: Columns) -> np.ndarray:
    return np.asarray(columns.failure == "", dtype=bool)


# Time


def mean_time(metric: str, column: str, columns: Columns, context: Context) -> Estimate:
    """The mean of a time over requests; a timed-out one counts with the time after which it was given up."""
    values, timed_out = _times(column, columns)
    if fault := _untimed(context, values, column):
        return unknown(metric, "s", fault)
    found = stats.mean_interval(values=np.concatenate([values, timed_out]), confidence=context.confidence)
    status = f"at least: {len(timed_out)} timed out" if len(timed_out) else "ok"
    return Estimate(
        metric=metric,
        value=found.mean,
        low=None if found.low is None else max(0.0, found.low),
        high=found.high,
        level=None if found.low is None else context.confidence,
        n=found.n,
        method="t",
        unit="s",
        estimand="this run",
        status=status if found.low is not None or len(timed_out) else "n too small: need 2 that differ",
    )


def percentile_time(metric: str, column: str, p: float, columns: Columns, context: Context) -> Estimate:
    """A percentile of a time over requests, with order-statistic bounds; timed-out ones lie above all others."""
    values, timed_out = _times(column, columns)
    if fault := _untimed(context, values, column):
        return unknown(metric, "s", fault)
    censored = np.concatenate([values, np.full(len(timed_out), np.inf)])
    bounds = stats.quantile_interval(values=censored, p=p, confidence=context.confidence)
    point = _linear(np.sort(censored), p)
    limit = float(timed_out.min()) if len(timed_out) else None
    return _percentile(metric, p, point, bounds.low, bounds.high, censored, context, limit_s=limit)


def itl(metric: str, p: float, columns: Columns, context: Context) -> Estimate:
    """A percentile of all gaps between chunks, bounded as if there were only as many as their clustering is worth."""
    if context.info.kind == "likelihood" or context.info.is_floor:
        return unknown(metric, "s", _no_clock(context))
    if not len(columns.gaps_s):
        return unknown(metric, "s", NOT_STREAMED)
    requests = np.repeat(np.arange(len(columns.sample)), np.diff(columns.gap_starts))
    fresh = ~columns.cached[requests]
    gaps, requests = columns.gaps_s[fresh], requests[fresh]
    if not len(gaps):
        return unknown(metric, "s", "every answer came from the cache")
    bounds = stats.clustered_quantile_interval(values=gaps, clusters=requests, p=p, confidence=context.confidence)
    point = _linear(np.sort(gaps), p)
    return _percentile(metric, p, point, bounds.low, bounds.high, gaps, context, worth=bounds.effective_n)


def _percentile(
    metric: str,
    p: float,
    point: float,
    low: float | None,
    high: float | None,
    values: np.ndarray,
    context: Context,
    *,
    worth: float | None = None,
    limit_s: float | None = None,
) -> Estimate:
    method = "order statistics" if worth is None else f"order statistics at effective n {worth:,.0f}"
    have = len(values) if worth is None else int(worth)
    status = "ok"
    if low is None or high is None:
        need = stats.min_n_for_quantile_bound(p=p, confidence=context.confidence, sided="two").n
        status = f"n too small: need {need}, have {have}; longest {values.max():.4g} s"
    if not np.isfinite(point):
        status = f">= {limit_s:g} s: timed out"
    settled = status == "ok"
    return Estimate(
        metric=metric,
        value=point if np.isfinite(point) and (settled or p <= 0.5) else None,
        low=low if settled else None,
        high=high if settled and high is not None and np.isfinite(high) else None,
        level=context.confidence if settled else None,
        n=len(values),
        method=method,
        unit="s",
        estimand="this run",
        status=status,
    )


def _times(column: str, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """The measured values of answered requests, and how long the timed-out ones ran."""
    values = getattr(columns, column)
    measured = _answered(columns) & ~columns.cached & ~np.isnan(values)
    timed_out = (columns.failure == "timeout") & ~np.isnan(columns.total_s)
    return values[measured], columns.total_s[timed_out]


def _untimed(context: Context, values: np.ndarray, column: str) -> str | None:
    if context.info.kind == "likelihood" or context.info.is_floor:
        return _no_clock(context)
    if not len(values):
        return NOT_STREAMED if column in ("ttft_s", "tpot_s") else "nothing was measured"
    return None


def _no_clock(context: Context) -> str:
    return "a floor has no latency" if context.info.is_floor else LIKELIHOOD


def _linear(ordered: np.ndarray, p: float) -> float:
    """Type 7 percentile of sorted values in which the largest may be infinite."""
    place = p * (len(ordered) - 1)
    low, high = int(np.floor(place)), int(np.ceil(place))
    if low == high or not np.isfinite(ordered[high]):
        return float(ordered[high])
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))


# Rates


def rate(metric: str, unit: str, of: Callable[[Columns], np.ndarray], columns: Columns, context: Context) -> Estimate:
    """Something per second of wall time, over the time in which this cell was busy; bounds from ten equal windows."""
    if context.info.is_floor:
        return unknown(metric, unit, "a floor has no rate")
    amounts = of(columns)
    counts = _answered(columns) & ~columns.cached & ~np.isnan(amounts)
    if not counts.any():
        return unknown(metric, unit, "nothing was counted")
    ended_s, busy_s = _busy_clock(columns, counts)
    if busy_s <= 0:
        return unknown(metric, unit, "too short to tell")
    n = int(counts.sum())
    value = float(amounts[counts].sum()) / busy_s
    if n < FEWEST_FOR_WINDOWS:
        status = f"n too small for an interval: need {FEWEST_FOR_WINDOWS}, have {n}"
        return Estimate(metric=metric, value=value, n=n, method="total over wall time", unit=unit,
                        estimand="this run", status=status)  # fmt: skip
    windows, _ = np.histogram(ended_s, bins=WINDOWS, range=(0.0, busy_s), weights=amounts[counts])
    found = stats.mean_interval(values=windows * WINDOWS / busy_s, confidence=context.confidence)
    return Estimate(
        metric=metric,
        value=value,
        low=None if found.low is None else max(0.0, found.low),
        high=found.high,
        level=context.confidence,
        n=n,
        method=f"total over wall time; t over {WINDOWS} windows",
        unit=unit,
        estimand="this run",
    )


def _busy_clock(columns: Columns, counts: np.ndarray) -> tuple[np.ndarray, float]:
    """When each answer ended, on a clock that stands still between a resumed run's sessions, and its last reading."""
    ended_s = np.zeros(len(columns.session))
    elapsed_s = 0.0
    for session in np.unique(columns.session[counts]):
        chosen = counts & (columns.session == session)
        start_s = float(columns.started_s[chosen].min())
        ended_s[chosen] = elapsed_s + columns.ended_s[chosen] - start_s
        elapsed_s += float(columns.ended_s[chosen].max()) - start_s
    return ended_s[counts], elapsed_s


def _ones(columns: Columns) -> np.ndarray:
    return np.ones(len(columns.sample))


def _output_tokens(columns: Columns) -> np.ndarray:
    return columns.output_tokens


# Tokens and money


def total_tokens(metric: str, column: str, columns: Columns, context: Context) -> Estimate:
    """Tokens over all answered requests, as reported."""
    values = getattr(columns, column)[_answered(columns)]
    known = values[~np.isnan(values)]
    if not len(known):
        return unknown(metric, "tokens", "not reported")
    estimate = counted(metric, "tokens", float(known.sum()), n=len(known))
    if len(known) == len(values):
        return estimate
    return Estimate(metric=metric, value=estimate.value, n=len(known), method="count", unit="tokens",
                    estimand="this run", status=f"{len(values) - len(known)} answers without a count")  # fmt: skip


def cost_total(columns: Columns, context: Context) -> Estimate:
    """What all answers cost together, those of calls asked again included."""
    costs, fault = _costs(columns, context)
    if fault:
        return unknown("cost.total", "USD", fault, n=len(costs))
    return counted("cost.total", "USD", float(costs.sum()) + columns.superseded_cost_usd, n=len(costs))


def cost_per_request(columns: Columns, context: Context) -> Estimate:
    """The mean cost of an answered request."""
    costs, fault = _costs(columns, context)
    return _mean_cost("cost.per_request", costs, fault, context)


def cost_per_item(columns: Columns, context: Context) -> Estimate:
    """The mean cost of an item with all its repeats."""
    costs, fault = _costs(columns, context)
    items = columns.sample[_answered(columns)]
    per_item = np.array([]) if fault else np.bincount(np.unique(items, return_inverse=True)[1], weights=costs)
    return _mean_cost("cost.per_item", per_item, fault, context)


def _mean_cost(metric: str, costs: np.ndarray, fault: str | None, context: Context) -> Estimate:
    if fault:
        return unknown(metric, "USD", fault)
    found = stats.mean_interval(values=costs, confidence=context.confidence)
    return Estimate(
        metric=metric,
        value=found.mean,
        low=None if found.low is None else max(0.0, found.low),
        high=found.high,
        level=None if found.low is None else context.confidence,
        n=found.n,
        method="t",
        unit="USD",
        status="ok" if found.low is not None else "every request cost the same",
    )


def cost_per_token(columns: Columns, context: Context) -> Estimate:
    """Total cost over total tokens, input and output."""
    costs, fault = _costs(columns, context)
    tokens = (columns.input_tokens + columns.output_tokens)[_answered(columns)]
    if not fault and np.isnan(tokens).any():
        fault = "not every answer has a token count"
    return _cost_ratio("cost.per_token", costs, tokens, fault, context)


def cost_per_correct(columns: Columns, context: Context) -> Estimate:
    """Total cost over the number of right answers: what a right answer costs, wrong ones paid for."""
    costs, fault = _costs(columns, context)
    scores = _headline(columns)
    right = np.nan_to_num(scores)[_answered(columns)] if len(scores) else np.array([])
    return _cost_ratio("cost.per_correct", costs, right, fault, context)


def _cost_ratio(metric: str, costs: np.ndarray, below: np.ndarray, fault: str | None, context: Context) -> Estimate:
    if fault:
        return unknown(metric, "USD", fault)
    found = stats.ratio_interval_fieller(numerator=costs, denominator=below, confidence=context.confidence)
    is_bounded = found.low is not None
    return Estimate(
        metric=metric,
        value=found.ratio,
        low=found.low,
        high=found.high,
        level=context.confidence if is_bounded else None,
        n=len(costs),
        method="ratio of sums, Fieller",
        unit="USD",
        status="ok" if is_bounded else "not estimable: too few right answers" if "correct" in metric else "no interval",
    )


def _costs(columns: Columns, context: Context) -> tuple[np.ndarray, str | None]:
    """The costs of answered requests, or why they are not known."""
    costs = columns.cost_usd[_answered(columns)]
    if context.info.is_floor:
        return costs, "a floor costs nothing and buys nothing"
    if not len(costs):
        return costs, "nothing was answered"
    missing = int(np.isnan(costs).sum())
    if missing == len(costs):
        return costs, "price or tokens unknown"
    return costs, f"{missing} of {len(costs)} answers have no known cost" if missing else None


# The machine


def resource(metric: str, unit: str, key: str, scale: float, columns: Columns, context: Context) -> Estimate:
    """A figure of the whole run's process, or of the local models beside it."""
    value = context.resources.get(key)
    if value is None or (key.startswith("model_") and not _is_local(context)):
        return unknown(metric, unit, "not measured")
    return counted(metric, unit, value / scale)


def cpu(columns: Columns, context: Context) -> Estimate:
    """Processor seconds of the client per second of wall time, over the whole run."""
    return _cores("cpu", "cpu_s", context)


def model_cpu(columns: Columns, context: Context) -> Estimate:
    """Processor seconds of the local models' processes per second of wall time, over the whole run."""
    if not _is_local(context):
        return unknown("model_cpu", "cores", "not measured")
    return _cores("model_cpu", "model_cpu_s", context)


def _cores(metric: str, key: str, context: Context) -> Estimate:
    used_s, wall_s = context.resources.get(key), context.resources.get("wall_s")
    if used_s is None or not wall_s:
        return unknown(metric, "cores", "not measured")
    return counted(metric, "cores", used_s / wall_s)


def _is_local(context: Context) -> bool:
    return context.info.origin.startswith("llama.cpp")


def _time_metrics() -> list[Metric]:
    quantities = {
        "latency": (
            "total_s",
            "seconds from dispatch to the last token, or to the end of a reply that is not streamed",
        ),
        "ttft": ("ttft_s", "seconds from dispatch to the first token of any channel"),
        "tpot": ("tpot_s", "seconds per output token after the first: (total - TTFT) / (output tokens - 1)"),
    }
    found = []
    for name, (column, meaning) in quantities.items():
        mean = f"{name}.mean"
        found.append(_metric(mean, "s", "lower", f"mean {meaning}", partial(mean_time, mean, column)))
        for p in PERCENTILES:
            key = f"{name}.p{100 * p:.0f}"
            compute = partial(percentile_time, key, column, p)
            found.append(_metric(key, "s", "lower", f"{100 * p:.0f}th percentile of {meaning}", compute))
    for p in PERCENTILES:
        key = f"itl.p{100 * p:.0f}"
        meaning = (
            f"{100 * p:.0f}th percentile of the seconds between neighbouring chunks with text, all requests pooled"
        )
        found.append(_metric(key, "s", "lower", meaning, partial(itl, key, p)))
    return found


def _metric(name: str, unit: str, better: Any, definition: str, compute: Any) -> Metric:
    return Metric(name=name, unit=unit, better=better, definition=definition, compute=compute)


_LOWER, _UPPER = "accuracy.lower_bound", "accuracy.upper_bound"
_TOKENS = {
    "input_tokens": "input tokens of all answered requests, as reported",
    "output_tokens": "output tokens of all answered requests, as reported",
    "cached_input_tokens": "input tokens that the service read from its prompt cache",
    "reasoning_tokens": "output tokens spent on reasoning",
}
_PEAKS = {
    "peak_rss_mb": ("peak_rss_bytes", "peak resident memory of the client"),
    "model_peak_rss_mb": ("model_peak_rss_bytes", "peak resident memory of the local models' processes"),
}

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric("accuracy", "share", "higher", "share of scored items answered right", partial(accuracy, "accuracy")),
        _metric(_LOWER, "share", None, "accuracy if every unscored item were wrong", partial(bound, _LOWER, 0.0)),
        _metric(_UPPER, "share", None, "accuracy if every unscored item were right", partial(bound, _UPPER, 1.0)),
        _metric("attempted", "requests", None, "requests whose end is known", attempted),
        _metric("answered", "requests", None, "requests that were answered", answered),
        _metric("scored", "requests", None, "answers that a grader judged", scored),
        _metric("errored", "requests", "lower", "requests that failed after their last try", errored),
        _metric("unparsed", "share", "lower", "share of judged answers not in the asked form (wrong)", unparsed),
        _metric("truncated", "share", "lower", "share of answers cut off by the token limit", truncated),
        _metric("refused", "share", "lower", "share of answers refused by the model or a filter", refused),
        _metric("empty", "share", "lower", "share of answers without text", empty),
        _metric("reliability", "share", "higher", "share of requests that were answered", reliability),
        *_time_metrics(),
        _metric(
            "tokens_per_second",
            "tokens/s",
            "higher",
            "output tokens over wall time",
            partial(rate, "tokens_per_second", "tokens/s", _output_tokens),
        ),
        _metric(
            "requests_per_second",
            "requests/s",
            "higher",
            "answered requests over wall time; for a likelihood protocol these are its questions",
            partial(rate, "requests_per_second", "requests/s", _ones),
        ),
        *(
            _metric(name, "tokens", None, meaning, partial(total_tokens, name, name))
            for name, meaning in _TOKENS.items()
        ),
        _metric("cost.total", "USD", "lower", "cost of all answers", cost_total),
        _metric("cost.per_request", "USD", "lower", "mean cost of an answered request", cost_per_request),
        _metric("cost.per_item", "USD", "lower", "mean cost of an item with all its repeats", cost_per_item),
        _metric("cost.per_token", "USD", "lower", "total cost over input and output tokens", cost_per_token),
        _metric("cost.per_correct", "USD", "lower", "total cost over right answers", cost_per_correct),
        _metric("api_calls", "requests", "lower", "requests that were sent, retries included", api_calls),
        *(
            _metric(name, "MB", "lower", meaning, partial(resource, name, "MB", key, BYTES_PER_MB))
            for name, (key, meaning) in _PEAKS.items()
        ),
        _metric("cpu", "cores", "lower", "processor seconds of the client per second", cpu),
        _metric("model_cpu", "cores", "lower", "processor seconds of the local models per second", model_cpu),
    )
}
