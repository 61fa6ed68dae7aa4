"""The difference of two sides' scores on the same items, with its interval and its test, by what the scores are.

One answer an item: Tango's score interval and McNemar's mid-p. Repeats and marks between right and wrong: t on the
differences of item means. Clusters: CR1. Means over strata: the strata's differences, weighed as the headline weighs
them, their score interval and its test.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.accuracy import is_binary
from steelyard.analysis.clusters import (
    alone_in_words,
    cell_means,
    cluster_warning,
    independent_clusters,
    stratum_in_one_cluster,
)
from steelyard.analysis.estimates import unknown
from steelyard.analysis.pairing import Paired
from steelyard.stats.paired import t_test
from steelyard.types import Estimate

FEW_FOR_T = 50
NONE_ON_BOTH = "no item was scored on both sides"


class Inverted(Struct, frozen=True, kw_only=True):
    """The test that an interval inverts."""

    test: str
    p: float | None


class Found(Struct, frozen=True, kw_only=True):
    """A difference with the test that stands beside it, and the one its interval inverts where that is another."""

    difference: Estimate
    test: str
    p: float | None
    inverted: Inverted | None = None


class WeighedStrata(Struct, frozen=True, kw_only=True):
    """The strata of the pairs by their codes, in order, with what each weighs in the headline; ``names`` are of all."""

    names: Sequence[str]
    weights: dict[int, float]

    def mean(self, pair: Paired) -> float:
        """The strata's mean differences as the headline weighs them."""
        _, at = np.unique(pair.strata, return_inverse=True)
        return float(list(self.weights.values()) @ (np.bincount(at, weights=pair.differences) / np.bincount(at)))


def score_difference(metric: str, pair: Paired, strata: WeighedStrata | None, confidence: float) -> Found:
    """Side a - side b. ``strata`` where the headline is a mean over them."""
    if pair.n == 0:
        return Found(difference=unknown(metric, "share", NONE_ON_BOTH), test="none", p=None)
    if strata is not None:
        return _over_strata(metric, pair, strata, confidence)
    if pair.clusters is None and pair.is_single and is_binary(pair.a) and is_binary(pair.b):
        return _of_right_and_wrong(metric, pair, confidence)
    return _of_item_means(metric, pair, confidence)


def with_its_inverted_test(found: Found) -> Found:
    """The same beside the test that its interval inverts."""
    if found.inverted is None:
        return found
    return msgspec.structs.replace(found, test=found.inverted.test, p=found.inverted.p)


def _of_right_and_wrong(metric: str, pair: Paired, confidence: float) -> Found:
    only_a, only_b = int((pair.differences > 0).sum()), int((pair.differences < 0).sum())
    bounds = stats.paired_difference_score_interval(
        only_a_correct=only_a, only_b_correct=only_b, n=pair.n, confidence=confidence
    )
    p = stats.mcnemar(only_a_correct=only_a, only_b_correct=only_b).midp
    difference = _estimate(metric, bounds.diff, bounds.low, bounds.high, confidence, pair.n, "paired, Tango score")
    return Found(difference=difference, test="McNemar mid-p", p=p, inverted=Inverted(test="Tango score", p=bounds.p))


def _of_item_means(metric: str, pair: Paired, confidence: float) -> Found:
    if pair.clusters is not None:
        return _of_clusters(metric, pair, pair.clusters, confidence)
    found = stats.paired_t(a=pair.a, b=pair.b, confidence=confidence)
    if found.low is None or found.high is None:
        return _without_spread(metric, pair, pair.n, confidence)
    low, high = _possible(pair, found.low, found.high)
    difference = _estimate(metric, found.mean_diff, low, high, confidence, pair.n, "paired t over items")
    if pair.n < FEW_FOR_T:
        flips = stats.paired_permutation(differences=pair.differences)
        inverted = Inverted(test="paired t", p=found.p)
        return Found(difference=difference, test=f"sign flips, {flips.method}", p=flips.p, inverted=inverted)
    return Found(difference=difference, test="paired t", p=found.p)


def _of_clusters(metric: str, pair: Paired, clusters: np.ndarray, confidence: float) -> Found:
    """CR1 and Student's t; no interval where clusters are too few, or too unlike in size, for it."""
    spread = stats.cluster_se(scores=pair.differences, clusters=clusters)
    if spread.mean is None or spread.se is None:
        return _without_spread(metric, pair, independent_clusters(spread), confidence)
    how, status = f"paired, {spread.clusters} clusters, CR1, t", cluster_warning(spread) or "ok"
    if spread.degrees is None:
        difference = _estimate(metric, spread.mean, None, None, confidence, pair.n, how, status=status)
        return Found(difference=difference, test="none", p=None)
    found = t_test(mean=spread.mean, se=spread.se, df=spread.degrees, n=pair.n, confidence=confidence)
    low, high = _possible(pair, found.low, found.high)
    difference = _estimate(metric, spread.mean, low, high, confidence, pair.n, how, status=status)
    return Found(difference=difference, test="clustered t", p=found.p)


