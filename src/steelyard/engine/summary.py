"""The end of a run: every cell's estimates, computed from its stored columns and kept beside it."""

from __future__ import annotations

from steelyard.analysis.estimates import Context
from steelyard.analysis.summary import summarise
from steelyard.engine.resources import added_up
from steelyard.store import Store


def summarise_run(store: Store, run_id: str) -> None:
    """Compute and keep the estimates of every cell."""
    resources = added_up([session.resources for session in store.sessions(run_id)])
    for info in store.cells(run_id):
        assert info.id is not None
        context = Context(info=info, resources=resources)
        store.set_summary(info.id, summarise(store.columns(info.id), context))
