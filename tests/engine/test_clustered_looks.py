"""Looks at items that come in clusters, with strata and without: what one shows, and how often its bounds err."""

import numpy as np
import pytest

import steelyard as sy
from steelyard import stats
from steelyard.analysis.clusters import worth_in_answers
from steelyard.engine.schedule.prefix import Seen, difference_within, score_within
from steelyard.engine.schedule.stopping import rule_for
from steelyard.engine.schedule.strata import Strata
from steelyard.errors import UsageError
from steelyard.plan.stopping import Compare, HalfWidth, Ladder
from steelyard.providers.function import Function

PARTS = 4
WEIGHTS = dict.fromkeys(range(PARTS), 1 / PARTS)
MANY = 1000


def parts(of_item):
    return Strata(of_item=of_item, weighs=np.full(PARTS, 1 / PARTS), sizes=np.full(PARTS, len(of_item) / PARTS))


def drawn(seed, items=120, size=6):
    """Two models' answers to items in clusters that lie across four strata, and which those are."""
    generator = np.random.default_rng(seed)
    a, b = ((generator.random(items) < share).astype(float) for share in (0.7, 0.5))
    return a, b, np.arange(items) // size, parts(np.arange(items) % PARTS)


def together(clusters, icc, draw, generator):
    """Values of which two of one cluster are correlated by ``icc``: an item has its cluster's or one of its own."""
    shared = generator.random(len(clusters)) < np.sqrt(icc)
    return np.where(shared, draw(int(clusters.max()) + 1)[clusters], draw(len(clusters)))


def in_proportion(of_item, generator):
    """An order that holds every stratum in proportion, as the engine draws it."""
    rank = np.empty(len(of_item))
    for stratum in np.unique(of_item):
        chosen = of_item == stratum
        rank[chosen] = (generator.permutation(int(chosen.sum())) + generator.random()) / chosen.sum()
    return np.argsort(rank)


