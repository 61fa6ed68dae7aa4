"""Items needed and items saved: other ways to the same numbers, clean sheets, and intervals that cover."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

import steelyard.stats as stats
from steelyard.stats import control_variates

# --- power ------------------------------------------------------------------------------------------------------------


@given(st.floats(0.005, 0.2), st.floats(0.01, 1.0), st.integers(1, 10))
def test_items_needed_and_difference_detectable_are_each_others_inverse(delta, omega2, k):
    asked = {"omega2": omega2, "sigma2_a": 0.1, "sigma2_b": 0.05, "k_a": k, "k_b": k}
    n = stats.sample_size_paired(delta=delta, **asked).n
    assert stats.minimum_detectable_effect(n=n, **asked).mde <= delta + 1e-9
    if n > 1:
        assert stats.minimum_detectable_effect(n=n - 1, **asked).mde > delta - 1e-9
    assert stats.sample_size_paired(delta=-delta, **asked).n == n


def test_questions_without_an_answer_are_none():
    assert stats.sample_size_paired(delta=0, omega2=0.1).n is None
    assert stats.minimum_detectable_effect(n=0, omega2=0.1).mde is None
    assert stats.sample_size_two_proportions(p1=0.5, p2=0.5).n is None
    assert stats.power_two_sample_t(n=1, delta=1, sd=1).power is None
    assert stats.sample_size_precision_fpc(p=0.5, half_width=0.0, population=10).n_finite == 10
    assert stats.sample_size_precision_wilson(p=0.5, half_width=0.0, population=10).n_finite == 10


@pytest.mark.parametrize("p", [0.5, 0.6, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("half_width", [0.01, 0.03, 0.05])
@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_items_for_a_known_share_are_those_of_the_closed_formula_also_near_one(p, half_width, confidence):
    needed = oracle.norm.ppf(0.5 + confidence / 2) ** 2 * p * (1 - p) / half_width**2
    found = stats.sample_size_precision_fpc(p=p, half_width=half_width, confidence=confidence, population=448)
    assert found.n_infinite == math.ceil(needed)
    assert found.n_finite == math.ceil(needed / (1 + (needed - 1) / 448))


@pytest.mark.parametrize(("p", "half_width"), [(1.0, 0.03), (0.0, 0.03), (0.999, 0.01), (0.6, 0.03), (0.9, 0.05)])
def test_the_items_needed_for_a_precision_give_it(p, half_width):
    found = stats.sample_size_precision_wilson(p=p, half_width=half_width, population=1319)
    whole = stats.wilson_interval(successes=p * found.n_infinite, n=found.n_infinite)
    assert (whole.high - whole.low) / 2 <= half_width * 1.05
    part = stats.wilson_interval_finite(successes=p * found.n_finite, n=found.n_finite, population=1319)
    assert (part.high - part.low) / 2 <= half_width * 1.05
    assert found.n_finite <= min(1319, found.n_infinite)


@pytest.mark.parametrize(("n", "delta"), [(2, 1.0), (17, 0.4), (100, 0.3), (1000, 3.0)])
def test_the_power_of_the_t_test_is_that_of_the_noncentral_t(n, delta):
    degrees, shift = 2 * n - 2, math.sqrt(n / 2) * delta
    critical = oracle.t.ppf(0.975, degrees)
    known = oracle.nct.sf(critical, degrees, shift) + oracle.nct.cdf(-critical, degrees, shift)
    assert stats.power_two_sample_t(n=n, delta=delta, sd=1.0).power == pytest.approx(known, abs=1e-8)
    assert stats.power_two_sample_t(n=n, delta=-delta, sd=1.0).power == pytest.approx(known, abs=1e-8)


@pytest.mark.parametrize(("n", "shift"), [(2, 6.5), (5, 7.0), (282, 10.6), (5000, 5.5), (5000, 29.5)])
def test_power_is_known_where_the_noncentral_t_fails(n, shift):
    nodes, weights = np.polynomial.legendre.leggauss(400)
    spread = np.sqrt(oracle.chi2.ppf((nodes + 1) / 2, 2 * n - 2) / (2 * n - 2))
    known = weights / 2 @ oracle.norm.cdf(shift - oracle.t.ppf(0.975, 2 * n - 2) * spread)
    assert stats.power_two_sample_t(n=n, delta=shift, sd=math.sqrt(n / 2)).power == pytest.approx(known, abs=1e-5)


def test_without_a_difference_power_is_the_error_allowed():
    assert stats.power_two_sample_t(n=30, delta=0, sd=1).power == pytest.approx(0.05)


@given(st.integers(0, 2000), st.integers(0, 3000), st.floats(0, 0.3), st.floats(0, 0.1))
def test_the_chances_of_a_gate_make_one(n, seed, drop, margin):
    found = stats.gate_chances(n=n, discordant=seed / 3000, drop=drop, margin=margin)
    assert found.passes + found.fails + found.inconclusive == pytest.approx(1.0)
    assert min(found.passes, found.fails, found.inconclusive) >= -1e-12


# --- the whole benchmark from a part ----------------------------------------------------------------------------------


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 100))
def test_a_part_of_a_benchmark_bounds_the_whole(right, wrong, left):
    n, population = right + wrong, right + wrong + left
    found = stats.wilson_interval_finite(successes=right, n=n, population=population)
    if population:
        assert right / population - 1e-12 <= found.low <= found.high <= (right + left) / population + 1e-12
    assert (found.high > found.low) == (left > 0 or not population)
    mirrored = stats.wilson_interval_finite(successes=wrong, n=n, population=population)
    assert found.low == pytest.approx(1 - mirrored.high)


@pytest.mark.parametrize("right", [660, 1055, 1253])
def test_the_interval_of_a_part_covers_the_whole(right):
    draws = np.random.default_rng(right).hypergeometric(right, 1319 - right, 300, size=4000)
    found = [stats.wilson_interval_finite(successes=int(k), n=300, population=1319) for k in draws]
    assert 0.935 <= np.mean([one.low <= right / 1319 <= one.high for one in found]) <= 0.97


@given(st.integers(0, 200), st.floats(0.1, 100))
def test_a_rate_of_events_has_bounds_even_without_events(events, exposure):
    found = stats.poisson_rate_interval(events=events, exposure=exposure)
    assert found.low <= found.rate <= found.high
    assert found.high > found.low
    known = oracle.chi2.ppf(0.975, 2 * events + 2) / 2 / exposure
    assert found.high == pytest.approx(known)
    assert stats.poisson_rate_interval(events=0, exposure=0).high is None


# --- with a baseline's help -------------------------------------------------------------------------------------------


def benchmark(generator, population, phi, p=0.7):
    """Right and wrong of a baseline and a new version whose correlation is ``phi``."""
    both = p * p + phi * p * (1 - p)
    cells = generator.choice(4, size=population, p=[both, p - both, p - both, 1 - 2 * p + both])
    return (cells <= 1).astype(float), ((cells == 0) | (cells == 2)).astype(float)


def estimates(generator, phi, n, size, population=1319):
    baseline, new = benchmark(generator, population, phi)
    found, plain = [], []
    for _ in range(size):
        part = generator.permutation(population)[:n]
        found.append(
            stats.control_variate_mean(
                new=new[part],
                baseline_same_items=baseline[part],
                baseline_full_mean=float(baseline.mean()),
                population=population,
            )
        )
        plain.append(new[part].mean())
    truth = new.mean()
    known = [one for one in found if one.low is not None]
    assert len(known) > 0.98 * size  # two versions that never differ on the items asked leave no interval
    hits = np.mean([one.low <= truth <= one.high for one in known])
    saved = np.var([one.estimate for one in found]) / np.var(plain)
    return hits, saved, float(np.corrcoef(baseline, new)[0, 1])


@pytest.mark.parametrize("phi", [0.3, 0.7])
def test_a_cached_baseline_saves_what_its_correlation_says_and_the_interval_covers(phi):
    hits, saved, true_phi = estimates(np.random.default_rng(1), phi, 330, 1500)
    assert 0.925 <= hits <= 0.97
    assert saved == pytest.approx(1 - true_phi**2, abs=0.08)


@pytest.mark.long
@pytest.mark.parametrize("phi", [0.3, 0.5, 0.8, 0.9])
@pytest.mark.parametrize("n", [132, 330])
def test_a_cached_baseline_covers_from_weak_to_strong(phi, n):
    hits, saved, true_phi = estimates(np.random.default_rng(n), phi, n, 5000)
    assert 0.935 <= hits <= 0.97
    assert saved == pytest.approx(1 - true_phi**2, abs=0.06)


def asked_of(generator, phi, n, population=1319, p=0.7):
    """What a run of ``n`` items has of two versions, with both versions' answers to all of the benchmark."""
    baseline, new = benchmark(generator, population, phi, p)
    part = generator.permutation(population)[:n]
    return {"new": new[part], "baseline_same_items": baseline[part], "population": population}, baseline, new


