"""What goes together with being right: an association, never a cause.

Within a model, over its items: latency, length and cost against the score. Across models only from five on, since of
three models in perfect order chance makes one in three; before that the front of undominated models says more. Never
pooled over models: what holds within each may turn round in the pool (Simpson 1951).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.accuracy import MUCH_ERRORED
from steelyard.analysis.clusters import clusters_of
from steelyard.analysis.compare import CONFIDENCE, FALSE_SHARE, Side
from steelyard.analysis.estimates import headline_scored, item_means
from steelyard.stats.correlation import KendallInterval
from steelyard.types import Estimate

FEWEST_MODELS = 5
FEW_MODELS = 10
HOW_TAU = {"exact": "Mallows, exact", "z": "Fisher z"}
WITHIN = {"latency": "total_s", "output tokens": "output_tokens", "cost": "cost_usd"}


class Correlation(Struct, frozen=True, kw_only=True):
    """How far a figure goes together with the score; ``adjusted_p`` is in the family of all that were looked at.

    ``given``: what was taken off both beforehand. ``model`` is ``None`` across models.
    """

    benchmark: str
    model: str | None
    figure: str
    given: str | None = None
    r: Estimate
    p: float | None
    adjusted_p: float | None = None

    @property
    def is_told(self) -> bool:
        """Whether it is more than a table of so many would show by chance."""
        return self.adjusted_p is not None and self.adjusted_p <= FALSE_SHARE


class Standing(Struct, frozen=True, kw_only=True):
    """One model as a point: its score, and what it takes; ``None`` where unknown. ``beaten_by`` dominates it.

    ``unscored`` is the share of answers without a score: what is left of a model that often fails are the easy ones.
    """

    model: str
    accuracy: float | None
    latency_s: float | None
    cost_usd: float | None
    unscored: float = 0.0
    beaten_by: str | None = None

    @property
    def is_placed(self) -> bool:
        """Whether it can be on a front: of a score alone there is an order, and of a part of the items not that."""
        return not self.is_partial and (self.latency_s is not None or self.cost_usd is not None)

    @property
    def is_partial(self) -> bool:
        """Whether so much has no score that nobody can say how good it is."""
        return self.accuracy is None or self.unscored > MUCH_ERRORED


def within(side: Side) -> list[Correlation]:
    """Each figure of one model against its score, item by item."""
    found = []
    scores = next(iter(side.columns.scores.values()), np.array([]))
    length = _figure(side, "output_tokens")
    for figure, column in WITHIN.items():
        if not len(scores) or side.info.is_floor or (column == "total_s" and side.info.kind == "likelihood"):
            continue
        values = _figure(side, column)
        found.append(_over_items(side, figure, scores, values))
        if column == "total_s":
            found.append(_over_items(side, figure, scores, values, length))
    return [one for one in found if one.r.n]


def across(benchmark: str, points: Sequence[Standing]) -> list[Correlation]:
    """Kendall's tau between models' scores and what they take; a reason instead of a number for few models.

    Its interval is of models like these, their figures taken as known; p is that of the interval, with ties too.
    """
    found = []
    for figure, field in (("latency", "latency_s"), ("cost", "cost_usd")):
        known = [(one.accuracy, getattr(one, field)) for one in points]
        pairs = [(x, y) for x, y in known if x is not None and y is not None]
        if len(pairs) < 2:
            continue
        if len(pairs) < FEWEST_MODELS:
            status = f"{len(pairs)} models are too few for a coefficient: need {FEWEST_MODELS}"
            estimate = _tau(None, len(pairs), status)
            found.append(Correlation(benchmark=benchmark, model=None, figure=figure, r=estimate, p=None))
            continue
        together = stats.kendall_tau_b(x=[x for x, _ in pairs], y=[y for _, y in pairs])
        tau = together.tau
        status = "ok" if len(pairs) >= FEW_MODELS else f"of {len(pairs)} models only: it may be far off"
        bounds = None
        if tau is not None:
            bounds = stats.kendall_interval(tau=tau, n=len(pairs), untied=together.untied, confidence=CONFIDENCE)
        estimate = _tau(tau, len(pairs), status, bounds)
        p = None if bounds is None else bounds.p
        found.append(Correlation(benchmark=benchmark, model=None, figure=figure, r=estimate, p=p))
    return found


def front(points: Sequence[Standing]) -> list[Standing]:
    """Every model with the one that is at least as good in all that both are known by, and better in some.

    One that was scored on a part of its answers neither beats nor is beaten.
    """
    whole = [one for one in points if not one.is_partial]
    return [one if one.is_partial else msgspec.structs.replace(one, beaten_by=_beater(one, whole)) for one in points]


def unscored_share(side: Side) -> float:
    """The share of a side's answers that have no headline score."""
    return 1 - headline_scored(side.columns) / len(side.columns.sample) if len(side.columns.sample) else 0.0


