"""Items that come in clusters: which belong together, and what so many clusters, of such sizes, can bear.

Ten questions about one document are not ten independent ones, and four clusters of which one has nearly all items are
hardly more than one: t has the degrees that their sizes leave, and below one there is no interval.
"""

from __future__ import annotations

from statistics import NormalDist

import msgspec
import numpy as np

from steelyard import stats
from steelyard.stats.intervals import ClusteredMean
from steelyard.stats.paired import TTest, t_test
from steelyard.types import Columns, Estimate

FEW_CLUSTERS = 10
FEWEST_PAIRS = 100
"""Pairs of items of one cluster, below which nothing is said of how alike they are."""
ROUNDING = 1e-12


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
    return t_over_clusters(stats.cluster_se(scores=values, clusters=clusters), len(values), confidence=confidence)


def t_over_clusters(found: ClusteredMean, n: int, *, confidence: float) -> TTest:
    """t of a mean whose error over clusters is known; without bounds where they are too few or differ by nothing."""
    if found.mean is None or found.se is None or found.degrees is None:
        return TTest(t=None, df=None, p=None, mean_diff=found.mean, se=None, low=None, high=None, n=n)
    return t_test(mean=found.mean, se=found.se, df=found.degrees, n=n, confidence=confidence)


def worth_in_answers(spread: ClusteredMean, *, confidence: float) -> float | None:
    """The independent right or wrong answers that leave a share as uncertain, of few clusters as t has it.

    Wilson's interval of so many (Korn & Graubard 1998; Franco, Little, Louis & Slud 2019) allows for what t alone does
    not: near 0 and 1 clusters show too little spread wherever the share comes out too near. ``None`` where clusters are
    too few, or without spread.
    """
    if spread.mean is None or spread.se is None or spread.degrees is None:
        return None
    reach = spread.se * stats.t_quantile(spread.degrees, (1 + confidence) / 2)
    return spread.mean * (1 - spread.mean) * (NormalDist().inv_cdf((1 + confidence) / 2) / reach) ** 2


def correlation_within(values: np.ndarray, clusters: np.ndarray) -> float | None:
    """How alike two items of one cluster are, from the design effect of their mean.

    That is (deff - 1) / (m - 1) with m = sum of sizes^2 / sum of sizes (Kish 1965, section 5.4), at least 0. ``None``
    of few clusters, and of few pairs within one: their correlation is known to some 1 / sqrt(pairs).
    """
    found = stats.cluster_se(scores=values, clusters=clusters)
    sizes = np.unique(clusters, return_counts=True)[1]
    mean_size = float((sizes**2).sum() / sizes.sum()) if len(sizes) else 1.0
    if found.se is None or found.degrees is None or found.degrees < FEW_CLUSTERS - 1:
        return None
    if (sizes * (sizes - 1)).sum() < 2 * FEWEST_PAIRS:
        return None
    design_effect = found.se**2 * len(values) / float(values.var(ddof=1))
    return min(1.0, max(0.0, (design_effect - 1) / (mean_size - 1)))


def by_influences(
    value: float, influences: np.ndarray, clusters: np.ndarray, is_in_part: np.ndarray, *, confidence: float
) -> tuple[TTest, ClusteredMean]:
    """An estimate from a part of the items and from all of them, bounded over clusters; and what these are worth.

    ``influences`` is what each item adds to the estimate's error: CR1 of their sums by cluster (Liang & Zeger 1986).
    t has the degrees of the clusters of the part, or of the whole where these are fewer, less one for the slope.
    """
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1], weights=influences)
    groups = len(sums)
    worth = min(worth_of(clusters[is_in_part]), worth_of(clusters), key=lambda found: found.degrees or 0.0)
    se = float(np.sqrt((sums**2).sum() * groups / (groups - 1))) if groups > 1 else 0.0
    n = int(is_in_part.sum())
    if worth.degrees is None or worth.degrees < 2 or se <= ROUNDING:
        none = se if se > ROUNDING else None
        return TTest(t=None, df=None, p=None, mean_diff=value, se=none, low=None, high=None, n=n), worth
    return t_test(mean=value, se=se, df=worth.degrees - 1, n=n, confidence=confidence), worth


