"""What ``compare`` shows: everything that is said of each pair of cells that stand against one another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from steelyard.analysis.compare import (
    CONFIDENCE,
    Family,
    Side,
    average_over_benchmarks,
    claim_level,
    compare_scores,
    grid_level,
    in_family,
    items_to_find,
    logarithm,
    p_by_interval,
    unshared_note,
    verdict,
)
from steelyard.analysis.compare_measures import MEASURES, compare_measure, without_figure_note
from steelyard.analysis.pairing import PROTOCOL, check_pairable, pair_scores
from steelyard.analysis.places import Ranking, rank
from steelyard.analysis.sentences import names, sentence
from steelyard.analysis.stopped import (
    LEANS,
    as_looked_at,
    as_looked_at_together,
    dropped_cells,
    early_end,
    looks_by_cell,
)
from steelyard.analysis.variates import compare_on_all_items
from steelyard.errors import UnknownName, UsageError
from steelyard.report.comparing.pairs import Pair, Question, pairs_of
from steelyard.report.stands import estimates_of
from steelyard.store import Store
from steelyard.types import CellInfo, Columns, Comparison, Estimate, RunInfo, Verdict

BESIDE = ("latency.p50", "ttft.p50", "output_tokens", "cost.per_request")
"""Shown beside a comparison of scores, where they are known."""
COULD_END = "the run could end by a difference, for which this interval does not allow"


class LeftOut(Struct, frozen=True, kw_only=True):
    """The names of the items that are not compared: asked on one side alone, or without a value on one side."""

    only_baseline: tuple[str, ...]
    only_candidate: tuple[str, ...]
    lost_baseline: tuple[str, ...]
    lost_candidate: tuple[str, ...]


class Compared(Struct, frozen=True, kw_only=True):
    """One pair with all that is said of it: the comparison asked for, the measures beside it, and what more would take.

    ``items_needed`` would find ``detect`` with a power of 80 %; ``usd_needed`` is what asking both sides as many costs.
    ``left_out`` names the items that are not compared, where there are any.
    """

    comparison: Comparison
    beside: tuple[Comparison, ...] = ()
    detect: float | None = None
    items_needed: int | None = None
    usd_needed: float | None = None
    left_out: LeftOut | None = None
    sides: Pair
    available: int

    @property
    def where(self) -> str:
        """The benchmark under the candidate's protocol, and under the baseline's where that is another."""
        (_, baseline), (_, candidate) = self.sides
        return candidate.label if baseline.label == candidate.label else f"{candidate.label} against {baseline.label}"


class Average(Struct, frozen=True, kw_only=True):
    """One candidate's mean difference to one baseline over several benchmarks, each weighing the same."""

    baseline: str
    candidate: str
    benchmarks: tuple[str, ...]
    difference: Estimate
    verdict: Verdict


class Comparisons(Struct, frozen=True, kw_only=True):
    """All pairs of one question. ``family`` says how many are judged together: a claim, or a grid one explores.

    ``level`` is that of each interval, for all of them.
    """

    question: Question
    runs: tuple[RunInfo, ...]
    pairs: tuple[Compared, ...]
    rankings: tuple[Ranking, ...] = ()
    averages: tuple[Average, ...] = ()
    family: Family = "claim"
    level: float = CONFIDENCE
    baseline: str = ""


def load_comparisons(
    store: Store, runs: Sequence[RunInfo], question: Question, reader: Reader | None = None
) -> Comparisons:
    """Read the cells of the runs and compare them as the question says.

    ``reader`` keeps what was read, for who asks about the same sides again.
    """
    if question.control_variate and question.metric in MEASURES:
        raise UsageError(f"--control-variate is for scores, and {question.metric} is none. Try: --metric accuracy")
    pairs = pairs_of(store, runs, question)
    for (_, baseline), (_, candidate) in pairs:
        check_pairable(baseline, candidate, across=question.across)
    reader = reader or Reader(store, question)
    family: Family = "grid" if question.metric not in MEASURES and _is_grid(pairs) else "claim"
    level = _level(reader, pairs, question, family)
    found = [_compared(reader, pair, question, family, level) for pair in pairs]
    judged = in_family([one.comparison for one in found], family)
    judged = [_looked_at(store, pair, comparison) for pair, comparison in zip(pairs, judged, strict=True)]
    is_alone = len({comparison.benchmark for comparison in judged}) == 1
    return Comparisons(
        question=question,
        runs=tuple(runs),
        pairs=tuple(_told(one, comparison, is_alone=is_alone) for one, comparison in zip(found, judged, strict=True)),
        rankings=tuple(_rankings(pairs, reader, question, _dropped(store, pairs))),
        averages=tuple(_averages(judged, question)),
        family=family,
        level=level,
        baseline=_baseline_words(runs, question, found),
    )


