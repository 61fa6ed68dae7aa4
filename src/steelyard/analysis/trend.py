"""A metric over runs: an arrow where a change was detected, the word flat where its absence was, else unknown.

Runs on the same items are compared by what their answers vary, not by what a sample of questions does: the binomial
error would hide a drift. Each run is held against the first ones, with a level that allows for a look after every run;
a moving average finds what is slow. Where the data, the words asked, or for times the machine changed, a new series
begins, and nothing is said across the break.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from steelyard import stats
from steelyard.analysis.accuracy import is_over_strata, stratum_weights
from steelyard.analysis.compare import standard_error
from steelyard.analysis.estimates import Context, item_means
from steelyard.analysis.pairing import differing_judges, differing_settings
from steelyard.types import CellInfo, Columns, Estimate

State = Literal["up", "down", "flat", "unknown"]

REFERENCE_RUNS = 4
LOOKS = 11
"""A reader looks after each run: the level is shared among this many looks, or as many as there are runs."""
ALPHA = 0.025
MUCH_LOST = 0.01
LAMBDA, LIMITS = 0.3, 2.7
"""Of the moving average: 1 % false signals in 12 runs, beside the 2.5 % of the comparisons with the first runs."""
OVERDISPERSED, SURELY = 1.5, 0.05
FEWEST_FOR_CHANGE_POINTS = 8
CHANGE_POINT_P = 0.01
MOSTLY = 0.95
POWER = 0.8
SAME_SERIES = (
    "dataset_digest",
    "benchmark_version",
    "protocol",
    "protocol_version",
    "prompt_digest",
    "shots",
    "kind",
    "asked_as",
)
OF_A_CHANGE = {"dataset_digest": "data", "benchmark_version": "data", "prompt_digest": "the words asked"}
MACHINE = ("processor", "cores", "architecture", "system")
UNITS_OF_HARDWARE = ("s", "tokens/s", "requests/s", "MB", "cores", "W")
DEFAULT_MARGIN = {"share": 0.02}
DEFAULT_RELATIVE_MARGIN = 0.10


class Observed(Struct, frozen=True, kw_only=True):
    """What one run has to say of a metric.

    ``items`` and ``scores`` are its items' own values, where it has such, each as it weighs in the mean. ``ended``:
    that it ended early by a rule, in words. ``lost``: how many of how many requests have no score.
    """

    run: int
    name: str
    at: str
    info: CellInfo
    machine: dict[str, Any] = {}
    estimate: Estimate
    items: np.ndarray | None = None
    scores: np.ndarray | None = None
    ended: str | None = None
    lost: tuple[int, int] = (0, 0)


class Point(Struct, frozen=True, kw_only=True):
    """One place of a series: its runs, their estimate, and ``se``, the error that a change is judged by.

    ``ended`` names those of its runs that ended early by a rule, ``lost`` those of which much has no score, and
    ``settings`` those that were asked with other settings than the run before, which may be what changed the figure.
    """

    label: str
    at: str
    runs: tuple[int, ...]
    estimate: Estimate
    se: float | None
    change: float | None = None
    is_signal: bool = False
    ended: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


class Change(Struct, frozen=True, kw_only=True):
    """A change of level: its likeliest first point, the first and last that are plausible, both levels, p.

    Judged in the light of all runs so far: later ones may move it.
    """

    at: str
    earliest: str
    latest: str
    before: float
    after: float
    p: float


class Series(Struct, frozen=True, kw_only=True):
    """One model on one benchmark as long as what was asked stayed the same.

    ``state`` is that of the last point against ``reference``, the mean of the first points; ``detectable`` is the
    change that would have been found with a power of 80 %; ``margin`` is how small a change must be to be called flat.
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


class _Split(Struct, frozen=True, kw_only=True):
    """A place where the level changed, as places in the series: the likeliest, the first and last plausible."""

    at: int
    earliest: int
    latest: int
    p: float


class _Judged(Struct, frozen=True, kw_only=True):
    """What the first points are, and how far a later one may be from them."""

    reference: float
    se: float
    first: int
    tau2: float
    df: int | None


def trends(
    metric: str, observed: Sequence[Observed], *, by: Literal["run", "day", "week"] = "run", margin: float | None = None
) -> list[Series]:
    """Every series of a metric, in order of time within a model and benchmark. ``margin`` is in the metric's unit."""
    found: list[Series] = []
    keys = dict.fromkeys((one.info.model, one.info.label) for one in observed)
    for key in keys:
        of_key = sorted((one for one in observed if (one.info.model, one.info.label) == key), key=lambda one: one.at)
        for broke, stretch in _stretches(of_key):
            found.append(_series(metric, stretch, by, margin, broke))
    return found


