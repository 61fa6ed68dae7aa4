"""The frontier of a cascade drawn: what each threshold would score against what it would cost."""

from __future__ import annotations

from functools import partial

import msgspec

from steelyard.analysis.frontier import Frontier, Point
from steelyard.analysis.wording import thousandfold
from steelyard.report.comparing.frontier import point_name
from steelyard.report.drawing.charts import Mark, scatter
from steelyard.report.drawing.figures import Figure
from steelyard.report.drawing.marks import for_any_screen
from steelyard.types import Estimate

CASCADE, CHEAP, DEAR = 0, 1, 2
"""Slots of the colours and markers."""


def frontier_figure(found: Frontier) -> Figure | None:
    """The chart; over escalated answers where no cost is known, and none where nothing was escalated."""
    if not found.points:
        return None
    points = (*found.alone, *found.points)
    has_costs = all(point.cost_per_item.value is not None for point in points)
    across = [(point, _cost(point) if has_costs else _escalated(found, point)) for point in points]
    marks = [_mark(found, *one) for one in across if one[0].accuracy.value is not None and one[1].value is not None]
    svg = for_any_screen(
        partial(
            scatter,
            [_on_front(mark, marks) for mark in marks],
            label=f"Accuracy of the cascade of {found.cheap} and {found.dear} against its cost, by threshold",
            x_name="cost of 1,000" if has_costs else "escalated",
            y_name="accuracy",
            x_unit="USD" if has_costs else "share",
            y_unit="share",
        )
    )
    note = "Each point is a threshold of confidence, or one model alone, with 95 % intervals. Filled and joined: none "
    note += (
        "seen was at least as good in both and better in one. All are of the same items, so the best is partly luck."
    )
    return Figure(title=f"{found.cheap} > {found.dear} on {found.benchmark}", note=note, svg=svg)


def _cost(point: Point) -> Estimate:
    return thousandfold(point.cost_per_item)


def _escalated(found: Frontier, point: Point) -> Estimate:
    """The share of answers that the dear model gave: none and all where a model is alone."""
    if point.threshold is not None:
        return point.escalated
    return msgspec.structs.replace(point.escalated, value=float(point is found.alone[1]))


def _mark(found: Frontier, point: Point, across: Estimate) -> Mark:
    up = point.accuracy
    slot = CASCADE if point.threshold is not None else CHEAP if point is found.alone[0] else DEAR
    return Mark(
        name=point_name(point),
        slot=slot,
        x=across.value or 0.0,
        y=up.value or 0.0,
        x_low=across.low,
        x_high=across.high,
        y_low=up.low,
        y_high=up.high,
    )


def _on_front(mark: Mark, marks: list[Mark]) -> Mark:
    is_beaten = any(
        min(other.y - mark.y, mark.x - other.x) >= 0 and max(other.y - mark.y, mark.x - other.x) > 0 for other in marks
    )
    return msgspec.structs.replace(mark, is_front=not is_beaten)
