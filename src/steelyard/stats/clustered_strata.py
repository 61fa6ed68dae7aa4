"""A weighed mean over fixed strata whose items come in clusters: one document may have items of several subjects.

Each cluster adds to the error what its items add, in whichever strata they are.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from steelyard.stats.intervals import ClusteredMean, members_of


def cluster_se_stratified(
    *,
    scores: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | np.ndarray,
    strata: Sequence[Hashable] | np.ndarray,
    weights: Mapping[Any, float],
) -> ClusteredMean:
    """Standard error of a weighed mean of strata's means, clusters being independent of one another.

    CR2 (Bell & McCaffrey 2002), which of strata's means is closed: what a cluster adds in a stratum is divided by
    sqrt(1 - its share of that stratum's items). Of one stratum with clusters of a size it is CR1, of items each alone
    Cochran's (1977, section 5.4). ``effective`` clusters of one size would weigh as unequally as these, or leave Bell
    and McCaffrey's degrees of freedom where those are fewer. ``weights`` need not sum to 1. With an unknown score there
    is no mean; no error where nothing varies, and none that is known where a stratum lies within one cluster.
    """
    values, cluster, stratum = np.asarray(scores, dtype=float), members_of(clusters), members_of(strata)
    groups = int(cluster.max()) + 1 if len(cluster) else 0
    parts = _parts(strata, weights)
    if not len(values) or not np.isfinite(values).all() or not parts.sum() > 0:
        return ClusteredMean(mean=None, se=None, se_cr0=None, clusters=groups, effective=0.0)
    parts = parts / parts.sum()
    sizes = np.bincount(stratum)
    means = np.bincount(stratum, weights=values) / sizes
    cells, at = np.unique(cluster * len(sizes) + stratum, return_inverse=True)
    of_cluster, of_stratum = np.divmod(cells, len(sizes))
    items, added = np.bincount(at), np.bincount(at, weights=values - means[stratum])
    each, left = (parts / sizes)[of_stratum], 1 - items / sizes[of_stratum]
    is_known = bool((left[each > 0] > 0).all())
    raised = each / np.sqrt(np.where(left > 0, left, 1.0))
    errors = np.bincount(of_cluster, weights=raised * added)
    has_spread = is_known and math.sqrt(float(errors @ errors)) > 1e-12 * float(np.abs(values).max())
    share = np.bincount(of_cluster, weights=items * each)
    without = np.bincount(of_cluster, weights=each * added)
    return ClusteredMean(
        mean=float(parts @ means),
        se=math.sqrt(float(errors @ errors)) if has_spread else None,
        se_cr0=math.sqrt(float(without @ without)),
        clusters=groups,
        effective=min(1 / float(share @ share), 1 + _degrees(items, raised, sizes, of_cluster, of_stratum))
        if is_known
        else 1.0,
    )


def _parts(strata: Sequence[Hashable] | np.ndarray, weights: Mapping[Any, float]) -> np.ndarray:
    """The weights in the order of the strata's numbers."""
    names = np.unique(strata).tolist() if isinstance(strata, np.ndarray) else list(dict.fromkeys(strata))
    return np.array([weights[name] for name in names], dtype=float)


def _degrees(
    items: np.ndarray, raised: np.ndarray, sizes: np.ndarray, of_cluster: np.ndarray, of_stratum: np.ndarray
) -> float:
    """Bell and McCaffrey's degrees of freedom, of items that are alike and independent: (sum of l)^2 / sum of l^2.

    l are the eigenvalues of the matrix of what clusters' errors have in common, diagonal less outer products.
    """
    diagonal = np.bincount(of_cluster, weights=items * raised**2)
    outer = items * raised / np.sqrt(sizes[of_stratum])
    own = np.bincount(of_cluster, weights=outer**2)
    common = scipy.sparse.csr_array((outer, (of_cluster, of_stratum)))
    squares = float(diagonal @ diagonal - 2 * diagonal @ own + ((common.T @ common).data ** 2).sum())
    return float(diagonal.sum() - own.sum()) ** 2 / squares if squares > 0 else 0.0
