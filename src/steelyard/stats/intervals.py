"""Intervals for shares and means. Pure functions on numbers; two-sided at ``confidence``.

Where no interval can be given its bounds are ``None``: never a width of zero that only looks like certainty.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.given import count_of

ABOUT_ONE_SIZE = 0.75
"""Effective clusters, as a share of those there are, down to which their sizes do not matter to t."""


class Interval(Struct, frozen=True, kw_only=True):
    """Bounds of an interval."""

    low: float
    high: float


class UpperBound(Struct, frozen=True, kw_only=True):
    """A one-sided upper bound."""

    high: float


class MeanInterval(Struct, frozen=True, kw_only=True):
    """A mean with its standard error and bounds; ``None`` where there are too few values or no spread."""

    mean: float | None
    se: float | None
    low: float | None
    high: float | None
    n: int


class RepeatedMean(Struct, frozen=True, kw_only=True):
    """A mean over items that were each asked several times; ``None`` where there are too few items or no spread."""

    mean: float | None
    se: float | None
    n_items: int


class Variances(Struct, frozen=True, kw_only=True):
    """Variance within an item over its repeats, and between items; ``None`` where nothing was repeated.

    ``clipped`` says that the estimate of ``between`` came out below 0.
    """

    within: float | None
    between: float | None
    clipped: bool


class ClusteredMean(Struct, frozen=True, kw_only=True):
    """A mean with cluster-robust standard errors: ``se`` with G/(G-1), ``se_cr0`` without.

    ``se`` is ``None`` of a single cluster and of clusters without spread, as it is of a mean; both are of nothing.
    ``effective`` clusters of one size would weigh as unequally as these: all of them, where they are of one size.
    """

    mean: float | None
    se: float | None
    se_cr0: float | None
    clusters: int
    effective: float

    @property
    def degrees(self) -> float | None:
        """Degrees of freedom of t: G - 1, or of sizes far apart one less than the effective clusters.

        With G - 1 t covers 92 % and more while there are three quarters as many effective ones, and 9 to 62 % where one
        cluster of ten has nine tenths of the items (simulated); with fewer degrees 91 and more there too. ``None``
        where that leaves less than one, and t says nothing.
        """
        if self.effective >= ABOUT_ONE_SIZE * self.clusters:
            return self.clusters - 1.0 if self.clusters > 1 else None
        return self.effective - 1 if self.effective >= 2 else None


class DesignEffect(Struct, frozen=True, kw_only=True):
    """How many times more variance than a simple sample has, and the simple sample of equal worth.

    ``None`` where clusters so unlike within would leave no variance at all.
    """

    deff: float
    effective_n: float | None


class RateInterval(Struct, frozen=True, kw_only=True):
    """Events per unit of exposure with bounds; ``None`` where nothing was exposed."""

    rate: float | None
    low: float
    high: float | None


def wilson_interval(*, successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Score interval of a share of independent answers (Wilson 1927; Newcombe 1998, method 3).

    Of nothing it is (0, 1).
    """
    if n <= 0:
        return Interval(low=0.0, high=1.0)
    successes, n = count_of(successes, n)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else max(0.0, (centre - reach) / scale)
    high = 1.0 if successes == n else min(1.0, (centre + reach) / scale)
    return Interval(low=low, high=high)


def wilson_interval_finite(*, successes: float, n: float, population: int, confidence: float = 0.95) -> Interval:
    """What share the whole benchmark would have given: Wilson's interval at n (N - 1) / (N - n) items.

    The items asked are a random sample of it, none twice (finite population correction, Cochran 1977, section 2.6).
    Once all N are asked it has no width. It says nothing of other questions like these.
    """
    if n > 0:
        successes, n = count_of(successes, n)
    if n >= population > 0:
        return Interval(low=successes / n, high=successes / n)
    if n <= 0:
        return Interval(low=0.0, high=1.0)
    worth = (population - 1) / (population - n)
    found = wilson_interval(successes=successes * worth, n=n * worth, confidence=confidence)
    return Interval(low=max(found.low, successes / population), high=min(found.high, 1 - (n - successes) / population))


