"""Percentiles of pairs and means over strata: mirrored, order-free, and covering as often as they say."""

import numpy as np
import pytest
import scipy.stats as oracle
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaincinv, ndtr, ndtri

import steelyard.stats as stats


def latencies(generator, n, factor=1.0, shared=0.6):
    """Two models' log-normal latencies on the same prompts, whose difficulty they share."""
    prompt = generator.normal(size=n)
    one, other = (shared**0.5 * prompt + (1 - shared) ** 0.5 * generator.normal(size=n) for _ in range(2))
    return factor * np.exp(0.5 * one), np.exp(0.5 * other)


def test_a_quantile_contrast_mirrors_and_takes_any_order_and_unit():
    a, b = latencies(np.random.default_rng(1), 400, 1.3)
    found, back = stats.paired_quantiles(a=a, b=b, p=0.5), stats.paired_quantiles(a=b, b=a, p=0.5)
    assert found.ratio == pytest.approx(float(np.median(a) / np.median(b)))
    assert found.difference == pytest.approx(float(np.median(a) - np.median(b)))
    assert found.ratio_low == pytest.approx(1 / back.ratio_high)
    assert found.difference_low == pytest.approx(-back.difference_high)
    order = np.random.default_rng(2).permutation(400)
    mixed = stats.paired_quantiles(a=a[order], b=b[order], p=0.5)
    assert (mixed.ratio_low, mixed.ratio_high) == pytest.approx((found.ratio_low, found.ratio_high))
    scaled = stats.paired_quantiles(a=1000 * a, b=1000 * b, p=0.5)
    assert (scaled.ratio_low, scaled.difference_low) == pytest.approx((found.ratio_low, 1000 * found.difference_low))


def test_pairing_narrows_and_repeats_count_as_one_item():
    a, b = latencies(np.random.default_rng(3), 400, shared=0.95)
    paired = stats.paired_quantiles(a=a, b=b, p=0.5)
    order = np.random.default_rng(4).permutation(400)
    apart = stats.paired_quantiles(a=a, b=b[order], p=0.5)
    assert paired.correlation > 0.7
    assert np.log(paired.ratio_high / paired.ratio_low) < 0.6 * np.log(apart.ratio_high / apart.ratio_low)
    items = np.repeat(np.arange(400), 3)
    thrice = stats.paired_quantiles(a=np.repeat(a, 3), b=np.repeat(b, 3), p=0.5, items_a=items, items_b=items)
    assert thrice.n == 400
    assert np.log(thrice.ratio_high / thrice.ratio_low) == pytest.approx(
        np.log(paired.ratio_high / paired.ratio_low), rel=0.25
    )


def test_it_agrees_with_a_bootstrap_over_pairs():
    a, b = latencies(np.random.default_rng(5), 800, 1.2)
    found = stats.paired_quantiles(a=a, b=b, p=0.95)
    drawn = np.random.default_rng(6).integers(0, 800, size=(4000, 800))
    ratios = np.quantile(a[drawn], 0.95, axis=1) / np.quantile(b[drawn], 0.95, axis=1)
    assert (np.log(found.ratio_low), np.log(found.ratio_high)) == pytest.approx(
        np.log(np.quantile(ratios, [0.025, 0.975])), abs=0.05
    )


@pytest.mark.parametrize("n", [0, 1, 5])
def test_too_few_values_have_a_point_at_most(n):
    found = stats.paired_quantiles(a=np.arange(1.0, n + 1), b=np.arange(1.0, n + 1), p=0.5)
    assert found.ratio_low is None
    assert (found.ratio is None) == (n == 0)


def test_a_contrast_with_one_side_unbounded_is_bounded_where_the_other_side_is():
    generator = np.random.default_rng(1)
    a, b = generator.lognormal(size=200), generator.lognormal(size=200)
    a[::25] = np.inf
    late = stats.paired_quantiles(a=a, b=b, p=0.95)
    assert late.difference_low < late.difference
    assert late.difference_high is None
    assert late.ratio_low < late.ratio
    assert late.ratio_high is None
    a[:] = np.where(np.arange(200) % 20 < 9, 0.0, b)
    early = stats.paired_quantiles(a=a, b=b, p=0.5)
    assert (early.ratio_low, early.ratio < early.ratio_high) == (None, True)


