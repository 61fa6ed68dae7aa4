"""Places: told apart where the items tell, shared where they do not, and wrong no more often than said."""

import numpy as np
import pytest

import steelyard.stats as stats


def scores(generator, n, shares):
    """Right and wrong of models of these shares on items that are hard for all alike."""
    hardness = generator.random(n)
    return [(0.7 * hardness + 0.3 * generator.random(n) < share).astype(float) for share in shares]


def test_a_clear_order_is_told_and_the_order_of_items_and_models_does_not_matter():
    table = scores(np.random.default_rng(1), 800, [0.5, 0.8, 0.65])
    found = stats.rank_models(scores=table)
    assert (found.places, found.low, found.high) == ((3, 1, 2), (3, 1, 2), (3, 1, 2))
    assert found.near_best == (False, True, False)
    assert found.first[1] == 1.0
    order = np.random.default_rng(2).permutation(800)
    assert stats.rank_models(scores=[row[order] for row in table]) == found
    assert stats.rank_models(scores=table[::-1]).places == found.places[::-1]


def test_equal_models_share_the_first_place():
    row = scores(np.random.default_rng(3), 200, [0.6])[0]
    found = stats.rank_models(scores=[row, row, row])
    assert (found.places, found.near_best) == ((1, 1, 1), (True, True, True))
    assert found.first == pytest.approx((1 / 3,) * 3)


def test_models_that_never_differed_could_have_each_others_place():
    row, worse = np.repeat([1.0, 0.0], [90, 10]), np.repeat([1.0, 0.0], [30, 70])
    found = stats.rank_models(scores=[row, worse, row])
    assert (found.places, found.low, found.high) == ((1, 3, 1), (1, 3, 1), (2, 3, 2))


@pytest.mark.parametrize("table", [[], [[], []], [[1.0], [0.0]]])
def test_of_one_item_or_none_every_place_is_possible(table):
    found = stats.rank_models(scores=table)
    assert (found.low, found.high) == ((1,) * len(table), (len(table),) * len(table))
    assert all(found.near_best)


def test_a_gap_alike_on_few_items_tells_nothing():
    assert stats.rank_models(scores=[[1] * 4, [0] * 4]).near_best == (True, True)
    assert stats.rank_models(scores=[[1] * 10, [0] * 10]).near_best == (True, False)


@pytest.mark.long
def test_the_best_model_is_seldom_told_from_the_best_seen():
    generator = np.random.default_rng(4)
    lost = 0
    for _ in range(600):
        found = stats.rank_models(scores=scores(generator, 300, [0.7] * 5), draws=400)
        lost += not found.near_best[0]  # all are equally good: any of them may be the one that is called worse
    assert lost / 600 <= 0.06


def test_items_of_fixed_strata_are_drawn_within_each_and_the_error_is_right_in_small_ones():
    generator = np.random.default_rng(9)
    easy = np.repeat(
        np.arange(60) % 2, 5
    )  # strata of five items, one kind nearly all right, the other nearly all wrong
    one, other = ((generator.random(300) < np.where(easy, 0.95, 0.05)).astype(float) for _ in range(2))
    strata = np.repeat(np.arange(60), 5)
    from steelyard.stats.ranking import _within

    drawn = _within(np.array([one, other]), strata, 4000, np.random.default_rng(1))
    parts = one.reshape(60, 5)
    known = np.sqrt((parts.var(axis=1, ddof=1) / 5).sum()) / 60
    assert drawn[:, 0].std() == pytest.approx(known, rel=0.05)
    assert drawn[:, 0].mean() == pytest.approx(one.mean(), abs=0.002)
    pooled = stats.rank_models(scores=[one, other])
    assert stats.rank_models(scores=[one, other], strata=strata).means == pooled.means
    alone = stats.rank_models(scores=[one[:4], other[:4]], strata=[1, 2, 3, 4])
    assert alone.places == stats.rank_models(scores=[one[:4], other[:4]]).places


def test_few_degrees_of_freedom_widen_what_could_be():
    table = np.array([np.linspace(0, 1, 6), np.linspace(0, 1, 6)[::-1] * 0.2, np.full(6, 0.1)])
    plain, few = stats.rank_models(scores=table), stats.rank_models(scores=table, degrees=2.0)
    assert sum(few.near_best) > sum(plain.near_best)
    assert all(wide <= narrow for wide, narrow in zip(few.low, plain.low, strict=True))
    assert (few.means, few.places, few.first) == (plain.means, plain.places, plain.first)


@pytest.mark.long
@pytest.mark.parametrize("clusters", [5, 10, 20])
def test_one_of_three_that_are_equally_good_is_told_from_the_best_in_5_percent(clusters):
    """Without degrees of freedom in 14, 9 and 7 % of series."""
    generator, told = np.random.default_rng(7), 0
    for _ in range(600):
        found = stats.rank_models(scores=generator.normal(size=(3, clusters)), degrees=clusters - 1, draws=1000)
        told += 3 - sum(found.near_best)
    assert told / 1800 <= 0.075
