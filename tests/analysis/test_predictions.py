"""A judge put right by people: covered whatever the judge is like, and silent where people said too little."""

import msgspec
import numpy as np
import pytest
from test_metrics import INFO

from steelyard.analysis.predictions import Ratings, correct_by_people, correct_difference

ANSWERS = "the model's answers"


def rated(generator, n=100, others=900, right=0.7, quality=0.85, lenient=0.1, undecided=0.0):
    """People's word on a random ``n``; a judge that agrees so often, lets wrong ones pass, at times is silent."""
    size = n + others
    truth = (generator.random(size) < right).astype(float)
    judge = np.where(generator.random(size) < quality, truth, 1 - truth)
    judge = np.where(generator.random(size) < lenient, 1.0, judge)
    judge = np.where(generator.random(size) < undecided, np.nan, judge)
    human = np.full(size, np.nan)
    part = generator.permutation(size)[:n]
    human[part] = truth[part]
    return Ratings(items=np.arange(size), judged=judge, human=human), truth


def test_a_lenient_judge_is_put_right_with_fewer_ratings_than_people_alone():
    found = correct_by_people(rated(np.random.default_rng(1), quality=0.95, lenient=0.5)[0], INFO, ANSWERS)
    assert found.judge.value > 0.8
    assert found.corrected.low < 0.7 < found.corrected.high
    assert found.corrected.high - found.corrected.low < found.people.high - found.people.low
    assert (found.n_judged, found.n_rated, found.corrected.n) == (1000, 100, 100)
    assert found.saved_items == pytest.approx(found.worth_items - 100)
    assert (found.corrected.estimand, found.of_benchmark.estimand) == ("questions like these", "this benchmark")
    assert found.is_worth_it


@pytest.mark.parametrize("judge", [{"quality": 0.5}, {"quality": 0.9}, {"undecided": 0.3}, {"lenient": 0.9}])
def test_the_corrected_interval_covers_whatever_the_judge_is_like(judge):
    generator = np.random.default_rng(2)
    hits, of_these = [], []
    for _ in range(150):
        ratings, truth = rated(generator, **judge)
        found = correct_by_people(ratings, INFO, ANSWERS)
        hits.append(found.corrected.low <= 0.7 <= found.corrected.high)
        of_these.append(found.of_benchmark.low <= truth.mean() <= found.of_benchmark.high)
    assert np.mean(hits) >= 0.91
    assert np.mean(of_these) >= 0.91


@pytest.mark.long
@pytest.mark.parametrize("n", [50, 100, 200])
@pytest.mark.parametrize("quality", [0.5, 0.7, 0.9, 0.97])
def test_the_corrected_interval_covers_from_few_ratings_on(n, quality):
    generator = np.random.default_rng(n)
    hits = []
    for _ in range(3000):
        found = correct_by_people(rated(generator, n=n, quality=quality)[0], INFO, ANSWERS)
        hits.append(found.corrected.low is not None and found.corrected.low <= 0.7 <= found.corrected.high)
    assert 0.92 <= np.mean(hits) <= 0.985


def in_clusters(generator, groups, size, n, quality):
    """Documents of which some are easy, to the model and to the judge, with ``n`` answers rated at random."""
    right = 1 / (1 + np.exp(-generator.normal(0.8, 2.0, groups)))
    agrees = np.clip(generator.normal(quality, 0.1, groups), 0, 1)
    cluster = np.repeat(np.arange(groups), size)
    truth = (generator.random(len(cluster)) < right[cluster]).astype(float)
    judged = np.where(generator.random(len(cluster)) < agrees[cluster], truth, 1 - truth)
    human = np.full(len(cluster), np.nan)
    part = generator.permutation(len(cluster))[:n]
    human[part] = truth[part]
    return Ratings(items=np.arange(len(cluster)), judged=judged, human=human, clusters=cluster)


def test_ratings_of_one_document_are_no_independent_ones():
    ratings = in_clusters(np.random.default_rng(3), 40, 20, 200, 0.9)
    alone = msgspec.structs.replace(ratings, clusters=None)
    found, plain = (correct_by_people(one, INFO, ANSWERS) for one in (ratings, alone))
    for wide, narrow in ((found.corrected, plain.corrected), (found.people, plain.people), (found.judge, plain.judge)):
        assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)
        assert (wide.value, wide.n) == (pytest.approx(narrow.value), narrow.n)
        assert "40 clusters" in wide.method
    assert found.of_benchmark == plain.of_benchmark  # of these items single ones were drawn


def test_too_few_clusters_leave_the_corrected_score_without_an_interval():
    ratings = in_clusters(np.random.default_rng(3), 2, 200, 100, 0.9)
    found = correct_by_people(ratings, INFO, ANSWERS)
    assert found.corrected.value is not None
    assert (found.corrected.low, found.corrected.high, found.corrected.level) == (None, None, None)
    assert found.corrected.status == "only 2 clusters: too few for an interval"
    assert found.of_benchmark.low is not None


