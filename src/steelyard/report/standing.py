"""How a run stands while it goes on: the score of what is answered so far, which is provisional.

Counted are the first items of the order in which they are asked, up to the first one that is not judged yet. What came
in beyond it came in quickly, and quick answers are of another kind than slow ones. Where that order cannot be told from
the store, all that came in is counted, and the result says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from steelyard.analysis.accuracy import accuracy, micro
from steelyard.analysis.estimates import Context, headline
from steelyard.analysis.order import permutation
from steelyard.store import Store
from steelyard.types import CellInfo, Columns, Estimate, RunInfo

MOST_HELD_UP = 0.5
"""A larger part of what is done lies beyond the first gap: the order is not the one that was asked in."""


class Standing(Struct, frozen=True, kw_only=True):
    """The headline score of a cell so far. ``n_items`` of the ``items`` it means to ask are counted.

    ``is_prefix``: they are the first ones of its order, all of them; else those that happen to have come in.
    ``lost`` of them failed and have no score.
    """

    estimate: Estimate
    n_items: int
    items: int
    lost: int
    is_prefix: bool


def standing(store: Store, run: RunInfo, info: CellInfo) -> Standing | None:
    """How the cell stands, ``None`` before anything is judged."""
    assert info.id is not None
    columns = store.columns(info.id)
    is_judged = ~np.isnan(headline(columns))
    is_lost = np.asarray(columns.failure != "", dtype=bool)
    done = np.unique(columns.sample[is_judged | is_lost])
    if not is_judged.any():
        return None
    prefix = _complete_prefix(done, list(_orders(store, run, info)))
    counted = done if prefix is None else prefix
    is_counted = np.isin(columns.sample, counted)
    return Standing(
        estimate=_score(_only(columns, is_counted), Context(info=info)),
        n_items=len(counted),
        items=info.items,
        lost=len(np.unique(columns.sample[is_counted & is_lost])),
        is_prefix=prefix is not None,
    )


def _orders(store: Store, run: RunInfo, info: CellInfo) -> Iterator[list[int]]:
    """Every order in which the items may have been asked, by what the plan says."""
    if info.order == "file":
        yield list(range(info.items))
        return
    seed = run.plan.get("seed")
    if not isinstance(seed, int) or info.available < info.items:
        return
    yield permutation(info.available, count=info.items, seed=seed)
    strata = store.pages.strata_of_items(info.id or 0, info.available)
    if strata is not None and len(set(strata)) > 1:
        yield permutation(info.available, count=info.items, seed=seed, strata=strata)


def _complete_prefix(done: np.ndarray, orders: Sequence[Sequence[int]]) -> np.ndarray | None:
    """The positions before the first gap in that order which leaves out least; ``None`` where all leave out much."""
    found = max((_until_gap(done, order) for order in orders), key=len, default=None)
    return None if found is None or len(found) < (1 - MOST_HELD_UP) * len(done) else found


def _until_gap(done: np.ndarray, order: Sequence[int]) -> np.ndarray:
    positions = np.asarray(order, dtype=np.int64)
    gaps = np.flatnonzero(~np.isin(positions, done))
    return positions[: gaps[0]] if len(gaps) else positions


def _only(columns: Columns, is_counted: np.ndarray) -> Columns:
    scores = {name: np.where(is_counted, values, np.nan) for name, values in columns.scores.items()}
    return msgspec.structs.replace(columns, scores=scores)


def _score(columns: Columns, context: Context) -> Estimate:
    """The headline, over strata only once each of them has an answer."""
    whole = accuracy("accuracy", columns, context)
    return micro("accuracy", columns, context) if whole.value is None else whole
