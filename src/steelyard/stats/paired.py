"""Two models on the same items: what their difference is, and how sure that is.

``only_a_correct`` and ``only_b_correct`` are the discordant pairs; a difference is A - B. The decision is taken on the
interval; a p-value stands beside it. Pairs that all agree still leave an interval with a width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.given import flips_of, same_items
from steelyard.stats.intervals import cluster_se, members_of, t_quantile, without_spread
from steelyard.stats.roots import root_between

MOST_LISTED = 20
MOST_STEPS = 1 << 26
DRAWN_AT_ONCE = 1 << 20
CLOSE = 1e-15


class McNemar(Struct, frozen=True, kw_only=True):
    """Two-sided p-values that both models are right equally often, and the conditional odds ratio b / c."""

    exact: float
    midp: float
    asymptotic: float
    asymptotic_cc: float
    odds_ratio: float | None


class Difference(Struct, frozen=True, kw_only=True):
    """A difference of two shares with its bounds; without items it may be anything from -1 to 1.

    ``p`` is that of the test which the interval inverts, where one is known.
    """

    diff: float | None
    low: float
    high: float
    p: float | None = None


class TTest(Struct, frozen=True, kw_only=True):
    """A t test with the interval of the mean difference; ``None`` where values are too few, unknown or without spread.

    ``n`` is the number of pairs, or of values on both sides together.
    """

    t: float | None
    df: float | None
    p: float | None
    mean_diff: float | None
    se: float | None
    low: float | None
    high: float | None
    n: int


class Permutation(Struct, frozen=True, kw_only=True):
    """A two-sided p-value by flipping signs: over all flips, or over a seeded sample of them."""

    p: float | None
    method: Literal["exact", "sampled"]


class PairedSE(Struct, frozen=True, kw_only=True):
    """Standard error of a paired difference, and what it would be unpaired; ``None`` where pairing leaves nothing."""

    se: float | None
    unpaired: float


def mcnemar(*, only_a_correct: int, only_b_correct: int) -> McNemar:
    """McNemar's test in four forms (Fagerland, Lydersen & Laake 2013); ``midp`` is the one to quote.

    The exact test is over-careful, the asymptotic one a little bold, the one with continuity correction more careful
    than the exact. Of b = c pairs mid-p is 1 less half the chance of just that; without a discordant pair every p is 1.
    """
    b, c = int(only_a_correct), int(only_b_correct)
    flips_of(b, c, b + c)
    n, least = b + c, min(b, c)
    ratio = b / c if c else None
    if n == 0:
        return McNemar(exact=1.0, midp=1.0, asymptotic=1.0, asymptotic_cc=1.0, odds_ratio=ratio)
    below = float(scipy.special.bdtr(least, n, 0.5))
    strictly_below = float(scipy.special.bdtr(least - 1, n, 0.5)) if least else 0.0
    just_this = below - strictly_below
    return McNemar(
        exact=min(1.0, 2 * below),
        midp=1 - just_this / 2 if b == c else min(1.0, below + strictly_below),
        asymptotic=_two_sided(abs(b - c) / math.sqrt(n)),
        asymptotic_cc=_two_sided(max(0, abs(b - c) - 1) / math.sqrt(n)),
        odds_ratio=ratio,
    )


def paired_difference_score_interval(
    *, only_a_correct: float, only_b_correct: float, n: float, confidence: float = 0.95
) -> Difference:
    """Score interval of a paired difference of shares (Tango 1998): all that a score test would not reject."""
    if n <= 0:
        return Difference(diff=None, low=-1.0, high=1.0)
    b, c, n = flips_of(only_a_correct, only_b_correct, n)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    diff = (b - c) / n
    low = _crossing(lambda delta: _tango(b, c, n, delta) - z, -1.0, diff)
    high = _crossing(lambda delta: _tango(b, c, n, delta) + z, diff, 1.0)
    p = _two_sided(abs(b - c) / math.sqrt(b + c)) if b + c else 1.0
    return Difference(diff=diff, low=low, high=high, p=p)


def paired_difference_bonett_price(
    *, only_a_correct: float, only_b_correct: float, n: float, confidence: float = 0.95
) -> Difference:
    """Wald's interval after adding a pair to both discordant cells (Bonett & Price 2012): close to Tango's."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    if n > 0:
        only_a_correct, only_b_correct, n = flips_of(only_a_correct, only_b_correct, n)
    b, c = (only_a_correct + 1) / (n + 2), (only_b_correct + 1) / (n + 2)
    reach = z * math.sqrt((b + c - (b - c) ** 2) / (n + 2))
    diff = (only_a_correct - only_b_correct) / n if n > 0 else None
    return Difference(diff=diff, low=max(-1.0, b - c - reach), high=min(1.0, b - c + reach))


