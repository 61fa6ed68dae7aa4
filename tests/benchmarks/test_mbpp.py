"""MBPP and HumanEval+: prompts as the field writes them, programs as they stand in a reply, verdicts by running."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard import sandbox
from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.benchmark import Selection
from steelyard.benchmarks.humaneval_plus import STAND_IN
from steelyard.benchmarks.mbpp import program_in
from steelyard.engine.cells import prepare_task
from steelyard.errors import EnvironmentFault
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.types import Completion

MBPP, PLUS = find_benchmark("mbpp"), find_benchmark("humaneval-plus")


@pytest.fixture
def _sandbox():
    try:
        sandbox.choose()
    except EnvironmentFault as fault:
        pytest.skip(f"no sandbox holds on this machine: {fault}")


def full(number, code, *tests, text="Do it.", setup=""):
    return {"task_id": number, "text": text, "code": code, "test_list": list(tests), "test_setup_code": setup}


def write(path, rows, monkeypatch):
    file = Path("data") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    monkeypatch.setenv("STEELYARD_DATA", "data")


def only(row, monkeypatch):
    write("mbpp/full/test.jsonl", [row], monkeypatch)
    (sample,) = MBPP.dataset(Selection()).samples
    return sample


def test_three_shots_stand_between_begin_and_done_as_in_lm_eval(monkeypatch):
    """Written out by lm-eval 0.4.13's rule: the examples are tasks 2, 3 and 4 of the prompt split."""
    shown = [full(n, f"def f{n}():\r\n  pass", f"assert f{n}() == 1 ", "b", "c", text=f"T{n}.") for n in (4, 1, 2, 3)]
    write("mbpp/full/prompt.jsonl", [row | {"test_list": row["test_list"][:1] * 3} for row in shown], monkeypatch)
    only(full(11, "def g(): pass", "assert g() == 1", "assert g()", "assert not g()", text="T11."), monkeypatch)
    spec = BenchmarkSpec(name="mbpp", protocol="lm-eval")
    prompt = prepare_task(spec, Plan(models=(), benchmarks=(spec,), order="file")).prompt(0)
    opening = "You are an expert Python programmer, and here is your task: "
    expected = [
        f"{opening}T{n}. Your code should pass these tests:\n\n" + f"assert f{n}() == 1 \n" * 3 + "[BEGIN]\n"
        f"def f{n}():\r\n  pass\n[DONE]\n\n"
        for n in (2, 3, 4)
    ]
    last = "T11. Your code should pass these tests:\n\nassert g() == 1\nassert g()\nassert not g()\n[BEGIN]\n"
    assert prompt.text == "".join([*expected, opening, last])
    assert (MBPP.protocol("lm-eval").stop, MBPP.protocol("lm-eval").shots) == (("[DONE]",), 3)


@pytest.mark.parametrize(
    ("reply", "program"),
    [
        ("```python\ndef f(): pass\n```", "def f(): pass\n"),
        ("First\n```py\ndef f(): return 1\n```\nbetter\n```\ndef f(): return 2\n```", "def f(): return 2\n"),
        ("```python\ndef f(): pass\n```\nRun it:\n```\nprint(f())\n```", "def f(): pass\n"),
        ("<think>```python\ndef f(): return 0\n```</think>def f(): return 1", "def f(): return 1"),
        ("def f(): pass", "def f(): pass"),
        ("```bash\nls\n```", "```bash\nls\n```"),
    ],
)
def test_the_program_is_the_last_block_that_defines_something(reply, program):
    assert program_in(reply) == program


@pytest.mark.usefixtures("_sandbox")
@pytest.mark.parametrize(
    ("code", "tests", "setup"),
    [
        ("def f(x): return {x}", ["assert f(1) == {1}"], ""),
        (
            "import math\ndef h(x): return x\ndef f(x): return h(math.sqrt(x))",
            ["assert math.isclose(f(4), 2)"],
            "import math",
        ),
        ("f = lambda x: x + 1", ["assert f(1) == 2"], ""),
        ("def f(x): return sorted(x)", ["assert list(f([2, 1])) == [1, 2]", "assert set(f((1,))) == {1}"], ""),
    ],
)
def test_the_authors_program_passes_its_asserts(code, tests, setup, monkeypatch):
    sample = only(full(11, code, *tests, setup=setup), monkeypatch)
    protocol = MBPP.protocol(None)
    assert sample.metadata["entry_point"] == "f"
    assert protocol.grade(sample, Completion(text=protocol.reply(sample, sample.target))).value == 1.0
    assert protocol.grade(sample, Completion(text="```python\ndef f(x): return 7\n```")).value == 0.0
    assert protocol.grade(sample, Completion(text="")).answer is None


