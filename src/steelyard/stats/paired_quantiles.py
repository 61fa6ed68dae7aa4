"""A percentile of two samples of the same items, such as two models' latencies on the same prompts.

Two percentiles that are read off single values jump from value to value, each by itself, even where the two models are
slow on the same prompts. Means weighted around the percentile move together, and so can be told apart more closely.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.correlation import pearson
from steelyard.stats.intervals import t_quantile
from steelyard.stats.paired import paired_se_from_correlation
from steelyard.stats.quantiles import (
    clustered_quantile_interval,
    interpolated_quantile_interval,
    linear_quantile,
    quantile_interval,
)

Method = Literal["smooth", "order", "none"]


class QuantileContrast(Struct, frozen=True, kw_only=True):
    """Percentiles of A and B, their difference and, of positive values, their ratio A / B, each with its bounds.

    ``a`` and ``b`` are linear percentiles (type 7). Where ``method`` is ``smooth``, difference and ratio are of Harrell
    and Davis's, which are near them and less subject to luck. ``None`` where there is no such number: too few values,
    no spread, or the percentile lies among censored (infinite) ones. ``correlation`` says what the pairing is worth.
    """

    a: float | None
    b: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    correlation: float
    n: int
    method: Method


def paired_quantiles(
    *,
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    p: float,
    items_a: Sequence[Hashable] | np.ndarray | None = None,
    items_b: Sequence[Hashable] | np.ndarray | None = None,
    confidence: float = 0.95,
    degrees: float | None = None,
) -> QuantileContrast:
    """The ``p`` quantiles of paired values compared. Without ``items_*`` ``a[i]`` and ``b[i]`` are one item's; with
    them an item, or a cluster of items, may have several values. ``degrees`` are those that t is left with where
    clusters' sizes are far apart; else all that as many have.

    Harrell and Davis's (1982) of the logarithms, each with the error that every item's influence on it shows (the
    infinitesimal jackknife, Efron 1982) and t. The degrees of freedom are three for each item in the smaller tail,
    as simulation asks for: of a tail of few the error is hardly known. Both are recombined with the correlation of
    the influences (Zou & Donner 2008). Where one percentile is known much less closely than the other, bounds reach
    out to what order statistics say, whatever the shape of the tail (interpolated, Nyblom 1992). Where they move as
    good as wholly together, bounds reach out to where both may have moved to. Where values are
    censored or not above 0, order statistics (Woodruff 1952) and the correlation of exceeding them stand in, which
    is wider than it need be in tails that go together.
    """
    if not len(a) or not len(b):
        return QuantileContrast(a=None, b=None, difference=None, difference_low=None, difference_high=None, ratio=None,
                                ratio_low=None, ratio_high=None, correlation=0.0, n=0, method="none")  # fmt: skip
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    items_a, items_b = (None if items is None else np.asarray(items) for items in (items_a, items_b))
    ordered = [_Side.by_order(values, items, p, confidence, degrees) for values, items in ((a, items_a), (b, items_b))]
    method: Method = "smooth" if all((values > 0).all() and np.isfinite(values).all() for values in (a, b)) else "order"
    one, other = ordered
    if method == "smooth":
        one, other = (
            side.smooth(values, items, p, confidence, degrees)
            for side, values, items in ((one, a, items_a), (other, b, items_b))
        )
    r = _correlation(one, other)
    points = ordered[0].plain[1], ordered[1].plain[1]
    exact = one.exact, other.exact
    difference, low, high = _contrast(one.plain, other.plain, r, points, exact)
    logarithm, log_low, log_high = _contrast(
        _logarithms(one.plain),
        _logarithms(other.plain),
        r,
        (_log(points[0]), _log(points[1])),
        (_logarithms(exact[0]), _logarithms(exact[1])),
    )
    return QuantileContrast(
        a=_finite(points[0]),
        b=_finite(points[1]),
        difference=difference,
        difference_low=low,
        difference_high=high,
        ratio=_exp(logarithm),
        ratio_low=_exp(log_low),
        ratio_high=_exp(log_high),
        correlation=r,
        n=len(one.influence),
        method=method,
    )


Bounds = tuple[float | None, float, float | None]
DEGREES_A_TAIL_VALUE = 3
AS_ONE = 0.92, 0.95
"""Correlations of the influences from which, and from which wholly, two percentiles are taken to move as one."""


class _Side(Struct, frozen=True, kw_only=True):
    """Lower bound, point and upper bound of one quantile, the same by order statistics, and how far each item moves it.

    ``exact`` has the smooth point between bounds that hold whatever the shape of the tail.
    """

    plain: Bounds
    exact: Bounds
    influence: np.ndarray

    @staticmethod
    def by_order(
        values: np.ndarray, items: np.ndarray | None, p: float, confidence: float, degrees: float | None
    ) -> _Side:
        point = linear_quantile(np.sort(values), p)
        above = (values > point).astype(float)
        if items is None or len(np.unique(items)) == len(items):
            found = quantile_interval(values=values, p=p, confidence=confidence)
            bounds = (found.low, point, found.high)
            return _Side(plain=bounds, exact=bounds, influence=_by_item(above, items))
        found = clustered_quantile_interval(values=values, clusters=items, p=p, confidence=confidence, degrees=degrees)
        shares = _by_item(above, items) / np.unique(items, return_counts=True)[1]
        bounds = (found.low, point, found.high)
        return _Side(plain=bounds, exact=bounds, influence=shares)

    def smooth(
        self, values: np.ndarray, items: np.ndarray | None, p: float, confidence: float, degrees: float | None
    ) -> _Side:
        """Harrell and Davis's instead, of positive, finite values; unbounded where order statistics are."""
        logarithm, moves = _harrell_davis(np.log(values), p)
        influence = _by_item(moves, items)
        units = len(influence)
        if self.plain[0] is None or self.plain[2] is None or units < 2:
            unbounded = (None, math.exp(logarithm), None)
            return _Side(plain=unbounded, exact=unbounded, influence=influence)
        se = math.sqrt(float(influence @ influence) * units / (units - 1)) / len(values)
        left = units - 1.0 if degrees is None else degrees
        left = min(left, max(1.0, DEGREES_A_TAIL_VALUE * (left + 1) * min(p, 1 - p)))
        reach = t_quantile(left, 0.5 + confidence / 2) * se
        point = math.exp(logarithm)
        low, high = self.plain[0], self.plain[2]
        if units == len(values):
            found = interpolated_quantile_interval(values=np.log(values), p=p, confidence=confidence)
            low = low if found.low is None else math.exp(found.low)
            high = high if found.high is None else math.exp(found.high)
        return _Side(
            plain=(math.exp(logarithm - reach), point, math.exp(logarithm + reach)),
            exact=(min(low, point), point, max(high, point)),
            influence=influence,
        )


