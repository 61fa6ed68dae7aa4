"""Criteria as charts: where each model stands, with its interval, to the line that it must keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from steelyard.report.drawing.axes import Scale, Unit, fitted, shares, told_apart
from steelyard.report.drawing.marks import (
    PHONE_WIDTH,
    WIDTH,
    across_rows,
    group,
    longest_name,
    marker,
    row_words,
    svg,
    width_of,
    x_axis,
)

Word = Literal["pass", "fail", "inconclusive"]

COLOURS: dict[Word, int] = {"pass": 2, "fail": 7, "inconclusive": 5}
SHAPES: dict[Word, int] = {"pass": 0, "fail": 1, "inconclusive": 3}
"""By slots, which have their colours and shapes."""


class Held(Struct, frozen=True, kw_only=True):
    """One model as a criterion found it; ``told`` is the value with its bounds in words."""

    name: str
    verdict: Word
    value: float
    low: float | None = None
    high: float | None = None
    told: str


def against_line(
    rows: Sequence[Held],
    *,
    label: str,
    unit: Unit,
    bound: float,
    is_floor: bool,
    before: float | None = None,
    width: int = WIDTH,
) -> str:
    """A line a model, what lies beyond the bound shaded; ``before``: where an unchanged model would stand.

    On a narrow chart the words stand above the interval, and it has the whole width.
    """
    names = told_apart([row.name for row in rows], longest_name([row.verdict for row in rows], width))
    is_wide = width > PHONE_WIDTH
    left = 14 + max(map(width_of, names.values()), default=0.0) if is_wide else 10.0
    right = 14 + max((width_of(row.verdict) for row in rows), default=0.0) if is_wide else 10.0
    top, step = (8, 26) if is_wide else (4, 38)
    foot = top + step * len(rows)
    scale = _scale(rows, unit, bound, before, (left, width - right))
    parts = [_beyond(scale, bound, top, foot, is_floor=is_floor), x_axis(scale, unit, top, foot, width)]
    if before is not None:
        parts.append(across_rows("chance", scale.at(before), top, step, len(rows), width))
    parts.append(across_rows("bound", scale.at(bound), top, step, len(rows), width))
    for place, row in enumerate(rows):
        y = top + step * place
        words = row_words(names[row.name], row.verdict, scale, y + (17 if is_wide else 15), width)
        parts.append(_row(row, scale, y + (13 if is_wide else 26), words))
    return svg(foot + 26, label, parts, width)


def _scale(rows: Sequence[Held], unit: Unit, bound: float, before: float | None, pixels: tuple[float, float]) -> Scale:
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    return (shares if unit == "share" else fitted)([*ends, bound, *([] if before is None else [before])], *pixels)


def _beyond(scale: Scale, bound: float, top: float, foot: float, *, is_floor: bool) -> str:
    start, end = (scale.start, scale.at(bound)) if is_floor else (scale.at(bound), scale.end)
    return f'<path d="M{start:.1f} {top}H{end:.1f}V{foot}H{start:.1f}z" class="beyond"/>'


def _row(row: Held, scale: Scale, y: float, words: Sequence[str]) -> str:
    parts = [*words]
    if row.low is not None and row.high is not None:
        low, high = scale.at(row.low), scale.at(row.high)
        ends = f"M{low:.1f} {y - 4:.1f}V{y + 4:.1f}M{low:.1f} {y:.1f}H{high:.1f}M{high:.1f} {y - 4:.1f}V{y + 4:.1f}"
        parts.append(f'<path d="{ends}" class="line"/>')
    parts.append(marker(SHAPES[row.verdict], scale.at(row.value), y, is_hollow=row.verdict == "inconclusive"))
    return group(f"s{COLOURS[row.verdict]}", f"{row.name}: {row.told}; {row.verdict}", parts)