def comparisons_document(comparisons: Comparisons) -> dict[str, Any]:
    """The same as JSON-ready values."""
    document: dict[str, Any] = msgspec.to_builtins(comparisons)
    document["runs"] = [{"number": run.number, "id": run.id, "name": run.name} for run in comparisons.runs]
    for pair, entry in zip(comparisons.pairs, document["pairs"], strict=True):
        entry.pop("sides")
        entry["where"] = pair.where
    return document


class Reader:
    """Reads cells as sides of a comparison, each once."""

    def __init__(self, store: Store, question: Question) -> None:
        self._store = store
        self._question = question
        self._read: dict[tuple[int, str, str], Side] = {}

    def side(self, run: RunInfo, info: CellInfo) -> Side:
        """The cell with its columns."""
        assert info.id is not None
        key = (info.id, info.protocol, info.protocol_version)
        if key not in self._read:
            name = f"{info.model} ({info.protocol})" if PROTOCOL in self._question.across else info.model
            self._read[key] = Side(name=name, run=run.number, info=info, columns=self._columns(info))
        return self._read[key]

    def names(self, info: CellInfo, among: Sequence[int] | None = None) -> dict[int, str]:
        """What the items of the cell are called, by position; only those at the positions ``among``."""
        assert info.id is not None
        return self._store.names(info.id, among)

    def judged_items(self, info: CellInfo, metric: str) -> list[int]:
        """The positions of the items that the cell's grader judged by the metric, undecided ones too."""
        assert info.id is not None
        return self._store.judged_items(info.id, metric, **_grader(info))

    def _columns(self, info: CellInfo) -> Columns:
        assert info.id is not None
        return self._store.columns(info.id, **_grader(info))


def _grader(info: CellInfo) -> dict[str, Any]:
    """Whose scores a cell has: its own protocol's, or those that it was judged by again."""
    return {"grader": info.protocol, "grader_version": info.protocol_version} if info.asked_as else {}


def _is_grid(pairs: Sequence[Pair]) -> bool:
    """Several candidates on several benchmarks: a table one explores, not one claim."""
    candidates = {(run.number, cell.model) for _, (run, cell) in pairs}
    return len(candidates) > 1 and len({cell.label for _, (_, cell) in pairs}) > 1


def _level(reader: Reader, pairs: Sequence[Pair], question: Question, family: Family) -> float:
    """The level of each interval: in a grid it follows from how many are told apart, so they are tested before."""
    if family == "claim":
        return claim_level(len(pairs))
    return grid_level([_p(reader, pair, question) for pair in pairs])


def _p(reader: Reader, pair: Pair, question: Question) -> float | None:
    if question.control_variate:
        return _scores(reader, pair, question, "grid", CONFIDENCE).p_value
    baseline, candidate = (reader.side(*side) for side in pair)
    _check_metric(question.metric, baseline, candidate)
    return p_by_interval(baseline, candidate, question.metric)


def _scores(reader: Reader, pair: Pair, question: Question, family: Family, level: float) -> Comparison:
    baseline, candidate = (reader.side(*side) for side in pair)
    _check_metric(question.metric, baseline, candidate)
    of, margin = question.metric, question.margin
    if question.control_variate:
        return compare_on_all_items(baseline, candidate, of, confidence=level, margin=margin)
    is_grid = family == "grid"
    return compare_scores(baseline, candidate, of, confidence=level, margin=margin, by_interval=is_grid)


