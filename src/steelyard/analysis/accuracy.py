"""Accuracy: over items and over strata, in groups, with repeats, and with errors counted either way."""

from __future__ import annotations

import msgspec
import numpy as np

from steelyard import stats
from steelyard.analysis.clusters import (
    alone_in_words,
    cell_means,
    cluster_warning,
    clusters_of,
    independent_clusters,
    stratum_in_one_cluster,
    worth_in_answers,
)
from steelyard.analysis.estimates import (
    Context,
    counted,
    distinct,
    first_tries_unknown,
    headline,
    item_means,
    share,
    unknown,
)
from steelyard.stats.intervals import ClusteredMean
from steelyard.types import Columns, Estimate

MUCH_ERRORED = 0.01
PASS_AT = (1, 2, 5, 8, 10, 16, 20, 32, 50, 64, 100, 200)


def accuracy(metric: str, columns: Columns, context: Context) -> Estimate:
    """The headline: the mean over items, or over strata where the protocol says so."""
    return macro(metric, columns, context) if is_over_strata(columns, context) else micro(metric, columns, context)


def is_over_strata(columns: Columns, context: Context) -> bool:
    """Whether the headline is the mean over strata."""
    return context.info.aggregate == "macro" and len(_strata(columns)) > 1


def micro(metric: str, columns: Columns, context: Context) -> Estimate:
    """The mean score of scored items, as ``mean_over_items``."""
    scores = columns.scores.get(_scored_as(metric, columns))
    if scores is None:
        return unknown(metric, "share", "not given by this protocol")
    everything = np.ones(len(scores), dtype=bool)
    return mean_over_items(metric, scores, columns, everything, context, status=_error_warning(columns))


def macro(metric: str, columns: Columns, context: Context) -> Estimate:
    """The mean over strata, a family of strata counting as one: a score interval, of items in clusters by CR2."""
    scores = columns.scores.get(_scored_as(metric, columns))
    if scores is None:
        return unknown(metric, "share", "not given by this protocol")
    strata = _strata(columns)
    means = {name: _means(scores, columns, chosen) for name, chosen in strata.items()}
    if empty := [name for name, values in means.items() if not len(values)]:
        return unknown(metric, "share", f"nothing was scored in {len(empty)} of {len(strata)} strata: {empty[0]}")
    weights = stratum_weights(list(means), context.info.families)
    found = Estimate(
        metric=metric,
        value=min(1.0, float(weights @ [values.mean() for values in means.values()])),
        n=sum(map(len, means.values())),
        method=f"macro mean over {_units(list(means), context.info.families)}",
        unit="share",
        status=_warning_over_strata(len(strata), columns, context),
    )
    chosen = ~np.isnan(scores) & np.any(list(strata.values()), axis=0)
    clusters = clusters_of(columns.sample[chosen], columns.cluster[chosen])
    if clusters is None:
        return _within_score_bounds(found, list(means.values()), weights, context)
    _, first = np.unique(columns.sample[chosen], return_index=True)
    of_item = columns.stratum[chosen][first]
    values = item_means(scores[chosen], columns.sample[chosen])
    return _within_clusters(found, values, clusters, of_item, columns, context)


def _within_score_bounds(found: Estimate, means: list[np.ndarray], weights: np.ndarray, context: Context) -> Estimate:
    bounds = stats.stratified_score_interval(
        successes=[values.sum() for values in means],
        n=[len(values) for values in means],
        weights=weights,
        variances=None if all(map(is_binary, means)) else [_variance(values) for values in means],
        confidence=context.confidence,
    )
    return msgspec.structs.replace(
        found, low=bounds.low, high=bounds.high, level=context.confidence, method=f"{found.method}, score interval"
    )


