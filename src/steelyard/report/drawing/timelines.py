"""Charts of time: where the seconds of an answer went, a metric over runs, money over days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from steelyard.report.drawing.axes import Scale, Unit, fitted, interval_text, shares, value_text
from steelyard.report.drawing.marks import (
    PHONE_WIDTH,
    SLOTS,
    WIDTH,
    fitting,
    group,
    line,
    marker,
    svg,
    width_of,
    words_at,
    x_axis,
    y_axis,
)

Stretch = Literal["queued", "failed", "pause", "first", "reasoning", "answer", "whole"]

STRETCHES: dict[Stretch, str] = {
    "queued": "waiting to be sent",
    "failed": "failed try",
    "pause": "pause before the next try",
    "first": "until the first token",
    "reasoning": "reasoning",
    "answer": "tokens of the answer",
    "whole": "the reply in one piece",
}
NARROWEST = 1.5
"""Pixels of a stretch that took next to no time, so that it is still seen."""


class Span(Struct, frozen=True, kw_only=True):
    """One stretch of an answer's time, in seconds from when it was ready to be sent."""

    kind: Stretch
    start_s: float
    length_s: float
    told: str = ""


class Lane(Struct, frozen=True, kw_only=True):
    """One answer's stretches, in order; none where it took no time, for which ``remark`` gives the reason."""

    name: str
    spans: tuple[Span, ...]
    remark: str = ""


