"""What prompts have in common is shown once, and what is left of each is its question, whole."""

from itertools import pairwise

import msgspec
import pytest

from steelyard.report.examples import MOST_TEXT, SHORTEST, examples_apart, fitting
from steelyard.report.samples import LONGEST_PROMPT, Answer, Item

SHOTS = "".join(f"Q: {at} + {at}?\nA: {2 * at}\n\n" for at in range(SHORTEST // 4))


def items(prompts, stratum="sums"):
    return [
        Item(id=str(at), benchmark="b@p", line="", prompt=prompt, gold="", is_flip=False, answers=(), stratum=stratum)
        for at, prompt in enumerate(prompts)
    ]


def test_the_beginning_of_all_prompts_is_shown_once_and_no_question_is_torn():
    questions = [f"Q: what is {at}?\nA:" for at in range(5)]
    apart, (found,) = examples_apart(items([SHOTS + one for one in questions]))
    assert [one.prompt for one in apart] == questions
    assert {one.examples for one in apart} == {0}
    assert (found.text, found.stratum, found.items) == (SHOTS.rstrip(), "sums", 5)


def test_each_part_of_a_benchmark_has_its_own_and_what_is_short_or_rare_stays_in_its_place():
    some = items([SHOTS + f"Q: {at}" for at in range(3)], "long") + items([f"Say:\n\n{at}" for at in range(9)], "short")
    apart, found = examples_apart([*some, *items([SHOTS + "Q: 1", SHOTS + "Q: 2"], "rare")])
    assert [one.stratum for one in found] == ["long"]
    assert apart[3].prompt == "Say:\n\n0"
    assert apart[3].examples is None
    assert "left out" in apart[-1].prompt
    assert len(apart[-1].prompt) < LONGEST_PROMPT + 60
    assert examples_apart([]) == ([], [])


def test_long_texts_leave_fewer_items_taken_from_all_over_with_the_beginnings_of_these_alone():
    many = [
        *items([f"{SHOTS}Q: {at} " + "x" * 1_000 for at in range(400)], "many"),
        *items([f"{SHOTS}Q: {at} " + "x" * 1_000 for at in range(3)], "few"),
    ]
    kept, beginnings = fitting(*examples_apart(many))
    assert (
        MOST_TEXT - 5_000 < sum(len(one.prompt) for one in kept) + sum(len(one.text) for one in beginnings) < MOST_TEXT
    )
    places = [int(one.id) for one in kept if one.stratum == "many"]
    assert max(later - one for one, later in pairwise(places)) <= 2
    assert [one.items for one in beginnings] == [sum(one.examples == place for one in kept) for place in (0, 1)]
    rare = items([f"{'y' * SHORTEST}\n\n{at}" for at in range(3)], "rare")
    short, of_all = fitting(*examples_apart(rare))
    assert ([one.prompt for one in short], len(of_all)) == (["0", "1", "2"], 1)


def answered(n, *, long=3_000):
    one = Answer(
        model="m", slot=0, state="wrong", repeat=0, text="x" * long, extracted="x", score="0", reason="", figures=()
    )
    return (one,) * n


@pytest.mark.parametrize(("n", "many"), [(120, 4), (80, 6), (96, 1), (30, 40), (500, 1)])
def test_the_first_item_always_comes_along_and_the_texts_fit_however_long(n, many):
    long = [msgspec.structs.replace(one, answers=answered(n)) for one in items(["What?"] * many)]
    kept, _ = fitting(long, [])
    assert kept[0].id == "0"
    assert all(len(one.answers) == n for one in kept)
    said = sum(len(one.prompt) + sum(len(each.text) + 1 for each in one.answers) for one in kept)
    assert MOST_TEXT / 2 < said <= MOST_TEXT


def test_many_long_beginnings_are_cut_to_what_the_items_leave():
    parts = [
        one for part in range(57) for one in items([f"{part} {SHOTS * 3}Q: {at}" for at in range(3)], f"part {part}")
    ]
    kept, beginnings = fitting(*examples_apart(parts))
    assert len(kept) == len(parts)
    assert len(beginnings) == 57
    texts = sum(len(one.prompt) for one in kept) + sum(len(one.text) for one in beginnings)
    assert 0.9 * MOST_TEXT < texts <= MOST_TEXT
