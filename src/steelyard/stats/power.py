"""Before a run: how many items a question needs, and what a given number of items can show.

``omega2`` is the variance over items of the expected difference, ``sigma2_a`` and ``sigma2_b`` each model's variance
within an item, ``k_a`` and ``k_b`` the repeats of an item.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import scipy
from msgspec import Struct

from steelyard.stats.intervals import t_quantile


class NeededItems(Struct, frozen=True, kw_only=True):
    """A number of items; ``None`` where no number would do."""

    n: float | None


class NeededForPrecision(Struct, frozen=True, kw_only=True):
    """Items needed for an interval's half-width: for questions like these, and for this benchmark as a whole."""

    n_infinite: int | None
    n_finite: int | None


class Detectable(Struct, frozen=True, kw_only=True):
    """The smallest true difference that would be found with the power asked for."""

    mde: float | None


class Power(Struct, frozen=True, kw_only=True):
    """The chance that a true difference is found."""

    power: float | None


def sample_size_paired(
    *,
    delta: float,
    omega2: float,
    sigma2_a: float = 0.0,
    sigma2_b: float = 0.0,
    k_a: int = 1,
    k_b: int = 1,
    alpha: float = 0.05,
    power: float = 0.8,
) -> NeededItems:
    """Items for a paired comparison to find ``delta`` with ``power`` by a two-sided test (Miller 2024, section 5)."""
    if not delta:
        return NeededItems(n=None)
    variance = omega2 + sigma2_a / k_a + sigma2_b / k_b
    return NeededItems(n=max(1, _whole((_reach(alpha, power) / delta) ** 2 * variance)))


def minimum_detectable_effect(
    *,
    n: int,
    omega2: float,
    sigma2_a: float = 0.0,
    sigma2_b: float = 0.0,
    k_a: int = 1,
    k_b: int = 1,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Detectable:
    """The difference that ``n`` paired items find with ``power`` (Miller 2024, section 5, solved for it)."""
    if n <= 0:
        return Detectable(mde=None)
    return Detectable(mde=_reach(alpha, power) * math.sqrt((omega2 + sigma2_a / k_a + sigma2_b / k_b) / n))


def sample_size_precision_fpc(
    *, p: float, half_width: float, confidence: float = 0.95, population: int | None = None
) -> NeededForPrecision:
    """Items for a share near ``p`` to be known to ``half_width`` (Cochran 1977, section 4.4), of a ``population`` at
    most all.

    The formula takes ``p`` for known. Where it comes from a pilot, ``sample_size_precision_wilson`` is the one to ask.
    """
    if half_width <= 0:
        return NeededForPrecision(n_infinite=None, n_finite=population)
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    return _for_precision(z2 * p * (1 - p) / half_width**2, population)


def sample_size_precision_wilson(
    *, p: float, half_width: float, confidence: float = 0.95, population: int | None = None
) -> NeededForPrecision:
    """``sample_size_precision_fpc``, but never fewer items than Wilson's interval needs for that half-width.

    A pilot in which all were right, or none, is no reason to ask nobody.
    """
    if half_width <= 0:
        return NeededForPrecision(n_infinite=None, n_finite=population)
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    return _for_precision(max(z2 * p * (1 - p) / half_width**2, _wilson_items(p, half_width, z2)), population)


def power_two_sample_t(*, n: int, delta: float, sd: float, alpha: float = 0.05) -> Power:
    """Power of a two-sided t test with ``n`` values a side (noncentral t; Cohen 1988, section 2)."""
    if n < 2 or sd <= 0:
        return Power(power=None)
    degrees = 2 * (n - 1)
    critical = t_quantile(degrees, 1 - alpha / 2)
    shift = math.sqrt(n / 2) * abs(delta) / sd
    if shift > 30:  # beyond what the noncentral t is computed for, and certain
        return Power(power=1.0)
    above = 1 - float(scipy.special.nctdtr(degrees, shift, critical))
    below = float(scipy.special.nctdtr(degrees, shift, -critical))
    if not math.isfinite(below):  # NaN is scipy's word for next to nothing there
        below = 0.0
    return Power(power=above + below)


def sample_size_two_proportions(*, p1: float, p2: float, alpha: float = 0.05, power: float = 0.8) -> NeededItems:
    """Items per side, not rounded, to tell two independent shares apart (Fleiss, Levin & Paik 2003, eq. 4.14)."""
    if p1 == p2:
        return NeededItems(n=None)
    normal = NormalDist()
    pooled = math.sqrt((p1 + p2) * (1 - (p1 + p2) / 2))
    apart = math.sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    reach = normal.inv_cdf(1 - alpha / 2) * pooled + normal.inv_cdf(power) * apart
    return NeededItems(n=(reach / (p1 - p2)) ** 2)


def sample_size_against_bound(*, share: float, bound: float, alpha: float = 0.05, power: float = 0.8) -> NeededItems:
    """Items to tell a share from a ``bound``, by the one-sided score test that Wilson's interval inverts.

    Fleiss, Levin & Paik (2003), section 2.5. Of a share that is all or none as many as Wilson's bound takes.
    """
    if share == bound:
        return NeededItems(n=None)
    normal = NormalDist()
    at_bound, seen = (math.sqrt(p * (1 - p)) for p in (bound, share))
    reach = normal.inv_cdf(1 - alpha) * at_bound + normal.inv_cdf(power) * seen
    return NeededItems(n=max(1, _whole((reach / (share - bound)) ** 2)))


def _reach(alpha: float, power: float) -> float:
    normal = NormalDist()
    return normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)


def _for_precision(needed: float, population: int | None) -> NeededForPrecision:
    needed = max(1.0, needed)
    if population is None:
        return NeededForPrecision(n_infinite=_whole(needed), n_finite=None)
    finite = needed / (1 + (needed - 1) / population) if population else 0.0
    return NeededForPrecision(n_infinite=_whole(needed), n_finite=min(population, _whole(finite)))


def _wilson_items(p: float, half_width: float, z2: float) -> float:
    """The n at which Wilson's interval has this half-width: h^2 (n + z^2)^2 = z^2 p (1 - p) n + z^4 / 4."""
    h2 = half_width**2
    half = z2 * (p * (1 - p) / 2 - h2)
    return (half + math.sqrt(max(0.0, half * half - h2 * z2 * z2 * (h2 - 0.25)))) / h2


def _whole(n: float) -> int:
    """The next whole number, forgiving what is above one by rounding only."""
    return math.ceil(n - 1e-9 * max(1.0, n))
