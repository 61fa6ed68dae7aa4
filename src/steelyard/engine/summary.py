"""The end of a run: every cell's estimates, computed from its stored columns and kept beside it."""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.analysis.estimates import Context
from steelyard.analysis.summary import summarise
from steelyard.store import Store
from steelyard.types import SessionInfo

ADDED_UP = ("wall_s", "cpu_s", "model_cpu_s", "doubtful_usd", "doubtful_tries")


def summarise_run(store: Store, run_id: str) -> None:
    """Compute and keep the estimates of every cell."""
    resources = over_sessions(store.sessions(run_id))
    for info in store.cells(run_id):
        assert info.id is not None
        context = Context(info=info, resources=resources)
        store.set_summary(info.id, summarise(store.columns(info.id), context))


def over_sessions(sessions: Sequence[SessionInfo]) -> dict[str, float]:
    """Times added up and peaks maximised over the stretches of a run."""
    total: dict[str, float] = {}
    for session in sessions:
        for name, value in session.resources.items():
            before = total.get(name, 0.0)
            total[name] = before + value if name in ADDED_UP else max(before, value)
    return total