def missed(stop, size, icc, *, is_nested, times, items=600, seed=0):
    """In how many series of looks at a mean over strata the last one's bounds leave out the truth."""
    generator, missing = np.random.default_rng(seed), 0
    of_item = np.repeat(np.arange(PARTS), items // PARTS)
    strata, rule = parts(of_item), rule_for(stop, planned=items, population=items)
    for _ in range(times):
        clusters = np.arange(items) // size if is_nested else generator.permutation(items) // size
        a, b, expected = answers(stop, clusters, icc, generator)
        order, look, n = in_proportion(of_item, generator), None, rule.first()
        while n is not None:
            first = order[:n]
            seen = Seen(
                a=a[first], b=None if b is None else b[first], clusters=clusters[first], strata=strata.only(first)
            )
            look = rule.look(1 if look is None else look.number + 1, seen)
            n = look.next
        truth = float((a if b is None else a - b).mean()) if look.estimand == "this benchmark" else expected
        missing += not look.low - 1e-9 <= truth <= look.high + 1e-9
    return missing / times


def answers(stop, clusters, icc, generator):
    """What is watched, and what is true of questions like these: scores of 0.7, or models that differ by nothing."""
    if isinstance(stop, Compare):
        kind = together(clusters, icc, lambda n: generator.choice([-1.0, 0.0, 1.0], n, p=[0.12, 0.76, 0.12]), generator)
        return np.maximum(kind, 0.0), np.maximum(-kind, 0.0), 0.0
    return together(clusters, icc, lambda n: (generator.random(n) < 0.7).astype(float), generator), None, 0.7


@pytest.mark.parametrize("has_strata", [True, False])
def test_of_a_whole_benchmark_single_items_are_drawn_so_clusters_take_nothing_away(has_strata):
    a, b, clusters, strata = drawn(1)
    own = strata if has_strata else None
    alone, kept = Seen(a=a, b=b, strata=own), Seen(a=a, b=b, strata=own, clusters=clusters)
    for population in (480, len(a)):
        assert score_within(kept, population=population, alpha=0.05) == score_within(
            alone, population=population, alpha=0.05
        )
        assert difference_within(kept, population=population, z=2.4) == difference_within(
            alone, population=population, z=2.4
        )


def test_of_questions_like_these_a_mean_over_strata_is_bounded_as_the_headline_is():
    a, b, clusters, strata = drawn(2)
    seen = Seen(a=a, b=b, clusters=clusters, strata=strata)
    found, _ = score_within(seen, population=None, alpha=0.05)
    spread = stats.cluster_se_stratified(scores=a, clusters=clusters, strata=strata.of_item, weights=WEIGHTS)
    worth = worth_in_answers(spread, confidence=0.95)
    bounds = stats.wilson_interval(successes=spread.mean * worth, n=worth)
    assert (found.value, found.low, found.high) == pytest.approx((spread.mean, bounds.low, bounds.high))
    between = difference_within(seen, population=None, z=1.959964)
    spread = stats.cluster_se_stratified(scores=a - b, clusters=clusters, strata=strata.of_item, weights=WEIGHTS)
    reach = spread.se * stats.t_quantile(spread.degrees, 0.975)
    assert (between.value, between.high - between.low) == pytest.approx((spread.mean, 2 * reach), rel=1e-6)


def test_a_stratum_within_one_cluster_or_without_an_answer_leaves_a_look_without_bounds():
    a, b, clusters, strata = drawn(3)
    alone = Seen(a=a, b=b, clusters=np.where(strata.of_item == 0, 99, clusters), strata=strata)
    found, _ = score_within(alone, population=None, alpha=0.05)
    assert (found.low, found.high) == (0.0, 1.0)
    between = difference_within(alone, population=None, z=2.0)
    assert (between.low, between.high) == (-1.0, 1.0)
    assert between.value == pytest.approx(float((a - b).mean()))
    unasked = np.where(strata.of_item == 0, np.nan, a)
    without = Seen(a=unasked, b=b, clusters=clusters, strata=strata)
    assert score_within(without, population=None, alpha=0.05)[0].value is None
    assert difference_within(without, population=None, z=2.0).value is None


def test_clusters_that_are_all_right_count_as_one_answer_each():
    clusters = np.arange(120) // 6
    plain, worth = score_within(Seen(a=np.ones(120), clusters=clusters), population=None, alpha=0.05)
    assert (worth, plain.low) == (20, pytest.approx(stats.wilson_interval(successes=20, n=20).low))
    strata = parts(np.arange(120) // 30)
    over, _ = score_within(Seen(a=np.ones(120), clusters=clusters, strata=strata), population=None, alpha=0.05)
    cells = stats.stratified_score_interval(successes=[5] * PARTS, n=[5] * PARTS, weights=[0.25] * PARTS)
    assert (over.value, over.low, over.high) == pytest.approx((1.0, cells.low, 1.0))


def test_a_cluster_that_has_most_items_leaves_a_look_without_bounds():
    a, b, _, _ = drawn(4)
    found = difference_within(Seen(a=a, b=b, clusters=np.maximum(0, np.arange(120) - 110)), population=None, z=2.0)
    assert (found.low, found.high) == (-1.0, 1.0)


def test_means_over_strata_of_clusters_of_ten_alike_are_told_apart_as_seldom_as_is_said():
    assert missed(Compare(estimand="questions"), 10, 0.8, is_nested=False, times=30) <= 0.1  # ignored: 0.4


@pytest.mark.long
@pytest.mark.parametrize("is_nested", [True, False])
@pytest.mark.parametrize(("size", "icc"), [(2, 0.1), (10, 0.8)])
@pytest.mark.parametrize("stop", [Compare(estimand="questions"), HalfWidth(half_width=0.04)], ids=str)
def test_looks_at_strata_of_items_in_clusters_miss_in_6_percent_or_less(stop, size, icc, is_nested):
    assert missed(stop, size, icc, is_nested=is_nested, times=MANY) <= 0.06


@pytest.mark.long
@pytest.mark.parametrize("is_nested", [True, False])
def test_a_ladder_of_items_in_clusters_misses_in_6_percent_or_less(is_nested):
    assert missed(Ladder(variance=0.0012), 5, 0.3, is_nested=is_nested, times=MANY) <= 0.06


def grouped(n=200):
    return sy.Benchmark(
        name="grouped",
        version="1",
        load=lambda selection: [
            sy.Sample(id=f"g/{i}", input=f"q{i}", target="1", cluster=f"c{i // 4}") for i in range(n)
        ],
        grade=lambda sample, completion: completion.text == sample.target,
    )


def test_anytime_is_refused_for_questions_like_these_where_items_come_in_clusters(tmp_path):
    """Of clusters of ten it told equal models apart in 40 of 100 series."""

    def right(share):
        async def answer(prompt):
            return "1" if int(prompt[1:]) * 7919 % 1000 < 1000 * share else "0"

        return Function(answer, name=f"right-{share}")

    models = [right(0.9), right(0.4)]
    with pytest.raises(UsageError, match="come in clusters"):
        sy.run(models, [grouped()], stop={"anytime": True, "estimand": "questions"}, store=tmp_path / "s.db")
    ended = sy.run(models, [grouped()], stop={"anytime": True}, store=tmp_path / "s.db")
    assert "is ahead of right-0.4" in ended.table()
