"""Two models' right and wrong over a whole benchmark of which most was asked, counted out.

Where few answers flip, what was seen of them takes so few values that no smooth interval holds on every benchmark. How
many flips the unasked items may hide is then small enough to try each number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.given import same_items

REGION = 0.1
"""The part of the error that is spent on which numbers of flips are tried at all."""
ROUNDING = 1e-9


class WholeDifference(Struct, frozen=True, kw_only=True):
    """Bounds of new - baseline over all items of a benchmark, with the p-value of none."""

    low: float
    high: float
    p: float


def whole_difference(
    *,
    new: Sequence[float] | np.ndarray,
    baseline_same_items: Sequence[float] | np.ndarray,
    baseline_right: int,
    population: int,
    confidence: float = 0.95,
) -> WholeDifference:
    """New - baseline, right and wrong, over ``population`` items of which the baseline has ``baseline_right``.

    The items asked are a random part. Each pair of flips, so many lost and so many won over all items, is held against
    what was seen: lost and won ones asked are hypergeometric, and a pair stays that makes a difference as far off, to
    either side, not too rare. Tried are pairs in a region of high confidence alone (Berger & Boos 1994), which what
    follows allows for, so that it covers no less than it says on any one benchmark. Steps grow with the flips squared:
    it is meant for few.
    """
    y, x = same_items(new, baseline_same_items, names="new and baseline_same_items")
    error = 1 - confidence
    lost = _Half.of(int((x * (1 - y)).sum()), int(x.sum()), int(baseline_right), error)
    won = _Half.of(int(((1 - x) * y).sum()), int((1 - x).sum()), population - int(baseline_right), error)
    seen = won.seen * won.worth - lost.seen * lost.worth
    may_see = won.may_see * won.worth - (lost.may_see * lost.worth)[:, None]
    is_more, is_less = may_see >= seen - ROUNDING, may_see <= seen + ROUNDING
    chances = np.minimum(*(lost.chances @ side @ won.chances.T for side in (is_more, is_less)))
    differences = won.flips - lost.flips[:, None]
    kept = differences[2 * chances >= (1 - REGION) * error - ROUNDING]
    of_none = chances[differences == 0]
    return WholeDifference(
        low=float(kept.min()) / population,
        high=float(kept.max()) / population,
        p=min(1.0, 2 * float(of_none.max(initial=0.0)) + REGION * error),
    )


class _Half(Struct, frozen=True, kw_only=True):
    """The items of which the baseline was right, or wrong: how many flips they may have, and what would be seen then.

    ``chances`` has a row for each number of flips there may be and a column for each number that may be seen;
    ``worth`` is how many items one that was asked stands for.
    """

    seen: int
    worth: float
    flips: np.ndarray
    may_see: np.ndarray
    chances: np.ndarray

    @staticmethod
    def of(seen: int, asked: int, size: int, error: float) -> _Half:
        flips = seen + np.arange(size - asked + 1)
        tail = REGION * error / 4  # two halves, two sides
        below = _chances(np.arange(seen), flips, asked, size).sum(axis=1)
        up_to = below + _chances(np.array([seen]), flips, asked, size)[:, 0]
        flips = flips[(up_to >= tail) & (1 - below >= tail)]
        may_see = np.arange(min(int(flips[-1]), asked) + 1)
        return _Half(
            seen=seen,
            worth=size / asked if asked else 0.0,
            flips=flips,
            may_see=may_see,
            chances=_chances(may_see, flips, asked, size),
        )


def _chances(seen: np.ndarray, flips: np.ndarray, asked: int, size: int) -> np.ndarray:
    """The hypergeometric chance of each number seen (columns) where there are so many flips (rows)."""
    hidden = flips[:, None] - seen
    can_be = (hidden >= 0) & (hidden <= size - asked) & (seen <= asked)
    ways = _log_ways(asked, np.where(can_be, seen, 0)) + _log_ways(size - asked, np.where(can_be, hidden, 0))
    return np.where(can_be, np.exp(ways - _log_ways(size, flips)[:, None]), 0.0)


def _log_ways(n: int, k: np.ndarray) -> np.ndarray:
    """The logarithm of n over k."""
    factorials = scipy.special.gammaln
    return np.asarray(factorials(n + 1) - factorials(k + 1) - factorials(n - k + 1))
