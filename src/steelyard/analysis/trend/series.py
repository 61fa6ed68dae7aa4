"""A metric over runs: an arrow where a change was detected, the word flat where its absence was, else unknown.

Runs on the same items are compared by what their answers vary, not by what a sample of questions does: the binomial
error would hide a drift. Each run is held against the first ones, with a level that allows for a look after every run;
a moving average finds what is slow. Where the data, the words asked, or for times the machine changed, a new series
begins, and nothing is said across the break.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from steelyard import stats
from steelyard.analysis.trend.breaks import stretches
from steelyard.analysis.trend.changes import Change, changes_of
from steelyard.analysis.trend.observed import UNITS_OF_HARDWARE, Observed
from steelyard.analysis.trend.points import By, Point, points_of
from steelyard.analysis.trend.reference import REFERENCE_RUNS, Reference, level_of_a_look, reference_of, signals_of
from steelyard.analysis.trend.run_errors import Figures, run_errors
from steelyard.types import Estimate

State = Literal["up", "down", "flat", "unknown"]

POWER = 0.8
DEFAULT_MARGIN = {"share": 0.02}
DEFAULT_RELATIVE_MARGIN = 0.10


class Series(Struct, frozen=True, kw_only=True):
    """One model on one benchmark as long as what was asked stayed the same.

    ``state`` is that of the last point against ``reference``, the mean of the first points as they are shown;
    ``difference`` is over the items that all have a score of, where they asked the same. ``detectable`` is the change
    that would have been found with a power of 80 %; ``margin`` is how small a change must be to be called flat.
    ``broke`` says what changed since the series before. ``drift`` is the spread between runs beyond their own errors.
    """

    metric: str
    model: str
    benchmark: str
    unit: str
    points: tuple[Point, ...]
    state: State
    difference: Estimate | None
    reference: float | None
    detectable: float | None
    margin: float | None
    changes: tuple[Change, ...] = ()
    drift: float | None = None
    broke: str | None = None
    method: str = ""
    reason: str = ""


def trends(metric: str, observed: Sequence[Observed], *, by: By = "run", margin: float | None = None) -> list[Series]:
    """Every series of a metric, in order of time within a model and benchmark. ``margin`` is in the metric's unit."""
    found: list[Series] = []
    keys = dict.fromkeys((one.info.model, one.info.label) for one in observed)
    for key in keys:
        of_key = sorted((one for one in observed if (one.info.model, one.info.label) == key), key=lambda one: one.at)
        for broke, stretch in stretches(of_key):
            found.append(_series(metric, stretch, by, margin, broke))
    return found


def _series(metric: str, stretch: Sequence[Observed], by: By, margin: float | None, broke: str | None) -> Series:
    known = [one for one in stretch if one.estimate.value is not None]
    points, figures = points_of(known, run_errors(known), by)
    last = stretch[-1]
    series = Series(
        metric=metric,
        model=last.info.model,
        benchmark=last.info.label,
        unit=last.estimate.unit,
        points=tuple(points),
        state="unknown",
        difference=None,
        reference=None,
        detectable=None,
        margin=margin,
        broke=broke,
        method=figures.method,
        reason="" if points else last.estimate.status,
    )
    return _judged(series, figures) if points else series


def _judged(series: Series, figures: Figures) -> Series:
    """The series with its state, its change points, and which of its points are signals."""
    values, errors = figures.values.tolist(), figures.errors
    margin = _margin(series, values)
    if len(values) < 2:
        return replace(series, margin=margin, reason="one point: nothing to compare it with")
    if any(point.se is None for point in series.points):
        return replace(series, margin=margin, reason="a point without an interval says nothing of change")
    is_timed = series.unit in UNITS_OF_HARDWARE
    if is_timed and len(values) <= REFERENCE_RUNS:
        reason = f"how much such runs differ among themselves is known from {REFERENCE_RUNS + 1} runs on"
        return replace(series, margin=margin, reason=reason)
    reference = reference_of(values, errors, is_timed=is_timed)
    signals = signals_of(values, errors, reference)
    difference, detectable = _difference(series, figures, reference)
    state = _state(difference, is_signal=signals[-1], margin=margin)
    points = [
        replace(point, change=value - reference.mean if i >= reference.first else None, is_signal=signals[i])
        for i, (point, value) in enumerate(zip(series.points, values, strict=True))
    ]
    return replace(
        series,
        points=tuple(points),
        state=state,
        difference=difference,
        reference=_shown(series.points, reference),
        detectable=detectable,
        margin=margin,
        changes=changes_of(series.points, values, errors, is_scattered=is_timed or reference.are_uneven),
        drift=math.sqrt(reference.tau2) or None,
    )


def _margin(series: Series, values: Sequence[float]) -> float:
    if series.margin is not None:
        return series.margin
    return DEFAULT_MARGIN.get(series.unit, DEFAULT_RELATIVE_MARGIN * abs(values[0]))


def _shown(points: Sequence[Point], reference: Reference) -> float:
    """The mean of the first points as they stand in a table, each over all the items that it has a score of."""
    return float(reference.weights @ [point.estimate.value or 0.0 for point in points[: reference.first]])


def _difference(series: Series, figures: Figures, reference: Reference) -> tuple[Estimate, float | None]:
    """The last point less the reference with its 95 % interval, and what the looks' level would have found."""
    apart = float(reference.apart(figures.errors)[-1])
    reach = apart * reference.reach(0.975)
    value = float(figures.values[-1]) - reference.mean
    alpha = level_of_a_look(len(figures.values))
    estimate = Estimate(
        metric=series.metric,
        value=value,
        low=value - reach,
        high=value + reach,
        level=0.95,
        n=series.points[-1].estimate.n if figures.n is None else figures.n,
        method=series.method,
        unit=series.unit,
        estimand=series.points[-1].estimate.estimand,
    )
    return estimate, stats.minimum_detectable_effect(n=1, omega2=apart**2, alpha=alpha, power=POWER).mde


def _state(difference: Estimate, *, is_signal: bool, margin: float) -> State:
    assert difference.value is not None
    assert difference.low is not None
    assert difference.high is not None
    if is_signal:
        return "up" if difference.value > 0 else "down"
    return "flat" if -margin < difference.low and difference.high < margin else "unknown"