def _within_clusters(
    found: Estimate, values: np.ndarray, clusters: np.ndarray, strata: np.ndarray, columns: Columns, context: Context
) -> Estimate:
    """The same with what clusters leave of it; without spread the score interval as if each were one item."""
    alone = stratum_in_one_cluster(clusters, strata)
    if alone is not None:
        return msgspec.structs.replace(found, status=alone_in_words(columns.strata[alone]))
    codes = np.unique(strata)
    names = [columns.strata[code] for code in codes]
    weights = stratum_weights(names, context.info.families)
    error = stats.cluster_se_stratified(
        scores=values, clusters=clusters, strata=strata, weights=dict(zip(codes.tolist(), weights, strict=True))
    )
    if not error.se:
        cells, of_cell = cell_means(values, clusters, strata)
        alike = _within_score_bounds(found, [cells[of_cell == code] for code in codes], weights, context)
        return msgspec.structs.replace(alike, method=f"{alike.method} at {error.clusters} clusters")
    method = f"{found.method}, {error.clusters} clusters, CR2, wilson"
    status = cluster_warning(error) or found.status if found.status == "ok" or error.degrees is None else found.status
    worth = worth_in_answers(error, confidence=context.confidence)
    if worth is None or error.mean is None:
        return msgspec.structs.replace(found, method=method, status=status)
    bounds = stats.wilson_interval(successes=error.mean * worth, n=worth, confidence=context.confidence)
    return msgspec.structs.replace(
        found, low=bounds.low, high=bounds.high, level=context.confidence, method=method, status=status
    )


def over_parts(metric: str, counts: str, columns: Columns, context: Context) -> Estimate:
    """The share of parts done, where an item has several: sums over all items, Fieller 1954 over items.

    ``metric`` scores the share of an item's parts, ``counts`` how many it has. Alike items: Wilson over items.
    """
    scores, parts = columns.scores.get(metric), columns.scores.get(counts)
    if scores is None or parts is None:
        return unknown(metric, "share", "not given by this protocol")
    scored = ~np.isnan(scores) & ~np.isnan(parts)
    if not scored.any():
        return unknown(metric, "share", "nothing was scored")
    items = columns.sample[scored]
    asked = item_means(parts[scored], items)
    done = item_means(scores[scored] * parts[scored], items)
    found = stats.ratio_interval_fieller(numerator=done, denominator=asked, confidence=context.confidence)
    status = _error_warning(columns)
    if found.ratio is None or found.low is None or found.high is None or found.low == found.high:
        return share(metric, float(done.sum() / asked.sum()) * len(asked), len(asked), context, status=status)
    return Estimate(
        metric=metric,
        value=found.ratio,
        low=max(0.0, found.low),
        high=min(1.0, found.high),
        level=context.confidence,
        n=len(asked),
        method=f"{asked.sum():,.0f} parts of {len(asked):,} items, Fieller",
        unit="share",
        status=status,
    )


def breakdown(columns: Columns, context: Context) -> list[Estimate]:
    """The headline score again: over items and over strata, in each group, in each stratum."""
    strata = _strata(columns)
    scores = headline(columns)
    if len(strata) < 2 or not len(scores):
        return []
    found = [micro("accuracy.micro", columns, context), macro("accuracy.macro", columns, context)]
    for group, members in context.info.groups.items():
        chosen = np.any([strata[name] for name in members if name in strata] or [np.zeros(len(scores), bool)], axis=0)
        found.append(_of_part(f"accuracy.{group}", scores, columns, chosen, context))
    for name, chosen in strata.items():
        found.append(_of_part(f"accuracy/{name}", scores, columns, chosen, context))
    return found


def _of_part(metric: str, scores: np.ndarray, columns: Columns, chosen: np.ndarray, context: Context) -> Estimate:
    return mean_over_items(metric, scores, columns, chosen, context, status=_not_scored(scores[chosen]) or "ok")


def by_flag(columns: Columns, context: Context) -> list[Estimate]:
    """The headline score of the items with each flag, and of those without it: what known defects make of it."""
    scores = headline(columns)
    flags = sorted({flag for text in set(columns.flags) for flag in str(text).split()})
    found = []
    for flag in flags if len(scores) else ():
        has_it = np.array([flag in str(text).split() for text in columns.flags])
        for name, chosen in ((f"accuracy[{flag}]", has_it), (f"accuracy[not {flag}]", ~has_it)):
            found.append(_of_part(name, scores, columns, chosen, context))
    return found