@pytest.fixture
def _without_p(monkeypatch):
    """Bounds without their p value, which is looked for among some 25 intervals and which is a test of its own."""
    monkeypatch.setattr(control_variates, "share_p_value", lambda *_, **__: None)


def differences(generator, phi, n, size, p=0.7):
    """How often the interval of new - baseline covers it, over the population and beyond."""
    of_these, beyond = [], []
    for _ in range(size):
        asked, baseline, new = asked_of(generator, phi, n, p=p)
        asked["baseline_full_mean"] = float(baseline.mean())
        found = stats.control_variate_difference(**asked)
        of_these.append(found.low - 1e-12 <= (new - baseline).mean() <= found.high + 1e-12)
        found = stats.control_variate_difference(**asked, baseline_variance=float(baseline.var(ddof=1)))
        beyond.append(found.low <= 0 <= found.high)
    return np.mean(of_these), np.mean(beyond)


def correlations(generator, phi, n, size, p):
    """How often the interval of phi covers it."""
    gains = (stats.control_variate_gain(**asked_of(generator, phi, n, p=p)[0]) for _ in range(size))
    return np.mean([gain.phi_low <= phi <= gain.phi_high for gain in gains if gain.phi_low is not None])


@pytest.mark.usefixtures("_without_p")
@pytest.mark.parametrize(("n", "p", "phi"), [(132, 0.7, 0.3), (132, 0.7, 0.8), (132, 0.95, 0.3), (100, 0.9, 0.6)])
def test_the_difference_of_two_versions_is_covered_for_this_benchmark_and_beyond_it(n, p, phi):
    of_these, beyond = differences(np.random.default_rng(11), phi, n, 400, p=p)
    for covered in (of_these, beyond):
        assert 0.915 <= covered <= 0.98


