"""GPQA: graduate-level questions that a search does not answer (Rein et al. 2023, arXiv 2311.12022).

The authors ask that no item appear in plain text where it could be crawled: items are read in memory from the authors'
encrypted archive or from the gated hub repository, and are shown nowhere unless the user asks for it.
"""

from __future__ import annotations

import functools
import random

import msgspec

from steelyard.benchmarks import data
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, Selection
from steelyard.benchmarks.protocols import LETTERS, question, simple_evals
from steelyard.scoring import likelihood
from steelyard.types import Prompt, Sample

REVISION = "633f5ee89ab8ad4522a9f850766b73f62147ffdd"
CORRECT, *INCORRECT = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
COLUMNS = ("Record ID", "Question", CORRECT, *INCORRECT, "High-level domain", "Canary String")
PARTS = {
    "main": (448, "01df8d0b3b1e6daedb4e33ccd6f9785f67134c1b2ce5db48a6ecd0b02ccc5d1a"),
    "diamond": (198, "792ed51dd7f62efc5fd75b81286025635b6587e9b84c180e6a3ee81b3398d54a"),
    "extended": (546, "392b1a9981948be166f9820a098ff95f90111f7679d7aab16ff9475c630eca4f"),
}
"""Each part with its rows and their digest; diamond lies within main, main within extended."""

FEWSHOT_SEED = 1234
PASSWORD = "deserted-untie-orchid"  # noqa: S105 - its authors print it: it keeps crawlers out, not readers


def load(selection: Selection) -> Dataset:
    """The main set, or the part that ``selection.part`` names; the choices' order depends on seed and record alone."""
    part = selection.part or "main"
    fetched = data.fetch(_source(part), selection.accept_digest)
    samples = tuple(_sample(row, selection.seed) for row in fetched.rows)
    drawn = functools.cache(functools.partial(_drawn, len(samples)))
    return Dataset(
        samples=samples,
        id="Idavidrein/gpqa",
        revision=REVISION,
        digest=fetched.digest,
        split=part,
        exemplars=lambda position, shots: tuple(samples[place] for place in drawn(shots)[position]),
    )


def _drawn(items: int, shots: int) -> list[list[int]]:
    """lm-eval's draw from the items themselves: one generator, item after item in file order, the item left out."""
    generator = random.Random(FEWSHOT_SEED)
    if shots >= items:
        return [[]] * items
    draws = (generator.sample(range(items), shots + 1) for _ in range(items))
    return [[place for place in draw if place != position][:shots] for position, draw in enumerate(draws)]


def _source(part: str) -> data.Source:
    rows, digest = PARTS[part]
    return data.Source(
        name=f"gpqa:{part}",
        folder_file="gpqa/dataset.zip",
        member=f"dataset/gpqa_{part}.csv",
        password=PASSWORD,
        hub_id="Idavidrein/gpqa",
        hub_file=f"gpqa_{part}.csv",
        revision=REVISION,
        split="train",
        columns=COLUMNS,
        rows=rows,
        digest=digest,
    )


def _sample(row: data.Row, seed: int) -> Sample:
    """The authors put the right answer first; here each record has an order of its own, and gold is found by place."""
    order = [0, 1, 2, 3]
    random.Random(f"gpqa/{seed}/{row['Record ID']}").shuffle(order)
    texts = [row[CORRECT], *(row[column] for column in INCORRECT)]
    return Sample(
        id=f"gpqa/{row['Record ID']}",
        input=row["Question"],
        target=str(order.index(0)),
        choices=tuple(texts[place] for place in order),
        stratum=row["High-level domain"],
        metadata={"canary": row["Canary String"]},
    )


_MARKS = tuple(f"({letter})" for letter in LETTERS[:4])


def _cleaned(text: str) -> str:
    """lm-eval's ``preprocess`` of a choice, version 2.2."""
    return text.strip().replace(" [title]", ". ").replace("  ", " ")


def _lm_eval_text(sample: Sample, lead: str) -> str:
    listed = "\n".join(f"{mark} {_cleaned(text)}" for mark, text in zip(_MARKS, sample.choices, strict=True))
    return f"{lead}{question(sample)}\nChoices:\n{listed}\nAnswer:"


def _lm_eval_prompt(lead: str, header: str, sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    worked = [f"{_lm_eval_text(exemplar, lead)} {_MARKS[int(exemplar.target)]}\n\n" for exemplar in exemplars]
    return Prompt(
        kind="likelihood",
        text="".join([header, *worked, _lm_eval_text(sample, lead)]),
        continuations=tuple(f" {mark}" for mark in _MARKS),
    )


LM_EVAL = Protocol(
    name="lm-eval",
    version="2.2",
    kind="likelihood",
    render=functools.partial(_lm_eval_prompt, "What is the correct answer to this question:", ""),
    grade=likelihood.grade_choice,
    metrics=("accuracy", "accuracy.norm"),
    description="lm-eval gpqa_*_zeroshot v2.2, choices in an order of our own: log-likelihood of (A) to (D)",
    needs_choices=True,
    temperature=None,
    inline=True,
)

N_SHOT_HEADER = (
    "Here are some example questions from experts. Answer the final question yourself, following the format of the "
    "previous questions exactly.\n"
)

LM_EVAL_N_SHOT = msgspec.structs.replace(
    LM_EVAL,
    name="lm-eval-n-shot",
    render=functools.partial(_lm_eval_prompt, "Question: ", N_SHOT_HEADER),
    description="lm-eval gpqa_*_n_shot v2.2 with 5 shots, choices in an order of our own",
    shots=5,
)

GPQA = Benchmark(
    name="gpqa",
    version="1",
    load=load,
    protocols=(simple_evals(), LM_EVAL, LM_EVAL_N_SHOT),
    defaults={"": "simple-evals"},
    parts=tuple(PARTS),
    stratified=True,
    confidential=True,
    description="graduate-level physics, chemistry and biology, four choices; items are not shown",
    items=448,
    licence="CC BY 4.0",
    source="Idavidrein/gpqa (gated)",
    revision=REVISION,
)