def pass_at(columns: Columns, context: Context) -> list[Estimate]:
    """pass@k for the k that the repeats allow, each item weighing the same; bounded as any mean over items."""
    scores = headline(columns)
    scored = ~np.isnan(scores)
    if context.info.repeats < 2 or not scored.any() or not is_binary(scores[scored]):
        return []
    _, membership, taken = np.unique(columns.sample[scored], return_inverse=True, return_counts=True)
    passed = np.bincount(membership, weights=scores[scored]).astype(int)
    clusters = clusters_of(columns.sample[scored], columns.cluster[scored])
    asked = len(distinct(columns.sample))
    return [_pass_at(k, passed, taken, clusters, asked, context) for k in PASS_AT if k <= context.info.repeats]


def _pass_at(
    k: int, passed: np.ndarray, taken: np.ndarray, clusters: np.ndarray | None, asked: int, context: Context
) -> Estimate:
    """Of the items with enough answers; how many of those ``asked`` have too few, or none, stands in the status."""
    metric = f"pass@{k}"
    pairs = [(int(n), int(c)) for n, c in zip(taken, passed, strict=True) if n >= k]
    if not pairs:
        return unknown(metric, "share", f"no item has {k} scored answers")
    values = np.array([stats.pass_at_k(n=n, c=c, k=k).value for n, c in pairs])
    left_out = asked - len(pairs)
    status = f"{left_out} of {asked} items have fewer than {k} scored answers" if left_out else "ok"
    if clusters is not None:
        estimate = _clustered_mean(metric, values, clusters[taken >= k], context, status)
    else:
        estimate = _mean_of_items(metric, values, context, status=status)
    return msgspec.structs.replace(estimate, method=f"unbiased pass@{k} of each item; {estimate.method}")


def _scored_as(metric: str, columns: Columns) -> str:
    """The grader's metric behind a breakdown of the headline."""
    return metric if metric in columns.scores else next(iter(columns.scores), metric)


def _strata(columns: Columns) -> dict[str, np.ndarray]:
    """Which requests belong to each stratum."""
    codes = [code for code, name in enumerate(columns.strata) if name]
    found = {columns.strata[code]: columns.stratum == code for code in codes}
    return {name: chosen for name, chosen in sorted(found.items()) if chosen.any()}


def _means(scores: np.ndarray, columns: Columns, chosen: np.ndarray) -> np.ndarray:
    scored = chosen & ~np.isnan(scores)
    return item_means(scores[scored], columns.sample[scored])


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def stratum_weights(strata: list[str], families: dict[str, tuple[str, ...]]) -> np.ndarray:
    """What each stratum weighs in a macro mean: one over the units, shared out within a family."""
    unit_of = {name: family for family, members in families.items() for name in members}
    units = [unit_of.get(name, name) for name in strata]
    return np.array([1 / units.count(unit) for unit in units]) / len(set(units))


def _units(strata: list[str], families: dict[str, tuple[str, ...]]) -> int:
    members = {name for names in families.values() for name in names}
    present = [family for family, names in families.items() if any(name in strata for name in names)]
    return len([name for name in strata if name not in members]) + len(present)


def mean_over_items(
    metric: str, scores: np.ndarray, columns: Columns, chosen: np.ndarray, context: Context, *, status: str = "ok"
) -> Estimate:
    """The mean of the chosen requests that have a score, the item being the unit: repeats are no further items.

    Every item right or wrong throughout: Wilson. Repeats that differ: item means, Student's t. Clusters: CR1.
    """
    scored = chosen & ~np.isnan(scores)
    if not scored.any():
        return unknown(metric, "share", "nothing was scored")
    means = item_means(scores[scored], columns.sample[scored])
    clusters = clusters_of(columns.sample[scored], columns.cluster[scored])
    if clusters is not None:
        return _clustered_mean(metric, means, clusters, context, status)
    return _mean_of_items(metric, means, context, status=status)