def _compared(reader: Reader, pair: Pair, question: Question, family: Family, level: float) -> Compared:
    baseline, candidate = (reader.side(*side) for side in pair)
    metric = question.metric
    if metric in MEASURES:
        comparison = compare_measure(baseline, candidate, metric, confidence=level, margin=question.margin)
        beside: tuple[Comparison, ...] = ()
        costs = [compare_measure(baseline, candidate, "cost.per_request")]
    else:
        comparison = _scores(reader, pair, question, family, level)
        measures = [compare_measure(baseline, candidate, name) for name in BESIDE]
        known = (one for one in measures if one.ratio is not None and one.ratio.value is not None)
        beside = tuple(_beside_scores(one, comparison, baseline, candidate) for one in known)
        costs = [one for one in beside if one.metric == "cost.per_request"]
    detect = _to_find(comparison, question)
    is_of_part = comparison.control_variate is not None
    needed = None if detect is None or is_of_part else items_to_find(comparison, detect)
    return Compared(
        comparison=comparison,
        beside=beside,
        detect=detect,
        items_needed=needed,
        usd_needed=_price(needed, baseline, candidate, costs),
        left_out=None if is_of_part or metric in MEASURES else _left_out(reader, baseline, candidate, metric),
        sides=pair,
        available=min(baseline.info.available, candidate.info.available),
    )


def _beside_scores(measure: Comparison, scores: Comparison, baseline: Side, candidate: Side) -> Comparison:
    """The measure, without a word on what it lacks where the scores say it: items not shared, or without a figure."""
    said = unshared_note(measure.pairing, baseline, candidate)
    if measure.pairing.n >= scores.pairing.n:
        said += without_figure_note(measure.metric, measure.pairing, baseline, candidate)
    return msgspec.structs.replace(measure, notes=tuple(note for note in measure.notes if note not in said))


def _left_out(reader: Reader, baseline: Side, candidate: Side, metric: str) -> LeftOut | None:
    """Read only where something is left out."""
    pair = pair_scores(candidate.columns, baseline.columns, metric)
    places = (pair.only_b, pair.only_a, pair.lost_b, pair.lost_a)
    if not any(map(len, places)):
        return None
    known = reader.names(baseline.info) | reader.names(candidate.info)
    named = [tuple(known[place] for place in some.tolist()) for some in places]
    return LeftOut(only_baseline=named[0], only_candidate=named[1], lost_baseline=named[2], lost_candidate=named[3])


def _check_metric(metric: str, *sides: Side) -> None:
    for side in sides:
        if metric not in side.columns.scores:
            raise UnknownName(f"metric of {side.info.label}", metric, [*side.columns.scores, *MEASURES])


def _to_find(comparison: Comparison, question: Question) -> float | None:
    """The difference whose cost is told: the one asked for, the margin, or where nothing was told the one seen."""
    asked = question.detect or question.margin
    return asked or (_seen(comparison) if comparison.verdict == "inconclusive" else None)


def _seen(comparison: Comparison) -> float | None:
    """The difference seen; of a ratio by how much the larger side is more."""
    if comparison.ratio is None:
        return comparison.difference.value
    seen = logarithm(comparison.ratio)
    return None if seen.low is None or seen.value is None else math.expm1(abs(seen.value))


def _price(items: int | None, baseline: Side, candidate: Side, costs: Sequence[Comparison]) -> float | None:
    """What asking both sides that many items costs, at the mean cost seen; ``None`` where a price is unknown."""
    if items is None or not costs or costs[0].of_baseline.value is None or costs[0].of_candidate.value is None:
        return None
    each = [(costs[0].of_baseline.value, baseline), (costs[0].of_candidate.value, candidate)]
    return items * sum((value or 0.0) * side.info.repeats for value, side in each)


def _told(compared: Compared, comparison: Comparison, *, is_alone: bool) -> Compared:
    """With the family's verdict, and in words; ``is_alone``: there is one benchmark, which need not be named."""
    words = sentence(comparison, compared.beside, where="" if is_alone else comparison.benchmark)
    notes = dict.fromkeys((*comparison.notes, *(note for one in compared.beside for note in one.notes)))
    told = msgspec.structs.replace(comparison, sentence=words, notes=tuple(notes))
    return msgspec.structs.replace(compared, comparison=told)


def _looked_at(store: Store, pair: Pair, comparison: Comparison) -> Comparison:
    """With the sides' own repeated intervals and a word on it, where a run could end by what it saw of itself."""
    (run, _), (other, _) = pair
    if not run.plan.get("stop") and not other.plan.get("stop"):
        return comparison
    kept = [estimates_of(store, side, info) if info.asked_as is None else () for side, info in pair]
    is_within = run.number == other.number
    rule = run.plan.get("stop") or {}
    if is_within and rule.get("rule") in ("compare", "anytime", "cascade"):
        looked_at = _look_between(store, pair, comparison)
        comparison = looked_at or comparison
        could_end = f"{COULD_END}: steelyard show {run.number}" if store.looks(run.id) else ""
        notes = [LEANS if looked_at else could_end]
    else:
        notes = [early_end(one.number, figures) or "" for one, figures in zip((run, other), kept, strict=True)]
    sides = comparison.of_baseline, comparison.of_candidate
    if comparison.control_variate is None:
        sides = as_looked_at(sides[0], kept[0]), as_looked_at(sides[1], kept[1])
    told = dict.fromkeys((*comparison.notes, *filter(None, notes)))
    return msgspec.structs.replace(comparison, of_baseline=sides[0], of_candidate=sides[1], notes=tuple(told))


