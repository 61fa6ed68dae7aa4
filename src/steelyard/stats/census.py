"""Two models' right and wrong over a whole benchmark of which most was asked, counted out.

Where few answers flip, what was seen of them takes so few values that no smooth interval holds on every benchmark. How
many flips the unasked items may hide is then small enough to try each number.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.given import same_items

REGION = 0.1
"""The part of the error that is spent on which numbers of flips are tried at all."""
ROUNDING = 1e-9
IMPOSSIBLE = 1e-14


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
    follows allows for, so that it covers no less than it says on any one benchmark.
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

    ``chances`` has a row for each number of flips there may be and a column for each number that may be seen, but for
    those that are next to impossible; ``worth`` is how many items one that was asked stands for.
    """

    seen: int
    worth: float
    flips: np.ndarray
    may_see: np.ndarray
    chances: np.ndarray

    @staticmethod
    def of(seen: int, asked: int, size: int, error: float) -> _Half:
        tail = REGION * error / 4  # two halves, two sides
        unseen = range(size - asked + 1)
        fewest = bisect_left(unseen, True, key=lambda more: _at_least(seen, seen + more, asked, size) >= tail)
        too_many = bisect_left(unseen, True, key=lambda more: 1 - _at_least(seen + 1, seen + more, asked, size) < tail)
        flips = seen + np.arange(fewest, too_many)
        may_see = _likely(int(flips[0]), int(flips[-1]), asked, size)
        return _Half(
            seen=seen,
            worth=size / asked if asked else 0.0,
            flips=flips,
            may_see=may_see,
            chances=_chances(may_see, flips, asked, size),
        )


def _at_least(seen: int, flips: int, asked: int, size: int) -> float:
    """The chance to see so many of the flips or more."""
    may_see = _likely(flips, flips, asked, size)
    return float(_chances(may_see[may_see >= seen], np.array([flips]), asked, size).sum())


def _likely(fewest: int, most: int, asked: int, size: int) -> np.ndarray:
    """The numbers seen but for those that have a chance of less than ``IMPOSSIBLE`` whatever the flips.

    So far from its mean a hypergeometric count is hardly ever (Hoeffding 1963, section 6).
    """
    share = asked / size if size else 0.0
    reach = math.sqrt(min(most, asked) * math.log(2 / IMPOSSIBLE) / 2)
    first = max(0, math.floor(fewest * share - reach))
    return np.arange(first, min(most, asked, math.ceil(most * share + reach)) + 1)


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
