"""Change points: where the level of a series changed, judged in the light of all its runs.

Where runs differ beyond their own errors, as times do, neighbouring runs tell by how much. That is itself known from a
few runs only, so each part that is searched has a scale of its own, as have the flat series that it is held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.trend.points import Point
from steelyard.analysis.trend.run_errors import Errors

FEWEST_FOR_CHANGE_POINTS = 8
CHANGE_POINT_P = 0.01


class Change(Struct, frozen=True, kw_only=True):
    """A change of level: its likeliest first point, the first and last that are plausible, both levels, p.

    Judged in the light of all runs so far: later ones may move it.
    """

    at: str
    earliest: str
    latest: str
    before: float
    after: float
    p: float


class Split(Struct, frozen=True, kw_only=True):
    """A place where the level changed, as places in the series: the likeliest, the first and last plausible."""

    at: int
    earliest: int
    latest: int
    p: float


def changes_of(
    points: Sequence[Point], values: Sequence[float], errors: Errors, *, is_scattered: bool
) -> tuple[Change, ...]:
    """The places where the level changed, each with the levels between it and its neighbours.

    ``is_scattered``: runs differ beyond their own errors.
    """
    found = _splits(values, errors, 0, is_scattered=is_scattered)
    edges = [0, *(split.at for split in found), len(values)]
    widened = errors.widened(_between_neighbours(values, errors)) if is_scattered else errors
    levels = [
        stats.trend_known_se(scores=values[start:end], se=widened.each[start:end]).weighted_mean
        for start, end in pairwise(edges)
    ]
    return tuple(
        Change(
            at=points[split.at].label,
            earliest=points[split.earliest].label,
            latest=points[split.latest].label,
            before=before or 0.0,
            after=after or 0.0,
            p=split.p,
        )
        for split, (before, after) in zip(found, pairwise(levels), strict=True)
    )


def _between_neighbours(values: Sequence[float], errors: Errors) -> float:
    """The variance between runs beyond their own errors, by successive squared differences (von Neumann 1941)."""
    seen = float(np.mean(np.diff(values) ** 2)) / 2
    known = errors.covariance
    squares = known.diagonal()
    by_errors = float(np.mean(squares[1:] + squares[:-1] - 2 * known.diagonal(1))) / 2
    return max(0.0, seen - by_errors)


def _splits(values: Sequence[float], errors: Errors, start: int, *, is_scattered: bool) -> list[Split]:
    """The whole series is searched, and then each part of it; ``start`` is where the part begins."""
    if len(values) < FEWEST_FOR_CHANGE_POINTS:
        return []
    widened = errors.widened(_between_neighbours(values, errors)) if is_scattered else errors
    found = stats.change_point(
        scores=values,
        se=np.sqrt(widened.own),
        shared=widened.shared if widened.are_shared else None,
        is_scattered=is_scattered,
    )
    if found.index is None or found.p is None or found.p > CHANGE_POINT_P:
        return []
    if not is_scattered and _rests_on_one_run(values, widened, found.index):
        return []
    here = Split(
        at=start + found.index,
        earliest=start + min(found.plausible),
        latest=start + max(found.plausible),
        p=found.p,
    )
    before, after = slice(0, found.index), slice(found.index, len(values))
    return [
        *_splits(values[before], errors.only(before), start, is_scattered=is_scattered),
        here,
        *_splits(values[after], errors.only(after), start + found.index, is_scattered=is_scattered),
    ]


def _rests_on_one_run(values: Sequence[float], errors: Errors, index: int) -> bool:
    """Whether nothing changed without the last run before the change, or the first one after it: one is no level."""
    for left_out in (index - 1, index):
        kept = np.delete(np.arange(len(values)), left_out)
        again = stats.change_point(
            scores=np.asarray(values)[kept],
            se=np.sqrt(errors.own[kept]),
            shared=errors.shared[np.ix_(kept, kept)] if errors.are_shared else None,
        )
        if again.p is None or again.p > CHANGE_POINT_P:
            return True
    return False
