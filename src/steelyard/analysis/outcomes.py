"""How requests ended: counts, and the shares of answers that went wrong in a way of their own."""

from __future__ import annotations

import numpy as np

from steelyard.analysis.accuracy import mean_over_items
from steelyard.analysis.estimates import (
    ALL_CACHED,
    MADE_ELSEWHERE,
    Context,
    counted,
    first_tries_unknown,
    headline,
    headline_scored,
    is_answered,
    share,
    unknown,
)
from steelyard.types import REFUSED, TRUNCATED, Columns, Estimate


def attempted(columns: Columns, context: Context) -> Estimate:
    """Requests whose end is known."""
    return counted("attempted", "requests", len(columns.sample))


def answered(columns: Columns, context: Context) -> Estimate:
    """Requests that were answered, well or not."""
    return counted("answered", "requests", int(is_answered(columns).sum()))


def scored(columns: Columns, context: Context) -> Estimate:
    """Answers that a grader has judged."""
    return counted("scored", "requests", headline_scored(columns))


def errored(columns: Columns, context: Context) -> Estimate:
    """Requests that failed after their last try."""
    return counted("errored", "requests", int((~is_answered(columns)).sum()))


def api_calls(columns: Columns, context: Context) -> Estimate:
    """Requests that were sent, retries and calls asked again included."""
    if context.info.is_floor:
        return counted("api_calls", "requests", 0)
    if context.info.is_imported:
        return unknown("api_calls", "requests", MADE_ELSEWHERE)
    return counted("api_calls", "requests", int(columns.tries[~columns.cached].sum()) + columns.superseded)


def retried(columns: Columns, context: Context) -> Estimate:
    """Answers that came only after a request for them had failed, of those that were asked for in this run."""
    if fault := first_tries_unknown(columns, context):
        return unknown("retried", "requests", fault)
    assert columns.retried is not None
    return counted("retried", "requests", int((columns.retried & is_answered(columns) & ~columns.cached).sum()))


def cached(columns: Columns, context: Context) -> Estimate:
    """Answers that an earlier run was given and this one used again."""
    return counted("cached", "requests", int(columns.cached.sum()))


def untimed(columns: Columns, context: Context) -> Estimate:
    """Answers whose times were dropped, where others have theirs: the machine slept while they were on their way."""
    if context.info.kind == "likelihood" or context.info.is_floor:
        return unknown("untimed", "requests", "no times are taken")
    asked = is_answered(columns) & ~columns.cached
    has_none = np.isnan(columns.total_s) & asked
    if has_none[asked].all():
        return unknown("untimed", "requests", "no answer has a time")
    return counted("untimed", "requests", int(has_none.sum()))


def distinct(metric: str, column: str, columns: Columns, context: Context) -> Estimate:
    """How many different things the service said that it is: two models are two systems under one name."""
    said = getattr(columns, column)
    if said is None:
        return unknown(metric, "names", "not read")
    found = len({str(name) for name in said[is_answered(columns)].tolist()} - {""})
    return counted(metric, "names", found) if found else unknown(metric, "names", "the service said nothing")


def reliability(columns: Columns, context: Context) -> Estimate:
    """The share of the requests sent that were answered; an answer used again says nothing of it."""
    if context.info.is_floor:
        return unknown("reliability", "share", "a floor sends nothing")
    if context.info.is_imported:
        return unknown("reliability", "share", MADE_ELSEWHERE)
    if columns.cached.all() and len(columns.cached):
        return unknown("reliability", "share", ALL_CACHED)
    sent = ~columns.cached
    return share("reliability", float((is_answered(columns) & sent).sum()), int(sent.sum()), context)


def unparsed(columns: Columns, context: Context) -> Estimate:
    """Answers that were judged but held no answer in the asked form."""
    parsed = next(iter(columns.parsed.values()), np.array([], dtype=bool))
    return _outcome_share("unparsed", ~parsed, columns, context, among=~np.isnan(headline(columns)))


