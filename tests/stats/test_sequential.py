"""Looks during a run: published constants, what is left of a benchmark, and errors kept over all looks together."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle

import steelyard.stats as stats

LOOKS = (0.1, 0.25, 0.5, 1.0)

# --- planned looks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "looks", "constant"),
    [
        ("pocock", 2, 2.178),
        ("pocock", 3, 2.289),
        ("pocock", 5, 2.413),
        ("pocock", 10, 2.555),
        ("obf", 2, 1.977),
        ("obf", 3, 2.004),
        ("obf", 5, 2.040),
        ("obf", 10, 2.087),
    ],
)
def test_constants_are_those_of_jennison_and_turnbull(kind, looks, constant):
    assert stats.group_sequential_bounds(kind=kind, looks=looks).final_z == pytest.approx(constant, abs=1e-3)


def test_unequal_looks_have_bounds_of_their_own():
    pocock = stats.group_sequential_bounds(kind="pocock", looks=4, information=LOOKS)
    assert pocock.z == pytest.approx([2.416] * 4, abs=2e-3)
    obf = stats.group_sequential_bounds(kind="obf", looks=4, information=LOOKS)
    assert obf.z == pytest.approx([6.25, 3.96, 2.80, 1.978], abs=1e-2)
    spent = stats.alpha_spending_bounds(spending="pocock", information=LOOKS)
    assert spent.z == pytest.approx([2.655, 2.525, 2.386, 2.231], abs=2e-3)
    spent = stats.alpha_spending_bounds(spending="obrien_fleming", information=LOOKS)
    assert spent.z == pytest.approx([6.99, 4.33, 2.96, 1.969], abs=1e-2)


def test_a_single_look_is_the_plain_test():
    for kind in ("pocock", "obf"):
        assert stats.group_sequential_bounds(kind=kind, looks=1).z == (pytest.approx(1.959964, abs=1e-6),)
    for spending in ("pocock", "obrien_fleming"):
        found = stats.alpha_spending_bounds(spending=spending, information=[1.0])
        assert found.z == (pytest.approx(1.959964, abs=1e-6),)


@settings(max_examples=15)
@given(st.lists(st.floats(0.02, 1.0), min_size=1, max_size=5, unique=True), st.sampled_from([0.01, 0.05, 0.1]))
def test_whatever_the_looks_the_error_spent_is_the_error_made(information, alpha):
    for spending in ("pocock", "obrien_fleming"):
        found = stats.alpha_spending_bounds(spending=spending, information=sorted(information), alpha=alpha)
        taken = [(z, t) for z, t in zip(found.z, sorted(information), strict=True) if z is not None]
        made = stats.crossing_probabilities(z=[z for z, _ in taken], information=[t for _, t in taken])
        assert made.total == pytest.approx(found.spent[-1], abs=1e-5)
        assert found.spent[-1] <= alpha + 1e-12


def test_later_looks_do_not_change_earlier_bounds():
    short = stats.alpha_spending_bounds(spending="pocock", information=[0.2, 0.4])
    long = stats.alpha_spending_bounds(spending="pocock", information=[0.2, 0.4, 0.7, 1.0])
    assert long.z[:2] == short.z


def test_a_look_that_brings_nothing_new_has_no_bound_and_spends_nothing():
    found = stats.alpha_spending_bounds(spending="pocock", information=[0.0, 0.5, 0.5, 0.4, 1.2])
    assert [z is None for z in found.z] == [True, False, True, True, False]
    plain = stats.alpha_spending_bounds(spending="pocock", information=[0.5, 1.0])
    assert (found.z[1], found.z[4]) == plain.z
    assert stats.alpha_spending_bounds(spending="pocock", information=[]).z == ()
    assert stats.group_sequential_bounds(kind="obf", looks=0).z[0] == pytest.approx(1.96, abs=1e-3)


def test_power_is_what_simulated_series_have():
    bounds = stats.group_sequential_bounds(kind="pocock", looks=4, information=LOOKS)
    found = stats.crossing_probabilities(z=bounds.z, information=LOOKS, drift=3.0)
    steps = np.diff([0.0, *LOOKS])
    walks = np.random.default_rng(1).normal(3.0 * steps, np.sqrt(steps), size=(40_000, 4)).cumsum(axis=1)
    beyond = np.abs(walks / np.sqrt(LOOKS)) >= bounds.z
    first = np.where(beyond.any(axis=1), beyond.argmax(axis=1), 4)
    assert found.by_look == pytest.approx([(first == i).mean() for i in range(4)], abs=0.008)
    assert found.total == pytest.approx(beyond.any(axis=1).mean(), abs=0.008)


def looked_at(generator, n, size, looks, population=None):
    """z of paired differences that are truly none, at each look; over a finite benchmark the tie is exact."""
    if population is None:
        d = generator.choice([-1, 0, 1], p=[0.118, 0.764, 0.118], size=(size, n))
    else:
        pairs = round(0.118 * population)
        tie = np.repeat([-1, 0, 1], [pairs, population - 2 * pairs, pairs])
        d = generator.permuted(np.tile(tie, (size, 1)), axis=1)[:, :n]
    sums, squares = d.cumsum(axis=1), (d * d).cumsum(axis=1)
    at = np.array([round(share * n) for share in looks]) - 1
    variance = squares[:, at] - sums[:, at] ** 2 / (at + 1)
    if population is not None:
        variance = variance * (1 - (at + 1) / population)
    return sums[:, at] / np.sqrt(np.maximum(variance, 1e-9))


@pytest.mark.parametrize("kind", ["pocock", "obf"])
def test_planned_looks_keep_their_error_where_peeking_does_not(kind):
    z = np.abs(looked_at(np.random.default_rng(2), 1319, 2500, LOOKS))
    bounds = stats.group_sequential_bounds(kind=kind, looks=4, information=LOOKS).z
    assert (z >= bounds).any(axis=1).mean() <= 0.062
    assert (z >= 1.96).any(axis=1).mean() > 0.11


@pytest.mark.long
def test_planned_looks_keep_their_error_over_a_finite_benchmark():
    population, shares = 1320, (0.1, 0.25, 0.5)
    at = [round(share * 660 * 2) for share in shares]
    z = np.abs(looked_at(np.random.default_rng(3), 660, 10_000, [n / 660 for n in at], population))
    information = [n / (population - n) for n in at]
    bounds = stats.group_sequential_bounds(
        kind="pocock", looks=3, information=[one / information[-1] for one in information]
    )
    assert bounds.final_z == pytest.approx(2.348, abs=0.03)
    assert (z >= bounds.z).any(axis=1).mean() <= 0.06


@pytest.mark.long
def test_planned_looks_keep_their_error_in_many_runs():
    z = np.abs(looked_at(np.random.default_rng(4), 1319, 12_000, LOOKS))
    for kind in ("pocock", "obf"):
        bounds = stats.group_sequential_bounds(kind=kind, looks=4, information=LOOKS).z
        assert 0.04 <= (z >= bounds).any(axis=1).mean() <= 0.056
    for spending in ("pocock", "obrien_fleming"):
        bounds = stats.alpha_spending_bounds(spending=spending, information=LOOKS).z
        assert 0.04 <= (z >= bounds).any(axis=1).mean() <= 0.056


# --- unplanned looks --------------------------------------------------------------------------------------------------


@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.5, 20))
def test_evidence_does_not_care_which_model_is_named_first(b, c, prior):
    found = stats.eprocess_paired_binary(only_a_correct=b, only_b_correct=c, prior=prior)
    turned = stats.eprocess_paired_binary(only_a_correct=c, only_b_correct=b, prior=prior)
    assert found.log_e_value == pytest.approx(turned.log_e_value)
    assert 0 <= found.anytime_p <= 1


def test_evidence_is_a_fair_bet():
    # the mean of E over all outcomes of n discordant pairs under no difference is 1
    for n in (0, 1, 7, 40):
        outcomes = [stats.eprocess_paired_binary(only_a_correct=b, only_b_correct=n - b).e_value for b in range(n + 1)]
        assert oracle.binom.pmf(range(n + 1), n, 0.5) @ outcomes == pytest.approx(1.0)


def test_overwhelming_evidence_overflows_to_infinity_and_not_to_an_error():
    found = stats.eprocess_paired_binary(only_a_correct=5000, only_b_correct=0)
    assert (found.e_value, found.anytime_p) == (math.inf, 0.0)
    assert found.log_e_value > 3000


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200))
def test_what_is_left_of_a_benchmark_bounds_its_share(right, wrong, left):
    population = right + wrong + left
    found = stats.confidence_sequence_wor_binary(successes=right, n=right + wrong, population=population)
    if population == 0:
        assert (found.low, found.high) == (0.0, 1.0)
        return
    assert right / population - 1e-12 <= found.low <= found.high <= (right + left) / population + 1e-12
    assert (found.low < found.high) == (left > 0)
    turned = stats.confidence_sequence_wor_binary(successes=wrong, n=right + wrong, population=population)
    assert found.low == pytest.approx(1 - turned.high)
    if right + wrong:
        assert found.low <= right / (right + wrong) + 1 / population
        assert found.high >= right / (right + wrong) - 1 / population


def test_totals_kept_are_those_of_the_hypergeometric_ratio():
    right, n, population = 17, 30, 90
    kept = []
    for total in range(right, population - (n - right) + 1):
        chance = oracle.hypergeom.pmf(right, population, total, n)
        # with a uniform prior each count of right answers is as likely as another: 1 / (n + 1)
        if (1 / (n + 1)) / chance < 20:
            kept.append(total / population)
    found = stats.confidence_sequence_wor_binary(successes=right, n=n, population=population)
    assert (found.low, found.high) == (pytest.approx(kept[0]), pytest.approx(kept[-1]))


zero_ones = st.lists(st.integers(0, 1), max_size=40)


@settings(max_examples=40)
@given(zero_ones, st.integers(0, 30), st.sampled_from([None, 20.0]))
def test_a_betting_sequence_only_narrows_and_holds_what_is_possible(values, left, planned):
    population = len(values) + left
    at = list(range(len(values) + 1))
    found = stats.hedged_confidence_sequence(
        values=values, population=population or None, at=at, planned=planned, resolution=100
    ).intervals
    assert found[0] == (0.0, 1.0)
    for t, (low, high) in enumerate(found):
        assert 0 <= low <= high <= 1
        if population:
            assert sum(values[:t]) / population <= low + 1e-9
            assert high <= (sum(values[:t]) + population - t) / population + 1e-9
        assert low < high or t == population
    if values and not left:
        assert found[-1][0] == pytest.approx(np.mean(values))
    turned = stats.hedged_confidence_sequence(
        values=[1 - value for value in values], population=population or None, at=at, planned=planned, resolution=100
    ).intervals
    assert [1 - high for _, high in turned] == pytest.approx([low for low, _ in found], abs=0.0101)


def test_without_a_population_one_answer_or_a_clean_sheet_never_looks_certain():
    for values in ([], [1.0], [1.0] * 500, [0.0] * 500, [0.5] * 5000):
        ((low, high),) = stats.hedged_confidence_sequence(values=values, resolution=200).intervals
        assert high - low >= 0.005
        assert low <= (np.mean(values) if values else 0.5) <= high


def test_a_mean_is_dropped_once_the_bet_against_it_has_won():
    values = np.random.default_rng(5).permutation(np.repeat([0.0, 1.0], [60, 140]))[:120]
    ((low, high),) = stats.hedged_confidence_sequence(values=values, population=200).intervals
    for mean, dropped in ((low - 0.01, True), (low + 0.01, False), (high - 0.01, False), (high + 0.01, True)):
        assert (stats.betting_e_value(values=values, mean=mean, population=200).e_value > 20) == dropped


def test_a_mean_the_answers_rule_out_is_impossible():
    assert stats.betting_e_value(values=[1, 1, 1], mean=0.1, population=10).e_value == math.inf
    assert stats.betting_e_value(values=[], mean=0.5, population=10).anytime_p == 1.0
    whole = [1, 0, 1, 0, 0.5]
    assert stats.betting_e_value(values=whole, mean=0.5, population=5).e_value < math.inf


def tie(population, share=0.236):
    """Paired differences of a benchmark on which both models score the same, as values in [0, 1]."""
    pairs = round(share * population / 2)
    return np.repeat([0.0, 0.5, 1.0], [pairs, population - 2 * pairs, pairs])


@pytest.mark.parametrize("planned", [None, 200.0])
def test_looking_after_every_item_keeps_the_error_of_a_betting_test(planned):
    generator = np.random.default_rng(6)
    found = [
        stats.betting_e_value(values=generator.permutation(tie(400)), mean=0.5, population=400, planned=planned)
        for _ in range(1200)
    ]
    assert np.mean([one.e_value >= 20 for one in found]) <= 0.05


def miss_rate(generator, population, right, size):
    truth, missed, seen = right / population, 0, {}
    answers = np.repeat([0, 1], [population - right, right])
    for _ in range(size):
        sums = generator.permutation(answers).cumsum()
        for n in range(10, population, 10):
            key = (int(sums[n - 1]), n)
            if key not in seen:
                found = stats.confidence_sequence_wor_binary(successes=key[0], n=n, population=population)
                seen[key] = found.low <= truth <= found.high
            if not seen[key]:
                missed += 1
                break
    return missed / size


def test_looking_every_ten_items_keeps_the_coverage_of_the_share():
    assert miss_rate(np.random.default_rng(7), 300, 210, 400) <= 0.05


def test_evidence_on_discordant_pairs_keeps_its_error_at_every_look():
    generator = np.random.default_rng(8)
    b = (generator.random((2000, 300)) < 0.5).cumsum(axis=1)
    log_e = {}
    stopped = 0
    for row in b:
        for j in range(9, 300, 10):
            key = (int(row[j]), j + 1)
            if key not in log_e:
                found = stats.eprocess_paired_binary(only_a_correct=key[0], only_b_correct=key[1] - key[0], prior=5)
                log_e[key] = found.log_e_value
            if log_e[key] >= math.log(20):
                stopped += 1
                break
    assert stopped / 2000 <= 0.05


@pytest.mark.long
@pytest.mark.parametrize("right", [300, 791, 1187, 1280])
def test_looking_often_keeps_the_coverage_of_a_whole_benchmark(right):
    assert miss_rate(np.random.default_rng(right), 1319, right, 2000) <= 0.05


@pytest.mark.long
@pytest.mark.parametrize("planned", [None, 150.0])
def test_a_betting_sequence_covers_at_all_moments_at_once(planned):
    generator = np.random.default_rng(9)
    answers = np.repeat([0.0, 1.0], [90, 210])
    at = list(range(5, 300, 5))
    missed = 0
    for _ in range(400):
        found = stats.hedged_confidence_sequence(
            values=generator.permutation(answers), population=300, at=at, planned=planned, resolution=200
        )
        missed += any(not low <= 0.7 <= high for low, high in found.intervals)
    assert missed / 400 <= 0.06


@pytest.mark.long
def test_bets_planned_for_half_the_benchmark_find_five_points_as_often_as_foreseen():
    generator = np.random.default_rng(10)
    found = []
    for _ in range(1500):
        d = generator.choice([0.0, 0.5, 1.0], p=[0.093, 0.764, 0.143], size=1319)
        found.append(stats.betting_e_value(values=d, mean=0.5, planned=1319 / 2).e_value >= 20)
    assert np.mean(found) == pytest.approx(0.881, abs=0.03)


@pytest.mark.long
@pytest.mark.parametrize("planned", [None, 659.5])
def test_a_betting_test_keeps_its_error_over_a_whole_benchmark(planned):
    generator = np.random.default_rng(11)
    values = tie(1319)
    found = [
        stats.betting_e_value(values=generator.permutation(values), mean=0.5, population=1319, planned=planned).e_value
        for _ in range(4000)
    ]
    assert np.mean([e >= 20 for e in found]) <= 0.05


def test_paired_differences_are_bounded_like_the_values_they_stand_for():
    d = np.random.default_rng(12).choice([-1, 0, 1], p=[0.1, 0.6, 0.3], size=150)
    found = stats.paired_difference_sequence(differences=d, population=400, at=[50, 150]).intervals
    turned = stats.paired_difference_sequence(differences=-d, population=400, at=[50, 150]).intervals
    assert [low for low, _ in found] == pytest.approx([-high for _, high in turned], abs=2e-3)
    assert all(low < d[:n].mean() < high for (low, high), n in zip(found, (50, 150), strict=True))
    tie_tested = stats.betting_e_value(values=(d + 1) / 2, mean=0.5, population=400)
    assert (found[-1][0] > 0.002) == (tie_tested.e_value > 20)