@pytest.mark.long
@pytest.mark.usefixtures("_without_p")
@pytest.mark.parametrize("phi", [0.0, 0.6, 0.8])
@pytest.mark.parametrize("p", [0.7, 0.95])
@pytest.mark.parametrize("n", [100, 132, 330])
def test_the_difference_of_two_versions_is_covered_from_weak_to_strong(n, p, phi):
    of_these, beyond = differences(np.random.default_rng(n), phi, n, 2000, p=p)
    fewest = n * 2 * (1 - phi) * p * (1 - p)  # items on which the two are expected to differ
    assert 0.925 <= of_these <= (0.97 if fewest > 10 else 0.985)
    assert 0.925 <= beyond <= (0.97 if fewest > 10 else 0.99)


@pytest.mark.long
@pytest.mark.usefixtures("_without_p")
@pytest.mark.parametrize(("n", "p"), [(132, 0.95), (132, 0.98), (330, 0.95), (330, 0.98)])
def test_two_versions_that_hardly_differ_are_covered_more_often_than_is_said(n, p):
    of_these, beyond = differences(np.random.default_rng(n), 0.9, n, 1500, p=p)
    assert min(of_these, beyond) >= 0.935


def of_the_rest(generator, phi, n, size, p):
    """How often the interval of a mean of 1,319 items covers it, where ``n`` of them were asked."""
    hits = []
    for _ in range(size):
        asked, baseline, new = asked_of(generator, phi, n, p=p)
        found = stats.control_variate_mean(**asked, baseline_full_mean=float(baseline.mean()))
        hits.append(found.low - 1e-12 <= new.mean() <= found.high + 1e-12)
    return np.mean(hits)


