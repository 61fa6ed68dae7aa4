"""The bootstrap: scipy's own, Fieller's set and the clustered error by other means; silence where it knows nothing."""

import numpy as np
import pytest
import scipy.stats as oracle
from hypothesis import given
from hypothesis import strategies as st

import steelyard.stats as stats


def test_a_mean_is_bounded_as_scipy_bounds_it():
    generator = np.random.default_rng(1)
    for _ in range(5):
        values = generator.lognormal(size=40)
        found = stats.ratio_interval_bca(numerator=values, draws=20_000)
        known = oracle.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=generator)
        width = known.confidence_interval.high - known.confidence_interval.low
        assert found.value == pytest.approx(values.mean())
        assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval), abs=0.05 * width)


def test_a_ratio_is_bounded_as_scipy_bounds_it_and_near_fiellers_set():
    generator = np.random.default_rng(2)
    right = (generator.random(300) < 0.4).astype(float)
    cost = generator.gamma(2, 0.001, 300) * (1 + right)
    found = stats.ratio_interval_bca(numerator=cost, denominator=right, draws=20_000)
    known = oracle.bootstrap(
        (cost, right),
        lambda c, r, axis: c.sum(axis) / r.sum(axis),
        paired=True,
        n_resamples=20_000,
        method="BCa",
        rng=generator,
    ).confidence_interval
    fieller = stats.ratio_interval_fieller(numerator=cost, denominator=right)
    width = fieller.high - fieller.low
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.04 * width)
    assert (found.low, found.high) == pytest.approx((fieller.low, fieller.high), abs=0.1 * width)
    assert found.value == pytest.approx(fieller.ratio)


def test_clusters_are_drawn_whole():
    generator = np.random.default_rng(3)
    clusters = np.repeat(np.arange(60), 10)
    values = generator.normal(size=60)[clusters] + generator.normal(size=600) + 5
    found = stats.ratio_interval_bca(numerator=values, clusters=clusters)
    error = stats.cluster_se(scores=values, clusters=clusters).se
    assert found.units == 60
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.08)
    apart = stats.ratio_interval_bca(numerator=values)
    assert apart.high - apart.low < 0.6 * (found.high - found.low)


@given(st.permutations(range(15)), st.floats(0.01, 100))
def test_neither_order_nor_unit_changes_it(order, scale):
    generator = np.random.default_rng(4)
    cost, right = generator.gamma(2, 1, 15), np.r_[np.ones(11), np.zeros(4)]
    found = stats.ratio_interval_bca(numerator=cost, denominator=right, draws=300)
    same = list(order)
    back = stats.ratio_interval_bca(numerator=scale * cost[same], denominator=right[same], draws=300)
    assert (back.low, back.high) == pytest.approx((scale * found.low, scale * found.high))


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_without_units_or_spread_there_are_no_bounds(values):
    found = stats.ratio_interval_bca(numerator=values)
    assert (found.low, found.high) == (None, None)
    assert (found.value is None) == (not values)


def test_a_denominator_that_a_resample_may_lose_bounds_nothing_above():
    found = stats.ratio_interval_bca(numerator=[1.0, 1.1, 0.9, 1.2, 1.0, 0.8], denominator=[1, 1, 0, 0, 0, 0])
    assert found.value == pytest.approx(3.0)
    assert found.high is None
    assert stats.ratio_interval_bca(numerator=[1.0, 2.0], denominator=[0, 0]).value is None


@pytest.mark.long
@pytest.mark.parametrize(("n", "right"), [(100, 0.4), (300, 0.2)])
def test_a_cost_per_right_answer_is_covered(n, right):
    generator = np.random.default_rng(n)
    hits = []
    for _ in range(1000):
        answers = (generator.random(n) < right).astype(float)
        cost = generator.gamma(2, 0.001, n) * (1 + answers)
        found = stats.ratio_interval_bca(numerator=cost, denominator=answers, draws=1000)
        hits.append(found.low <= 0.002 * (1 + right) / right <= found.high)
    assert 0.93 <= np.mean(hits) <= 0.97
