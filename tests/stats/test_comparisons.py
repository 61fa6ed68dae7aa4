"""Comparisons of two models: other ways to the same numbers, mirrored sides, nothing known, and error rates."""

import math
import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as oracle

import steelyard.stats as stats

tables = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 300)).map(lambda t: (t[0], t[1], sum(t)))
scores = st.floats(-10, 10).map(lambda value: round(value, 3))
columns = st.lists(st.tuples(scores, scores), max_size=30)
differences = st.lists(st.integers(-4, 4).map(lambda k: k / 4), max_size=14)


@cache
def tango(b, c, n, confidence=0.95):
    return stats.paired_difference_score_interval(only_a_correct=b, only_b_correct=c, n=n, confidence=confidence)


@cache
def closed(b, c, n):
    return stats.paired_difference_bonett_price(only_a_correct=b, only_b_correct=c, n=n)


@cache
def gate(n, lost, won, margin=0.02):
    return stats.gate_verdict(n=n, only_baseline_correct=lost, only_candidate_correct=won, margin=margin).verdict


def discordant(generator, n, share, diff, size):
    """Counts of (only A, only B) among n items."""
    drawn = generator.multinomial(n, [(share + diff) / 2, (share - diff) / 2, 1 - share], size=size)
    return [(int(b), int(c)) for b, c, _ in drawn]


