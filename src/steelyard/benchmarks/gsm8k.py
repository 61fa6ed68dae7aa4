"""GSM8K: 1,319 grade-school word problems whose answer is a number (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

import functools
import random
import re

from steelyard.benchmarks import data
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Grade, Protocol, Selection
from steelyard.benchmarks.chain_of_thought import WEI_EXEMPLARS
from steelyard.benchmarks.protocols import free_number, question
from steelyard.types import Completion, Prompt, Sample, Score

REVISION = "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"
FEWSHOT_SEED = 1234


def _source(split: str, rows: int, digest: str) -> data.Source:
    return data.Source(
        name="gsm8k",
        folder_file=f"gsm8k/main/{split}.jsonl",
        hub_id="openai/gsm8k",
        hub_file=f"main/{split}-00000-of-00001.parquet",
        revision=REVISION,
        split=split,
        columns=("question", "answer"),
        rows=rows,
        digest=digest,
    )


TEST = _source("test", 1_319, "3fb31cfaeb4e270b7a44e0f3d244d96494e3c0956e699a1670ba24af1522cabd")
TRAIN = _source("train", 7_473, "f23d761f3315a79bf59eb4deeda29ed369ca66e29f9f495e1a5d6403a446ba3d")


def load(selection: Selection) -> Dataset:
    """The test split, or the training split as ``gsm8k:train``."""
    split = selection.part or "test"
    fetched = data.fetch(TRAIN if split == "train" else TEST, selection.accept_digest)
    samples = _samples(fetched.rows, split)

    @functools.cache
    def train() -> tuple[Sample, ...]:
        return _samples(data.fetch(TRAIN, selection.accept_digest).rows, "train")

    @functools.cache
    def draws(shots: int) -> list[list[int]]:
        return _draws(len(samples), len(train()), shots)

    def exemplars(position: int, shots: int) -> tuple[Sample, ...]:
        return tuple(train()[index] for index in draws(shots)[position])

    return Dataset(
        samples=samples, id="openai/gsm8k", revision=REVISION, digest=fetched.digest, split=split, exemplars=exemplars
    )


def _draws(items: int, pool: int, shots: int) -> list[list[int]]:
    """lm-eval's draw: one generator for the whole split, item after item in file order."""
    generator = random.Random(FEWSHOT_SEED)
    return [generator.sample(range(pool), shots) for _ in range(items)]


def _samples(rows: list[data.Row], split: str) -> tuple[Sample, ...]:
    return tuple(_sample(row, f"gsm8k/{split}/{index}") for index, row in enumerate(rows))


def _sample(row: data.Row, name: str) -> Sample:
    solution = row["answer"]
    return Sample(
        id=name,
        input=row["question"],
        target=solution.rpartition("#### ")[2].strip(),
        metadata={"solution": solution},
    )


def _lm_eval_prompt(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    worked = [f"Question: {question(exemplar)}\nAnswer: {exemplar.metadata['solution']}\n\n" for exemplar in exemplars]
    return Prompt(kind="completion", text="".join([*worked, f"Question: {question(sample)}\nAnswer:"]))


_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_STRICT_COT = re.compile(r"The answer is (\-?[0-9\.\,]+).")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = (re.compile(","), re.compile(r"\$"), re.compile(r"(?s).*#### "), re.compile(r"\.$"))


def _lm_eval_grader(strict_form: re.Pattern[str]) -> Grade:
    def grade(sample: Sample, completion: Completion) -> dict[str, Score]:
        """Both of lm-eval's filters from one generation; ``flexible-extract`` is the headline."""
        strict = strict_form.findall(completion.text)
        flexible = ["".join(groups) for groups in _FLEXIBLE.findall(completion.text)]
        return {
            "accuracy": _lm_eval_match(sample, flexible[-1] if flexible else None),
            "accuracy.strict": _lm_eval_match(sample, strict[0] if strict else None),
        }

    return grade


def _lm_eval_match(sample: Sample, answer: str | None) -> Score:
    if answer is None:
        return Score(value=0.0, answer=None, reason="[invalid]")
    return Score(value=float(_stripped(answer) == _stripped(sample.metadata["solution"])), answer=answer)


def _stripped(text: str) -> str:
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return text.lower()


LM_EVAL = Protocol(
    name="lm-eval",
    version="3",
    kind="completion",
    render=_lm_eval_prompt,
    grade=_lm_eval_grader(_STRICT),
    reply=lambda sample, answer: f" #### {answer}",
    metrics=("accuracy", "accuracy.strict"),
    description="lm-eval gsm8k v3: 5-shot completion, flexible and strict extraction",
    shots=5,
    max_tokens=256,
    stop=("Question:", "</s>", "<|im_end|>"),
    inline=True,
)


def _cot_prompt(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    worked = [f"Q: {question(exemplar)}\nA: {exemplar.metadata['solution']}\n\n" for exemplar in exemplars]
    return Prompt(kind="completion", text="".join([*worked, f"Q: {question(sample)}\nA:"]))


LM_EVAL_COT = Protocol(
    name="lm-eval-cot",
    version="3",
    kind="completion",
    render=_cot_prompt,
    grade=_lm_eval_grader(_STRICT_COT),
    reply=lambda sample, answer: f" The answer is {answer}.",
    metrics=("accuracy", "accuracy.strict"),
    description="lm-eval gsm8k_cot v3: 8 fixed chains of thought, flexible and strict extraction",
    exemplars=WEI_EXEMPLARS,
    shots=8,
    max_tokens=256,
    stop=("Q:", "</s>", "<|im_end|>"),
    inline=True,
)

ZERO_SHOT = free_number(
    instruction="Think step by step. Give the final answer alone on the last line, in the form: #### NUMBER"
)

GSM8K = Benchmark(
    name="gsm8k",
    version="1",
    load=load,
    protocols=(ZERO_SHOT, LM_EVAL, LM_EVAL_COT),
    defaults={"": "zero-shot"},
    parts=("train",),
    description="grade-school word problems, the answer is a number",
    items=1_319,
    licence="MIT",
    source="openai/gsm8k",
    revision=REVISION,
)
