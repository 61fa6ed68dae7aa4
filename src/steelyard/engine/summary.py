"""The end of a run: every cell's estimates, computed from its stored columns and kept beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from steelyard.analysis.estimates import Context
from steelyard.analysis.stopped import looks_by_cell, summarise_stopped
from steelyard.engine.schedule.cascade import would_have_cost
from steelyard.engine.weight.resources import added_up
from steelyard.store import Store
from steelyard.types import CellInfo, Estimate, Look


def forget_summary(store: Store, run_id: str) -> None:
    """A sum of before counts no more: whoever looks until there is a new one reads the answers."""
    for info in store.cells(run_id):
        assert info.id is not None
        store.set_summary(info.id, None)


def summarise_run(store: Store, run_id: str, is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Compute and keep the estimates of every cell, for as long as they are wanted."""
    resources = added_up([session.resources for session in store.sessions(run_id)])
    cells = store.cells(run_id)
    looks = looks_by_cell(cells, store.looks(run_id))
    for info in cells:
        if not is_wanted():
            return
        assert info.id is not None
        context, series = Context(info=info, resources=resources), looks.get(info.id, [])
        forecast = _forecast(store, info, cells, series)
        store.set_summary(info.id, summarise_stopped(store.columns(info.id), context, series, forecast))


def _forecast(
    store: Store, info: CellInfo, cells: Sequence[CellInfo], series: Sequence[Sequence[Look]]
) -> Estimate | None:
    """What a cell that was skipped would have cost; ``None`` where it was not, and where that is unknown."""
    cheaper = {looks[-1].against for looks in series if looks[-1].verdict == "skipped"}
    for one in cells:
        if one.model in cheaper and one.label == info.label:
            assert one.id is not None
            return would_have_cost(info, one, store.columns(one.id))
    return None
