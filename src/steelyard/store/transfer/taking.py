"""A snapshot of a run, taken: its cells without what belongs to the store alone, or could quote a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from steelyard.errors import UsageError
from steelyard.store.store import Store
from steelyard.store.transfer.snapshots import (
    AMOUNTS,
    CLAIMS,
    STAMPS,
    TIMES,
    WHOLE,
    WORDS,
    KeptCell,
    Requests,
    Snapshot,
)
from steelyard.types import CellInfo, Columns, Estimate, RunInfo

TIME_DIGITS, STAMP_DIGITS = 6, 3


def snapshot(store: Store, run: RunInfo) -> Snapshot:
    """The run as it stands in the store, with what other graders made of its answers."""
    sessions = store.sessions(run.id)
    origin = sessions[0].provenance if sessions else {}
    cells = [(info, _summary(store, run, info)) for info in store.cells(run.id)]
    return Snapshot(
        run=run.id,
        number=run.number,
        name=run.name,
        created_at=run.created_at,
        status=run.status,
        machine=origin.get("machine") or {},
        steelyard=origin.get("steelyard"),
        cells=tuple(_kept(store, info, estimates) for info, estimates in (*cells, *store.gradings(run.id))),
    )


def _summary(store: Store, run: RunInfo, info: CellInfo) -> tuple[Estimate, ...]:
    """What a baseline holds outlives the run, so a run that was stopped while it summed itself up does so first."""
    found = store.summary(info.id or 0)
    if found is None:
        raise UsageError(
            f"run #{run.number} was stopped before it had summed itself up. "
            f"Try: steelyard run --resume {run.number}, which asks nothing twice"
        )
    return found


def _kept(store: Store, info: CellInfo, estimates: Sequence[Estimate]) -> KeptCell:
    assert info.id is not None
    grader = {"grader": info.protocol, "grader_version": info.protocol_version} if info.asked_as else {}
    columns = store.columns(info.id, with_names=True, **grader)
    return KeptCell(
        info=without_texts(info),
        estimates=tuple(estimates),
        reported=reported_models(store, info.id),
        requests=_as_requests(columns),
    )


def reported_models(store: Store, cell: int) -> tuple[str, ...]:
    """The models that the service said it was, over all answers of the cell."""
    return tuple(sorted({one["model"] for one in store.reported(cell) if one["model"]}))


def without_texts(info: CellInfo) -> CellInfo:
    """The cell apart from its store; of a confidential benchmark no setting that could quote an item."""
    settings = info.settings
    if info.is_confidential:
        model = {key: value for key, value in settings.get("model", {}).items() if key not in ("system", "extra")}
        judge = {"judge_origin": settings["judge_origin"]} if "judge_origin" in settings else {}
        settings = {"model": model, **judge}
    return msgspec.structs.replace(info, id=None, settings=settings)


def _as_requests(columns: Columns) -> Requests:
    lists: dict[str, Any] = {name: _numbers(getattr(columns, name), TIME_DIGITS) for name in TIMES}
    lists |= {name: _numbers(getattr(columns, name), STAMP_DIGITS) for name in STAMPS}
    lists |= {name: _numbers(getattr(columns, name)) for name in AMOUNTS}
    lists |= {name: getattr(columns, name).tolist() for name in (*WHOLE, *CLAIMS)}
    lists |= {name: [str(word) for word in getattr(columns, name)] for name in WORDS}
    return Requests(
        item=list(columns.names),
        stratum=[columns.strata[code] for code in columns.stratum],
        cluster=_from_zero(columns.cluster),
        session=_from_zero(columns.session),
        scores={metric: _numbers(values) for metric, values in columns.scores.items()},
        parsed={metric: values.tolist() for metric, values in columns.parsed.items()},
        superseded=columns.superseded,
        superseded_cost_usd=None if np.isnan(columns.superseded_cost_usd) else columns.superseded_cost_usd,
        **lists,
    )


def _numbers(values: np.ndarray, digits: int | None = None) -> list[float | None]:
    figures = values if digits is None else np.round(values, digits)
    return [None if value != value else value for value in figures.astype(float).tolist()]


def _from_zero(codes: np.ndarray) -> list[int]:
    """The codes as small numbers that say nothing of the store; -1 stays."""
    known = {-1: -1}
    for code in codes.tolist():
        known.setdefault(code, len(known) - 1)
    return [known[code] for code in codes.tolist()]
