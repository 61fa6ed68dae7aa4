"""How far two columns go together: association, never cause.

A coefficient of few points says little; each comes with the number of points, and a p-value that is exact where the
points are few. Constant columns have no coefficient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.given import same_items

MOST_FOR_EXACT_SPEARMAN = 12
MOST_FOR_EXACT_TIED_KENDALL = 8
MOST_FOR_EXACT_KENDALL = 100
SPREAD_OF_KENDALL = 0.437
"""Variance of Fisher's z of tau, times n - 4 (Fieller, Hartley & Pearson 1957)."""
HALVINGS = 32
STEEPEST = 40.0
"""A slope of Mallows' model at which all but one ordering in 1e17 is the one order."""

PMethod = Literal["exact", "t", "normal"]


class Spearman(Struct, frozen=True, kw_only=True):
    """Spearman's rank correlation with its two-sided p-value."""

    rho: float | None
    p: float | None
    n: int
    method: PMethod


class Kendall(Struct, frozen=True, kw_only=True):
    """Kendall's tau-b with its two-sided p-value.

    ``untied``: without ties the error of no correlation would be so many times this one; 1 where there are none.
    """

    tau: float | None
    p: float | None
    n: int
    method: PMethod
    untied: float = 1.0


class Pearson(Struct, frozen=True, kw_only=True):
    """Pearson's correlation with the two-sided p-value of its t test."""

    r: float | None
    p: float | None
    n: int


class CorrelationInterval(Struct, frozen=True, kw_only=True):
    """Bounds of a correlation; ``None`` where the points lie on a line and the method says nothing."""

    low: float | None
    high: float | None


class KendallInterval(Struct, frozen=True, kw_only=True):
    """Bounds of Kendall's tau and how they were found; ``None`` where more than 100 points are in perfect order.

    ``p`` is that of no correlation by the same distribution: at most 1 - confidence just where 0 is left out.
    """

    low: float | None
    high: float | None
    method: Literal["exact", "z"]
    p: float | None = None


