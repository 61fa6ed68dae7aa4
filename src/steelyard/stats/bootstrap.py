"""Intervals of means and ratios by resampling what is independent: an item, or a cluster of items.

Units that are alike are drawn together: a resample is then a number of times that each kind is taken (multinomial), so
that only sums are formed. Where most units differ, each is drawn by its place, which takes a fifth of the time.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.intervals import members_of

WEIGHTS_AT_ONCE = 1 << 22


class BootstrapInterval(Struct, frozen=True, kw_only=True):
    """A statistic with its bounds, from so many independent ``units``.

    A bound is ``None`` where the resamples do not reach it: too few units, none that differ, or a denominator that
    resampling makes 0. ``bias`` and ``acceleration`` are how far the resamples lean and how the error grows with it.
    """

    value: float | None
    low: float | None
    high: float | None
    bias: float | None
    acceleration: float | None
    units: int


def ratio_interval_bca(
    *,
    numerator: Sequence[float] | np.ndarray,
    denominator: Sequence[float] | np.ndarray | None = None,
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    confidence: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
) -> BootstrapInterval:
    """sum(numerator) / sum(denominator), or a mean without denominator, by the BCa bootstrap.

    Bias-corrected and accelerated: Efron 1987; Efron & Tibshirani 1993, chapter 14. A check on t and Fieller's set by
    other means, without normal sums, and not a closer one: of few and skewed values it covers no more often.
    """
    above = np.asarray(numerator, dtype=float)
    below = np.ones(len(above)) if denominator is None else np.asarray(denominator, dtype=float)
    if clusters is not None and len(above):
        membership = members_of(clusters)
        above, below = (np.bincount(membership, weights=values) for values in (above, below))
    units = len(above)
    value = float(_ratios(above.sum(), below.sum())) if units else math.inf
    unknown = BootstrapInterval(
        value=value if math.isfinite(value) else None, low=None, high=None, bias=None, acceleration=None, units=units
    )
    if units < 2 or not math.isfinite(value):
        return unknown
    left_out = _ratios(above.sum() - above, below.sum() - below)
    drawn = _resampled(above, below, draws, np.random.default_rng(seed))
    tolerance = 1e-12 * abs(value)
    share = float((drawn < value - tolerance).mean() + (np.abs(drawn - value) <= tolerance).mean() / 2)
    if not np.isfinite(left_out).all() or np.ptp(left_out) <= tolerance or not 0 < share < 1:
        return unknown
    bias, acceleration = float(scipy.special.ndtri(share)), _acceleration(left_out)
    low, high = (
        _quantile(drawn, bias, acceleration, chance) for chance in ((1 - confidence) / 2, (1 + confidence) / 2)
    )
    return BootstrapInterval(value=value, low=low, high=high, bias=bias, acceleration=acceleration, units=units)


def _resampled(above: np.ndarray, below: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """The ratio in every resample, in ascending order; infinite where nothing is in the denominator."""
    patterns, alike = np.unique(np.stack([above, below]), axis=1, return_counts=True)  # whatever the order of the units
    units = len(above)
    have_kinds = 2 * len(alike) <= units
    chunk = max(1, WEIGHTS_AT_ONCE // (len(alike) if have_kinds else units))
    parts = []
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        if have_kinds:
            sums = patterns @ generator.multinomial(units, alike / units, size=rows).T
        else:
            taken = generator.integers(units, size=(rows, units))
            sums = np.take(np.repeat(patterns, alike, axis=1), taken, axis=1).sum(axis=2)
        parts.append(_ratios(*sums))
    return np.sort(np.concatenate(parts))


def _acceleration(left_out: np.ndarray) -> float:
    """From the values with one unit left out each (Efron & Tibshirani 1993, eq. 14.15)."""
    gaps = left_out.mean() - left_out
    return float((gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5))


def _quantile(ordered: np.ndarray, bias: float, acceleration: float, chance: float) -> float | None:
    z = bias + float(scipy.special.ndtri(chance))
    if acceleration * z >= 1:
        return None
    place = float(scipy.special.ndtr(bias + z / (1 - acceleration * z))) * (len(ordered) - 1)
    found = ordered[math.floor(place) : math.ceil(place) + 1]
    return float(found[0] + (place - math.floor(place)) * (found[-1] - found[0])) if np.isfinite(found).all() else None


def _ratios(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Infinite where nothing is below."""
    return np.where(below != 0, above / np.where(below != 0, below, 1.0), np.inf)
