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

from steelyard.stats.given import same_items
from steelyard.stats.intervals import t_quantile, wilson_interval, without_spread
from steelyard.stats.paired import t_test
from steelyard.stats.post_strata import (
    Halves,
    are_few,
    are_shares,
    halves,
    share_bounds,
    share_p_value,
    unlimited_bounds,
)

ENDLESS = 10**15


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
    method: Literal["t", "shares", "none"]


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
    """A mean from few labels and many predictions; ``None`` where labels are too few, unknown or without spread.

    ``method`` says what the bounds are from.
    """

    estimate: float | None
    lam: float
    se: float | None
    low: float | None
    high: float | None
    n: int
    method: Literal["normal", "t", "shares", "none"]


def control_variate_mean(
    *,
    new: Sequence[float] | np.ndarray,
    baseline_same_items: Sequence[float] | np.ndarray,
    baseline_full_mean: float,
    population: int,
    are_differences: bool = False,
    confidence: float = 0.95,
) -> AdjustedMean:
    """The regression estimator of a finite population (Cochran 1977, section 7.3; CUPED, Deng et al. 2013).

    ``new`` was asked on a random part of the benchmark whose every item the baseline has answered. Right and wrong are
    bounded half by half: Jeffreys' intervals of the items the baseline has right and of those it has wrong, joined.
    Where the two are apart on fewer than some four of the items asked, such counts take few values, and it covers up to
    99.6 % (at fewer than one, 100); from there on 93.7 to 96. Those are means over benchmarks: on a single one of which
    most was asked and one or two answers flip each way, as few as 74.5 % (``whole_difference`` counts such ones out).
    Other scores have t with n - 2 degrees of freedom, close from some 100 items on; a rare right or wrong beside other
    scores of the baseline is bounded without them. Differences may be below 0, whichever were seen, and have t. Where
    all items were asked there is no width; where the line meets every item asked, and scores are not right or wrong,
    there is no interval.
    """
    y, x = same_items(new, baseline_same_items, names="new and baseline_same_items")
    n = len(y)
    if n == 0 or not np.isfinite(y).all() or not np.isfinite(x).all():
        return AdjustedMean(estimate=None, theta=0.0, correlation=None, se=None, low=None, high=None, n=n)
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
    has_spread = n >= 3 and left > 1e-12 * max(1.0, spread_y)
    se = math.sqrt((1 - n / population) * left / degrees / n) if has_spread else None
    low: float | None = None
    high: float | None = None
    parts = None if are_differences else _parts(y, x, baseline_full_mean, population)
    if parts:
        bounds = share_bounds(parts, left_open=0.0, confidence=confidence)
        low, high = min(bounds.low, estimate), max(bounds.high, estimate)
    elif se is not None:
        reach = t_quantile(degrees, 0.5 + confidence / 2) * se
        low, high = estimate - reach, estimate + reach
    return AdjustedMean(estimate=estimate, theta=theta, correlation=correlation, se=se, low=low, high=high, n=n)