def score_by_likelihood(b, c, n, delta):
    """Tango's statistic with its nuisance parameter found by maximizing the likelihood, not by formula."""
    rest = n - b - c

    def minus_log(q):
        parts = [(b, q + delta), (c, q), (rest, 1 - 2 * q - delta)]
        return -sum(count * math.log(max(p, 1e-300)) for count, p in parts if count)

    q = optimize.minimize_scalar(
        minus_log, bounds=(max(0.0, -delta), (1 - delta) / 2), method="bounded", options={"xatol": 1e-12}
    ).x
    return (b - c - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(("b", "c", "n"), [(1, 7, 21), (40, 45, 1319), (3, 9, 30), (12, 1, 100)])
def test_at_the_score_bounds_the_score_test_is_at_its_critical_value(b, c, n):
    found = tango(b, c, n)
    assert score_by_likelihood(b, c, n, found.low) == pytest.approx(1.959964, abs=1e-3)
    assert score_by_likelihood(b, c, n, found.high) == pytest.approx(-1.959964, abs=1e-3)


@given(tables)
def test_swapping_the_models_mirrors_a_paired_difference(table):
    b, c, n = table
    for interval in (stats.paired_difference_score_interval, stats.paired_difference_bonett_price):
        found = interval(only_a_correct=b, only_b_correct=c, n=n)
        mirrored = interval(only_a_correct=c, only_b_correct=b, n=n)
        assert found.low == pytest.approx(-mirrored.high, abs=1e-9)
        assert -1 <= found.low < found.high <= 1
        assert found.diff is None or found.low <= found.diff + 1e-12
        assert found.diff is None or found.diff <= found.high + 1e-12


@pytest.mark.parametrize("n", [1, 2, 20, 1319])
def test_without_a_discordant_pair_the_difference_is_still_uncertain(n):
    z2 = 1.959964**2
    assert tango(0, 0, n).high == pytest.approx(z2 / (n + z2), abs=1e-6)
    assert tango(0, 0, n).low == pytest.approx(-z2 / (n + z2), abs=1e-6)
    assert tango(n, 0, n).high == pytest.approx(1.0)
    assert tango(n, 0, n).low < 1


def test_nothing_asked_leaves_every_difference_possible():
    for found in (
        tango(0, 0, 0),
        stats.paired_difference_bonett_price(only_a_correct=0, only_b_correct=0, n=0),
        stats.unpaired_difference_newcombe(a_successes=0, a_n=0, b_successes=3, b_n=4),
    ):
        assert (found.diff, found.low, found.high) == (None, -1.0, 1.0)


@given(tables)
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(table):
    b, c, _ = table
    found = stats.mcnemar(only_a_correct=b, only_b_correct=c)
    assert found.exact == pytest.approx(oracle.binomtest(b, b + c).pvalue if b + c else 1.0)
    assert found.midp <= found.exact <= 1
    mirrored = stats.mcnemar(only_a_correct=c, only_b_correct=b)
    assert (found.midp, found.asymptotic) == (pytest.approx(mirrored.midp), mirrored.asymptotic)
    assert stats.paired_permutation_exact(differences=[1] * b + [-1] * c + [0] * 5).p == pytest.approx(found.exact)


@pytest.mark.parametrize("each", [1, 5, 40])
def test_as_many_pairs_either_way_have_the_mid_p_that_is_published(each):
    found = stats.mcnemar(only_a_correct=each, only_b_correct=each)
    assert found.exact == 1.0
    assert found.midp == pytest.approx(1 - oracle.binom.pmf(each, 2 * each, 0.5) / 2)  # Fagerland et al. 2013


@given(st.tuples(*[st.integers(0, 40)] * 4))
def test_swapping_the_models_mirrors_an_unpaired_difference(cells):
    a, a_wrong, b, b_wrong = cells
    sides = {"a_successes": a, "a_n": a + a_wrong, "b_successes": b, "b_n": b + b_wrong}
    turned = {"a_successes": b, "a_n": b + b_wrong, "b_successes": a, "b_n": a + a_wrong}
    found, mirrored = stats.unpaired_difference_newcombe(**sides), stats.unpaired_difference_newcombe(**turned)
    assert found.low == pytest.approx(-mirrored.high)
    assert found.low < found.high
    assert stats.bayes_prob_a_better(**sides).p == pytest.approx(1 - stats.bayes_prob_a_better(**turned).p, abs=1e-9)


def test_the_chance_that_a_is_better_is_what_draws_from_both_posteriors_say():
    generator = np.random.default_rng(1)
    a, b = generator.beta(721, 281, size=400_000), generator.beta(691, 311, size=400_000)
    found = stats.bayes_prob_a_better(a_successes=720, a_n=1000, b_successes=690, b_n=1000).p
    assert found == pytest.approx((a > b).mean(), abs=0.003)


@given(columns)
def test_the_paired_t_test_is_the_textbook_one_and_mirrors(pairs):
    a, b = [one for one, _ in pairs], [other for _, other in pairs]
    found, mirrored = stats.paired_t(a=a, b=b), stats.paired_t(a=b, b=a)
    shuffled = stats.paired_t(a=a[::-1], b=b[::-1])
    assert (found.t is None) == (mirrored.t is None) == (found.low is None)
    if found.t is None:
        return
    known = oracle.ttest_rel(a, b)
    assert (found.t, found.p) == (pytest.approx(known.statistic), pytest.approx(known.pvalue, abs=1e-12))
    assert found.low == pytest.approx(-mirrored.high)
    assert found.p == pytest.approx(shuffled.p)
    assert found.low < found.mean_diff < found.high


@given(columns)
def test_welchs_t_test_is_the_textbook_one_and_mirrors(pairs):
    a, b = [one for one, _ in pairs], [other for _, other in pairs[: max(2, len(pairs) // 2)]]
    found, mirrored = stats.welch_t(a=a, b=b), stats.welch_t(a=b, b=a)
    if found.t is None:
        assert found.low is None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns where one side is constant
        known = oracle.ttest_ind(a, b, equal_var=False)
    assert (found.t, found.p) == (pytest.approx(known.statistic), pytest.approx(known.pvalue, abs=1e-12))
    assert found.low == pytest.approx(-mirrored.high)


@pytest.mark.parametrize(
    ("a", "b"),
    [([], []), ([1.0], [0.5]), ([1.0] * 9, [1.0] * 9), ([0.3] * 5, [0.1] * 5), ([math.nan, 1, 2], [1.0, 2, 3])],
)
def test_too_few_values_or_none_that_differ_give_no_test_and_no_error(a, b):
    for found in (stats.paired_t(a=a, b=b), stats.welch_t(a=a, b=b)):
        assert (found.t, found.p, found.se) == (None, None, None)
        assert (found.low, found.high) == (None, None)
    gaps = [one - other for one, other in zip(a, b, strict=True)]
    assert stats.tost_paired(differences=gaps, low=-1, high=1).p is None


def test_clustered_differences_have_the_cluster_robust_error():
    generator = np.random.default_rng(2)
    a, b = generator.random(60), generator.random(60)
    clusters = np.repeat(np.arange(12), 5)
    found = stats.paired_t(a=a, b=b, clusters=clusters)
    assert (found.df, found.se) == (11, pytest.approx(stats.cluster_se(scores=a - b, clusters=clusters).se))
    alone = stats.paired_t(a=a, b=b, clusters=np.arange(60))
    assert alone.p == pytest.approx(stats.paired_t(a=a, b=b).p)
    assert stats.paired_t(a=a, b=b, clusters=[0] * 60).low is None


@given(differences)
def test_sign_flips_are_counted_as_by_listing_them(values):
    found = stats.paired_permutation_exact(differences=values)
    flips = 1 - 2 * (np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1)
    listed = (np.abs(flips @ np.array(values)) >= abs(sum(values)) - 1e-9).mean() if values else 1.0
    assert found.p == pytest.approx(listed)
    assert stats.paired_permutation_exact(differences=[-value for value in values]).p == pytest.approx(found.p)


def test_many_different_sizes_are_sampled_near_the_exact_value_and_alike_each_time():
    values = np.random.default_rng(3).normal(0.3, 1, size=18)
    exact = stats.paired_permutation_exact(differences=values)
    many = np.random.default_rng(4).normal(0.1, 1, size=400)
    assert exact.method == "exact"
    assert stats.paired_permutation_exact(differences=many).p is None
    sampled = stats.paired_permutation(differences=many)
    assert sampled.method == "sampled"
    assert sampled.p == pytest.approx(oracle.ttest_1samp(many, 0).pvalue, abs=0.02)
    assert stats.paired_permutation(differences=many[::-1]).p == sampled.p
    assert stats.paired_permutation(differences=many, draws=99).p >= 0.01


def test_pairing_halves_the_variance_at_half_correlation_and_never_claims_certainty():
    found = stats.paired_se_from_correlation(se_a=0.02, se_b=0.02, correlation=0.5)
    assert found.se**2 == pytest.approx(found.unpaired**2 / 2)
    assert stats.paired_se_from_correlation(se_a=0.02, se_b=0.02, correlation=1.0).se is None


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=20))
def test_adjusted_p_values_only_grow_and_keep_their_order(p):
    known = [one for one in p if one is not None]
    for adjust in (stats.holm_adjust, stats.bh_adjust):
        found = adjust(p=p).adjusted
        assert [one is None for one in found] == [one is None for one in p]
        kept = [one for one in found if one is not None]
        assert all(was <= now + 1e-12 <= 1 + 1e-9 for was, now in zip(known, kept, strict=True))
        assert [kept[i] for i in np.argsort(known, kind="stable")] == sorted(kept)
        turned = adjust(p=p[::-1]).adjusted[::-1]
        assert [one for one in turned if one is not None] == pytest.approx(kept)
    if known:
        full = [1.0 if one is None else one for one in p]
        expected = oracle.false_discovery_control(full)
        found = [1.0 if one is None else one for one in stats.bh_adjust(p=p).adjusted]
        assert found == pytest.approx([e if one is not None else 1.0 for e, one in zip(expected, p, strict=True)])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=9))