def clopper_pearson_interval(*, successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Exact interval of a share (Clopper & Pearson 1934): never covers less than it says."""
    successes, n = count_of(successes, n)
    return _beta_interval(successes, n - successes + 1, successes + 1, n - successes, confidence)


def jeffreys_interval(*, successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Equal-tailed interval of the posterior under Beta(1/2, 1/2) (Brown, Cai & DasGupta 2001)."""
    count_of(successes, n)
    a, b = successes + 0.5, n - successes + 0.5
    found = _beta_interval(a, b, a, b, confidence)
    return Interval(low=0.0 if successes == 0 else found.low, high=1.0 if successes == n else found.high)


def bayes_beta_interval(
    *, successes: int, n: int, prior_a: float = 1.0, prior_b: float = 1.0, confidence: float = 0.95
) -> Interval:
    """Equal-tailed credible interval of a share under a Beta prior (Bowyer et al. 2025)."""
    count_of(successes, n)
    a, b = successes + prior_a, n - successes + prior_b
    return _beta_interval(a, b, a, b, confidence)


def zero_event_upper_bound(*, events: int, n: int, confidence: float = 0.95) -> UpperBound:
    """One-sided exact upper bound of a share; with no event it is 1 - (1 - confidence)^(1/n), near 3/n."""
    count_of(events, n, name="events")
    if n <= events:
        return UpperBound(high=1.0)
    return UpperBound(high=float(scipy.special.betaincinv(events + 1, n - events, confidence)))


def poisson_rate_interval(*, events: int, exposure: float, confidence: float = 0.95) -> RateInterval:
    """Exact interval of a rate of events, such as errors per hour (Garwood 1936)."""
    if not (math.isfinite(events) and events >= 0 and math.isfinite(exposure)):
        raise ValueError(f"events are counted and exposure is measured, not {events} in {exposure}")
    if exposure <= 0:
        return RateInterval(rate=None, low=0.0, high=None)
    tail = (1 - confidence) / 2
    low = float(scipy.special.gammaincinv(events, tail)) if events else 0.0
    high = float(scipy.special.gammaincinv(events + 1, 1 - tail))
    return RateInterval(rate=events / exposure, low=low / exposure, high=high / exposure)


def mean_interval(*, values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> MeanInterval:
    """Interval of the mean of independent values by t with n - 1 degrees of freedom (Student 1908).

    Close from some 30 values on, more where they are very skewed. One value, or values all alike, give no bounds;
    unknown ones no mean.
    """
    sample = np.asarray(values, dtype=float)
    n = len(sample)
    if n == 0:
        return MeanInterval(mean=None, se=None, low=None, high=None, n=0)
    if not np.isfinite(sample).all():
        return MeanInterval(mean=None, se=None, low=None, high=None, n=n)
    mean = float(sample.mean())
    if n == 1 or without_spread(sample):
        return MeanInterval(mean=mean, se=None, low=None, high=None, n=n)
    se = float(sample.std(ddof=1)) / math.sqrt(n)
    reach = t_quantile(n - 1, 0.5 + confidence / 2) * se
    return MeanInterval(mean=mean, se=se, low=mean - reach, high=mean + reach, n=n)


def mean_se_epochs(*, scores: Sequence[Sequence[float]] | np.ndarray) -> RepeatedMean:
    """Mean and standard error over items asked several times: the item is the unit (Miller 2024, section 3).

    An item without a score is left out.
    """
    found = mean_interval(values=[float(np.mean(repeats)) for repeats in scores if len(repeats)])
    return RepeatedMean(mean=found.mean, se=found.se, n_items=found.n)


def variance_components(*, scores: Sequence[Sequence[float]] | np.ndarray) -> Variances:
    """Var(mean) = (between + within / K) / n, estimated without bias; a negative ``between`` is clipped to 0.

    Where repeats differ in number 1 / K is its mean over items, and ``within`` is of those asked at least twice. An
    item with an unknown score is left out.
    """
    repeats = [np.asarray(item, dtype=float) for item in scores if len(item) and np.isfinite(item).all()]
    spreads = [float(item.var(ddof=1)) for item in repeats if len(item) > 1]
    if len(repeats) < 2 or not spreads:
        return Variances(within=None, between=None, clipped=False)
    within = float(np.mean(spreads))
    share = float(np.mean([1 / len(item) for item in repeats]))
    between = float(np.var([item.mean() for item in repeats], ddof=1)) - within * share
    return Variances(within=within, between=max(0.0, between), clipped=between < 0)


def cluster_se(*, scores: Sequence[float] | np.ndarray, clusters: Sequence[Hashable] | np.ndarray) -> ClusteredMean:
    """Standard error of a mean whose items come in clusters (Miller 2024, appendix A; CR1 multiplies by G/(G-1)).

    Clusters are independent of one another, whatever goes on within. With an unknown score there is no mean, and
    where clusters differ no more than by rounding no error.
    """
    values, membership = np.asarray(scores, dtype=float), members_of(clusters)
    if not len(values) or not np.isfinite(values).all():
        return ClusteredMean(mean=None, se=None, se_cr0=None, clusters=len(np.unique(membership)), effective=0.0)
    sums = np.bincount(membership, weights=values - values.mean())
    groups = len(sums)
    se_cr0 = math.sqrt(float((sums**2).sum())) / len(values)
    has_spread = groups > 1 and se_cr0 > 1e-12 * float(np.abs(values).max())
    se = se_cr0 * math.sqrt(groups / (groups - 1)) if has_spread else None
    sizes = np.bincount(membership).astype(float)
    effective = float(sizes.sum() ** 2 / (sizes**2).sum())
    return ClusteredMean(mean=float(values.mean()), se=se, se_cr0=se_cr0, clusters=groups, effective=effective)


def design_effect(*, mean_cluster_size: float, icc: float, n: float) -> DesignEffect:
    """1 + (m - 1) icc (Kish 1965), and the number of independent items that n clustered ones are worth."""
    deff = 1 + (mean_cluster_size - 1) * icc
    return DesignEffect(deff=deff, effective_n=n / deff if deff > 0 else None)


def members_of(names: Sequence[Hashable] | np.ndarray) -> np.ndarray:
    """A number for each name, equal where names are: whatever they are, and 1 is not "1"."""
    if isinstance(names, np.ndarray):
        return np.unique(names, return_inverse=True)[1]
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=int)


def without_spread(values: np.ndarray) -> bool:
    """Whether values differ by no more than rounding."""
    return not len(values) or float(np.ptp(values)) <= 1e-12 * float(np.abs(values).max())


def t_quantile(degrees: float, p: float) -> float:
    """The ``p`` quantile of Student's t."""
    return float(scipy.special.stdtrit(degrees, p))


def _beta_interval(low_a: float, low_b: float, high_a: float, high_b: float, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low = float(scipy.special.betaincinv(low_a, low_b, tail)) if low_a > 0 else 0.0
    high = float(scipy.special.betaincinv(high_a, high_b, 1 - tail)) if high_b > 0 else 1.0
    return Interval(low=low, high=high)
