"""Two models on different items. Where items are shared the paired functions are the right ones, and see more."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.given import count_of
from steelyard.stats.intervals import wilson_interval, without_spread
from steelyard.stats.paired import Difference, TTest, t_test


class CohensH(Struct, frozen=True, kw_only=True):
    """A difference of two shares on the arcsine scale, where its variance does not depend on the shares."""

    h: float


class Probability(Struct, frozen=True, kw_only=True):
    """A probability."""

    p: float


def unpaired_difference_newcombe(
    *, a_successes: float, a_n: float, b_successes: float, b_n: float, confidence: float = 0.95
) -> Difference:
    """Interval of a difference of two independent shares, from both Wilson intervals (Newcombe 1998, method 10)."""
    if a_n <= 0 or b_n <= 0:
        return Difference(diff=None, low=-1.0, high=1.0)
    a, b = a_successes / a_n, b_successes / b_n
    of_a = wilson_interval(successes=a_successes, n=a_n, confidence=confidence)
    of_b = wilson_interval(successes=b_successes, n=b_n, confidence=confidence)
    below = math.hypot(a - of_a.low, of_b.high - b)
    above = math.hypot(of_a.high - a, b - of_b.low)
    return Difference(diff=a - b, low=max(-1.0, a - b - below), high=min(1.0, a - b + above))


def welch_t(*, a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, confidence: float = 0.95) -> TTest:
    """Welch's t test of two independent samples with unequal variances (Welch 1947)."""
    of_a, of_b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if not len(of_a) or not len(of_b):
        return _unknown(None, len(of_a) + len(of_b))
    return welch_t_from_stats(
        mean_a=float(of_a.mean()),
        sd_a=_sd(of_a),
        n_a=len(of_a),
        mean_b=float(of_b.mean()),
        sd_b=_sd(of_b),
        n_b=len(of_b),
        confidence=confidence,
    )


def welch_t_from_stats(
    *, mean_a: float, sd_a: float, n_a: int, mean_b: float, sd_b: float, n_b: int, confidence: float = 0.95
) -> TTest:
    """Welch's t test from means, standard deviations and sizes; degrees of freedom by Satterthwaite 1946."""
    if n_a < 1 or n_b < 1 or not math.isfinite(mean_a - mean_b):
        return _unknown(None, n_a + n_b)
    if n_a < 2 or n_b < 2:
        return _unknown(mean_a - mean_b, n_a + n_b)
    of_a, of_b = sd_a**2 / n_a, sd_b**2 / n_b
    variance = of_a + of_b
    if not variance > 0:
        return _unknown(mean_a - mean_b, n_a + n_b)
    shares = (of_a / variance) ** 2 / (n_a - 1) + (of_b / variance) ** 2 / (n_b - 1)
    return t_test(mean=mean_a - mean_b, se=math.sqrt(variance), df=1 / shares, n=n_a + n_b, confidence=confidence)


def cohens_h(*, p1: float, p2: float) -> CohensH:
    """2 asin sqrt(p1) - 2 asin sqrt(p2) (Cohen 1988, chapter 6)."""
    p1, p2 = (count_of(p, 1.0, name=name, of="1")[0] for name, p in (("p1", p1), ("p2", p2)))
    return CohensH(h=2 * math.asin(math.sqrt(p1)) - 2 * math.asin(math.sqrt(p2)))


def bayes_prob_a_better(*, a_successes: int, a_n: int, b_successes: int, b_n: int) -> Probability:
    """The chance that A's true share is above B's, both uniform beforehand (Bowyer et al. 2025; sum by E. Miller)."""
    a, a_wrong = a_successes + 1, a_n - a_successes + 1
    b, b_wrong = b_successes + 1, b_n - b_successes + 1
    i = np.arange(a)
    terms = scipy.special.betaln(b + i, a_wrong + b_wrong) - np.log(a_wrong + i)
    terms -= scipy.special.betaln(1 + i, a_wrong) + scipy.special.betaln(b, b_wrong)
    return Probability(p=min(1.0, float(np.exp(terms).sum())))


def _sd(values: np.ndarray) -> float:
    """Sample standard deviation; 0 where values differ by rounding only."""
    if len(values) < 2 or without_spread(values):
        return 0.0
    return float(values.std(ddof=1))


def _unknown(mean: float | None, n: int) -> TTest:
    return TTest(t=None, df=None, p=None, mean_diff=mean, se=None, low=None, high=None, n=n)
