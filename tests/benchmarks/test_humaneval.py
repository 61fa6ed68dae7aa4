"""HumanEval: prompts as other tools send them, completions as they read them, verdicts by running the real tests."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from command import ok as in_this_process
from command import ok_process
from steelyard import sandbox
from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.benchmark import Selection
from steelyard.benchmarks.humaneval import LIMITS, program, simple_evals_completion
from steelyard.errors import EnvironmentFault
from steelyard.sandbox import backends
from steelyard.types import Completion, Sample

HUMANEVAL = find_benchmark("humaneval")
ADD = Sample(
    id="humaneval/0",
    input='def add(a, b):\n    """Add."""\n',
    target="    return a + b\n",
    metadata={"test": "def check(candidate):\n    assert candidate(2, 3) == 5\n", "entry_point": "add"},
)


@pytest.fixture(autouse=True)
def _sandbox():
    sandbox.allow_unsafe(False)
    try:
        sandbox.choose()
    except EnvironmentFault as fault:
        pytest.skip(f"no sandbox holds on this machine: {fault}")


def grade(protocol, text, sample=ADD):
    return HUMANEVAL.protocol(protocol).grade(sample, Completion(text=text))


@pytest.fixture(scope="session")
def samples():
    if not os.environ.get("STEELYARD_DATA"):
        pytest.skip("STEELYARD_DATA is not set: the benchmarks' data is not here")
    return HUMANEVAL.dataset(Selection()).samples


@pytest.mark.data
@pytest.mark.parametrize(("body", "right"), [(None, 164), ("    pass\n", 0)])
def test_canonical_solutions_pass_and_empty_bodies_do_not(samples, body, right):
    verdicts = [sandbox.judge(program(sample, sample.target if body is None else body), LIMITS) for sample in samples]
    assert sum(verdict.passed for verdict in verdicts) == right
    assert {verdict.outcome for verdict in verdicts} == {"passed" if right else "failed"}


@pytest.mark.data
def test_a_correct_looking_body_of_another_problem_is_wrong(samples):
    shifted = [*samples[1:], samples[0]]
    verdicts = [
        sandbox.judge(program(sample, other.target), LIMITS) for sample, other in zip(samples, shifted, strict=True)
    ]
    assert sum(verdict.passed for verdict in verdicts) <= 2


@pytest.mark.data
def test_ids_and_order_are_the_file_s(samples):
    assert [sample.id for sample in samples] == [f"humaneval/{index}" for index in range(164)]
    assert samples[0].metadata["entry_point"] == "has_close_elements"


# sha256 over the first ten prompts that lm-eval 0.4.13 sends (`--write_out`), a null byte between them
LM_EVAL_PROMPTS = {
    "lm-eval": "277eb38e8ae9327c1d734f3d800594045ddfef7b14f4d9f2fe8ef1da575b1e1a",
    "lm-eval-instruct": "613aceaff9f921cd6a8e8440c2f54b470d75c4a257d42605fc07fa37f8ba2ff6",
}


@pytest.mark.data
@pytest.mark.parametrize("protocol", LM_EVAL_PROMPTS)
def test_prompts_are_byte_for_byte_those_of_lm_eval(samples, protocol):
    prompts = [HUMANEVAL.protocol(protocol).render(sample, ()).text for sample in samples[:10]]
    assert hashlib.sha256("\0".join(prompts).encode()).hexdigest() == LM_EVAL_PROMPTS[protocol]


def test_settings_are_those_of_the_tools():
    completion, instruct, chat = map(HUMANEVAL.protocol, ("lm-eval", "lm-eval-instruct", "simple-evals"))
    for protocol in (completion, instruct):
        assert protocol.stop == ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
        assert (protocol.max_tokens, protocol.temperature, protocol.kind) == (1024, 0.0, "completion")
    assert HUMANEVAL.protocol(None) is chat
    assert LIMITS.wall_s == 3.0


def test_a_chat_prompt_is_the_instruction_and_the_function():
    (message,) = HUMANEVAL.protocol("simple-evals").render(ADD, ()).messages
    assert message.content == (
        "Read the following function signature and docstring, and fully implement the function described. Your "
        'response should only contain the code for this function.\ndef add(a, b):\n    """Add."""\n'
    )


def test_what_follows_a_stop_string_is_no_part_of_the_completion():
    assert grade("lm-eval", "    return a + b\nprint(add(1, 'x'))").value == 1.0
    assert grade("lm-eval", "    return a + b\n\ndef check(candidate): pass").value == 1.0
    assert grade("lm-eval", "    return a - b").value == 0.0


def test_instructed_text_counts_up_to_the_next_fence():
    score = grade("lm-eval-instruct", "    return a + b\n```\nIt adds, as you see: 1 + 1 ==")
    assert (score.value, score.answer) == (1.0, "    return a + b\n")


@pytest.mark.parametrize(
    ("reply", "completion"),
    [
        ("```python\ndef add(a, b):\n    return a + b\n```", "    return a + b\n"),
        ("Sure:\n```python\ndef add(a, b):\n    return 1\n```\n```python\nx\n```", "    return 1\n"),
        ("def add(a, b):\n    return a + b", "    return a + b"),
        ("```python\ndef add(a, b): return a + b\n```", "ef add(a, b): return a + b\n"),  # the first letter is lost
        ("```python\ndef add(a, b):\n  return a + b\n```", "ef add(a, b):\n  return a + b\n"),
        ("", ""),
    ],
)
def test_a_chat_reply_is_cut_as_simple_evals_cuts_it(reply, completion):
    assert simple_evals_completion(reply) == completion


def test_a_score_says_what_was_run_and_why_it_failed():
    assert grade("simple-evals", "```python\ndef add(a, b):\n    return a + b\n```").reason is None
    wrong = grade("simple-evals", "def add(a, b):\n    return a - b")
    assert (wrong.value, wrong.answer) == (0.0, "    return a - b")
    assert wrong.reason == "failed: AssertionError (line 2 of the test)"
    assert grade("lm-eval", "    while True: pass").reason == "timed out: no verdict within 3 s"
    assert grade("lm-eval", "    import os; os._exit(0)").reason.startswith("crashed: left with exit code 0")
    assert grade("lm-eval", "  \n").answer is None


def test_without_a_sandbox_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(backends, "recipes", list)
    sandbox.allow_unsafe(False)
    for protocol in HUMANEVAL.protocols:
        with pytest.raises(EnvironmentFault, match="no sandbox"):
            protocol.ready()


def test_a_score_without_a_sandbox_says_so():
    sandbox.allow_unsafe()
    assert grade("lm-eval", "    return a + b").reason == "run without a sandbox"
    sandbox.allow_unsafe(False)


@pytest.mark.data
@pytest.mark.parametrize(("flags", "ok"), [([], in_this_process), (["--unsafe-code-execution"], ok_process)])
def test_a_whole_run_grades_by_execution(samples, flags, ok):
    Path("canon.py").write_text(
        "import json, os, pathlib\n"
        "path = os.environ['STEELYARD_DATA'] + '/humaneval/openai_humaneval/test.jsonl'\n"
        "rows = [json.loads(line) for line in pathlib.Path(path).read_text('utf-8').split('\\n') if line]\n"
        "def answer(prompt):\n"
        "    row = next(row for row in rows if row['prompt'] in prompt)\n"
        "    body = row['canonical_solution'] if int(row['task_id'].split('/')[1]) % 2 else '    pass\\n'\n"
        "    return '```python\\n' + row['prompt'] + body + '```'\n",
        "utf-8",
    )
    command = ("run", "humaneval", "-m", "python:canon:answer", *flags, "--order", "file", "--limit", "20", "--json")
    (cell,) = json.loads(ok(*command))["cells"]
    accuracy = cell["estimates"]["accuracy"]
    assert (accuracy["value"], accuracy["n"]) == (0.5, 20)
    assert ("unsafe" if flags else "linux-") in in_this_process("show", "--provenance")


CHANGES = [
    ("<", "<="),
    ("+ 1", "+ 2"),
    ("== 0", "!= 0"),
    ("return ", "return list() or "),
    ("True", "1"),
    ("False", "None"),
    ("[]", "()"),
    ("range(", "range(1 + "),
    ("sorted(", "list("),
    ("max(", "min("),
    ("    return", "    yield 1\n    return"),
    ("return ", "return float('nan') if 0 else "),
    ("-1", "-1.0"),
]
AS_THE_AUTHORS = """
def verdict(program):
    try:
        exec(program, {})
    except BaseException:
        return False
    return True
"""


@pytest.mark.data
@pytest.mark.long
def test_verdicts_are_those_of_the_authors_single_process(samples):
    """Changed canonical solutions, judged in two processes and as the authors do: prompt, code and test in one."""
    differing, right, judged = [], 0, 0
    for sample in samples:
        for before, after in CHANGES:
            body = sample.target.replace(before, after, 1)
            if body == sample.target:
                continue
            whole = program(sample, body)
            ours = sandbox.judge(whole, LIMITS).passed
            text = f"{whole.code}\n{whole.test}"
            theirs = sandbox.judge(
                sandbox.Program(code=AS_THE_AUTHORS, test=f"assert verdict({text!r})", entry_point="verdict"), LIMITS
            ).passed
            judged, right = judged + 1, right + ours
            if ours != theirs:
                differing.append((sample.id, before, after))
    assert judged > 700
    assert 0.2 < right / judged < 0.6
    assert differing == []