def test_intervals_at_the_false_coverage_level_leave_out_zero_just_where_a_difference_is_told(tables):
    def bounds(table, level):
        return stats.paired_difference_score_interval(
            only_a_correct=table[0], only_b_correct=table[1], n=80, confidence=level
        )

    p = [bounds(table, 0.95).p for table in tables]
    level = stats.false_coverage(p=p, share=0.10).level
    found = [bounds(table, level) for table in tables]
    told = [one <= 0.10 for one in stats.bh_adjust(p=p).adjusted]
    assert [one.low > 0 or one.high < 0 for one in found] == told
    assert level == pytest.approx(1 - max(1, sum(told)) * 0.10 / len(tables))


@pytest.mark.long
def test_of_the_intervals_of_what_is_told_apart_one_in_ten_at_most_misses():
    draw = np.random.default_rng(11)
    truth = np.array([0.0] * 6 + [0.08, -0.08, 0.15, -0.15])
    missed = []
    for _ in range(2_000):
        only_a = draw.binomial(300, 0.1 + truth / 2)
        only_b = draw.binomial(300 - only_a, (0.1 - truth / 2) / (0.9 - truth / 2))
        tables = list(zip(only_a.tolist(), only_b.tolist(), strict=True))

        def bounds(level, tables=tables):
            return [
                stats.paired_difference_score_interval(only_a_correct=b, only_b_correct=c, n=300, confidence=level)
                for b, c in tables
            ]

        found = bounds(stats.false_coverage(p=[one.p for one in bounds(0.95)], share=0.10).level)
        told = [i for i, one in enumerate(found) if one.low > 0 or one.high < 0]
        wrong = sum(not found[i].low <= truth[i] <= found[i].high for i in told)
        missed.append(wrong / max(1, len(told)))
    assert 0.04 < np.mean(missed) < 0.105