def test_a_few_flips_among_most_items_of_a_benchmark_leave_the_rest_in_doubt():
    assert of_the_rest(np.random.default_rng(13), 0.95, 1000, 300, 0.95) >= 0.92  # without: 86 %


@pytest.mark.long
@pytest.mark.parametrize("phi", [0.0, 0.6, 0.9, 0.95])
@pytest.mark.parametrize("p", [0.7, 0.95])
@pytest.mark.parametrize("n", [330, 660, 1000])
def test_what_was_not_asked_is_covered_however_few_flips_were_seen(n, p, phi):
    hits = of_the_rest(np.random.default_rng(n), phi, n, 4000, p)
    flips = n * 2 * (1 - phi) * p * (1 - p)
    assert 0.935 <= hits <= (0.965 if flips > 4 else 0.99)


def flipped(lost, won, right, wrong):
    """New and baseline scores of items of which the baseline has so many right and wrong, and new flips some."""
    baseline = np.repeat([1.0, 0.0], [right, wrong])
    new = baseline.copy()
    new[:lost], new[right : right + won] = 0.0, 1.0
    return {"new": new, "baseline_same_items": baseline}


def counted_out(lost, won, right, wrong, asked):
    """The chance, summed exactly, that the interval of whole items holds the difference over all of them."""
    of_right, of_wrong = round(asked * right / (right + wrong)), asked - round(asked * right / (right + wrong))
    chance = 0.0
    for seen_lost, seen_won in itertools.product(range(min(lost, of_right) + 1), range(min(won, of_wrong) + 1)):
        part = oracle.hypergeom.pmf(seen_lost, right, lost, of_right)
        part *= oracle.hypergeom.pmf(seen_won, wrong, won, of_wrong)
        if part > 1e-6:
            found = stats.whole_difference(
                **flipped(seen_lost, seen_won, of_right, of_wrong), baseline_right=right, population=right + wrong
            )
            chance += part * (found.low <= (won - lost) / (right + wrong) + 1e-12 <= found.high + 2e-12)
    return chance


@pytest.mark.parametrize(("lost", "won"), [(0, 1), (1, 1), (2, 2), (1, 3), (6, 6)])
def test_flips_that_are_counted_out_are_covered_on_every_single_benchmark(lost, won):
    assert counted_out(lost, won, 500, 500, 850) >= 0.95


@pytest.mark.long
@pytest.mark.parametrize("asked", [0.42, 0.85, 0.97])
@pytest.mark.parametrize(("right", "wrong"), [(500, 500), (228, 12)])
def test_flips_that_are_counted_out_are_covered_however_many_and_however_they_lie(right, wrong, asked):
    flips = itertools.product([0, 1, 2, 6, 20], repeat=2)
    chances = [
        counted_out(lost, won, right, wrong, round(asked * (right + wrong))) for lost, won in flips if won <= wrong
    ]
    assert min(chances) >= 0.95 - 1e-4  # what is too rare to be summed


def test_where_all_was_asked_flips_are_counted_and_a_half_that_was_not_asked_may_flip_as_a_whole():
    everything = stats.whole_difference(**flipped(3, 1, 60, 60), baseline_right=60, population=120)
    assert (everything.low, everything.high) == (-2 / 120, -2 / 120)
    unseen = stats.whole_difference(**flipped(0, 0, 120, 0), baseline_right=120, population=124)
    assert unseen.high == 4 / 124


