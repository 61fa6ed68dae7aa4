"""MATH-500: 500 competition problems of MATH whose answer stands in a box (Lightman et al. 2023, arXiv 2305.20050)."""

from __future__ import annotations

from steelyard.benchmarks import data
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, Selection
from steelyard.benchmarks.protocols import with_instruction
from steelyard.scoring import math_answer
from steelyard.types import Completion, Prompt, Sample, Score

REVISION = "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."

TEST = data.Source(
    name="math-500",
    folder_file="math-500/test.jsonl",
    hub_id="HuggingFaceH4/MATH-500",
    hub_file="test.jsonl",
    revision=REVISION,
    split="test",
    columns=("problem", "solution", "answer", "subject", "level", "unique_id"),
    rows=500,
    digest=None,
)


def load(selection: Selection) -> Dataset:
    """The 500 problems in the file's order; a stratum is a subject."""
    fetched = data.fetch(TEST, selection.accept_digest)
    samples = tuple(_sample(row) for row in fetched.rows)
    return Dataset(samples=samples, id=TEST.hub_id, revision=REVISION, digest=fetched.digest)


def _sample(row: data.Row) -> Sample:
    return Sample(
        id=f"math-500/{row['unique_id'].removeprefix('test/').removesuffix('.json')}",
        input=row["problem"],
        target=row["answer"],
        stratum=row["subject"],
        metadata={"level": str(row["level"])},
    )


def _render(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    return with_instruction(sample, INSTRUCTION)


def _grade(sample: Sample, completion: Completion) -> dict[str, Score]:
    """Equal in value, and equal in the field's normal form of a boxed answer: two readings of one reply."""
    return {
        "accuracy": math_answer.grade(sample.target, math_answer.final_answer(completion.text)),
        "accuracy.strict": math_answer.grade_spelling(sample.target, math_answer.boxed(completion.text)),
    }


BOXED = Protocol(
    name="boxed",
    version="1",
    kind="chat",
    render=_render,
    grade=_grade,
    reply=lambda sample, answer: f"\\boxed{{{answer}}}",
    metrics=("accuracy", "accuracy.strict"),
    description="chat, zero-shot; the boxed answer counts by its value, strict: by its spelling in normal form",
    max_tokens=16_384,
)

MATH_500 = Benchmark(
    name="math-500",
    version="1",
    load=load,
    protocols=(BOXED,),
    defaults={"": "boxed"},
    description="competition mathematics, answers of any form",
    items=TEST.rows,
    licence="MIT",
    source=TEST.hub_id,
    revision=REVISION,
    is_verified=False,
)
