"""What a run's cells come to: as it was summed up when the run ended, else made here of the answers that are durable.

A run that was killed never summed itself up; one that goes on has not yet, or has a sum of before.
"""

from __future__ import annotations

from steelyard.analysis.estimates import Context
from steelyard.analysis.stopped import looks_by_cell, summarise_stopped
from steelyard.store import Store
from steelyard.types import CellInfo, Estimate, RunInfo


def estimates_of(store: Store, run: RunInfo, info: CellInfo) -> tuple[Estimate, ...]:
    """Every estimate of one cell of the run."""
    assert info.id is not None
    if all(session.ended_at for session in store.sessions(run.id)[-1:]):
        kept = store.summary(info.id)
        if kept is not None:
            return kept
    looks = looks_by_cell(store.cells(run.id), store.looks(run.id)) if run.plan.get("stop") else {}
    return summarise_stopped(store.columns(info.id), Context(info=info), looks.get(info.id, ()))