def weighed_items(metric: str, columns: Columns, info: CellInfo) -> tuple[np.ndarray, np.ndarray]:
    """The scored items and their scores, each as it weighs in the metric's mean: their plain mean is the metric."""
    scores = columns.scores[metric]
    is_scored = ~np.isnan(scores)
    asked = columns.sample[is_scored]
    items, first = np.unique(asked, return_index=True)
    means = item_means(scores[is_scored], asked)
    if not is_over_strata(columns, Context(info=info)) or not len(items):
        return items, means
    codes, membership, sizes = np.unique(columns.stratum[is_scored][first], return_inverse=True, return_counts=True)
    weights = stratum_weights([columns.strata[code] for code in codes.tolist()], info.families)
    return items, means * (weights / sizes)[membership] * len(items)


def _stretches(observed: Sequence[Observed]) -> list[tuple[str | None, list[Observed]]]:
    """The runs cut where something changed that makes them another measurement."""
    found: list[tuple[str | None, list[Observed]]] = []
    for one in observed:
        change = _changed(found[-1][1][-1], one) if found else None
        if not found or change:
            found.append((change, []))
        found[-1][1].append(one)
    return found


def _changed(before: Observed, now: Observed) -> str | None:
    names = [name for name in SAME_SERIES if getattr(before.info, name) != getattr(now.info, name)]
    words = [OF_A_CHANGE.get(name, name.replace("_", " ")) for name in names]
    words += ["the judge"] if differing_judges(before.info, now.info) else []
    if now.estimate.unit in UNITS_OF_HARDWARE:
        words += [f"the machine's {name}" for name in MACHINE if before.machine.get(name) != now.machine.get(name)]
    return " and ".join(dict.fromkeys(words)) or None


def _series(
    metric: str, stretch: Sequence[Observed], by: Literal["run", "day", "week"], margin: float | None, broke: str | None
) -> Series:
    known = [one for one in stretch if one.estimate.value is not None]
    errors, method = _errors(known)
    points = _grouped(known, errors, by)
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
        method=method,
        reason="" if points else last.estimate.status,
    )
    return _judged(series) if points else series


def _errors(known: Sequence[Observed]) -> tuple[list[float | None], str]:
    """The error of each run by which a change is judged, and what it is."""
    shared = _on_same_items(known)
    if shared is not None:
        return list(_noise(shared)), f"the same {shared.shape[1]:,} items, by how their answers vary"
    return [standard_error(one.estimate) for one in known], "each run's own interval"


def _on_same_items(known: Sequence[Observed]) -> np.ndarray | None:
    """Item scores, one row a run, over the items that every run has scored; ``None`` where runs asked other items."""
    asked = [one.items for one in known if one.items is not None]
    if len(known) < 2 or len(asked) < len(known):
        return None
    common = asked[0]
    for items in asked[1:]:
        common = np.intersect1d(common, items)
    if len(common) < max(2, MOSTLY * max(map(len, asked))):
        return None
    rows = [_scores_of(one, common) for one in known]
    return np.stack(rows)


def _scores_of(one: Observed, items: np.ndarray) -> np.ndarray:
    assert one.items is not None
    assert one.scores is not None
    order = np.argsort(one.items)
    return np.asarray(one.scores[order][np.searchsorted(one.items, items, sorter=order)])


def _noise(scores: np.ndarray) -> list[float]:
    """The error of each run's mean over fixed items: half the variance of an item's change from run to run.

    Two pairs that disagree are added, as Bonett & Price 2012 do, or one flipped answer in a few hundred would look
    exact. A run that changed more than usual has its own error.
    """
    runs, n = scores.shape
    steps = np.diff(scores, axis=0)
    of_steps = ((steps**2).sum(axis=1) + 2) / (n + 2) - steps.mean(axis=1) ** 2
    usual = float(steps.var(axis=1).mean())
    variances = [max(usual, float(of_steps.min())), *(max(usual, own) for own in of_steps.tolist())]
    assert len(variances) == runs
    return [math.sqrt(variance / 2 / n) for variance in variances]


