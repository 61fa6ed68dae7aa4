"""Series of runs: other ways to the same numbers, silence where nothing changed, and None where nothing is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import steelyard.stats as stats

series = st.lists(st.floats(0, 1).map(lambda value: round(value, 3)), max_size=20)


def test_a_line_is_the_weighted_least_squares_one():
    generator = np.random.default_rng(1)
    y, se = generator.random(9), generator.uniform(0.01, 0.1, size=9)
    x = np.array([0, 7, 14, 21, 28, 42, 49, 56, 70.0])
    found = stats.trend_known_se(scores=y, se=se, times=x)
    design = np.column_stack([np.ones(9), x])
    covariance = np.linalg.inv(design.T @ np.diag(1 / se**2) @ design)
    line = covariance @ design.T @ (y / se**2)
    assert found.slope == pytest.approx(line[1])
    assert found.slope_se == pytest.approx(np.sqrt(covariance[1, 1]))


@given(series)
def test_a_series_read_backwards_has_the_opposite_slope_and_the_same_spread(scores):
    found = stats.trend_known_se(scores=scores, se=[0.02] * len(scores))
    turned = stats.trend_known_se(scores=scores[::-1], se=[0.02] * len(scores))
    if len(scores) < 2:
        assert (found.slope, found.cochran_q, found.tau2) == (None, None, None)
        return
    assert found.slope == pytest.approx(-turned.slope, abs=1e-9)
    assert found.cochran_q == pytest.approx(turned.cochran_q, abs=1e-9)
    assert found.slope_se > 0


@pytest.mark.parametrize(
    ("scores", "se"),
    [([], []), ([0.5], [0.01]), ([0.5, 0.6], [0.01, 0.0]), ([0.5, np.nan], [0.1, 0.1]), ([0.5, 0.5], [0.1, np.nan])],
)
def test_errors_that_are_unknown_or_zero_give_no_slope(scores, se):
    found = stats.trend_known_se(scores=scores, se=se)
    assert (found.slope, found.slope_p) == (None, None)
    change = stats.change_point(scores=scores, se=se)
    assert (change.index, change.p, change.plausible) == (None, None, ())


def test_runs_on_one_date_have_no_slope():
    found = stats.trend_known_se(scores=[0.5, 0.6, 0.7], se=[0.1] * 3, times=[1, 1, 1])
    assert found.slope is None
    assert found.cochran_q == pytest.approx(2.0)


@given(series, st.floats(-1, 1))
def test_charts_turn_with_the_data_and_move_with_the_target(values, shift):
    found = stats.ewma_chart(values=values, target=0.5, sigma=0.1)
    turned = stats.ewma_chart(values=[1 - value for value in values], target=0.5, sigma=0.1)
    assert [1 - value for value in turned.ewma] == pytest.approx(list(found.ewma))
    moved = stats.cusum(values=[value + shift for value in values], target=0.5 + shift, k=0.05, h=0.4)
    sums = stats.cusum(values=values, target=0.5, k=0.05, h=0.4)
    mirrored = stats.cusum(values=[1 - value for value in values], target=0.5, k=0.05, h=0.4)
    assert list(moved.high) == pytest.approx(list(sums.high), abs=1e-9)
    assert list(mirrored.low) == pytest.approx(list(sums.high), abs=1e-9)


def test_nothing_signals_nothing():
    assert stats.ewma_chart(values=[], target=0.5, sigma=0.1).signals == ()
    assert stats.cusum(values=[], target=0.5, k=0.1, h=1).first_signal_index_1based is None


def test_a_step_is_found_where_it_is():
    generator = np.random.default_rng(2)
    scores = np.where(np.arange(20) < 12, 0.80, 0.74) + generator.normal(0, 0.01, size=20)
    found = stats.change_point(scores=scores, se=[0.01] * 20, draws=2000)
    assert found.index == 12
    assert found.p < 0.001
    assert 12 in found.plausible
    assert (found.before, found.after) == (pytest.approx(0.80, abs=0.01), pytest.approx(0.74, abs=0.01))
    again = stats.change_point(scores=scores, se=[0.01] * 20, draws=2000)
    assert again == found
    turned = stats.change_point(scores=scores[::-1], se=[0.01] * 20, draws=2000)
    assert turned.index == 8


def test_a_slow_drift_is_signalled_by_both_charts():
    values = 0.8 - 0.004 * np.arange(20)
    assert stats.ewma_chart(values=values, target=0.8, sigma=0.015).signals
    assert stats.cusum(values=values, target=0.8, k=0.0075, h=0.06).first_signal_index_1based is not None


def flat(generator, size, runs=12, sigma=0.02):
    return 0.8 + generator.normal(0, sigma, size=(size, runs))


def test_a_flat_series_of_twelve_runs_seldom_raises_an_arrow():
    draws = flat(np.random.default_rng(3), 3000)
    smoothed = [bool(stats.ewma_chart(values=row, target=0.8, sigma=0.02).signals) for row in draws]
    sums = [stats.cusum(values=row, target=0.8, k=0.01, h=0.1).first_signal_index_1based for row in draws]
    assert np.mean(smoothed) <= 0.05
    assert np.mean([found is not None for found in sums]) <= 0.03
    weekly = (np.abs(np.diff(draws)) > 1.96 * 0.02 * np.sqrt(2)).any(axis=1)
    assert weekly.mean() > 0.3


def test_homogeneity_and_slope_err_as_often_as_they_say():
    found = [stats.trend_known_se(scores=row, se=[0.02] * 12) for row in flat(np.random.default_rng(4), 3000)]
    assert np.mean([one.q_p <= 0.05 for one in found]) == pytest.approx(0.05, abs=0.013)
    assert np.mean([one.slope_p <= 0.05 for one in found]) == pytest.approx(0.05, abs=0.013)


@pytest.mark.long
def test_change_points_of_flat_series_err_as_often_as_they_say():
    se = np.random.default_rng(5).uniform(0.01, 0.03, size=12)
    draws = np.random.default_rng(6).normal(0.8, se, size=(2000, 12))
    found = [stats.change_point(scores=row, se=se, draws=499, seed=i).p <= 0.05 for i, row in enumerate(draws)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.015)


@pytest.mark.long
@pytest.mark.parametrize("own_error", [0.0, 1.0])
@pytest.mark.parametrize("runs", [8, 12, 30])
def test_flat_series_that_scatter_by_an_unknown_amount_err_no_more_often_than_they_say(runs, own_error):
    generator, found = np.random.default_rng(runs), []
    known = own_error * generator.uniform(0.7, 1.3, size=runs)
    for i in range(2000):
        scores = generator.normal(size=runs) + known * generator.normal(size=runs)
        steps = np.diff(scores) ** 2 - known[1:] ** 2 - known[:-1] ** 2
        se = np.sqrt(known**2 + max(0.0, steps.mean() / 2))
        found.append(stats.change_point(scores=scores, se=se, is_scattered=True, draws=199, seed=i).p <= 0.01)
    assert np.mean(found) <= 0.017  # an error of 0.2 points; taken as known it is 0.02 to 0.05


@pytest.mark.long
def test_flat_series_of_heavy_tails_seldom_seem_to_change():
    generator, found = np.random.default_rng(11), []
    for i in range(2000):
        scores = generator.standard_t(3, size=12)
        se = np.full(12, np.sqrt((np.diff(scores) ** 2).mean() / 2))
        found.append(stats.change_point(scores=scores, se=se, is_scattered=True, draws=199, seed=i).p <= 0.01)
    assert np.mean(found) <= 0.025


@pytest.mark.long
def test_plausible_places_hold_the_true_one():
    generator = np.random.default_rng(7)
    true = np.where(np.arange(16) < 9, 0.80, 0.76)
    hits = 0
    for _ in range(1500):
        found = stats.change_point(scores=true + generator.normal(0, 0.02, size=16), se=[0.02] * 16, draws=1)
        hits += 9 in found.plausible
    assert hits / 1500 >= 0.92


def test_scores_are_as_homogeneous_as_cochran_says_where_their_errors_are_independent():
    scores, errors = [0.70, 0.74, 0.69, 0.80], [0.02, 0.03, 0.02, 0.04]
    found = stats.homogeneity(scores=scores, covariance=np.diag(np.square(errors)))
    known = stats.trend_known_se(scores=scores, se=errors)
    assert (found.q, found.p, found.tau2) == pytest.approx((known.cochran_q, known.q_p, known.tau2))
    common = stats.homogeneity(scores=scores, covariance=np.diag(np.square(errors)) + 0.01)
    assert (common.q, common.tau2) == pytest.approx((found.q, found.tau2))
    assert stats.homogeneity(scores=scores, covariance=np.ones((4, 4))).q is None


def test_an_error_that_all_runs_share_is_no_change_and_one_of_half_of_them_is_doubt():
    scores, errors = np.r_[np.full(6, 0.7), np.full(6, 0.76)], np.full(12, 0.02)
    alone = stats.change_point(scores=scores, se=errors)
    common = stats.change_point(scores=scores, se=errors, shared=np.full((12, 12), 0.01))
    assert (alone.index, common.index, common.statistic) == (6, 6, pytest.approx(alone.statistic))
    assert common.p < 0.01
    of_halves = np.kron(np.eye(2), np.full((6, 6), 0.02**2))
    assert stats.change_point(scores=scores, se=errors, shared=of_halves).p > 0.1