def pearson(*, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> Pearson:
    """Pearson's r with the t test of no correlation (Student 1908); too few points or no spread give ``None``."""
    a, b = same_items(x, y, names="x and y")
    r = _product_moment(a, b)
    return Pearson(r=r, p=None if r is None else _t_p(r, len(a)), n=len(a))


def point_biserial(*, binary: Sequence[float] | np.ndarray, values: Sequence[float] | np.ndarray) -> Pearson:
    """Correlation of right or wrong with a measure such as latency: Pearson's r of the two."""
    return pearson(x=np.asarray(binary, dtype=float), y=values)


def partial_correlation(
    *,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    given: Sequence[float] | np.ndarray,
) -> Pearson:
    """Pearson's r of x and y with what ``given`` says linearly of both taken off (Fisher 1924); ``n`` is one less.

    So ``correlation_interval_fisher(r=..., n=...)`` of the result is the interval of a partial correlation.
    """
    a, b, z = (np.asarray(values, dtype=float) for values in (x, y, given))
    of_a, of_b, together = _product_moment(a, z), _product_moment(b, z), _product_moment(a, b)
    n = max(0, len(a) - 1)
    if together is None or of_a is None or of_b is None or max(abs(of_a), abs(of_b)) >= 1 - 1e-12:
        return Pearson(r=None, p=None, n=n)
    r = max(-1.0, min(1.0, (together - of_a * of_b) / math.sqrt((1 - of_a**2) * (1 - of_b**2))))
    return Pearson(r=r, p=_t_p(r, n), n=n)


def correlation_interval_fisher(*, r: float, n: int, confidence: float = 0.95) -> CorrelationInterval:
    """Interval of a correlation by Fisher's z (Fisher 1921): wide for few points. Three points allow any value."""
    if n <= 3:
        return CorrelationInterval(low=-1.0, high=1.0)
    if abs(r) >= 1 - 1e-12:
        return CorrelationInterval(low=None, high=None)
    reach = float(scipy.special.ndtri(0.5 + confidence / 2)) / math.sqrt(n - 3)
    return CorrelationInterval(low=math.tanh(math.atanh(r) - reach), high=math.tanh(math.atanh(r) + reach))


def spearman_exact(*, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> Spearman:
    """Spearman's rho; p over all orderings, ties included, up to 12 points, and by t beyond (Kendall 1970)."""
    n = len(x)
    a, b = map(_midranks, same_items(x, y, names="x and y"))
    rho = _product_moment(a, b)
    if rho is None:
        return Spearman(rho=None, p=None, n=n, method="exact")
    if n > MOST_FOR_EXACT_SPEARMAN:
        return Spearman(rho=rho, p=_t_p(rho, n), n=n, method="t")
    return Spearman(
        rho=rho, p=_orderings_p(np.rint(2 * a).astype(int), np.rint(2 * b).astype(int)), n=n, method="exact"
    )


def kendall_tau_b(*, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> Kendall:
    """Kendall's tau-b, which allows for ties (Kendall 1945).

    p is exact up to 100 points without ties and 8 with; beyond that by the normal approximation with ties allowed for
    (Kendall 1970, chapter 4).
    """
    a, b = same_items(x, y, names="x and y")
    n = len(a)
    if n < 2 or not np.isfinite(a).all() or not np.isfinite(b).all():
        return Kendall(tau=None, p=None, n=n, method="exact")
    apart_a, apart_b = _pairs_apart(a), _pairs_apart(b)
    if not apart_a or not apart_b:
        return Kendall(tau=None, p=None, n=n, method="exact")
    score = _score(a, b)
    tied = min(apart_a, apart_b) < n * (n - 1) // 2
    tau = max(-1.0, min(1.0, score / math.sqrt(apart_a) / math.sqrt(apart_b)))
    if not tied and n <= MOST_FOR_EXACT_KENDALL:
        return Kendall(tau=tau, p=_inversions_p(score, n), n=n, method="exact")
    if tied and n <= MOST_FOR_EXACT_TIED_KENDALL:
        p = _enumerated_p(score, _signs(a), _signs(b))
        return Kendall(tau=tau, p=p, n=n, method="exact", untied=_untied(a, b, apart_a, apart_b))
    untied = _untied(a, b, apart_a, apart_b) if tied else 1.0
    return Kendall(tau=tau, p=_tied_normal_p(score, a, b), n=n, method="normal", untied=untied)


def kendall_interval(*, tau: float, n: int, untied: float = 1.0, confidence: float = 0.95) -> KendallInterval:
    """Interval of Kendall's tau that holds for few points, and for those in perfect order too.

    Up to 100 points: every tau under which as many discordant pairs, or as few, are no rarer than each tail allows
    (Clopper & Pearson's way), orderings being rarer the more pairs they turn round (Mallows 1957). Without correlation
    that model is exact, so the interval leaves out 0 just where the exact p is small. With ties its bounds, and its p,
    are those of the next counts of pairs outside, tau being taken ``untied`` times as large beforehand and the bounds
    as much larger again: without that no correlation of four values each among ten points is missed in 8 % instead of
    5. Of more points by Fisher's z (Fieller, Hartley & Pearson 1957).
    """
    if untied != 1:
        found = kendall_interval(tau=tau * untied, n=n, confidence=confidence)
        low, high = (None if one is None else max(-1.0, min(1.0, one / untied)) for one in (found.low, found.high))
        return KendallInterval(low=low, high=high, method=found.method, p=found.p)
    if n < 2:
        return KendallInterval(low=-1.0, high=1.0, method="exact")
    if n > MOST_FOR_EXACT_KENDALL:
        return _kendall_by_z(tau, n, confidence)
    pairs, tail = n * (n - 1) // 2, (1 - confidence) / 2
    discordant = pairs * (1 - tau) / 2
    most, least = math.ceil(discordant - 1e-9), math.floor(discordant + 1e-9)
    low = -1.0 if most == pairs else _least_tau(n, most, tail)
    high = 1.0 if least == 0 else -_least_tau(n, pairs - least, tail)
    fewer = min(most, pairs - least)
    p = min(1.0, 2 * float(_inversion_chances(n)[: fewer + 1].sum()))
    return KendallInterval(low=low, high=high, method="exact", p=p)


def _product_moment(a: np.ndarray, b: np.ndarray) -> float | None:
    if len(a) < 2 or not np.isfinite(a).all() or not np.isfinite(b).all():
        return None
    from_a, from_b = a - a.mean(), b - b.mean()
    spread_a, spread_b = float(np.linalg.norm(from_a)), float(np.linalg.norm(from_b))
    size_a, size_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if spread_a <= 1e-13 * size_a or spread_b <= 1e-13 * size_b:
        return None
    return max(-1.0, min(1.0, float((from_a / spread_a) @ (from_b / spread_b))))


def _t_p(r: float, n: int) -> float | None:
    if n < 3:
        return None
    left = 1 - r * r
    return 2 * float(scipy.special.stdtr(n - 2, -abs(r) * math.sqrt((n - 2) / left))) if left > 0 else 0.0


def _midranks(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        return np.full(len(values), np.nan)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def _orderings_p(a: np.ndarray, b: np.ndarray) -> float:
    """Share of orderings of ``b`` whose sum of products with ``a`` is as far from its mean; a count over subsets."""
    n = len(a)
    most = int(np.sort(a) @ np.sort(b))
    counts = {0: np.zeros(most + 1)}
    counts[0][0] = 1.0
    for first in a:
        grown: dict[int, np.ndarray] = {}
        for used, ways in counts.items():
            for j in range(n):
                if not used >> j & 1:
                    to = grown.setdefault(used | 1 << j, np.zeros(most + 1))
                    shift = int(first * b[j])
                    to[shift:] += ways[: most + 1 - shift]
        counts = grown
    ways = counts[(1 << n) - 1]
    middle = float(a.sum()) * float(b.sum()) / n
    reached = np.abs(np.arange(most + 1) - middle) >= abs(float(a @ b) - middle) - 1e-6
    return float(ways[reached].sum() / ways.sum())


def _pairs_apart(values: np.ndarray) -> int:
    """How many pairs of points have different values."""
    alike = np.unique(values, axis=0, return_counts=True)[1]
    return len(values) * (len(values) - 1) // 2 - int((alike * (alike - 1) // 2).sum())


def _score(a: np.ndarray, b: np.ndarray) -> int:
    """Concordant less discordant pairs: in the order of a, those that b has in another are discordant (Knight 1966)."""
    both_apart = _pairs_apart(a) + _pairs_apart(b) - _pairs_apart(np.stack([a, b], axis=1))
    return both_apart - 2 * _inversions(np.unique(b, return_inverse=True)[1][np.lexsort((b, a))])


def _inversions(ranks: np.ndarray) -> int:
    """How many pairs stand the larger before the smaller: counted at the first bit in which they differ."""
    found = 0
    for bit in reversed(range(int(ranks.max()).bit_length())):
        is_one, kind = ranks >> bit & 1, ranks >> bit + 1
        ones = np.cumsum(is_one) - is_one
        starts = np.flatnonzero(np.diff(kind, prepend=-1))
        since_start = ones - np.repeat(ones[starts], np.diff(starts, append=len(ranks)))
        found += int(since_start[is_one == 0].sum())
        ranks = ranks[np.argsort(ranks >> bit, kind="stable")]
    return found


def _signs(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sign(np.subtract.outer(values, values)), dtype=int)


def _kendall_by_z(tau: float, n: int, confidence: float) -> KendallInterval:
    if abs(tau) >= 1 - 1e-12:
        return KendallInterval(low=None, high=None, method="z", p=0.0)
    middle, error = math.atanh(tau), math.sqrt(SPREAD_OF_KENDALL / (n - 4))
    reach = float(scipy.special.ndtri(0.5 + confidence / 2)) * error
    p = 2 * float(scipy.special.ndtr(-abs(middle) / error))
    return KendallInterval(low=math.tanh(middle - reach), high=math.tanh(middle + reach), method="z", p=p)


def _least_tau(n: int, discordant: int, tail: float) -> float:
    """The tau under which so few discordant pairs have a chance of just ``tail``."""
    below, above = -STEEPEST, STEEPEST
    for _ in range(HALVINGS):
        slope = (below + above) / 2
        if _inversion_chances(n, slope)[: discordant + 1].sum() > tail:
            above = slope
        else:
            below = slope
    chances = _inversion_chances(n, above)
    return 1 - 4 * float(chances @ np.arange(len(chances))) / (n * (n - 1))


def _inversion_chances(n: int, slope: float = 0.0) -> np.ndarray:
    """Chances of each count of inversions of an ordering, each inversion making it exp(-slope) times as likely.

    Their counts are products of (1 .. x^i).
    """
    chances = np.ones(1)
    for i in range(2, n + 1):
        weights = np.exp(-abs(slope) * np.arange(i))
        chances = np.convolve(chances, weights / weights.sum())
    return chances if slope >= 0 else chances[::-1]


def _inversions_p(score: int, n: int) -> float:
    """Without ties the discordant pairs are the inversions of an ordering."""
    chances = _inversion_chances(n)
    discordant = np.arange(len(chances))
    pairs = n * (n - 1) // 2
    return min(1.0, float(chances[np.abs(pairs - 2 * discordant) >= abs(score)].sum()))


def _enumerated_p(score: int, signs_a: np.ndarray, signs_b: np.ndarray) -> float:
    n = len(signs_a)
    orders = _orders(n)
    upper_i, upper_j = np.triu_indices(n, 1)
    scores = signs_b[orders[:, upper_i], orders[:, upper_j]] @ signs_a[upper_i, upper_j]
    return float((np.abs(scores) >= abs(score)).mean())


@lru_cache(maxsize=4)
def _orders(n: int) -> np.ndarray:
    return np.array(list(itertools.permutations(range(n))), dtype=np.int8)


def _tied_normal_p(score: int, a: np.ndarray, b: np.ndarray) -> float:
    variance = _score_variance(a, b)
    return 2 * float(scipy.special.ndtr(-abs(score) / math.sqrt(variance))) if variance > 0 else 1.0


def _untied(a: np.ndarray, b: np.ndarray, apart_a: int, apart_b: int) -> float:
    """The standard error of tau over that of tau-b, both without correlation."""
    n, variance = len(a), _score_variance(a, b)
    return math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)) * apart_a * apart_b / variance) if variance > 0 else 1.0


def _score_variance(a: np.ndarray, b: np.ndarray) -> float:
    """The variance of concordant less discordant pairs without correlation, ties allowed for."""
    n = len(a)
    ties_a, ties_b = (np.unique(values, return_counts=True)[1].astype(float) for values in (a, b))

    def over(ties: np.ndarray, *gaps: int) -> float:
        return float(np.prod([ties - gap for gap in (0, *gaps)], axis=0).sum())

    whole = n * (n - 1) * (2 * n + 5)
    twos = [float((ties * (ties - 1) * (2 * ties + 5)).sum()) for ties in (ties_a, ties_b)]
    variance = (whole - twos[0] - twos[1]) / 18 + over(ties_a, 1) * over(ties_b, 1) / (2 * n * (n - 1))
    if n > 2:
        variance += over(ties_a, 1, 2) * over(ties_b, 1, 2) / (9 * n * (n - 1) * (n - 2))
    return float(variance)