def test_a_whole_half_of_a_large_benchmark_that_flips_is_counted_out_in_little_memory():
    many = flipped(0, 3_500, 0, 7_000)
    stats.whole_difference(**flipped(1, 1, 4, 4), baseline_right=5, population=10)  # what is loaded once
    tracemalloc.start()
    found = stats.whole_difference(**many, baseline_right=0, population=14_042)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # the whole table of what may be seen would take some 200 MB, several times over
    assert found.low < 0.5 < found.high
    reach = 1.96 * 0.5 / 7_000**0.5 * (1 - 7_000 / 14_042) ** 0.5
    assert found.high - found.low == pytest.approx(2 * reach, rel=0.1)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(100, 160))
def test_the_p_value_of_flips_that_are_counted_out_is_that_of_the_interval(lost, won, right):
    found = stats.whole_difference(**flipped(lost, won, 100, 100), baseline_right=right, population=right + 120)
    assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
    other = stats.whole_difference(
        **{name: 1 - scores for name, scores in flipped(lost, won, 100, 100).items()},
        baseline_right=120,
        population=right + 120,
    )
    assert (-other.high, -other.low) == (pytest.approx(found.low), pytest.approx(found.high))


@pytest.mark.long
@pytest.mark.parametrize("phi", [0.3, 0.7, 0.9])
@pytest.mark.parametrize(("n", "p"), [(132, 0.7), (330, 0.7), (330, 0.9)])
def test_phi_is_covered_from_weak_to_strong(phi, n, p):
    assert 0.92 <= correlations(np.random.default_rng(n), phi, n, 2000, p) <= 0.985


@given(st.integers(0, 2**32), st.integers(3, 60))
def test_the_p_value_of_right_and_wrong_is_that_of_the_interval(seed, n):
    generator = np.random.default_rng(seed)
    asked = {
        "new": generator.integers(0, 2, n),
        "baseline_same_items": generator.integers(0, 2, n),
        "baseline_full_mean": 0.7,
        "population": 200,
    }
    found = stats.control_variate_difference(**asked)
    assert 0 <= found.p <= 1
    assert (found.p < 0.05) == (not found.low <= 0 <= found.high) or found.p == pytest.approx(0.05, abs=1e-6)
    mirrored = {**asked, "new": 1 - asked["new"], "baseline_same_items": 1 - asked["baseline_same_items"]}
    back = stats.control_variate_difference(**mirrored | {"baseline_full_mean": 0.3})
    assert (back.diff, back.low) == (pytest.approx(-found.diff), pytest.approx(-found.high))


def test_two_versions_that_never_differed_on_the_items_asked_are_not_certain_to_be_equal():
    same = np.r_[np.ones(80), np.zeros(40)]
    found = stats.control_variate_difference(
        new=same, baseline_same_items=same, baseline_full_mean=0.6, population=1319
    )
    assert (found.diff, found.se, found.method) == (pytest.approx(0.0), None, "shares")
    assert found.p > 0.9
    assert found.low < -0.01 < 0.01 < found.high


def test_what_a_baseline_is_worth_is_none_of_ones_own_where_they_do_not_go_together():
    generator = np.random.default_rng(12)
    baseline, new = benchmark(generator, 100_000, 0.7)
    strong = stats.control_variate_gain(new=new, baseline_same_items=baseline, population=10**9)
    assert strong.variance_left == pytest.approx(1 - 0.7**2, abs=0.01)
    assert strong.worth == pytest.approx(100_000 / strong.variance_left, rel=1e-3)
    assert strong.paired_left == pytest.approx(2 * (1 - 0.7), abs=0.02)
    assert strong.worth_low < strong.worth < strong.worth_high
    weak = stats.control_variate_gain(new=generator.permutation(new), baseline_same_items=baseline, population=10**9)
    assert weak.worth == pytest.approx(100_000, rel=1e-3)
    assert weak.paired_worth < 60_000  # pairing with what has nothing to do with it makes it worse
    assert stats.control_variate_gain(new=[1, 1, 1, 1], baseline_same_items=[1, 0, 1, 0], population=9).phi is None


