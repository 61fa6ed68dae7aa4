"""A candidate on a part of the items, with the help of a baseline on all: estimated, covered, or refused."""

import itertools

import msgspec
import numpy as np
import pytest
import scipy.stats as oracle
from test_comparing import side
from test_metrics import INFO

from steelyard import stats
from steelyard.analysis.sentences import sentence
from steelyard.analysis.variates import compare_on_all_items
from steelyard.errors import UsageError

ALL = 1319
WHOLE = msgspec.structs.replace(INFO, items=ALL, available=ALL)


def versions(seed, phi, n=330, right=0.7):
    """A baseline on all items, a candidate on a random part, and the candidate's true score on all of them."""
    generator = np.random.default_rng(seed)
    both = right**2 + phi * right * (1 - right)
    kind = generator.choice(4, size=ALL, p=[both, right - both, right - both, 1 - 2 * right + both])
    part = np.sort(generator.permutation(ALL)[:n])
    candidate = ((kind == 0) | (kind == 2)).astype(float)
    info = msgspec.structs.replace(WHOLE, items=n)
    old = side((kind <= 1).astype(float), "old", info=WHOLE)
    return old, side(candidate[part], "new", 2, info=info, sample=part), float(candidate.mean())


def test_the_candidate_is_estimated_on_all_the_baselines_items():
    old, new, truth = versions(1, 0.8)
    found = compare_on_all_items(old, new)
    variate = found.control_variate
    assert (found.of_baseline.n, found.difference.n, found.test) == (ALL, 330, "its interval, regression")
    assert (found.difference.estimand, variate.is_whole, variate.population) == ("this benchmark", True, ALL)
    assert found.of_candidate.low < truth < found.of_candidate.high
    assert found.of_candidate.value - found.of_baseline.value == pytest.approx(found.difference.value)
    assert found.of_candidate.high - found.of_candidate.low < 0.75 * (variate.plain.high - variate.plain.low)
    assert variate.phi.low < 0.8 < variate.phi.high
    assert variate.variance_left == pytest.approx(1 - variate.phi.value**2)
    assert variate.saved_items == pytest.approx(variate.worth_items - 330)
    assert variate.worth_low < variate.worth_items < variate.worth_high
    assert variate.paired_worth_items < variate.worth_items
    assert variate.is_worth_it
    assert variate.beyond.high - variate.beyond.low > found.difference.high - found.difference.low
    assert "of this benchmark, regression estimator, n = 330 of 1,319)" in sentence(found)


def test_a_baseline_that_has_nothing_to_do_with_it_is_not_worth_it():
    old, new, _ = versions(2, 0.0)
    variate = compare_on_all_items(old, new).control_variate
    assert not variate.is_worth_it
    assert variate.worth_items == pytest.approx(330, rel=0.05)
    assert variate.phi.low < 0 < variate.phi.high


def changed(one, **fields):
    return msgspec.structs.replace(one, info=msgspec.structs.replace(one.info, **fields))


def test_what_is_no_random_part_of_the_baselines_items_is_refused_with_its_reason():
    old, new, _ = versions(3, 0.7)
    with pytest.raises(UsageError, match="in the file's order, and the first ones of a file are no random sample"):
        compare_on_all_items(old, changed(new, order="file"))
    with pytest.raises(UsageError, match="it was asked no fewer items than new in run #2, so there is nothing to save"):
        compare_on_all_items(new, old)
    with pytest.raises(UsageError, match="80 items are scored on both sides; with fewer than 100"):
        compare_on_all_items(*versions(3, 0.7, n=80)[:2])
    with pytest.raises(UsageError, match="likelihoods are asked one stratum after another"):
        compare_on_all_items(old, changed(new, items=400, kind="likelihood"))


def test_what_limits_the_estimate_is_said():
    old, new, _ = versions(4, 0.7)
    few = changed(old, available=5000)
    assert "for the 1,319 items that old was asked" in compare_on_all_items(few, new).notes[0]
    assert not compare_on_all_items(few, new).control_variate.is_whole
    assert "ended at 330 of 400 items" in compare_on_all_items(old, changed(new, items=400)).notes[0]
    scores = new.columns.scores["accuracy"].copy()
    scores[:20] = np.nan
    columns = msgspec.structs.replace(new.columns, scores={"accuracy": scores})
    lost = compare_on_all_items(old, msgspec.structs.replace(new, columns=columns))
    assert "20 items of run #2 have no score" in lost.notes[0]
    assert "--resume" in lost.notes[0]
    assert lost.control_variate.items == 310


def clustered(one, cluster):
    columns = msgspec.structs.replace(one.columns, cluster=cluster[one.columns.sample])
    return msgspec.structs.replace(one, columns=columns)


