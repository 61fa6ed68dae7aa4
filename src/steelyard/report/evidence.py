"""All that a sent report is made of, read from the store once: results, models side by side, spending, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from steelyard.analysis.bench import Bench, Contender
from steelyard.analysis.compare import Side
from steelyard.analysis.estimates import is_answered
from steelyard.report.provenance import provenance_document
from steelyard.report.results import CellResult, Results, load_results, warnings
from steelyard.store import Store
from steelyard.types import CellInfo, Columns, RunInfo

IMPORTED = "import "
OF_SENDING = ("reliability", "requests_per_second", "tokens_per_second", "api_calls")
"""What says nothing of answers that were made elsewhere: nothing was sent for them."""


class Evidence(Struct, frozen=True, kw_only=True):
    """One run, or several that are shown on one page. ``names`` tells what the page calls each cell, by its id.

    ``provenance`` has a document a run; ``warnings`` are what a reader must know before believing a number.
    """

    runs: tuple[RunInfo, ...]
    results: tuple[Results, ...]
    benches: tuple[Bench, ...]
    provenance: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]

    @property
    def models(self) -> list[str]:
        """Every model by the name the page calls it, the best of the first benchmark first; without floors."""
        return list(dict.fromkeys(one.name for bench in self.benches for one in bench.models))

    @property
    def is_confidential(self) -> bool:
        """Whether any benchmark's authors ask that its items are not shown."""
        return any(one.side.info.is_confidential for bench in self.benches for one in (*bench.models, *bench.floors))


def load_evidence(store: Store, runs: Sequence[RunInfo]) -> Evidence:
    """Read the runs' cells, estimates, columns and provenance."""
    results = tuple(load_results(store, run) for run in runs)
    named = _names(results)
    groups: dict[str, list[Contender]] = {}
    for one in results:
        for cell in one.cells:
            contender = _contender(store, one.run, cell, named[_key(one.run, cell)])
            groups.setdefault(cell.info.label, []).append(contender)
    return Evidence(
        runs=tuple(runs),
        results=results,
        benches=tuple(_bench(label, group) for label, group in groups.items()),
        provenance=tuple(provenance_document(store, run) for run in runs),
        warnings=tuple(dict.fromkeys(text for one in results for text in warnings(one))),
    )


def columns_of(store: Store, info: CellInfo) -> Columns:
    """The cell's columns, as its own grader judged, or the one that graded the answers again."""
    if not info.asked_as:
        return store.columns(info.id or 0)
    return store.columns(info.id or 0, grader=info.protocol, grader_version=info.protocol_version)


def times_in_order(columns: Columns) -> np.ndarray:
    """The seconds of every answer that was timed in this run, in the order in which they were sent."""
    timed = is_answered(columns) & ~columns.cached & ~np.isnan(columns.total_s)
    order = np.argsort(columns.started_s[timed], kind="stable")
    return np.asarray(columns.total_s[timed][order])


def _bench(label: str, group: Sequence[Contender]) -> Bench:
    models = [one for one in group if not one.side.info.is_floor]
    floors = [one for one in group if one.side.info.is_floor]
    return Bench(label, models, floors)


def _contender(store: Store, run: RunInfo, cell: CellResult, name: str) -> Contender:
    columns = columns_of(store, cell.info)
    estimates = cell.estimates
    if cell.info.origin.startswith(IMPORTED):
        estimates = {key: one for key, one in estimates.items() if key not in OF_SENDING}
    return Contender(side=Side(name=name, run=run.number, info=cell.info, columns=columns), estimates=estimates)


def _key(run: RunInfo, cell: CellResult) -> tuple[str, str, str]:
    return (run.id, cell.info.model, cell.info.label)


def _names(results: Sequence[Results]) -> dict[tuple[str, str, str], str]:
    """A model's own name, with its run's number where two runs have one of that name on a benchmark."""
    keys = {_key(one.run, cell): one.run for one in results for cell in one.cells}
    seen: dict[tuple[str, str], set[str]] = {}
    for run_id, model, label in keys:
        seen.setdefault((model, label), set()).add(run_id)
    twice = {model for (model, _), ids in seen.items() if len(ids) > 1}
    return {key: f"{key[1]} (#{run.number})" if key[1] in twice else key[1] for key, run in keys.items()}
