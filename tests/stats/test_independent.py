"""Other ways to the same numbers, on seeded inputs: scipy, enumeration, formulas written anew; and the edges."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats as oracle

import steelyard.stats as stats


@pytest.mark.parametrize("seed", range(40))
def test_shares_are_bounded_as_scipy_bounds_them(seed):
    generator = np.random.default_rng(seed)
    n = int(generator.integers(1, 3000))
    k, confidence = int(generator.integers(0, n + 1)), float(generator.choice([0.8, 0.95, 0.99]))
    for name, method in (("clopper_pearson_interval", "exact"), ("wilson_interval", "wilson")):
        known = oracle.binomtest(k, n).proportion_ci(confidence, method=method)
        found = getattr(stats, name)(successes=k, n=n, confidence=confidence)
        assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-9)
    tail = (1 - confidence) / 2
    found = stats.bayes_beta_interval(successes=k, n=n, prior_a=2, prior_b=0.5, confidence=confidence)
    assert (found.low, found.high) == pytest.approx(tuple(oracle.beta(k + 2, n - k + 0.5).ppf([tail, 1 - tail])))
    one_sided = oracle.binomtest(k, n, alternative="less").proportion_ci(confidence, method="exact")
    assert stats.zero_event_upper_bound(events=k, n=n, confidence=confidence).high == pytest.approx(one_sided.high)


@pytest.mark.parametrize("p", [0.5, 0.8, 0.97])
def test_jeffreys_and_beta_intervals_cover_as_often_as_they_say(p):
    n = 200
    chances = oracle.binom(n, p).pmf(np.arange(n + 1))
    for name in ("jeffreys_interval", "bayes_beta_interval", "clopper_pearson_interval"):
        bounds = [getattr(stats, name)(successes=k, n=n) for k in range(n + 1)]
        covered = float(chances @ [one.low <= p <= one.high for one in bounds])
        assert (0.95 if name == "clopper_pearson_interval" else 0.93) <= covered <= 0.975


@pytest.mark.parametrize("seed", range(40))
def test_tangos_interval_ends_where_his_score_is_z(seed):
    generator = np.random.default_rng(seed)
    n = int(generator.integers(5, 500))
    b, c = (int(one) for one in generator.multinomial(n, [0.1, 0.07, 0.83])[:2])
    found = stats.paired_difference_score_interval(only_a_correct=b, only_b_correct=c, n=n)

    def likelihood(only_b, delta):
        """Of the discordant cells (only_b + delta, only_b), the rest agreeing."""
        cells = np.array([only_b + delta, only_b, 1 - 2 * only_b - delta])
        return -float(np.sum(scipy.special.xlogy([b, c, n - b - c], np.maximum(cells, 1e-300))))

    for delta, sign in ((found.low, 1), (found.high, -1)):
        if abs(delta) > 1 - 1e-9:
            continue
        least, most = max(0.0, -delta), (1 - delta) / 2
        fit = scipy.optimize.minimize_scalar(likelihood, bounds=(least, most), args=(delta,), method="bounded",
                                             options={"xatol": 1e-12})  # fmt: skip
        score = (b - c - n * delta) / math.sqrt(n * (2 * fit.x + delta - delta**2))
        assert score == pytest.approx(sign * 1.959964, abs=2e-3)


@pytest.mark.parametrize("n", [1, 2, 6, 20, 49, 50, 51])
def test_ranks_of_a_few_values_leave_out_what_a_binomial_number_does(n):
    for p, confidence in itertools.product((0.01, 0.05, 0.3, 0.5, 0.95, 0.99), (0.8, 0.95, 0.99)):
        tail, number = (1 - confidence) / 2 * (1 + 1e-12), oracle.binom(n, p)
        found = stats.quantile_ci_ranks(n=n, p=p, confidence=confidence)
        lower = max((rank for rank in range(1, n + 1) if number.cdf(rank - 1) <= tail), default=None)
        upper = min((rank for rank in range(1, n + 1) if number.sf(rank - 1) <= tail), default=None)
        assert (found.lower_rank, found.upper_rank) == (lower, upper)


@pytest.mark.parametrize("seed", range(40))
def test_quantiles_their_ranks_and_smoothed_forms_are_scipys(seed):
    generator = np.random.default_rng(seed)
    n, p = int(generator.integers(6, 400)), float(generator.uniform(0.05, 0.95))
    confidence = float(generator.choice([0.8, 0.95]))
    found = stats.quantile_ci_ranks(n=n, p=p, confidence=confidence)
    known = oracle.quantile_test(np.arange(1.0, n + 1), p=p).confidence_interval(confidence)
    assert found.lower_rank == (None if np.isnan(known.low) else known.low)
    assert found.upper_rank == (None if np.isnan(known.high) else known.high)
    values = generator.lognormal(size=n)
    bounds = stats.quantile_interval(values=values, p=p, confidence=confidence)
    ordered = np.sort(values)
    assert bounds.low == (None if found.lower_rank is None else ordered[found.lower_rank - 1])
    assert stats.harrell_davis(values=values, p=p).value == pytest.approx(
        oracle.mstats.hdquantiles(values, [p])[0], rel=1e-6
    )
    parts = np.array_split(values, 3)
    assert stats.pooled_percentile(groups=parts, p=100 * p).value == pytest.approx(float(np.quantile(values, p)))
    linear = stats.percentiles_linear(values=values, p=[100 * p, 0, 100]).values
    assert linear == pytest.approx((float(np.quantile(values, p)), ordered[0], ordered[-1]))


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.95, 0.99, 0.999])
def test_the_fewest_values_that_bound_a_quantile_do_and_one_less_does_not(p, confidence):
    for sided, chances in (
        ("upper", lambda n: p**n <= 1 - confidence),
        ("lower", lambda n: (1 - p) ** n <= 1 - confidence),
        ("two", lambda n: max(p, 1 - p) ** n <= (1 - confidence) / 2),
    ):
        n = stats.min_n_for_quantile_bound(p=p, confidence=confidence, sided=sided).n
        assert chances(n)
        assert n == 1 or not chances(n - 1)


@pytest.mark.parametrize("seed", range(20))
def test_the_chance_that_a_is_better_is_the_integral_of_two_posteriors(seed):
    generator = np.random.default_rng(seed)
    (n, m), share = generator.integers(1, 60, 2), generator.random(2)
    k, j = int(generator.binomial(n, share[0])), int(generator.binomial(m, share[1]))
    a, b = oracle.beta(k + 1, n - k + 1), oracle.beta(j + 1, m - j + 1)
    known, _ = scipy.integrate.quad(lambda x: a.pdf(x) * b.cdf(x), 0, 1, limit=400)
    found = stats.bayes_prob_a_better(a_successes=k, a_n=int(n), b_successes=j, b_n=int(m)).p
    assert found == pytest.approx(known, abs=1e-6)
    back = stats.bayes_prob_a_better(a_successes=j, a_n=int(m), b_successes=k, b_n=int(n)).p
    assert found + back == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 3), (6, 1, 2), (7, 7, 3), (8, 0, 4), (6, 5, 2), (9, 3, 1)])
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(n, c, k):
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert stats.pass_at_k(n=n, c=c, k=k).value == pytest.approx(np.mean([any(draw) for draw in draws]))


def test_pass_at_k_of_a_million_samples_is_known_at_once():
    found = stats.pass_at_k(n=1_000_000, c=3, k=500_000).value
    assert found == pytest.approx(oracle.hypergeom.sf(0, 1_000_000, 3, 500_000), rel=1e-9)
    assert stats.pass_at_k(n=1_000_000, c=500_000, k=500_000).value == 1.0


def test_variances_over_repeats_are_estimated_without_bias():
    generator = np.random.default_rng(1)
    items = generator.beta(2, 2, 40_000)
    even = (generator.random((len(items), 4)) < items[:, None]).astype(float)
    found = stats.variance_components(scores=even)
    assert (found.within, found.between) == pytest.approx((0.2, 0.05), abs=0.003)
    uneven = [row[: 1 + i % 4] for i, row in enumerate(even)]
    found = stats.variance_components(scores=uneven)
    assert (found.within, found.between) == pytest.approx((0.2, 0.05), abs=0.005)
    assert stats.variance_components(scores=[[1.0], [0.0]]).within is None


def test_a_mean_over_repeats_has_the_error_of_item_means():
    scores = [[1, 0, 1], [1], [0, 0], []]
    found = stats.mean_se_epochs(scores=scores)
    means = [2 / 3, 1, 0]
    assert (found.mean, found.se, found.n_items) == pytest.approx((np.mean(means), np.std(means, ddof=1) / 3**0.5, 3))
    assert stats.mean_se_epochs(scores=[]).mean is None


def test_a_design_effect_is_what_clusters_do_to_a_mean():
    generator = np.random.default_rng(2)
    size, icc = 10, 0.3
    shared = generator.normal(size=(4000, 20, 1)) * icc**0.5
    means = (shared + generator.normal(size=(4000, 20, size)) * (1 - icc) ** 0.5).mean(axis=(1, 2))
    found = stats.design_effect(mean_cluster_size=size, icc=icc, n=20 * size)
    assert means.var() == pytest.approx(1 / found.effective_n, rel=0.08)
    assert stats.design_effect(mean_cluster_size=2, icc=-1, n=10).effective_n is None


@pytest.mark.parametrize("seed", range(20))
def test_correlations_are_scipys(seed):
    generator = np.random.default_rng(seed)
    n = int(generator.integers(4, 60))
    x, z = generator.normal(size=(2, n))
    y = np.round(x + z, 1)
    for found, known in (
        (stats.pearson(x=x, y=y), oracle.pearsonr(x, y)),
        (stats.point_biserial(binary=x > 0, values=y), oracle.pointbiserialr(x > 0, y)),
    ):
        assert (found.r, found.p) == pytest.approx(tuple(known))
    assert stats.kendall_tau_b(x=x, y=y).tau == pytest.approx(oracle.kendalltau(x, y).statistic)
    assert stats.spearman_exact(x=x, y=y).rho == pytest.approx(oracle.spearmanr(x, y).statistic)
    rest_x, rest_y = (one - np.polyval(np.polyfit(z, one, 1), z) for one in (x, y))
    partial = stats.partial_correlation(x=x, y=y, given=z)
    assert partial.r == pytest.approx(oracle.pearsonr(rest_x, rest_y).statistic)
    if n > 4:
        t = partial.r * math.sqrt((n - 3) / (1 - partial.r**2))
        assert partial.p == pytest.approx(2 * oracle.t.sf(abs(t), n - 3))
    interval = oracle.pearsonr(x, y).confidence_interval(0.9)
    found = stats.correlation_interval_fisher(r=oracle.pearsonr(x, y).statistic, n=n, confidence=0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("seed", range(20))
def test_tests_of_two_samples_are_scipys(seed):
    generator = np.random.default_rng(seed)
    a, b = generator.gamma(2, 1, int(generator.integers(2, 50))), generator.normal(2, 1, int(generator.integers(2, 50)))
    known = oracle.ttest_ind_from_stats(a.mean(), a.std(ddof=1), len(a), b.mean(), b.std(ddof=1), len(b), False)
    found = stats.welch_t_from_stats(
        mean_a=a.mean(), sd_a=a.std(ddof=1), n_a=len(a), mean_b=b.mean(), sd_b=b.std(ddof=1), n_b=len(b)
    )
    assert (found.t, found.p) == pytest.approx(tuple(known))
    differences = np.round(generator.normal(0.3, 1, 9), 2)
    enumerated = oracle.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert stats.paired_permutation_exact(differences=differences).p == pytest.approx(enumerated.pvalue)
    assert stats.t_quantile(len(a), 0.975) == pytest.approx(oracle.t.ppf(0.975, len(a)))


@pytest.mark.parametrize("seed", range(20))
def test_fiellers_set_is_every_ratio_that_a_t_test_allows(seed):
    generator = np.random.default_rng(seed)
    n = int(generator.integers(8, 200))
    below = generator.gamma(5, 1, n)
    above = below * 0.3 + generator.gamma(2, 0.5, n)
    found = stats.ratio_interval_fieller(numerator=above, denominator=below)
    for bound in (found.low, found.high):
        assert oracle.ttest_1samp(above - bound * below, 0).pvalue == pytest.approx(0.05)
    scaled = stats.ratio_interval_fieller(numerator=1000 * above, denominator=below)
    assert scaled.low == pytest.approx(1000 * found.low)


def test_items_of_one_and_the_same_ratio_leave_no_interval_of_rounding():
    tokens = np.random.default_rng(0).integers(5, 500, 60).astype(float)
    for below in (np.full(60, 5.0), tokens):
        found = stats.ratio_interval_fieller(numerator=2.2e-5 * below, denominator=below)
        assert (found.low, found.high) == pytest.approx((found.ratio, found.ratio), rel=1e-14)


def test_a_ratio_of_what_is_unknown_is_unknown():
    assert stats.ratio_interval_fieller(numerator=[1, math.nan], denominator=[1, 1]).ratio is None
    assert stats.ratio_interval_fieller(numerator=[1], denominator=[2]).low is None


@pytest.mark.parametrize("seed", range(12))
def test_one_price_for_every_token_is_a_ratio_that_is_known(seed):
    generator = np.random.default_rng(seed)
    tokens, price = generator.integers(500, 2000, 20), generator.random() / 1000
    found = stats.ratio_interval_fieller(numerator=price * tokens, denominator=tokens)
    assert (found.low, found.high) == pytest.approx((price, price), rel=1e-6)


def test_a_chance_that_just_meets_its_limit_is_within_it():
    assert stats.min_n_for_quantile_bound(p=0.1, confidence=0.9, sided="upper").n == 1
    assert stats.min_n_for_quantile_bound(p=1.0, sided="upper").n is None
    assert stats.min_n_for_quantile_bound(p=0.0, sided="upper").n == 1
    assert stats.quantile_ci_ranks(n=1, p=0.95, confidence=0.9).lower_rank == 1
    met = stats.confidence_sequence_wor_binary(successes=1, n=1, population=255, prior_a=2, alpha=0.1)
    assert met.low == 18 / 255  # at 17 the ratio is 1 / alpha itself


def test_a_word_that_nobody_knows_is_refused_not_taken_for_another():
    with pytest.raises(ValueError, match="kind is pocock or obrien_fleming, not 'Pocock'"):
        stats.group_sequential_bounds(kind="Pocock", looks=4)
    with pytest.raises(ValueError, match="spending is"):
        stats.alpha_spending_bounds(spending="linear", information=[0.5, 1])
    with pytest.raises(ValueError, match="sided is"):
        stats.min_n_for_quantile_bound(p=0.95, sided="both")
    long, short = (stats.group_sequential_bounds(kind=kind, looks=4) for kind in ("obrien_fleming", "obf"))
    assert long == short


def test_a_variance_that_came_out_below_0_says_so():
    found = stats.variance_components(scores=[[0, 1], [1, 0], [0, 1]])
    assert (found.between, found.clipped) == (0.0, True)
    assert not stats.variance_components(scores=[[0, 0], [1, 1], [0, 1]]).clipped


def test_of_nothing_there_is_nothing():
    assert stats.percentiles_linear(values=[], p=[50, 99]).values == (None, None)
    assert stats.harrell_davis(values=[], p=0.5).value is None
    assert stats.pooled_percentile(groups=[[]], p=50).value is None
    assert stats.tokens_per_second(tokens=[], seconds=[]).value is None
    assert stats.quantile_ci_ranks(n=0, p=0.5).lower_rank is None
    assert stats.bayes_prob_a_better(a_successes=0, a_n=0, b_successes=0, b_n=0).p == 0.5
    assert stats.zero_event_upper_bound(events=0, n=0).high == 1.0
    assert stats.pass_at_k(n=0, c=0, k=1).value is None
    assert stats.variance_components(scores=[]).within is None
    assert stats.holm_adjust(p=[]).adjusted == stats.bh_adjust(p=[]).adjusted == ()


@pytest.mark.parametrize(
    "name", ["wilson_interval", "clopper_pearson_interval", "jeffreys_interval", "bayes_beta_interval"]
)
@pytest.mark.parametrize("n", [0, 1, 2, 10, 14042])
def test_shares_always_have_a_width_and_mirror(name, n):
    interval = getattr(stats, name)
    for k in {0, min(1, n), n // 2, n}:
        found, mirrored = interval(successes=k, n=n), interval(successes=n - k, n=n)
        assert 0 <= found.low < found.high <= 1
        assert (found.low, found.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-9)


@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 1), (0, 0, 1000), (1, 0, 1), (0, 7, 7), (40, 0, 1319)])
def test_pairs_without_discord_or_all_of_it_have_a_width_and_mirror(b, c, n):
    for interval in (stats.paired_difference_score_interval, stats.paired_difference_bonett_price):
        found = interval(only_a_correct=b, only_b_correct=c, n=n)
        back = interval(only_a_correct=c, only_b_correct=b, n=n)
        assert found.low < found.high
        assert (found.low, found.high) == pytest.approx((-back.high, -back.low))
    assert 0 < stats.mcnemar(only_a_correct=b, only_b_correct=c).midp <= 1
    assert (
        stats.gate_verdict(n=0, only_baseline_correct=0, only_candidate_correct=0, margin=0.02).verdict
        == "inconclusive"
    )


def test_an_unknown_score_leaves_things_unknown_and_never_narrow():
    unknown = [1.0, math.nan, 0.0]
    assert stats.cluster_se(scores=unknown, clusters=["a", "b", "b"]).mean is None
    assert stats.variance_components(scores=[unknown, [1.0, 0.0]]).within is None
    assert stats.percentiles_linear(values=unknown, p=[50]).values == (None,)
    (bounds,) = stats.hedged_confidence_sequence(values=[math.nan, 1.0]).intervals
    assert bounds == (0.0, 1.0)
    found = stats.control_variate_mean(
        new=unknown, baseline_same_items=[1, 0, 1], baseline_full_mean=0.5, population=10
    )
    assert (found.estimate, found.low) == (None, None)
    assert stats.cluster_se(scores=unknown, clusters=["a", "b", "b"]).se_cr0 is None
    assert stats.harrell_davis(values=unknown, p=0.5).value is None
    assert stats.tokens_per_second(tokens=unknown, seconds=[1, 1, 1]).value is None
    assert stats.tokens_per_second(tokens=[1, 1, 1], seconds=unknown).value is None
    for lam in (None, 1.0):
        found = stats.ppi_mean(labeled=unknown, predictions_labeled=[1, 0, 1], predictions_unlabeled=[1, 0, 1], lam=lam)
        assert (found.estimate, found.low, found.n) == (None, None, 3)
    places = stats.rank_models(scores=[unknown, [1, 0, 1], [0, 0, 1]])
    assert (places.means[0], places.low, places.high) == (None, (1, 1, 1), (3, 3, 3))
    assert all(places.near_best)
    times = [*range(99), math.nan]
    for bounds in (
        stats.quantile_interval(values=times, p=0.5),
        stats.interpolated_quantile_interval(values=times, p=0.5),
        stats.clustered_quantile_interval(values=times, clusters=range(100), p=0.5),
    ):
        assert (bounds.low, bounds.high) == (None, None)


@pytest.mark.parametrize("population", [None, 10])
def test_an_unknown_answer_is_no_evidence_and_ends_the_bets(population):
    before = stats.betting_e_value(values=[1.0, 0.0], mean=0.5, population=population)
    assert stats.betting_e_value(values=[1.0, 0.0, math.nan, 1.0], mean=0.5, population=population) == before
    assert stats.betting_e_value(values=[math.nan], mean=0.5, population=population).e_value < 1


def test_an_unknown_value_in_a_series_neither_signals_nor_takes_back_what_was_seen():
    known, gap = [0.0, 2.0, 2.0, 2.0], [0.0, 2.0, math.nan, 2.0, 2.0]
    whole, broken = (stats.cusum(values=values, target=0, k=0.5, h=4) for values in (known, gap))
    assert (whole.high[-1], whole.low[-1]) == (broken.high[-1], broken.low[-1])
    assert broken.first_signal_index_1based == 5
    smooth, uneven = (stats.ewma_chart(values=values, target=0, sigma=1).ewma for values in (known, gap))
    assert uneven == (*smooth[:2], smooth[1], *smooth[2:])


def test_percentiles_take_values_of_any_kind_and_a_time_without_end():
    assert stats.harrell_davis(values=[math.inf, 1.0, 2.0], p=0.5).value == math.inf
    assert stats.harrell_davis(values=[math.inf, 1.0, 2.0], p=0).value == 1.0
    flags = [True, False] * 30
    assert stats.interpolated_quantile_interval(values=flags, p=0.5).high == 1.0
    listed = stats.clustered_quantile_interval(values=list(range(60)), clusters=[i // 3 for i in range(60)], p=0.5)
    assert listed == stats.clustered_quantile_interval(values=np.arange(60.0), clusters=np.arange(60) // 3, p=0.5)


def test_a_request_without_an_end_is_the_longest_one():
    assert stats.percentiles_linear(values=[math.inf, 1.0, 2.0], p=[50, 99]).values == (2.0, math.inf)
    assert stats.pooled_percentile(groups=[[1.0, math.inf], [2.0]], p=50).value == 2.0


def test_names_of_clusters_and_strata_are_told_apart_whatever_they_are():
    scores = [1.0, 0.0, 0.0, 1.0]
    plain = stats.cluster_se(scores=scores, clusters=["a", "b", "c", "c"])
    for names in ([1, "1", None, None], [("a", 1), ("a", 2), ("b", 1), ("b", 1)], np.array([3, 1, 2, 2])):
        assert stats.cluster_se(scores=scores, clusters=names) == plain
    keyed = stats.paired_t_stratified(a=scores, b=[0.0, 0.0, 1.0, 1.0], strata=[("x", 1)] * 2 + [("x", 2)] * 2,
                                      weights={("x", 1): 1, ("x", 2): 3})  # fmt: skip
    assert keyed.mean_diff == pytest.approx(0.25 * 0.5 - 0.75 * 0.5)


def test_a_look_that_brings_nothing_new_stops_nobody():
    once = stats.crossing_probabilities(z=[2.0, 2.0], information=[0.5, 1.0])
    twice = stats.crossing_probabilities(z=[2.0, 1.0, 2.0], information=[0.5, 0.5, 1.0])
    assert twice.by_look == pytest.approx((once.by_look[0], 0.0, once.by_look[1]))


@pytest.mark.parametrize(
    ("scores", "clusters"),
    [([1, 1, 1, 1], "aabb"), ([0, 0, 0], "abc"), ([1, 0, 1, 0], "aabb"), ([0.1, 0.5, 0.3, 0.3], "aabb")],
)
def test_clusters_that_do_not_differ_leave_no_error_rather_than_one_of_zero(scores, clusters):
    found = stats.cluster_se(scores=scores, clusters=list(clusters))
    assert (found.se, found.clusters) == (None, len(set(clusters)))


def test_values_alike_in_clusters_bound_a_quantile_as_if_each_cluster_were_one():
    found = stats.clustered_quantile_interval(values=np.ones(60), clusters=np.repeat(np.arange(20), 3), p=0.5)
    assert (found.low, found.high, found.effective_n) == (1.0, 1.0, 20.0)


def reaches_0(found, degrees):
    return abs(found.mean) <= stats.t_quantile(degrees=degrees, p=0.975) * found.se


@pytest.mark.parametrize("sizes", [[91] + [1] * 9, [60, 20] + [5] * 8, [100] + [5] * 19, [200] + [2] * 100])
def test_clusters_of_unlike_size_cover_where_one_less_than_their_number_does_not(sizes):
    generator, clusters, covered, plainly = np.random.default_rng(3), np.repeat(np.arange(len(sizes)), sizes), 0, 0
    for _ in range(400):
        values = 0.5 * generator.normal(size=len(sizes))[clusters] + 0.5 * generator.normal(size=sum(sizes))
        found = stats.cluster_se(scores=values, clusters=clusters)
        covered += found.degrees is None or reaches_0(found, found.degrees)
        plainly += reaches_0(found, len(sizes) - 1)
    assert covered / 400 >= 0.92
    assert plainly / 400 < 0.85


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (stats.wilson_interval, {"successes": 5, "n": 3}),
        (stats.wilson_interval, {"successes": float("nan"), "n": 3}),
        (stats.wilson_interval_finite, {"successes": -1, "n": 3, "population": 9}),
        (stats.clopper_pearson_interval, {"successes": 5, "n": 3}),
        (stats.jeffreys_interval, {"successes": -1, "n": 3}),
        (stats.bayes_beta_interval, {"successes": 5, "n": 3}),
        (stats.zero_event_upper_bound, {"events": -1, "n": 3}),
        (stats.mcnemar, {"only_a_correct": -1, "only_b_correct": 3}),
        (stats.paired_difference_score_interval, {"only_a_correct": 2, "only_b_correct": 2, "n": 3}),
        (stats.paired_difference_bonett_price, {"only_a_correct": 5, "only_b_correct": 0, "n": 3}),
        (stats.unpaired_difference_newcombe, {"a_successes": 5, "a_n": 3, "b_successes": 1, "b_n": 3}),
        (stats.cohens_h, {"p1": float("nan"), "p2": 0.5}),
        (stats.cohens_h, {"p1": 1.5, "p2": 0.5}),
        (stats.pass_at_k, {"n": 3, "c": 5, "k": 1}),
        (stats.gate_verdict, {"n": 3, "only_baseline_correct": 5, "only_candidate_correct": 0, "margin": 0.02}),
    ],
)
def test_counts_that_cannot_be_are_an_error_that_says_so(function, given):
    with pytest.raises(ValueError, match="count from 0 to"):
        function(**given)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (stats.paired_t, ("a", "b")),
        (stats.pearson, ("x", "y")),
        (stats.kendall_tau_b, ("x", "y")),
        (stats.spearman_exact, ("x", "y")),
        (stats.ratio_interval_fieller, ("numerator", "denominator")),
        (stats.trend_known_se, ("scores", "se")),
    ],
)
def test_a_single_value_is_not_stretched_to_as_many_as_the_other_column_has(function, names):
    with pytest.raises(ValueError, match="two columns of the same items"):
        function(**dict(zip(names, ([1.0, 2.0, 4.0], [1.0]), strict=True)))


def test_counts_of_numpy_give_plain_numbers_and_do_not_overflow():
    few, many = np.uint8(3), np.uint8(200)
    assert stats.mcnemar(only_a_correct=few, only_b_correct=many) == stats.mcnemar(only_a_correct=3, only_b_correct=200)
    found = stats.wilson_interval(successes=few, n=many)
    assert (type(found.low), found) == (float, stats.wilson_interval(successes=3, n=200))


@pytest.mark.parametrize(
    ("function", "given", "words"),
    [
        (stats.poisson_rate_interval, {"events": float("nan"), "exposure": 2.0}, "events are counted"),
        (stats.poisson_rate_interval, {"events": -1, "exposure": 2.0}, "events are counted"),
        (stats.poisson_rate_interval, {"events": 1, "exposure": float("nan")}, "events are counted"),
        (stats.pass_at_k, {"n": 3, "c": 1, "k": 0}, "number of samples from 1"),
        (stats.crossing_probabilities, {"z": [2.0, 2.0], "information": [1.0]}, "of the same looks, not of 2 and 1"),
    ],
)
def test_what_no_number_can_come_of_is_an_error_that_says_so(function, given, words):
    with pytest.raises(ValueError, match=words):
        function(**given)


def test_times_of_another_number_of_runs_are_refused():
    with pytest.raises(ValueError, match="scores and times are two columns"):
        stats.trend_known_se(scores=[0.5, 0.6], se=[0.1, 0.1], times=[1.0])


def test_bounds_of_a_percentile_lie_farther_out_where_its_error_is_known_by_few_clusters():
    values, clusters = np.random.default_rng(2).normal(size=200), np.repeat(np.arange(20), 10)
    plain = stats.clustered_quantile_interval(values=values, clusters=clusters, p=0.5)
    few = stats.clustered_quantile_interval(values=values, clusters=clusters, p=0.5, degrees=2.0)
    assert few.low < plain.low < plain.high < few.high
    assert few.effective_n == plain.effective_n


@pytest.mark.long
@pytest.mark.parametrize("sizes", [[120] + [8] * 10, [120] + [2] * 40, [60] + [10] * 14])
def test_percentiles_of_clusters_of_unlike_size_cover_with_the_degrees_that_these_leave(sizes):
    generator, clusters = np.random.default_rng(1), np.repeat(np.arange(len(sizes)), sizes)
    degrees = stats.cluster_se(scores=np.zeros(len(clusters)), clusters=clusters).degrees
    hits = {"left": 0, "all": 0}
    for _ in range(400):
        common, own = generator.normal(0, (0.4, 0.25), size=(len(sizes), 2)).T
        slow = np.exp(common[clusters] + generator.normal(0, 0.4, len(clusters)))
        slower = slow * np.exp(own[clusters] + generator.normal(0, 0.2, len(clusters)))
        for name, left in (("left", degrees), ("all", None)):
            found = stats.paired_quantiles(a=slower, b=slow, p=0.5, items_a=clusters, items_b=clusters, degrees=left)
            hits[name] += found.ratio_low is None or found.ratio_low <= 1 <= found.ratio_high
    assert hits["left"] / 400 >= 0.92
    assert hits["left"] > hits["all"]
