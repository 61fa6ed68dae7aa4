"""The benchmarks beside the five: rows of the hub's shape become items whose gold scores 1, said to be unverified."""

import json
from pathlib import Path

import pytest

from steelyard.benchmarks import BUILT_IN, find_benchmark
from steelyard.benchmarks.benchmark import Selection
from steelyard.benchmarks.check import check_benchmark

ROWS = {
    "mmlu-pro": {
        "question_id": 70,
        "question": "Which is even?",
        "options": ["1", "2", "3"],
        "answer": "B",
        "answer_index": 1,
        "category": "math",
    },
    "arc-challenge": {
        "id": "M_1",
        "question": "What melts?",
        "choices": {"text": ["ice", "rock"], "label": ["1", "2"]},
        "answerKey": "1",
    },
    "arc-easy": {
        "id": "E_1",
        "question": "What burns?",
        "choices": {"text": ["ice", "wood"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "hellaswag": {"ctx": "She opens a book and", "endings": ["reads.", "flies."], "label": "0", "source_id": "w~1"},
    "winogrande": {"sentence": "The _ is wet.", "option1": "sun", "option2": "rain", "answer": "2"},
    "truthfulqa": {"question": "Can pigs fly?", "mc1_targets": {"choices": ["No", "Yes"], "labels": [1, 0]}},
    "aime-2024": {"ID": "1", "Problem": "1 + 1?", "Solution": "2", "Answer": 2},
    "aime-2025": {"problem": "2 + 2?", "answer": "4", "id": "0"},
}
SPLITS = {"hellaswag": "validation", "winogrande": "validation", "truthfulqa": "validation", "aime-2024": "train"}


def test_every_unverified_benchmark_has_a_row_here():
    assert set(ROWS) == {name for name in BUILT_IN if not find_benchmark(name).is_verified}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_hubs_shape_become_items_whose_gold_scores_one(name, monkeypatch):
    benchmark = find_benchmark(name)
    split = SPLITS.get(name, "test")
    folder = Path("data") / name
    folder.mkdir(parents=True)
    (folder / f"{split}.jsonl").write_text(json.dumps(ROWS[name]) + "\n", "utf-8")
    monkeypatch.setenv("STEELYARD_DATA", "data")
    for found in check_benchmark(benchmark, Selection()):
        assert (found.items, found.gold, found.empty) == (1, 1.0, 0.0)
        assert found.problem == f"1 items, expected {benchmark.items}"
