"""What a run is held against later: its cells' figures request by request, apart from the store and from all texts.

A snapshot holds item ids and numbers only, so it may be committed to a repository, also for a confidential benchmark.
Left out are the gaps between tokens: they are most of the bytes, so ITL is compared while both runs are in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct

from steelyard.errors import UsageError
from steelyard.types import CellInfo, Columns, Estimate, RunInfo

if TYPE_CHECKING:
    from steelyard.store.store import Store

WHOLE = ("sample", "repeat", "tries")
CLAIMS = ("cached", "answered_empty")
WORDS = ("failure", "stop_reason", "flags")
TIMES = ("queued_s", "ttft_s", "total_s", "tpot_s")
STAMPS = ("started_s", "ended_s")
AMOUNTS = (
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_usd",
    "saved_usd",
)
TIME_DIGITS, STAMP_DIGITS = 6, 3


class Requests(Struct, frozen=True, kw_only=True):
    """The requests of a cell as parallel lists; ``item`` is the sample's id. Unknown is ``None``."""

    item: list[str]
    sample: list[int]
    repeat: list[int]
    stratum: list[str]
    cluster: list[int]
    session: list[int]
    tries: list[int]
    cached: list[bool]
    answered_empty: list[bool]
    failure: list[str]
    stop_reason: list[str]
    flags: list[str]
    started_s: list[float | None]
    ended_s: list[float | None]
    queued_s: list[float | None]
    ttft_s: list[float | None]
    total_s: list[float | None]
    tpot_s: list[float | None]
    input_tokens: list[float | None]
    output_tokens: list[float | None]
    cached_input_tokens: list[float | None]
    reasoning_tokens: list[float | None]
    cost_usd: list[float | None]
    saved_usd: list[float | None]
    scores: dict[str, list[float | None]]
    parsed: dict[str, list[bool]]
    superseded: int = 0
    superseded_cost_usd: float | None = 0.0


class KeptCell(Struct, frozen=True, kw_only=True):
    """One cell of a snapshot. ``reported`` are the models that the service said it was."""

    info: CellInfo
    estimates: tuple[Estimate, ...]
    reported: tuple[str, ...] = ()
    requests: Requests

    def columns(self) -> Columns:
        """The cell as analysis reads it; without gaps between tokens and without what a judge took."""
        return _as_columns(self.requests)

    def estimate(self, metric: str) -> Estimate | None:
        """What was computed of the whole cell for a metric."""
        return next((estimate for estimate in self.estimates if estimate.metric == metric), None)


class Snapshot(Struct, frozen=True, kw_only=True):
    """A run's figures. ``machine`` is where it was measured: times of two machines are not compared."""

    run: str
    number: int
    name: str
    created_at: str
    status: str
    machine: dict[str, Any] = {}
    steelyard: str | None = None
    cells: tuple[KeptCell, ...]

    @property
    def called(self) -> str:
        """How a sentence names it."""
        return f"run #{self.number} ({self.name}, {self.created_at[:10]})"


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


def _as_columns(kept: Requests) -> Columns:
    n = len(kept.item)
    strata = sorted(set(kept.stratum))
    places = {name: place for place, name in enumerate(strata)}
    unknown_cost = kept.superseded_cost_usd is None
    kinds: dict[str, Any] = dict.fromkeys(WHOLE, int) | dict.fromkeys(CLAIMS, bool) | dict.fromkeys(WORDS, object)
    kinds |= dict.fromkeys((*TIMES, *STAMPS, *AMOUNTS), float)
    arrays: dict[str, Any] = {name: np.array(getattr(kept, name), dtype=kind) for name, kind in kinds.items()}
    return Columns(
        names=tuple(kept.item),
        stratum=np.array([places[name] for name in kept.stratum], dtype=int),
        strata=tuple(strata),
        cluster=np.array(kept.cluster, dtype=int),
        session=np.array(kept.session, dtype=int),
        answer=np.zeros(n, dtype=int),
        gaps_s=np.array([]),
        gap_starts=np.zeros(n + 1, dtype=np.int64),
        scores={metric: np.array(values, dtype=float) for metric, values in kept.scores.items()},
        parsed={metric: np.array(values, dtype=bool) for metric, values in kept.parsed.items()},
        superseded=kept.superseded,
        superseded_cost_usd=float("nan") if unknown_cost else float(kept.superseded_cost_usd or 0.0),
        **arrays,
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
