"""How alike items of one cluster were in earlier answers to a benchmark, and what that makes of items yet to be asked.

A design effect is one of so many items in such clusters; the correlation within clusters, from which it follows, can be
taken over to other numbers of them. Scores have one and differences of two models another, which is mostly smaller.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from steelyard.analysis.clusters import clusters_of, correlation_within
from steelyard.analysis.estimates import headline, item_means
from steelyard.analysis.pairing import pair_scores
from steelyard.engine.cells import MOST_COUNTED
from steelyard.types import CellInfo, Columns

if TYPE_CHECKING:
    from steelyard.store import Store

RUNS_LOOKED_THROUGH = 50
MOST_CELLS = 4


class DesignEffects(Struct, frozen=True, kw_only=True):
    """How many times more variance than of independent items a score has, and a difference of two models.

    From the answers of run number ``run``; of a difference ``None`` where no two models of it were asked the same.
    """

    run: int
    score: float
    difference: float | None


class Alike(Struct, frozen=True, kw_only=True):
    """The correlation within clusters of scores and of two models' differences, as run ``run`` had them.

    ``differences`` is ``None`` where no two models of it were asked enough of the same.
    """

    run: int
    scores: float
    differences: float | None

    def over(self, sizes: np.ndarray) -> DesignEffects:
        """What that makes of clusters of these ``sizes``, of which the mean over items counts (Kish 1965)."""
        more = float((sizes**2).sum() / sizes.sum()) - 1
        difference = None if self.differences is None else 1 + more * self.differences
        return DesignEffects(run=self.run, score=1 + more * self.scores, difference=difference)


def alike_in_store(store: Store, label: str) -> Alike | None:
    """What the newest run tells that has enough clusters of the benchmark; one of two models before one of a single."""
    of_one_model = None
    for run in store.runs(RUNS_LOOKED_THROUGH):
        cells = [cell for cell in store.cells(run.id) if cell.label == label and _is_soon_read(cell)][:MOST_CELLS]
        if len(cells) < 2 and of_one_model is not None:
            continue  # a run of one model tells nothing more
        found = _alike(run.number, cells, [store.columns(cell.id or 0) for cell in cells])
        if found is not None and found.differences is not None:
            return found
        of_one_model = of_one_model or found
    return of_one_model


def _is_soon_read(cell: CellInfo) -> bool:
    """Whether it is a model's, and not so large that a forecast would wait for it."""
    return not cell.is_floor and cell.items * cell.repeats <= MOST_COUNTED


def _alike(run: int, cells: list[CellInfo], columns: list[Columns]) -> Alike | None:
    scores = [_of_scores(cell, each) for cell, each in zip(cells, columns, strict=True)]
    between = [_of_differences(cells[0], a, b) for a, b in pairwise(columns)]
    known, differences = ([one for one in found if one is not None] for found in (scores, between))
    if not known:
        return None
    return Alike(
        run=run, scores=float(np.mean(known)), differences=float(np.mean(differences)) if differences else None
    )


def _of_scores(cell: CellInfo, columns: Columns) -> float | None:
    scores = headline(columns)
    if not len(scores):
        return None
    rows = ~np.isnan(scores)
    items = columns.sample[rows]
    clusters = clusters_of(items, columns.cluster[rows])
    _, first = np.unique(items, return_index=True)
    return _within(cell, item_means(scores[rows], items), clusters, columns.stratum[rows][first])


def _of_differences(cell: CellInfo, a: Columns, b: Columns) -> float | None:
    metric = cell.scored[0]
    if metric not in a.scores or metric not in b.scores:
        return None
    pair = pair_scores(a, b, metric)
    return _within(cell, pair.differences, pair.clusters, pair.strata)


def _within(cell: CellInfo, values: np.ndarray, clusters: np.ndarray | None, strata: np.ndarray) -> float | None:
    """The correlation within clusters, of a mean over strata within these."""
    if clusters is None:
        return None
    if cell.aggregate == "macro":
        _, at = np.unique(strata, return_inverse=True)
        values = values - (np.bincount(at, weights=values) / np.bincount(at))[at]
    return correlation_within(values, clusters)
