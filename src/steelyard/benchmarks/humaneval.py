"""HumanEval: 164 Python functions to complete, judged by running their tests (Chen et al. 2021, arXiv 2107.03374).

Every protocol ends in one program, as the authors compose it: prompt, completion, test, ``check(entry_point)``. It runs
in the sandbox, the completion in one process and the test in another.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from steelyard.benchmarks import data
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Grade, Protocol, Selection
from steelyard.benchmarks.protocols import question
from steelyard.sandbox import Limits, Program
from steelyard.scoring import code
from steelyard.types import Completion, Message, Prompt, Sample, Score

REVISION = "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544"
LIMITS = Limits(wall_s=3.0)  # as the authors' execution.py
STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")

TEST = data.Source(
    name="humaneval",
    folder_file="humaneval/openai_humaneval/test.jsonl",
    hub_id="openai/openai_humaneval",
    hub_file="openai_humaneval/test-00000-of-00001.parquet",
    revision=REVISION,
    split="test",
    columns=("task_id", "prompt", "canonical_solution", "test", "entry_point"),
    rows=164,
    digest="47766839e6fa2760a56ebadd96c5b4543c45475232b9f9ec63c956397a798153",
)


def load(selection: Selection) -> Dataset:
    """The 164 problems in the file's order; the gold answer is the canonical solution."""
    fetched = data.fetch(TEST, selection.accept_digest)
    samples = tuple(sample_of(row, "humaneval") for row in fetched.rows)
    return Dataset(samples=samples, id="openai/openai_humaneval", revision=REVISION, digest=fetched.digest)


def sample_of(row: data.Row, benchmark: str) -> Sample:
    """A row of HumanEval's form as an item; HumanEval+ has the same columns."""
    return Sample(
        id=f"{benchmark}/{row['task_id'].rpartition('/')[2]}",
        input=row["prompt"],
        target=row["canonical_solution"],
        metadata={"test": row["test"], "entry_point": row["entry_point"]},
    )


def program(sample: Sample, completion: str) -> Program:
    """The program that decides whether ``completion`` continues the sample's prompt rightly."""
    entry_point = sample.metadata["entry_point"]
    return Program(
        code=question(sample) + completion,
        test=f"{sample.metadata['test']}\ncheck({entry_point})",
        entry_point=entry_point,
        context=question(sample),
    )


def _grader(extract: Callable[[str], str], limits: Limits) -> Grade:
    def grade(sample: Sample, completion: Completion) -> Score:
        found = extract(completion.text)
        return code.grade(program(sample, found), limits, found if completion.text.strip() else None)

    return grade


def _lm_eval_prompt(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    return Prompt(kind="completion", text=question(sample))


def _until_stop(text: str) -> str:
    """The text before the first stop string, for a provider that does not stop there by itself."""
    return text[: min((found for stop in STOP if (found := text.find(stop)) >= 0), default=len(text))]


def _lm_eval(limits: Limits) -> Protocol:
    return Protocol(
        name="lm-eval",
        version="1",
        kind="completion",
        render=_lm_eval_prompt,
        grade=_grader(_until_stop, limits),
        description="lm-eval humaneval v1: the prompt continued, up to the next top-level statement",
        max_tokens=1024,
        stop=STOP,
        ready=code.ready,
    )


def _lm_eval_instruct_prompt(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    asked = "Write a solution to the following problem and make sure that it passes the tests:"
    prompt = question(sample)
    return Prompt(
        kind="completion",
        text=f"{asked}\n```python\n{prompt}\n```\nHere is the completed function:\n```python\n{prompt}\n",
    )


def _until_fence(text: str) -> str:
    return _until_stop(text).partition("```")[0]


def _lm_eval_instruct(limits: Limits) -> Protocol:
    return Protocol(
        name="lm-eval-instruct",
        version="4",
        kind="completion",
        render=_lm_eval_instruct_prompt,
        grade=_grader(_until_fence, limits),
        reply=lambda sample, answer: f"{answer}\n```",
        description="lm-eval humaneval_instruct v4: the instruction and the begun answer as one prompt",
        max_tokens=1024,
        stop=STOP,
        ready=code.ready,
    )


SIMPLE_EVALS_INSTRUCTION = (
    "Read the following function signature and docstring, and fully implement the function described. "
    "Your response should only contain the code for this function.\n"
)
_FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)


def _simple_evals_prompt(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    content = SIMPLE_EVALS_INSTRUCTION + question(sample)
    return Prompt(kind="chat", messages=(Message(role="user", content=content),))


def simple_evals_completion(reply: str) -> str:
    """What simple-evals makes of a reply: the first fenced block, without all up to the first ``:`` of a signature.

    Kept as it is, with its faults: where no line ends in a colon before four spaces the first character is lost, and a
    helper function or class before the asked one is cut into.
    """
    fenced = _FENCED.search(reply)
    text = fenced.group(1) if fenced else reply
    return text[text.find(":\n    ") + 2 :]


def _simple_evals_reply(sample: Sample, answer: str) -> str:
    return f"```python\n{question(sample)}{answer}```"


def _simple_evals(limits: Limits) -> Protocol:
    return Protocol(
        name="simple-evals",
        version="1",
        kind="chat",
        render=_simple_evals_prompt,
        grade=_grader(simple_evals_completion, limits),
        reply=_simple_evals_reply,
        description="chat, the whole function asked for; its body is put after the prompt",
        max_tokens=2048,
        temperature=0.5,
        ready=code.ready,
    )


def protocols(limits: Limits) -> tuple[Protocol, ...]:
    """The protocols of a benchmark of this form, each test allowed ``limits``; the first is the default."""
    return _simple_evals(limits), _lm_eval(limits), _lm_eval_instruct(limits)


HUMANEVAL = Benchmark(
    name="humaneval",
    version="1",
    load=load,
    protocols=protocols(LIMITS),
    defaults={"": "simple-evals"},
    description="Python functions to complete, judged by their tests in a sandbox",
    items=164,
    licence="MIT",
    source="openai/openai_humaneval",
    revision=REVISION,
)