@pytest.mark.long
@pytest.mark.parametrize(("groups", "size", "n"), [(100, 10, 200), (15, 20, 100)])
@pytest.mark.parametrize("quality", [0.9])
def test_the_corrected_interval_covers_where_items_come_in_clusters(groups, size, n, quality):
    generator, hits = np.random.default_rng(groups), []
    logits = np.linspace(-8, 8, 4001)
    weights = np.exp(-(logits**2) / 8)
    truth = float((weights / (1 + np.exp(-0.8 - logits))).sum() / weights.sum())
    for _ in range(600):
        found = correct_by_people(in_clusters(generator, groups, size, n, quality), INFO, ANSWERS).corrected
        hits.append(found.low <= truth <= found.high)
    assert 0.92 <= np.mean(hits) <= 0.97


def test_a_difference_is_that_of_people_on_items_rated_for_both():
    generator = np.random.default_rng(3)
    weak, _ = rated(generator, n=300, right=0.5)
    strong, _ = rated(generator, n=300, right=0.8)
    both = int((~np.isnan(weak.human) & ~np.isnan(strong.human)).sum())
    found = correct_difference(weak, strong, (INFO, INFO))
    assert (found.n_rated, found.against) == (both, "m")
    assert found.corrected.low < 0.3 < found.corrected.high
    assert found.verdict == "improved"
    back = correct_difference(strong, weak, (INFO, INFO))
    assert back.verdict == "regressed"
    assert back.corrected.low == pytest.approx(-found.corrected.high)


def rated_pair(turned, n=150, size=1200):
    """Two models, of which the second one's answers were rated better on ``turned`` items, or worse, and else alike."""
    generator = np.random.default_rng(1)
    judged = (generator.random(size) < 0.7).astype(float)
    first = np.where(np.arange(size) < n, 0.0 if turned > 0 else 1.0, np.nan)
    second = np.where(np.arange(size) < abs(turned), 1 - first, first)
    return [Ratings(items=np.arange(size), judged=judged, human=human) for human in (first, second)]


@pytest.mark.parametrize("turned", [1, 3, 20])
def test_a_difference_that_goes_one_way_only_is_bounded_alike_whichever_way(turned):
    """Differences of 0 and 1 alone are no shares: one turned rating is no proof that a model improved."""
    better, worse = (correct_difference(*rated_pair(each), (INFO, INFO)) for each in (turned, -turned))
    for name in ("people", "corrected", "of_benchmark"):
        up, down = getattr(better, name), getattr(worse, name)
        assert (up.low, up.high) == pytest.approx((-down.high, -down.low))
        assert up.method == down.method
    assert (better.verdict, worse.verdict) == (("improved", "regressed") if turned == 20 else ("inconclusive",) * 2)


def test_a_difference_of_answers_that_people_rated_alike_has_no_interval():
    found = correct_difference(*rated_pair(0), (INFO, INFO))
    for estimate in (found.people, found.corrected, found.of_benchmark):
        assert (estimate.value, estimate.low, estimate.status) == (0.0, None, "no spread to build an interval on")


def test_a_rare_no_beside_an_undecided_judge_says_whose_intervals_it_has():
    ratings, _ = rated(np.random.default_rng(4), right=0.97, undecided=0.1)
    found = correct_by_people(ratings, INFO, ANSWERS).of_benchmark
    assert found.method == "regression on the judge's scores, Jeffreys of people's word"
    assert found.high - found.value < found.value - found.low


def test_why_there_is_no_phi_is_said():
    ratings, _ = rated(np.random.default_rng(5))
    for n, told in ((0, "people rated none of it"), (3, "only 3 are rated by people")):
        few = msgspec.structs.replace(
            ratings, human=np.where(np.cumsum(~np.isnan(ratings.human)) <= n, ratings.human, np.nan)
        )
        assert correct_by_people(few, INFO, ANSWERS).phi.status == told


def test_too_few_ratings_say_nothing_and_few_are_rough():
    none = correct_by_people(rated(np.random.default_rng(4), n=0)[0], INFO, ANSWERS)
    assert (none.corrected.value, none.phi.value, none.people.value) == (None, None, None)
    few = correct_by_people(rated(np.random.default_rng(4), n=29)[0], INFO, ANSWERS)
    assert few.corrected.status == "29 are rated by people, and it takes 30"
    assert few.of_benchmark.value is None
    assert "rough" in correct_by_people(rated(np.random.default_rng(4), n=60)[0], INFO, ANSWERS).corrected.status


def test_where_people_rated_everything_the_judge_counts_for_nothing():
    ratings, truth = rated(np.random.default_rng(5), n=200, others=0)
    found = correct_by_people(ratings, INFO, ANSWERS)
    assert (found.lam, found.corrected.value) == (0.0, pytest.approx(truth.mean()))
    assert found.of_benchmark.low == found.of_benchmark.high == pytest.approx(truth.mean())


def test_a_judge_that_never_decides_leaves_people_alone():
    ratings, _ = rated(np.random.default_rng(6), undecided=1.0)
    found = correct_by_people(ratings, INFO, ANSWERS)
    assert (found.n_undecided, found.judge.value) == (1000, None)
    assert found.corrected.value == pytest.approx(found.people.value)
    assert not found.is_worth_it
