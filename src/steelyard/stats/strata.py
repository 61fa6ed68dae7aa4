"""What a weighed mean over fixed strata is known to be: score intervals, as Wilson's and Tango's are of one stratum.

Each value that is tried has the variance that the strata would have if it were true, not the one that was seen: a heavy
stratum that was always right may well be wrong now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from msgspec import Struct

from steelyard.stats.intervals import Interval, members_of

FEW = 5  # items for each share that is free
MOST_STEPS = 200


class StrataDifference(Struct, frozen=True, kw_only=True):
    """A weighed mean of strata's differences with its bounds and a two-sided p-value that it is 0."""

    diff: float | None
    low: float
    high: float
    p: float | None
    n: int


class Seen(Struct, frozen=True):
    """What was seen in each stratum: a row of shares of its items, by values one apart from ``least`` on.

    ``worth``: as many items of an endless stratum would leave its mean as uncertain. ``scale``: the variance of items
    that lie between those values, as a part of what they would have at them.
    """

    shares: np.ndarray
    least: float
    weights: np.ndarray
    asked: np.ndarray
    worth: np.ndarray
    scale: float = 1.0

    def mean_of(self, shares: np.ndarray) -> float:
        """The weighed mean of strata that have such shares."""
        return float(self.weights @ shares @ self.values)

    @property
    def values(self) -> np.ndarray:
        """The value of each column."""
        return np.arange(self.shares.shape[1]) + self.least

    @property
    def matters(self) -> np.ndarray:
        """How much the variance of an item of each stratum has in that of the mean."""
        return np.asarray(self.weights**2 / self.worth)

    @property
    def mirrored(self) -> Seen:
        """The same with every value's sign turned."""
        return Seen(self.shares[:, ::-1], -float(self.values[-1]), self.weights, self.asked, self.worth, self.scale)