class RunPoint(Struct, frozen=True, kw_only=True):
    """One place of a trend. ``is_signal``: held against the first runs, a change was detected."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    is_signal: bool = False


class Step(Struct, frozen=True, kw_only=True):
    """A change of level: between which places it lies, by their order from 0, and the likeliest one."""

    earliest: int
    at: int
    latest: int
    told: str


class Day(Struct, frozen=True, kw_only=True):
    """What one day cost, by model: (name, slot, USD); the part of all without a colour of their own has no slot."""

    name: str
    parts: tuple[tuple[str, int | None, float], ...]


def waterfall(lanes: Sequence[Lane], *, label: str, width: int = WIDTH) -> str:
    """A line an answer, from when it was ready to be sent; the stretches always stand in one order."""
    kinds = [kind for kind in STRETCHES if any(span.kind == kind for lane in lanes for span in lane.spans)]
    left, right, step = (168 if width > PHONE_WIDTH else 104), 70, 22
    top = 12.0 + 18 * _legend_lines(kinds, width)
    foot = top + step * len(lanes)
    ends = [span.start_s + span.length_s for lane in lanes for span in lane.spans]
    scale = Scale(low=0.0, high=1.04 * max(ends, default=1.0) or 1.0, start=left, end=width - right)
    parts = [_legend(kinds, width), x_axis(scale, "s", top, foot, width)]
    for place, lane in enumerate(lanes):
        parts.append(_lane(lane, scale, top + step * place, left))
    return svg(foot + 26, label, parts, width)


def _lane(lane: Lane, scale: Scale, y: float, left: float) -> str:
    parts = [words_at(left - 8, y + 15, fitting(lane.name, left - 12), "end", "name")]
    for span in lane.spans:
        start, end = scale.at(span.start_s), scale.at(span.start_s + span.length_s)
        told = f"{lane.name}: {span.told or STRETCHES[span.kind]}, {value_text(span.length_s, 's')}"
        width = max(NARROWEST, end - start)
        box = f'<rect x="{start:.1f}" y="{y + 5:.1f}" width="{width:.1f}" height="12" class="stretch"/>'
        parts.append(group(f"w-{span.kind}", told, [box]))
    if lane.spans:
        last = lane.spans[-1].start_s + lane.spans[-1].length_s
        parts.append(words_at(scale.at(last) + 6, y + 15, value_text(last, "s"), "start"))
    elif lane.remark:
        parts.append(words_at(scale.start + 6, y + 15, lane.remark, "start"))
    return "".join(parts)


def _legend_lines(kinds: Sequence[Stretch], width: int) -> int:
    return _places(kinds, width)[-1][1] + 1 if kinds else 0


def _places(kinds: Sequence[Stretch], width: int) -> list[tuple[float, int]]:
    places, x, line = [], 8.0, 0
    for kind in kinds:
        taken = 30 + width_of(STRETCHES[kind])
        if x + taken > width - 8 and x > 8:
            x, line = 8.0, line + 1
        places.append((x, line))
        x += taken
    return places


def _legend(kinds: Sequence[Stretch], width: int) -> str:
    parts = []
    for kind, (x, row) in zip(kinds, _places(kinds, width), strict=True):
        y = 4.0 + 18 * row
        box = f'<rect x="{x:.1f}" y="{y:.1f}" width="14" height="10" class="stretch"/>'
        parts.append(group(f"w-{kind}", STRETCHES[kind], [box, words_at(x + 19, y + 9, STRETCHES[kind], "start")]))
    return "".join(parts)


def over_runs(
    points: Sequence[RunPoint],
    steps: Sequence[Step] = (),
    *,
    label: str,
    unit: Unit,
    reference: float | None = None,
    width: int = WIDTH,
) -> str:
    """A metric over runs with its intervals; filled where a change was detected, a band where the level changed."""
    left, right, top, foot = 62, 16, 14, 214
    known = [end for one in points for end in (one.value, one.low, one.high) if end is not None]
    up = (shares if unit == "share" else fitted)(known, foot, top)
    across = Scale(low=-0.5, high=max(0.5, len(points) - 0.5), start=left, end=width - right)
    parts = [y_axis(up, unit, left, width - right), _under(points, across, foot, width)]
    for step in steps:
        first, last = across.at(step.earliest - 0.5), across.at(step.latest + 0.5)
        band = f'<rect x="{first:.1f}" y="{top}" width="{last - first:.1f}" height="{foot - top}" class="band"/>'
        at = across.at(step.at - 0.5)
        parts.append(group("", step.told, [band, f'<path d="M{at:.1f} {top}V{foot}" class="step"/>']))
    if reference is not None:
        at = up.at(reference)
        level = f'<path d="M{left} {at:.1f}H{width - right}" class="chance"/>'
        parts.append(group("", f"the mean of the first points: {value_text(reference, unit)}", [level]))
    ends = [(across.at(place), up.at(one.value)) for place, one in enumerate(points) if one.value is not None]
    if len(ends) > 1:
        parts.append(group("s0", label, [line("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ends))]))
    parts += [_point(one, across.at(place), up, unit) for place, one in enumerate(points) if one.value is not None]
    return svg(foot + 26, label, parts, width)


def _point(one: RunPoint, x: float, up: Scale, unit: Unit) -> str:
    assert one.value is not None
    pieces = []
    if one.low is not None and one.high is not None:
        pieces.append(f'<path d="M{x:.1f} {up.at(one.low):.1f}V{up.at(one.high):.1f}" class="whisker"/>')
    pieces.append(marker(0, x, up.at(one.value), is_hollow=not one.is_signal))
    told = f"{one.name}: {interval_text(one.value, one.low, one.high, unit)}"
    return group("s0", told + ("; a change was detected" if one.is_signal else ""), pieces)


def _under(points: Sequence[RunPoint], across: Scale, foot: float, width: int) -> str:
    """The names of the places, as many as have room."""
    parts = [f'<path d="M{across.start:.1f} {foot}H{across.end:.1f}" class="base"/>']
    free = -1.0
    for place, one in enumerate(points):
        at, half = across.at(place), width_of(one.name) / 2
        if at - half > free and at + half < width:
            parts.append(words_at(at, foot + 17, one.name, "middle"))
            free = at + half + 6
    return "".join(parts)


def per_day(days: Sequence[Day], *, label: str, width: int = WIDTH) -> str:
    """A column a day, its parts by model."""
    left, right, top, foot = 62, 16, 14, 194
    up = fitted([0.0, *(sum(part[2] for part in day.parts) for day in days)], foot, top)
    across = Scale(low=-0.5, high=max(0.5, len(days) - 0.5), start=left, end=width - right)
    names = [RunPoint(name=day.name, value=None) for day in days]
    parts = [y_axis(up, "USD", left, width - right), _under(names, across, foot, width)]
    wide = min(40.0, 0.7 * (across.end - across.start) / max(1, len(days)))
    for place, day in enumerate(days):
        below = 0.0
        for name, slot, usd in day.parts:
            low, high = up.at(below), up.at(below + usd)
            x, tall = across.at(place) - wide / 2, low - high
            box = f'<rect x="{x:.1f}" y="{high:.1f}" width="{wide:.1f}" height="{tall:.1f}" class="column"/>'
            parts.append(
                group(
                    "others" if slot is None else f"s{slot % SLOTS}",
                    f"{day.name}, {name}: {value_text(usd, 'USD')}",
                    [box],
                )
            )
            below += usd
    return svg(foot + 26, label, parts, width)