def over_clusters(plain: Estimate, found: TTest, worth: ClusteredMean) -> Estimate:
    """A difference or share with the bounds that its clusters leave it, or why there are none."""
    is_bounded = found.low is not None and found.high is not None
    few = f"only {worth.clusters} clusters: too few for an interval"
    unbounded = few if found.se is not None else "clusters differ by nothing: no spread to build an interval on"
    warned = cluster_warning(worth)
    return msgspec.structs.replace(
        plain,
        value=found.mean_diff,
        low=max(-1.0, found.low) if is_bounded and found.low is not None else None,
        high=min(1.0, found.high) if is_bounded and found.high is not None else None,
        level=plain.level if is_bounded else None,
        method=f"{worth.clusters} clusters, CR1, t",
        status=(warned or "ok") if is_bounded else warned if worth.degrees is None else unbounded,
    )


def is_over_clusters(estimate: Estimate) -> bool:
    """Whether its interval is one over clusters, as its method says."""
    return " clusters" in estimate.method


def stratum_in_one_cluster(clusters: np.ndarray, strata: np.ndarray) -> int | None:
    """The first stratum of which all items are of one cluster, so that nothing tells how it varies."""
    codes, of_cell, _ = _cells(clusters, strata)
    alone = codes[np.bincount(of_cell) == 1]
    return int(alone[0]) if len(alone) else None


def alone_in_words(stratum: str) -> str:
    """Why there is no interval where a stratum is all in one cluster."""
    return f"all of {stratum} is in one cluster"


def cell_means(values: np.ndarray, clusters: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of what each cluster has in each stratum, and which stratum that is."""
    codes, of_cell, at = _cells(clusters, strata)
    return np.bincount(at, weights=values) / np.bincount(at), codes[of_cell]


def _cells(clusters: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The strata; of each part of one that one cluster has, which of them it is; and in which part each item is."""
    codes, stratum = np.unique(strata, return_inverse=True)
    groups, cluster = np.unique(clusters, return_inverse=True)
    cells, at = np.unique(stratum * len(groups) + cluster, return_inverse=True)
    return codes, cells // len(groups), at


def cluster_warning(found: ClusteredMean) -> str:
    """What clusters too few, or too unlike in size, make of an interval; empty where it holds."""
    if found.degrees is None:
        return f"only {_in_words(found)}: too few for an interval"
    return f"only {_in_words(found)}: the interval is rough" if found.degrees < FEW_CLUSTERS - 1 else ""


def bear_percentile(found: ClusteredMean, p: float, *, confidence: float) -> bool:
    """Whether clusters are enough for the interval of a percentile.

    In a tail as many are needed as there would be values, since a cluster whose items are alike is one value. Of fewer
    it is chance whether a slow one was met at all, and those that were met cannot tell: by simulation what bounds there
    are hold P95 in 0 to 100 % of cases with 4 to 40 clusters, as these are, and in 91 to 99 % with 60 to 100.
    """
    need = _needed(p, confidence)
    return found.degrees is not None and (need is None or independent_clusters(found) >= need)


def percentile_warning(found: ClusteredMean, p: float, *, confidence: float) -> str:
    """What clusters too few make of a percentile's interval; empty where it holds."""
    need = _needed(p, confidence)
    if need is None or bear_percentile(found, p, confidence=confidence):
        return cluster_warning(found)
    return f"n too small: need {need}, have {_in_words(found)}"


def clusters_needed(found: ClusteredMean, p: float, *, confidence: float) -> int | None:
    """How many clusters of one size the interval of a percentile takes; ``None`` where they are not the matter."""
    return None if bear_percentile(found, p, confidence=confidence) else _needed(p, confidence)


def _needed(p: float, confidence: float) -> int | None:
    """How many clusters of one size the interval takes; ``None`` of a median, or what is below, which takes no more
    than a mean does.
    """
    return None if p <= 0.5 else stats.min_n_for_quantile_bound(p=p, confidence=confidence, sided="two").n


def _in_words(found: ClusteredMean) -> str:
    worth = "" if are_of_a_size(found) else f", worth {found.effective:.2g} of one size"
    return f"{found.clusters} clusters{worth}"


def are_of_a_size(found: ClusteredMean) -> bool:
    """Whether t keeps all the degrees that as many clusters have; so it is of one, which has none to lose."""
    return found.degrees == found.clusters - 1


def independent_clusters(found: ClusteredMean) -> float:
    """How many independent answers clusters without any spread stand for: all of them, or what they are worth."""
    return float(found.clusters) if are_of_a_size(found) else found.effective
