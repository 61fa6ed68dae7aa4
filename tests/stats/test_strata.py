"""A mean over strata: what is said of one stratum, of whole ones and of lopsided ones, and how often it holds."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import steelyard.stats as stats

strata = st.lists(
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, 9))),
    min_size=1,
    max_size=6,
)
rare = 1e-4


def binomial(n, p):
    """The counts of right answers that are not rare, each with its chance."""
    log = np.cumsum(np.r_[0.0, np.log(np.arange(n, 0, -1) / np.arange(1, n + 1))])
    chances = np.exp(log + np.arange(n + 1) * np.log(p) + np.arange(n, -1, -1) * np.log1p(-p))
    return [(k, float(chance)) for k, chance in enumerate(chances) if chance > rare]


def exact_coverage(weights, n, shares):
    """How often the interval holds the true mean: over every outcome that is not rare, without simulation."""
    truth, held, all_of_it = float(np.dot(weights, shares)), 0.0, 0.0
    for outcome in product(*map(binomial, n, shares)):
        chance = float(np.prod([each for _, each in outcome]))
        if chance > rare:
            found = stats.stratified_score_interval(successes=[k for k, _ in outcome], n=n, weights=weights)
            held += chance * (found.low <= truth <= found.high)
            all_of_it += chance
    return held / all_of_it


def simulated_coverage(weights, n, shares, *, times, seed):
    draws = np.random.default_rng(seed).binomial(n, shares, size=(times, len(n)))
    found = [stats.stratified_score_interval(successes=k, n=n, weights=weights) for k in draws]
    truth = float(np.average(shares, weights=weights))
    return np.mean([interval.low <= truth <= interval.high for interval in found])


@pytest.mark.parametrize(
    ("weights", "n", "shares"),
    [
        ((0.9, 0.1), (100, 100), (0.99, 0.5)),
        ((0.9, 0.1), (100, 100), (0.97, 0.5)),
        ((0.5, 0.5), (1000, 20), (0.5, 0.95)),
        ((0.9, 0.1), (20, 180), (0.95, 0.5)),
    ],
    ids=str,
)
def test_a_heavy_stratum_that_is_nearly_always_right_does_not_make_the_mean_look_certain(weights, n, shares):
    assert 0.94 <= exact_coverage(weights, n, shares) <= 0.97


@pytest.mark.parametrize(
    ("sizes", "low", "high"), [([20] * 5, 0.2, 0.9), ([4] * 57, 0.3, 0.99), ([250] * 27, 0.1, 0.99)]
)
def test_a_mean_over_strata_is_covered_as_often_as_it_says(sizes, low, high):
    shares = np.random.default_rng(7).uniform(low, high, size=len(sizes))
    assert 0.93 <= simulated_coverage(np.ones(len(sizes)), sizes, shares, times=400, seed=7) <= 0.97


@pytest.mark.long
@pytest.mark.parametrize("size", [1, 3, 5, 20])
@pytest.mark.parametrize(("low", "high"), [(0.3, 0.99), (0.2, 0.6), (0.8, 0.99)])
def test_a_mean_over_many_strata_is_covered_however_small_they_are(size, low, high):
    shares = np.random.default_rng(9).uniform(low, high, size=57)
    covered = simulated_coverage(np.ones(57), [size] * 57, shares, times=1000, seed=9)
    assert 0.93 <= covered <= (0.985 if size < 5 else 0.97)


@pytest.mark.long
@pytest.mark.parametrize(("seed", "low", "high"), [(4, 0.8, 0.99), (0, 0.3, 0.99)])
def test_a_mean_over_57_strata_of_five_items_is_covered_in_94_to_96_percent(seed, low, high):
    shares = np.random.default_rng(seed).uniform(low, high, size=57)
    covered = simulated_coverage(np.ones(57), [5] * 57, shares, times=2500, seed=204)
    assert 0.94 <= covered <= 0.96  # of few the bias of each stratum's own share: without its floor 93.3


@pytest.mark.long
@pytest.mark.parametrize("seed", range(12))
def test_a_mean_over_strata_of_any_weights_is_covered(seed):
    generator = np.random.default_rng(seed)
    count = int(generator.integers(2, 9))
    weights, n = generator.dirichlet(np.full(count, 0.5)), generator.integers(20, 400, size=count)
    shares = generator.beta(2, 0.4, size=count).clip(0.03, 0.97)
    assert 0.935 <= simulated_coverage(weights, n, shares, times=1500, seed=seed) <= 0.985


@settings(max_examples=60, deadline=None)
@given(strata)
def test_bounds_hold_the_mean_within_0_and_1_mirror_and_know_no_order(rows):
    right, n, weights = (np.array(column) for column in zip(*rows, strict=True))
    found = stats.stratified_score_interval(successes=right, n=n, weights=weights)
    mean = float(np.average(right / n, weights=weights))
    assert 0 <= found.low <= mean + 1e-12
    assert mean - 1e-12 <= found.high <= 1
    assert found.high - found.low > 0.5 / (n.sum() + 4)
    mirrored = stats.stratified_score_interval(successes=n - right, n=n, weights=weights)
    assert (found.low, found.high) == (pytest.approx(1 - mirrored.high), pytest.approx(1 - mirrored.low))
    turned = stats.stratified_score_interval(successes=right[::-1], n=n[::-1], weights=7 * weights[::-1])
    assert (turned.low, turned.high) == (pytest.approx(found.low), pytest.approx(found.high))


@pytest.mark.parametrize(("right", "n"), [(7, 20), (20, 20), (0, 5), (99, 100), (1, 2), (2, 4), (1, 1)])
def test_of_one_stratum_it_is_wilson_s_interval(right, n):
    plain = stats.wilson_interval(successes=right, n=n)
    for rest in ([], [3]):
        found = stats.stratified_score_interval(successes=[right, *rest], n=[n, *rest], weights=[1, *(0 for _ in rest)])
        assert (found.low, found.high) == (pytest.approx(plain.low), pytest.approx(plain.high))


def test_many_equal_strata_of_equal_weight_are_known_as_a_mean_with_their_variance():
    """Far from 0 and 1 the score interval is the mean within z standard errors, nearly."""
    right, n = np.arange(100, 157), np.full(57, 250)
    found = stats.stratified_score_interval(successes=right, n=n, weights=np.ones(57))
    share = right / n
    reach = 1.959964 * np.sqrt((share * (1 - share) / (n - 1)).sum()) / 57
    assert (found.low, found.high) == (
        pytest.approx(share.mean() - reach, abs=1e-5),
        pytest.approx(share.mean() + reach, abs=1e-5),
    )


def test_strata_without_any_spread_are_not_certain():
    found = stats.stratified_score_interval(successes=[5, 3], n=[5, 3], weights=[1, 1])
    assert found.low < stats.wilson_interval(successes=8, n=8).low
    assert found.high == 1.0
    lopsided = stats.stratified_score_interval(successes=[1000, 5], n=[1000, 5], weights=[1, 1])
    assert lopsided.low == pytest.approx(0.5 + 0.5 * stats.wilson_interval(successes=5, n=5).low)
    for n in ([], [5, 0]):
        found = stats.stratified_score_interval(successes=n, n=n, weights=[1] * len(n))
        assert (found.low, found.high) == (0.0, 1.0)


def test_a_stratum_that_was_asked_whole_is_known_and_all_of_them_leave_no_doubt():
    asked = {"successes": [90, 40], "n": [100, 100], "weights": [0.9, 0.1]}
    endless = stats.stratified_score_interval(**asked)
    half = stats.stratified_score_interval(populations=[200, 100], **asked)
    assert endless.low < half.low < 0.85 < half.high < endless.high
    of_one = stats.wilson_interval(successes=180, n=200)
    assert (half.low, half.high) == (
        pytest.approx(0.9 * of_one.low + 0.04, abs=2e-3),
        pytest.approx(0.9 * of_one.high + 0.04, abs=2e-3),
    )
    whole = stats.stratified_score_interval(populations=[100, 100], **asked)
    assert whole.low == whole.high == pytest.approx(0.85)


@pytest.mark.parametrize(
    ("right", "n", "sizes", "low", "high"),
    [
        ([200, 249], [250, 249], [250, 250], 0.898, 0.9),
        ([200, 0], [250, 249], [250, 250], 0.4, 0.402),
        ([2, 0, 0], [3, 50, 50], [3, 500, 500], 2 / 9, 0.27),
        ([50, 1], [100, 1], [100, 1000], 0.25 + 1 / 2000, 0.75),
        ([50, 50], [100, 50], [100, 1000], 0.7, 0.75),
    ],
    ids=str,
)
def test_a_whole_stratum_that_is_mixed_leaves_the_doubt_of_the_others(right, n, sizes, low, high):
    found = stats.stratified_score_interval(successes=right, n=n, weights=[1] * len(n), populations=sizes)
    mean = float(np.mean(np.divide(right, n)))
    assert low - 1e-9 <= found.low <= mean + 1e-12
    assert mean - 1e-12 <= found.high <= high + 1e-9
    assert found.high - found.low > 1e-5


@settings(max_examples=60, deadline=None)
@given(st.data(), strata, st.sampled_from([0.0, 0.5, 0.95, 1 - 1e-12]))
def test_bounds_of_whole_benchmarks_hold_what_can_still_come_of_them(data, rows, confidence):
    right, n, weights = (np.array(column) for column in zip(*rows, strict=True))
    sizes = n + np.array([data.draw(st.sampled_from([0, 0, 1, 50])) for _ in n])
    asked = {"successes": right, "n": n, "weights": weights, "populations": sizes}
    found = stats.stratified_score_interval(**asked, confidence=confidence)
    mean = float(np.average(right / n, weights=weights))
    least, most = (float(np.average((right + rest) / sizes, weights=weights)) for rest in (0, sizes - n))
    assert min(least, mean) - 1e-9 <= found.low <= mean + 1e-9
    assert mean - 1e-9 <= found.high <= max(most, mean) + 1e-9
    a, of = (np.repeat(np.tile([1.0, 0.0], len(n)), np.column_stack([right, n - right]).ravel()), np.arange(len(n)))
    difference = stats.stratified_difference_interval(
        a=a,
        b=1 - a[::-1],
        strata=np.repeat(of, n),
        weights=dict(enumerate(weights)),
        populations=dict(enumerate(sizes)),
        confidence=confidence,
    )
    assert -1 <= difference.low <= difference.diff <= difference.high <= 1
    assert 0 <= difference.p <= 1
    if confidence == 0.95 and abs(difference.p - 0.05) > 1e-6:
        assert (difference.p < 0.05) == (not difference.low <= 0 <= difference.high)


@pytest.mark.parametrize("count", [6, 7, 49, 57])
def test_no_share_is_above_1_and_no_confidence_is_no_width(count):
    n = np.full(count, 7)
    found = stats.stratified_score_interval(successes=n, n=n, weights=np.full(count, 1 / count))
    assert found.high == 1.0
    values, of = np.ones(n.sum()), np.repeat(np.arange(count), n)
    weights = dict.fromkeys(range(count), 1 / count)
    ahead = stats.stratified_difference_interval(a=values, b=0 * values, strata=of, weights=weights)
    assert ahead.diff == pytest.approx(1.0)
    assert ahead.diff <= ahead.high == 1.0
    none = stats.stratified_score_interval(successes=n - 1, n=n, weights=n, confidence=0.0)
    assert (none.low, none.high) == pytest.approx((6 / 7, 6 / 7))


def test_marks_of_few_items_a_stratum_are_covered_and_hardly_any_spread_is_not_certainty():
    generator, hits = np.random.default_rng(5), 0
    for _ in range(300):
        marks = generator.random((2, 5))
        found = stats.stratified_score_interval(
            successes=marks.sum(axis=1), n=[5, 5], weights=[1, 1], variances=marks.var(axis=1, ddof=1)
        )
        hits += found.low <= 0.5 <= found.high
    assert 0.945 <= hits / 300 <= 0.985
    alike = stats.stratified_score_interval(successes=[50, 50], n=[100, 100], weights=[1, 1], variances=[1e-8, 1e-8])
    assert 0.005 < alike.high - alike.low < 0.02
    right = stats.stratified_score_interval(successes=[9, 9], n=[9, 9], weights=[1, 1], variances=[0.1, 0.1])
    assert right == stats.stratified_score_interval(successes=[9, 9], n=[9, 9], weights=[1, 1])


def test_a_stratum_of_next_to_no_weight_takes_nothing_from_the_others():
    asked = {"successes": [26, 13, 55], "n": [26, 20, 56], "populations": [1026, 20, 57]}
    found = stats.stratified_score_interval(weights=[0.3, 0.7, 1e-33], **asked)
    without = stats.stratified_score_interval(weights=[0.3, 0.7, 0], **asked)
    assert (found.low, found.high) == pytest.approx((without.low, without.high))


def test_means_of_repeats_in_strata_are_bounded_by_their_own_spread():
    """The binomial variance of fractions is too large: the interval would cover always."""
    generator = np.random.default_rng(8)
    sizes, repeats = np.array([40] * 6), 4
    hits, widths = 0, []
    for at in range(400):
        drawn = generator.beta(4, 1.5, size=(6, 40))
        means = generator.binomial(repeats, drawn) / repeats
        arguments = {"successes": means.sum(axis=1), "n": sizes, "weights": np.ones(6)}
        found = stats.stratified_score_interval(variances=means.var(axis=1, ddof=1), **arguments)
        hits += found.low <= 4 / 5.5 <= found.high
        if at < 50:
            plain = stats.stratified_score_interval(**arguments)
            widths.append((found.high - found.low) / (plain.high - plain.low))
    assert 0.93 <= hits / 400 <= 0.97
    assert np.mean(widths) < 0.75
    alike = stats.stratified_score_interval(successes=[50, 50], n=[100, 100], weights=[9, 1], variances=[0, 0])
    assert alike.high - alike.low > 0.1


def differences_of(ahead, behind, n):
    """Items of strata of which A alone has so many right, B alone so many, and both the others; each one's stratum."""
    rows = [np.repeat([1.0, -1.0, 0.0], [b, c, m - b - c]) for b, c, m in zip(ahead, behind, n, strict=True)]
    return np.concatenate(rows), np.repeat(np.arange(len(n)), n)