def stratified_score_interval(
    *,
    successes: Sequence[float] | np.ndarray,
    n: Sequence[int] | np.ndarray,
    weights: Sequence[float] | np.ndarray,
    variances: Sequence[float] | np.ndarray | None = None,
    populations: Sequence[float] | np.ndarray | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Score interval of a weighted mean of shares over fixed strata: all that a score test would not reject.

    The variance is that of the shares most likely among those with the mean that is tried (Miettinen & Nurminen 1985;
    of any number of strata: Martin Andres, Alvarez Hernandez & Herranz Tejedor 2011), free of the bias that each
    stratum's own share brings. Of one stratum it is Wilson's. In strata of fewer than five items, where that correction
    falls short, the variance is no less than the one that was seen; one of a single item has that of the whole.

    ``variances`` are those of the items of each stratum where scores lie between right and wrong, as means of repeats
    do. ``populations``: the sizes of the whole strata, to say what asking all of them would have given (Cochran 1977,
    section 5.4). Of a stratum that weighs something and was not asked, nothing is known.
    """
    counts, asked, parts = (np.asarray(values, dtype=float) for values in (successes, n, weights))
    if not parts.sum() > 0 or (asked[parts > 0] <= 0).any():
        return Interval(low=0.0, high=1.0)
    there = parts > 0
    right = counts[there] / asked[there]
    seen = _seen(
        np.column_stack([1 - right, right]),
        least=0.0,
        weights=parts[there],
        asked=asked[there],
        variances=None if variances is None else np.asarray(variances, dtype=float)[there],
        populations=None if populations is None else np.asarray(populations, dtype=float)[there],
    )
    return _bounds(seen, confidence)


def stratified_difference_interval(
    *,
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    strata: Sequence[Hashable] | np.ndarray,
    weights: Mapping[Any, float],
    populations: Mapping[Any, float] | None = None,
    confidence: float = 0.95,
) -> StrataDifference:
    """Score interval of a weighted mean of strata's mean differences a - b, of scores from 0 to 1 on the same items.

    As ``stratified_score_interval``, over items that one side alone has right, the other alone, or both alike: of one
    stratum it is Tango's (1998). Few items are here fewer than ten. ``weights`` need not sum to 1; ``p`` is that of the
    score test.
    """
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    n = len(differences)
    labels = strata.tolist() if isinstance(strata, np.ndarray) else list(strata)
    names, membership = list(dict.fromkeys(labels)), members_of(labels)
    parts = np.array([weights[name] for name in names], dtype=float)
    if not n or not np.isfinite(differences).all() or not parts.sum() > 0:
        return StrataDifference(diff=None, low=-1.0, high=1.0, p=None, n=n)
    asked = np.bincount(membership).astype(float)
    behind, ahead = (np.bincount(membership, weights=np.maximum(0, way * differences)) / asked for way in (-1, 1))
    squares = np.bincount(membership, weights=(differences - (ahead - behind)[membership]) ** 2)
    seen = _seen(
        np.column_stack([behind, np.maximum(0.0, 1 - behind - ahead), ahead]),
        least=-1.0,
        weights=parts,
        asked=asked,
        variances=None if bool(np.isin(differences, (-1.0, 0.0, 1.0)).all()) else squares / np.maximum(asked - 1, 1),
        populations=None if populations is None else np.array([populations[name] for name in names], dtype=float),
    )
    found = _bounds(seen, confidence)
    return StrataDifference(diff=seen.mean_of(seen.shares), low=found.low, high=found.high, p=_p_of_zero(seen), n=n)


def _seen(
    shares: np.ndarray,
    *,
    least: float,
    weights: np.ndarray,
    asked: np.ndarray,
    variances: np.ndarray | None,
    populations: np.ndarray | None,
) -> Seen:
    left = np.ones(len(asked)) if populations is None else np.maximum(0.0, 1 - asked / populations)
    worth = np.divide(asked, left, out=np.full(len(asked), math.inf), where=left > 0)
    seen = Seen(shares, least, weights / weights.sum(), asked, worth)
    if variances is None:
        return seen
    several = asked > 1
    matters, most = seen.matters[several], _spread(seen)[several]
    found, whole = float(matters @ variances[several]), float(matters @ most)
    return Seen(shares, least, seen.weights, asked, worth, found / whole if found > 1e-12 * whole > 0 else 1.0)


def _bounds(seen: Seen, confidence: float) -> Interval:
    z, mean = NormalDist().inv_cdf(0.5 + confidence / 2), seen.mean_of(seen.shares)
    return Interval(low=min(mean, _lowest(seen, z)), high=max(mean, -_lowest(seen.mirrored, z)))


def _lowest(seen: Seen, z: float) -> float:
    """The least mean within ``z`` standard errors of the one seen, were it true; of whole strata, that can still be."""
    mean = seen.mean_of(seen.shares)
    if mean <= seen.least or not np.isfinite(seen.worth).any():
        return mean
    pull = seen.weights / seen.worth
    nothing = -math.sqrt(float(seen.matters.sum()))

    def beyond(multiplier: float) -> float:
        likely = _drawn_down(seen.shares, multiplier * pull)
        variance = _variance(likely, seen)
        return mean - seen.mean_of(likely) - z * math.sqrt(variance) if variance > 0 else nothing

    multiplier = _root(beyond, first=-z / nothing)
    known = np.where(np.isfinite(seen.worth), 1 - seen.asked / seen.worth, 1.0)
    can_be = float(seen.weights @ (known * (seen.shares @ seen.values) + (1 - known) * seen.least))
    return max(seen.mean_of(_drawn_down(seen.shares, multiplier * pull)), can_be)


def _p_of_zero(seen: Seen) -> float:
    """Two-sided, that the mean is 0: the score test that the interval inverts."""
    side = seen if seen.mean_of(seen.shares) > 0 else seen.mirrored
    mean = side.mean_of(side.shares)
    if mean <= 0 or not np.isfinite(side.worth).any():
        return 1.0 if mean <= 0 else 0.0
    pull = side.weights / side.worth
    multiplier = _root(
        lambda tried: -side.mean_of(_drawn_down(side.shares, tried * pull)),
        first=1 / math.sqrt(float(side.matters.sum())),
    )
    error = math.sqrt(_variance(_drawn_down(side.shares, multiplier * pull), side))
    return math.erfc(mean / error / math.sqrt(2)) if error > 0 else 0.0


def _drawn_down(shares: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """The likeliest shares of strata with a lower mean: by Lagrange seen / (m + pull * value), m for a sum of 1."""
    if shares.shape[1] == 2:
        right = shares[:, 1]
        root = np.sqrt(np.maximum(0.0, (1 + pull) ** 2 - 4 * pull * right))
        right = 2 * right / (1 + pull + root)
        return np.column_stack([1 - right, right])
    behind, alike, ahead = shares.T
    total = np.maximum(np.maximum(pull + behind, alike), ahead - pull)
    for _ in range(MOST_STEPS):  # Newton's from the left of a falling convex function: never beyond the root
        low = np.divide(behind, total - pull, out=np.zeros_like(pull), where=behind > 0)
        over = low + alike / total + ahead / (total + pull) - 1
        slope = np.divide(low, total - pull, out=np.zeros_like(pull), where=behind > 0)
        step = np.maximum(0.0, over) / (slope + alike / total**2 + ahead / (total + pull) ** 2)
        total = total + step
        if (step <= 1e-13 * total).all():
            break
    alike, ahead = alike / total, ahead / (total + pull)
    return np.column_stack([np.maximum(0.0, 1 - alike - ahead), alike, ahead])


def _variance(likely: np.ndarray, seen: Seen) -> float:
    """The variance of the mean, were the strata as ``likely`` has them.

    A variance at shares that were estimated from n items is too small by that of their mean, of which the condition on
    the whole's mean takes away the part ``tied`` that the stratum has in it.
    """
    each = seen.matters * _item_variance(likely, seen.values)
    tied = each / each.sum() if each.sum() > 0 else np.zeros(len(each))
    several = seen.asked > 1
    each = each * np.divide(seen.asked, seen.asked - 1 + tied, out=np.ones(len(each)), where=several)
    few = seen.asked < FEW * (len(seen.values) - 1)
    if not few.any():
        return seen.scale * float(each.sum())
    whole, now = (_item_variance(seen.weights @ shares, seen.values) for shares in (seen.shares, likely))
    of_whole = np.where(several, _spread(seen) / whole if whole > 0 else 0.0, 1.0)
    floor = float(now * (seen.matters[few] @ of_whole[few]))
    return seen.scale * (float(each[~few].sum()) + max(floor, float(each[few].sum())))


def _spread(seen: Seen) -> np.ndarray:
    """The variance of an item of each stratum, without bias."""
    return np.asarray(_item_variance(seen.shares, seen.values) * seen.asked / np.maximum(seen.asked - 1, 1))


def _item_variance(shares: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(0.0, shares @ values**2 - (shares @ values) ** 2))


def _root(function: Callable[[float], float], *, first: float) -> float:
    """Where a function that is below 0 near 0 and above it far out crosses it (Illinois: Dowell & Jarratt 1971)."""
    low, high = 0.0, first
    at_low, at_high = function(low), function(high)
    while at_high <= 0:
        low, at_low, high = high, at_high, 2 * high
        at_high = function(high)
    moved = 0  # which end moved last: where it is the same twice, the other end's value is halved
    for _ in range(MOST_STEPS):
        if high - low <= 1e-12 * high:
            break
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        found = function(middle)
        if found == 0:
            return middle
        if found < 0:
            low, at_low = middle, found
            at_high, moved = (at_high / 2, -1) if moved == -1 else (at_high, -1)
        else:
            high, at_high = middle, found
            at_low, moved = (at_low / 2, 1) if moved == 1 else (at_low, 1)
    return high
