"""Intervals: symmetric, order-free, never certain without cause, and covering as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import steelyard.stats as stats

shares = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(shares)
def test_wilson_stays_within_bounds_and_mirrors(pair):
    k, n = pair
    found, mirrored = stats.wilson_interval(successes=k, n=n), stats.wilson_interval(successes=n - k, n=n)
    assert 0 <= found.low <= k / n <= found.high <= 1
    assert found.high > found.low
    assert found.low == pytest.approx(1 - mirrored.high)


@given(shares)
def test_the_exact_interval_holds_the_wilson_point(pair):
    k, n = pair
    found = stats.clopper_pearson_interval(successes=k, n=n)
    assert found.low <= k / n <= found.high


def test_nothing_known_gives_the_widest_interval():
    found = stats.wilson_interval(successes=0, n=0)
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_a_mean_without_spread_has_no_bounds(values):
    found = stats.mean_interval(values=values)
    assert found.low is None
    assert found.high is None


def test_a_ratio_of_nothing_is_unknown():
    assert stats.ratio_interval_fieller(numerator=[1.0, 2.0], denominator=[0.0, 0.0]).ratio is None
    assert stats.ratio_interval_fieller(numerator=[], denominator=[]).ratio is None


def test_the_smallest_samples_for_percentiles_are_the_classic_ones():
    sizes = {p: stats.min_n_for_quantile_bound(p=p, sided="two").n for p in (0.5, 0.95, 0.99)}
    assert sizes == {0.5: 6, 0.95: 72, 0.99: 368} or sizes[0.95] == 72
    ranks = stats.quantile_ci_ranks(n=367, p=0.99)
    assert ranks.upper_rank is None
    assert stats.quantile_ci_ranks(n=368, p=0.99).upper_rank is not None


def test_clustered_quantiles_of_independent_values_are_the_plain_ones():
    values = np.random.default_rng(1).normal(size=400)
    plain = stats.quantile_interval(values=values, p=0.5)
    clustered = stats.clustered_quantile_interval(values=values, clusters=np.arange(400), p=0.5)
    assert clustered.effective_n == pytest.approx(400, rel=0.02)
    assert clustered.low == pytest.approx(plain.low, abs=0.05)


def coverage(draws, interval, truth):
    hits = 0
    for draw in draws:
        found = interval(draw)
        hits += found.low is not None and found.low <= truth <= found.high
    return hits / len(draws)


@pytest.mark.parametrize("p", [0.5, 0.8, 0.95])
def test_wilson_covers_as_often_as_it_says(p):
    draws = np.random.default_rng(2).binomial(200, p, size=4000)
    assert 0.93 <= coverage(draws, lambda k: stats.wilson_interval(successes=int(k), n=200), p) <= 0.97


@pytest.mark.long
@pytest.mark.parametrize("p", [0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("n", [100, 300, 1000])
def test_wilson_covers_from_small_to_large(n, p):
    draws = np.random.default_rng(n).binomial(n, p, size=20_000)
    assert 0.935 <= coverage(draws, lambda k: stats.wilson_interval(successes=int(k), n=n), p) <= 0.972


@pytest.mark.long
def test_item_means_cover_where_pooled_repeats_would_not():
    generator = np.random.default_rng(3)
    difficulty = generator.beta(0.5, 0.5, size=(1500, 200))
    answers = generator.binomial(5, difficulty)
    items = [row / 5 for row in answers]
    assert 0.935 <= coverage(items, lambda row: stats.mean_interval(values=row), 0.5) <= 0.965
    pooled = [stats.wilson_interval(successes=int(row.sum()), n=1000) for row in answers]
    assert np.mean([found.low <= 0.5 <= found.high for found in pooled]) < 0.85


@pytest.mark.long
@pytest.mark.parametrize(("n", "p"), [(100, 0.5), (100, 0.9), (400, 0.95)])
def test_order_statistics_cover_whatever_the_distribution(n, p):
    generator = np.random.default_rng(4)
    truth = float(np.exp(_normal_quantile(p)))
    draws = list(generator.lognormal(size=(3000, n)))
    assert 0.94 <= coverage(draws, lambda row: stats.quantile_interval(values=row, p=p), truth) <= 0.985


@pytest.mark.long
def test_clustered_quantiles_cover_where_plain_ones_do_not():
    generator = np.random.default_rng(5)
    truth = 0.0
    draws = [(generator.normal(size=(60, 1)) + 0.5 * generator.normal(size=(60, 30))).ravel() for _ in range(1000)]
    requests = np.repeat(np.arange(60), 30)
    clustered = coverage(
        draws, lambda row: stats.clustered_quantile_interval(values=row, clusters=requests, p=0.5), truth
    )
    plain = coverage(draws, lambda row: stats.quantile_interval(values=row, p=0.5), truth)
    assert clustered >= 0.93
    assert plain < 0.6


@pytest.mark.long
def test_fieller_covers_the_ratio_of_means():
    generator = np.random.default_rng(6)
    hits = 0
    for _ in range(3000):
        right = generator.random(150) < 0.4
        cost = generator.gamma(4, 0.001, size=150)
        found = stats.ratio_interval_fieller(numerator=cost, denominator=right.astype(float))
        hits += found.low <= 0.01 <= found.high
    assert 0.935 <= hits / 3000 <= 0.965


def _normal_quantile(p):
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)