def control_variate_difference(
    *,
    new: Sequence[float] | np.ndarray,
    baseline_same_items: Sequence[float] | np.ndarray,
    baseline_full_mean: float,
    population: int,
    baseline_variance: float | None = None,
    confidence: float = 0.95,
) -> AdjustedDifference:
    """New - baseline over all the baseline's items, by the regression estimator, bounded as ``control_variate_mean``.

    Right and wrong have a width also where none differ, and their ``p`` is that of the interval. With
    ``baseline_variance``, that of the baseline over all its items, those are a sample themselves, and the interval is
    for questions like them: what they leave open is added (two-phase sampling, Cochran 1977, section 12.6).
    """
    y, x = same_items(new, baseline_same_items, names="new and baseline_same_items")
    n, size = len(y), population if baseline_variance is None else ENDLESS
    found = control_variate_mean(
        new=y,
        baseline_same_items=x,
        baseline_full_mean=baseline_full_mean,
        population=size,
        confidence=confidence,
    )
    left_open = 0.0 if baseline_variance is None else (found.theta - 1) ** 2 * baseline_variance / population
    se = None if found.se is None else math.sqrt(found.se**2 + left_open)
    empty = AdjustedDifference(diff=None, se=se, p=None, low=None, high=None, n=n, method="none")
    if found.estimate is None:
        return empty
    difference = found.estimate - baseline_full_mean
    if n >= size:
        return replace(empty, diff=difference, low=difference, high=difference)
    if parts := _parts(y, x, baseline_full_mean, size):
        bounded = share_bounds if baseline_variance is None else unlimited_bounds
        bounds = bounded(parts, left_open=left_open, confidence=confidence)
        return AdjustedDifference(
            diff=difference,
            se=se,
            p=share_p_value(parts, value=baseline_full_mean, left_open=left_open),
            low=min(bounds.low - baseline_full_mean, difference),
            high=max(bounds.high - baseline_full_mean, difference),
            n=n,
            method="shares",
        )
    if se is None:
        return replace(empty, diff=difference)
    by_t = t_test(mean=difference, se=se, df=n - 2, n=n, confidence=confidence)
    return AdjustedDifference(diff=difference, se=se, p=by_t.p, low=by_t.low, high=by_t.high, n=n, method="t")


def _parts(y: np.ndarray, x: np.ndarray, share_of_x: float, population: float) -> Halves | None:
    """New answers sorted by the baseline's, for a share's interval; ``None`` where t will do."""
    is_sorted = are_shares(x) and len(y) > 2
    if not (are_shares(y, x) or are_few(y)):
        return None
    return halves(y=y, x=x if is_sorted else np.ones(len(y)), share_of_x=share_of_x, population=population)


def control_variate_gain(
    *,
    new: Sequence[float] | np.ndarray,
    baseline_same_items: Sequence[float] | np.ndarray,
    population: int,
    confidence: float = 0.95,
) -> ControlVariateGain:
    """phi, and what it makes of the items asked (Cochran 1977, section 7.3): 1 - phi^2 of the variance is left.

    phi's interval is on Fisher's scale with the error that the items themselves show, since right and wrong are not
    normal (delta method). Where both are right about just the same items, so many more may be apart as Wilson's bound
    of none in n allows. All figures are those of a finite ``population``.
    """
    y, x = same_items(new, baseline_same_items, names="new and baseline_same_items")
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
    if abs(phi) < 1 - 1e-12:
        low, high = _phi_bounds(of_x, of_y, phi, confidence)
    else:
        low, high = sorted((phi, math.copysign(_least_of_alike(y, confidence), phi)))
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
    influence = of_x * of_y - phi * (of_x**2 + of_y**2) / 2
    se = float(influence.std()) / math.sqrt(len(of_x) - 3) / (1 - phi**2)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * se
    return math.tanh(math.atanh(phi) - reach), math.tanh(math.atanh(phi) + reach)


def _least_of_alike(scores: np.ndarray, confidence: float) -> float:
    """The least correlation of right and wrong that agree on all items: 1 - d / (2 p (1 - p)) with a share d apart."""
    if not np.isin(scores, (0.0, 1.0)).all():
        return 1.0
    apart = wilson_interval(successes=0, n=len(scores), confidence=confidence).high
    return max(0.0, 1 - apart / (2 * float(scores.var())))


def _worth(left: float, n: int, population: int) -> float:
    """How many items a plain mean takes for the error of ``n`` with so much of its variance left."""
    return 1 / (1 / population + max(0.0, left) * max(0.0, 1 / n - 1 / population))