def paired_t(
    *,
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    confidence: float = 0.95,
) -> TTest:
    """Student's t on the per-item differences a - b; of repeats take each item's mean first.

    Items that come in ``clusters`` have the cluster-robust error CR1 with G - 1 degrees of freedom (Miller 2024). Where
    the clusters' sizes are far apart that is too sure: ``cluster_se`` says how many degrees they leave.
    """
    differences = np.subtract(*same_items(a, b))
    n = len(differences)
    mean = float(differences.mean()) if n and np.isfinite(differences).all() else None
    se, df = None, n - 1
    if mean is not None and n > 1 and not without_spread(differences):
        se = float(differences.std(ddof=1)) / math.sqrt(n)
        if clusters is not None:
            found = cluster_se(scores=differences, clusters=clusters)
            se, df = found.se, found.clusters - 1
    if mean is None or se is None or se <= 1e-12 * float(np.abs(differences).max()):
        return TTest(t=None, df=None, p=None, mean_diff=mean, se=None, low=None, high=None, n=n)
    return t_test(mean=mean, se=se, df=df, n=n, confidence=confidence)


def paired_t_stratified(
    *,
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    strata: Sequence[Hashable] | np.ndarray,
    weights: Mapping[Any, float],
    confidence: float = 0.95,
) -> TTest:
    """t on a weighted mean of strata's mean differences a - b, the strata being fixed (Cochran 1977, section 5.4).

    ``weights`` need not sum to 1; n - H degrees of freedom. A stratum of one item takes the variance of the whole.
    """
    differences = np.subtract(*same_items(a, b))
    n = len(differences)
    if not n or not np.isfinite(differences).all():
        return TTest(t=None, df=None, p=None, mean_diff=None, se=None, low=None, high=None, n=n)
    labels = strata.tolist() if isinstance(strata, np.ndarray) else list(strata)
    names, membership = list(dict.fromkeys(labels)), members_of(labels)
    sizes, parts = np.bincount(membership), np.array([weights[name] for name in names], dtype=float)
    if not parts.sum() > 0:
        return TTest(t=None, df=None, p=None, mean_diff=None, se=None, low=None, high=None, n=n)
    parts = parts / parts.sum()
    means = np.bincount(membership, weights=differences) / sizes
    squares = np.bincount(membership, weights=(differences - means[membership]) ** 2)
    whole = float(differences.var(ddof=1)) if n > 1 else 0.0
    variances = np.where(sizes > 1, squares / np.maximum(sizes - 1, 1), whole)
    mean, se = float(parts @ means), math.sqrt(float(parts**2 @ (variances / sizes)))
    df = n - len(names)
    if df < 1 or se <= 1e-12 * float(np.abs(differences).max()):
        return TTest(t=None, df=None, p=None, mean_diff=mean, se=None, low=None, high=None, n=n)
    return t_test(mean=mean, se=se, df=df, n=n, confidence=confidence)


def t_test(*, mean: float, se: float, df: float, n: int, confidence: float) -> TTest:
    """A difference and its standard error, tested against 0 by t with ``df`` degrees of freedom."""
    t = mean / se
    reach = t_quantile(df, 0.5 + confidence / 2) * se
    p = 2 * float(scipy.special.stdtr(df, -abs(t)))
    return TTest(t=t, df=df, p=p, mean_diff=mean, se=se, low=mean - reach, high=mean + reach, n=n)


