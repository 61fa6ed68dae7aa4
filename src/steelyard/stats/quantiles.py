"""Percentiles and what can be said about them without assuming a distribution."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.intervals import cluster_se, t_quantile

MOST_SEARCHED = 1_000_000
FEW = 50
ROUNDING = 1e-12


class Ranks(Struct, frozen=True, kw_only=True):
    """1-based order statistics that bound a quantile; ``None`` where the sample is too small for one."""

    lower_rank: int | None
    upper_rank: int | None


class SampleSize(Struct, frozen=True, kw_only=True):
    """A number of items; ``None`` where no number would do."""

    n: int | None


class Value(Struct, frozen=True, kw_only=True):
    """One number."""

    value: float | None


class Values(Struct, frozen=True, kw_only=True):
    """Several numbers, in the order asked for; of nothing each is ``None``."""

    values: tuple[float | None, ...]


class QuantileBounds(Struct, frozen=True, kw_only=True):
    """Bounds of a quantile in the data's own unit; ``effective_n`` is what the sample is worth."""

    low: float | None
    high: float | None
    effective_n: float


@lru_cache(maxsize=256)
def quantile_ci_ranks(*, n: int, p: float, confidence: float = 0.95) -> Ranks:
    """Ranks of the order statistics that bound the ``p`` quantile (Conover 1999, section 3.2)."""
    tail = (1 - confidence) / 2 * (1 + ROUNDING)
    at_most, more = _few_tails(n, p) if n <= FEW else _tails(n, p)
    # P(X <= lower - 1) <= tail and P(X >= upper) <= tail
    lower = int(np.searchsorted(at_most, tail, side="right"))
    upper = n + 2 - int(np.searchsorted(more[::-1], tail, side="right"))
    return Ranks(lower_rank=lower if lower >= 1 else None, upper_rank=upper if upper <= n else None)


def _tails(n: int, p: float) -> tuple[np.ndarray, np.ndarray]:
    """P(X <= k) and P(X > k) of a binomial number X, for k = 0 ... n."""
    counts = np.arange(n + 1)
    return scipy.special.bdtr(counts, n, p), scipy.special.bdtrc(counts, n, p)


def _few_tails(n: int, p: float) -> tuple[np.ndarray, np.ndarray]:
    """The same by adding up; to load scipy's functions takes longer than a run of a few items."""
    chances = np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
    return np.cumsum(chances), np.append(np.cumsum(chances[:0:-1])[::-1], 0.0)


def min_n_for_quantile_bound(
    *, p: float, confidence: float = 0.95, sided: Literal["upper", "lower", "two"] = "two"
) -> SampleSize:
    """The smallest sample that bounds the ``p`` quantile by order statistics (Wilks 1941)."""
    if sided not in ("upper", "lower", "two"):
        raise ValueError(f"sided is upper, lower or two, not {sided!r}")
    tail = (1 - confidence) / (2 if sided == "two" else 1)
    misses = [*([p] if sided != "lower" else []), *([1 - p] if sided != "upper" else [])]
    if max(misses) >= 1:
        return SampleSize(n=None)
    needed = (math.log(tail) / math.log(chance) if chance > 0 else 1.0 for chance in misses)
    return SampleSize(n=max(1, *(math.ceil(n * (1 - ROUNDING)) for n in needed)))


def percentiles_linear(*, values: Sequence[float] | np.ndarray, p: Sequence[float]) -> Values:
    """Percentiles in per cent by linear interpolation (Hyndman & Fan 1996, type 7; numpy's and Prometheus's).

    Infinite values, such as the times of requests that timed out, are the largest; unknown ones leave no percentile.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    is_known = len(ordered) > 0 and not np.isnan(ordered[-1])
    return Values(values=tuple(linear_quantile(ordered, one / 100) if is_known else None for one in p))


def linear_quantile(ordered: np.ndarray, p: float) -> float:
    """Type 7 of sorted values, of which the largest may be infinite, as a request that timed out is."""
    place = p * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    if low == high or not math.isfinite(ordered[high]):
        return float(ordered[high])
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))


def pooled_percentile(*, groups: Sequence[Sequence[float]], p: float) -> Value:
    """The percentile of all values together; the mean of the groups' percentiles is another, meaningless number."""
    pooled = np.concatenate([np.asarray(group, dtype=float) for group in groups]) if len(groups) else np.array([])
    return Value(value=percentiles_linear(values=pooled, p=[p]).values[0])


