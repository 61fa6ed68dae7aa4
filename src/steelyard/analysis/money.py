"""Tokens and money: totals as reported, and costs that are unknown where a price or a count is."""

from __future__ import annotations

import numpy as np
from msgspec import structs

from steelyard import stats
from steelyard.analysis.clusters import cluster_warning, clusters_of_requests, units_of, worth_of
from steelyard.analysis.estimates import Context, counted, distinct, headline, is_answered, unknown
from steelyard.types import Columns, Estimate


def total_tokens(metric: str, column: str, columns: Columns, context: Context) -> Estimate:
    """Tokens over all answered requests, as reported."""
    values = getattr(columns, column)[is_answered(columns)]
    known = values[~np.isnan(values)]
    if not len(known):
        return unknown(metric, "tokens", "not reported")
    estimate = counted(metric, "tokens", float(known.sum()), n=len(known))
    if len(known) == len(values):
        return estimate
    return Estimate(metric=metric, value=estimate.value, n=len(known), method="count", unit="tokens",
                    estimand="this run", status=f"{len(values) - len(known)} answers without a count")  # fmt: skip


def cost_total(columns: Columns, context: Context) -> Estimate:
    """What was spent on all answers together, those of calls asked again included; one used again costs nothing."""
    costs, fault = _costs(columns, context, spent=True)
    if fault:
        return unknown("cost.total", "USD", fault, n=len(costs))
    return counted("cost.total", "USD", float(costs.sum()) + columns.superseded_cost_usd, n=len(costs))


def cost_saved(columns: Columns, context: Context) -> Estimate:
    """What the answers that were used again had cost when they were asked."""
    saved = columns.saved_usd[columns.cached]
    if not len(saved):
        return unknown("cost.saved", "USD", "nothing was used again")
    known = saved[~np.isnan(saved)]
    if not len(known):
        return unknown("cost.saved", "USD", "price or tokens unknown", n=len(saved))
    estimate = counted("cost.saved", "USD", float(known.sum()), n=len(known))
    missing = len(saved) - len(known)
    return estimate if not missing else structs.replace(estimate, status=f"{missing} answers without a known cost")


def cost_per_request(columns: Columns, context: Context) -> Estimate:
    """The mean cost of an answered request. Requests about one item, or one cluster, resemble each other."""
    costs, fault = _costs(columns, context)
    units = units_of(columns, is_answered(columns))
    if fault or len(distinct(units)) == len(units):
        return _mean_cost("cost.per_request", costs, fault, context)
    return _cost_ratio("cost.per_request", costs, np.ones(len(costs)), columns, fault, context)


def cost_per_item(columns: Columns, context: Context) -> Estimate:
    """The mean cost of an item with all its repeats. Items of one cluster resemble each other.

    An item that lacks some of its repeats counts as the part of one that was answered.
    """
    costs, fault = _costs(columns, context)
    came = is_answered(columns)
    _, membership, answers = np.unique(columns.sample[came], return_inverse=True, return_counts=True)
    repeats = max(context.info.repeats, int(answers.max(initial=1)))
    if clusters_of_requests(columns, came) is not None or (answers < repeats).any():
        return _cost_ratio("cost.per_item", costs, np.full(len(membership), 1 / repeats), columns, fault, context)
    per_item = np.array([]) if fault else np.bincount(membership, weights=costs)
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
    tokens = (columns.input_tokens + columns.output_tokens)[is_answered(columns)]
    if not fault and np.isnan(tokens).any():
        fault = "not every answer has a token count"
    return _cost_ratio("cost.per_token", costs, tokens, columns, fault, context)


def cost_per_correct(columns: Columns, context: Context) -> Estimate:
    """Total cost over the number of right answers: what a right answer costs, all others paid for.

    An answer that nobody could score was paid for too, and is not known to be right; the status counts them.
    """
    costs, fault = _costs(columns, context)
    came, scores = is_answered(columns), headline(columns)
    scores = scores[came] if len(scores) else np.full(int(came.sum()), np.nan)
    right, unscored = np.nan_to_num(scores), int(np.isnan(scores).sum())
    if unscored and unscored == len(scores):
        return unknown("cost.per_correct", "USD", fault or "nothing was scored")
    found = _cost_ratio("cost.per_correct", costs, right, columns, fault, context)
    if len(right) and (right == 1).all():
        return _where_all_are_right(found, len(distinct(units_of(columns, came))), context)
    if unscored and found.status == "ok":
        return structs.replace(found, status=f"{unscored} of {len(scores)} answers have no score, and were paid for")
    return found


def _where_all_are_right(found: Estimate, units: int, context: Context) -> Estimate:
    """Without a wrong answer the ratio spreads as the costs alone do: how many may be wrong is Wilson's to say."""
    if found.low is None or found.high is None:
        return found
    least = stats.wilson_interval(successes=units, n=units, confidence=context.confidence).low
    return structs.replace(found, high=found.high / least, method=f"{found.method}; all right: Wilson's share")


def _cost_ratio(
    metric: str, costs: np.ndarray, below: np.ndarray, columns: Columns, fault: str | None, context: Context
) -> Estimate:
    """The ratio of the sums, its interval from what each independent unit adds to both (Fieller 1954).

    ``n`` counts items, as that of a score does; clusters of them stand in the method.
    """
    if fault:
        return unknown(metric, "USD", fault)
    came = is_answered(columns)
    places = np.unique(units_of(columns, came), return_inverse=True)[1]
    above, under = (np.bincount(places, weights=amounts) for amounts in (costs, below))
    found = stats.ratio_interval_fieller(numerator=above, denominator=under, confidence=context.confidence)
    clusters = clusters_of_requests(columns, came)
    worth = None if clusters is None else worth_of(clusters)
    warned = "" if worth is None else cluster_warning(worth)
    is_bounded = found.low is not None and (worth is None or worth.degrees is not None)
    return Estimate(
        metric=metric,
        value=found.ratio,
        low=max(0.0, found.low) if is_bounded and found.low is not None else None,
        high=found.high if is_bounded else None,
        level=context.confidence if is_bounded else None,
        n=len(distinct(columns.sample[came])),
        method="ratio of sums, Fieller" if worth is None else f"{worth.clusters} clusters, ratio of sums, Fieller",
        unit="USD",
        status=warned or "ok" if is_bounded else _why_unbounded(metric, found.ratio, warned),
    )


def _why_unbounded(metric: str, ratio: float | None, warned: str) -> str:
    if warned and ratio is not None:
        return warned if warned.endswith("too few for an interval") else f"not estimable: {warned.partition(':')[0]}"
    if metric != "cost.per_correct":
        return "not estimable: too few requests, or too unlike each other"
    return "not estimable: no right answer" if ratio is None else "not estimable: too few right answers"


def _costs(columns: Columns, context: Context, *, spent: bool = False) -> tuple[np.ndarray, str | None]:
    """The costs of answered requests, or why they are not known.

    An answer used again counts with what it had cost, or a model would seem the cheaper the more often it was asked;
    with nothing where the question is what was ``spent``.
    """
    costs = columns.cost_usd if spent else np.where(columns.cached, columns.saved_usd, columns.cost_usd)
    costs = costs[is_answered(columns)]
    if context.info.is_floor:
        return costs, "a floor costs nothing and buys nothing"
    if not len(costs):
        return costs, "nothing was answered"
    missing = int(np.isnan(costs).sum())
    if missing == len(costs):
        return costs, "price or tokens unknown"
    return costs, f"{missing} of {len(costs)} answers have no known cost" if missing else None
