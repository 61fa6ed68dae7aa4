"""The places of a series: a run, or all runs of a day or a week, with what a reader should know of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from steelyard.analysis.compare_measures import are_other_loads, in_words
from steelyard.analysis.pairing import settings_apart
from steelyard.analysis.trend.observed import UNITS_OF_TIME, Observed
from steelyard.analysis.trend.run_errors import Figures
from steelyard.types import Estimate

By = Literal["run", "day", "week"]

MUCH_LOST = 0.01


class Point(Struct, frozen=True, kw_only=True):
    """One place of a series: its runs, their estimate, and ``se``, the error that a change is judged by.

    ``ended`` names those of its runs that ended early by a rule, ``lost`` those of which much has no score,
    ``settings`` those that were asked with other settings than the run before, and ``loads`` those whose times were
    taken under another load than before: either may be what changed the figure.
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
    loads: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """All that a reader should know of it."""
        return (*self.settings, *self.loads, *self.ended, *self.lost)


def points_of(known: Sequence[Observed], of_runs: Figures, by: By) -> tuple[list[Point], Figures]:
    """The runs gathered by what they are shown by, in order of time, with the points' figures from the runs' own."""
    buckets: dict[str, list[int]] = {}
    for place, one in enumerate(known):
        buckets.setdefault(_bucket(one, by), []).append(place)
    weights = np.zeros((len(buckets), len(known)))
    for row, places in zip(weights, buckets.values(), strict=True):
        row[places] = 1 / len(places)
    gathered = of_runs if by == "run" else of_runs.gathered(weights)
    settings, loads = _settings(known), _loads(known)
    return [
        replace(
            _point(label, [known[i] for i in places], se),
            settings=tuple(words for i in places if (words := settings[i])),
            loads=tuple(words for i in places if (words := loads[i])),
        )
        for (label, places), se in zip(buckets.items(), gathered.errors.each.tolist(), strict=True)
    ], gathered


def _settings(known: Sequence[Observed]) -> list[str]:
    """For each run the settings in which it differs from the one before, in words."""
    found = [""]
    for before, now in pairwise(known):
        differing = settings_apart(now.info, before.info)
        found.append(f"run #{now.run} and run #{before.run}: their settings differ: {differing}" if differing else "")
    return found


def _loads(known: Sequence[Observed]) -> list[str]:
    """For each run whose times were taken under another load than those before it, that they were, once."""
    found: list[str] = []
    before: tuple[float, int] | None = None
    for one in known:
        found.append("")
        if one.in_flight is None or one.estimate.unit not in UNITS_OF_TIME:
            continue
        now = one.in_flight, one.run
        if before is not None and are_other_loads(before[0], now[0]):
            found[-1] = in_words(*before, *now)
            before = now
        before = before or now
    return found


def _bucket(one: Observed, by: By) -> str:
    if by == "run":
        return f"#{one.run}"
    if by == "day":
        return one.at[:10]
    year, week, _ = datetime.fromisoformat(one.at).isocalendar()
    return f"{year}-W{week:02d}"


def _point(label: str, runs: Sequence[Observed], se: float) -> Point:
    return Point(
        label=label,
        at=runs[-1].at,
        runs=tuple(one.run for one in runs),
        estimate=_mean([one.estimate for one in runs]),
        se=None if math.isnan(se) else se,
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
