"""Against statsmodels, on a few hundred seeded inputs each: the same questions asked of somebody else's code."""

import math
import warnings
from itertools import product

import numpy as np
import pytest

import steelyard.stats as stats

CLOSE = 1e-8
ENDLESS = 10**15
"""A benchmark beside which the items asked are nothing."""


@pytest.fixture(scope="module", autouse=True)
def _statsmodels():
    """Somebody else's code, which takes seconds to load: once a test asks for it, and not where tests are collected."""
    global sm, contingency_tables, inter_rater, multitest, power, proportion, rates, weightstats, combine_effects
    pytest.importorskip("statsmodels", reason="make extras installs what these tests compare with")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import statsmodels.api as sm
        from statsmodels.stats import contingency_tables, inter_rater, multitest, power, proportion, rates, weightstats
        from statsmodels.stats.meta_analysis import combine_effects


def shares(seed, size=300, most=2000):
    """Counts of successes out of n, the ends among them, and a confidence."""
    generator = np.random.default_rng(seed)
    for _ in range(size):
        n = int(np.exp(generator.uniform(0, math.log(most))))
        k = int(generator.choice([0, n, generator.integers(0, n + 1)]))
        yield k, n, float(generator.choice([0.8, 0.9, 0.95, 0.99]))


@pytest.mark.parametrize(
    ("name", "method"),
    [("wilson_interval", "wilson"), ("clopper_pearson_interval", "beta"), ("jeffreys_interval", "jeffreys")],
)
def test_intervals_of_a_share_are_the_same(name, method):
    for k, n, confidence in shares(1):
        found = getattr(stats, name)(successes=k, n=n, confidence=confidence)
        low, high = proportion.proportion_confint(k, n, alpha=1 - confidence, method=method)
        if method == "jeffreys":  # ours reach 0 and 1 where nothing, or everything, was right
            low, high = 0.0 if k == 0 else low, 1.0 if k == n else high
        assert (found.low, found.high) == pytest.approx((low, high), abs=CLOSE)


def test_unpaired_differences_are_the_same():
    for (k, n, confidence), (j, m, _) in zip(shares(2), shares(3), strict=True):
        found = stats.unpaired_difference_newcombe(a_successes=k, a_n=n, b_successes=j, b_n=m, confidence=confidence)
        known = proportion.confint_proportions_2indep(k, n, j, m, method="newcomb", alpha=1 - confidence)
        assert (found.low, found.high) == pytest.approx(known, abs=CLOSE)
        assert stats.cohens_h(p1=k / n, p2=j / m).h == pytest.approx(proportion.proportion_effectsize(k / n, j / m))


def test_events_of_a_rate_are_bounded_the_same():
    generator = np.random.default_rng(4)
    for events, exposure in zip(generator.integers(0, 300, 200), generator.uniform(0.1, 50, 200), strict=True):
        found = stats.poisson_rate_interval(events=int(events), exposure=exposure)
        low, high = rates.confint_poisson(events, exposure, method="exact-c")
        assert (found.low, found.high) == pytest.approx((0.0 if events == 0 else low, high), abs=CLOSE)


def test_mcnemar_is_the_same_exact_and_asymptotic():
    generator = np.random.default_rng(5)
    for b, c in generator.integers(0, 60, (300, 2)):
        if b + c == 0:
            continue
        found, table = stats.mcnemar(only_a_correct=int(b), only_b_correct=int(c)), [[9, b], [c, 9]]
        assert found.exact == pytest.approx(contingency_tables.mcnemar(table, exact=True).pvalue, abs=CLOSE)
        plain, corrected = (contingency_tables.mcnemar(table, exact=False, correction=one) for one in (False, True))
        assert found.asymptotic == pytest.approx(plain.pvalue, abs=CLOSE)
        if b != c:  # statsmodels corrects (|b - c| - 1)^2 also where b = c, and finds more than nothing there
            assert found.asymptotic_cc == pytest.approx(corrected.pvalue, abs=CLOSE)


@pytest.mark.parametrize(("name", "method"), [("holm_adjust", "holm"), ("bh_adjust", "fdr_bh")])
def test_p_values_are_adjusted_the_same(name, method, monkeypatch):
    monkeypatch.setattr("gc.collect", int)  # Holm's there looks for garbage at each call, in all that is loaded here
    generator = np.random.default_rng(6)
    for _ in range(50):
        p = np.round(generator.random(int(generator.integers(1, 40))) ** 3, int(generator.integers(1, 5)))
        assert getattr(stats, name)(p=p).adjusted == pytest.approx(multitest.multipletests(p, method=method)[1])


