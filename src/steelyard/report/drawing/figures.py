"""Which charts a run deserves: from the evidence to the numbers that ``charts`` draws, each with what it shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

from msgspec import Struct

from steelyard.analysis.bench import Bench, Contender
from steelyard.report.drawing import charts
from steelyard.report.drawing.axes import Unit, tick_text, value_text
from steelyard.report.drawing.marks import for_any_screen
from steelyard.report.evidence import Evidence, times_in_order

MOST_LINES = 6
MOST_POINTS = 60
THOUSAND = 1_000
"""So many requests are priced together: one alone costs next to nothing."""
FEWEST_SPOKES = 3


class Key(Struct, frozen=True, kw_only=True):
    """One line of a legend: a model, or what a point says of it, and the slot of its colour and marker."""

    name: str
    slot: int


class Figure(Struct, frozen=True, kw_only=True):
    """A chart with its heading and what a reader needs to know of it. ``svg`` is markup of ours, all text escaped.

    ``legend``: whom the page's legend names and lets a reader hide; none where the chart names its models itself.
    ``front``: the points that matter of a chart too full to name them, in words below it.
    """

    title: str
    note: str
    svg: str
    legend: tuple[Key, ...] = ()
    front: tuple[Key, ...] = ()


def slots(evidence: Evidence) -> dict[str, int]:
    """The colour and marker of each model, the same on every chart of a page."""
    return {name: place for place, name in enumerate(evidence.models)}


def overview(evidence: Evidence) -> list[Figure]:
    """A radar over the benchmarks, where there are enough of them."""
    benches = [bench for bench in evidence.benches if bench.scored]
    if len(benches) < FEWEST_SPOKES:
        return []
    slot_of = slots(evidence)
    spokes = [charts.Spoke(name=bench.label, centre="0 %", rim="100 %") for bench in benches]
    outlines = [_over_benchmarks(name, slot_of[name], benches) for name in evidence.models[:MOST_LINES]]
    note = _some(len(evidence.models), MOST_LINES, "Accuracy on each benchmark, from 0 % at the centre to 100 %.")
    svg = for_any_screen(
        partial(charts.radar, spokes, outlines, label="Radar: accuracy of each model on each benchmark")
    )
    return [Figure(title="Accuracy over the benchmarks", note=note, svg=svg, legend=_legend(outlines))]


def figures(bench: Bench, slot_of: dict[str, int]) -> list[Figure]:
    """Every chart of one benchmark that has something to show."""
    makers = (_intervals, _radar, _against_cost, _against_latency, _distribution, _in_order)
    return [figure for make in makers if (figure := make(bench, slot_of)) is not None]


def _over_benchmarks(name: str, slot: int, benches: Sequence[Bench]) -> charts.Outline:
    found = [next((one for one in bench.models if one.name == name), None) for bench in benches]
    values = [None if one is None else one.value("accuracy") for one in found]
    texts = ["unknown" if value is None else value_text(value, "share") for value in values]
    return charts.Outline(name=name, slot=slot, shares=tuple(values), texts=tuple(texts))


def _intervals(bench: Bench, slot_of: dict[str, int]) -> Figure | None:
    if not bench.scored:
        return None
    tied = set() if bench.settled else {one.name for one in bench.tied()}
    rows = [_row(one, slot_of[one.name], one.name in tied) for one in bench.scored]
    floors = [_row(one, None, False) for one in bench.floors if one.value("accuracy") is not None]
    chance = max((row.value for row in floors), default=None)
    svg = for_any_screen(
        partial(
            charts.intervals, [*rows, *floors], label=f"Accuracy on {bench.label} with 95 % intervals", chance=chance
        )
    )
    filled = (
        ""
        if bench.settled or len(bench.scored) < 2
        else "Filled: the best one seen and every model that is not told apart from it. "
    )
    note = f"{filled}Bars are 95 % intervals."
    line = " The line across is the best floor: what needs no model." if floors else ""
    return Figure(title="Accuracy", note=note + line, svg=svg)


def _row(one: Contender, slot: int | None, is_tied: bool) -> charts.Row:
    found = one.estimates["accuracy"]
    assert found.value is not None
    return charts.Row(name=one.name, slot=slot, value=found.value, low=found.low, high=found.high, is_tied=is_tied)


class _Axis(Struct, frozen=True, kw_only=True):
    """One measure of a radar: which metric, by how much it is multiplied, which way is out."""

    metric: str
    name: str
    unit: Unit
    is_log: bool
    times: int = 1


AXES = (
    _Axis(metric="accuracy", name="accuracy", unit="share", is_log=False),
    _Axis(metric="latency.p50", name="median latency", unit="s", is_log=True),
    _Axis(metric="reliability", name="reliability", unit="share", is_log=False),
    _Axis(metric="cost.per_request", name="cost of 1,000", unit="USD", is_log=True, times=THOUSAND),
)


def _radar(bench: Bench, slot_of: dict[str, int]) -> Figure | None:
    models = bench.models[:MOST_LINES]
    axes = [axis for axis in AXES if any(_on_axis(one, axis) is not None for one in models)]
    if len(axes) < FEWEST_SPOKES:
        return None
    scales = [_rim(axis, models) for axis in axes]
    spokes = [
        charts.Spoke(name=axis.name, centre=tick_text(low, axis.unit), rim=tick_text(high, axis.unit))
        for axis, (low, high) in zip(axes, scales, strict=True)
    ]
    outlines = [_outline(one, slot_of[one.name], axes, scales) for one in models]
    note = "Further out is better. Each axis says its scale, centre to rim; speed and cost are logarithmic; "
    note += "reliability is the share of requests that were answered."
    missing = [axis.name for axis in AXES if axis not in axes]
    if missing:
        note += f" Not known: {', '.join(missing)}."
    svg = for_any_screen(
        partial(charts.radar, spokes, outlines, label=f"Radar of {bench.label}: accuracy, speed, cost, reliability")
    )
    shown = _some(len(bench.models), MOST_LINES, note)
    return Figure(title="All sides", note=shown, svg=svg, legend=_legend(outlines))


def _on_axis(one: Contender, axis: _Axis) -> float | None:
    value = one.value(axis.metric)
    return None if value is None or (axis.is_log and value <= 0) else value * axis.times


def _rim(axis: _Axis, models: Sequence[Contender]) -> tuple[float, float]:
    """The values at the centre and at the rim: all of a share, else round numbers around what was seen."""
    if not axis.is_log:
        return 0.0, 1.0
    values = [value for one in models if (value := _on_axis(one, axis)) is not None]
    return _round(max(values) * 1.5, up=True), _round(min(values) / 1.5, up=False)


def _round(value: float, *, up: bool) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    steps = [digit * power for digit in (1, 2, 5, 10)]
    return next(step for step in steps if step >= value) if up else max(step for step in steps if step <= value)


def _outline(one: Contender, slot: int, axes: Sequence[_Axis], scales: Sequence[tuple[float, float]]) -> charts.Outline:
    parts: list[float | None] = []
    texts = []
    for axis, (centre, rim) in zip(axes, scales, strict=True):
        value = _on_axis(one, axis)
        texts.append("unknown" if value is None else value_text(value, axis.unit))
        if value is None:
            parts.append(None)
        elif axis.is_log:
            parts.append(math.log(value / centre) / math.log(rim / centre))
        else:
            parts.append((value - centre) / (rim - centre))
    return charts.Outline(name=one.name, slot=slot, shares=tuple(parts), texts=tuple(texts))


def _against_cost(bench: Bench, slot_of: dict[str, int]) -> Figure | None:
    marks = _marks(bench, "cost.per_request", slot_of, times=THOUSAND)
    if not marks:
        return None
    label = f"Accuracy on {bench.label} against the cost of 1,000 requests"
    svg, front = _scattered(marks, label, "cost of 1,000 requests", "USD"), _front(marks, "USD")
    return Figure(title="Quality against cost", note=_front_note(bench, marks, "dearer"), svg=svg, front=front)


def _against_latency(bench: Bench, slot_of: dict[str, int]) -> Figure | None:
    marks = _marks(bench, "latency.p50", slot_of)
    if not marks:
        return None
    label = f"Accuracy on {bench.label} against median latency"
    svg, front = _scattered(marks, label, "median latency", "s"), _front(marks, "s")
    return Figure(title="Quality against latency", note=_front_note(bench, marks, "slower"), svg=svg, front=front)


def _scattered(marks: Sequence[charts.Mark], label: str, x_name: str, x_unit: Unit) -> str:
    return for_any_screen(
        partial(charts.scatter, marks, label=label, x_name=x_name, y_name="accuracy", x_unit=x_unit, y_unit="share")
    )


def _front_note(bench: Bench, marks: Sequence[charts.Mark], worse: str) -> str:
    if len(marks) < 2:
        return "The cross is the 95 % interval either way. Up and left is better."
    partial = {point.model for point in bench.standings() if point.is_partial}
    left_out = ", ".join(mark.name for mark in marks if mark.name in partial)
    return (
        "Up and left is better; crosses are 95 % intervals. Filled and joined: the Pareto front of what was seen, "
        f"which no other model beats in one without being {worse} or less accurate."
        + (f" Not on it, since too many of its answers have no score: {left_out}." if left_out else "")
    )


def _front(marks: Sequence[charts.Mark], x_unit: Unit) -> tuple[Key, ...]:
    """The front in words, from left to right, where the chart has no room for all its names."""
    if not charts.is_crowded(marks):
        return ()
    front = sorted((mark for mark in marks if mark.is_front), key=lambda mark: mark.x)
    return tuple(Key(name=charts.point_words(mark, x_unit, "share"), slot=mark.slot) for mark in front)


def _marks(bench: Bench, metric: str, slot_of: dict[str, int], *, times: int = 1) -> list[charts.Mark]:
    points = [one for one in bench.scored if (one.value(metric) or 0) > 0][:MOST_POINTS]
    partial = {point.model for point in bench.standings() if point.is_partial}
    rivals = [one for one in points if one.name not in partial]
    return [_mark(one, rivals, metric, slot_of[one.name], times) for one in points]


def _mark(one: Contender, rivals: Sequence[Contender], metric: str, slot: int, times: int) -> charts.Mark:
    across, up = one.estimates[metric], one.estimates["accuracy"]
    assert across.value is not None
    assert up.value is not None
    low = across.low if across.low else None  # a logarithmic axis has no zero
    return charts.Mark(
        name=one.name,
        slot=slot,
        x=across.value * times,
        y=up.value,
        x_low=low * times if low else None,
        x_high=across.high * times if low and across.high is not None else None,
        y_low=up.low,
        y_high=up.high,
        is_front=one in rivals and not any(_beats(other, one, metric) for other in rivals),
    )


def _beats(other: Contender, one: Contender, metric: str) -> bool:
    """Whether another model is at least as good in both of what was seen, and better in one."""
    better = (other.value("accuracy") or 0.0) - (one.value("accuracy") or 0.0)
    cheaper = (one.value(metric) or 0.0) - (other.value(metric) or 0.0)
    return min(better, cheaper) >= 0 and max(better, cheaper) > 0


def _distribution(bench: Bench, slot_of: dict[str, int]) -> Figure | None:
    series = list(_series(bench, slot_of))
    if not series:
        return None
    svg = for_any_screen(
        partial(charts.ecdf, series, label=f"Distribution of latency on {bench.label}", x_name="latency of a request")
    )
    note = "The share of requests that were answered within so long; marks at P50, P95 and P99."
    shown = _some(len(bench.models), MOST_LINES, note)
    return Figure(title="Latency distribution", note=shown, svg=svg, legend=_legend(series))


def _in_order(bench: Bench, slot_of: dict[str, int]) -> Figure | None:
    series = [one for one in _series(bench, slot_of) if len(one.values) > 1]
    if not series:
        return None
    svg = for_any_screen(
        partial(charts.over_requests, series, label=f"Latency over request number on {bench.label}", y_name="latency")
    )
    lines = "; lines are running medians" if any(charts.has_median(len(one.values)) for one in series) else ""
    note = f"A dot a request{lines}. A drift or a step here means that the service or machine changed."
    shown = _some(len(bench.models), MOST_LINES, note)
    return Figure(title="Latency over the run", note=shown, svg=svg, legend=_legend(series))


def _legend(drawn: Sequence[charts.Series | charts.Outline]) -> tuple[Key, ...]:
    return tuple(Key(name=one.name, slot=one.slot) for one in drawn)


def _series(bench: Bench, slot_of: dict[str, int]) -> Iterator[charts.Series]:
    if any(one.side.info.kind == "likelihood" for one in bench.models):
        return
    for one in bench.models[:MOST_LINES]:
        values = times_in_order(one.side.columns)
        if len(values):
            yield charts.Series(name=one.name, slot=slot_of[one.name], values=tuple(values.tolist()))


def _some(have: int, shown: int, note: str) -> str:
    return note if have <= shown else f"{note} Shown: the {shown} best of {have}; the tables have all."
