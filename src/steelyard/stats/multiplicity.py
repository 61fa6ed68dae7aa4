"""Many tests at once: p-values adjusted for the whole family they were declared in.

A test without a p-value counts as one that found nothing, so leaving it unknown never makes the others look better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct


class Adjusted(Struct, frozen=True, kw_only=True):
    """Adjusted p-values in the order given; each is compared with the family's level."""

    adjusted: tuple[float | None, ...]


class FalseCoverage(Struct, frozen=True, kw_only=True):
    """How many of a family are told apart, and the level of the intervals that go with that."""

    told: int
    level: float


def holm_adjust(*, p: Sequence[float | None] | np.ndarray) -> Adjusted:
    """Bounds the chance of even one false claim, whatever the dependence (Holm 1979): for gates and claims."""
    values, order, n = _ascending(p)
    steps = np.maximum.accumulate((n - np.arange(n)) * values[order])
    return _in_place(p, order, steps)


def bh_adjust(*, p: Sequence[float | None] | np.ndarray) -> Adjusted:
    """Bounds the share of false claims among those made (Benjamini & Hochberg 1995): for tables one explores.

    Holds for independent tests and for the usual kinds of positive dependence.
    """
    values, order, n = _ascending(p)
    steps = np.minimum.accumulate((n / np.arange(n, 0, -1)) * values[order][::-1])[::-1]
    return _in_place(p, order, steps)


def false_coverage(*, p: Sequence[float | None] | np.ndarray, share: float) -> FalseCoverage:
    """The level at which intervals go with what Benjamini and Hochberg's p tells apart at ``share``: 1 - R share / n.

    Of the intervals of those R at most ``share`` is expected to miss what is true (Benjamini & Yekutieli 2005). Where
    an interval inverts the test of its p, it leaves out no difference just where that is told apart.
    """
    told = sum(one is not None and one <= share for one in bh_adjust(p=p).adjusted)
    return FalseCoverage(told=told, level=1 - max(1, told) * share / max(1, len(p)))


def _ascending(p: Sequence[float | None] | np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    values = np.array([1.0 if _unknown(one) else one for one in p], dtype=float)
    return values, np.argsort(values, kind="stable"), len(values)


def _in_place(p: Sequence[float | None] | np.ndarray, order: np.ndarray, steps: np.ndarray) -> Adjusted:
    placed = np.empty(len(steps))
    placed[order] = np.minimum(1.0, steps)
    return Adjusted(
        adjusted=tuple(None if _unknown(one) else float(value) for one, value in zip(p, placed, strict=True))
    )


def _unknown(one: float | None) -> bool:
    return one is None or one != one