def test_means_and_their_differences_are_the_same():
    generator = np.random.default_rng(7)
    for _ in range(200):
        n, m = generator.integers(2, 80, 2)
        a, b = generator.normal(1, 2, n), generator.gamma(2, 3, m)
        found, of_a = stats.mean_interval(values=a), weightstats.DescrStatsW(a)
        assert (found.low, found.high) == pytest.approx(of_a.tconfint_mean())
        both = weightstats.CompareMeans(of_a, weightstats.DescrStatsW(b))
        welch = stats.welch_t(a=a, b=b)
        assert (welch.t, welch.p, welch.df) == pytest.approx(both.ttest_ind(usevar="unequal"))
        assert (welch.low, welch.high) == pytest.approx(both.tconfint_diff(usevar="unequal"))


def test_pairs_and_equivalence_are_the_same():
    generator = np.random.default_rng(8)
    for _ in range(200):
        n = int(generator.integers(2, 80))
        a = generator.normal(size=n)
        b = a + generator.normal(0.2, 1, n)
        found, known = stats.paired_t(a=a, b=b), weightstats.DescrStatsW(a - b)
        assert (found.t, found.p, found.df) == pytest.approx(known.ttest_mean(0))
        assert (found.low, found.high) == pytest.approx(known.tconfint_mean())
        low, high = sorted(generator.normal(size=2))
        p, (_, p_low, _), (_, p_high, _) = weightstats.ttost_paired(a, b, low, high)
        equal = stats.tost_paired(differences=a - b, low=low, high=high)
        assert (equal.p, equal.p_low, equal.p_high) == pytest.approx((p, p_low, p_high), abs=CLOSE)