def _grouped(
    known: Sequence[Observed], errors: Sequence[float | None], by: Literal["run", "day", "week"]
) -> list[Point]:
    buckets: dict[str, list[int]] = {}
    for place, one in enumerate(known):
        buckets.setdefault(_bucket(one, by), []).append(place)
    told = _settings(known)
    return [
        replace(
            _point(label, [known[i] for i in places], [errors[i] for i in places]),
            settings=tuple(words for i in places if (words := told[i])),
        )
        for label, places in buckets.items()
    ]


def _settings(known: Sequence[Observed]) -> list[str]:
    """For each run the settings in which it differs from the one before, in words."""
    found = [""]
    for before, now in pairwise(known):
        differing = ", ".join(
            f"{one.field.replace('_', ' ')} {one.a!r} against {one.b!r}"
            for one in differing_settings(now.info, before.info)
        )
        found.append(f"run #{now.run} and run #{before.run}: their settings differ: {differing}" if differing else "")
    return found


def _bucket(one: Observed, by: Literal["run", "day", "week"]) -> str:
    if by == "run":
        return f"#{one.run}"
    if by == "day":
        return one.at[:10]
    from datetime import datetime

    year, week, _ = datetime.fromisoformat(one.at).isocalendar()
    return f"{year}-W{week:02d}"


def _point(label: str, runs: Sequence[Observed], errors: Sequence[float | None]) -> Point:
    known = [error for error in errors if error is not None]
    se = math.hypot(*known) / len(runs) if len(known) == len(runs) else None
    return Point(
        label=label,
        at=runs[-1].at,
        runs=tuple(one.run for one in runs),
        estimate=_mean([one.estimate for one in runs]),
        se=se,
        ended=tuple(one.ended for one in runs if one.ended),
        lost=tuple(_lost(one) for one in runs if one.lost[0] > MUCH_LOST * one.lost[1]),
    )


def _lost(one: Observed) -> str:
    lost, of = one.lost
    return f"run #{one.run}: {lost:,} of {of:,} requests failed or could not be graded; the others are what is shown"


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """Several runs' mean; its interval is as wide as theirs are on average, since they may share their items."""
    if len(estimates) == 1:
        return estimates[0]
    value = float(np.mean([one.value for one in estimates if one.value is not None]))
    bounds = [(one.low, one.high) for one in estimates if one.low is not None and one.high is not None]
    low, high = np.mean(bounds, axis=0).tolist() if len(bounds) == len(estimates) else (None, None)
    return replace(estimates[-1], value=value, low=low, high=high, method=f"mean of {len(estimates)} runs")


def _judged(series: Series) -> Series:
    """The series with its state, its change points, and which of its points are signals."""
    values = [point.estimate.value or 0.0 for point in series.points]
    margin = _margin(series, values)
    if len(values) < 2:
        return replace(series, margin=margin, reason="one point: nothing to compare it with")
    if any(point.se is None for point in series.points):
        return replace(series, margin=margin, reason="a point without an interval says nothing of change")
    errors = [point.se or 0.0 for point in series.points]
    if series.unit in UNITS_OF_HARDWARE and len(values) <= REFERENCE_RUNS:
        reason = f"how much such runs differ among themselves is known from {REFERENCE_RUNS + 1} runs on"
        return replace(series, margin=margin, reason=reason)
    judged = _reference(series, values, errors)
    signals = _signals(values, errors, judged)
    difference, detectable = _difference(series, values, errors, judged)
    state = _state(difference, is_signal=signals[-1], margin=margin)
    points = [
        replace(point, change=value - judged.reference if i >= judged.first else None, is_signal=signals[i])
        for i, (point, value) in enumerate(zip(series.points, values, strict=True))
    ]
    return replace(
        series,
        points=tuple(points),
        state=state,
        difference=difference,
        reference=judged.reference,
        detectable=detectable,
        margin=margin,
        changes=_changes(series.points, values, errors, judged.tau2),
        drift=math.sqrt(judged.tau2) or None,
    )


def _margin(series: Series, values: Sequence[float]) -> float:
    if series.margin is not None:
        return series.margin
    return DEFAULT_MARGIN.get(series.unit, DEFAULT_RELATIVE_MARGIN * abs(values[0]))


