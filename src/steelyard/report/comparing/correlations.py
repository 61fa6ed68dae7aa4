"""What goes together with being right, model by model, and which models no other one beats in everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from rich.table import Table

from steelyard.analysis.compare import Side
from steelyard.analysis.correlations import Correlation, Standing, across, adjusted, front, unscored_share, within
from steelyard.analysis.pairing import check_pairable
from steelyard.analysis.wording import PER_THOUSAND
from steelyard.report.comparing.comparison import Reader
from steelyard.report.comparing.pairs import Question
from steelyard.report.console import console, new_table
from steelyard.report.results import load_results
from steelyard.report.stands import CellResult
from steelyard.store import Store
from steelyard.types import CellInfo, RunInfo


class Front(Struct, frozen=True, kw_only=True):
    """The models of one benchmark as points of accuracy, median latency and cost a request."""

    benchmark: str
    points: tuple[Standing, ...]


class Entry(Struct, frozen=True, kw_only=True):
    """One model on one benchmark: its summary, and its items."""

    cell: CellResult
    side: Side


class Correlations(Struct, frozen=True, kw_only=True):
    """All correlations of some runs, adjusted together, and the fronts."""

    runs: tuple[int, ...]
    correlations: tuple[Correlation, ...]
    fronts: tuple[Front, ...]


def load_correlations(store: Store, runs: Sequence[RunInfo], question: Question) -> Correlations:
    """Compute every correlation of the runs' models and benchmarks; models of several runs stand side by side.

    Refused where two of them were not asked the same: a front of them would say nothing.
    """
    reader = Reader(store, question)
    entries = [
        Entry(cell=cell, side=_named(reader.side(run, cell.info), is_alone=len(runs) == 1))
        for run in runs
        for cell in load_results(store, run).cells
        if _is_asked_about(cell.info, question)
    ]
    labels = dict.fromkeys(one.cell.info.label for one in entries)
    groups = {label: [one for one in entries if one.cell.info.label == label] for label in labels}
    for first, *others in groups.values():
        for other in others:
            check_pairable(first.cell.info, other.cell.info)
    fronts = [Front(benchmark=label, points=tuple(front(_points(group)))) for label, group in groups.items()]
    found = [one for entry in entries for one in within(entry.side)]
    found += [one for each in fronts for one in across(each.benchmark, each.points)]
    return Correlations(
        runs=tuple(run.number for run in runs), correlations=tuple(adjusted(found)), fronts=tuple(fronts)
    )


def correlations_document(found: Correlations) -> dict[str, Any]:
    """The same as JSON-ready values."""
    document: dict[str, Any] = msgspec.to_builtins(found)
    return document


def print_correlations(found: Correlations) -> None:
    """Print a table of correlations and the front of each benchmark."""
    out = console()
    if not found.correlations:
        out.print("nothing to correlate: no latency, length or cost beside the scores")
    else:
        out.print("Going together with a right answer (association, not cause):")
        out.print(_table(found.correlations))
        out.print(_family_words(found.correlations))
    for one in found.fronts:
        if len(one.points) > 1:
            out.print()
            out.print(_front_table(one))


def _is_asked_about(info: CellInfo, question: Question) -> bool:
    return (
        info.asked_as is None
        and not info.is_floor
        and (not question.models or info.model in question.models)
        and question.benchmark in (None, info.benchmark, info.label)
    )


def _named(side: Side, *, is_alone: bool) -> Side:
    """With its run, where there are several."""
    return side if is_alone else msgspec.structs.replace(side, name=f"{side.name} (#{side.run})")


def _points(entries: Sequence[Entry]) -> list[Standing]:
    return [
        Standing(
            model=one.side.name,
            accuracy=one.cell.value("accuracy"),
            latency_s=one.cell.value("latency.p50"),
            cost_usd=one.cell.value("cost.per_request"),
            unscored=unscored_share(one.side),
        )
        for one in entries
    ]


def _table(correlations: Sequence[Correlation]) -> Table:
    table = new_table("benchmark", "model", "figure", "r (95 %)", "n", "p", "")
    for one in correlations:
        figure = one.figure if one.given is None else f"{one.figure}, at equal {one.given}"
        p = "–" if one.adjusted_p is None else f"{one.adjusted_p:.2g}"  # noqa: RUF001 - a dash for what is not known
        note = " ".join(filter(None, ("*" if one.is_told else "", "" if one.r.status == "ok" else one.r.status)))
        table.add_row(*(one.benchmark, one.model or "models", figure, _r(one), f"{one.r.n:,}", p, note))
    return table


def _family_words(correlations: Sequence[Correlation]) -> str:
    """Over how many p is adjusted; what has none counts as found to be nothing."""
    size = len(correlations)
    without = sum(one.p is None for one in correlations)
    if without == size:
        return "None of them has a p."
    counted_too = f", of which {without} without a p count as nothing found" if without else ""
    return f"p is Benjamini and Hochberg's over all {size}{counted_too}; * marks those at 10 %."


def _r(one: Correlation) -> str:
    if one.r.value is None:
        return "–"  # noqa: RUF001 - a dash for what is not known
    text = f"{one.r.value:+.2f}"
    return text if one.r.low is None or one.r.high is None else f"{text} ({one.r.low:+.2f} to {one.r.high:+.2f})"


def _place(point: Standing) -> str:
    if point.accuracy is None:
        return "not placed: it has no score"
    if point.is_partial:
        return f"not placed: {100 * point.unscored:.2g} % of its answers have no score"
    if not point.is_placed:
        return "not placed: no time and no cost beside the score"
    return "on the front" if point.beaten_by is None else f"{point.beaten_by} is as good or better in all known of both"


def _front_table(one: Front) -> Table:
    table = new_table(one.benchmark, "accuracy", "latency P50", PER_THOUSAND["cost.per_request"], "")
    for point in sorted(one.points, key=lambda point: -(point.accuracy or 0.0)):
        place = _place(point)
        shown = (
            "unknown" if point.accuracy is None else f"{100 * point.accuracy:.1f} %",
            "unknown" if point.latency_s is None else f"{point.latency_s:.3g} s",
            "unknown" if point.cost_usd is None else f"{1000 * point.cost_usd:.3g} USD",
        )
        table.add_row(*(point.model, *shown, place))
    return table
