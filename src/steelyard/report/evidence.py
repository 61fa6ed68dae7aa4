"""All that a sent report is made of, read from the store once: results, models side by side, spending, provenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from steelyard.analysis.bench import Bench, Contender, Settled
from steelyard.analysis.compare import claim_level, compare_scores, in_family
from steelyard.analysis.compare_measures import compare_measure
from steelyard.analysis.estimates import is_answered
from steelyard.analysis.findings import findings
from steelyard.analysis.margins import Cell
from steelyard.analysis.pairing import differing_fields
from steelyard.analysis.recommendations import Recommendation, recommendations
from steelyard.analysis.telling import Finding
from steelyard.report.comparing.verdict import cells_of_snapshot
from steelyard.report.provenance import provenance_document
from steelyard.report.results import Results, load_results, warnings
from steelyard.report.stands import CellResult
from steelyard.report.stopping import is_decided, question_line, words_of
from steelyard.store import Store
from steelyard.store.rows.baselines import SUFFIX, Baseline, read_baseline
from steelyard.store.transfer.taking import reported_models
from steelyard.types import CellInfo, Columns, Comparison, RunInfo

BY_A_DIFFERENCE = ("compare", "anytime", "cascade")
SINCE = ("latency.p50", "cost.per_request")


class Evidence(Struct, frozen=True, kw_only=True):
    """One run, or several that are shown on one page. ``names`` tells what the page calls each cell, by its id.

    ``provenance`` has a document a run; ``warnings`` are what a reader must know before believing a number.
    """

    runs: tuple[RunInfo, ...]
    results: tuple[Results, ...]
    benches: tuple[Bench, ...]
    provenance: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()

    @property
    def models(self) -> list[str]:
        """Every model by the name the page calls it, the best of the first benchmark first; without floors."""
        return list(dict.fromkeys(one.name for bench in self.benches for one in bench.models))

    @property
    def is_confidential(self) -> bool:
        """Whether any benchmark's authors ask that its items are not shown."""
        return any(one.side.info.is_confidential for bench in self.benches for one in (*bench.models, *bench.floors))


def load_evidence(store: Store, runs: Sequence[RunInfo], *, baseline: str | None = None) -> Evidence:
    """Read the runs' cells, estimates, columns and provenance, and say what they show.

    ``baseline`` is a name, NAME@VERSION or a file; what changed since is among the findings.
    """
    results = tuple(load_results(store, run) for run in runs)
    named = _names(results)
    groups: dict[str, list[Contender]] = {}
    settled: dict[str, list[Settled]] = {}
    for one in results:
        for cell in one.cells:
            if cell.is_skipped:
                continue
            contender = _contender(store, one.run, cell, named[_key(one.run, cell)])
            groups.setdefault(cell.info.label, []).append(contender)
        for label in one.benchmarks():
            settled.setdefault(label, []).extend(_settled(one, label))
    benches = tuple(_bench(label, group, settled[label]) for label, group in groups.items())
    doubts = tuple(dict.fromkeys(text for one in results for text in warnings(one)))
    changes = () if baseline is None else since(store, benches, baseline)
    return Evidence(
        runs=tuple(runs),
        results=results,
        benches=benches,
        provenance=tuple(provenance_document(store, run) for run in runs),
        warnings=doubts,
        findings=tuple(findings(benches, changes, doubts)),
        recommendations=tuple(recommendations(benches)),
    )


def since(store: Store, benches: Sequence[Bench], baseline: str) -> tuple[Comparison, ...]:
    """Each model against itself in the baseline: its score, median latency and cost a request, all judged together."""
    content = find_baseline(store, baseline).content
    kept = {(cell.info.model, cell.info.label): cell for cell in cells_of_snapshot(content)}
    met = [(kept.get((one.name, bench.label)), one) for bench in benches for one in bench.models]
    pairs = [
        (cell.side, one.side)
        for cell, one in met
        if cell is not None and one.side.run != cell.run and not differing_fields(cell.info, one.side.info)
    ]
    level = claim_level(len(pairs))
    scores = in_family([compare_scores(*pair, confidence=level) for pair in pairs], "claim")
    measures = [compare_measure(*pair, name, confidence=level) for pair in pairs for name in SINCE]
    return (*scores, *(one for one in measures if one.ratio is not None and one.ratio.value is not None))


def find_baseline(store: Store, name: str) -> Baseline:
    """A baseline of the store, or one in a file."""
    path = Path(name)
    return read_baseline(path) if path.suffix == SUFFIX else store.baselines.get(name)


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


def _settled(results: Results, label: str) -> Iterator[Settled]:
    """What the looks said, where the run could end by a difference."""
    rule = results.run.plan.get("stop") or {}
    if rule.get("rule") not in BY_A_DIFFERENCE:
        return
    told: set[frozenset[str]] = set()
    for cell in results.of_benchmark(label):
        for look in () if cell.stopped is None else cell.stopped.questions:
            pair = frozenset((cell.info.model, look.against or ""))
            if look.against is not None and look.verdict != "skipped" and pair not in told:
                told.add(pair)
                words = question_line(cell.info.model, look)
                yield Settled(sentence=words, method=f"stopping rule {words_of(rule)}", is_told=is_decided(look))


def _bench(label: str, group: Sequence[Contender], settled: Sequence[Settled]) -> Bench:
    models = [one for one in group if not one.side.info.is_floor]
    floors = [one for one in group if one.side.info.is_floor]
    return Bench(label, models, floors, settled=settled)


def _contender(store: Store, run: RunInfo, cell: CellResult, name: str) -> Contender:
    sessions = store.sessions(run.id)
    return Contender(
        cell=Cell(
            run=run.number,
            run_name=run.name,
            status=run.status,
            info=msgspec.structs.replace(cell.info, model=name),
            columns=columns_of(store, cell.info),
            estimates=tuple(cell.estimates.values()),
            reported=reported_models(store, cell.info.id or 0),
            machine=(sessions[0].provenance.get("machine") or {}) if sessions else {},
        ),
        estimates=cell.estimates,
        failure=cell.failure,
        is_dropped=cell.is_dropped,
    )


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
