"""Several models on one benchmark: the places that each could have, and which cannot be told from the best."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.accuracy import is_over_strata, stratum_weights
from steelyard.analysis.clusters import worth_of
from steelyard.analysis.compare import CONFIDENCE, Side
from steelyard.analysis.estimates import Context, distinct, item_means
from steelyard.analysis.pairing import pair_scores
from steelyard.stats.intervals import ClusteredMean


class Place(Struct, frozen=True, kw_only=True):
    """One model's place among those compared, the range it could have, and the chance that it is the best.

    ``near_best``: not distinguished from the best one seen, all judged together.
    """

    name: str
    run: int
    value: float | None
    place: int
    low: int
    high: int
    first: float | None
    near_best: bool


class Ranking(Struct, frozen=True, kw_only=True):
    """The places on one benchmark, best first, over the ``n`` items that all have scored.

    ``dropped`` are models without a place, since a cascade asked them no more, and ``unscored`` have no score at all;
    with the run where there are several.
    """

    metric: str
    benchmark: str
    n: int
    level: float
    places: tuple[Place, ...]
    dropped: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether items enough, in clusters enough, have a score of all for anybody to have a place."""
        return all(place.first is not None for place in self.places)


def rank(sides: Sequence[Side], metric: str) -> Ranking:
    """Rank by a paired bootstrap over items, over clusters where items come in them, within strata that make a mean.

    Clusters too few for the interval of a difference leave every place possible.
    """
    items = reduce(np.intersect1d, (_scored(side, metric) for side in sides))
    units = [_unit_scores(side, metric, items, sides[0]) for side in sides]
    worth = _worth(sides[0], metric, items)
    degrees = None if worth is None else worth.degrees
    is_enough = worth is None or degrees is not None
    found = stats.rank_models(
        scores=np.array(units), strata=_strata_of(sides[0], metric, items), confidence=CONFIDENCE, degrees=degrees
    )
    places = [
        Place(
            name=side.name,
            run=side.run,
            value=found.means[i],
            place=found.places[i],
            low=found.low[i] if is_enough else 1,
            high=found.high[i] if is_enough else len(sides),
            first=found.first[i] if is_enough else None,
            near_best=found.near_best[i] or not is_enough,
        )
        for i, side in enumerate(sides)
    ]
    return Ranking(
        metric=metric,
        benchmark=sides[0].info.label,
        n=len(items),
        level=CONFIDENCE,
        places=tuple(sorted(places, key=lambda place: place.place)),
    )


def _scored(side: Side, metric: str) -> np.ndarray:
    return distinct(side.columns.sample[~np.isnan(side.columns.scores[metric])])


def _worth(first: Side, metric: str, items: np.ndarray) -> ClusteredMean | None:
    """What the clusters of the items are worth; ``None`` of independent items."""
    pair = pair_scores(first.columns, first.columns, metric)
    if pair.clusters is None or not len(items):
        return None
    return worth_of(pair.clusters[np.searchsorted(pair.items, items)])


def _strata_of(first: Side, metric: str, items: np.ndarray) -> np.ndarray | None:
    """Each item's stratum where the headline is a mean over strata, which are then the same in every draw.

    Not so of items in clusters, for a cluster may lie across strata.
    """
    pair = pair_scores(first.columns, first.columns, metric)
    if not is_over_strata(first.columns, Context(info=first.info)) or pair.clusters is not None:
        return None
    return np.asarray(pair.strata[np.searchsorted(pair.items, items)])


def _unit_scores(side: Side, metric: str, items: np.ndarray, first: Side) -> np.ndarray:
    """What each independent unit adds to the mean, so that the mean over units is the headline.

    A cluster adds what its items add; an item of a stratum counts as the headline weighs that stratum. Of clusters
    across strata it is how far they pull the headline, so that a draw with more of a stratum weighs it no more.
    """
    scores = side.columns.scores[metric]
    chosen = np.isin(side.columns.sample, items) & ~np.isnan(scores)
    means = item_means(scores[chosen], side.columns.sample[chosen])
    pair = pair_scores(first.columns, first.columns, metric)
    at = np.searchsorted(pair.items, items)
    if is_over_strata(first.columns, Context(info=first.info)):
        codes, membership, sizes = np.unique(pair.strata[at], return_inverse=True, return_counts=True)
        weights = stratum_weights([first.columns.strata[code] for code in codes.tolist()], first.info.families)
        each = (weights / sizes)[membership]
        if pair.clusters is None:
            return np.asarray(means * each * len(items))
        of_strata = np.bincount(membership, weights=means) / sizes
        groups, cluster = np.unique(pair.clusters[at], return_inverse=True)
        pull = np.bincount(cluster, weights=each * (means - of_strata[membership]))
        return np.asarray(float(weights @ of_strata) + len(groups) * pull)
    if pair.clusters is None:
        return means
    groups, membership = np.unique(pair.clusters[at], return_inverse=True)
    return np.asarray(np.bincount(membership, weights=means) * len(groups) / len(items))
