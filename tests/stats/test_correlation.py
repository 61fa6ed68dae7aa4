"""Correlations: other ways to the same numbers, order-free, exact for few points, and None where there is none."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle

import steelyard.stats as stats

small = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=6)
columns = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), max_size=40)


def split(pairs):
    return [float(x) for x, _ in pairs], [float(y) for _, y in pairs]


def listed_p(x, y, statistic):
    """Share of all orderings of y whose statistic is at least as far from 0."""
    seen = abs(statistic(x, y))
    orders = list(itertools.permutations(y))
    return sum(abs(statistic(x, order)) >= seen - 1e-9 for order in orders) / len(orders)


@settings(max_examples=30)
@given(small)
def test_exact_p_values_are_those_of_listing_every_ordering(pairs):
    x, y = split(pairs)
    rank, concordance = stats.spearman_exact(x=x, y=y), stats.kendall_tau_b(x=x, y=y)
    assert (rank.rho is None) == (len(set(x)) < 2 or len(set(y)) < 2) == (concordance.tau is None)
    if rank.rho is None:
        return
    assert rank.p == pytest.approx(
        listed_p(oracle.rankdata(x), oracle.rankdata(y), lambda a, b: np.corrcoef(a, b)[0, 1])
    )

    def score(a, b):
        return sum(np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in itertools.combinations(range(len(a)), 2))

    assert concordance.p == pytest.approx(listed_p(x, y, score))


@given(columns)
def test_coefficients_are_the_textbook_ones_and_turn_with_the_sign(pairs):
    x, y = split(pairs)
    found = stats.spearman_exact(x=x, y=y) if len(x) > 12 else None
    tau, r = stats.kendall_tau_b(x=x, y=y), stats.pearson(x=x, y=y)
    if tau.tau is None:
        assert r.r is None
        return
    assert tau.tau == pytest.approx(oracle.kendalltau(x, y).statistic)
    assert r.r == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    assert stats.kendall_tau_b(x=x, y=[-one for one in y]).tau == pytest.approx(-tau.tau)
    assert stats.kendall_tau_b(x=x[::-1], y=y[::-1]).p == pytest.approx(tau.p)
    assert stats.kendall_tau_b(x=y, y=x).p == pytest.approx(tau.p)
    if found is not None:
        known = oracle.spearmanr(x, y)
        assert (found.rho, found.p) == (pytest.approx(known.statistic), pytest.approx(known.pvalue, abs=1e-9))


@pytest.mark.parametrize("n", [5, 9, 25])
def test_kendalls_p_is_exact_without_ties(n):
    generator = np.random.default_rng(n)
    x = generator.permutation(n)
    y = x + generator.normal(0, n / 4, size=n)
    found, known = stats.kendall_tau_b(x=x, y=y), oracle.kendalltau(x, y, method="exact")
    assert (found.tau, found.p) == (pytest.approx(known.statistic), pytest.approx(known.pvalue))
    assert found.method == "exact"


def test_kendalls_p_with_ties_is_the_normal_one():
    x, y = np.random.default_rng(1).integers(0, 6, size=(2, 40))
    found, known = stats.kendall_tau_b(x=x, y=y), oracle.kendalltau(x, y, method="asymptotic")
    assert (found.p, found.method) == (pytest.approx(known.pvalue), "normal")


@pytest.mark.parametrize("n", [5, 6, 9])
def test_kendalls_interval_leaves_out_none_just_where_the_exact_p_is_small(n):
    for order in itertools.islice(itertools.permutations(range(n)), 0, None, math.factorial(n) // 60):
        tau = stats.kendall_tau_b(x=range(n), y=order)
        found = stats.kendall_interval(tau=tau.tau, n=n)
        assert (found.low > 0 or found.high < 0) == (tau.p <= 0.05)
        assert found.low <= tau.tau <= found.high
        turned = stats.kendall_interval(tau=-tau.tau, n=n)
        assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_kendalls_interval_of_a_perfect_order_is_no_point_and_ties_round_outward():
    perfect = stats.kendall_interval(tau=1.0, n=5)
    assert (perfect.low, perfect.high) == (pytest.approx(0.1998, abs=1e-4), 1.0)
    tied = stats.kendall_interval(tau=0.7, n=5)
    assert (tied.low, tied.high) == (
        stats.kendall_interval(tau=0.6, n=5).low,
        stats.kendall_interval(tau=0.8, n=5).high,
    )
    assert stats.kendall_interval(tau=0.0, n=1).low == -1.0
    assert stats.kendall_interval(tau=1.0, n=101).low is None
    near = [stats.kendall_interval(tau=0.5, n=n) for n in (100, 101)]
    assert [one.method for one in near] == ["exact", "z"]
    assert (near[0].low, near[0].high) == pytest.approx((near[1].low, near[1].high), abs=0.01)


@pytest.mark.long
@pytest.mark.parametrize("n", [5, 8, 15])
@pytest.mark.parametrize("tau", [0.0, 0.4, 0.8])
def test_kendalls_interval_covers_the_tau_of_normal_pairs(n, tau):
    generator, reps = np.random.default_rng(n), 2_000
    rho = math.sin(math.pi * tau / 2)
    x = generator.standard_normal((reps, n))
    y = rho * x + math.sqrt(1 - rho**2) * generator.standard_normal((reps, n))
    i, j = np.triu_indices(n, 1)
    seen = np.sign((x[:, i] - x[:, j]) * (y[:, i] - y[:, j])).mean(axis=1)
    bounds = {one: stats.kendall_interval(tau=one, n=n) for one in np.unique(seen).tolist()}
    assert 0.93 < np.mean([bounds[one].low <= tau <= bounds[one].high for one in seen.tolist()]) < 0.995


@pytest.mark.parametrize("levels", [2, 40, 10**9])
def test_kendalls_tau_of_many_points_is_scipys_and_needs_no_table_of_pairs(levels):
    generator = np.random.default_rng(levels)
    x = generator.integers(0, levels, 20_000)
    y = np.where(generator.random(20_000) < 0.3, x, generator.integers(0, levels, 20_000))
    found, expected = stats.kendall_tau_b(x=x, y=y), oracle.kendalltau(x, y, method="asymptotic")
    assert (found.tau, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)


def test_twelve_points_are_few_enough_to_be_exact():
    generator = np.random.default_rng(2)
    x = generator.permutation(12)
    y = x + generator.normal(0, 5, size=12)
    found = stats.spearman_exact(x=x, y=y)
    assert found.method == "exact"
    assert found.p == pytest.approx(oracle.spearmanr(x, y).pvalue, abs=0.01)
    perfect = stats.spearman_exact(x=range(12), y=range(12)).p
    assert perfect == pytest.approx(2 / math.factorial(12))


@pytest.mark.parametrize(
    ("x", "y"), [([], []), ([1.0], [2.0]), ([1.0, 1, 1], [1.0, 2, 3]), ([1.0, math.nan, 3], [1.0, 2, 3])]
)
def test_columns_without_spread_have_no_coefficient(x, y):
    assert stats.pearson(x=x, y=y).r is None
    assert stats.spearman_exact(x=x, y=y).rho is None
    assert stats.kendall_tau_b(x=x, y=y).tau is None


def test_two_points_are_a_line_and_no_evidence():
    assert stats.pearson(x=[1, 2], y=[5, 3]) == stats.point_biserial(binary=[1, 2], values=[5, 3])
    assert (stats.pearson(x=[1, 2], y=[5, 3]).r, stats.pearson(x=[1, 2], y=[5, 3]).p) == (pytest.approx(-1), None)
    assert stats.spearman_exact(x=[1, 2], y=[5, 3]).p == 1.0
    assert stats.kendall_tau_b(x=[1, 2], y=[5, 3]).p == 1.0


def test_fishers_interval_is_wide_for_few_points_and_never_without_width():
    assert stats.correlation_interval_fisher(r=0.9, n=3).low == -1.0
    assert stats.correlation_interval_fisher(r=0.9, n=0).high == 1.0
    assert stats.correlation_interval_fisher(r=1.0, n=50).low is None
    found, turned = (stats.correlation_interval_fisher(r=r, n=20) for r in (0.4, -0.4))
    assert (found.low, found.high) == (pytest.approx(-turned.high), pytest.approx(-turned.low))


def test_fishers_interval_covers_the_correlation():
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(2000):
        x = generator.normal(size=40)
        y = 0.6 * x + 0.8 * generator.normal(size=40)
        found = stats.correlation_interval_fisher(r=stats.pearson(x=x, y=y).r, n=40)
        hits += found.low <= 0.6 <= found.high
    assert 0.935 <= hits / 2000 <= 0.965


@pytest.mark.long
@pytest.mark.parametrize("n", [7, 30])
def test_rank_correlations_err_as_often_as_they_say(n):
    generator = np.random.default_rng(n)
    rank, concordance = [], []
    for _ in range(3000):
        x, y = generator.normal(size=(2, n))
        rank.append(stats.spearman_exact(x=x, y=y).p <= 0.05)
        concordance.append(stats.kendall_tau_b(x=x, y=y).p <= 0.05)
    assert 0.03 <= np.mean(rank) <= 0.06
    assert 0.025 <= np.mean(concordance) <= 0.06


def test_with_ties_an_interval_leaves_out_no_correlation_just_where_its_p_is_small():
    generator, missed, told = np.random.default_rng(5), 0, 0
    for _ in range(150):
        x, y = generator.integers(0, 4, (2, 10))
        tau = stats.kendall_tau_b(x=x, y=y)
        found = stats.kendall_interval(tau=tau.tau, n=10, untied=tau.untied)
        is_told = found.low > 0 or found.high < 0
        assert is_told == (found.p <= 0.05)
        told += is_told
        plain = stats.kendall_interval(tau=tau.tau, n=10)
        missed += plain.low > 0 or plain.high < 0
    assert told / 150 <= 0.06 < missed / 150


def test_without_ties_the_interval_has_the_exact_p():
    x, y = np.arange(9), np.array([1, 0, 3, 2, 5, 4, 7, 8, 6])
    tau = stats.kendall_tau_b(x=x, y=y)
    assert stats.kendall_interval(tau=tau.tau, n=9).p == pytest.approx(tau.p)
    assert tau.untied == 1
