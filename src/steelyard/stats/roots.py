"""Where a function crosses 0 between two places, in far fewer looks at it than halving takes."""

from __future__ import annotations

import math
from collections.abc import Callable

MOST_STEPS = 500
PATIENCE = 3
"""In so many steps what is left must have halved; else it is halved."""


def root_between(
    function: Callable[[float], float], low: float, high: float, *, at_low: float, at_high: float, close: float
) -> float:
    """Where the function is 0, whose values at the two ends are of unlike signs and not both infinite.

    Secants that lower the value of an end which stays (Anderson & Bjorck 1973), and halves where they get nowhere,
    until the ends lie within ``close`` of each other: steps that grow small alone may still be far from it.
    """
    last, left, slow = math.nan, high - low, 0
    for _ in range(MOST_STEPS):
        if high - low <= close:
            break
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        if slow == PATIENCE or not low <= middle <= high:
            middle = (low + high) / 2
        middle = min(max(middle, low + close / 2), high - close / 2)  # just beyond a root, the other end comes close
        found = function(middle)
        if found == 0:
            return middle
        if (found > 0) != (at_high > 0):
            at_high *= _lowering(at_low, found) if last < middle else 1.0
            low, at_low = middle, found
        else:
            at_low *= _lowering(at_high, found) if last > middle else 1.0
            high, at_high = middle, found
        last, slow = middle, slow + 1
        if high - low <= left / 2:
            left, slow = high - low, 0
    return (low + high) / 2


def _lowering(before: float, after: float) -> float:
    """What the value of the end that stays is taken times, where the other end moved twice."""
    return 1 - after / before if after / before < 1 else 0.5