def _clustered_mean(metric: str, means: np.ndarray, clusters: np.ndarray, context: Context, status: str) -> Estimate:
    """CR1 with Student's t, or no interval; without spread, Wilson as if each cluster were one item.

    Of clusters of sizes far apart it is Wilson's at what they are worth.
    """
    found, mean = stats.cluster_se(scores=means, clusters=clusters), float(means.mean())
    if not found.se:
        return _alike_clusters(metric, mean, len(means), found, context, status)
    reach = None
    if found.degrees is not None:
        reach = found.se * stats.t_quantile(found.degrees, (1 + context.confidence) / 2)
    return Estimate(
        metric=metric,
        value=mean,
        low=None if reach is None else max(0.0, mean - reach),
        high=None if reach is None else min(1.0, mean + reach),
        level=None if reach is None else context.confidence,
        n=len(means),
        method=f"{found.clusters} clusters, CR1, t",
        unit="share",
        status=cluster_warning(found) or status if status == "ok" or reach is None else status,
    )


def _alike_clusters(metric: str, mean: float, n: int, found: ClusteredMean, context: Context, status: str) -> Estimate:
    worth = independent_clusters(found)
    bounds = stats.wilson_interval(successes=mean * worth, n=worth, confidence=context.confidence)
    return Estimate(
        metric=metric,
        value=mean,
        low=bounds.low,
        high=bounds.high,
        level=context.confidence,
        n=n,
        method=f"wilson at {round(worth, 2):,.15g} clusters",
        unit="share",
        status=status,
    )


def is_binary(values: np.ndarray) -> bool:
    """Whether every value is right or wrong, and nothing between."""
    return bool(((values == 0) | (values == 1)).all())


def _mean_of_items(metric: str, means: np.ndarray, context: Context, *, status: str) -> Estimate:
    """Student's t; Wilson where each item is right or wrong, since asking again what never varies tells nothing new."""
    if is_binary(means):
        return share(metric, float(means.sum()), len(means), context, status=status)
    found = stats.mean_interval(values=means, confidence=context.confidence)
    if found.low is None or found.high is None:  # all items alike: no spread to build a t interval on
        return share(metric, float(means.sum()), len(means), context, status=status)
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


def _error_warning(columns: Columns) -> str:
    warned = _not_scored(headline(columns))
    return f"{warned}: read it with its bounds" if warned else "ok"


def _not_scored(scores: np.ndarray) -> str:
    """How many of the requests have no score, where these are many."""
    lost = int(np.isnan(scores).sum())
    return f"{lost} of {len(scores)} not scored" if len(scores) and lost / len(scores) > MUCH_ERRORED else ""


def _warning_over_strata(asked: int, columns: Columns, context: Context) -> str:
    """What a mean over strata lacks: whole strata, answers without a score, or both."""
    whole, errors = len(context.info.stratum_sizes), _error_warning(columns)
    if asked >= whole:
        return errors
    missing = f"{whole - asked} of {whole} strata were not asked"
    return missing if errors == "ok" else f"{missing}; {errors}"


def bound(metric: str, fill: float, columns: Columns, context: Context) -> Estimate:
    """Accuracy if every unscored item were wrong (0) or right (1)."""
    scores = headline(columns)
    if not len(scores):
        return unknown(metric, "share", "nothing was asked")
    filled = np.where(np.isnan(scores), fill, scores)
    return counted(metric, "share", _mean(filled, columns, context), n=len(filled))


def first_try(columns: Columns, context: Context) -> Estimate:
    """Accuracy if everything were wrong that the first request for it did not give.

    Only what failed on the way is asked again, never what was answered badly. But an answer that was cut off by a
    timeout is drawn anew, and where long answers time out the second one is of a kinder sort.
    """
    metric, scores = "accuracy.first_try", headline(columns)
    fault = first_tries_unknown(columns, context) or ("" if len(scores) else "nothing was asked")
    if fault or columns.cached.any():
        return unknown(metric, "share", fault or "of answers used again it is not known")
    assert columns.retried is not None
    came = np.where(np.isnan(scores) | columns.retried, 0.0, scores)
    return counted(metric, "share", _mean(came, columns, context), n=len(came))


def _mean(scores: np.ndarray, columns: Columns, context: Context) -> float:
    """The mean of scores, none of them missing, over what the headline is a mean over."""
    if not is_over_strata(columns, context):
        return float(item_means(scores, columns.sample).mean())
    strata = _strata(columns)
    means = [item_means(scores[chosen], columns.sample[chosen]).mean() for chosen in strata.values()]
    return float(stratum_weights(list(strata), context.info.families) @ means)