def test_a_quantile_among_censored_values_is_unknown_and_below_them_it_is_not_bounded_above():
    a, b = np.ones(100) + np.arange(100) / 1000, np.ones(100)
    a[90:] = np.inf
    tail = stats.paired_quantiles(a=a, b=b, p=0.95)
    assert (tail.a, tail.ratio, tail.ratio_high) == (None, None, None)
    a[40:] = np.inf
    assert stats.paired_quantiles(a=a, b=b, p=0.39).ratio_high is None


def test_a_mean_over_equal_strata_that_weigh_the_same_is_the_mean():
    generator = np.random.default_rng(7)
    a, b, strata = generator.random(120), generator.random(120), np.repeat([0, 1, 2], 40)
    found = stats.paired_t_stratified(a=a, b=b, strata=strata, weights={0: 1, 1: 1, 2: 1})
    assert (found.mean_diff, found.df) == (pytest.approx(float((a - b).mean())), 117)
    variances = [(a - b)[strata == code].var(ddof=1) for code in range(3)]
    assert found.se == pytest.approx(np.sqrt(sum(variances) / 40) / 3)
    reach = oracle.t.ppf(0.975, 117) * found.se
    assert found.high == pytest.approx(found.mean_diff + reach)
    back = stats.paired_t_stratified(a=b, b=a, strata=strata, weights={0: 1, 1: 1, 2: 1})
    assert back.low == pytest.approx(-found.high)


def test_strata_without_spread_or_of_one_item_never_look_certain():
    zeros = np.zeros(10)
    found = stats.paired_t_stratified(a=zeros, b=zeros, strata=np.repeat([0, 1], 5), weights={0: 1, 1: 1})
    assert (found.mean_diff, found.se, found.low) == (0.0, None, None)
    alone = stats.paired_t_stratified(a=np.r_[1.0, zeros], b=np.zeros(11), strata=[1, *[0] * 10], weights={0: 1, 1: 1})
    assert alone.low < 0.5 < alone.high
    assert stats.paired_t_stratified(a=[], b=[], strata=[], weights={}).mean_diff is None


def spiked(u):
    """A tail in which the mean is nearly infinite."""
    return (1 - u) ** (-1 / 1.2)


def ticked(u):
    """Times read off a clock of 20 ms, half a second in the middle."""
    return np.maximum(0.02, np.round(0.5 * np.exp(0.5 * ndtri(u)) / 0.02) * 0.02)


def smooth(u):
    """Log-normal times."""
    return np.exp(0.5 * ndtri(u))


def covered(kinds, n, p, shared, size):
    """How often the intervals of a ratio and of a difference of quantiles hold the true ones."""
    generator = np.random.default_rng(n)
    of_a, of_b = kinds
    quantiles = of_a(np.array([p])).item(), of_b(np.array([p])).item()
    ratios, differences = [], []
    for _ in range(size):
        prompt, *noise = generator.normal(size=(3, n))
        a, b = (
            of(ndtr(shared**0.5 * prompt + (1 - shared) ** 0.5 * one)) for of, one in zip(kinds, noise, strict=True)
        )
        found = stats.paired_quantiles(a=a, b=b, p=p)
        ratios.append(found.ratio_low <= quantiles[0] / quantiles[1] <= found.ratio_high)
        differences.append(found.difference_low <= quantiles[0] - quantiles[1] <= found.difference_high)
    return np.mean(ratios), np.mean(differences)


@pytest.mark.parametrize(("p", "shared"), [(0.5, 0.6), (0.9, 0.95), (0.95, 0.6)])
def test_a_ratio_of_percentiles_is_covered_as_often_as_it_says_from_a_hundred_items_on(p, shared):
    for hits in covered((smooth, smooth), 100, p, shared, 1500):
        assert 0.935 <= hits <= 0.968