def test_clusters_widen_what_is_said_of_questions_like_these_and_too_few_say_nothing_of_them():
    old, new, _ = versions(5, 0.7)
    by_right = np.argsort(np.argsort(old.columns.scores["accuracy"], kind="stable")) // 33
    plain, found = (
        compare_on_all_items(*sides) for sides in ((old, new), (clustered(old, by_right), clustered(new, by_right)))
    )
    (wide, narrow) = (one.control_variate.beyond for one in (found, plain))
    assert wide.high - wide.low > 1.1 * (narrow.high - narrow.low)
    assert (wide.value, wide.n) == (pytest.approx(narrow.value), narrow.n)
    assert wide.method == "regression on the baseline's scores, 40 clusters, CR1, t"
    assert (found.difference.low, found.difference.high) == (plain.difference.low, plain.difference.high)
    few = np.minimum(np.arange(ALL) // 700, 1)
    beyond = compare_on_all_items(clustered(old, few), clustered(new, few)).control_variate.beyond
    assert (beyond.low, beyond.status) == (None, "only 2 clusters: too few for an interval")


@pytest.mark.long
@pytest.mark.parametrize(("groups", "size", "n"), [(24, 50, 300)])
def test_of_questions_like_these_in_clusters_the_interval_covers(groups, size, n):
    """What a question's cluster makes of both models goes together, and of the difference too."""
    generator, hits = np.random.default_rng(groups), []
    cluster = np.repeat(np.arange(groups), size)
    for _ in range(600):
        easy, better = generator.normal(0, 0.2, groups), generator.normal(0, 0.1, groups)
        shown = generator.random(groups * size)
        before, after = (np.clip(0.5 + shift, 0, 1)[cluster] for shift in (easy, easy + better))
        part = np.sort(generator.permutation(groups * size)[:n])
        whole = msgspec.structs.replace(INFO, items=groups * size, available=groups * size)
        old = side((shown < before).astype(float), "old", info=whole)
        info = msgspec.structs.replace(whole, items=n)
        new = side((shown < after).astype(float)[part], "new", 2, info=info, sample=part)
        beyond = compare_on_all_items(clustered(old, cluster), clustered(new, cluster)).control_variate.beyond
        hits.append(beyond.low <= 0 <= beyond.high)
    assert 0.93 <= np.mean(hits) <= 0.97


def test_repeats_are_item_means():
    old, new, _ = versions(5, 0.7)
    twice = side(
        np.repeat(new.columns.scores["accuracy"], 2), "new", 2, info=new.info, sample=np.repeat(new.columns.sample, 2)
    )
    assert compare_on_all_items(old, twice).difference.value == pytest.approx(
        compare_on_all_items(old, new).difference.value
    )


@pytest.mark.parametrize("phi", [0.5, 0.9])
def test_the_interval_printed_covers_what_the_whole_run_would_have_given(phi):
    hits = []
    for seed in range(150):
        old, new, truth = versions(100 + seed, phi, n=132)
        found = compare_on_all_items(old, new)
        hits.append(found.of_candidate.low <= truth <= found.of_candidate.high)
    assert np.mean(hits) >= 0.9  # of 150; the long lane of the statistics counts closer


def near_census(lost, won, asked=425, half=500):
    """A baseline that has half its 1,000 items right, and a new version asked most of either half."""
    baseline = np.repeat([1.0, 0.0], half)
    part = np.r_[:asked, half : half + asked]
    new = baseline[part]
    new[:lost], new[asked : asked + won] = 0.0, 1.0
    whole, some = (msgspec.structs.replace(INFO, items=items, available=2 * half) for items in (2 * half, 2 * asked))
    return side(baseline, "old", info=whole), side(new, "new", 2, info=some, sample=part)


def test_one_flip_each_way_in_most_of_a_benchmark_is_covered_on_that_very_benchmark():
    chance = 0.0
    for lost, won in itertools.product((0, 1), repeat=2):
        found = compare_on_all_items(*near_census(lost, won)).difference
        seen = np.prod([oracle.hypergeom.pmf(one, 500, 1, 425) for one in (lost, won)])
        chance += seen * (found.low <= 0 <= found.high)
    assert chance >= 0.95  # by Jeffreys' alone: 74.5 %


def test_few_flips_or_few_unasked_items_are_counted_out_and_all_else_is_left_as_it_is():
    few = compare_on_all_items(*near_census(2, 3))
    assert few.difference.method.endswith("flips counted out")
    assert few.p_value >= 0.05
    assert compare_on_all_items(*near_census(20, 20, asked=490)).difference.method.endswith("flips counted out")
    many = compare_on_all_items(*near_census(20, 20)).difference
    assert many.method.endswith("Jeffreys within its right and wrong")
    plain = stats.control_variate_difference(
        new=np.r_[np.zeros(20), np.ones(405), np.ones(20), np.zeros(405)],
        baseline_same_items=np.repeat([1.0, 0.0], 425),
        baseline_full_mean=0.5,
        population=1000,
    )
    assert (many.low, many.high) == (plain.low, plain.high)
    assert compare_on_all_items(*near_census(2, 3, asked=240)).difference.method == many.method
