"""A metric over the runs of a store: which runs count, and the series in words and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from steelyard.analysis.sentences import named
from steelyard.analysis.stopped import early_end
from steelyard.analysis.trend import Observed, Point, Series, trends, weighed_items
from steelyard.analysis.wording import change_written, written
from steelyard.errors import UnknownName, UsageError
from steelyard.report.console import console, new_table
from steelyard.report.stands import estimates_of
from steelyard.store import Store
from steelyard.types import CellInfo, Estimate, RunInfo

FINISHED = ("done", "budget")
MOSTLY_CACHED = 0.05
ARROWS = {"up": "↑ up", "down": "↓ down", "flat": "→ flat", "unknown": "no change detected"}


class Trends(Struct, frozen=True, kw_only=True):
    """Every series of a metric, and how many runs were left out: unfinished, or answered by earlier ones."""

    metric: str
    series: tuple[Series, ...]
    unfinished: int
    reused: int


def load_trends(
    store: Store,
    metric: str,
    *,
    by: Literal["run", "day", "week"] = "run",
    model: str | None = None,
    benchmark: str | None = None,
    margin: float | None = None,
    most: int | None = None,
) -> Trends:
    """The series of a metric over the store's finished runs, the newest ``most`` of them.

    A run that used answers of earlier ones is no new observation, so it is left out.
    """
    runs = store.runs()
    finished = [run for run in runs if run.status in FINISHED][:most]
    cells = [
        (run, info)
        for run in reversed(finished)
        for info in store.cells(run.id)
        if not info.is_floor and model in (None, info.model) and benchmark in (None, info.benchmark, info.label)
    ]
    if not cells:
        raise UsageError(_nothing(store, finished, model, benchmark))
    summaries = [{one.metric: one for one in estimates_of(store, run, info)} for run, info in cells]
    if not any(metric in summary for summary in summaries):
        raise UnknownName("metric", metric, {name for summary in summaries for name in summary})
    kept = [
        (run, info, summary)
        for (run, info), summary in zip(cells, summaries, strict=True)
        if metric in summary and not _is_reused(summary)
    ]
    runs_of = Counter((info.model, info.label) for _, info, _ in kept)
    observed = [
        _observed(store, run, info, summary, metric, is_alone=runs_of[info.model, info.label] == 1)
        for run, info, summary in kept
    ]
    return Trends(
        metric=metric,
        series=tuple(trends(metric, observed, by=by, margin=margin)),
        unfinished=sum(run.status not in FINISHED for run in runs),
        reused=len({run.id for (run, _), summary in zip(cells, summaries, strict=True) if _is_reused(summary)}),
    )


def _nothing(store: Store, finished: Sequence[RunInfo], model: str | None, benchmark: str | None) -> str:
    if not finished:
        return "no finished run yet. Try: steelyard run starter -m local/smollm2-135m"
    infos = [info for run in finished for info in store.cells(run.id)]
    known = sorted({f"{info.model} on {info.label}" for info in infos})
    wanted = " on ".join(filter(None, (model or "any model", benchmark)))
    return f"no run of {wanted}. Known: {', '.join(known[:12])}"


def _is_reused(summary: dict[str, Estimate]) -> bool:
    cached, answered = (summary.get(name) for name in ("cached", "answered"))
    if cached is None or answered is None or not cached.value:
        return False
    return cached.value > MOSTLY_CACHED * (answered.value or 0)


def _observed(
    store: Store, run: RunInfo, info: CellInfo, summary: Mapping[str, Estimate], metric: str, *, is_alone: bool
) -> Observed:
    """``is_alone``: no other run is there whose items its own could be compared with, so they are not read."""
    assert info.id is not None
    estimate = summary[metric]
    origins = [session.provenance for session in store.sessions(run.id)]
    own = None
    if estimate.metric in info.scored and not is_alone:
        own = weighed_items(estimate.metric, store.columns(info.id), info)
    return Observed(
        run=run.number,
        name=run.name,
        at=run.created_at,
        info=info,
        machine=(origins[0].get("machine") or {}) if origins else {},
        estimate=estimate,
        asked=None if own is None else own.asked,
        items=None if own is None else own.items,
        scores=None if own is None else own.scores,
        weights=None if own is None else own.weights,
        ended=early_end(run.number, tuple(summary.values())),
        lost=_lost(summary),
        in_flight=summary["in_flight"].value if "in_flight" in summary else None,
    )


def _lost(summary: Mapping[str, Estimate]) -> tuple[int, int]:
    asked, scored = (summary[name].value if name in summary else None for name in ("attempted", "scored"))
    return (0, 0) if asked is None or scored is None else (round(asked - scored), round(asked))


def trends_document(found: Trends) -> dict[str, Any]:
    """The series as JSON-ready values, each with its sentence."""
    document: dict[str, Any] = msgspec.to_builtins(found)
    for series, entry in zip(found.series, document["series"], strict=True):
        entry["sentence"] = trend_sentence(series)
    return document


def print_trends(found: Trends) -> None:
    """One table a series, the sentence above it."""
    out = console()
    for series in found.series:
        if series.broke:
            out.print(f"-- a new series: {series.broke} changed --")
        out.say(trend_sentence(series))
        if not series.points:
            continue
        table = new_table("run" if series.points[0].label.startswith("#") else "when",
                          "date", f"{series.metric} (95 %)", "n", "against the first", "")  # fmt: skip
        for point in series.points:
            table.add_row(point.label, point.at[:10], written(point.estimate), f"{point.estimate.n:,}",
                          _change_of(point), _mark(point))  # fmt: skip
        out.print(table)
        for told in notes_of(series):
            out.say(f"! {told}")
        out.print()
    for count, why in ((found.reused, "used answers of earlier runs: --fresh asks anew"),
                       (found.unfinished, "did not finish")):  # fmt: skip
        if count:
            out.print(f"{count} run{'s' if count > 1 else ''} left out: {why}")


def notes_of(series: Series) -> list[str]:
    """What a reader should know of its points, in order of time."""
    return [words for point in series.points for words in point.notes]


def _change_of(point: Point) -> str:
    return "" if point.change is None else change_written(point.change, point.estimate.unit)


def _mark(point: Point) -> str:
    if not point.is_signal or not point.change:
        return ""
    return "up" if point.change > 0 else "down"


def trend_sentence(series: Series) -> str:
    """What the series shows of change; an arrow and a direction only where one was detected."""
    where = f"{named(series.metric)} of {series.model} on {series.benchmark}"
    if not series.points:
        return f"{where}: unknown: {series.reason}."
    last = series.points[-1]
    latest = f"{last.label} {written(last.estimate)}"
    if series.difference is None:
        return f"{where}: {latest}. No statement on change: {series.reason}."
    if series.state in ("up", "down"):
        return f"{where}: {ARROWS[series.state]}. {latest}, {_against(series)}.{_change_points(series)}"
    if series.state == "flat":
        margin = change_written(series.margin or 0.0, series.unit).lstrip("+")
        return f"{where}: {ARROWS['flat']} within {margin}. {latest}, {_against(series)}.{_change_points(series)}"
    least = change_written(series.detectable or 0.0, series.unit).lstrip("+")
    return (
        f"{where}: no change detected. {latest}, {_against(series)}; a change of {least} would have been found with a "
        f"power of 80 %.{_by_luck(series.difference)}{_change_points(series)}"
    )


def _by_luck(difference: Estimate) -> str:
    """Why an interval that leaves out no change is no change yet, where it does."""
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return ""
    return " That the interval leaves out 0 is no change yet: with a look after every run, one in twenty does by luck."


def _against(series: Series) -> str:
    assert series.difference is not None
    found = series.difference
    text = change_written(found.value or 0.0, series.unit)
    bounds = " to ".join(change_written(bound, series.unit) for bound in (found.low, found.high) if bound is not None)
    first = sum(point.change is None for point in series.points)
    of = f"the mean of the first {first} points" if first > 1 else f"{series.points[0].label}"
    return f"{text} against {of} (95 % interval {bounds}; {found.method}{_drift(series)})"


def _drift(series: Series) -> str:
    """That runs differ beyond their own errors, which the interval allows for."""
    if series.drift is None:
        return ""
    return f"; the first runs differ beyond that by {change_written(series.drift, series.unit).lstrip('+')} (SD)"


def _change_points(series: Series) -> str:
    texts = []
    for one in series.changes:
        between = one.at if one.earliest == one.latest else f"{one.at} ({one.earliest} to {one.latest})"
        jump = change_written(one.after - one.before, series.unit)
        texts.append(f" The level changed at {between}: {jump} (p = {one.p:.2g}).")
    if texts and series.state not in ("up", "down"):
        texts.append(f" That is seen in the light of all points; {series.points[-1].label} alone does not show it.")
    return "".join(texts)
