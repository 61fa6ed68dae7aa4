"""Benchmarks beside the five, at pinned hub revisions whose rows have not been checked yet.

Each is listed as *unverified*: its rows have no pinned digest, so what is loaded is taken as it is and its digest is
stored with the run. ``steelyard check NAME`` on a connected machine prints the digest to pin.
"""

from __future__ import annotations

from collections.abc import Callable

from steelyard.benchmarks import data
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, Selection
from steelyard.benchmarks.protocols import cloze, free_number, letter, question
from steelyard.scoring import likelihood
from steelyard.types import Prompt, Sample

ToSample = Callable[[data.Row, int], Sample]


def _benchmark(
    source: data.Source, to_sample: ToSample, protocols: tuple[Protocol, ...], description: str, licence: str
) -> Benchmark:
    """One split as a benchmark; ``to_sample(row, index)`` says what a row means."""

    def load(selection: Selection) -> Dataset:
        fetched = data.fetch(source, selection.accept_digest)
        samples = tuple(to_sample(row, index) for index, row in enumerate(fetched.rows))
        return Dataset(
            samples=samples, id=source.hub_id, revision=source.revision, digest=fetched.digest, split=source.split
        )

    return Benchmark(
        name=source.name,
        version="1",
        load=load,
        protocols=protocols,
        description=description,
        items=source.rows,
        licence=licence,
        source=source.hub_id,
        revision=source.revision,
        is_verified=source.digest is not None,
    )


def _source(
    name: str, hub_id: str, hub_file: str, revision: str, split: str, columns: tuple[str, ...], rows: int
) -> data.Source:
    return data.Source(
        name=name,
        folder_file=f"{name}/{split}.jsonl",
        hub_id=hub_id,
        hub_file=hub_file,
        revision=revision,
        split=split,
        columns=columns,
        rows=rows,
        digest=None,
    )


def _arc(name: str) -> ToSample:
    def to_sample(row: data.Row, index: int) -> Sample:
        labels, texts = row["choices"]["label"], row["choices"]["text"]
        gold = labels.index(row["answerKey"])
        return Sample(id=f"{name}/{row['id']}", input=row["question"], target=str(gold), choices=tuple(texts))

    return to_sample


def _mmlu_pro(row: data.Row, index: int) -> Sample:
    return Sample(
        id=f"mmlu-pro/{row['question_id']}",
        input=row["question"],
        target=str(row["answer_index"]),
        choices=tuple(row["options"]),
        stratum=row["category"],
    )


def _hellaswag(row: data.Row, index: int) -> Sample:
    return Sample(
        id=f"hellaswag/{index}",
        input=row["ctx"],
        target=str(row["label"]),
        choices=tuple(row["endings"]),
        cluster=str(row["source_id"]),
    )


def _winogrande(row: data.Row, index: int) -> Sample:
    return Sample(
        id=f"winogrande/{index}",
        input=f"Which fills the blank? {row['sentence']}",
        target=str(int(row["answer"]) - 1),
        choices=(row["option1"], row["option2"]),
    )


def _truthfulqa(row: data.Row, index: int) -> Sample:
    targets = row["mc1_targets"]
    gold = list(targets["labels"]).index(1)
    return Sample(id=f"truthfulqa/{index}", input=row["question"], target=str(gold), choices=tuple(targets["choices"]))


def _aime(name: str, problem: str, answer: str) -> ToSample:
    def to_sample(row: data.Row, index: int) -> Sample:
        return Sample(id=f"{name}/{index}", input=row[problem], target=str(int(row[answer])))

    return to_sample


def _continuation(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    return Prompt(
        kind="likelihood", text=question(sample), continuations=tuple(f" {ending}" for ending in sample.choices)
    )


CONTINUATION = Protocol(
    name="continuation",
    version="1",
    kind="likelihood",
    render=_continuation,
    grade=likelihood.grade_choice,
    metrics=("accuracy", "accuracy.norm"),
    description="log-likelihood of each ending right after its context",
    needs_choices=True,
    temperature=None,
    inline=True,
)
MATHS = free_number(
    instruction="Think step by step. Give the final answer, a whole number, alone on the last line: #### NUMBER",
    max_tokens=16_384,
)

MMLU_PRO = _benchmark(
    _source(
        "mmlu-pro", "TIGER-Lab/MMLU-Pro", "data/test-00000-of-00001.parquet",
        "527feea0afed1de15a8c115abf7be4c912123315", "test",
        ("question_id", "question", "options", "answer_index", "category"), 12_032,
    ),
    _mmlu_pro, (letter(), cloze()), "harder knowledge questions with up to ten choices", "MIT",
)  # fmt: skip
ARC_CHALLENGE, ARC_EASY = (
    _benchmark(
        _source(
            name, "allenai/ai2_arc", f"{config}/test-00000-of-00001.parquet",
            "210d026faf9955653af8916fad021475a3f00453", "test", ("id", "question", "choices", "answerKey"), rows,
        ),
        _arc(name), (letter(), cloze()), "grade-school science questions", "CC BY-SA 4.0",
    )
    for name, config, rows in (("arc-challenge", "ARC-Challenge", 1_172), ("arc-easy", "ARC-Easy", 2_376))
)  # fmt: skip
HELLASWAG = _benchmark(
    _source(
        "hellaswag", "Rowan/hellaswag", "data/validation-00000-of-00001.parquet",
        "218ec52e09a7e7462a5400043bb9a69a41d06b76", "validation", ("ctx", "endings", "label", "source_id"), 10_042,
    ),
    _hellaswag, (letter(), CONTINUATION), "how an everyday scene goes on", "MIT",
)  # fmt: skip
WINOGRANDE = _benchmark(
    _source(
        "winogrande", "allenai/winogrande", "winogrande_xl/validation-00000-of-00001.parquet",
        "01e74176c63542e6b0bcb004dcdea22d94fb67b5", "validation", ("sentence", "option1", "option2", "answer"), 1_267,
    ),
    _winogrande, (letter(),), "which of two nouns a blank stands for", "CC BY 4.0",
)  # fmt: skip
TRUTHFULQA = _benchmark(
    _source(
        "truthfulqa", "truthfulqa/truthful_qa", "multiple_choice/validation-00000-of-00001.parquet",
        "741b8276f2d1982aa3d5b832d3ee81ed3b896490", "validation", ("question", "mc1_targets"), 817,
    ),
    _truthfulqa, (letter(), cloze()), "questions that invite a common falsehood; one true choice", "Apache-2.0",
)  # fmt: skip
AIME_2024 = _benchmark(
    _source(
        "aime-2024", "Maxwell-Jia/AIME_2024", "aime_2024_problems.parquet",
        "8d88b2876a82a080e2f172cc9b25d0d9d2cb4792", "train", ("Problem", "Answer"), 30,
    ),
    _aime("aime-2024", "Problem", "Answer"), (MATHS,), "competition mathematics, whole-number answers", "MIT",
)  # fmt: skip
AIME_2025 = _benchmark(
    _source(
        "aime-2025", "math-ai/aime25", "test.jsonl",
        "563bb8404243c5f09de6ec262f2db674fe5bce9b", "test", ("problem", "answer"), 30,
    ),
    _aime("aime-2025", "problem", "answer"), (MATHS,), "competition mathematics, whole-number answers", "Apache-2.0",
)  # fmt: skip