def _reference(series: Series, values: Sequence[float], errors: Sequence[float]) -> _Judged:
    """The mean of the first points, and whether these differ by more than their errors, as times always may."""
    first = min(REFERENCE_RUNS, len(values) - 1)
    found = stats.trend_known_se(scores=values[:first], se=errors[:first])
    tau2, df = 0.0, None
    is_timed = series.unit in UNITS_OF_HARDWARE
    if first > 1 and found.cochran_q is not None and found.q_p is not None:
        if found.cochran_q / (first - 1) > OVERDISPERSED:
            tau2 = found.tau2 or 0.0
        if is_timed or found.q_p < SURELY:
            df = first - 1
    widened = [math.sqrt(error**2 + tau2) for error in errors[:first]]
    mean = stats.trend_known_se(scores=values[:first], se=widened).weighted_mean
    if mean is None:  # a point without any error of its own
        mean = float(np.mean(values[:first]))
    return _Judged(reference=mean, se=math.hypot(*widened) / first, first=first, tau2=tau2, df=df)


def _reach(judged: _Judged, level: float) -> float:
    """How many errors away the level is: by t where the spread of runs was estimated from the first ones."""
    return NormalDist().inv_cdf(level) if judged.df is None else stats.t_quantile(judged.df, level)


def _apart(errors: Sequence[float], judged: _Judged, weight: float = 1.0) -> np.ndarray:
    """The error of each point's distance from the reference, whose own error counts ``weight`` times."""
    return np.sqrt(np.asarray(errors) ** 2 + judged.tau2 + weight * judged.se**2)


def _signals(values: Sequence[float], errors: Sequence[float], judged: _Judged) -> list[bool]:
    """At which points, after the first ones, a change shows: at once, or in the moving average.

    An average smooths the points' errors and not the reference's, which all distances share. One point far off shows
    at once, and weighs in the average no more than it takes to show: back at the old level, nothing has changed.
    """
    later = slice(judged.first, None)
    away = (np.asarray(values) - judged.reference)[later]
    beyond = _reach(judged, 1 - ALPHA / 2 / max(LOOKS, len(values) - 1)) * _apart(errors[later], judged)
    slow = stats.ewma_chart(
        values=np.clip(away, -beyond, beyond) / _apart(errors[later], judged, (2 - LAMBDA) / LAMBDA),
        target=0.0,
        sigma=1.0,
        lam=LAMBDA,
        L=_reach(judged, NormalDist().cdf(LIMITS)),
    )
    at_once = np.abs(away) > beyond
    in_average = [i + 1 in slow.signals and slow.ewma[i] * away[i] > 0 for i in range(len(away))]
    return [False] * judged.first + [bool(now) or later for now, later in zip(at_once, in_average, strict=True)]


def _difference(
    series: Series, values: Sequence[float], errors: Sequence[float], judged: _Judged
) -> tuple[Estimate, float | None]:
    """The last point less the reference with its 95 % interval, and what the looks' level would have found."""
    apart = float(_apart(errors[-1:], judged)[0])
    reach = apart * _reach(judged, 0.975)
    value = values[-1] - judged.reference
    alpha = ALPHA / max(LOOKS, len(values) - 1)
    estimate = Estimate(
        metric=series.metric,
        value=value,
        low=value - reach,
        high=value + reach,
        level=0.95,
        n=series.points[-1].estimate.n,
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


def _changes(
    points: Sequence[Point], values: Sequence[float], errors: Sequence[float], tau2: float
) -> tuple[Change, ...]:
    """The places where the level changed, each with the levels between it and its neighbours."""
    widened = [math.sqrt(error**2 + tau2) for error in errors]
    found = _splits(values, widened, 0)
    edges = [0, *(split.at for split in found), len(values)]
    levels = [
        stats.trend_known_se(scores=values[start:end], se=widened[start:end]).weighted_mean
        for start, end in pairwise(edges)
    ]
    return tuple(
        Change(
            at=points[split.at].label,
            earliest=points[split.earliest].label,
            latest=points[split.latest].label,
            before=before or 0.0,
            after=after or 0.0,
            p=split.p,
        )
        for split, (before, after) in zip(found, pairwise(levels), strict=True)
    )


def _splits(values: Sequence[float], errors: Sequence[float], start: int) -> list[_Split]:
    """The whole series is searched, and then each part of it; ``start`` is where the part begins."""
    if len(values) < FEWEST_FOR_CHANGE_POINTS:
        return []
    found = stats.change_point(scores=values, se=errors)
    if found.index is None or found.p is None or found.p > CHANGE_POINT_P:
        return []
    here = _Split(
        at=start + found.index,
        earliest=start + min(found.plausible),
        latest=start + max(found.plausible),
        p=found.p,
    )
    before, after = slice(0, found.index), slice(found.index, len(values))
    return [
        *_splits(values[before], errors[before], start),
        here,
        *_splits(values[after], errors[after], start + found.index),
    ]
