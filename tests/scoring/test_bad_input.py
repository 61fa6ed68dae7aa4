"""Replies that nobody planned for: huge, empty, in another script, in two minds, with their reasoning in the text."""

import time

import pytest

from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.own import GRADERS
from steelyard.benchmarks.protocols import letter, simple_evals
from steelyard.scoring import choice, number, phrase
from steelyard.scoring.reply import last_box, visible
from steelyard.types import Completion, Sample

TEN_MB = 10_000_000
CHOICES = Sample(id="x/0", input="q", target="1", choices=("one", "two", "three", "four"))
NUMBER = Sample(id="x/1", input="q", target="42", metadata={"solution": "#### 42"})
HUGE = {
    "words": "lorem ipsum " * (TEN_MB // 12),
    "digits": "7" * TEN_MB,
    "marks": "answer is " * (TEN_MB // 10),
    "blanks after a mark": "Answer" + " " * TEN_MB,
    "line ends after a mark": "the answer is" + "\n" * TEN_MB,
    "letters": "A " * (TEN_MB // 2),
    "boxes": "\\boxed{" * (TEN_MB // 7),
    "tags": "<think>" * (TEN_MB // 7),
    "commas": "1," * (TEN_MB // 2),
}


def seconds(grade, sample, reply):
    """Of this process, so that a busy machine does not fail the test."""
    started = time.process_time()
    grade(sample, Completion(text=reply))
    return time.process_time() - started


QUICK = ("blanks after a mark", "tags")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name not in QUICK else []) for name in HUGE]
)
def test_ten_megabytes_are_read_in_a_moment(name):
    reply = HUGE[name]
    graders = [
        (letter().grade, CHOICES), (simple_evals().grade, CHOICES), (GRADERS["number"].grade, NUMBER),
        (GRADERS["exact"].grade, NUMBER), (GRADERS["contains"].grade, NUMBER),
        (find_benchmark("bbh").protocol("zero-shot").grade, NUMBER),
    ]  # fmt: skip
    for grade, sample in graders:
        assert seconds(grade, sample, reply) < 5  # what looks back from every sign would take hours


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("", None),
        ("I cannot tell.", None),
        ("It costs 1,234 dollars.", "1,234"),
        ("1\u202f234", "1\u202f234"),
        ("1 234", "234"),  # a plain blank separates numbers
        ("1.234,5", "5"),  # read as English: two numbers, the last one counts
        (r"so \boxed{42}.", "42"),
        (r"\boxed{\text{42} units}", "42"),
        (r"\boxed{\frac{1}{2}} of 8", "1/2"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"\boxed{never closed 7", "7"),
        ("Answer: 5. No wait, Answer: 6", "6"),
        ("#### 12\nBut I also like 13 apples", "13"),
        ("The answer is 50%.", "50"),
        ("-7 degrees", "-7"),
        ("\u22127", "\u22127"),
        ("$3.50 a piece", "$3.50"),
        ("It is (-3).", "-3"),
        ("from 3 to -4", "-4"),
        ("a loss of -$1,250.75", "-$1,250.75"),
        ("12.5% of them", "12.5"),
        ("5 km/h", "5"),
        ("20 apples and 3 pears", "3"),
        (r"$\frac{3}{4}$", "$3/4"),  # the dollar of LaTeX reads as a currency, and counts for nothing
        (r"\(2\frac{1}{2}\) cups", "5/2"),
        (r"\dfrac{-1}{3}", "-1/3"),
        ("\u0967\u0968", "\u0967\u0968"),  # Devanagari
        ("\u0661\u066c\u0662\u0663\u0664\u066b\u0665", "\u0661\u066c\u0662\u0663\u0664\u066b\u0665"),
        ("\u0441\u0435\u043c\u044c", None),  # a number in Cyrillic words
        ("\u2460", None),  # a circled digit is a mark, not a number
        ("3/4 of it", "3/4"),
        ("\u0661\u0662", "\u0661\u0662"),
        ("\uff14\uff12", "\uff14\uff12"),
        ("<think>maybe 3 or 4</think>The answer is 42", "42"),
        ("<think>maybe 3 or 4", None),
        ("a</think>42<think>no, 43", "42"),
    ],
)
def test_the_number_that_is_read(reply, expected):
    assert number.final_number(reply) == expected


@pytest.mark.parametrize(
    ("answer", "target", "is_same"),
    [
        ("1,234", "1234", True), ("1\u202f234", "1234", True), ("1/2", "0.5", True), ("2", "1/2", False),
        ("\u0664\u0662", "42", True), ("\uff14\uff12", "42", True), ("-$1,000.00", "-1000", True), ("1/0", "1", False),
        ("42.", "42", True), ("\u0967\u0968", "12", True), ("50", "0.5", False), ("5/2", "2.5", True),
        ("\u0661\u066c\u0662\u0663\u0664\u066b\u0665", "1234.5", True),
    ],
)  # fmt: skip
def test_numbers_are_compared_as_numbers(answer, target, is_same):
    assert number.grade(target, answer).value == float(is_same)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("", None),
        ("B", "B"),
        (r"\boxed{B}", "B"),
        (r"$\boxed{\text{B}}$", "B"),
        ("**Answer: B**", "B"),
        ("Answer: B or C", "B"),
        ("either B or C", None),
        ("B. Or maybe C", "B"),
        ("Answer: B\nAnswer: C", "B"),
        ("\uff22", None),  # a full-width letter is no B either
        ("\u0412", None),  # a Cyrillic letter is no B
        ("\u0627\u0644\u0625\u062c\u0627\u0628\u0629: B", "B"),
        ("<think>A? No.</think>B", "B"),
        ("<think>Answer: A", None),
    ],
)
def test_the_letter_that_is_read(reply, expected):
    assert choice.short_letter(reply, 4) == expected


def test_reasoning_and_boxes():
    assert visible("<think>x</think>y") == "y"
    assert visible("<THINK>x") == ""
    assert visible("plain") == "plain"
    assert last_box(r"\boxed{a{b}c} d") == "a{b}c"
    assert last_box("none") is None
    assert phrase.short_answer("<think>the answer is A</think>The answer is (B).") == "(B)"