def test_an_unknown_p_value_still_counts_in_its_family():
    assert stats.holm_adjust(p=[0.01, None, math.nan]).adjusted == (pytest.approx(0.03), None, None)


@given(tables, st.floats(0, 0.1))
def test_a_gate_has_three_outcomes_that_follow_from_its_bounds(table, margin):
    won, lost, n = table
    found = stats.gate_verdict(n=n, only_baseline_correct=lost, only_candidate_correct=won, margin=margin)
    assert found.verdict == ("fail" if found.high < -margin else "pass" if found.low > -margin else "inconclusive")
    assert found.low < found.high


def test_a_gate_on_nothing_is_inconclusive():
    assert gate(0, 0, 0) == "inconclusive"
    assert stats.margin_verdict(low=None, high=None, margin=0.02) == "inconclusive"


def test_equivalence_is_shown_where_both_one_sided_tests_reject():
    values = np.random.default_rng(5).normal(0.001, 0.01, size=50)
    found = stats.tost_paired(differences=values, low=-0.01, high=0.01)
    assert found.p_low == pytest.approx(oracle.ttest_1samp(values, -0.01, alternative="greater").pvalue)
    assert found.p_high == pytest.approx(oracle.ttest_1samp(values, 0.01, alternative="less").pvalue)
    turned = stats.tost_paired(differences=-values, low=-0.01, high=0.01)
    assert (turned.p_low, turned.p_high) == (pytest.approx(found.p_high), pytest.approx(found.p_low))


def test_cohens_h_turns_with_its_sides():
    assert stats.cohens_h(p1=1.0, p2=0.0).h == pytest.approx(math.pi)
    assert stats.cohens_h(p1=0.2, p2=0.4).h == -stats.cohens_h(p1=0.4, p2=0.2).h


# --- how often they are right -----------------------------------------------------------------------------------------


def covered(intervals, truth):
    return np.mean([found.low <= truth <= found.high for found in intervals])


@pytest.mark.parametrize(("share", "diff"), [(0.12, 0.0), (0.24, 0.05), (0.06, -0.03)])
def test_the_score_interval_covers_the_paired_difference(share, diff):
    drawn = discordant(np.random.default_rng(6), 200, share, diff, 4000)
    assert 0.93 <= covered([tango(b, c, 200) for b, c in drawn], diff) <= 0.97


@pytest.mark.parametrize(
    ("share", "n", "drop", "fails", "passes"),
    [
        (0.12, 200, 0.0, 0.006, 0.188),
        (0.12, 200, 0.05, 0.353, 0.002),  # 0.316 by Bonett & Price's interval, which is more careful
        (0.12, 1319, 0.0, 0.000, 0.676),
        (0.12, 1319, 0.02, 0.048, 0.051),
        (0.24, 1319, 0.05, 0.723, 0.000),
    ],
)
def test_a_gate_errs_as_seldom_as_it_says(share, n, drop, fails, passes):
    drawn = discordant(np.random.default_rng(7), n, share, -drop, 3000)
    verdicts = [gate(n, lost, won) for won, lost in drawn]
    assert verdicts.count("fail") / 3000 == pytest.approx(fails, abs=0.025)
    assert verdicts.count("pass") / 3000 == pytest.approx(passes, abs=0.025)
    foreseen = stats.gate_chances(n=n, discordant=share, drop=drop, margin=0.02)
    assert foreseen.fails == pytest.approx(fails, abs=0.035)
    assert foreseen.passes == pytest.approx(passes, abs=0.035)