def harrell_davis(*, values: Sequence[float] | np.ndarray, p: float) -> Value:
    """A smoother point estimate of the ``p`` quantile (Harrell & Davis 1982); for a point only, not for tails.

    Infinite values that weigh anything make it infinite; unknown ones leave none.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    if n == 0 or np.isnan(ordered[-1]):
        return Value(value=None)
    weights = np.diff(scipy.special.betainc(p * (n + 1), (1 - p) * (n + 1), np.arange(n + 1) / n))
    return Value(value=float(weights[weights > 0] @ ordered[weights > 0]))


def quantile_interval(*, values: Sequence[float] | np.ndarray, p: float, confidence: float = 0.95) -> QuantileBounds:
    """Distribution-free bounds of the ``p`` quantile of independent values; unknown ones leave none."""
    return _bounds(np.sort(np.asarray(values, dtype=float)), float(len(values)), p, confidence)


def interpolated_quantile_interval(
    *, values: Sequence[float] | np.ndarray, p: float, confidence: float = 0.95
) -> QuantileBounds:
    """Bounds of the ``p`` quantile between two order statistics each, which meet the confidence nearly (Nyblom 1992).

    Of independent values of one continuous distribution; ``quantile_interval`` covers no less than it says instead.
    """
    ordered, n = np.sort(np.asarray(values, dtype=float)), len(values)
    if n and np.isnan(ordered[-1]):
        return QuantileBounds(low=None, high=None, effective_n=float(n))
    low = _interpolated(ordered, p, (1 + confidence) / 2)
    high = _interpolated(-ordered[::-1], 1 - p, (1 + confidence) / 2)
    return QuantileBounds(low=low, high=None if high is None else -high, effective_n=float(n))


def clustered_quantile_interval(
    *,
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | np.ndarray,
    p: float,
    confidence: float = 0.95,
    degrees: float | None = None,
) -> QuantileBounds:
    """Distribution-free bounds of the ``p`` quantile of values in clusters, such as the token gaps of one request.

    The indicator of lying below the quantile has a clustered variance; the sample is worth n over that design effect
    (Woodruff 1952; Kish 1965), and the order statistics are taken at that size. ``degrees`` are those with which the
    clusters' variance is known: bounds lie as much farther out as t reaches farther than a normal.
    """
    confidence = confidence if degrees is None else _as_by_t(confidence, degrees)
    sample = np.asarray(values, dtype=float)
    ordered = np.sort(sample)
    n = len(ordered)
    if n < 2 or np.isnan(ordered[-1]):
        return QuantileBounds(low=None, high=None, effective_n=float(n))
    below = (sample <= linear_quantile(ordered, p)).astype(float)
    share = float(below.mean())
    clustered = cluster_se(scores=below, clusters=clusters)
    if clustered.clusters < 2:
        return QuantileBounds(low=None, high=None, effective_n=1.0)
    plain = share * (1 - share) / n
    deff = max(1.0, (clustered.se or 0.0) ** 2 / plain) if plain > 0 else n / clustered.clusters
    return _bounds(ordered, n / deff, p, confidence)


def _as_by_t(confidence: float, degrees: float) -> float:
    """The level at which a normal reaches as far as t with so many degrees does at ``confidence``."""
    return 2 * NormalDist().cdf(t_quantile(degrees, (1 + confidence) / 2)) - 1


def _interpolated(ordered: np.ndarray, p: float, confidence: float) -> float | None:
    """What the ``p`` quantile is above with that confidence; ``None`` where no value is low enough."""
    n = len(ordered)
    rank, share = _place_between(n, p, confidence)
    if rank == 0:
        return None
    if rank == n:
        return float(ordered[-1])
    return float(ordered[rank - 1] + share * (ordered[rank] - ordered[rank - 1]))


@lru_cache(maxsize=256)
def _place_between(n: int, p: float, confidence: float) -> tuple[int, float]:
    """After which of ``n`` values the bound lies, 0 for none, and how far on the way to the next one."""
    exceeds = scipy.special.bdtrc(np.arange(n), n, p)  # that the quantile lies above the 1st, 2nd, ... value
    rank = int(np.searchsorted(-exceeds, -confidence, side="right"))
    if rank in (0, n):
        return rank, 0.0
    surplus, lack = exceeds[rank - 1] - confidence, confidence - exceeds[rank]
    odds = rank * (1 - p) * lack, (n - rank) * p * surplus
    return rank, float(odds[1] / (odds[0] + odds[1]))


def _bounds(ordered: np.ndarray, worth: float, p: float, confidence: float) -> QuantileBounds:
    size = min(math.floor(worth), MOST_SEARCHED)
    if size < 1 or np.isnan(ordered[-1]):
        return QuantileBounds(low=None, high=None, effective_n=worth)
    ranks = quantile_ci_ranks(n=size, p=p, confidence=confidence)

    def at(rank: int | None) -> float | None:
        return None if rank is None else float(ordered[min(len(ordered), math.ceil(rank * len(ordered) / size)) - 1])

    return QuantileBounds(low=at(ranks.lower_rank), high=at(ranks.upper_rank), effective_n=worth)