def difference_coverage(weights, n, ahead, behind, *, times, seed):
    """How often the interval leaves out the true difference on either side."""
    generator, n, parts = np.random.default_rng(seed), np.asarray(n), dict(enumerate(weights))
    ahead, behind = np.asarray(ahead), np.asarray(behind)
    truth, held = float(np.average(ahead - behind, weights=weights)), 0
    for _ in range(times):
        b = generator.binomial(n, ahead)
        values, strata = differences_of(b, generator.binomial(n - b, behind / (1 - ahead)), n)
        found = stats.stratified_difference_interval(
            a=values.clip(0), b=(-values).clip(0), strata=strata, weights=parts
        )
        held += found.low <= truth <= found.high
    return held / times


def test_a_heavy_stratum_of_few_flips_does_not_make_a_difference_look_certain():
    assert difference_coverage([1, 1], [1000, 20], [0.12, 0.05], [0.12, 0.001], times=60, seed=1) >= 0.93


@pytest.mark.long
@pytest.mark.parametrize(
    ("weights", "n", "ahead", "behind"),
    [
        ([9, 1], [100, 100], [0.01, 0.25], [0.0, 0.15]),
        ([9, 1], [100, 100], [0.02, 0.25], [0.01, 0.15]),
        ([1, 1], [1000, 20], [0.12, 0.05], [0.12, 0.0]),
        ([1] * 57, [5] * 57, [0.1] * 57, [0.12] * 57),
        ([1] * 57, [2] * 57, [0.1] * 57, [0.12] * 57),
        ([1] * 27, [40] * 27, [0.05] * 27, [0.12] * 27),
        ([1] * 5, [20] * 5, [0.2] * 5, [0.1] * 5),
        ([1] * 57, [10] * 57, [0.1] * 57, [0.12] * 57),
        ([1] * 10, [8] * 10, [0.02] * 10, [0.1] * 10),
    ],
    ids=lambda values: f"{values[0]}x{len(values)}",
)
def test_a_score_interval_of_a_difference_over_strata_covers(weights, n, ahead, behind):
    assert difference_coverage(weights, n, ahead, behind, times=400, seed=2) >= 0.92  # an error of 1.1 points