def test_asserts_that_pass_objects_leave_the_answer_unscored(monkeypatch):
    code = "class Pair:\n  def __init__(self, a): self.a = a\ndef f(pair): return pair.a"
    sample = only(full(11, code, "assert f(Pair(1)) == 1"), monkeypatch)
    assert sample.flags == ("takes-objects",)
    score = MBPP.protocol(None).grade(sample, Completion(text=code))
    assert score.value is None
    assert "objects of the answer's own class" in score.reason


@pytest.mark.usefixtures("_sandbox")
def test_the_sanitized_split_has_its_own_columns_and_names(monkeypatch):
    row = {
        "source_file": "x.ipynb",
        "task_id": 11,
        "prompt": "Add one.",
        "code": "def f(x): return x + 1",
        "test_imports": ["import math"],
        "test_list": ["assert f(1) == 2", "assert math.isclose(f(0.5), 1.5)"],
    }
    write("mbpp/sanitized/test.jsonl", [row], monkeypatch)
    dataset = MBPP.dataset(Selection(part="sanitized"))
    (sample,) = dataset.samples
    assert (sample.id, sample.input, dataset.split) == ("mbpp/sanitized/11", "Add one.", "sanitized")
    assert MBPP.protocol(None).grade(sample, Completion(text=row["code"])).value == 1.0


def plus(number, entry_point, solution, test):
    return {
        "task_id": f"HumanEval/{number}",
        "prompt": f'def {entry_point}(x):\n    """Do it."""\n',
        "canonical_solution": solution,
        "entry_point": entry_point,
        "test": test,
    }


@pytest.mark.usefixtures("_sandbox")
def test_the_test_that_fails_for_every_answer_is_mended_and_flagged(monkeypatch):
    test = (
        "import math\n\ndef _poly(xs: list, x: float):\n"
        "    return sum([coeff * math.pow(x, i) for i, coeff in enumerate(xs)])\n\n"
        "def check(candidate):\n    inputs = [[[-2, 1]]]\n    results = [2.0]\n"
        "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n"
        "        assert _poly(*candidate(*inp), inp) <= 0.0001\n"
    )
    write("humaneval-plus/test.jsonl", [plus(32, "find_zero", "    return -x[0] / x[1]\n", test)], monkeypatch)
    (sample,) = PLUS.dataset(Selection()).samples
    assert sample.flags == ("mended-test",)
    protocol = PLUS.protocol("lm-eval")
    assert protocol.grade(sample, Completion(text=sample.target)).value == 1.0
    assert protocol.grade(sample, Completion(text="    return 3.0\n")).value == 0.0


@pytest.mark.long
@pytest.mark.usefixtures("_sandbox")
def test_a_thousand_inputs_are_judged_within_the_time(monkeypatch):
    inputs = [[list(range(i))] for i in range(1_000)]
    test = (
        f"import numpy as np\n\ndef check(candidate):\n    inputs = {inputs}\n"
        "    for inp in inputs:\n        np.testing.assert_allclose(candidate(*inp), sum(*inp), atol=1e-6)\n"
    )
    write("humaneval-plus/test.jsonl", [plus(8, "total", "    return float(sum(x))\n", test)], monkeypatch)
    (sample,) = PLUS.dataset(Selection()).samples
    assert PLUS.protocol("lm-eval").grade(sample, Completion(text=sample.target)).value == 1.0
    wrong = "    return float(sum(x)) if len(x) < 999 else 0.0\n"
    assert PLUS.protocol("lm-eval").grade(sample, Completion(text=wrong)).value == 0.0


def stand_in():
    namespace = {}
    exec(STAND_IN, namespace)
    return namespace["np"].testing.assert_allclose


def holds(compare, *values, **tolerances):
    try:
        compare(*values, **tolerances)
    except AssertionError:
        return False
    return True


NUMBERS = st.floats() | st.integers(-10, 10) | st.sampled_from([1.0, 1.0 + 1e-7, 1.0 + 1e-6, 1e-7, 0.0, -0.0])


@given(NUMBERS, NUMBERS, st.sampled_from([0, 1e-6]))
def test_the_stand_in_judges_numbers_as_numpy_does(one, other, atol):
    with np.errstate(all="ignore"):
        expected = holds(np.testing.assert_allclose, float(one), float(other), atol=atol)
    assert holds(stand_in(), one, other, atol=atol) == expected


@given(st.lists(NUMBERS, max_size=3) | NUMBERS, st.lists(NUMBERS, max_size=3))
def test_the_stand_in_judges_lists_as_numpy_does(one, other):
    if isinstance(one, list) and len(one) != len(other) and 1 in (len(one), len(other)):
        return  # numpy may stretch a list of one, which no test relies on
    with np.errstate(all="ignore"):
        expected = holds(np.testing.assert_allclose, np.array(one, float), np.array(other, float), atol=1e-6)
    assert holds(stand_in(), one, other, atol=1e-6) == expected