def _harrell_davis(values: np.ndarray, p: float) -> tuple[float, np.ndarray]:
    """Harrell and Davis's estimate, and how far it moves towards each value as that one's weight grows.

    With B the distribution of Beta(p (n + 1), (1 - p) (n + 1)) the estimate is the largest value less the gaps between
    neighbours, each times B at the share below it; a weight more at one value raises all shares from it on.
    """
    n = len(values)
    order = np.argsort(values, kind="stable")
    gaps, shares = np.diff(values[order]), np.arange(1, n) / n
    alpha, beta = p * (n + 1), (1 - p) * (n + 1)
    below = scipy.special.betainc(alpha, beta, shares)
    logarithms = scipy.special.xlogy(alpha - 1, shares) + scipy.special.xlog1py(beta - 1, -shares)
    steps = gaps * np.exp(logarithms - scipy.special.betaln(alpha, beta))
    influence = np.empty(n)
    influence[order] = steps @ shares - np.append(np.cumsum(steps[::-1])[::-1], 0.0)
    return float(values[order[-1]] - gaps @ below), influence


def _by_item(values: np.ndarray, items: np.ndarray | None) -> np.ndarray:
    """What each item's values add up to, in the order of the items."""
    return values if items is None else np.bincount(np.unique(items, return_inverse=True)[1], weights=values)


