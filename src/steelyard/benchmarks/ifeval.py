"""IFEval: 541 prompts with 834 instructions that a program can verify (Zhou et al. 2023, arXiv 2311.07911).

A prompt is right when all its instructions are followed. Strict takes the reply as it is, loose also without its first
line, its last one and its asterisks; both are told of prompts and of instructions, as the authors do.
"""

from __future__ import annotations

import json
from typing import Any

from steelyard.benchmarks import data
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, Selection, ask
from steelyard.errors import DataError
from steelyard.scoring import instructions, language
from steelyard.scoring.reply import visible
from steelyard.types import Completion, Sample, Score

REVISION = "966cd89545d6b6acfd7638bc708b98261ca58e84"

TRAIN = data.Source(
    name="ifeval",
    folder_file="ifeval/train.jsonl",
    hub_id="google/IFEval",
    hub_file="ifeval_input_data.jsonl",
    revision=REVISION,
    split="train",
    columns=("key", "prompt", "instruction_id_list", "kwargs"),
    rows=541,
    digest=None,
)


def load(selection: Selection) -> Dataset:
    """The 541 prompts in the file's order. There are no gold answers."""
    fetched = data.fetch(TRAIN, selection.accept_digest)
    samples = tuple(_sample(row) for row in fetched.rows)
    return Dataset(samples=samples, id=TRAIN.hub_id, revision=REVISION, digest=fetched.digest, split="train")


def _sample(row: data.Row) -> Sample:
    """The instructions stand in the metadata as JSON: a list of name and arguments."""
    asked = [
        (name, {key: value for key, value in arguments.items() if value is not None})
        for name, arguments in zip(row["instruction_id_list"], row["kwargs"], strict=True)
    ]
    if unknown := [name for name, _ in asked if name not in instructions.CHECKS]:
        raise DataError(f"ifeval: prompt {row['key']} has an instruction that is not known here: {unknown[0]}")
    return Sample(
        id=f"ifeval/{row['key']}", input=row["prompt"], target="", metadata={"instructions": json.dumps(asked)}
    )


def _grade(sample: Sample, completion: Completion) -> dict[str, Score]:
    asked: list[tuple[str, dict[str, Any]]] = json.loads(sample.metadata["instructions"])
    shown = visible(completion.text)
    reply = shown if shown == completion.text else shown.strip()
    strict = [instructions.is_followed(name, arguments, reply) for name, arguments in asked]
    loose = [instructions.is_followed_loosely(name, arguments, reply) for name, arguments in asked]
    answer = "" if reply.strip() else None
    missed = ", ".join(name for (name, _), followed in zip(asked, strict, strict=True) if not followed)
    return {
        "accuracy": Score(
            value=float(all(strict)), answer=answer, reason=f"not followed: {missed}" if missed else None
        ),
        "accuracy.loose": Score(value=float(all(loose)), answer=answer),
        "instructions.strict": Score(value=sum(strict) / len(asked), answer=answer),
        "instructions.loose": Score(value=sum(loose) / len(asked), answer=answer),
        "instructions.asked": Score(value=float(len(asked)), answer=answer),
    }


ZERO_SHOT = Protocol(
    name="zero-shot",
    version="1",
    kind="chat",
    render=ask,
    grade=_grade,
    metrics=("accuracy", "accuracy.loose", "instructions.strict", "instructions.loose", "instructions.asked"),
    description="the prompt as it is; prompts and instructions followed, strictly and loosely",
    max_tokens=2_048,
    ready=language.ready,
)

IFEVAL = Benchmark(
    name="ifeval",
    version="1",
    load=load,
    protocols=(ZERO_SHOT,),
    defaults={"": "zero-shot"},
    description="instructions that a program can verify, such as length, words and form",
    items=TRAIN.rows,
    licence="Apache-2.0",
    source=TRAIN.hub_id,
    revision=REVISION,
    is_verified=False,
)
