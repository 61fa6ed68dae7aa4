"""Times and rates: means, percentiles with distribution-free bounds, and amounts over wall time."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from steelyard import stats
from steelyard.analysis.clusters import (
    bear_percentile,
    cluster_warning,
    clustered_t,
    clusters_needed,
    clusters_of_requests,
    percentile_warning,
    worth_of,
)
from steelyard.analysis.estimates import ALL_CACHED, MADE_ELSEWHERE, Context, counted, is_answered, unknown
from steelyard.types import Columns, Estimate

WINDOWS = 10
FEWEST_FOR_WINDOWS = 50
LIKELIHOOD = "not measured: log-likelihood requests are none that a user would make"
NOT_STREAMED = "not streamed"
OF_TOKENS = ("ttft_s", "ttfo_s", "tpot_s")
NO_FIRST_ANSWER = "not recorded: no answer began with a token, or an older Steelyard asked"
BY_BATCHES = "asked by batches, which nobody waits for: neither latency nor rate"


def mean_time(metric: str, column: str, columns: Columns, context: Context) -> Estimate:
    """The mean of a time over requests; a timed-out one counts with the time after which it was given up."""
    values, timed_out = _times(column, columns)
    if fault := _untimed(columns, context, values, column):
        return unknown(metric, "s", fault)
    everything = np.concatenate([values, timed_out])
    clusters = _clusters(column, columns)
    if clusters is not None:
        return _clustered_time(metric, everything, clusters, len(timed_out), context)
    found = stats.mean_interval(values=everything, confidence=context.confidence)
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


def _clustered_time(
    metric: str, values: np.ndarray, clusters: np.ndarray, timed_out: int, context: Context
) -> Estimate:
    """Times of one cluster resemble each other, as its scores do."""
    found = clustered_t(values, clusters, confidence=context.confidence)
    warned = cluster_warning(worth_of(clusters)) or ("ok" if found.low is not None else "clusters are all alike")
    return Estimate(
        metric=metric,
        value=found.mean_diff,
        low=None if found.low is None else max(0.0, found.low),
        high=found.high,
        level=None if found.low is None else context.confidence,
        n=len(values),
        method=f"{len(np.unique(clusters))} clusters, CR1, t",
        unit="s",
        estimand="this run",
        status=f"at least: {timed_out} timed out" if timed_out and found.low is not None else warned,
    )


def percentile_time(metric: str, column: str, p: float, columns: Columns, context: Context) -> Estimate:
    """A percentile of a time over requests, with order-statistic bounds; timed-out ones lie above all others.

    Of items in clusters they are taken at as many requests as the clusters are worth. Where these are too few for
    bounds the value stands alone, and the status says why.
    """
    values, timed_out = _times(column, columns)
    if fault := _untimed(columns, context, values, column):
        return unknown(metric, "s", fault)
    censored = np.concatenate([values, np.full(len(timed_out), np.inf)])
    point = _linear(np.sort(censored), p)
    limit = float(timed_out.min()) if len(timed_out) else None
    clusters = _clusters(column, columns)
    if clusters is not None:
        return _clustered_percentile(metric, p, point, censored, clusters, context, limit_s=limit)
    bounds = stats.quantile_interval(values=censored, p=p, confidence=context.confidence)
    return _percentile(metric, p, point, bounds.low, bounds.high, censored, context, limit_s=limit)


def itl(metric: str, p: float, columns: Columns, context: Context) -> Estimate:
    """A percentile of all gaps between chunks, bounded as if there were only as many as their clustering is worth."""
    if context.info.kind == "likelihood" or context.info.is_floor:
        return unknown(metric, "s", _no_clock(context))
    if not len(columns.gaps_s):
        return unknown(metric, "s", _nothing(columns) or NOT_STREAMED)
    requests = np.repeat(np.arange(len(columns.sample)), np.diff(columns.gap_starts))
    fresh = ~columns.cached[requests]
    gaps, requests = columns.gaps_s[fresh], requests[fresh]
    if not len(gaps):
        return unknown(metric, "s", ALL_CACHED)
    bounds = stats.clustered_quantile_interval(values=gaps, clusters=requests, p=p, confidence=context.confidence)
    point = _linear(np.sort(gaps), p)
    return _percentile(metric, p, point, bounds.low, bounds.high, gaps, context, worth=bounds.effective_n)


def _clustered_percentile(
    metric: str,
    p: float,
    point: float,
    values: np.ndarray,
    clusters: np.ndarray,
    context: Context,
    *,
    limit_s: float | None,
) -> Estimate:
    worth = worth_of(clusters)
    bounds = stats.clustered_quantile_interval(
        values=values, clusters=clusters, p=p, confidence=context.confidence, degrees=worth.degrees
    )
    is_enough = bear_percentile(worth, p, confidence=context.confidence)
    low, high = (bounds.low, bounds.high) if is_enough else (None, None)
    found = _percentile(metric, p, point, low, high, values, context, worth=bounds.effective_n, limit_s=limit_s)
    has_more_to_say = found.status == "ok" or (not is_enough and np.isfinite(point))
    warned = percentile_warning(worth, p, confidence=context.confidence) if has_more_to_say else ""
    if not warned:
        return found
    needed = clusters_needed(worth, p, confidence=context.confidence)
    return msgspec.structs.replace(found, status=warned, missing=None, clusters_needed=needed)


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
    """A tail has a value from as many requests as its bounds need, whether or not these are worth as many."""
    method = "order statistics" if worth is None else f"order statistics at effective n {worth:,.0f}"
    have = len(values) if worth is None else int(worth)
    need = stats.min_n_for_quantile_bound(p=p, confidence=context.confidence, sided="two").n
    has_tail = p <= 0.5 or (need is not None and len(values) >= need)
    status, missing = "ok", None
    if low is None or high is None:
        status = f"n too small: need {need}, have {have}; longest {values.max():.4g} s"
        missing = None if need is None else need - have
    if not np.isfinite(point):
        status, missing = f">= {limit_s:g} s: timed out", None
    settled = status == "ok"
    return Estimate(
        metric=metric,
        value=point if np.isfinite(point) and (settled or has_tail) else None,
        low=low if settled else None,
        high=high if settled and high is not None and np.isfinite(high) else None,
        level=context.confidence if settled else None,
        n=len(values),
        method=method,
        unit="s",
        estimand="this run",
        status=status,
        missing=missing,
    )


def _times(column: str, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """The measured values of answered requests, and how long the timed-out ones ran."""
    measured, timed_out = _timed(column, columns)
    return getattr(columns, column)[measured], columns.total_s[timed_out]


def _timed(column: str, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Which requests have such a time, and which timed out."""
    measured = is_answered(columns) & ~columns.cached & ~np.isnan(getattr(columns, column))
    return measured, (columns.failure == "timeout") & ~np.isnan(columns.total_s)