def _correlation(one: _Side, other: _Side) -> float:
    if len(one.influence) != len(other.influence):
        return 0.0
    return pearson(x=one.influence, y=other.influence).r or 0.0


def _contrast(
    one: Bounds, other: Bounds, r: float, points: tuple[float, float], exact: tuple[Bounds, Bounds]
) -> tuple[float | None, float | None, float | None]:
    """Point and bounds of one - other (Zou & Donner 2008, eq. 4); bounds that coincide are none.

    The skew of two tails of one shape cancels out; where the error of one outweighs the other's it stays. The more it
    does, the farther bounds reach out to those that are recombined from ``exact`` ones (by simulation). Of two that
    move as one the errors cancel out, and what smoothing is off by in unlike shapes does not: bounds reach out to the
    contrasts of the lower and of the upper ``exact`` ones.
    """
    if not (math.isfinite(points[0]) and math.isfinite(points[1])):
        return None, None, None
    point = points[0] - points[1]
    low, high = (_reached(one, other, r, upper=upper) for upper in (False, True))
    far_low, far_high = (_reached(*exact, r, upper=upper) for upper in (False, True))
    if low is not None and far_low is not None:
        low -= _outweighs(one, other) * max(0.0, low - far_low)
    if high is not None and far_high is not None:
        high += _outweighs(one, other) * max(0.0, far_high - high)
    if low is not None and high is not None and (moved := _moved_as_one(*exact)):
        low -= _are_as_one(r) * max(0.0, low - min(moved))
        high += _are_as_one(r) * max(0.0, max(moved) - high)
    if low is not None and high is not None and high - low <= 1e-12 * max(abs(one[1]), abs(other[1])):
        return point, None, None
    return point, None if low is None else min(low, point), None if high is None else max(high, point)


def _reached(one: Bounds, other: Bounds, r: float, *, upper: bool) -> float | None:
    ends = (one[2], other[0]) if upper else (one[0], other[2])
    if ends[0] is None or ends[1] is None or not (math.isfinite(ends[0]) and math.isfinite(ends[1])):
        return None
    found = paired_se_from_correlation(se_a=abs(one[1] - ends[0]), se_b=abs(ends[1] - other[1]), correlation=r)
    reach = found.unpaired if found.se is None else found.se
    return one[1] - other[1] + (reach if upper else -reach)


def _moved_as_one(one: Bounds, other: Bounds) -> list[float]:
    """one - other where both are at their lower, and at their upper bounds; nothing where they have none."""
    sides = ((one[0], other[0]), (one[2], other[2]))
    return [a - b for a, b in sides if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)]


def _are_as_one(r: float) -> float:
    """0 for percentiles that move apart at times, 1 where they move as good as wholly together."""
    least, wholly = AS_ONE
    return min(1.0, max(0.0, (r - least) / (wholly - least)))


def _outweighs(one: Bounds, other: Bounds) -> float:
    """0 where both are known as closely, 1 where the error of one is all there is."""
    squares = [(high - low) ** 2 for low, _, high in (one, other) if low is not None and high is not None]
    if len(squares) < 2 or not 0 < sum(squares) < math.inf:  # unbounded ones are of order statistics already
        return 0.0
    return float(((squares[0] - squares[1]) / sum(squares)) ** 2)


def _logarithms(bounds: Bounds) -> Bounds:
    low, point, high = bounds
    return None if low is None else _log(low), _log(point), None if high is None else _log(high)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
