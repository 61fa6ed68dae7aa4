"""Charts as SVG text: pure functions from numbers to markup, without state, scripts or inline styles.

Colour and marker go by slot, so that no chart relies on colour alone; every mark tells its value on hover. The legend
of lines stands in the page, where it wraps and hides them (``templates/figure.html.j2``); the page's style sheet gives
the classes their colours, light and dark (``templates/charts.css``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

from steelyard.report.drawing.axes import Scale, Unit, fitted, interval_text, shares, shortened, told_apart, value_text
from steelyard.report.drawing.marks import (
    CHARACTER,
    LONGEST_NAME,
    PHONE_WIDTH,
    SLOTS,
    WIDTH,
    across_rows,
    group,
    line,
    longest_name,
    marker,
    row_words,
    scale_words,
    svg,
    width_of,
    words_at,
    x_axis,
    y_axis,
)

MOST_STEPS = 160
MOST_DOTS = 300
MOST_MEDIANS = 80
SHORT_NAME = 14
"""Where many share a chart, or it is narrow."""
LABELLED = 12
"""Of so many models each has its name and whiskers on a scatter; of more, those on the front."""


class Mark(Struct, frozen=True, kw_only=True):
    """One model as a point with its intervals; ``is_front``: no other is at least as good in both and better in one."""

    name: str
    slot: int
    x: float
    y: float
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None
    is_front: bool = False


class Row(Struct, frozen=True, kw_only=True):
    """One line of a chart of intervals. ``is_tied``: not told from the best; a floor is drawn without a slot."""

    name: str
    slot: int | None
    value: float
    low: float | None = None
    high: float | None = None
    is_tied: bool = False


class Series(Struct, frozen=True, kw_only=True):
    """The values of one model, in the order in which they came."""

    name: str
    slot: int
    values: tuple[float, ...]


class Spoke(Struct, frozen=True, kw_only=True):
    """One axis of a radar: what it shows, and what stands at its centre and at its rim, in words."""

    name: str
    centre: str
    rim: str


class Outline(Struct, frozen=True, kw_only=True):
    """One model on a radar: per axis a share of the way to the rim, ``None`` where unknown, and the value in words."""

    name: str
    slot: int
    shares: tuple[float | None, ...]
    texts: tuple[str, ...]


def intervals(
    rows: Sequence[Row], *, label: str, unit: Unit = "share", chance: float | None = None, width: int = WIDTH
) -> str:
    """A line a model: its value with its interval, ties of the best filled, ``chance`` as a line across.

    On a narrow chart the words stand above the interval, and it has the whole width.
    """
    told = [interval_text(row.value, row.low, row.high, unit) for row in rows]
    is_wide = width > PHONE_WIDTH
    names = told_apart([row.name for row in rows], longest_name(told, width))
    left = 14 + max(map(width_of, names.values()), default=0.0) if is_wide else 10.0
    right = 12 + max(map(width_of, told), default=0.0) if is_wide else 10.0
    top, step = (8, 24) if is_wide else (4, 38)
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    measure = shares if unit == "share" else fitted
    whole = [0.0, 1.0] if len(rows) == 1 and unit == "share" else []  # alone, a short interval would fill the chart
    scale = measure([*ends, *whole, *([] if chance is None else [chance])], left, width - right)
    foot = top + step * len(rows)
    parts = [x_axis(scale, unit, top, foot, width)]
    if chance is not None:
        parts.append(across_rows("chance", scale.at(chance), top, step, len(rows), width))
    for place, row in enumerate(rows):
        y = top + step * place
        words = row_words(names[row.name], told[place], scale, y + (16 if is_wide else 15), width)
        parts.append(_interval_row(row, told[place], scale, y + step - 12, words))
    return svg(foot + 26, label, parts, width)


def _interval_row(row: Row, told: str, scale: Scale, y: float, words: Sequence[str]) -> str:
    at = scale.at(row.value)
    hover = f"{row.name}: {told}" + ("; not told apart from the best" if row.is_tied else "")
    parts = [*words]
    if row.low is not None and row.high is not None:
        low, high = scale.at(row.low), scale.at(row.high)
        parts.append(f'<path d="M{low:.1f} {y - 4:.1f}V{y + 4:.1f}M{low:.1f} {y:.1f}H{high:.1f}M{high:.1f} {y - 4:.1f}'
                     f'V{y + 4:.1f}" class="line"/>')  # fmt: skip
    parts.append(marker(row.slot or 0, at, y, is_hollow=not row.is_tied))
    return group("floor" if row.slot is None else f"s{row.slot % SLOTS}", hover, parts)


def scatter(
    marks: Sequence[Mark],
    *,
    label: str,
    x_name: str,
    y_name: str,
    x_unit: Unit,
    y_unit: Unit,
    width: int = WIDTH,
) -> str:
    """Models as points with their intervals, and the line of those that no other beats."""
    left, right, top, foot, height = 58, 16, 26, 296, 340
    across = fitted(_ends(marks, "x"), left, width - right, may_be_log=x_unit != "share")
    up = (shares if y_unit == "share" else fitted)(_ends(marks, "y"), foot, top)
    parts = [x_axis(across, x_unit, top, foot, width), y_axis(up, y_unit, left, width - right)]
    parts.append(words_at((left + width - right) / 2, height - 6, x_name + scale_words(across), "middle", "axis"))
    parts.append(words_at(8, 12, y_name, "start", "axis"))
    parts.append(_front_line(marks, across, up))
    is_full = is_crowded(marks)
    taken = [box for mark in marks for box in _boxes(mark, across, up, is_full=is_full)] + _front_boxes(
        marks, across, up
    )
    points = [_point_box(across.at(mark.x), up.at(mark.y)) for mark in marks]
    is_roomy = not is_full and width > PHONE_WIDTH
    names = told_apart([mark.name for mark in marks], LONGEST_NAME if is_roomy else SHORT_NAME)
    for mark in sorted(marks, key=lambda mark: not mark.is_front):
        x, y = across.at(mark.x), up.at(mark.y)
        told = point_words(mark, x_unit, y_unit) + ("; on the front" if mark.is_front else "")
        is_told = not is_full or mark.is_front
        pieces = [marker(mark.slot, x, y, is_hollow=not mark.is_front)]
        if is_told:
            pieces.insert(0, _whiskers(mark, across, up))
            pieces.append(_placed_label(names[mark.name], x, y, (left, top, width - right, foot + 8), taken, points))
        parts.append(group(f"s{mark.slot % SLOTS}", told, pieces))
    return svg(height, label, parts, width)


def point_words(mark: Mark, x_unit: Unit, y_unit: Unit) -> str:
    """A point in words."""
    up = interval_text(mark.y, mark.y_low, mark.y_high, y_unit)
    return f"{mark.name}: {up} at {interval_text(mark.x, mark.x_low, mark.x_high, x_unit)}"


def is_crowded(marks: Sequence[Mark]) -> bool:
    """Whether a scatter names those on its front alone, and not all of these where there is no room."""
    return len(marks) > LABELLED


def _ends(marks: Sequence[Mark], field: str) -> list[float]:
    names = (field, f"{field}_low", f"{field}_high")
    return [value for mark in marks for name in names if (value := getattr(mark, name)) is not None]


def _whiskers(mark: Mark, across: Scale, up: Scale) -> str:
    x, y = across.at(mark.x), up.at(mark.y)
    path = ""
    if mark.y_low is not None and mark.y_high is not None:
        path += f"M{x:.1f} {up.at(mark.y_low):.1f}V{up.at(mark.y_high):.1f}"
    if mark.x_low is not None and mark.x_high is not None:
        path += f"M{across.at(mark.x_low):.1f} {y:.1f}H{across.at(mark.x_high):.1f}"
    return f'<path d="{path}" class="whisker"/>' if path else ""


def _point_box(x: float, y: float) -> tuple[float, ...]:
    return (x - 6, y - 6, x + 6, y + 6)


def _boxes(mark: Mark, across: Scale, up: Scale, *, is_full: bool) -> list[tuple[float, ...]]:
    """What a mark covers: its point and its whiskers."""
    x, y = across.at(mark.x), up.at(mark.y)
    boxes = [_point_box(x, y)]
    if is_full and not mark.is_front:
        return boxes
    if mark.y_low is not None and mark.y_high is not None:
        boxes.append((x - 1, up.at(mark.y_high), x + 1, up.at(mark.y_low)))
    if mark.x_low is not None and mark.x_high is not None:
        boxes.append((across.at(mark.x_low), y - 1, across.at(mark.x_high), y + 1))
    return boxes


def _front(marks: Sequence[Mark], across: Scale, up: Scale) -> list[tuple[float, float]]:
    return sorted((across.at(mark.x), up.at(mark.y)) for mark in marks if mark.is_front)


def _front_boxes(marks: Sequence[Mark], across: Scale, up: Scale) -> list[tuple[float, ...]]:
    """What the line of the front covers: across to the next point, then up to it."""
    boxes: list[tuple[float, ...]] = []
    for (x, y), (next_x, next_y) in pairwise(_front(marks, across, up)):
        boxes += [(x, y - 1, next_x, y + 1), (next_x - 1, next_y, next_x + 1, y)]
    return boxes


def _front_line(marks: Sequence[Mark], across: Scale, up: Scale) -> str:
    front = _front(marks, across, up)
    if len(front) < 2:
        return ""
    path = f"M{front[0][0]:.1f} {front[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in front[1:])
    return f'<path d="{path}" class="front"/>'


def _placed_label(
    text: str,
    x: float,
    y: float,
    field: tuple[float, float, float, float],
    taken: list[tuple[float, ...]],
    points: list[tuple[float, ...]],
) -> str:
    """The name beside its point where it hides nothing, or a whisker at most; failing both, hover tells it."""
    width = width_of(text)
    beside = (("start", x + 9, y + 4), ("end", x - 9, y + 4))
    aslant = (("start", x + 6, y - 10), ("end", x - 6, y - 10), ("start", x + 6, y + 17), ("end", x - 6, y + 17))
    places = (*beside, *aslant, ("middle", x, y - 12), ("middle", x, y + 20))
    for covered in (taken, points):
        for anchor, at, base in places:
            start = {"start": at, "end": at - width, "middle": at - width / 2}[anchor]
            box = (start - 2, base - 11, start + width + 2, base + 4)
            is_inside = box[0] >= field[0] and box[1] >= field[1] and box[2] <= field[2] and box[3] <= field[3]
            if is_inside and not any(_overlap(box, other) for other in covered):
                taken.append(box)
                points.append(box)
                return words_at(at, base, text, anchor, "name")
    return ""


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def ecdf(series: Sequence[Series], *, label: str, x_name: str, unit: Unit = "s", width: int = WIDTH) -> str:
    """The share of requests that were as fast or faster; P50, P95 and P99 marked on each line."""
    left, right, top, foot = 58, 16, 14, 254
    across = fitted([value for one in series for value in one.values], left, width - right, may_be_log=True)
    up = Scale(low=0.0, high=1.0, start=foot, end=top)
    parts = [x_axis(across, unit, top, foot, width), y_axis(up, "share", left, width - right)]
    parts.append(words_at((left + width - right) / 2, foot + 40, x_name + scale_words(across), "middle", "axis"))
    for one in series:
        ordered = sorted(one.values)
        path = f"M{across.at(ordered[0]):.1f} {foot:.1f}"
        for place in _steps(len(ordered), _most(MOST_STEPS, width)):
            path += f"H{across.at(ordered[place]):.1f}V{up.at((place + 1) / len(ordered)):.1f}"
        pieces = [line(path)]
        for share in (0.50, 0.95, 0.99):
            at = ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
            tip = f"{one.name}: P{100 * share:.0f} {value_text(at, unit)} of {len(ordered):,} requests"
            pieces.append(group("", tip, [marker(one.slot, across.at(at), up.at(share), is_hollow=False)]))
        parts.append(group(f"s{one.slot % SLOTS}", one.name, pieces))
    return svg(foot + 48, label, parts, width)


def _most(points: int, width: int) -> int:
    """So many of the points of a wide chart as a chart of this width can show apart."""
    return points if width > PHONE_WIDTH else points // 3


def _steps(n: int, most: int) -> list[int]:
    """The places of an ordered list that are drawn: all, or evenly many."""
    if n <= most:
        return list(range(n))
    return sorted({round(place * (n - 1) / (most - 1)) for place in range(most)})


def over_requests(
    series: Sequence[Series],
    *,
    label: str,
    y_name: str,
    x_name: str = "request, in the order sent",
    unit: Unit = "s",
    width: int = WIDTH,
) -> str:
    """Each request's value in the order in which they were sent, and the running median of each model."""
    left, right, top, foot = 62, 16, 28, 248
    longest = max(len(one.values) for one in series)
    across = Scale(low=1, high=max(2, longest), start=left, end=width - right)
    up = fitted([value for one in series for value in one.values], foot, top, may_be_log=True)
    parts = [x_axis(across, "count", top, foot, width), y_axis(up, unit, left, width - right)]
    parts.append(words_at((left + width - right) / 2, foot + 40, x_name, "middle", "axis"))
    parts.append(words_at(8, top - 14, y_name + scale_words(up), "start", "axis"))
    for one in series:
        parts.append(
            group(
                f"s{one.slot % SLOTS}",
                one.name,
                [
                    _dots(one, across, up, _most(MOST_DOTS, width)),
                    _running(one, across, up, _most(MOST_MEDIANS, width)),
                ],
            )
        )
    return svg(foot + 48, label, parts, width)


