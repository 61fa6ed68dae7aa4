"""MBPP: short Python tasks, each told in a sentence and three asserts (Austin et al. 2021, arXiv 2108.07732).

``mbpp`` is the test split of 500; ``mbpp:sanitized`` the 257 of it that the authors went through by hand and reworded.
An answer is a program; its asserts run in the sandbox in a process of their own, as HumanEval's tests do.
"""

from __future__ import annotations

import ast
import functools
import re

from steelyard.benchmarks import data
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, Selection
from steelyard.benchmarks.protocols import question
from steelyard.sandbox import Limits, Program
from steelyard.scoring import code
from steelyard.scoring.reply import visible
from steelyard.types import Completion, Message, Prompt, Sample, Score

REVISION = "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
LIMITS = Limits(wall_s=3.0)  # as HumanEval, and as lm-eval's code_eval
EXEMPLAR_IDS = (2, 3, 4)
OBJECTS = "takes-objects"


def _source(config: str, split: str, rows: int, columns: tuple[str, ...]) -> data.Source:
    return data.Source(
        name="mbpp",
        folder_file=f"mbpp/{config}/{split}.jsonl",
        hub_id="google-research-datasets/mbpp",
        hub_file=f"{config}/{split}-00000-of-00001.parquet",
        revision=REVISION,
        split=split,
        columns=columns,
        rows=rows,
        digest=None,
    )


FULL_COLUMNS = ("task_id", "text", "code", "test_list", "test_setup_code")
TEST = _source("full", "test", 500, FULL_COLUMNS)
EXEMPLARS = _source("full", "prompt", 10, FULL_COLUMNS)
SANITIZED = _source("sanitized", "test", 257, ("task_id", "prompt", "code", "test_list", "test_imports"))


def load(selection: Selection) -> Dataset:
    """The test split, or the sanitized one; the gold answer is the authors' program."""
    source = SANITIZED if selection.part == "sanitized" else TEST
    prefix = "mbpp/sanitized" if selection.part == "sanitized" else "mbpp"
    fetched = data.fetch(source, selection.accept_digest)
    samples = tuple(_sample(row, f"{prefix}/{row['task_id']}") for row in fetched.rows)

    @functools.cache
    def shown() -> tuple[Sample, ...]:
        rows = {row["task_id"]: row for row in data.fetch(EXEMPLARS, selection.accept_digest).rows}
        return tuple(_sample(rows[number], f"mbpp/prompt/{number}") for number in EXEMPLAR_IDS)

    return Dataset(
        samples=samples,
        id=source.hub_id,
        revision=REVISION,
        digest=fetched.digest,
        split=selection.part or "test",
        exemplars=lambda position, shots: shown()[:shots],
    )


def _sample(row: data.Row, name: str) -> Sample:
    setup = row["test_setup_code"] if "test_setup_code" in row else "\n".join(row["test_imports"])
    tests = "\n".join(test.strip() for test in row["test_list"])
    functions, classes = _defined(row["code"])
    called = [name for name in _names_called(tests) if name in functions]
    takes_objects = not classes.isdisjoint(_names_called(f"{setup}\n{tests}"))
    return Sample(
        id=name,
        input=row["text"] if "text" in row else row["prompt"],
        target=row["code"],
        flags=(OBJECTS,) if takes_objects else (),
        metadata={
            "setup": setup,
            "tests": tests,
            "shown": "\n".join(row["test_list"][:3]),
            "entry_point": called[0] if called else "",
        },
    )


def _defined(program: str) -> tuple[set[str], set[str]]:
    """The names of functions and of classes at the top of the authors' program; a function may be a lambda."""
    body = ast.parse(program).body
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    assigned = (node.targets[0] for node in body if isinstance(node, ast.Assign))
    functions |= {target.id for target in assigned if isinstance(target, ast.Name)}
    return functions, {node.name for node in body if isinstance(node, ast.ClassDef)}


def _names_called(test: str) -> list[str]:
    """The names that a test calls, from the outermost inwards."""
    calls = (node.func for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Call))
    return [called.id for called in calls if isinstance(called, ast.Name)]


def _graded(sample: Sample, reply: str, program: str) -> Score:
    if OBJECTS in sample.flags:
        return Score(
            value=None, answer=program, reason="not scored: its asserts pass objects of the answer's own class"
        )
    tested = Program(
        code=program,
        test=f"{sample.metadata['setup']}\n{sample.metadata['tests']}",
        entry_point=sample.metadata["entry_point"],
    )
    return code.grade(tested, LIMITS, program if reply.strip() else None)


_BLOCK = re.compile(r"```(?:[Pp]y(?:thon)?3?)?[^\S\n]*\n(.*?)```", re.DOTALL)


def program_in(reply: str) -> str:
    """The last fenced block that defines something, else the last one, else the whole reply."""
    text = visible(reply)
    blocks: list[str] = _BLOCK.findall(text)
    defining = [block for block in blocks if "def " in block or "lambda" in block]
    return (defining or blocks or [text])[-1]


def _zero_shot_prompt(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    content = (
        f"You are an expert Python programmer, and here is your task: {question(sample)} "
        f"Your code should pass these tests:\n\n{sample.metadata['tests']}\n\n"
        "Give the complete program, with its imports and without the tests, in one ```python block."
    )
    return Prompt(kind="chat", messages=(Message(role="user", content=content),))


def _zero_shot_grade(sample: Sample, completion: Completion) -> Score:
    return _graded(sample, completion.text, program_in(completion.text))


ZERO_SHOT = Protocol(
    name="zero-shot",
    version="1",
    kind="chat",
    render=_zero_shot_prompt,
    grade=_zero_shot_grade,
    reply=lambda sample, answer: f"```python\n{answer}\n```",
    description="chat, the task with its asserts; the last fenced block counts",
    max_tokens=2048,
    ready=code.ready,
)

STOP = ("[DONE]",)


def _task(sample: Sample) -> str:
    return (
        f"You are an expert Python programmer, and here is your task: {question(sample)} "
        f"Your code should pass these tests:\n\n{sample.metadata['shown']}\n[BEGIN]\n"
    )


def _lm_eval_prompt(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    worked = [f"{_task(exemplar)}{exemplar.target}\n[DONE]\n\n" for exemplar in exemplars]
    return Prompt(kind="completion", text="".join([*worked, _task(sample)]))


def _lm_eval_grade(sample: Sample, completion: Completion) -> Score:
    return _graded(sample, completion.text, completion.text.partition(STOP[0])[0])


LM_EVAL = Protocol(
    name="lm-eval",
    version="1",
    kind="completion",
    render=_lm_eval_prompt,
    grade=_lm_eval_grade,
    reply=lambda sample, answer: f"{answer}\n[DONE]",
    description="lm-eval mbpp v1: 3-shot completion between [BEGIN] and [DONE]",
    shots=3,
    max_tokens=256,
    stop=STOP,
    ready=code.ready,
)

MBPP = Benchmark(
    name="mbpp",
    version="1",
    load=load,
    protocols=(ZERO_SHOT, LM_EVAL),
    defaults={"": "zero-shot"},
    parts=("sanitized",),
    description="short Python tasks with three asserts each, judged in a sandbox",
    items=TEST.rows,
    licence="CC BY 4.0",
    source=TEST.hub_id,
    revision=REVISION,
    is_verified=False,
)
