"""Asking fewer items of what is expensive, with the help of something cheap that goes with it.

The gain depends on how well the two go together: it is measured on the data and returned, never promised beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from steelyard.stats.intervals import t_quantile


class AdjustedMean(Struct, frozen=True, kw_only=True):
    """A mean of the whole benchmark estimated with a baseline's help; ``None`` where items are too few for it.

    ``correlation`` is that of new and baseline scores over the items asked; 1 - correlation^2 of the variance is left.
    """

    estimate: float | None
    theta: float
    correlation: float | None
    se: float | None
    low: float | None
    high: float | None
    n: int


class PredictedMean(Struct, frozen=True, kw_only=True):
    """A mean from few labels and many predictions; ``None`` where there are too few labels or no spread."""

    estimate: float | None
    lam: float
    se: float | None
    low: float | None
    high: float | None
    n: int


def control_variate_mean(
    *,
    new: Sequence[float] | np.ndarray,
    baseline_same_items: Sequence[float] | np.ndarray,
    baseline_full_mean: float,
    population: int,
    confidence: float = 0.95,
) -> AdjustedMean:
    """The regression estimator of a finite population (Cochran 1977, section 7.3; CUPED, Deng et al. 2013).

    ``new`` was asked on a random part of the benchmark whose every item the baseline has answered. The interval is by
    t with n - 2 degrees of freedom, and close from some 100 items on. Where all items were asked it has no width; where
    the line meets every item asked, as with two versions that never differed, there is none.
    """
    y, x = np.asarray(new, dtype=float), np.asarray(baseline_same_items, dtype=float)
    n = len(y)
    if n == 0:
        return AdjustedMean(estimate=None, theta=0.0, correlation=None, se=None, low=None, high=None, n=0)
    mean_y, mean_x = float(y.mean()), float(x.mean())
    spread_x, spread_y = float(((x - mean_x) ** 2).sum()), float(((y - mean_y) ** 2).sum())
    together = float((x - mean_x) @ (y - mean_y))
    theta = together / spread_x if spread_x > 0 and n > 2 else 0.0
    correlation = together / math.sqrt(spread_x * spread_y) if spread_x > 0 and spread_y > 0 and n > 2 else None
    estimate = mean_y - theta * (mean_x - baseline_full_mean)
    if n >= population:
        return AdjustedMean(estimate=mean_y, theta=theta, correlation=correlation, se=0.0, low=mean_y, high=mean_y, n=n)
    degrees = n - 2 if spread_x > 0 else n - 1
    left = float(((y - mean_y - theta * (x - mean_x)) ** 2).sum())
    if n < 3 or left <= 1e-12 * max(1.0, spread_y):
        return AdjustedMean(estimate=estimate, theta=theta, correlation=correlation, se=None, low=None, high=None, n=n)
    se = math.sqrt((1 - n / population) * left / degrees / n)
    reach = t_quantile(degrees, 0.5 + confidence / 2) * se
    return AdjustedMean(
        estimate=estimate,
        theta=theta,
        correlation=correlation,
        se=se,
        low=estimate - reach,
        high=estimate + reach,
        n=n,
    )


def ppi_mean(
    *,
    labeled: Sequence[float] | np.ndarray,
    predictions_labeled: Sequence[float] | np.ndarray,
    predictions_unlabeled: Sequence[float] | np.ndarray,
    lam: float | None = None,
    confidence: float = 0.95,
) -> PredictedMean:
    """Prediction-powered mean: a judge on everything, put right by trusted labels on some (Angelopoulos et al. 2023).

    The unlabelled items are others than the labelled ones. ``lam`` is how far predictions are leant on; ``None`` takes
    the weight of least variance, within 0 and 1 (PPI++, Angelopoulos, Duchi & Zrnic 2023). Large-sample interval.
    """
    y, f = np.asarray(labeled, dtype=float), np.asarray(predictions_labeled, dtype=float)
    others = np.asarray(predictions_unlabeled, dtype=float)
    n = len(y)
    if n == 0:
        return PredictedMean(estimate=None, lam=lam or 0.0, se=None, low=None, high=None, n=0)
    weight = 0.0 if not len(others) else _least_variance(y, f, others) if lam is None else float(lam)
    rest = y - weight * f
    estimate = float(rest.mean()) + (weight * float(others.mean()) if weight else 0.0)
    variance = float(rest.var()) / n + (weight**2 * float(others.var()) / len(others) if weight else 0.0)
    if n < 2 or float(rest.var()) <= 1e-15 or not math.isfinite(variance):
        return PredictedMean(estimate=estimate, lam=weight, se=None, low=None, high=None, n=n)
    se = math.sqrt(variance)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * se
    return PredictedMean(estimate=estimate, lam=weight, se=se, low=estimate - reach, high=estimate + reach, n=n)


def _least_variance(y: np.ndarray, f: np.ndarray, others: np.ndarray) -> float:
    spread = float(np.concatenate([f, others]).var())
    if len(y) < 2 or spread <= 0:
        return 0.0
    together = float(((y - y.mean()) * (f - f.mean())).mean())
    return min(1.0, max(0.0, together / ((1 + len(y) / len(others)) * spread)))
