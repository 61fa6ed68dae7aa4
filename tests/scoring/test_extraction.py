"""What is read from a reply: the expected answer for replies as models really write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.scoring import choice, exact, likelihood, number
from steelyard.types import Completion, Likelihood, Sample


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("b", None),
        ("B) Paris", "B"),
        ("(C)", "C"),
        ("**D**", "D"),
        ("The answer is B.", "B"),
        ("The correct answer is (A).", "A"),
        ("Answer: C", "C"),
        ("\\boxed{D}", "D"),
        ("A gas giant is a planet.", None),
        ("A B", "A"),
        ("Either A or B", None),
        ("E", None),
        ("", None),
        ("Я не знаю", None),
        ("I think it is C", "C"),
        ("D. Because A is wrong", "D"),
    ],
)
def test_the_letter_of_a_short_reply(reply, letter):
    assert choice.short_letter(reply, 4) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("Thinking...\nAnswer: B", "B"),
        ("**Answer:** $C$", "C"),
        ("answer: d", "D"),
        ("Answer: (A)", "A"),
        ("No idea", None),
        ("Answer: 42", None),
    ],
)
def test_the_letter_after_answer(reply, letter):
    assert choice.answer_letter(reply, 4) == letter


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("The total is 42.", "42"),
        ("#### 1,234", "1,234"),
        ("so 3 + 4 = 7\n#### 7\nI used 2 steps", "2"),
        ("Answer: $18.50 per day", "$18.50"),
        ("5 apples. The answer is 12", "12"),
        ("\\boxed{-3} is 9", "-3"),
        ("minus: -5", "-5"),
        ("no number", None),
        ("", None),
        ("A: 11", "11"),
    ],
)
def test_the_final_number(reply, found):
    assert number.final_number(reply) == found


def test_the_strict_number_stands_after_hashes_only():
    assert number.marked_number("The answer is 5") is None
    assert number.marked_number("x\n#### -1,000 ok") == "-1,000"


@given(st.integers(-(10**9), 10**9))
def test_a_number_is_found_however_it_is_written(value):
    for text in (f"It is {value}.", f"#### {value:,}", f"**{value}**"):
        assert number.grade(str(value), number.final_number(text)).value == 1.0


@given(st.text(max_size=200))
def test_no_reply_breaks_an_extractor(text):
    choice.short_letter(text, 4)
    choice.answer_letter(text, 4)
    number.grade("1", number.final_number(text))
    exact.same(text, "x")
    exact.contains(text, "x")


def test_a_reply_of_ten_megabytes_is_read_in_time():
    text = "word 12 " * 1_300_000
    assert number.final_number(text) == "12"
    assert choice.short_letter(text, 4) is None


@pytest.mark.parametrize(
    ("reply", "target", "accepted"),
    [("Paris.", "paris", True), (" PARIS ", "Paris", True), ("Paris, France", "Paris", False), ("ﬁn", "fin", True)],
)
def test_exact_ignores_case_and_outer_punctuation(reply, target, accepted):
    assert exact.same(reply, target) is accepted


def test_contains_wants_whole_words():
    assert exact.contains("I live in Paris.", "Paris")
    assert not exact.contains("Parisian", "Paris")


def test_an_empty_reply_holds_no_answer():
    score = exact.grade("  ", "x", exact.same)
    assert (score.value, score.answer) == (0.0, None)


def test_the_likeliest_choice_may_differ_by_length():
    sample = Sample(id="x", input="?", target="1", choices=("a", "long answer"))
    weighed = (Likelihood(logprob=-2.0, tokens=1, characters=1), Likelihood(logprob=-4.0, tokens=2, characters=11))
    scores = likelihood.grade_choice(sample, Completion(likelihoods=weighed))
    assert (scores["accuracy"].value, scores["accuracy.norm"].value) == (0.0, 1.0)
