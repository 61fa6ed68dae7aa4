"""The benchmarks beside the five: rows of the hub's shape become items whose gold scores 1, said to be unverified."""

import json
from pathlib import Path

import pytest

from command import ok
from steelyard import sandbox
from steelyard.benchmarks import BUILT_IN, find_benchmark
from steelyard.benchmarks.benchmark import Selection
from steelyard.benchmarks.check import check_benchmark
from steelyard.errors import EnvironmentFault

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
    "math-500": {
        "problem": "Half of one?",
        "solution": "It is $\\boxed{\\frac{1}{2}}$.",
        "answer": "\\frac{1}{2}",
        "subject": "Prealgebra",
        "level": 1,
        "unique_id": "test/prealgebra/1.json",
    },
    "ifeval": {
        "key": 1000,
        "prompt": "Write a poem without any comma, with at least 3 words.",
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{"num_words": None}, {"relation": "at least", "num_words": 3}],
    },
    "humaneval-plus": {
        "task_id": "HumanEval/7",
        "prompt": 'def half(x):\n    """Half of x."""\n',
        "canonical_solution": "    return x / 2\n",
        "entry_point": "half",
        "test": (
            "import numpy as np\n\ndef is_floats(x) -> bool:\n    if isinstance(x, float):\n        return True\n"
            "    if isinstance(x, np.ndarray):\n        return x.dtype == np.float64 or x.dtype == np.float32\n"
            "    return False\n\ndef assertion(out, exp, atol):\n    exact_match = out == exp\n\n"
            "    if atol == 0 and is_floats(exp):\n        atol = 1e-6\n    if not exact_match and atol != 0:\n"
            "        np.testing.assert_allclose(out, exp, atol=atol)\n    else:\n        assert exact_match\n\n"
            "def check(candidate):\n    inputs = [[1], [3], [0.2]]\n    results = [0.5, 1.5, 0.1]\n"
            "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\n"
        ),
    },
    "mbpp": {
        "task_id": 11,
        "text": "Write a python function to add two numbers.",
        "code": "def add(a, b):\r\n  return a + b ",
        "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0 ", "assert add(-1, 1) == 0"],
        "test_setup_code": "",
        "challenge_test_list": [],
    },
}
FILES = {
    "hellaswag": "validation",
    "winogrande": "validation",
    "truthfulqa": "validation",
    "aime-2024": "train",
    "ifeval": "train",
    "mbpp": "full/test",
}
WITHOUT_GOLD = ("ifeval",)
CODE = ("humaneval-plus", "mbpp")


@pytest.fixture(autouse=True)
def _sandbox(request):
    if getattr(request.node, "callspec", None) and request.node.callspec.params.get("name") in CODE:
        try:
            sandbox.choose()
        except EnvironmentFault as fault:
            pytest.skip(f"no sandbox holds on this machine: {fault}")


def write_rows(name, monkeypatch, rows=None):
    file = Path("data") / name / f"{FILES.get(name, 'test')}.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows or [ROWS[name]]), "utf-8")
    monkeypatch.setenv("STEELYARD_DATA", "data")


def test_every_unverified_benchmark_has_a_row_here():
    unverified = {name for name in BUILT_IN if not find_benchmark(name).is_verified}
    assert set(ROWS) == unverified - {"reasoning-gym"}  # which makes its items


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_hubs_shape_become_items_whose_gold_scores_one(name, monkeypatch):
    benchmark = find_benchmark(name)
    write_rows(name, monkeypatch)
    for found in check_benchmark(benchmark, Selection()):
        assert (found.items, found.gold, found.empty) == (1, None if name in WITHOUT_GOLD else 1.0, 0.0)
        assert found.problem == f"1 items, expected {benchmark.items}"


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("math-500", "So it is \\boxed{0.5}.", "So it is \\boxed{0.25}."),
        ("ifeval", "roses are red", "roses, violets"),
        ("humaneval-plus", "```python\ndef half(x):\n    return x * 0.5\n```", "def half(x):\n    return x // 2"),
        ("mbpp", "```python\nadd = lambda a, b: b + a\n```", "```python\ndef add(a, b):\n    return a * b\n```"),
    ],
)
def test_answers_made_elsewhere_are_graded_by_the_command_line(name, right, wrong, monkeypatch):
    if name == "ifeval":
        pytest.importorskip("langdetect", reason="langdetect is not installed: steelyard[ifeval]")
    write_rows(name, monkeypatch)
    (sample,) = find_benchmark(name).dataset(Selection()).samples
    Path("answers.jsonl").write_text(json.dumps({"sample_id": sample.id, "completion": [right, wrong]}) + "\n", "utf-8")
    done = ok("import", "answers.jsonl", "--benchmark", name, "--model", "theirs", "--json")
    assert json.loads(done)["accuracy"] == 0.5
    (line,) = ok("prompts", name).splitlines()
    assert sample.input in json.loads(line)["messages"][0]["content"]
