"""A verdict drawn: each criterion with the intervals that it was judged by, and the line that they must keep."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from steelyard.analysis.gate import Check, GateReport
from steelyard.analysis.wording import written
from steelyard.report.comparing.verdict import change_with_bounds
from steelyard.report.drawing.axes import Unit
from steelyard.report.drawing.criteria import Held, against_line
from steelyard.report.drawing.figures import Figure
from steelyard.report.drawing.marks import for_any_screen

OF_VALUES: dict[str, Unit] = {"share": "share", "s": "s", "USD": "USD"}
OF_CHANGES: dict[str, Unit] = {"share": "points", "s": "s", "USD": "USD"}


def criteria_figures(verdict: GateReport) -> list[Figure]:
    """A chart a criterion, with a line for each model and benchmark that it could be judged on."""
    groups: dict[tuple[object, ...], list[Check]] = {}
    for check in verdict.checks:
        if check.value is not None and check.margin is not None and not check.fault:
            key = (check.metric, check.criterion, check.scale, check.margin, check.better, check.unit)
            groups.setdefault(key, []).append(check)
    return [_figure(checks) for checks in groups.values()]


def _figure(checks: Sequence[Check]) -> Figure:
    first = checks[0]
    is_floor = first.better == "higher"
    svg = for_any_screen(
        partial(
            against_line,
            [_held(check, name) for check, name in zip(checks, _names(checks), strict=True)],
            label=f"{first.metric} with its bounds, {first.criterion}",
            unit=_unit(first),
            bound=_bound(first),
            is_floor=is_floor,
            before=None if first.scale == "value" else 0.0,
        )
    )
    return Figure(title=first.criterion, note=_note(first), svg=svg)


def _names(checks: Sequence[Check]) -> list[str]:
    """What tells the lines apart: models, benchmarks, or both."""
    if len({check.benchmark for check in checks}) == 1:
        return [check.model for check in checks]
    if len({check.model for check in checks}) == 1:
        return [check.benchmark for check in checks]
    return [f"{check.model} on {check.benchmark}" for check in checks]


def _held(check: Check, name: str) -> Held:
    assert check.value is not None
    told = written(check.candidate) if check.scale == "value" else change_with_bounds(check)
    value, low, high = (_drawn(check, end) for end in (check.value, check.low, check.high))
    return Held(name=name, verdict=check.verdict, value=value or 0.0, low=low, high=high, told=told)


def _drawn(check: Check, value: float | None) -> float | None:
    """A ratio as the change that it is."""
    return value if value is None or check.scale != "ratio" else value - 1


def _bound(check: Check) -> float:
    assert check.margin is not None
    return check.margin if check.scale == "value" or check.better == "lower" else -check.margin


def _unit(check: Check) -> Unit:
    if check.scale == "ratio":
        return "change"
    return (OF_VALUES if check.scale == "value" else OF_CHANGES).get(check.unit, "")


def _note(check: Check) -> str:
    if check.scale == "value":
        return f"{check.metric} of the run; each bound holds with 95 %. Shaded: what does not keep the criterion."
    unit = " in points" if check.unit == "share" and check.scale == "difference" else ""
    return (
        f"How {check.metric} changed{unit}; each bound holds with 95 %. Shaded: worse than the margin, the solid line. "
        "Dashed: no change."
    )
