"""What a run is held against later: its cells' figures request by request, apart from the store and from all texts.

A snapshot holds item ids and numbers only, so it may be committed to a repository, also for a confidential benchmark.
Left out are the gaps between tokens: they are most of the bytes, so ITL is compared while both runs are in the store.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from steelyard.types import CellInfo, Columns, Estimate

WHOLE = ("sample", "repeat", "tries")
CLAIMS = ("cached", "answered_empty")
WORDS = ("failure", "stop_reason", "flags")
TIMES = ("queued_s", "ttft_s", "reasoned_s", "total_s", "tpot_s")
STAMPS = ("started_s", "ended_s")
AMOUNTS = (
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_usd",
    "saved_usd",
)


class Requests(Struct, frozen=True, kw_only=True):
    """The requests of a cell as parallel lists; ``item`` is the sample's id. Unknown is ``None``.

    Snapshots of older versions have no ``reasoned_s``.
    """

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
    reasoned_s: list[float | None] = []
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


def _as_columns(kept: Requests) -> Columns:
    n = len(kept.item)
    strata = sorted(set(kept.stratum))
    places = {name: place for place, name in enumerate(strata)}
    unknown_cost = kept.superseded_cost_usd is None
    kinds: dict[str, Any] = dict.fromkeys(WHOLE, int) | dict.fromkeys(CLAIMS, bool) | dict.fromkeys(WORDS, object)
    kinds |= dict.fromkeys((*TIMES, *STAMPS, *AMOUNTS), float)
    arrays: dict[str, Any] = {name: np.array(getattr(kept, name), dtype=kind) for name, kind in kinds.items()}
    if not kept.reasoned_s:
        arrays["reasoned_s"] = np.full(n, np.nan)
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