@pytest.mark.long
@pytest.mark.parametrize("shared", [0.95])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("kind", [smooth, spiked, ticked])
def test_a_ratio_of_percentiles_is_covered_whatever_the_tail_and_the_clock(kind, n, p, shared):
    ratios, differences = covered((kind, kind), n, p, shared, 2000)
    assert 0.935 <= ratios <= 0.97
    is_wild = kind is spiked and n == 100  # a tail whose mean is nearly infinite, of which little is seen
    assert 0.93 <= differences <= (0.985 if is_wild else 0.97)


@pytest.mark.long
@pytest.mark.parametrize("shared", [0.0, 0.95])
@pytest.mark.parametrize(("n", "p"), [(60, 0.5), (72, 0.95), (368, 0.99), (1000, 0.99)])
def test_a_ratio_of_percentiles_is_covered_from_the_fewest_that_bound_it(n, p, shared):
    assert 0.935 <= covered((smooth, smooth), n, p, shared, 2000)[0] <= 0.975


@pytest.mark.long
@pytest.mark.parametrize("shared", [0.0, 0.95])
@pytest.mark.parametrize(("n", "p"), [(100, 0.5), (100, 0.9), (100, 0.95), (1000, 0.95)])
def test_two_tails_of_different_shape_are_covered_as_often_as_it_says(n, p, shared):
    for hits in covered((smooth, spiked), n, p, shared, 2000):
        assert 0.935 <= hits <= 0.975


def test_a_tail_that_is_known_much_less_is_bounded_by_its_order_statistics():
    generator = np.random.default_rng(3)
    slow, sure = np.exp(3 * generator.random(100) ** 8), np.exp(1e-6 * generator.random(100))
    found = stats.paired_quantiles(a=slow, b=sure, p=0.95)
    alone = stats.interpolated_quantile_interval(values=slow, p=0.95)
    assert (found.ratio_low <= alone.low * 1.0001, found.ratio_high >= alone.high * 0.9999) == (True, True)


def gamma(u):
    """Times of which the slow ones thin out as an exponential does."""
    return gammaincinv(2.0, u)


def wide(u):
    """Log-normal times that are far apart."""
    return np.exp(0.7 * ndtri(u))


@pytest.mark.parametrize(("p", "seed"), [(0.5, 0), (0.95, 8)])
def test_two_percentiles_that_move_as_one_are_bounded_by_where_both_may_have_moved(p, seed):
    place = np.random.default_rng(seed).random(100)
    a, b = gamma(place), wide(place)
    found = stats.paired_quantiles(a=a, b=b, p=p)
    one, other = (stats.interpolated_quantile_interval(values=values, p=p) for values in (a, b))
    moved = one.low / other.low, one.high / other.high
    assert (found.ratio_low <= min(moved) * 1.0001, found.ratio_high >= max(moved) * 0.9999) == (True, True)


@pytest.mark.long
@pytest.mark.parametrize("p", [0.5, 0.95])
@pytest.mark.parametrize("kinds", [(gamma, wide)])
def test_times_that_go_together_as_good_as_wholly_are_covered_whatever_their_shapes(kinds, p):
    for hits in covered(kinds, 100, p, 0.99, 1000):
        assert 0.935 <= hits <= 0.995


@pytest.mark.parametrize(("n", "p"), [(100, 0.95), (72, 0.95), (300, 0.9), (100, 0.5)])
def test_interpolated_order_statistics_hold_a_quantile_nearly_as_often_as_they_say(n, p):
    generator = np.random.default_rng(n)
    found = [stats.interpolated_quantile_interval(values=generator.exponential(size=n), p=p) for _ in range(1500)]
    hits = [one.low <= -np.log(1 - p) <= one.high for one in found]
    assert 0.935 <= np.mean(hits) <= 0.965