def ppi_mean(
    *,
    labeled: Sequence[float] | np.ndarray,
    predictions_labeled: Sequence[float] | np.ndarray,
    predictions_unlabeled: Sequence[float] | np.ndarray,
    lam: float | None = None,
    are_differences: bool = False,
    confidence: float = 0.95,
) -> PredictedMean:
    """Prediction-powered mean: a judge on everything, put right by trusted labels on some (Angelopoulos et al. 2023).

    The unlabelled items are others than the labelled ones. ``lam`` is how far predictions are leant on, with the
    published large-sample interval. ``None`` takes the weight of least variance, within 0 and 1 (PPI++, Angelopoulos,
    Duchi & Zrnic 2023), and an interval for few labels: t with n - 2 degrees of freedom, for the weight is estimated
    too; of yes and no the halves' own intervals, as for a control variate, and of a rare yes or no those of what is
    predicted above and below its mean. Differences may be below 0, whichever were seen, and have t.
    """
    y, f = same_items(labeled, predictions_labeled, names="labeled and predictions_labeled")
    others = np.asarray(predictions_unlabeled, dtype=float)
    n = len(y)
    if n == 0 or not all(np.isfinite(sample).all() for sample in (y, f, others)):
        return PredictedMean(estimate=None, lam=lam or 0.0, se=None, low=None, high=None, n=n, method="none")
    weight = 0.0 if not len(others) else _least_variance(y, f, others) if lam is None else float(lam)
    if lam is None and not are_differences and (are_shares(y, f, others) or are_few(y)):
        return _predicted_share(y, f, others, weight, confidence)
    rest = y - weight * f
    estimate = float(rest.mean()) + (weight * float(others.mean()) if weight else 0.0)
    variance = float(rest.var()) / n + (weight**2 * float(others.var()) / len(others) if weight else 0.0)
    if n < 2 or float(rest.var()) <= 1e-15 or not math.isfinite(variance) or (lam is None and n < 3):
        return PredictedMean(estimate=estimate, lam=weight, se=None, low=None, high=None, n=n, method="none")
    se = math.sqrt(variance)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * se
    if lam is None:
        reach = t_quantile(n - 2, 0.5 + confidence / 2) * se * math.sqrt(n / (n - 1))
    return PredictedMean(
        estimate=estimate,
        lam=weight,
        se=se,
        low=estimate - reach,
        high=estimate + reach,
        n=n,
        method="normal" if lam is not None else "t",
    )


def _predicted_share(
    y: np.ndarray, f: np.ndarray, others: np.ndarray, weight: float, confidence: float
) -> PredictedMean:
    """PPI++ of yes and no: what people say within each word of the judge, by how often the judge says it.

    A judge that goes against people is not asked. Marks are a yes above their mean, which looks at no person's word.
    """
    n, size = len(y), len(y) + len(others)
    everyone = np.concatenate([f, others])
    said = everyone if are_shares(everyone) else (everyone > everyone.mean()).astype(float)
    share = float(said.mean())
    parts = halves(y=y, x=said[:n] if weight > 0 else np.ones(n), share_of_x=share, population=ENDLESS)
    theta = parts.right[0] / parts.asked[0] - parts.right[-1] / parts.asked[-1]
    left_open = theta**2 * share * (1 - share) / size
    bounds = share_bounds(parts, left_open=left_open, confidence=confidence)
    variance = _within(parts) + left_open
    return PredictedMean(
        estimate=parts.share,
        lam=theta * len(others) / size,
        se=math.sqrt(variance) if variance > 0 else None,
        low=bounds.low,
        high=bounds.high,
        n=n,
        method="shares",
    )


def _within(parts: Halves) -> float:
    """Variance of a mean of as many items whose spread is that within the halves."""
    n = sum(parts.asked)
    spread = sum(right * (1 - right / asked) for right, asked in zip(parts.right, parts.asked, strict=True))
    return spread / n / max(1.0, n - len(parts.right))


def _least_variance(y: np.ndarray, f: np.ndarray, others: np.ndarray) -> float:
    if len(y) < 2:
        return 0.0
    spread = float(np.concatenate([f, others]).var(ddof=1))
    if spread <= 0:
        return 0.0
    together = float(((y - y.mean()) * (f - f.mean())).mean())
    return min(1.0, max(0.0, together / ((1 + len(y) / len(others)) * spread)))