def test_all_items_asked_need_no_help_and_have_no_width():
    found = stats.control_variate_mean(
        new=[1, 0, 1, 1], baseline_same_items=[1, 0, 0, 1], baseline_full_mean=0.5, population=4
    )
    assert (found.estimate, found.low, found.high, found.se) == (0.75, 0.75, 0.75, 0.0)


@pytest.mark.parametrize(
    ("new", "baseline"), [([], []), ([0.5], [1]), ([0.5, 0], [0.5, 0]), ([0.5] * 9, [0.5] * 9), ([0.5, 0.1] * 2,) * 2]
)
def test_too_few_items_or_none_that_differ_give_no_interval(new, baseline):
    found = stats.control_variate_mean(new=new, baseline_same_items=baseline, baseline_full_mean=0.6, population=100)
    assert (found.se, found.low, found.high) == (None, None, None)
    told = stats.ppi_mean(labeled=new, predictions_labeled=baseline, predictions_unlabeled=[1, 0, 1], lam=1)
    assert (told.se, told.low, told.high) == (None, None, None)


@pytest.mark.parametrize(
    ("new", "baseline"),
    [
        ([1], [1]),
        ([1, 0], [1, 0]),
        ([1] * 9, [1] * 9),
        ([0] * 9, [1] * 9),
        ([1, 0] * 2, [1, 0] * 2),
        ([1] * 99, [0] * 99),
    ],
)
def test_right_and_wrong_have_a_width_however_few_or_alike(new, baseline):
    asked = {"new": new, "baseline_same_items": baseline, "baseline_full_mean": 0.6, "population": 100}
    for found in (
        stats.control_variate_mean(**asked),
        stats.control_variate_difference(**asked),
        stats.control_variate_difference(**asked, baseline_variance=0.24),
        stats.ppi_mean(labeled=new, predictions_labeled=baseline, predictions_unlabeled=[1, 0, 1]),
    ):
        assert found.low < found.high


@given(st.permutations(range(12)))
def test_the_order_of_items_changes_no_estimate(order):
    generator = np.random.default_rng(2)
    y, f, others = generator.random(12), generator.random(12), generator.random(30)
    same = list(order)
    found = stats.ppi_mean(labeled=y, predictions_labeled=f, predictions_unlabeled=others)
    assert stats.ppi_mean(
        labeled=y[same], predictions_labeled=f[same], predictions_unlabeled=others
    ).low == pytest.approx(found.low)
    asked = {"baseline_full_mean": 0.5, "population": 40}
    one = stats.control_variate_mean(new=y, baseline_same_items=f, **asked)
    assert stats.control_variate_mean(new=y[same], baseline_same_items=f[same], **asked).low == pytest.approx(one.low)


def judged(generator, n, others, quality):
    truth = (generator.random(n + others) < 0.7).astype(float)
    judge = np.where(generator.random(n + others) < quality, truth, 1 - truth)
    return truth[:n], judge[:n], judge[n:]


@pytest.mark.parametrize("quality", [0.5, 0.9])
def test_a_biased_judge_is_put_right_and_a_useless_one_costs_nothing(quality):
    generator = np.random.default_rng(3)
    found, plain = [], []
    for _ in range(1500):
        y, f, others = judged(generator, 200, 2000, quality)
        found.append(stats.ppi_mean(labeled=y, predictions_labeled=f, predictions_unlabeled=others))
        plain.append(y.mean())
    assert 0.93 <= np.mean([one.low <= 0.7 <= one.high for one in found]) <= 0.965
    worth = np.var([one.estimate for one in found]) / np.var(plain)
    assert worth < (0.6 if quality == 0.9 else 1.05)