def test_the_smooth_percentile_is_harrell_and_davis_and_its_error_that_of_the_jackknife():
    a, _ = latencies(np.random.default_rng(9), 300, 1.2)
    b = 1.3 * np.random.default_rng(9).permutation(a)  # known as closely, so that no bound reaches out to another one
    found = stats.paired_quantiles(a=a, b=b, p=0.9)
    assert found.method == "smooth"
    log_a, log_b = np.log(a), np.log(b)

    def contrast(kept):
        return (
            stats.harrell_davis(values=log_a[kept], p=0.9).value - stats.harrell_davis(values=log_b[kept], p=0.9).value
        )

    everyone = np.arange(300)
    assert np.log(found.ratio_low * found.ratio_high) / 2 == pytest.approx(contrast(everyone))
    left_out = np.array([contrast(everyone != one) for one in everyone])
    error = np.sqrt(299 / 300 * ((left_out - left_out.mean()) ** 2).sum())
    reach = oracle.t.ppf(0.975, 3 * 300 * 0.1) * error
    assert np.log(found.ratio_high / found.ratio_low) / 2 == pytest.approx(reach, rel=0.05)


@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.9, 0.95]), st.sampled_from([0.0, 0.9, 0.999]))
def test_the_interval_holds_the_ratio_that_is_shown(seed, p, shared):
    a, b = latencies(np.random.default_rng(seed), 80, 1.2, shared)
    found = stats.paired_quantiles(a=a, b=b, p=p)
    assert found.ratio == pytest.approx(found.a / found.b)
    assert found.ratio_low <= found.ratio * (1 + 1e-9)
    assert found.ratio <= found.ratio_high * (1 + 1e-9)
    assert found.ratio_low < found.ratio_high


def test_times_that_are_all_alike_leave_no_interval_and_a_clock_that_ticks_does():
    alike = stats.paired_quantiles(a=np.full(100, 2.0), b=np.full(100, 1.0), p=0.5)
    assert (alike.ratio, alike.ratio_low, alike.ratio_high) == (pytest.approx(2.0), None, None)
    varied = ticked(np.random.default_rng(10).random(100))
    found = stats.paired_quantiles(a=np.full(100, 2.0), b=varied, p=0.5)
    assert found.ratio_low < found.ratio < found.ratio_high


def test_times_of_nothing_are_compared_by_order_alone():
    generator = np.random.default_rng(11)
    a, b = generator.exponential(size=(2, 200))
    a[:3] = 0.0
    found = stats.paired_quantiles(a=a, b=b, p=0.5)
    assert found.method == "order"
    assert found.ratio_low < found.ratio < found.ratio_high


@pytest.mark.long
@pytest.mark.parametrize("repeats", [3])
def test_a_ratio_over_repeated_items_is_covered(repeats):
    generator = np.random.default_rng(12)
    items = np.repeat(np.arange(120), repeats)
    hits = []
    for _ in range(2000):
        prompt = generator.normal(size=120)[items]
        a, b = (np.exp(0.4 * prompt + 0.3 * generator.normal(size=len(items))) for _ in range(2))
        found = stats.paired_quantiles(a=1.3 * a, b=b, p=0.9, items_a=items, items_b=items)
        hits.append(found.ratio_low <= 1.3 <= found.ratio_high)
    assert 0.935 <= np.mean(hits) <= 0.97


@pytest.mark.long
def test_a_difference_over_strata_is_covered():
    generator = np.random.default_rng(8)
    strata = np.repeat(np.arange(6), [200, 60, 40, 40, 30, 30])
    gaps = np.array([0.0, 0.3, -0.1, 0.2, 0.0, 0.1])
    weights = dict.fromkeys(range(6), 1.0)
    hits = []
    for _ in range(3000):
        b = (generator.random(400) < 0.5).astype(float)
        a = np.where(generator.random(400) < 0.3, (generator.random(400) < 0.5 + gaps[strata]).astype(float), b)
        found = stats.paired_t_stratified(a=a, b=b, strata=strata, weights=weights)
        hits.append(found.low <= 0.3 * gaps.mean() <= found.high)
    assert 0.935 <= np.mean(hits) <= 0.965
