"""The starter questions hold: counted, balanced, distinct, and two answer sheets made without the key agree with it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.benchmark import Selection
from steelyard.benchmarks.starter import SUBJECTS

SAMPLES = find_benchmark("starter").dataset(Selection()).samples


def test_there_are_enough_questions_in_enough_subjects():
    counts = Counter(sample.stratum for sample in SAMPLES)
    assert tuple(counts) == SUBJECTS
    assert set(counts.values()) == {16}
    assert len(SAMPLES) == 176


def test_correct_letters_are_balanced_over_all_and_in_every_subject():
    assert set(Counter(sample.target for sample in SAMPLES).values()) == {44}
    pairs = Counter((sample.stratum, sample.target) for sample in SAMPLES)
    assert set(pairs.values()) == {4}


def test_questions_and_choices_are_distinct():
    assert len({sample.input for sample in SAMPLES}) == len(SAMPLES)
    assert all(len({choice.strip().lower() for choice in sample.choices}) == 4 for sample in SAMPLES)


@pytest.mark.parametrize("sheet", [1, 2])
def test_an_independent_answer_sheet_agrees_with_the_key(sheet):
    answers = json.loads((Path(__file__).parent / f"answer_sheet_{sheet}.json").read_text("utf-8"))
    key = {sample.id.removeprefix("starter/"): int(sample.target) for sample in SAMPLES}
    assert {name: (answers.get(name), index) for name, index in key.items() if answers.get(name) != index} == {}
    assert set(answers) == set(key)
