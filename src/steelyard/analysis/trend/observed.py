"""What one run has to say of a metric: its estimate, and its items' own scores where it has such."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from steelyard.analysis.accuracy import is_over_strata, stratum_weights
from steelyard.analysis.estimates import Context, item_means
from steelyard.types import CellInfo, Columns, Estimate

MOSTLY = 0.95
"""Runs that share so many of the items asked are runs on the same items: a failed call makes no other sample."""
FEWEST_SCORED = 0.5
"""Of items that all runs were asked, how many all need a score of for the others to be held against one another."""
UNITS_OF_TIME = ("s", "tokens/s", "requests/s")
UNITS_OF_HARDWARE = (*UNITS_OF_TIME, "MB", "cores", "W")


class Observed(Struct, frozen=True, kw_only=True):
    """What one run has to say of a metric.

    ``asked`` are the items that it was asked, where they have values of their own; ``items`` those with a score, and
    ``scores`` these values, each as it weighs in the mean: times its one of ``weights``, where items weigh unlike.
    ``ended``: that it ended early by a rule, in words. ``lost``: how many of how many requests have no score.
    ``in_flight``: the requests on their way at once, the median.
    """

    run: int
    name: str
    at: str
    info: CellInfo
    machine: dict[str, Any] = {}
    estimate: Estimate
    asked: np.ndarray | None = None
    items: np.ndarray | None = None
    scores: np.ndarray | None = None
    weights: np.ndarray | None = None
    ended: str | None = None
    lost: tuple[int, int] = (0, 0)
    in_flight: float | None = None


class WeighedItems(Struct, frozen=True, kw_only=True):
    """The scored items and their scores, each as it weighs in the metric's mean: their plain mean is the metric.

    ``asked`` are these and the ones that have no score.
    """

    asked: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    weights: np.ndarray | None = None


def weighed_items(metric: str, columns: Columns, info: CellInfo) -> WeighedItems:
    """What a run's items add to the metric; ``weights`` where they weigh unlike."""
    scores = columns.scores[metric]
    is_scored = ~np.isnan(scores)
    asked, of_scored = np.unique(columns.sample), columns.sample[is_scored]
    items, first = np.unique(of_scored, return_index=True)
    means = item_means(scores[is_scored], of_scored)
    if not is_over_strata(columns, Context(info=info)) or not len(items):
        return WeighedItems(asked=asked, items=items, scores=means)
    codes, membership, sizes = np.unique(columns.stratum[is_scored][first], return_inverse=True, return_counts=True)
    parts = stratum_weights([columns.strata[code] for code in codes.tolist()], info.families)
    weights = (parts / sizes)[membership] * len(items)
    return WeighedItems(asked=asked, items=items, scores=means * weights, weights=weights)
