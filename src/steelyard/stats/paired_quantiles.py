"""A percentile of two samples of the same items, such as two models' latencies on the same prompts."""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct

from steelyard.stats.correlation import pearson
from steelyard.stats.paired import paired_se_from_correlation
from steelyard.stats.quantiles import clustered_quantile_interval, quantile_interval


class QuantileContrast(Struct, frozen=True, kw_only=True):
    """Percentiles of A and B, their difference and, of positive values, their ratio A / B, each with its bounds.

    ``None`` where there is no such number: too few values, or the percentile lies among censored (infinite) ones.
    ``correlation`` is that of exceeding one's own percentile: what the pairing is worth.
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


def paired_quantiles(
    *,
    a: np.ndarray,
    b: np.ndarray,
    p: float,
    items_a: np.ndarray | None = None,
    items_b: np.ndarray | None = None,
    confidence: float = 0.95,
) -> QuantileContrast:
    """The ``p`` quantiles of paired values compared, distribution-free.

    Each quantile has its order-statistic bounds (Woodruff 1952); their distances from the points are recombined for the
    difference, on the logarithmic scale for the ratio, with the correlation of the indicators of exceeding (Zou &
    Donner 2008). Wider than it need be in tails that go together, and for few values. Without ``items_*`` ``a[i]`` and
    ``b[i]`` are one item's; with them an item may have several values.
    """
    if not len(a) or not len(b):
        return QuantileContrast(a=None, b=None, difference=None, difference_low=None, difference_high=None, ratio=None,
                                ratio_low=None, ratio_high=None, correlation=0.0, n=0)  # fmt: skip
    one, other = _Side.of(a, items_a, p, confidence), _Side.of(b, items_b, p, confidence)
    r = _correlation(one, other)
    difference, low, high = _contrast(one.plain, other.plain, r)
    logarithm, log_low, log_high = _contrast(one.logarithms(), other.logarithms(), r)
    return QuantileContrast(
        a=_finite(one.plain[1]),
        b=_finite(other.plain[1]),
        difference=difference,
        difference_low=low,
        difference_high=high,
        ratio=_exp(logarithm),
        ratio_low=_exp(log_low),
        ratio_high=_exp(log_high),
        correlation=r,
        n=len(one.exceeding),
    )


Bounds = tuple[float | None, float, float | None]


class _Side(Struct, frozen=True, kw_only=True):
    """Lower bound, point and upper bound of one quantile, and how often each item exceeds the point."""

    plain: Bounds
    exceeding: np.ndarray

    @staticmethod
    def of(values: np.ndarray, items: np.ndarray | None, p: float, confidence: float) -> _Side:
        point = _linear(np.sort(values), p)
        above = (values > point).astype(float)
        if items is None or len(np.unique(items)) == len(items):
            order = slice(None) if items is None else np.argsort(items)
            found = quantile_interval(values=values, p=p, confidence=confidence)
            return _Side(plain=(found.low, point, found.high), exceeding=above[order])
        found = clustered_quantile_interval(values=values, clusters=items, p=p, confidence=confidence)
        _, membership, counts = np.unique(items, return_inverse=True, return_counts=True)
        shares = np.bincount(membership, weights=above) / counts
        return _Side(plain=(found.low, point, found.high), exceeding=shares)

    def logarithms(self) -> Bounds:
        low, point, high = self.plain
        return None if low is None else _log(low), _log(point), None if high is None else _log(high)


def _linear(ordered: np.ndarray, p: float) -> float:
    """Type 7 of sorted values, of which the largest may be infinite."""
    place = p * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    if low == high or not math.isfinite(ordered[high]):
        return float(ordered[high])
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))


def _correlation(one: _Side, other: _Side) -> float:
    if len(one.exceeding) != len(other.exceeding):
        return 0.0
    return pearson(x=one.exceeding, y=other.exceeding).r or 0.0


def _contrast(one: Bounds, other: Bounds, r: float) -> tuple[float | None, float | None, float | None]:
    """Point and bounds of one - other (Zou & Donner 2008, eq. 4)."""
    if not (math.isfinite(one[1]) and math.isfinite(other[1])):
        return None, None, None
    return one[1] - other[1], _reached(one, other, r, upper=False), _reached(one, other, r, upper=True)


def _reached(one: Bounds, other: Bounds, r: float, *, upper: bool) -> float | None:
    ends = (one[2], other[0]) if upper else (one[0], other[2])
    if ends[0] is None or ends[1] is None or not (math.isfinite(ends[0]) and math.isfinite(ends[1])):
        return None
    found = paired_se_from_correlation(se_a=abs(one[1] - ends[0]), se_b=abs(ends[1] - other[1]), correlation=r)
    reach = found.unpaired if found.se is None else found.se
    return one[1] - other[1] + (reach if upper else -reach)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
