"""What a weighed mean over fixed strata is known to be: score intervals, as Wilson's and Tango's are of one stratum.

Each value that is tried has the variance that the strata would have if it were true, not the one that was seen: a heavy
stratum that was always right may well be wrong now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from steelyard.stats.intervals import Interval

FEW = 5
MOST_STEPS = 200


class Shares(Struct, frozen=True):
    """Strata of right and wrong: the share right in each, what it weighs, and the items ``asked``.

    ``worth``: as many items of an endless stratum would leave its share as uncertain. ``scale``: the variance of a
    score between right and wrong, as a part of what right and wrong would have.
    """

    right: np.ndarray
    weights: np.ndarray
    asked: np.ndarray
    worth: np.ndarray
    scale: float

    @property
    def mean(self) -> float:
        """The weighed mean."""
        return min(1.0, float(self.weights @ self.right))

    def mirrored(self) -> Shares:
        """The same with right and wrong exchanged."""
        return Shares(1 - self.right, self.weights, self.asked, self.worth, self.scale)


def stratified_score_interval(
    *,
    successes: Sequence[float] | np.ndarray,
    n: Sequence[int] | np.ndarray,
    weights: Sequence[float] | np.ndarray,
    variances: Sequence[float] | np.ndarray | None = None,
    populations: Sequence[float] | np.ndarray | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Score interval of a weighted mean of shares over fixed strata: all that a score test would not reject.

    The variance is that of the shares most likely among those with the mean that is tried (Miettinen & Nurminen 1985;
    of any number of strata: Martin Andres, Alvarez Hernandez & Herranz Tejedor 2011), free of the bias that each
    stratum's own share brings. Of one stratum it is Wilson's. In strata of fewer than five items, where that correction
    falls short, the variance is no less than the one that was seen; one of a single item has that of the whole.

    ``variances`` are those of the items of each stratum where scores lie between right and wrong, as means of repeats
    do. ``populations``: the sizes of the whole strata, to say what asking all of them would have given (Cochran 1977,
    section 5.4). Of a stratum that weighs something and was not asked, nothing is known.
    """
    counts, asked, parts = (np.asarray(values, dtype=float) for values in (successes, n, weights))
    if not parts.sum() > 0 or (asked[parts > 0] <= 0).any():
        return Interval(low=0.0, high=1.0)
    there = parts > 0
    counts, asked, parts = counts[there], asked[there], parts[there] / parts.sum()
    sizes = np.full(len(asked), math.inf) if populations is None else np.asarray(populations, dtype=float)[there]
    left = np.maximum(0.0, 1 - asked / sizes)
    worth = np.divide(asked, left, out=np.full(len(asked), math.inf), where=left > 0)
    scale = (
        1.0
        if variances is None
        else _scale(counts / asked, np.asarray(variances, float)[there], asked, parts**2 / worth)
    )
    shares = Shares(counts / asked, parts, asked, worth, scale)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    low, high = _lowest(shares, z), 1 - _lowest(shares.mirrored(), z)
    return Interval(
        low=min(shares.mean, max(low, float(parts @ (counts / sizes)))),
        high=max(shares.mean, min(high, 1 - float(parts @ ((asked - counts) / sizes)))),
    )


def _scale(right: np.ndarray, variances: np.ndarray, asked: np.ndarray, matters: np.ndarray) -> float:
    """The variance seen, as a part of what right and wrong would have; 1 where either is none."""
    several = asked > 1
    binary = (right * (1 - right) * asked / np.maximum(asked - 1, 1))[several] @ matters[several]
    seen = variances[several] @ matters[several]
    return float(seen / binary) if seen > 1e-12 * binary > 0 else 1.0


def _lowest(shares: Shares, z: float) -> float:
    """The least mean within ``z`` standard errors of the one seen, were it true."""
    if shares.mean <= 0 or not np.isfinite(shares.worth).any():
        return shares.mean
    pull = shares.weights / shares.worth
    nothing = -math.sqrt(float(shares.weights @ pull))

    def beyond(multiplier: float) -> float:
        likely = _drawn_down(shares.right, multiplier * pull)
        variance = _variance(likely, shares)
        return shares.mean - float(shares.weights @ likely) - z * math.sqrt(variance) if variance > 0 else nothing

    multiplier = root(beyond, first=-z / nothing)
    return float(shares.weights @ _drawn_down(shares.right, multiplier * pull))


def _drawn_down(right: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """The likeliest shares of a lower mean: p where (seen - p) / (p (1 - p)) is ``pull``, Lagrange's condition."""
    return np.asarray(2 * right / (1 + pull + np.sqrt(np.maximum(0.0, (1 + pull) ** 2 - 4 * pull * right))))


def _variance(likely: np.ndarray, shares: Shares) -> float:
    """The variance of the mean, were the shares as ``likely`` has them.

    p (1 - p) of a share that was estimated from n items is too small by its own variance, of which the condition on the
    mean takes away the part ``tied`` that the stratum has in the mean's.
    """
    matters = shares.weights**2 / shares.worth
    each = matters * likely * (1 - likely)
    tied = each / each.sum() if each.sum() > 0 else np.zeros(len(each))
    each = np.where(shares.asked > 1, each * shares.asked / np.maximum(shares.asked - 1 + tied, 1e-9), 0.0)
    few = shares.asked < FEW
    if not few.any():
        return shares.scale * float(each.sum())
    mean, whole = float(shares.weights @ likely), shares.mean * (1 - shares.mean)
    spread = shares.right * (1 - shares.right) * shares.asked / np.maximum(shares.asked - 1, 1)
    of_whole = np.where(shares.asked > 1, spread / whole if whole > 0 else 0.0, 1.0)
    seen = mean * (1 - mean) * float(matters[few] @ of_whole[few])
    return shares.scale * (float(each[~few].sum()) + max(seen, float(each[few].sum())))


def root(function: Callable[[float], float], *, first: float) -> float:
    """Where a function that is below 0 near 0 and above it far out crosses it (Illinois: Dowell & Jarratt 1971)."""
    low, high = 0.0, first
    at_low, at_high = function(low), function(high)
    while at_high <= 0:
        low, at_low, high = high, at_high, 2 * high
        at_high = function(high)
    moved = 0  # which end moved last: where it is the same twice, the other end's value is halved
    for _ in range(MOST_STEPS):
        if high - low <= 1e-12 * high:
            break
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        found = function(middle)
        if found == 0:
            return middle
        if found < 0:
            low, at_low = middle, found
            at_high, moved = (at_high / 2, -1) if moved == -1 else (at_high, -1)
        else:
            high, at_high = middle, found
            at_low, moved = (at_low / 2, 1) if moved == 1 else (at_low, 1)
    return high
