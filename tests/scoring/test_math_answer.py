"""A mathematical answer is the target in whatever spelling, and nothing else is."""

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.scoring import expression
from steelyard.scoring.math_answer import boxed, final_answer, grade, is_equivalent, normal_form

# The forms in which answers of MATH are written, with other spellings of theirs.
SAME = [
    ("\\frac12", "0.5"),
    ("\\dfrac{1}{2}", "\\frac{1}{2}"),
    ("1/2", "\\frac{1}{2}"),
    ("\\frac43", "\\frac{4}{3}"),
    ("-\\frac{1}{3}", "\\frac{-1}{3}"),
    ("2\\frac{1}{2}", "\\frac52"),
    ("0.50", "\\frac{1}{2}"),
    (".5", "0.5"),
    ("18.90", "18.9"),
    ("1,234", "1234"),
    ("1{,}234", "1234"),
    ("1\\,000", "1000"),
    ("\\$32,348", "32348"),
    ("10\\%", "10"),
    ("90^\\circ", "90"),
    ("36^{\\circ}", "36"),
    ("5\\text{ cm}", "5"),
    ("27 \\text{ inches}", "27"),
    ("12\\text{ square units}", "12"),
    ("6 inches", "6"),
    ("864 \\mbox{ inches}^2", "864"),
    ("\\frac{270}7\\text{ degrees}", "270/7"),
    ("10,\\!080", "10080"),
    ("5.4 \\text{ cents}", "5.4"),
    ("\\{1\\pm\\sqrt{5},-2\\}", "\\{-2, 1-\\sqrt5, 1+\\sqrt5\\}"),
    ("\\text{June 20}", "June 20"),
    ("$5$", "5"),
    ("\\(5\\)", "5"),
    ("x=5", "5"),
    ("f(x)=x+1", "x+1"),
    ("x \\in [-2,7]", "[-2,7]"),
    ("\\text{Evelyn}", "evelyn"),
    ("\\mathrm{Navin}", "Navin"),
    ("(A)", "A"),
    ("\\text{(A)}", "A"),
    ("2\\sqrt{2}", "\\sqrt8"),
    ("70 \\sqrt{2}", "70\\sqrt2"),
    ("\\frac{\\sqrt{21}}{5}", "\\frac{1}{5}\\sqrt{21}"),
    ("\\frac{9 \\sqrt{3}}{4}", "9\\sqrt3/4"),
    ("\\sqrt[3]{8}", "2"),
    ("2^{10}", "1024"),
    ("10!", "3628800"),
    ("6 - 5i", "6-5i"),
    ("(x-1)(x+1)", "x^2-1"),
    ("6r^2-4r-24", "-24-4r+6r^2"),
    ("5x^2-x", "x(5x-1)"),
    ("y=2x+3", "2x-y+3=0"),
    ("(3,\\frac{\\pi}{2})", "\\left( 3, \\frac{\\pi}{2} \\right)"),
    ("(-\\infty,2)\\cup(3,\\infty)", "(-\\infty, 2) \\cup (3, \\infty)"),
    ("\\{1,2,3\\}", "\\{3, 2,1\\}"),
    ("1,-2", "-2, 1"),
    ("5 or -3", "-3,5"),
    ("3\\pm2\\sqrt{2}", "3+2\\sqrt2, 3-2\\sqrt2"),
    ("\\begin{pmatrix} 1 & 2 \\\\ 3 & \\frac12 \\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&0.5\\end{pmatrix}"),
    ("4210_{5}", "4210_5"),
]
DIFFERENT = [
    ("\\frac12", "\\frac13"),
    ("0.33", "\\frac13"),
    ("1.414", "\\sqrt2"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("\\{1,2\\}", "\\{1,3\\}"),
    ("1,2", "1,2,3"),
    ("12", "1,2"),
    ("1,234", "1235"),
    ("x^2", "x^3"),
    ("y=2x+3", "y=2x+4"),
    ("4210_5", "4210_6"),
    ("5", "-5"),
    ("", "5"),
    ("A", "B"),
    ("east", "seat"),  # the same letters, were it a product
    ("\\text{even}", "odd"),
    ("\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
]
HOSTILE = [
    "10^{10^{10}}",
    "(" * 390 + "1",
    "9" * 1_999,
    "\\frac{1}{0}",
    "0^{-1}",
    "((((",
    "\\sqrt",
    "^",
    "!",
    "{}",
    "170!" * 90,
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_spellings_of_one_answer_are_one(one, other):
    assert is_equivalent(one, other)
    assert is_equivalent(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_two_answers_are_two(one, other):
    assert not is_equivalent(one, other)
    assert not is_equivalent(other, one)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_takes_long_or_raises(text):
    assert not is_equivalent(text, "5")
    assert not is_equivalent("5", text)


@given(st.text(max_size=60), st.text("\\frac{}12+-^_()[]|!., xyi", max_size=60))
def test_any_text_is_compared_and_equals_itself(one, other):
    is_equivalent(one, other)
    assert is_equivalent(other, other) is bool(normal_form(other))


@given(st.integers(-999, 999), st.integers(1, 99), st.integers(1, 9))
def test_a_fraction_has_one_value_however_it_is_written(above, below, factor):
    wanted = f"\\frac{{{above}}}{{{below}}}"
    assert is_equivalent(f"{above * factor}/{below * factor}", wanted)
    assert is_equivalent(f"\\dfrac{{{above + below}}}{{{below}}} - 1", wanted)
    assert not is_equivalent(f"{above + 1}/{below}", wanted)


def test_letters_stand_for_the_same_numbers_everywhere():
    one, other = expression.values_of("(a+b)^2"), expression.values_of("a^2+2ab+b^2")
    assert one == other
    assert all(isinstance(value, Fraction) for value in one)
    assert expression.values_of("a+b") != expression.values_of("a-b")


def test_random_polynomials_equal_their_expansion_and_not_its_neighbour():
    draw = random.Random(1)
    for _ in range(100):
        a, b, c, d = (draw.randint(1, 9) for _ in range(4))
        factored = f"({a}x+{b})({c}x-{d})"
        assert is_equivalent(factored, f"{a * c}x^2+{b * c - a * d}x-{b * d}".replace("+-", "-"))
        assert not is_equivalent(factored, f"{a * c}x^2+{b * c - a * d}x-{b * d + 1}".replace("+-", "-"))


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("First \\boxed{1}, then \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("It is \\fbox{3}", "3"),
        ("It is $\\boxed 5$.", "5"),
        ("<think>\\boxed{1}</think> So \\boxed{2}", "2"),
        ("The answer is $x^2$.\nBye", "$x^2$"),
        ("**Answer:** 7", "7"),
        ("No idea, 42 perhaps", None),
        ("\\boxed{", None),
        ("", None),
    ],
)
def test_the_answer_is_what_the_last_box_holds_or_follows_the_last_answer_is(reply, answer):
    assert final_answer(reply) == answer


def test_a_reply_without_a_box_has_no_strict_answer():
    assert boxed("The answer is 5.") is None
    assert grade("5", None).answer is None
    assert grade("5", final_answer("The answer is 5.")).value == 1.0
