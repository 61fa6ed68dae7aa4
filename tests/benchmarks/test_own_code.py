"""Programs as answers to one's own questions: tests in the rows, run in the sandbox."""

import json
from pathlib import Path

import pytest

import steelyard as sy
from steelyard import sandbox
from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.benchmark import Selection
from steelyard.errors import DataError, EnvironmentFault, PlanError, UsageError
from steelyard.scoring import code

ADD = {"prompt": "Write add(a, b).", "test": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]}
BEGUN = {
    "prompt": 'def twice(x):\n    """Twice x."""\n',
    "test": "def check(candidate):\n    assert candidate(4) == 8\n",
    "entry_point": "twice",
    "answer": "    return 2 * x\n",
}


@pytest.fixture(autouse=True)
def sandboxed():
    try:
        sandbox.choose()
    except EnvironmentFault as error:
        pytest.skip(str(error))


def write_rows(*rows, name="tasks.jsonl"):
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def asked(answers, benchmark, **settings):
    """A run of a model that answers by the first words of the question."""
    return sy.run([lambda prompt: next(reply for start, reply in answers.items() if prompt.startswith(start))],
                  [benchmark], **settings)  # fmt: skip


def test_rows_with_tests_are_run_and_say_why_code_failed():
    rows = write_rows(ADD, BEGUN)
    good = {"Write": "Here:\n```python\ndef add(a, b):\n    return a + b\n```\nIt adds.", "def": "    return x + x\n"}
    assert asked(good, rows).estimate("accuracy").value == 1.0
    bad = {"Write": "```python\ndef add(a, b):\n    return a - b\n```", "def": "I cannot."}
    run = asked(bad, rows)
    assert run.estimate("accuracy").value == 0.0
    reasons = {record.sample.id: record.scores["accuracy"].reason for record in run.records()}
    assert any("AssertionError" in reason for reason in reasons.values())
    assert [cell.label for cell in run.cells] == ["tasks@code"]


def test_reference_solutions_score_1_and_an_empty_reply_0():
    benchmark = find_benchmark(write_rows(BEGUN))
    [sample] = benchmark.dataset(Selection()).samples
    protocol = benchmark.protocol(None)
    for reply, value in ((protocol.reply(sample, sample.target), 1.0), ("", 0.0)):
        assert protocol.grade(sample, sy.Completion(text=reply)).value == value


def test_a_description_names_the_columns_of_the_test():
    Path("t.csv").write_text('task,checks,fn\n"Write inc(n): n + 1","assert inc(1) == 2",inc\n')
    Path("t.yaml").write_text(
        "benchmark: t\ndata: t.csv\ncolumns: {question: task, test: checks, entry_point: fn}\ntemplate: '{task}!'\n"
    )
    run = asked({"Write": "```\ndef inc(n):\n    return n + 1\n```"}, "t.yaml")
    assert (run.estimate("accuracy").value, run.cells[0].label) == (1.0, "t@code")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": "assert add(1, 2) = 3"}, "line 1: the test is not Python"),
        ({"test": "assert add(1) == sub(1)"}, r"no entry_point, and the test calls add, sub: say which"),
        ({"test": "assert True"}, "the test calls none by name"),
        ({"prompt": " "}, "the question is empty"),
    ],
)
def test_a_faulty_test_is_told_with_its_row(changes, words):
    with pytest.raises(DataError, match=words):
        find_benchmark(write_rows(ADD | changes)).dataset(Selection())


def test_other_graders_want_an_answer_and_this_one_a_test():
    with pytest.raises(DataError, match="the grader 'exact' needs one"):
        find_benchmark(write_rows(ADD), "exact").dataset(Selection())
    with pytest.raises(DataError, match="no test: the grader 'code' runs one"):
        find_benchmark(write_rows({"prompt": "a", "answer": "b"}), "code").dataset(Selection())
    Path("t.csv").write_text("question,fn\na,b\n")
    Path("t.yaml").write_text("benchmark: t\ndata: t.csv\ncolumns: {entry_point: fn}\n")
    with pytest.raises(PlanError, match="there is no test"):
        find_benchmark("t.yaml")


def test_code_is_not_graded_without_items():
    with pytest.raises(UsageError, match="code"):
        sy.calculate_metrics(["x"], ["y"], grader="code")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("```python\ndef f():\n    pass\n```", "def f():\n    pass\n"),
        ("```py\nimport re\n```\nthen\n```python\ndef f(): ...\n```\nuse it:\n```\nf()\n```", "def f(): ...\n"),
        ("```\ndef f(): ...", "def f(): ..."),
        ("  ```python\n  x\n  ```", "  x\n"),
        ("    return 1", "    return 1"),
        ("", None),
        ("```python\n```", "```python\n```"),
    ],
)
def test_the_code_of_a_reply_is_its_last_block_that_defines_the_function(reply, expected):
    assert code.written(reply, "f") == expected


def test_the_function_to_write_is_the_one_that_the_test_calls_and_does_not_define():
    test = "import math\nfrom os import path as p\ndef near(a, b):\n    return abs(a - b) < 1\nassert near(area(2), 12)"
    assert code.called_by(test) == ["area"]
