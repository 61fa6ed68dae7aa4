"""What the uncertainty of a score is made of, and what is worth buying."""

import msgspec
import numpy as np
import pytest
from test_metrics import INFO, columns

from steelyard.analysis.estimates import Context
from steelyard.analysis.spread import advice, spread
from steelyard.analysis.summary import summarise


def repeated(shares, repeats, seed=0, **info):
    """Each item right with its own share, asked ``repeats`` times."""
    items = np.repeat(np.arange(len(shares)), repeats)
    scores = (np.random.default_rng(seed).random(len(items)) < np.asarray(shares)[items]).astype(float)
    given = columns(scores, sample=items, repeat=np.tile(np.arange(repeats), len(shares)))
    fields = {"items": len(shares), "available": 10 * len(shares), "repeats": repeats} | info
    return given, Context(info=msgspec.structs.replace(INFO, **fields))


def test_the_parts_are_those_that_made_the_scores():
    shares = np.random.default_rng(1).random(4000)
    found = {one.metric: one.value for one in spread(*repeated(shares, 4))}
    assert found["spread.items"] == pytest.approx(np.sqrt(1 / 12), abs=0.01)  # Var(p) of a uniform p
    assert found["spread.repeats"] == pytest.approx(np.sqrt(1 / 6), abs=0.01)  # E p (1 - p)


def test_a_spread_between_items_that_came_out_below_0_says_so():
    given, context = repeated([0.5] * 400, 2)
    between = next(one for one in spread(given, context) if one.metric == "spread.items")
    assert (between.value, between.method.endswith("; below 0, so shown as 0")) == (0.0, True)
    given, context = repeated([0.0, 1.0] * 200, 2)
    assert "below 0" not in spread(given, context)[0].method


def test_items_are_to_be_bought_while_there_are_more_and_repeats_only_where_there_are_none():
    shares = np.random.default_rng(2).random(300)
    given, context = repeated(shares, 2)
    words = advice({one.metric: one for one in summarise(given, context)}, context)
    assert words.endswith("Buy items, not repeats")
    assert "% which items were asked" in words
    given, context = repeated(shares, 2, available=300)
    words = advice({one.metric: one for one in summarise(given, context)}, context)
    assert words.endswith("All items are asked already: repeats are what is left to buy")
    given, context = repeated([1.0, 0.0] * 150, 3, available=300)
    words = advice({one.metric: one for one in summarise(given, context)}, context)
    assert "100 % which items were asked. Twice" in words
    assert "repeats would hardly help" in words


def test_items_are_still_to_be_bought_where_a_run_ended_before_all_that_were_planned():
    given, context = repeated([1.0, 0.0] * 150, 2, items=400, available=400)
    words = advice({one.metric: one for one in summarise(given, context)}, context)
    assert words.endswith("Buy items, not repeats")


def test_twice_the_items_and_twice_the_repeats_do_what_is_said_of_them():
    shares = np.random.default_rng(3).random(2000)

    def half(n, repeats):
        given, context = repeated(shares[:n], repeats, seed=n + repeats)
        found = {one.metric: one for one in summarise(given, context)}
        return 50 * (found["accuracy"].high - found["accuracy"].low), advice(found, context)

    words = half(1000, 2)[1]
    assert f"Twice the items: ±{half(2000, 2)[0]:.1f}" in words
    assert f"twice the repeats: ±{half(1000, 4)[0]:.1f}" in words


def test_without_repeats_nothing_is_said():
    given = columns([1.0, 0.0, 1.0])
    assert spread(given, Context(info=INFO)) == []
    assert advice({one.metric: one for one in summarise(given, Context(info=INFO))}, Context(info=INFO)) is None


def test_the_judges_part_is_taken_off_the_repeats():
    generator = np.random.default_rng(4)
    items = np.repeat(np.arange(500), 2)
    scores = np.clip(0.5 + 0.1 * generator.normal(size=500)[items] + 0.2 * generator.normal(size=1000), 0, 1)
    given = columns(scores, sample=items, repeat=np.tile([0, 1], 500))
    given = msgspec.structs.replace(given, scores={**given.scores, "judge.variance": np.full(1000, 0.04)})
    found = {one.metric: one.value for one in spread(given, Context(info=msgspec.structs.replace(INFO, repeats=2)))}
    assert found["spread.judge"] == pytest.approx(0.2)
    assert found["spread.repeats"] < 0.06


def judged(of_answers, of_judge, judgements=3):
    """500 items, all there are, of two answers each, with the spread of the answers and of a single judgement."""
    generator = np.random.default_rng(5)
    items = np.repeat(np.arange(500), 2)
    noise = np.hypot(of_answers, of_judge / np.sqrt(judgements))
    scores = 0.5 + 0.05 * generator.normal(size=500)[items] + noise * generator.normal(size=1000)
    given = columns(scores, sample=items, repeat=np.tile([0, 1], 500))
    given = msgspec.structs.replace(given, scores={**given.scores, "judge.variance": np.full(1000, of_judge**2)})
    settings = {"protocol": {"judge": {"repeats": judgements}}}
    info = msgspec.structs.replace(INFO, items=500, available=500, repeats=2, settings=settings)
    return given, Context(info=info)


def test_where_the_judge_wavers_more_than_the_answers_it_is_to_be_asked_more_often():
    given, context = judged(of_answers=0.02, of_judge=0.3)
    found = {one.metric: one for one in summarise(given, context)}
    words = advice(found, context)
    assert words.endswith("and the judge wavers more than the answers: raise --judge-repeats")
    half = 50 * (found["accuracy"].high - found["accuracy"].low)
    items, of_judge = found["spread.items"].value ** 2, 0.3**2 / 3 / 2
    left = 1 - of_judge / 2 / (items + found["spread.repeats"].value ** 2 / 2 + of_judge)
    assert f"twice the judgements of each answer: ±{half * left**0.5:.1f}. " in words
    given, context = judged(of_answers=0.3, of_judge=0.1)
    words = advice({one.metric: one for one in summarise(given, context)}, context)
    assert words.endswith("repeats are what is left to buy")


def test_answers_are_not_blamed_for_what_a_judge_asked_once_may_have_done():
    given, context = judged(of_answers=0.0, of_judge=0.3, judgements=1)
    scores = {name: values for name, values in given.scores.items() if name != "judge.variance"}
    given = msgspec.structs.replace(given, scores=scores)
    words = advice({one.metric: one for one in summarise(given, context)}, context)
    assert "% answers that vary or a judge that wavers. Twice" in words
