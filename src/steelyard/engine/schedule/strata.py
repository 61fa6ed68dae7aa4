"""What a mean over strata is made of, for who looks at a part of it: each stratum known as far as it was asked.

The strata are fixed, so the error is that within them, weighed as the headline weighs them, each with its own finite
population correction (Cochran 1977, section 5.4). An order that holds every stratum in proportion makes it fall as that
of a plain mean does, so the same bounds hold.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.accuracy import stratum_weights
from steelyard.engine.cells import Task
from steelyard.stats.intervals import ClusteredMean


class Strata(Struct, frozen=True, kw_only=True):
    """``of_item``: each item's stratum as a code; by code what a stratum ``weighs`` (1 in all) and its ``sizes``."""

    of_item: np.ndarray
    weighs: np.ndarray
    sizes: np.ndarray

    def only(self, chosen: np.ndarray) -> Strata:
        """The same for some of the items, by their places or a mask."""
        return Strata(of_item=self.of_item[chosen], weighs=self.weighs, sizes=self.sizes)

    @property
    def variance_factor(self) -> float:
        """How many times a plain mean's variance the weighed mean of these items has, were strata alike within.

        That is n times the sum of w_h^2 / n_h over the strata that are there (Kish 1965, section 11.7): at least 1.
        """
        n = np.bincount(self.of_item, minlength=len(self.sizes))
        weighs = self.weighs[n > 0] / self.weighs[n > 0].sum()
        return float(n.sum() * (weighs**2 @ (1.0 / n[n > 0])))


class Weighed(Struct, frozen=True):
    """A mean over strata, and its variance were the strata without end.

    By stratum ``n``, the ``means`` and the ``variances`` of items.
    """

    mean: float
    variance: float
    n: np.ndarray
    means: np.ndarray
    variances: np.ndarray


def strata_of(task: Task) -> Strata | None:
    """The strata of a task whose headline is a mean over them, by the position of each item in the dataset."""
    if task.protocol.aggregate != "macro":
        return None  # before its items are read: those of a generated dataset, a million, take a minute
    names = [sample.stratum or "" for sample in task.dataset.samples]
    counted = sorted(Counter(names).items())
    if len(counted) < 2:
        return None
    known = [name for name, _ in counted]
    code = {name: place for place, name in enumerate(known)}
    return Strata(
        of_item=np.array([code[name] for name in names], dtype=np.int64),
        weighs=stratum_weights(known, task.benchmark.families),
        sizes=np.array([size for _, size in counted], dtype=float),
    )


def variance_factor(task: Task) -> float:
    """How many times a plain mean's variance the headline has over the items that are asked; 1 where it is one."""
    strata = strata_of(task)
    return 1.0 if strata is None else strata.only(np.array(task.positions)).variance_factor


def weighed(values: np.ndarray, strata: Strata) -> Weighed | None:
    """The weighed mean of the strata's means; ``None`` while a stratum has none.

    A stratum of one item takes the variance of the whole.
    """
    n = np.bincount(strata.of_item, minlength=len(strata.sizes))
    if not n.all():
        return None
    means = np.bincount(strata.of_item, weights=values, minlength=len(n)) / n
    squares = np.bincount(strata.of_item, weights=(values - means[strata.of_item]) ** 2, minlength=len(n))
    whole = float(values.var(ddof=1)) if len(values) > 1 else 0.0
    variances = np.where(n > 1, squares / np.maximum(n - 1, 1), whole)
    each = strata.weighs**2 * variances / n
    return Weighed(float(strata.weighs @ means), float(each.sum()), n, means, variances)


def weighed_in_clusters(values: np.ndarray, clusters: np.ndarray, strata: Strata) -> ClusteredMean | None:
    """The weighed mean with what its clusters leave of it; ``None`` while a stratum has none."""
    if not np.bincount(strata.of_item, minlength=len(strata.sizes)).all():
        return None
    weights = dict(enumerate(strata.weighs.tolist()))
    return stats.cluster_se_stratified(scores=values, clusters=clusters, strata=strata.of_item, weights=weights)


def bounded_by_rest(values: np.ndarray, strata: Strata) -> tuple[float, float]:
    """How low and how high the mean over whole strata can be, were everything that has no value -1 or 1."""
    n = np.bincount(strata.of_item, minlength=len(strata.sizes))
    totals = np.bincount(strata.of_item, weights=values, minlength=len(n))
    rest = strata.sizes - n
    return (
        float(strata.weighs @ ((totals - rest) / strata.sizes)),
        float(strata.weighs @ ((totals + rest) / strata.sizes)),
    )