def _look_between(store: Store, pair: Pair, comparison: Comparison) -> Comparison | None:
    """The comparison as the run's last look at the two had it, where they were looked at and this is about the same."""
    (run, baseline), (_, candidate) = pair
    if comparison.metric != candidate.scored[0] or comparison.control_variate is not None:
        return None
    taken = looks_by_cell(store.cells(run.id), store.looks(run.id)).get(candidate.id or 0, [])
    last = next((looks[-1] for looks in taken if looks[-1].against == baseline.model), None)
    return None if last is None else as_looked_at_together(comparison, last)


def _averages(judged: Sequence[Comparison], question: Question) -> Iterator[Average]:
    """Where one candidate stands against one baseline on several benchmarks, none of them twice (graded otherwise).

    Those of several candidates are one claim, so that their intervals hold together.
    """
    if question.control_variate:
        return
    groups: dict[tuple[str, int, str, int], list[Comparison]] = {}
    for one in judged:
        groups.setdefault((one.baseline, one.baseline_run, one.candidate, one.candidate_run), []).append(one)
    averaged = [group for group in groups.values() if _has_average(group)]
    for group in averaged:
        difference = average_over_benchmarks(group, confidence=claim_level(len(averaged)))
        assert difference is not None
        candidate, baseline = names(group[0])
        yield Average(
            baseline=baseline,
            candidate=candidate,
            benchmarks=tuple(one.benchmark for one in group),
            difference=difference,
            verdict=verdict(difference, margin=question.margin, better="higher"),
        )


def _has_average(group: Sequence[Comparison]) -> bool:
    is_once = len({one.benchmark.partition("@")[0] for one in group}) == len(group)
    return is_once and average_over_benchmarks(group) is not None


def _dropped(store: Store, pairs: Sequence[Pair]) -> set[int]:
    """The cells that a cascade dropped, of all runs that the pairs are of."""
    runs = {run.id for pair in pairs for run, _ in pair if run.plan.get("stop")}
    return {cell for run in runs for cell in dropped_cells(store.looks(run))}


def _rankings(pairs: Sequence[Pair], reader: Reader, question: Question, dropped: set[int]) -> Iterator[Ranking]:
    """Places where three or more stand on one benchmark; of two the comparison says it all.

    What a cascade dropped has none, nor has what has no score: the items of others are not narrowed to theirs.
    """
    if question.metric in MEASURES or question.control_variate:
        return
    is_of_one_run = len({run.id for pair in pairs for run, _ in pair}) == 1
    groups: dict[str, dict[tuple[int, str], Side]] = {}
    out: dict[str, list[str]] = {}
    unscored: dict[str, list[str]] = {}
    for pair in pairs:
        for run, info in pair:
            if info.is_floor:
                continue
            side = reader.side(run, info)
            name = side.name if is_of_one_run else f"{side.name} (#{run.number})"
            if info.id in dropped:
                out.setdefault(info.label, []).append(name)
            elif np.isnan(side.columns.scores[question.metric]).all():
                unscored.setdefault(info.label, []).append(name)
            else:
                groups.setdefault(info.label, {})[(run.number, side.name)] = side
    for label, group in groups.items():
        if len(group) > 2:
            ranking = rank(list(group.values()), question.metric)
            yield msgspec.structs.replace(
                ranking,
                dropped=tuple(dict.fromkeys(out.get(label, ()))),
                unscored=tuple(dict.fromkeys(unscored.get(label, ()))),
            )


def _baseline_words(runs: Sequence[RunInfo], question: Question, found: Sequence[Compared]) -> str:
    """Which side is the baseline, and why."""
    if len(runs) > 1:
        return f"run #{runs[0].number} {runs[0].name}, the first one named"
    names = list(dict.fromkeys(one.comparison.baseline for one in found))
    why = "the first named" if question.models else "the first of the run; the first --model would be it instead"
    return f"{', '.join(names)}, {why}"