def _possible(pair: Paired, low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """Bounds no farther out than a difference of such scores can be: of scores from 0 to 1 no farther than 1."""
    if low is None or high is None or min(pair.a.min(), pair.b.min()) < 0 or max(pair.a.max(), pair.b.max()) > 1:
        return low, high
    return max(-1.0, low), min(1.0, high)


def _over_strata(metric: str, pair: Paired, strata: WeighedStrata, confidence: float) -> Found:
    weights = strata.weights
    how = f"paired, mean over {len(weights)} strata"
    if pair.clusters is not None:
        return _over_clustered_strata(metric, pair, pair.clusters, strata, how, confidence)
    if all(scores.min() >= 0 and scores.max() <= 1 for scores in (pair.a, pair.b)):
        found = stats.stratified_difference_interval(
            a=pair.a, b=pair.b, strata=pair.strata, weights=weights, confidence=confidence
        )
        difference = _estimate(metric, found.diff, found.low, found.high, confidence, pair.n, f"{how}, score interval")
        return Found(difference=difference, test="stratified score", p=found.p)
    t = stats.paired_t_stratified(a=pair.a, b=pair.b, strata=pair.strata, weights=weights, confidence=confidence)
    if t.low is None or t.high is None:
        return _without_spread(metric, pair, pair.n, confidence)
    difference = _estimate(metric, t.mean_diff, t.low, t.high, confidence, pair.n, f"{how}, t")
    return Found(difference=difference, test="stratified t", p=t.p)


def _over_clustered_strata(
    metric: str, pair: Paired, clusters: np.ndarray, strata: WeighedStrata, how: str, confidence: float
) -> Found:
    """CR2 and Student's t; no interval where clusters are too few, or one of them has a stratum to itself."""
    spread = stats.cluster_se_stratified(
        scores=pair.differences, clusters=clusters, strata=pair.strata, weights=strata.weights
    )
    how = f"{how}, {spread.clusters} clusters"
    alone = stratum_in_one_cluster(clusters, pair.strata)
    if alone is None and spread.se is None:
        return _alike_in_strata(metric, pair, clusters, strata.weights, how, confidence)
    if alone is not None or spread.mean is None or spread.se is None or spread.degrees is None:
        status = cluster_warning(spread)
        if alone is not None:
            status = alone_in_words(strata.names[alone])
        difference = _estimate(metric, spread.mean, None, None, confidence, pair.n, how, status=status)
        return Found(difference=difference, test="none", p=None)
    found = t_test(mean=spread.mean, se=spread.se, df=spread.degrees, n=pair.n, confidence=confidence)
    low, high = _possible(pair, found.low, found.high)
    status = cluster_warning(spread) or "ok"
    difference = _estimate(metric, spread.mean, low, high, confidence, pair.n, f"{how}, CR2, t", status=status)
    return Found(difference=difference, test="clustered t", p=found.p)


def _alike_in_strata(
    metric: str, pair: Paired, clusters: np.ndarray, weights: dict[int, float], how: str, confidence: float
) -> Found:
    """Within each stratum clusters differ by nothing: the score interval as if each were one item there."""
    (a, of_cell), (b, _) = (cell_means(values, clusters, pair.strata) for values in (pair.a, pair.b))
    found = stats.stratified_difference_interval(a=a, b=b, strata=of_cell, weights=weights, confidence=confidence)
    difference = _estimate(metric, found.diff, found.low, found.high, confidence, pair.n, f"{how}, score interval")
    return Found(difference=difference, test="stratified score", p=found.p)


def _without_spread(metric: str, pair: Paired, worth: float, confidence: float) -> Found:
    """Every item differs by the same: Tango's interval as if there were as many items as independent groups."""
    mean = float(pair.differences.mean())
    if abs(mean) > 1:
        status = "every item differs by the same: no spread to build an interval on"
        difference = _estimate(metric, mean, None, None, confidence, pair.n, "paired", status=status)
        return Found(difference=difference, test="none", p=None)
    bounds = stats.paired_difference_score_interval(
        only_a_correct=max(0.0, mean) * worth, only_b_correct=max(0.0, -mean) * worth, n=worth, confidence=confidence
    )
    how = f"paired, Tango score at {round(worth, 2):,.15g} independent differences"
    difference = _estimate(metric, mean, bounds.low, bounds.high, confidence, pair.n, how)
    inverted = Inverted(test="Tango score", p=bounds.p)
    if pair.clusters is not None:
        return Found(difference=difference, test="none", p=None, inverted=inverted)
    flips = stats.paired_permutation(differences=pair.differences)
    return Found(difference=difference, test=f"sign flips, {flips.method}", p=flips.p, inverted=inverted)


def _estimate(
    metric: str,
    value: float | None,
    low: float | None,
    high: float | None,
    confidence: float,
    n: int,
    method: str,
    *,
    status: str = "ok",
) -> Estimate:
    return Estimate(
        metric=metric,
        value=value,
        low=low,
        high=high,
        level=None if low is None else confidence,
        n=n,
        method=method,
        unit="share",
        status=status,
    )
