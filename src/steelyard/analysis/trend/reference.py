"""The first points of a series, which every later one is held against, and the signals that the later ones give.

A reader looks after each run, so the level is shared among many looks. A moving average finds what is slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from steelyard import stats
from steelyard.analysis.trend.run_errors import Errors

REFERENCE_RUNS = 4
LOOKS = 11
"""A reader looks after each run: the level is shared among this many looks, or as many as there are runs."""
ALPHA = 0.025
LAMBDA, LIMITS = 0.3, 2.7
"""Of the moving average: 1 % false signals in 12 runs, beside the 2.5 % of the comparisons with the first runs."""
OVERDISPERSED, SURELY = 1.5, 0.05
CALM_BEFORE, CONFIRMED_BY = 3, 5
"""Points that agree before a step, or else the points of a series that show on both sides of it that they agree."""


class Reference(Struct, frozen=True, kw_only=True):
    """What the first points are, and how far a later one may be from them.

    ``weights`` are those of the first points in ``mean``. ``tau2`` is the variance between runs beyond their own
    errors; ``df`` are the degrees of freedom of the spread of runs where that was estimated from the first ones.
    ``are_uneven``: the first four differ by more than their errors, be it by scatter or by a step.
    """

    mean: float
    weights: np.ndarray
    tau2: float
    df: int | None
    are_uneven: bool

    @property
    def first(self) -> int:
        """How many points it is made of."""
        return len(self.weights)

    def reach(self, level: float) -> float:
        """How many errors away the level is: by t where the spread of runs was estimated from the first ones."""
        return NormalDist().inv_cdf(level) if self.df is None else stats.t_quantile(self.df, level)

    def apart(self, errors: Errors, lam: float = 1.0) -> np.ndarray:
        """The error of each later point's distance from the reference; with ``lam``, as it counts in a moving average.

        An average smooths what is the points' own, by lam / (2 - lam) in the long run, and neither the reference's
        error nor what points share: that counts so many times more. Scaled, so that limits are those of one point.
        """
        points = len(errors.own)
        weights = np.zeros((points - self.first, points))
        for row, each in enumerate(weights):
            of_later = lam * (1 - lam) ** np.arange(row, -1.0, -1.0)
            each[self.first : self.first + row + 1] = of_later / of_later.sum()
        weights[:, : self.first] = -self.weights
        own = errors.own + self.tau2
        lasting = self.weights**2 @ own[: self.first] + ((weights @ errors.shared) * weights).sum(axis=1)
        return np.asarray(np.sqrt(own[self.first :] + (2 - lam) / lam * np.maximum(0.0, lasting)))


def reference_of(values: Sequence[float], errors: Errors, *, is_timed: bool) -> Reference:
    """The mean of the first points, and whether these differ by more than their errors, as times always may.

    They end where the level stepped, or a fall in week 4 would be told in that week, and in the next one be taken for
    the scatter of the first four.
    """
    most = min(REFERENCE_RUNS, len(values) - 1)
    found = _reference(values, errors, most, is_timed=is_timed)
    if is_timed or not found.are_uneven:
        return found
    step = next((k for k in range(1, most) if _is_a_step(values, errors, k)), None)
    return found if step is None else replace(_reference(values, errors, step, is_timed=False), are_uneven=True)


def _is_a_step(values: Sequence[float], errors: Errors, at: int) -> bool:
    """Whether a point among the first ones is far from those before it, which agree, and not by scatter.

    Three points that agree say that runs do not scatter; of fewer, that the points after the step agree as well.
    """
    before, here = slice(at), slice(at + 1)
    if not _agree(values[before], errors.only(before)):
        return False
    if not signals_of(values[here], errors.only(here), _reference(values, errors, at, is_timed=False))[-1]:
        return False
    after = slice(at, CONFIRMED_BY)
    return at >= CALM_BEFORE or (len(values) >= CONFIRMED_BY and _agree(values[after], errors.only(after)))


def _agree(values: Sequence[float], errors: Errors) -> bool:
    """Whether points differ by no more than their errors."""
    found = stats.homogeneity(scores=values, covariance=errors.covariance)
    if found.q is None or found.p is None:
        return len(values) == 1
    return found.q / (len(values) - 1) <= OVERDISPERSED and found.p >= SURELY


def _reference(values: Sequence[float], errors: Errors, first: int, *, is_timed: bool) -> Reference:
    of_first = errors.only(slice(first))
    found = stats.homogeneity(scores=values[:first], covariance=of_first.covariance)
    tau2, df = 0.0, None
    if found.q is not None and found.p is not None:
        if found.q / (first - 1) > OVERDISPERSED:
            tau2 = found.tau2 or 0.0
        if is_timed or found.p < SURELY:
            df = first - 1
    widened = of_first.widened(tau2).each
    weights = 1 / widened**2 if (widened > 0).all() else np.ones(first)  # a point may be without any error of its own
    weights = weights / weights.sum()
    return Reference(mean=float(weights @ values[:first]), weights=weights, tau2=tau2, df=df, are_uneven=tau2 > 0)


def level_of_a_look(points: int) -> float:
    """The chance of a false signal that one look may take, in a series of so many points."""
    return ALPHA / max(LOOKS, points - 1)


def signals_of(values: Sequence[float], errors: Errors, reference: Reference) -> list[bool]:
    """At which points, after the first ones, a change shows: at once, or in the moving average.

    One point far off shows at once, and weighs in the average no more than it takes to show: back at the old level,
    nothing has changed.
    """
    away = np.asarray(values)[reference.first :] - reference.mean
    beyond = reference.reach(1 - level_of_a_look(len(values)) / 2) * reference.apart(errors)
    slow = stats.ewma_chart(
        values=np.clip(away, -beyond, beyond) / reference.apart(errors, LAMBDA),
        target=0.0,
        sigma=1.0,
        lam=LAMBDA,
        L=reference.reach(NormalDist().cdf(LIMITS)),
    )
    at_once = np.abs(away) > beyond
    in_average = [i + 1 in slow.signals and slow.ewma[i] * away[i] > 0 for i in range(len(away))]
    return [False] * reference.first + [bool(now) or later for now, later in zip(at_once, in_average, strict=True)]
