"""What a run's cells come to: as it was summed up when the run ended, else made here of the answers that are durable.

A run that was killed never summed itself up; one that goes on has not yet, or has a sum of before.
"""

from __future__ import annotations

from msgspec import Struct

from steelyard.analysis.estimates import Context
from steelyard.analysis.stopped import Stopped, looks_by_cell, summarise_stopped
from steelyard.report.systems import SystemResult
from steelyard.store import Store
from steelyard.types import CellInfo, Estimate, RunInfo


class CellResult(Struct, frozen=True, kw_only=True):
    """One cell with every estimate that was computed for it; ``stopped``: how it ended, where it could end early.

    ``system``: what the models of a cascade did, where it is one. ``failure``: one of those that are warned of.
    """

    info: CellInfo
    estimates: dict[str, Estimate]
    stopped: Stopped | None = None
    system: SystemResult | None = None
    failure: str | None = None

    @property
    def is_skipped(self) -> bool:
        """Whether a cascade skipped it: nothing was asked on purpose."""
        return self.stopped is not None and self.stopped.is_skipped

    @property
    def is_dropped(self) -> bool:
        """Whether a cascade dropped it: it has a score of the items it was asked, and no place."""
        return self.stopped is not None and self.stopped.is_dropped

    @property
    def is_timed_indirectly(self) -> bool:
        """Whether its times hold those of another client than ours."""
        return self.info.settings.get("timing") == "indirect"

    def value(self, metric: str) -> float | None:
        """The value of a metric; ``None`` where it is unknown or does not apply."""
        estimate = self.estimates.get(metric)
        return None if estimate is None else estimate.value


def estimates_of(store: Store, run: RunInfo, info: CellInfo) -> tuple[Estimate, ...]:
    """Every estimate of one cell of the run."""
    assert info.id is not None
    if all(session.ended_at for session in store.sessions(run.id)[-1:]):
        kept = store.summary(info.id)
        if kept is not None:
            return kept
    looks = looks_by_cell(store.cells(run.id), store.looks(run.id)) if run.plan.get("stop") else {}
    return summarise_stopped(store.columns(info.id), Context(info=info), looks.get(info.id, ()))
