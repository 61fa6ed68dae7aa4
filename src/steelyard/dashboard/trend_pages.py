"""Metrics over runs with the changes that were detected, and the baselines that runs are held against."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from steelyard.analysis.metrics import METRICS
from steelyard.analysis.trend import Series
from steelyard.analysis.wording import change_written, written
from steelyard.dashboard.board import MOST_AT_ONCE, Board, board_of, number, word
from steelyard.dashboard.rendering import drawn
from steelyard.report.comparing.baselines import SHOWN, weaknesses
from steelyard.report.comparing.trends import ARROWS, Trends, load_trends, notes_of, trend_sentence
from steelyard.report.drawing.axes import Unit
from steelyard.report.drawing.figures import Figure
from steelyard.report.drawing.marks import for_any_screen
from steelyard.report.drawing.timelines import RunPoint, Step, over_runs
from steelyard.store.reading.pages import RunsWanted
from steelyard.store.rows.baselines import Baseline
from steelyard.types import RunInfo

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

MOST_RUNS, MOST_POINTS = 100, 60
MOST_OTHERS = 12
OFFERED = ("accuracy", "latency.p50", "latency.p95", "ttft.p50", "tokens_per_second", "cost.per_request",
           "cost.per_correct", "reliability", "unparsed", "truncated")  # fmt: skip
OF_SCORES = ("accuracy", "pass@")
UNITS: dict[str, Unit] = {"share": "share", "s": "s", "USD": "USD"}
PERIODS: tuple[Literal["run", "day", "week"], ...] = ("run", "day", "week")


def trends(request: Request) -> Response:
    """Every series of a metric."""
    board = board_of(request)
    metric = word(request, "metric", default="accuracy")
    by = next(one for one in PERIODS if one == word(request, "by", PERIODS, "run"))
    model, benchmark = word(request, "model") or None, word(request, "benchmark") or None
    most = min(1_000, number(request, "most", MOST_RUNS)) or MOST_RUNS
    pages = board.store.pages
    states = tuple((run.id, run.name, run.status) for run in board.store.runs(most))

    def load() -> Trends:
        if not any(status != "running" for *_, status in states):
            return Trends(metric=metric, series=(), unfinished=len(states), reused=0)
        return load_trends(board.store, metric, by=by, model=model, benchmark=benchmark, most=most)

    is_large = pages.state()[1] > MOST_AT_ONCE  # of the whole store: to count run by run would take too long
    remember = board.remember_large if is_large else board.remember
    found = remember("trends", (metric, by, model, benchmark, most, states), load)
    series = [
        {
            "one": one,
            "sentence": trend_sentence(one),
            "figures": drawn(_figures(one)),
            "rows": _rows(one),
            "notes": notes_of(one),
            "word": _word(one),
            "tone": _tone(one),
        }
        for one in (found.series if found else ())
    ]
    return board.page(
        "trends.html.j2",
        request,
        title="Trends",
        found=found,
        series=series,
        single=[each for each, one in zip(series, found.series if found else (), strict=True) if len(one.points) == 1],
        is_making=found is None,
        metric=metric,
        metrics=OFFERED,
        by=by,
        model=model,
        benchmark=benchmark,
        models=pages.models(),
        benchmarks=pages.benchmarks(),
    )


def _word(series: Series) -> str:
    """The state in a word; that of a series of which nothing can be said is not that of one without a change."""
    if series.difference is None:
        return "no statement yet"
    return ARROWS[series.state]


def _tone(series: Series) -> str:
    """How the state is coloured: a detected change by whether it is for the better."""
    if series.state in ("up", "down"):
        return _tone_of(series.metric, 1.0 if series.state == "up" else -1.0)
    return "equivalent" if series.state == "flat" else "open"


def _tone_of(metric: str, change: float) -> str:
    """As a verdict is coloured; a metric of which neither way is better has no such colour."""
    better = METRICS[metric].better if metric in METRICS else None
    if metric.startswith(OF_SCORES):
        better = "higher"
    if better is None or not change:
        return "equivalent"
    return "improved" if (change > 0) == (better == "higher") else "regressed"


def _figures(series: Series) -> list[Figure]:
    points = series.points[-MOST_POINTS:]
    if sum(point.estimate.value is not None for point in points) < 2:
        return []
    place = {point.label: at for at, point in enumerate(points)}
    steps = [
        Step(
            earliest=place.get(one.earliest, place[one.at]),
            at=place[one.at],
            latest=place.get(one.latest, place[one.at]),
            told=f"the level changed at {one.at}: {change_written(one.after - one.before, series.unit)}",
        )
        for one in series.changes
        if one.at in place
    ]
    chart = partial(
        over_runs,
        [
            _point(point.label, point.estimate.value, point.estimate.low, point.estimate.high, point.is_signal)
            for point in points
        ],
        steps,
        label=f"{series.metric} of {series.model} on {series.benchmark}",
        unit=UNITS.get(series.unit, ""),
        reference=series.reference,
    )
    note = "Bars are 95 % intervals. Filled: told apart from the first runs. The line across is what these came to."
    note += " Shaded: where the level changed." if steps else ""
    return [Figure(title=f"{series.model} on {series.benchmark}", note=note, svg=for_any_screen(chart))]


def _point(name: str, value: float | None, low: float | None, high: float | None, is_signal: bool) -> RunPoint:
    return RunPoint(name=name, value=value, low=low, high=high, is_signal=is_signal)


def _rows(series: Series) -> list[dict[str, object]]:
    return [
        {
            "label": point.label,
            "run": point.runs[0] if len(point.runs) == 1 else None,
            "at": point.at,
            "value": written(point.estimate),
            "n": point.estimate.n,
            "change": "" if point.change is None else change_written(point.change, point.estimate.unit),
            "is_signal": point.is_signal,
            "tone": _tone_of(series.metric, point.change or 0.0),
        }
        for point in reversed(series.points)
    ]


def baselines(request: Request) -> Response:
    """Every version of every baseline."""
    board = board_of(request)
    return board.page("baselines.html.j2", request, title="Baselines", found=board.store.baselines.all())


def baseline(request: Request) -> Response:
    """One baseline: what its cells hold, and what a gate against it would say nothing of."""
    board = board_of(request)
    found = board.store.baselines.get(request.path_params["reference"])
    rows = [
        {
            "model": cell.info.model,
            "label": cell.info.label,
            "items": len(set(cell.requests.item)),
            "values": [written(cell.estimate(metric)) for metric in SHOWN],
            "weaknesses": weaknesses(cell),
        }
        for cell in found.content.cells
    ]
    return board.page(
        "baseline.html.j2",
        request,
        title=f"Baseline {found.label}",
        found=found,
        rows=rows,
        metrics=SHOWN,
        is_run_here=found.content.run in board.store.pages.ids(),
        others=_others(board, found),
    )


def _others(board: Board, found: Baseline) -> list[RunInfo]:
    """The newest other runs that asked what the baseline holds first."""
    if not found.content.cells:
        return []
    wanted = RunsWanted(benchmark=found.content.cells[0].info.label)
    newest = board.store.pages.runs(wanted, most=MOST_OTHERS + 1).runs
    return [one.info for one in newest if one.info.id != found.content.run][:MOST_OTHERS]