def predicted(kind, n, p, quality, size):
    """How often the interval for questions like these covers, and how often there is none, with 1,000 unlabelled."""
    generator = np.random.default_rng(n)
    hits, without = [], 0
    for _ in range(size):
        everyone = n + 1000
        y = (generator.random(everyone) < p).astype(float)
        f = np.where(generator.random(everyone) < quality, y, 1 - y)
        truth = p
        if kind == "lenient":
            f = np.where(generator.random(everyone) < 0.5, 1.0, f)
        if kind == "marks":
            f = np.clip(np.round((0.25 + 0.5 * f + 0.2 * generator.normal(size=everyone)) * 4) / 4, 0, 1)
        if kind == "undecided":
            f = np.where(generator.random(everyone) < 0.3, f.mean(), f)
        if kind == "graded":
            y, truth = 0.5 * y + 0.5 * generator.random(everyone), 0.5 * p + 0.25
        found = stats.ppi_mean(labeled=y[:n], predictions_labeled=f[:n], predictions_unlabeled=f[n:])
        without += found.low is None
        if found.low is not None:
            hits.append(found.low <= truth <= found.high)
    return np.mean(hits), without / size


@pytest.mark.parametrize("kind", ["plain", "undecided", "graded"])
def test_few_labels_and_many_predictions_cover_where_nearly_everything_is_right(kind):
    hits, without = predicted(kind, 100, 0.95, 0.9, 800)
    assert 0.925 <= hits <= 0.985
    assert without == 0


@pytest.mark.long
@pytest.mark.parametrize(("p", "quality"), [(0.7, 0.6), (0.95, 0.9)])
@pytest.mark.parametrize("n", [15, 100, 300])
@pytest.mark.parametrize("kind", ["plain", "lenient", "marks", "undecided", "graded"])
def test_predictions_with_labels_cover_from_few_labels_to_many(kind, n, p, quality):
    hits, without = predicted(kind, n, p, quality, 2000)
    assert (0.92 if n >= 100 else 0.915) <= hits <= (0.985 if n >= 100 else 0.995)
    assert without == 0


def test_without_predictions_the_labels_speak_for_themselves():
    found = stats.ppi_mean(labeled=[1, 0, 1, 1], predictions_labeled=[1, 1, 1, 0], predictions_unlabeled=[])
    assert (found.estimate, found.lam) == (0.75, 0.0)
    assert found.low < 0.75 < found.high


def test_the_weight_of_predictions_is_that_of_the_authors_code():
    generator = np.random.default_rng(5)
    f, others = generator.random(12), generator.random(20)
    y = f + generator.normal(0, 0.2, 12)
    found = stats.ppi_mean(labeled=y, predictions_labeled=f, predictions_unlabeled=others)
    spread = np.cov(np.concatenate([f, others]))
    assert found.lam == pytest.approx(np.cov(y, f, ddof=0)[0, 1] / ((1 + 12 / 20) * spread))
    fixed = stats.ppi_mean(labeled=y, predictions_labeled=f, predictions_unlabeled=others, lam=found.lam)
    assert (fixed.estimate, fixed.se) == pytest.approx((found.estimate, found.se))


@pytest.mark.parametrize("n", [20, 200, 2000])
def test_models_that_are_right_about_the_same_items_may_still_differ_on_others(n):
    y = np.arange(n) % 4 > 0
    found = stats.control_variate_gain(new=y, baseline_same_items=y, population=10 * n)
    apart = stats.wilson_interval(successes=0, n=n).high
    assert (found.phi, found.phi_high) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found.phi_low == pytest.approx(1 - apart / (2 * 0.75 * 0.25))
    assert n < found.worth_low < found.worth <= 10 * n
    turned = stats.control_variate_gain(new=~y, baseline_same_items=y, population=10 * n)
    assert (turned.phi_low, turned.phi_high) == (pytest.approx(-1.0), pytest.approx(-found.phi_low))


def test_a_candidate_that_is_always_right_may_be_further_ahead_on_other_questions():
    """What the baseline scores on questions like these is uncertain both ways, however right the candidate is."""
    hits = []
    generator = np.random.default_rng(6)
    for _ in range(400):
        baseline = (generator.random(600) < 0.645).astype(float)
        found = stats.control_variate_difference(
            new=np.ones(200),
            baseline_same_items=baseline[:200],
            baseline_full_mean=float(baseline.mean()),
            population=600,
            baseline_variance=float(baseline.var(ddof=1)),
        )
        hits.append(found.low <= 0.355 <= found.high)
    assert np.mean(hits) > 0.92
