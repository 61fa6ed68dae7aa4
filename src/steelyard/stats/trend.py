"""A series of runs: whether anything changed, judged by what each run's own uncertainty allows.

A run whose standard error is unknown says nothing about change. An arrow needs a signal; no signal is "no change
detected", which is not the same as flat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy
from msgspec import Struct
from msgspec.structs import replace

from steelyard.stats.given import same_items

FEWEST_OF_A_LEVEL = 2
"""Runs on either side of a change, where runs scatter."""


class EwmaChart(Struct, frozen=True, kw_only=True):
    """The smoothed series, its control limits, and the 1-based places at which it is beyond them."""

    ewma: tuple[float, ...]
    ucl: float
    lcl: float
    signals: tuple[int, ...]


class Cusum(Struct, frozen=True, kw_only=True):
    """Cumulative sums of what exceeds the target by more than k, upwards and downwards."""

    high: tuple[float, ...]
    low: tuple[float, ...]
    first_signal_index_1based: int | None


class Trend(Struct, frozen=True, kw_only=True):
    """A weighted mean, whether scores differ by more than their errors (Q), and a straight line through them.

    ``tau2`` is the variance between runs beyond their own errors (DerSimonian & Laird 1986): above 0 the slope's own
    error is too small by about sqrt(Q / (k - 1)). ``None`` where runs are too few, or an error is unknown or 0.
    """

    weighted_mean: float | None
    cochran_q: float | None
    q_p: float | None
    tau2: float | None
    slope: float | None
    slope_se: float | None
    slope_p: float | None
    n: int


class Homogeneity(Struct, frozen=True, kw_only=True):
    """Whether scores differ by more than their errors (Q), and by how much (``tau2``); ``None`` where none can tell."""

    q: float | None
    p: float | None
    tau2: float | None
    n: int


class ChangePoint(Struct, frozen=True, kw_only=True):
    """Where one level most likely gives way to another: the 0-based place of the first run on the new level.

    ``p`` is that of so large a statistic, the largest over all places, in a flat series; ``plausible`` are the places
    within 3.84 of it. ``None`` where there is no series. Later runs may move it.
    """

    index: int | None
    statistic: float | None
    p: float | None
    plausible: tuple[int, ...]
    before: float | None
    after: float | None


def ewma_chart(
    *,
    values: Sequence[float] | np.ndarray,
    target: float,
    sigma: float,
    lam: float = 0.3,
    L: float = 2.7,  # noqa: N803 - the field's name for the limits' distance
) -> EwmaChart:
    """Exponentially weighted moving average with its long-run limits (Roberts 1959; NIST handbook 6.3.2.4).

    An unknown value leaves the average where it was.
    """
    smoothed: list[float] = []
    latest = target
    for value in values:
        if not math.isnan(value):
            latest = lam * float(value) + (1 - lam) * latest
        smoothed.append(latest)
    reach = L * sigma * math.sqrt(lam / (2 - lam))
    beyond = tuple(i for i, value in enumerate(smoothed, start=1) if abs(value - target) > reach)
    return EwmaChart(ewma=tuple(smoothed), ucl=target + reach, lcl=target - reach, signals=beyond)


def cusum(*, values: Sequence[float] | np.ndarray, target: float, k: float, h: float) -> Cusum:
    """Tabular CUSUM in the data's unit: slow drift (Page 1954; NIST handbook 6.3.2.3); signals beyond ``h``.

    An unknown value leaves the sums where they were.
    """
    highs: list[float] = []
    lows: list[float] = []
    high = low = 0.0
    for value in values:
        if not math.isnan(value):
            high = max(0.0, high + float(value) - target - k)
            low = max(0.0, low + target - k - float(value))
        highs.append(high)
        lows.append(low)
    beyond = (i for i, sums in enumerate(zip(highs, lows, strict=True), start=1) if max(sums) > h)
    return Cusum(high=tuple(highs), low=tuple(lows), first_signal_index_1based=next(beyond, None))


def trend_known_se(
    *,
    scores: Sequence[float] | np.ndarray,
    se: Sequence[float] | np.ndarray,
    times: Sequence[float] | np.ndarray | None = None,
) -> Trend:
    """Homogeneity (Cochran 1954) and a line by weighted least squares, each score's error being known.

    ``times`` are the runs' dates in any unit; by default they are one apart. For the same items asked again the error
    is that of the repeated answers, much smaller than that of a share of items.
    """
    y, errors = same_items(scores, se, names="scores and se")
    x = np.arange(len(y), dtype=float) if times is None else same_items(scores, times, names="scores and times")[1]
    k = len(y)
    if not k or not (errors > 0).all() or not np.isfinite(y).all() or not np.isfinite(errors).all():
        return _no_trend(k)
    weights = 1 / errors**2
    mean = float(weights @ y / weights.sum())
    if k < 2:
        return replace(_no_trend(k), weighted_mean=mean)
    q = float(weights @ (y - mean) ** 2)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    from_middle = x - float(weights @ x / weights.sum())
    lever = float(weights @ from_middle**2)
    slope = float(weights @ (from_middle * y)) / lever if lever > 0 else None
    slope_se = 1 / math.sqrt(lever) if lever > 0 else None
    return Trend(
        weighted_mean=mean,
        cochran_q=q,
        q_p=float(scipy.special.chdtrc(k - 1, q)),
        tau2=max(0.0, (q - (k - 1)) / scale),
        slope=slope,
        slope_se=slope_se,
        slope_p=None if slope is None or slope_se is None else 2 * float(scipy.special.ndtr(-abs(slope) / slope_se)),
        n=k,
    )


def homogeneity(*, scores: Sequence[float] | np.ndarray, covariance: np.ndarray) -> Homogeneity:
    """Cochran's Q (1954) of scores whose errors go together: what generalised least squares leaves of them.

    ``tau2`` by the method of moments (DerSimonian & Laird 1986), Q's mean being k - 1 + tau2 tr P.
    """
    y, errors = np.asarray(scores, dtype=float), np.asarray(covariance, dtype=float)
    k = len(y)
    if k < 2 or not np.isfinite(y).all() or not np.isfinite(errors).all() or np.linalg.eigvalsh(errors)[0] <= 0:
        return Homogeneity(q=None, p=None, tau2=None, n=k)
    weights = np.linalg.inv(errors)
    of_each = weights.sum(axis=1)
    left = weights - np.outer(of_each, of_each) / of_each.sum()
    q = float(y @ left @ y)
    return Homogeneity(
        q=q,
        p=float(scipy.special.chdtrc(k - 1, q)),
        tau2=max(0.0, (q - (k - 1)) / float(np.trace(left))),
        n=k,
    )


def change_point(
    *,
    scores: Sequence[float] | np.ndarray,
    se: Sequence[float] | np.ndarray,
    shared: np.ndarray | None = None,
    is_scattered: bool = False,
    draws: int = 10_000,
    seed: int = 0,
) -> ChangePoint:
    """The likeliest single change of level, each score's error being known; p by seeded normal series.

    The statistic is the largest (before - after)^2 / (V_before + V_after) (Hawkins 1977). Useful from 8 runs on.
    ``shared`` is the covariance of what errors have in common, beside each one's own ``se``: that of shared items.

    ``is_scattered`` says that ``se`` holds a spread that was itself estimated from these scores. Successive differences
    then tell the scale of the errors anew (von Neumann 1941), and p is that of a statistic studentised by it: each
    drawn series has its own scale. A scale below 1 makes no change surer, and a level takes two runs, as one alone may
    be an outlier. Flat series err as often as they say where they scatter as normal values do, less often where known
    errors are most of it; at 1 % in up to 3 where the scatter is as skewed as log-normal values of sigma 0.7.
    """
    y, errors = np.asarray(scores, dtype=float), np.asarray(se, dtype=float)
    k = len(y)
    common = np.zeros((k, k)) if shared is None else np.asarray(shared, dtype=float)
    fewest = FEWEST_OF_A_LEVEL if is_scattered else 1
    if k < 2 * fewest or not (errors > 0).all() or not all(np.isfinite(one).all() for one in (y, errors, common)):
        return ChangePoint(index=None, statistic=None, p=None, plausible=(), before=None, after=None)
    weights = 1 / (errors**2 + common.diagonal())
    variances, places = _variances(weights, errors, common), slice(fewest - 1, k - fewest)
    steps = _step_variances(errors, common) if is_scattered else None

    def statistics(series: np.ndarray) -> np.ndarray:
        return np.asarray((_contrasts(series, weights) / variances)[:, places])

    found = statistics(y[None, :])[0] / (1.0 if steps is None else max(1.0, float(_scales(y[None, :], steps)[0])))
    best = int(found.argmax())
    generator = np.random.default_rng(seed)
    flat = generator.normal(size=(draws, k)) * errors
    if shared is not None:
        values, vectors = np.linalg.eigh(common)
        flat += generator.normal(size=(draws, k)) * np.sqrt(np.maximum(0.0, values)) @ vectors.T
    drawn = statistics(flat).max(axis=1) / (1.0 if steps is None else _scales(flat, steps))
    larger = int((drawn >= found[best]).sum())
    index = best + fewest
    left, right = slice(0, index), slice(index, k)
    return ChangePoint(
        index=index,
        statistic=float(found[best]),
        p=(larger + 1) / (draws + 1),
        plausible=tuple(int(i) + fewest for i in np.flatnonzero(found >= found[best] - 3.84)),
        before=float(np.average(y[left], weights=weights[left])),
        after=float(np.average(y[right], weights=weights[right])),
    )


def _contrasts(series: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For each series and each place of a change: the squared difference of both levels."""
    sums, left = np.cumsum(series * weights, axis=1), np.cumsum(weights)
    right = left[-1] - left[:-1]
    before, after = sums[:, :-1] / left[:-1], (sums[:, -1:] - sums[:, :-1]) / right
    return np.asarray((before - after) ** 2)


def _variances(weights: np.ndarray, errors: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """The variance of the difference of both levels at each place of a change."""
    k = len(weights)
    is_before = np.arange(k)[None, :] <= np.arange(k - 1)[:, None]
    before, after = np.where(is_before, weights, 0.0), np.where(is_before, 0.0, weights)
    each = before / before.sum(axis=1, keepdims=True) - after / after.sum(axis=1, keepdims=True)
    return np.asarray(each**2 @ errors**2 + ((each @ shared) * each).sum(axis=1))


def _step_variances(errors: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """The variance of each score's difference to the next one."""
    squares = errors**2 + shared.diagonal()
    return np.asarray(squares[1:] + squares[:-1] - 2 * shared.diagonal(1))


def _scales(series: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """How many times the variances that are expected the successive differences of each series have.

    A change of level is in one difference only.
    """
    return np.asarray((np.diff(series, axis=1) ** 2 / variances).mean(axis=1))


def _no_trend(n: int) -> Trend:
    return Trend(weighted_mean=None, cochran_q=None, q_p=None, tau2=None, slope=None, slope_se=None, slope_p=None, n=n)