def test_clusters_have_the_error_of_a_regression_that_knows_them():
    generator = np.random.default_rng(9)
    for _ in range(200):
        n = int(generator.integers(4, 120))
        clusters = generator.integers(0, max(2, n // 4), n)
        if len(np.unique(clusters)) < 2:
            continue
        y = generator.normal(size=n) + generator.normal(size=n)[clusters]
        fit = sm.OLS(y, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
        found = stats.cluster_se(scores=y, clusters=clusters)
        assert (found.mean, found.se) == pytest.approx((fit.params[0], fit.bse[0]))
        paired = stats.paired_t(a=y, b=np.zeros(n), clusters=clusters)
        assert (paired.low, paired.high) == pytest.approx(tuple(fit.conf_int()[0]))
        assert paired.p == pytest.approx(fit.pvalues[0])


def test_a_mean_over_strata_in_clusters_has_the_error_of_a_regression_that_knows_both():
    generator = np.random.default_rng(12)
    for _ in range(60):
        n = int(generator.integers(20, 120))
        strata, clusters = generator.permutation(np.arange(n) % 3), generator.integers(0, n // 4, n)
        weights = generator.uniform(0.1, 1, 3)
        y = generator.normal(size=n) + generator.normal(size=n)[clusters] + strata
        dummies = (strata[:, None] == np.arange(3)).astype(float)
        groups = {"groups": clusters, "use_correction": False}
        fit = sm.OLS(y, dummies).fit(cov_type="cluster", cov_kwds=groups).t_test(weights / weights.sum())
        found = stats.cluster_se_stratified(
            scores=y, clusters=clusters, strata=strata, weights=dict(enumerate(weights.tolist()))
        )
        assert (found.mean, found.se_cr0) == pytest.approx((fit.effect[0], fit.sd[0, 0]))
        assert found.se is None or found.se > found.se_cr0


def test_a_mean_over_fixed_strata_has_the_error_of_a_regression_on_them():
    generator = np.random.default_rng(10)
    for _ in range(100):
        sizes = generator.integers(2, 30, int(generator.integers(1, 8)))
        strata = np.repeat(np.arange(len(sizes)), sizes)
        weights = generator.uniform(0.5, 2, len(sizes))
        y = generator.normal(size=len(strata)) * (1 + strata)
        found = stats.paired_t_stratified(
            a=y, b=np.zeros(len(y)), strata=strata, weights=dict(enumerate(weights.tolist()))
        )
        dummies = (strata[:, None] == np.arange(len(sizes))).astype(float)
        hc2 = sm.OLS(y, dummies).fit(cov_type="HC2", use_t=True).t_test(weights / weights.sum())
        assert (found.mean_diff, found.se) == pytest.approx((hc2.effect.item(), hc2.sd.item()))
        assert (found.low, found.high) == pytest.approx(tuple(hc2.conf_int()[0]))


def test_a_control_variate_is_a_regression_read_off_at_the_baselines_mean():
    generator = np.random.default_rng(11)
    for _ in range(200):
        n = int(generator.integers(5, 200))
        x = generator.random(n)
        y = 0.5 * x + generator.normal(size=n)
        fit = sm.OLS(y, sm.add_constant(x)).fit()
        found = stats.control_variate_mean(new=y, baseline_same_items=x, baseline_full_mean=0.6, population=ENDLESS)
        assert found.theta == pytest.approx(fit.params[1])
        assert found.estimate == pytest.approx(float(fit.predict([[1, 0.6]])[0]))
        at_its_own_mean = fit.get_prediction([[1, x.mean()]])
        assert found.se == pytest.approx(at_its_own_mean.se_mean.item())


def test_a_trend_is_weighted_least_squares_and_the_spread_beyond_errors_is_that_of_a_meta_analysis():
    generator = np.random.default_rng(12)
    for _ in range(200):
        k = int(generator.integers(3, 30))
        se, times = generator.uniform(0.01, 0.1, k), np.cumsum(generator.uniform(0.5, 2, k))
        scores = 0.7 + 0.01 * times + generator.normal(size=k) * se * generator.uniform(0.5, 3)
        found = stats.trend_known_se(scores=scores, se=se, times=times)
        fit = sm.WLS(scores, sm.add_constant(times), weights=1 / se**2).fit(cov_type="fixed scale")
        assert (found.slope, found.slope_se) == pytest.approx((fit.params[1], fit.bse[1]))
        assert found.slope_p == pytest.approx(fit.pvalues[1], abs=CLOSE)
        with np.errstate(invalid="ignore"):  # statsmodels lets the spread fall below 0
            pooled = combine_effects(scores, se**2, method_re="dl")
        assert (found.weighted_mean, found.cochran_q) == pytest.approx((pooled.mean_effect_fe, pooled.q))
        assert found.tau2 == pytest.approx(max(0.0, pooled.tau2), abs=1e-12)


@pytest.mark.parametrize(("weights", "wt"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")])
def test_two_raters_agree_the_same(weights, wt):
    generator = np.random.default_rng(13)
    for _ in range(100):
        n = int(generator.integers(20, 200))
        first = generator.integers(0, 4, n)
        second = np.where(generator.random(n) < 0.5, first, generator.integers(0, 4, n))
        table = np.zeros((4, 4))
        np.add.at(table, (first, second), 1)
        found = stats.cohen_kappa(
            first=first.tolist(), second=second.tolist(), weights=weights, categories=[0, 1, 2, 3]
        )
        known = inter_rater.cohens_kappa(table, wt=wt)
        assert (found.kappa, found.se) == pytest.approx((known.kappa, known.std_kappa))


def test_power_and_sizes_are_the_same():
    for n, delta, alpha in product([2, 5, 20, 150], [0.1, 0.5, 1.2, -0.7], [0.01, 0.05, 0.2]):
        known = power.tt_ind_solve_power(effect_size=abs(delta) / 2, nobs1=n, alpha=alpha, ratio=1)
        assert stats.power_two_sample_t(n=n, delta=delta, sd=2.0, alpha=alpha).power == pytest.approx(known, abs=1e-7)
    for delta, variance, chance in product([0.01, 0.03, 0.2], [0.05, 0.3, 1.0], [0.5, 0.8, 0.95]):
        known = power.normal_sample_size_one_tail(delta, chance, 0.025, std_null=math.sqrt(variance))
        found = stats.sample_size_paired(delta=delta, omega2=variance, power=chance)
        assert found.n == math.ceil(known)
        back = stats.minimum_detectable_effect(n=1, omega2=variance, power=chance).mde
        assert known == pytest.approx((back / delta) ** 2)


def test_items_for_a_precision_are_the_same():
    for p, half_width in product([0.03, 0.3, 0.5, 0.65, 0.9], [0.01, 0.03, 0.08]):
        known = proportion.samplesize_confint_proportion(p, half_width, method="normal")
        found = stats.sample_size_precision_fpc(p=p, half_width=half_width)
        assert found.n_infinite == math.ceil(known - 1e-6)