def has_median(n: int) -> bool:
    """Whether a line of so many requests' running median is drawn."""
    return n >= 2 * _window(n)


def _window(n: int) -> int:
    return max(5, n // 30)


def _dots(one: Series, across: Scale, up: Scale, most: int) -> str:
    """A dot a request; of many every k-th and all that are far out, so that none of those is lost.

    Of few, with no line among them, the model's own mark.
    """
    n = len(one.values)
    if not has_median(n):
        marks = (marker(one.slot, across.at(i), up.at(value), is_hollow=False) for i, value in enumerate(one.values, 1))
        return "".join(marks)
    stride = math.ceil(n / most)
    far = sorted(one.values)[int(0.98 * (n - 1))]
    shown = [(i, value) for i, value in enumerate(one.values) if i % stride == 0 or value > far]
    path = "".join(f"M{across.at(i + 1):.1f} {up.at(value):.1f}h0" for i, value in shown)
    return f'<path d="{path}" class="dots"/>'


def _running(one: Series, across: Scale, up: Scale, most: int) -> str:
    n = len(one.values)
    window = _window(n)
    if not has_median(n):
        return ""
    stride = math.ceil(n / most)
    points = []
    for start in range(0, n - window + 1, stride):
        middle = sorted(one.values[start : start + window])[window // 2]
        points.append(f"{across.at(start + (window + 1) / 2):.1f} {up.at(middle):.1f}")
    x, y = map(float, points[-1].split())
    return line("M" + "L".join(points)) + marker(one.slot, x, y, is_hollow=False)


def radar(spokes: Sequence[Spoke], outlines: Sequence[Outline], *, label: str, width: int = WIDTH) -> str:
    """Three axes or more around a centre, each with its scale in words; what is unknown leaves a gap."""
    radius, middle_y = (104, 146) if width > PHONE_WIDTH else (88, 130)
    middle_x = width / 2
    turns = [2 * math.pi * place / len(spokes) - math.pi / 2 for place in range(len(spokes))]

    def point(turn: float, share: float) -> tuple[float, float]:
        return middle_x + radius * share * math.cos(turn), middle_y + radius * share * math.sin(turn)

    parts = []
    for share in (0.25, 0.5, 0.75, 1.0):
        ring = "L".join("{:.1f} {:.1f}".format(*point(turn, share)) for turn in turns)
        parts.append(f'<path d="M{ring}Z" class="grid"/>')
    for spoke, turn in zip(spokes, turns, strict=True):
        x, y = point(turn, 1.0)
        parts.append(f'<path d="M{middle_x:.1f} {middle_y:.1f}L{x:.1f} {y:.1f}" class="grid"/>')
        parts.append(_spoke_words(spoke, *point(turn, 1.13), math.cos(turn), middle_y, width))
    for outline in outlines:
        ends = [
            None if share is None else point(turn, share) for share, turn in zip(outline.shares, turns, strict=True)
        ]
        known = [end for end in ends if end is not None]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in known) + ("Z" if len(known) == len(ends) else "")
        pieces = [line(path)] if known else []
        for end, spoke, text in zip(ends, spokes, outline.texts, strict=True):
            if end is not None:
                tip = f"{outline.name}: {spoke.name} {text}"
                pieces.append(group("", tip, [marker(outline.slot, *end, is_hollow=False)]))
        parts.append(group(f"s{outline.slot % SLOTS}", outline.name, pieces))
    return svg(middle_y + radius * max(map(math.sin, turns)) + 46, label, parts, width)


def _spoke_words(spoke: Spoke, x: float, y: float, turn: float, middle: float, width: int) -> str:
    """What an axis is, beyond its tip; on a narrow chart, which has no room beside it, at the edge above or below."""
    anchor = "middle" if abs(turn) < 0.2 else "start" if turn > 0 else "end"
    if anchor == "middle":
        y += 10 if y > middle else -10
    elif width == PHONE_WIDTH:
        anchor, x = ("end", width - 4.0) if turn > 0 else ("start", 4.0)
        y += 18 if y > middle + 1 else -32
    is_beside = anchor != "middle" and width > PHONE_WIDTH
    room = int(((width - x if anchor == "start" else x) if is_beside else width / 2) / CHARACTER) - 1
    second = f"{spoke.centre} to {spoke.rim}"
    return words_at(x, y, shortened(spoke.name, room), anchor, "name") + words_at(x, y + 14, second, anchor)