def _clusters(column: str, columns: Columns) -> np.ndarray | None:
    """The clusters of the same requests, in the order of their times and those that ran out of it."""
    measured, timed_out = _timed(column, columns)
    return clusters_of_requests(columns, np.concatenate([np.flatnonzero(measured), np.flatnonzero(timed_out)]))


def _untimed(columns: Columns, context: Context, values: np.ndarray, column: str) -> str | None:
    if context.info.kind == "likelihood" or context.info.is_floor:
        return _no_clock(context)
    if _is_batch(context):
        return BY_BATCHES
    if not len(values):
        if context.info.is_imported:
            return MADE_ELSEWHERE
        return _nothing(columns) or _unmeasured(column, columns)
    return None


def _unmeasured(column: str, columns: Columns) -> str:
    """Why no answer has such a time, although answers were timed."""
    if column == "ttfo_s" and len(_times("ttft_s", columns)[0]):
        return NO_FIRST_ANSWER
    return NOT_STREAMED if column in OF_TOKENS else "nothing was measured"


def _nothing(columns: Columns) -> str | None:
    """Why there is nothing to time, where nothing came back or all of it came from earlier runs."""
    came = is_answered(columns)
    if not came.any():
        return "nothing was measured"
    return ALL_CACHED if columns.cached[came].all() else None


def _is_batch(context: Context) -> bool:
    return bool(context.info.settings.get("model", {}).get("batch"))


def _no_clock(context: Context) -> str:
    return "a floor has no latency" if context.info.is_floor else LIKELIHOOD


def _linear(ordered: np.ndarray, p: float) -> float:
    """Type 7 percentile of sorted values in which the largest may be infinite."""
    place = p * (len(ordered) - 1)
    low, high = int(np.floor(place)), int(np.ceil(place))
    if low == high or not np.isfinite(ordered[high]):
        return float(ordered[high])
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))


def rate(metric: str, unit: str, of: Callable[[Columns], np.ndarray], columns: Columns, context: Context) -> Estimate:
    """Something per second of wall time, over the time in which this cell was busy; bounds from ten equal windows.

    Busy is also who waits for what fails in the end: a service that answers half and lets the rest hang is not fast.
    """
    if context.info.is_floor:
        return unknown(metric, unit, "a floor has no rate")
    if context.info.is_imported:
        return unknown(metric, unit, MADE_ELSEWHERE)
    if _is_batch(context):
        return unknown(metric, unit, BY_BATCHES)
    if of is output_tokens and context.info.kind == "likelihood":
        return unknown(metric, unit, LIKELIHOOD)
    amounts = of(columns)
    counts = is_answered(columns) & ~columns.cached & ~np.isnan(amounts)
    if not counts.any():
        return unknown(metric, unit, _nothing(columns) or "nothing was counted")
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
    sent = counts | (~is_answered(columns) & (columns.tries > 0))
    for session in sorted(set(columns.session[sent].tolist())):  # np.unique loads numpy.ma for masks, which none has
        chosen = sent & (columns.session == session)
        start_s = float(columns.started_s[chosen].min())
        ended_s[chosen] = elapsed_s + columns.ended_s[chosen] - start_s
        elapsed_s += float(columns.ended_s[chosen].max()) - start_s
    return ended_s[counts], elapsed_s


def load(columns: Columns, context: Context) -> Estimate:
    """How many requests were on their way when one was sent: what its times were taken under."""
    measured, _ = _times("total_s", columns)
    fault = _untimed(columns, context, measured, "total_s")
    found = in_flight(columns)
    if fault or found is None:
        return unknown("in_flight", "requests", fault or "nothing was measured")
    return counted("in_flight", "requests", found)


def in_flight(columns: Columns) -> float | None:
    """How many requests were on their way when one was sent, itself among them: the median; ``None`` without times.

    One that failed was on its way too, for as long as its last try took.
    """
    timed = ~columns.cached & ~np.isnan(columns.total_s)
    if not timed.any():
        return None
    ended_s = np.sort(columns.ended_s[timed])
    sent_s = np.sort(columns.ended_s[timed] - columns.total_s[timed])
    on_their_way = np.arange(1, len(sent_s) + 1) - np.searchsorted(ended_s, sent_s, side="right")
    return float(np.median(on_their_way))


def one_each(columns: Columns) -> np.ndarray:
    """Each request counts once."""
    return np.ones(len(columns.sample))


def output_tokens(columns: Columns) -> np.ndarray:
    """Each request counts with its output tokens."""
    return columns.output_tokens
