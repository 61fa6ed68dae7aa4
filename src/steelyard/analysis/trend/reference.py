"""The first points of a series, which every later one is held against, and the signals that the later ones give.

A reader looks after each run, so the level is shared among many looks. A moving average finds what is slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from steelyard import stats

REFERENCE_RUNS = 4
LOOKS = 11
"""A reader looks after each run: the level is shared among this many looks, or as many as there are runs."""
ALPHA = 0.025
LAMBDA, LIMITS = 0.3, 2.7
"""Of the moving average: 1 % false signals in 12 runs, beside the 2.5 % of the comparisons with the first runs."""
OVERDISPERSED, SURELY = 1.5, 0.05


class Reference(Struct, frozen=True, kw_only=True):
    """What the first points are, and how far a later one may be from them.

    ``tau2`` is the variance between runs beyond their own errors; ``df`` are the degrees of freedom of the spread of
    runs where that was estimated from the ``first`` ones.
    """

    mean: float
    se: float
    first: int
    tau2: float
    df: int | None

    def reach(self, level: float) -> float:
        """How many errors away the level is: by t where the spread of runs was estimated from the first ones."""
        return NormalDist().inv_cdf(level) if self.df is None else stats.t_quantile(self.df, level)

    def apart(self, errors: Sequence[float], weight: float = 1.0) -> np.ndarray:
        """The error of each point's distance from the reference, whose own error counts ``weight`` times."""
        return np.sqrt(np.asarray(errors) ** 2 + self.tau2 + weight * self.se**2)


def reference_of(values: Sequence[float], errors: Sequence[float], *, is_timed: bool) -> Reference:
    """The mean of the first points, and whether these differ by more than their errors, as times always may."""
    first = min(REFERENCE_RUNS, len(values) - 1)
    found = stats.trend_known_se(scores=values[:first], se=errors[:first])
    tau2, df = 0.0, None
    if first > 1 and found.cochran_q is not None and found.q_p is not None:
        if found.cochran_q / (first - 1) > OVERDISPERSED:
            tau2 = found.tau2 or 0.0
        if is_timed or found.q_p < SURELY:
            df = first - 1
    widened = [math.sqrt(error**2 + tau2) for error in errors[:first]]
    mean = stats.trend_known_se(scores=values[:first], se=widened).weighted_mean
    if mean is None:  # a point without any error of its own
        mean = float(np.mean(values[:first]))
    return Reference(mean=mean, se=math.hypot(*widened) / first, first=first, tau2=tau2, df=df)


def level_of_a_look(points: int) -> float:
    """The chance of a false signal that one look may take, in a series of so many points."""
    return ALPHA / max(LOOKS, points - 1)


def signals_of(values: Sequence[float], errors: Sequence[float], reference: Reference) -> list[bool]:
    """At which points, after the first ones, a change shows: at once, or in the moving average.

    An average smooths the points' errors and not the reference's, which all distances share. One point far off shows
    at once, and weighs in the average no more than it takes to show: back at the old level, nothing has changed.
    """
    later = slice(reference.first, None)
    away = (np.asarray(values) - reference.mean)[later]
    beyond = reference.reach(1 - level_of_a_look(len(values)) / 2) * reference.apart(errors[later])
    slow = stats.ewma_chart(
        values=np.clip(away, -beyond, beyond) / reference.apart(errors[later], (2 - LAMBDA) / LAMBDA),
        target=0.0,
        sigma=1.0,
        lam=LAMBDA,
        L=reference.reach(NormalDist().cdf(LIMITS)),
    )
    at_once = np.abs(away) > beyond
    in_average = [i + 1 in slow.signals and slow.ewma[i] * away[i] > 0 for i in range(len(away))]
    return [False] * reference.first + [bool(now) or later for now, later in zip(at_once, in_average, strict=True)]