def truncated(columns: Columns, context: Context) -> Estimate:
    """Answers cut off by the token limit."""
    return _outcome_share("truncated", np.isin(columns.stop_reason, TRUNCATED), columns, context)


def refused(columns: Columns, context: Context) -> Estimate:
    """Answers that the model or the service's filter refused to give."""
    return _outcome_share("refused", np.isin(columns.stop_reason, REFUSED), columns, context)


def empty(columns: Columns, context: Context) -> Estimate:
    """Answers without any text."""
    return _outcome_share("empty", columns.answered_empty, columns, context)


def strata_gap(columns: Columns, context: Context) -> Estimate:
    """How far the asked items' strata are from those of the whole, beyond what so few items must be.

    The total variation distance between both distributions, less that of the best sample of the same size: the share
    of asked items that would have to come from other strata. A description of this sample, so without an interval.
    """
    _, first = np.unique(columns.sample, return_index=True)
    sizes = context.info.stratum_sizes
    if not sizes and len(first) == context.info.available:  # nobody counts strata where all is asked
        sizes = _sizes(columns, first)
    places = {name: place for place, name in enumerate(sizes)}
    asked = np.zeros(len(sizes))
    for code, count in zip(*np.unique(columns.stratum[first], return_counts=True), strict=True):
        if (name := columns.strata[code]) in places:
            asked[places[name]] += count
    n = int(asked.sum())
    if len(sizes) < 2 or n == 0:
        is_uncounted = not sizes and len(_sizes(columns, first)) > 1
        return unknown(
            "strata_gap", "share", "how large the strata are was not counted" if is_uncounted else "no strata"
        )
    ideal = n * np.array(list(sizes.values())) / sum(sizes.values())
    best = np.floor(ideal)
    best[np.argsort(best - ideal)[: n - int(best.sum())]] += 1
    excess = (np.abs(asked - ideal).sum() - np.abs(best - ideal).sum()) / (2 * n)
    return Estimate(metric="strata_gap", value=max(0.0, float(excess)), n=n, method="description", unit="share")


def determinism(columns: Columns, context: Context) -> Estimate:
    """Of the items that were answered more than once, the share whose answers were all the same to the letter.

    Fewer answers differ less often, so the status says how many items lack some.
    """
    came = is_answered(columns)
    items, membership, asked = np.unique(columns.sample[came], return_inverse=True, return_counts=True)
    if context.info.is_floor or not (asked > 1).any():
        return unknown("determinism", "share", "no item was answered twice: --runs 2 asks each twice")
    pairs = np.unique(np.stack([membership, columns.answer[came]]), axis=1)[0]
    different = np.bincount(pairs, minlength=len(items))[asked > 1]
    whole, repeats = len(np.unique(columns.sample)), max(context.info.repeats, int(asked.max()))
    lacking = whole - int((asked == repeats).sum())
    status = f"{lacking} of {whole} items have fewer than {repeats} answers" if lacking else "ok"
    return share("determinism", float((different == 1).sum()), len(different), context, status=status)


def _outcome_share(
    metric: str, has_it: np.ndarray, columns: Columns, context: Context, among: np.ndarray | None = None
) -> Estimate:
    """How often it happens to an answer: as of scores, repeats and items of one cluster resemble each other."""
    chosen = is_answered(columns) if among is None else among
    if not chosen.any():
        return unknown(metric, "share", "nothing to count", method="wilson")
    return mean_over_items(metric, has_it.astype(float), columns, chosen, context)


def _sizes(columns: Columns, first: np.ndarray) -> dict[str, int]:
    """How many of the items that were asked, each at its ``first`` request, every stratum has."""
    codes, counts = np.unique(columns.stratum[first], return_counts=True)
    names = [columns.strata[code] for code in codes]
    return {name: int(count) for name, count in zip(names, counts, strict=True) if name}