def test_the_mid_p_test_errs_about_as_often_as_it_says_where_the_exact_one_is_shy():
    drawn = discordant(np.random.default_rng(8), 1319, 0.12, 0.0, 6000)
    found = [stats.mcnemar(only_a_correct=b, only_b_correct=c) for b, c in drawn]
    midp, exact = np.mean([one.midp <= 0.05 for one in found]), np.mean([one.exact <= 0.05 for one in found])
    assert exact < 0.04 < midp < 0.056


def test_newcombe_covers_the_unpaired_difference():
    generator = np.random.default_rng(9)
    a, b = generator.binomial(200, 0.8, size=3000), generator.binomial(150, 0.9, size=3000)
    found = [
        stats.unpaired_difference_newcombe(a_successes=int(x), a_n=200, b_successes=int(y), b_n=150)
        for x, y in zip(a, b, strict=True)
    ]
    assert 0.93 <= covered(found, -0.1) <= 0.97


@pytest.mark.long
@pytest.mark.parametrize("n", [50, 200, 1319])
@pytest.mark.parametrize("share", [0.05, 0.12, 0.24])
@pytest.mark.parametrize("diff", [0.0, 0.02, 0.05])
def test_both_paired_intervals_cover_from_small_to_large(n, share, diff):
    drawn = discordant(np.random.default_rng(n), n, share, diff, 20_000)
    score, plain = covered([tango(b, c, n) for b, c in drawn], diff), covered([closed(b, c, n) for b, c in drawn], diff)
    most = 0.975 if n * share > 20 else 1.0  # of a handful of pairs the outcomes are too few to be less careful
    assert 0.93 <= score <= most
    assert 0.93 <= plain <= most


@pytest.mark.long
def test_clustered_differences_cover_where_plain_ones_do_not():
    generator = np.random.default_rng(10)
    clusters = np.repeat(np.arange(40), 10)
    zeros = np.zeros(400)
    clustered, plain = [], []
    for _ in range(3000):
        a = np.repeat(generator.normal(0, 0.5, size=40), 10) + generator.normal(size=400)
        clustered.append(stats.paired_t(a=a, b=zeros, clusters=clusters))
        plain.append(stats.paired_t(a=a, b=zeros))
    assert 0.935 <= covered(clustered, 0.0) <= 0.965
    assert covered(plain, 0.0) < 0.85


@pytest.mark.long
def test_sign_flips_err_as_often_as_they_say():
    generator = np.random.default_rng(11)
    found = [stats.paired_permutation(differences=generator.normal(size=14)).p for _ in range(2000)]
    assert np.mean([p <= 0.05 for p in found]) == pytest.approx(0.05, abs=0.012)
    sampled = [stats.paired_permutation(differences=generator.laplace(size=60), draws=399).p for _ in range(1500)]
    assert np.mean([p <= 0.05 for p in sampled]) == pytest.approx(0.05, abs=0.015)


@pytest.mark.long
def test_holm_bounds_any_false_claim_and_bh_their_share():
    generator = np.random.default_rng(12)
    any_false, shares = [], []
    for _ in range(5000):
        z = generator.normal(size=20)
        z[:6] += 3.0
        p = 2 * oracle.norm.sf(np.abs(z))
        any_false.append(min(stats.holm_adjust(p=p).adjusted[6:]) <= 0.05)
        claimed = np.array(stats.bh_adjust(p=p).adjusted) <= 0.1
        shares.append(claimed[6:].sum() / max(1, claimed.sum()))
    assert np.mean(any_false) <= 0.05
    assert np.mean(shares) <= 0.1 * 14 / 20 + 0.01