def paired_permutation_exact(*, differences: Sequence[float] | np.ndarray) -> Permutation:
    """Fisher's sign-flip test over every flip (Fisher 1935); ``p`` is ``None`` where those are too many.

    Differences that are multiples of one unit, such as right and wrong or shares of a few repeats, may be thousands;
    of any other kind there may be 20.
    """
    sample = np.asarray(differences, dtype=float)
    if not np.isfinite(sample).all():
        return Permutation(p=None, method="exact")
    moved = np.sort(np.abs(sample[sample != 0]))
    if not len(moved):
        return Permutation(p=1.0, method="exact")
    sums, weights = _lattice_flips(moved) or _listed_flips(moved) or (None, None)
    if sums is None or weights is None:
        return Permutation(p=None, method="exact")
    reached = np.abs(sums) >= abs(float(sample.sum())) - 1e-9 * float(moved.sum())
    return Permutation(p=min(1.0, float(weights[reached].sum())), method="exact")


def paired_permutation(*, differences: Sequence[float] | np.ndarray, draws: int = 10_000, seed: int = 0) -> Permutation:
    """The sign-flip test: exact where every flip can be counted, else (k + 1) / (draws + 1) over seeded flips."""
    exact = paired_permutation_exact(differences=differences)
    sample = np.asarray(differences, dtype=float)
    if exact.p is not None or not np.isfinite(sample).all():
        return exact
    sample = np.sort(sample[sample != 0])  # the same flips whatever the order of the items
    generator = np.random.default_rng(seed)
    least = abs(float(sample.sum())) - 1e-9 * float(np.abs(sample).sum())
    chunk = max(1, DRAWN_AT_ONCE // len(sample))
    reached = 0
    for start in range(0, draws, chunk):
        flips = generator.integers(0, 2, size=(min(chunk, draws - start), len(sample)), dtype=np.int8)
        reached += int((np.abs((2 * flips - 1) @ sample) >= least).sum())
    return Permutation(p=(reached + 1) / (draws + 1), method="sampled")


def paired_se_from_correlation(*, se_a: float, se_b: float, correlation: float) -> PairedSE:
    """Var(A - B) = SE_A^2 + SE_B^2 - 2 r SE_A SE_B (Miller 2024, section 4): what pairing is worth."""
    apart = se_a**2 + se_b**2
    left = apart - 2 * correlation * se_a * se_b
    return PairedSE(se=math.sqrt(left) if left > 1e-12 * apart else None, unpaired=math.sqrt(apart))


def _two_sided(z: float) -> float:
    return 2 * float(scipy.special.ndtr(-z))


def _tango(b: float, c: float, n: float, delta: float) -> float:
    """Tango's statistic: falls from plus to minus infinity as ``delta`` goes from -1 to 1."""
    linear = -b - c + (2 * n - b + c) * delta
    root = max(0.0, linear * linear + 8 * n * c * delta * (1 - delta))
    only_b = (math.sqrt(root) - linear) / (4 * n)
    variance = n * (2 * only_b + delta * (1 - delta))
    above = b - c - n * delta
    if variance <= 0:
        return math.copysign(math.inf, above) if above else 0.0
    return above / math.sqrt(variance)


def _crossing(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls is 0; where it is on one side of it throughout, the end that lies nearer."""
    at_low, at_high = falling(low), falling(high)
    if low == high or at_low <= 0:
        return low
    if at_high >= 0:
        return high
    return root_between(falling, low, high, at_low=at_low, at_high=at_high, close=CLOSE)


def _lattice_flips(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Every sum that flipping signs can give and its chance, where all sizes are multiples of one unit."""
    largest = float(sizes[-1])
    unit = largest
    for size in np.unique(np.round(sizes / largest, 12)) * largest:
        rest = float(size)
        while rest > 1e-9 * largest:
            unit, rest = rest, unit % rest
    steps = np.rint(sizes / unit).astype(int)
    most = int(steps.sum())
    if most * len(steps) > MOST_STEPS or not np.allclose(steps * unit, sizes, rtol=0, atol=1e-9 * largest):
        return None
    weights = np.ones(1)
    for step in steps:
        grown = np.zeros(len(weights) + 2 * int(step))
        grown[: len(weights)] += weights / 2
        grown[-len(weights) :] += weights / 2
        weights = grown
    return np.arange(-most, most + 1) * unit, weights


def _listed_flips(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The same for a few sizes of any kind, flip by flip."""
    if len(sizes) > MOST_LISTED:
        return None
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums - size, sums + size])
    return sums, np.full(len(sums), 1 / len(sums))