def adjusted(correlations: Sequence[Correlation]) -> list[Correlation]:
    """The same with p-values by Benjamini and Hochberg over all of them."""
    found = stats.bh_adjust(p=[one.p for one in correlations]).adjusted
    return [msgspec.structs.replace(one, adjusted_p=p) for one, p in zip(correlations, found, strict=True)]


def _figure(side: Side, column: str) -> np.ndarray:
    columns = side.columns
    if column == "cost_usd":
        return np.asarray(np.where(columns.cached, columns.saved_usd, columns.cost_usd))
    values = getattr(columns, column)
    return np.asarray(np.where(columns.cached, np.nan, values) if column == "total_s" else values)


def _over_items(
    side: Side, figure: str, scores: np.ndarray, values: np.ndarray, given: np.ndarray | None = None
) -> Correlation:
    chosen = ~np.isnan(scores) & ~np.isnan(values) & (True if given is None else ~np.isnan(given))
    items = side.columns.sample[chosen]
    x, y = item_means(scores[chosen], items), item_means(values[chosen], items)
    if given is None:
        found = stats.point_biserial(binary=x, values=y)
    else:
        found = stats.partial_correlation(x=x, y=y, given=item_means(given[chosen], items))
    clusters = clusters_of(items, side.columns.cluster[chosen]) if len(items) else None
    worth = found.n if clusters is None else len(np.unique(clusters))  # no more than one independent item a cluster
    bounds = None if found.r is None else stats.correlation_interval_fisher(r=found.r, n=worth, confidence=CONFIDENCE)
    is_bounded = bounds is not None and bounds.low is not None
    estimate = Estimate(
        metric="correlation",
        value=found.r,
        low=bounds.low if bounds is not None else None,
        high=bounds.high if bounds is not None else None,
        level=CONFIDENCE if is_bounded else None,
        n=len(x),
        method="point-biserial, Fisher z" if clusters is None else f"point-biserial, Fisher z at {worth} clusters",
        unit="correlation",
        status="ok" if found.r is not None else "no spread",
    )
    return Correlation(
        benchmark=side.info.label,
        model=side.name,
        figure=figure,
        given=None if given is None else "output tokens",
        r=estimate,
        p=found.p if clusters is None else None,
    )


def _tau(value: float | None, n: int, status: str, bounds: KendallInterval | None = None) -> Estimate:
    is_bounded = bounds is not None and bounds.low is not None
    how = "" if bounds is None or not is_bounded else f", {HOW_TAU[bounds.method]}"
    return Estimate(
        metric="kendall",
        value=value,
        low=bounds.low if bounds is not None else None,
        high=bounds.high if bounds is not None else None,
        level=CONFIDENCE if is_bounded else None,
        n=n,
        method=f"Kendall tau-b{how}",
        unit="correlation",
        status=status,
    )


def _beater(one: Standing, points: Sequence[Standing]) -> str | None:
    for other in points:
        gaps = [
            gap
            for gap in (
                _gap(other.accuracy, one.accuracy),
                _gap(one.latency_s, other.latency_s),
                _gap(one.cost_usd, other.cost_usd),
            )
            if gap is not None
        ]
        is_comparable = len(gaps) > 1 and _gap(other.accuracy, one.accuracy) is not None
        if is_comparable and min(gaps) >= 0 and max(gaps) > 0:
            return other.model
    return None


def _gap(better: float | None, worse: float | None) -> float | None:
    return None if better is None or worse is None else better - worse
