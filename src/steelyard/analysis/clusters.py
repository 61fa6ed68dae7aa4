"""Items that come in clusters: which belong together, and what so many clusters, of such sizes, can bear.

Ten questions about one document are not ten independent ones, and four clusters of which one has nearly all items are
hardly more than one: t has the degrees that their sizes leave, and below one there is no interval.
"""

from __future__ import annotations

import numpy as np

from steelyard import stats
from steelyard.stats.intervals import ClusteredMean
from steelyard.stats.paired import TTest, t_test
from steelyard.types import Columns

FEW_CLUSTERS = 10


def clusters_of(items: np.ndarray, clusters: np.ndarray) -> np.ndarray | None:
    """Each item's cluster, an item of none being one of its own; ``None`` where no cluster holds two items."""
    if not (clusters >= 0).any():
        return None
    _, first = np.unique(items, return_index=True)
    found = clusters[first]
    alone = found < 0
    found = np.where(alone, -1 - np.arange(len(found)), found)
    return found if len(np.unique(found)) < len(found) else None


def units_of(columns: Columns, rows: np.ndarray) -> np.ndarray:
    """What is independent of what: the cluster of each of these requests, or its item where it has none."""
    clusters = columns.cluster[rows]
    return np.asarray(np.where(clusters >= 0, -1 - clusters, columns.sample[rows]))


def clusters_of_requests(columns: Columns, rows: np.ndarray) -> np.ndarray | None:
    """Each of these requests' cluster, or its item; ``None`` where no cluster holds two of the items."""
    is_clustered = clusters_of(columns.sample[rows], columns.cluster[rows]) is not None
    return units_of(columns, rows) if is_clustered else None


def worth_of(clusters: np.ndarray) -> ClusteredMean:
    """How many clusters there are, what they are worth and the degrees that leaves, whatever is measured in them."""
    return stats.cluster_se(scores=np.zeros(len(clusters)), clusters=clusters)


def clustered_t(values: np.ndarray, clusters: np.ndarray, *, confidence: float) -> TTest:
    """A mean with CR1 and t; without bounds where the clusters are too few or differ by nothing."""
    found = stats.cluster_se(scores=values, clusters=clusters)
    if found.mean is None or found.se is None or found.degrees is None:
        return TTest(t=None, df=None, p=None, mean_diff=found.mean, se=None, low=None, high=None, n=len(values))
    return t_test(mean=found.mean, se=found.se, df=found.degrees, n=len(values), confidence=confidence)


def stratum_in_one_cluster(clusters: np.ndarray, strata: np.ndarray) -> int | None:
    """The first stratum of which all items are of one cluster, so that nothing tells how it varies."""
    codes, at = np.unique(strata, return_inverse=True)
    cells = np.unique(np.stack([at, np.unique(clusters, return_inverse=True)[1]]), axis=1)
    alone = codes[np.bincount(cells[0]) == 1]
    return int(alone[0]) if len(alone) else None


def cell_means(values: np.ndarray, clusters: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of what each cluster has in each stratum, and which stratum that is."""
    places = np.stack([np.unique(names, return_inverse=True)[1] for names in (strata, clusters)])
    cells, at = np.unique(places, axis=1, return_inverse=True)
    at = at.ravel()
    return np.bincount(at, weights=values) / np.bincount(at), np.unique(strata)[cells[0]]


def cluster_warning(found: ClusteredMean) -> str:
    """What clusters too few, or too unlike in size, make of an interval; empty where it holds."""
    worth = f"{found.clusters} clusters" + (
        "" if are_of_a_size(found) else f", worth {found.effective:.2g} of one size"
    )
    if found.degrees is None:
        return f"only {worth}: too few for an interval"
    return f"only {worth}: the interval is rough" if found.degrees < FEW_CLUSTERS - 1 else ""


def are_of_a_size(found: ClusteredMean) -> bool:
    """Whether t keeps all the degrees that as many clusters have; so it is of one, which has none to lose."""
    return found.degrees == found.clusters - 1


def independent_clusters(found: ClusteredMean) -> float:
    """How many independent answers clusters without any spread stand for: all of them, or what they are worth."""
    return float(found.clusters) if are_of_a_size(found) else found.effective
