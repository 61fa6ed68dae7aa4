"""Asking fewer items of what is expensive, with the help of something cheap that goes with it.

The gain depends on how well the two go together: it is measured on the data and returned, never promised beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from steelyard.stats.intervals import t_quantile, without_spread
from steelyard.stats.paired import paired_difference_score_interval, t_test

ENDLESS = 10**15
FEWEST_DISCORDANT = 10


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


class AdjustedDifference(Struct, frozen=True, kw_only=True):
    """New - baseline over a whole population, with the p-value of none; ``method`` says what the bounds are from."""

    diff: float | None
    se: float | None
    p: float | None
    low: float | None
    high: float | None
    n: int
    method: Literal["t", "score", "none"]


class ControlVariateGain(Struct, frozen=True, kw_only=True):
    """How far a baseline's answers on more items stand in for items of one's own, as measured on those asked of both.

    ``variance_left`` is what is left of a plain mean's variance, ``worth`` how many items a plain mean would take for
    the same error; ``paired_left`` and ``paired_worth`` are those of the plain difference on the items asked, against
    the same plain mean. Bounds follow from those of ``phi``. ``None`` where there are too few items or no spread.
    """

    phi: float | None
    phi_low: float | None
    phi_high: float | None
    variance_left: float | None
    worth: float | None
    worth_low: float | None
    worth_high: float | None
    paired_left: float | None
    paired_worth: float | None
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


def control_variate_difference(
    *,
    new: Sequence[float] | np.ndarray,
    baseline_same_items: Sequence[float] | np.ndarray,
    baseline_full_mean: float,
    population: int,
    baseline_variance: float | None = None,
    confidence: float = 0.95,
) -> AdjustedDifference:
    """New - baseline over all the baseline's items, by the regression estimator; t with n - 2 degrees of freedom.

    Right and wrong of which fewer than ten items differ are too skewed for t: there the distances of Tango's score
    interval from the plain difference, shrunk as the error is by regression and by the part of the population asked.
    It has a width also where none differ. With ``baseline_variance``, that of the baseline over all its items, those
    are a sample themselves, and the interval is for questions like them: what they leave open is added (two-phase
    sampling, Cochran 1977, section 12.6).
    """
    y, x = np.asarray(new, dtype=float), np.asarray(baseline_same_items, dtype=float)
    n, differences = len(y), y - x
    found = control_variate_mean(
        new=y,
        baseline_same_items=x,
        baseline_full_mean=baseline_full_mean,
        population=population if baseline_variance is None else ENDLESS,
        confidence=confidence,
    )
    left_open = 0.0 if baseline_variance is None else (found.theta - 1) ** 2 * baseline_variance / population
    se = None if found.se is None else math.sqrt(found.se**2 + left_open)
    empty = AdjustedDifference(diff=None, se=se, p=None, low=None, high=None, n=n, method="none")
    if found.estimate is None:
        return empty
    difference = found.estimate - baseline_full_mean
    if se == 0:
        return replace(empty, diff=difference, low=difference, high=difference)
    discordant = int((differences != 0).sum())
    if n > 2 and discordant < FEWEST_DISCORDANT and np.isin(np.concatenate([y, x]), (0.0, 1.0)).all():
        part = 1.0 if baseline_variance is not None else 1 - n / population
        return _by_score(differences, difference, se, part, confidence)
    if se is None:
        return replace(empty, diff=difference)
    by_t = t_test(mean=difference, se=se, df=n - 2, n=n, confidence=confidence)
    return AdjustedDifference(diff=difference, se=se, p=by_t.p, low=by_t.low, high=by_t.high, n=n, method="t")


def _by_score(
    differences: np.ndarray, difference: float, se: float | None, part: float, confidence: float
) -> AdjustedDifference:
    n = len(differences)
    only_a, only_b = int((differences > 0).sum()), int((differences < 0).sum())
    bounds = paired_difference_score_interval(only_a_correct=only_a, only_b_correct=only_b, n=n, confidence=confidence)
    plain = float(differences.std(ddof=1)) / math.sqrt(n)
    shrunk = math.sqrt(part) if se is None or plain == 0 else min(1.0, se / plain)
    mean = float(differences.mean())
    return AdjustedDifference(
        diff=difference,
        se=se,
        p=t_test(mean=difference, se=se, df=n - 2, n=n, confidence=confidence).p if se else None,
        low=difference - shrunk * (mean - bounds.low),
        high=difference + shrunk * (bounds.high - mean),
        n=n,
        method="score",
    )


def control_variate_gain(
    *,
    new: Sequence[float] | np.ndarray,
    baseline_same_items: Sequence[float] | np.ndarray,
    population: int,
    confidence: float = 0.95,
) -> ControlVariateGain:
    """phi, and what it makes of the items asked (Cochran 1977, section 7.3): 1 - phi^2 of the variance is left.

    phi's interval is on Fisher's scale with the error that the items themselves show, since right and wrong are not
    normal (delta method). All figures are those of a finite ``population``.
    """
    y, x = np.asarray(new, dtype=float), np.asarray(baseline_same_items, dtype=float)
    n = len(y)
    if n < 4 or without_spread(x) or without_spread(y):
        return ControlVariateGain(
            phi=None,
            phi_low=None,
            phi_high=None,
            variance_left=None,
            worth=None,
            worth_low=None,
            worth_high=None,
            paired_left=None,
            paired_worth=None,
            n=n,
        )
    of_y, of_x = (y - y.mean()) / y.std(), (x - x.mean()) / x.std()
    phi = float(np.clip((of_x * of_y).mean(), -1.0, 1.0))
    low, high = _phi_bounds(of_x, of_y, phi, confidence)
    least, most = (0.0 if low < 0 < high else min(abs(low), abs(high))), max(abs(low), abs(high))
    paired_left = float((y - x).var() / y.var())
    return ControlVariateGain(
        phi=phi,
        phi_low=low,
        phi_high=high,
        variance_left=1 - phi**2,
        worth=_worth(1 - phi**2, n, population),
        worth_low=_worth(1 - least**2, n, population),
        worth_high=_worth(1 - most**2, n, population),
        paired_left=paired_left,
        paired_worth=_worth(paired_left, n, population),
        n=n,
    )


def _phi_bounds(of_x: np.ndarray, of_y: np.ndarray, phi: float, confidence: float) -> tuple[float, float]:
    """Bounds of a correlation from each item's influence on it, on the scale of its inverse hyperbolic tangent."""
    if abs(phi) >= 1 - 1e-12:
        return phi, phi
    influence = of_x * of_y - phi * (of_x**2 + of_y**2) / 2
    se = float(influence.std()) / math.sqrt(len(of_x) - 3) / (1 - phi**2)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * se
    return math.tanh(math.atanh(phi) - reach), math.tanh(math.atanh(phi) + reach)


def _worth(left: float, n: int, population: int) -> float:
    """How many items a plain mean takes for the error of ``n`` with so much of its variance left."""
    return 1 / (1 / population + max(0.0, left) * max(0.0, 1 / n - 1 / population))


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
