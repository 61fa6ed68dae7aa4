"""The error of each run by which a change is judged.

Runs on the same items are held against one another by how their answers vary: what a sample of questions does to a
share is the same for all of them, and would hide a drift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from steelyard.analysis.compare import standard_error
from steelyard.analysis.trend.observed import Observed

MOSTLY = 0.95


def run_errors(known: Sequence[Observed]) -> tuple[list[float | None], str]:
    """The error of each run by which a change is judged, and what it is."""
    shared = _on_same_items(known)
    if shared is not None:
        return list(_noise(shared)), f"the same {shared.shape[1]:,} items, by how their answers vary"
    return [standard_error(one.estimate) for one in known], "each run's own interval"


def _on_same_items(known: Sequence[Observed]) -> np.ndarray | None:
    """Item scores, one row a run, over the items that every run has scored; ``None`` where runs asked other items."""
    asked = [one.items for one in known if one.items is not None]
    if len(known) < 2 or len(asked) < len(known):
        return None
    common = asked[0]
    for items in asked[1:]:
        common = np.intersect1d(common, items)
    if len(common) < max(2, MOSTLY * max(map(len, asked))):
        return None
    rows = [_scores_of(one, common) for one in known]
    return np.stack(rows)


def _scores_of(one: Observed, items: np.ndarray) -> np.ndarray:
    assert one.items is not None
    assert one.scores is not None
    order = np.argsort(one.items)
    return np.asarray(one.scores[order][np.searchsorted(one.items, items, sorter=order)])


def _noise(scores: np.ndarray) -> list[float]:
    """The error of each run's mean over fixed items: half the variance of an item's change from run to run.

    Two pairs that disagree are added, as Bonett & Price 2012 do, or one flipped answer in a few hundred would look
    exact. A run that changed more than usual has its own error.
    """
    runs, n = scores.shape
    steps = np.diff(scores, axis=0)
    of_steps = ((steps**2).sum(axis=1) + 2) / (n + 2) - steps.mean(axis=1) ** 2
    usual = float(steps.var(axis=1).mean())
    variances = [max(usual, float(of_steps.min())), *(max(usual, own) for own in of_steps.tolist())]
    assert len(variances) == runs
    return [math.sqrt(variance / 2 / n) for variance in variances]