@pytest.mark.parametrize(
    ("b", "c", "n"), [(1, 7, 21), (12, 3, 100), (0, 0, 50), (5, 0, 50), (0, 3, 30), (40, 40, 100), (3, 2, 9), (1, 0, 1)]
)
def test_of_one_stratum_a_difference_has_tango_s_interval(b, c, n):
    values, strata = differences_of([b], [c], [n])
    found = stats.stratified_difference_interval(a=values, b=np.zeros(n), strata=strata, weights={0: 3})
    tango = stats.paired_difference_score_interval(only_a_correct=b, only_b_correct=c, n=n)
    assert (found.diff, found.low, found.high) == pytest.approx((tango.diff, tango.low, tango.high))
    assert (found.p < 0.05) == (not tango.low <= 0 <= tango.high)


def test_a_difference_over_strata_turns_its_sign_knows_no_order_and_is_never_certain():
    generator = np.random.default_rng(3)
    for _ in range(15):
        n = generator.integers(1, 40, size=generator.integers(1, 6))
        b = generator.binomial(n, 0.1)
        values, strata = differences_of(b, generator.binomial(n - b, 0.1), n)
        weights, zeros = dict(enumerate(generator.uniform(0.1, 1, len(n)))), np.zeros(len(values))
        found = stats.stratified_difference_interval(a=values, b=zeros, strata=strata, weights=weights)
        assert -1 <= found.low < found.diff + 1e-12
        assert found.diff - 1e-12 < found.high <= 1
        assert found.high - found.low > 1 / (n.sum() + 4)
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
        order = generator.permutation(len(values))
        back = stats.stratified_difference_interval(a=zeros, b=values[order], strata=strata[order], weights=weights)
        assert (back.low, back.high, back.p) == pytest.approx((-found.high, -found.low, found.p))


def test_a_difference_of_nothing_may_be_anything_and_one_of_repeats_is_known_by_its_own_spread():
    nothing = stats.stratified_difference_interval(a=[], b=[], strata=[], weights={})
    assert (nothing.diff, nothing.low, nothing.high, nothing.p) == (None, -1.0, 1.0, None)
    generator = np.random.default_rng(4)
    a, b = (generator.binomial(8, 0.5, size=300) / 8 for _ in range(2))
    strata, weights = np.arange(300) % 3, {0: 1, 1: 2, 2: 1}
    found = stats.stratified_difference_interval(a=a, b=b, strata=strata, weights=weights)
    t = stats.paired_t_stratified(a=a, b=b, strata=strata, weights=weights)
    assert (found.low, found.high) == (pytest.approx(t.low, abs=2e-3), pytest.approx(t.high, abs=2e-3))
