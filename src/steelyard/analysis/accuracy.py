"""Accuracy: over items and over strata, in groups, with repeats, and with errors counted either way."""

from __future__ import annotations

import numpy as np

from steelyard import stats
from steelyard.analysis.estimates import Context, counted, headline, headline_scored, item_means, share, unknown
from steelyard.types import Columns, Estimate

MUCH_ERRORED = 0.01


def accuracy(metric: str, columns: Columns, context: Context) -> Estimate:
    """The mean score of scored items. One answer an item: Wilson. Repeats: item means, Student's t."""
    scores = columns.scores.get(metric)
    if scores is None:
        return unknown(metric, "share", "not given by this protocol")
    scored = ~np.isnan(scores)
    if not scored.any():
        return unknown(metric, "share", "nothing was scored")
    means = item_means(scores[scored], columns.sample[scored])
    if len(means) == int(scored.sum()) and _is_binary(means):
        return share(metric, float(means.sum()), len(means), context, status=_error_warning(columns))
    return _mean_of_items(metric, means, context, status=_error_warning(columns))


def _is_binary(values: np.ndarray) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _mean_of_items(metric: str, means: np.ndarray, context: Context, *, status: str) -> Estimate:
    found = stats.mean_interval(values=means, confidence=context.confidence)
    if found.low is None or found.high is None:  # all items alike: no spread to build a t interval on
        return share(metric, float(means.sum()), len(means), context, status=status)
    return Estimate(
        metric=metric,
        value=found.mean,
        low=max(0.0, found.low),
        high=min(1.0, found.high),
        level=context.confidence,
        n=len(means),
        method="item means, t",
        unit="share",
        status=status,
    )


def _error_warning(columns: Columns) -> str:
    total = len(columns.sample)
    lost = total - headline_scored(columns)
    if total and lost / total > MUCH_ERRORED:
        return f"{lost} of {total} not scored: read it with its bounds"
    return "ok"


def bound(metric: str, fill: float, columns: Columns, context: Context) -> Estimate:
    """Accuracy if every unscored item were wrong (0) or right (1)."""
    scores = headline(columns)
    if not len(scores):
        return unknown(metric, "share", "nothing was asked")
    filled = np.where(np.isnan(scores), fill, scores)
    return counted(metric, "share", float(item_means(filled, columns.sample).mean()), n=len(filled))
