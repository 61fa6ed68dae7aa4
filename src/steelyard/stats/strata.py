"""What a weighed mean over fixed strata is known to be: score intervals, as Wilson's and Tango's are of one stratum.

Each value that is tried has the variance that the strata would have if it were true, not the one that was seen: a heavy
stratum that was always right may well be wrong now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import scipy.special
from msgspec import Struct

from steelyard.stats.given import same_items
from steelyard.stats.intervals import Interval, members_of, t_quantile

FEW = 5
"""Few items, for each share of a stratum that is free: up to 5 of right and wrong, up to 10 of differences."""
MOST_STEPS = 200
CLOSE = 1e-8
NOTHING = 1e-12


class StrataDifference(Struct, frozen=True, kw_only=True):
    """A weighed mean of strata's differences with its bounds and a two-sided p-value that it is 0."""

    diff: float | None
    low: float
    high: float
    p: float | None
    n: int


class StrataSeen(Struct, frozen=True, kw_only=True, dict=True):
    """What was seen in each stratum: a row of shares of its items, by values one apart from ``least`` on.

    ``worth``: as many items of an endless stratum would leave its mean as uncertain. ``scale``: the variance of items
    that lie between those values, as a part of what they would have at them; it is known by so many ``degrees`` of
    freedom.
    """

    shares: np.ndarray
    least: float
    weights: np.ndarray
    asked: np.ndarray
    worth: np.ndarray
    scale: float = 1.0
    degrees: float = math.inf

    def mean_of(self, shares: np.ndarray) -> float:
        """The weighed mean of strata that have such shares."""
        return float(self.weights @ shares @ self.values)

    def within(self, value: float) -> float:
        """The value, no farther out than a mean can be: a sum of weights is 1 but for its rounding."""
        return min(max(value, self.least), float(self.values[-1]))

    @property
    def mean(self) -> float:
        """The weighed mean that was seen."""
        return self.mean_of(self.shares)

    @property
    def least_possible(self) -> float:
        """The mean, had everything that was not asked the least value; of endless strata that is the least value."""
        known = np.where(np.isfinite(self.worth), 1 - self.asked / self.worth, 1.0)
        return float(self.weights @ (known * (self.shares @ self.values) + (1 - known) * self.least))

    @property
    def lowest(self) -> np.ndarray:
        """The shares in strata that have the least value throughout, those apart that were asked whole."""
        shares, is_open = self.shares.copy(), np.isfinite(self.worth)
        shares[is_open] = 0.0
        shares[is_open, 0] = 1.0
        return shares

    @cached_property
    def values(self) -> np.ndarray:
        """The value of each column."""
        return np.arange(self.shares.shape[1]) + self.least

    @cached_property
    def matters(self) -> np.ndarray:
        """How much the variance of an item of each stratum has in that of the mean."""
        return np.asarray(self.weights**2 / self.worth)

    @cached_property
    def spread(self) -> np.ndarray:
        """The variance of an item of each stratum, without bias."""
        return np.asarray(_item_variance(self.shares, self.values) * self.asked / np.maximum(self.asked - 1, 1))

    @cached_property
    def spread_in_whole(self) -> np.ndarray:
        """Likewise, as a part of the variance of an item of the whole: all of it, where one item shows none."""
        whole = _item_variance(self.weights @ self.shares, self.values)
        return np.where(self.asked > 1, self.spread / whole if whole > 0 else 0.0, 1.0)

    @property
    def mirrored(self) -> StrataSeen:
        """The same with every value's sign turned."""
        return msgspec.structs.replace(self, shares=self.shares[:, ::-1], least=-float(self.values[-1]))


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
    stratum's own share brings. Of one stratum it is Wilson's. Among several, those of up to five items, where that
    correction falls short, have no less variance than the seen one would be at the value that is tried; one of a single
    item has that of the whole.

    ``variances`` are those of the items of each stratum where scores lie between right and wrong, as means of repeats
    do: t then stands for the normal, with effective degrees of freedom (Satterthwaite 1946; Cochran 1977, eq. 5.16).
    ``populations``: the sizes of the whole strata, to say what asking all of them would have given (Cochran 1977,
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
    stratum it is Tango's (1998), known to cover 99.8 % at one flip expected, 98.6 at two, 95.9 at four. Few items are
    here up to ten, among several strata. ``weights`` need not sum to 1; ``p`` is that of the score test.
    """
    differences = np.subtract(*same_items(a, b))
    n = len(differences)
    membership = members_of(strata)
    names = np.unique(strata).tolist() if isinstance(strata, np.ndarray) else list(dict.fromkeys(strata))
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
    return StrataDifference(diff=seen.within(seen.mean), low=found.low, high=found.high, p=_p_of_zero(seen), n=n)


def _seen(
    shares: np.ndarray,
    *,
    least: float,
    weights: np.ndarray,
    asked: np.ndarray,
    variances: np.ndarray | None,
    populations: np.ndarray | None,
) -> StrataSeen:
    left = np.ones(len(asked)) if populations is None else np.maximum(0.0, 1 - asked / populations)
    worth = np.divide(asked, left, out=np.full(len(asked), math.inf), where=left > 0)
    seen = StrataSeen(shares=shares, least=least, weights=weights / weights.sum(), asked=asked, worth=worth)
    if variances is None:
        return seen
    several = asked > 1
    each, most = seen.matters[several] * variances[several], seen.matters[several] @ seen.spread[several]
    found = float(each.sum())
    if not found > NOTHING * most > 0:  # no spread at all is no spread to go by
        return seen
    degrees = found**2 / float((each**2 / (asked[several] - 1)).sum())
    return msgspec.structs.replace(seen, scale=max(found / float(most), 1 / float(asked.sum())), degrees=degrees)


def _bounds(seen: StrataSeen, confidence: float) -> Interval:
    z, mean = t_quantile(seen.degrees, 0.5 + confidence / 2), seen.mean
    low, high = min(mean, _lowest(seen, z)), max(mean, -_lowest(seen.mirrored, z))
    return Interval(low=seen.within(low), high=seen.within(high))


def _lowest(seen: StrataSeen, z: float) -> float:
    """The least mean within ``z`` standard errors of the one seen, were it true; of whole strata, that can still be."""
    mean, reach = seen.mean, seen.mean - seen.mean_of(seen.lowest)
    if reach <= NOTHING or z <= 0:
        return mean
    if reach <= z * math.sqrt(_variance(seen.lowest, seen)):
        return seen.least_possible
    pull = seen.weights / seen.worth
    all_of_it = float(seen.matters.sum())

    def beyond(multiplier: float) -> float:
        likely = _drawn_down(seen.shares, multiplier * pull)
        variance = _variance(likely, seen)
        is_still = variance <= NOTHING**2 * all_of_it  # what it takes away is rounding
        return -math.sqrt(all_of_it) if is_still else mean - seen.mean_of(likely) - z * math.sqrt(variance)

    multiplier = _root(beyond, first=z / math.sqrt(all_of_it))
    return max(seen.mean_of(_drawn_down(seen.shares, multiplier * pull)), seen.least_possible)


def _p_of_zero(seen: StrataSeen) -> float:
    """Two-sided, that the mean is 0: the score test that the interval inverts."""
    side = seen if seen.mean > 0 else seen.mirrored
    if side.mean <= 0 or side.least_possible > 0:
        return 1.0 if side.mean <= 0 else 0.0
    pull = side.weights / side.worth
    multiplier = _root(
        lambda tried: -side.mean_of(_drawn_down(side.shares, tried * pull)),
        first=1 / math.sqrt(float(side.matters.sum())),
    )
    error = math.sqrt(_variance(_drawn_down(side.shares, multiplier * pull), side))
    return 2 * float(scipy.special.stdtr(side.degrees, -side.mean / error)) if error > 0 else 0.0


def _drawn_down(shares: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """The likeliest shares of strata with a lower mean: by Lagrange seen / (m + pull * value), m for a sum of 1."""
    if shares.shape[1] == 2:
        right = shares[:, 1]
        root = np.sqrt(np.maximum(0.0, (1 + pull) ** 2 - 4 * pull * right))
        right = 2 * right / (1 + pull + root)
        return _columns(1 - right, right)
    behind, alike, ahead = shares.T
    linear = -(pull**2 + pull * (behind - ahead))  # m^3 - m^2 + linear m + alike pull^2 = 0, by Viete's cosines
    third = np.sqrt(1 - 3 * linear) / 3
    angle = np.arccos(np.clip((9 * linear - 2 + 27 * alike * pull**2) / 54 / third**3, -1.0, 1.0))
    largest = 1 / 3 - 2 * third * np.cos((angle + 2 * math.pi) / 3)
    total = np.maximum(largest, np.maximum(np.maximum(pull + behind, alike), ahead - pull))
    alike, ahead = alike / total, ahead / (total + pull)
    return _columns(np.maximum(0.0, 1 - alike - ahead), alike, ahead)


def _columns(*columns: np.ndarray) -> np.ndarray:
    """As numpy's ``column_stack``, in a third of its time."""
    stacked = np.empty((len(columns[0]), len(columns)))
    for place, column in enumerate(columns):
        stacked[:, place] = column
    return stacked


def _variance(likely: np.ndarray, seen: StrataSeen) -> float:
    """The variance of the mean, were the strata as ``likely`` has them.

    A variance at shares that were estimated from n items is too small by that of their mean, of which the condition on
    the whole's mean takes away the part ``tied`` that the stratum has in it: all of it, where there is no other.
    """
    each = seen.matters * _item_variance(likely, seen.values)
    tied = each / each.sum() if each.sum() > 0 else np.zeros(len(each))
    several = seen.asked > 1
    each = each * np.divide(seen.asked, seen.asked - 1 + tied, out=np.ones(len(each)), where=several)
    few = seen.asked <= FEW * (len(seen.values) - 1)
    if not few.any() or np.count_nonzero(seen.weights) == 1:
        return seen.scale * float(each.sum())
    now = _item_variance(seen.weights @ likely, seen.values)
    floor = float(now * (seen.matters[few] @ seen.spread_in_whole[few]))
    return seen.scale * (float(each[~few].sum()) + max(floor, float(each[few].sum())))


def _item_variance(shares: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(0.0, shares @ values**2 - (shares @ values) ** 2))


def _root(function: Callable[[float], float], *, first: float) -> float:
    """Where a function that is below 0 near 0 and above it far out crosses it (Illinois: Dowell & Jarratt 1971).

    One that is above it nowhere, as far out as is looked, has that farthest place for an answer.
    """
    low, high = 0.0, first
    at_low, at_high = min(0.0, function(low)), function(high)
    for _ in range(MOST_STEPS):
        if at_high > 0:
            break
        low, at_low, high = high, at_high, 2 * high
        at_high = function(high)
    else:
        return high
    moved = 0  # which end moved last: where it is the same twice, the other end's value is halved
    for _ in range(MOST_STEPS):
        if high - low <= CLOSE * high:
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
