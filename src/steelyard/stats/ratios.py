"""Ratios of sums, such as cost per correct answer and tokens per second."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from steelyard.stats.given import same_items
from steelyard.stats.intervals import t_quantile
from steelyard.stats.quantiles import Value


class RatioInterval(Struct, frozen=True, kw_only=True):
    """A ratio with its bounds; ``None`` where the set of plausible ratios is unbounded, or the denominator is 0."""

    ratio: float | None
    low: float | None
    high: float | None


def ratio_interval_fieller(
    *, numerator: Sequence[float] | np.ndarray, denominator: Sequence[float] | np.ndarray, confidence: float = 0.95
) -> RatioInterval:
    """Interval of sum(numerator) / sum(denominator) over items (Fieller 1954).

    It holds every theta for which the mean of numerator - theta * denominator does not differ from 0 by a t test. It is
    solved for theta - ratio, from what items are beyond the ratio: squares of the sums themselves cancel to within the
    root of rounding alone, and items that all have the same ratio, as of two prices for the same tokens, would differ.
    """
    above, below = same_items(numerator, denominator, names="numerator and denominator")
    n = len(above)
    if n == 0 or not below.sum() or not np.isfinite(above.sum() + below.sum()):
        return RatioInterval(ratio=None, low=None, high=None)
    ratio = float(above.sum() / below.sum())
    if n < 2:
        return RatioInterval(ratio=ratio, low=None, high=None)
    t2 = t_quantile(n - 1, 0.5 + confidence / 2) ** 2
    covariance = t2 * np.cov(above - ratio * below, below, ddof=1) / n
    a, b, c = below.mean() ** 2 - covariance[1, 1], covariance[0, 1], covariance[0, 0]
    if a <= 0:
        return RatioInterval(ratio=ratio, low=None, high=None)
    root = math.sqrt(b * b + a * c)
    return RatioInterval(ratio=ratio, low=ratio - float((b + root) / a), high=ratio - float((b - root) / a))


def tokens_per_second(*, tokens: Sequence[float], seconds: Sequence[float]) -> Value:
    """Total tokens over total seconds; the mean of per-request rates is another quantity."""
    made, total = float(sum(tokens)), float(sum(seconds))
    return Value(value=made / total if total and math.isfinite(made + total) else None)
