"""Trends in words: what is said of change agrees with the state, and what looks as if it did not is explained."""

import msgspec
import pytest

from steelyard.analysis.trend import Change, Point, Series
from steelyard.report.comparing.trends import trend_sentence
from steelyard.types import Estimate

CHANGE = Change(at="#7", earliest="#6", latest="#8", before=1.0, after=1.5, p=0.001)


def series(state, low, high, changes=()):
    def of(value, **bounds):
        return Estimate(metric="latency.p50", value=value, n=100, method="each run's own interval", unit="s", **bounds)

    points = [Point(label=f"#{i}", at="2026-11-26", runs=(i,), estimate=of(1.0), se=0.1, change=None if i < 5 else 0.1)
              for i in range(1, 10)]  # fmt: skip
    return Series(metric="latency.p50", model="m", benchmark="b", unit="s", points=tuple(points), state=state,
                  difference=of(0.2, low=low, high=high, level=0.95), reference=1.0, detectable=0.4, margin=0.1,
                  changes=changes)  # fmt: skip


@pytest.mark.parametrize(("low", "explained"), [(0.05, True), (-0.05, False)])
def test_an_interval_without_0_that_is_no_change_yet_is_explained(low, explained):
    words = trend_sentence(series("unknown", low, 0.35))
    assert "no change detected" in words
    assert ("one in twenty does by luck" in words) == explained


@pytest.mark.parametrize(("state", "explained"), [("unknown", True), ("flat", True), ("up", False)])
def test_a_dated_change_that_the_last_point_alone_does_not_show_is_explained(state, explained):
    words = trend_sentence(series(state, -0.05, 0.35, (CHANGE,)))
    assert "The level changed at #7 (#6 to #8)" in words
    assert ("#9 alone does not show it" in words) == explained


def test_that_the_first_runs_differ_beyond_their_errors_is_told_with_the_interval_that_allows_for_it():
    scattered = msgspec.structs.replace(series("unknown", -0.05, 0.35), drift=0.12)
    assert "each run's own interval; the first runs differ beyond that by 120 ms (SD)" in trend_sentence(scattered)
    assert "differ beyond" not in trend_sentence(series("unknown", -0.05, 0.35))
