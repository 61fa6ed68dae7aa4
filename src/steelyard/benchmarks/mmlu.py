"""MMLU: 14,042 four-choice questions in 57 subjects (Hendrycks et al. 2021, arXiv 2009.03300)."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from steelyard.benchmarks import data
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, Selection
from steelyard.benchmarks.protocols import LETTERS, cloze, letter, question, simple_evals
from steelyard.scoring import likelihood
from steelyard.types import Prompt, Sample

REVISION = "c30699e8356da336a370243923dbaf21066bb9fe"
COLUMNS = ("question", "subject", "choices", "answer")
GROUPS = {
    "stem": tuple(
        "abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science "
        "college_mathematics college_physics computer_security conceptual_physics electrical_engineering "
        "elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science "
        "high_school_mathematics high_school_physics high_school_statistics machine_learning".split()
    ),
    "humanities": tuple(
        "formal_logic high_school_european_history high_school_us_history high_school_world_history "
        "international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory "
        "professional_law world_religions".split()
    ),
    "social_sciences": tuple(
        "econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics "
        "high_school_microeconomics high_school_psychology human_sexuality professional_psychology "
        "public_relations security_studies sociology us_foreign_policy".split()
    ),
    "other": tuple(
        "business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing "
        "medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology".split()
    ),
}
SUBJECTS = tuple(sorted(subject for subjects in GROUPS.values() for subject in subjects))


def _source(split: str, rows: int, digest: str) -> data.Source:
    return data.Source(
        name="mmlu",
        folder_file=f"mmlu/all/{split}.jsonl",
        hub_id="cais/mmlu",
        hub_file=f"all/{split}-00000-of-00001.parquet",
        revision=REVISION,
        split=split,
        columns=COLUMNS,
        rows=rows,
        digest=digest,
    )


TEST = _source("test", 14_042, "75ee6ab178ff2f54f1f54d1f9c5e0548c0f005111f5607e552c6a5d21f5cb2c0")
DEV = _source("dev", 285, "3b25fce1ee3a9d47fe679c4d45208f1dd8ce355630377f8402db1008ab891296")


def load(selection: Selection) -> Dataset:
    """All subjects in the file's order, or the one that ``selection.part`` names."""
    test = data.fetch(TEST, selection.accept_digest)
    samples = _samples(test.rows, selection.part, _flags(test.rows))

    @functools.cache
    def dev() -> dict[str, tuple[Sample, ...]]:
        worked: dict[str, tuple[Sample, ...]] = {}
        for exemplar in _samples(data.fetch(DEV, selection.accept_digest).rows, selection.part, {}):
            subject = str(exemplar.stratum)
            worked[subject] = (*worked.get(subject, ()), exemplar)
        return worked

    def exemplars(position: int, shots: int) -> tuple[Sample, ...]:
        return dev()[str(samples[position].stratum)][:shots]

    return Dataset(samples=samples, id="cais/mmlu", revision=REVISION, digest=test.digest, exemplars=exemplars)


def _flags(rows: list[data.Row]) -> dict[str, tuple[str, ...]]:
    """What is known of single items: later copies of a row, and the labels of MMLU-Redux where they lie in the folder.

    ``redux`` marks the items that MMLU-Redux has looked at (Gema et al. 2024, arXiv 2406.04127), ``redux_ok`` those it
    found no fault with.
    """
    flags: dict[str, tuple[str, ...]] = {}
    seen: set[tuple[str, ...]] = set()
    for name, row in _named(rows):
        words = (row["question"], *row["choices"])
        if words in seen:
            flags[name] = ("duplicate",)
        seen.add(words)
    for label in data.optional_rows("mmlu/redux_labels.jsonl"):
        name = f"mmlu/{label['subject']}/{label['index']}"
        found = ("redux", "redux_ok") if label["error_type"] == "ok" else ("redux",)
        flags[name] = (*flags.get(name, ()), *found)
    return flags


def _samples(rows: list[data.Row], part: str | None, flags: dict[str, tuple[str, ...]]) -> tuple[Sample, ...]:
    return tuple(
        _sample(row, name, flags.get(name, ())) for name, row in _named(rows) if part in (None, row["subject"])
    )


def _named(rows: list[data.Row]) -> Iterator[tuple[str, data.Row]]:
    """Each row with its id: the subject and the place within it."""
    counts: dict[str, int] = {}
    for row in rows:
        subject = row["subject"]
        index = counts[subject] = counts.get(subject, -1) + 1
        yield f"mmlu/{subject}/{index}", row


def _sample(row: data.Row, name: str, flags: tuple[str, ...]) -> Sample:
    return Sample(
        id=name,
        input=row["question"],
        target=str(row["answer"]),
        choices=tuple(row["choices"]),
        stratum=row["subject"],
        flags=flags,
    )


def _header(sample: Sample) -> str:
    return f"The following are questions (with answers) about {str(sample.stratum).replace('_', ' ')}.\n\n"


def _lettered(sample: Sample) -> str:
    options = "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, sample.choices, strict=False))
    return f"{question(sample).strip()}{options}\nAnswer:"


def _lm_eval_prompt(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    subject = str(sample.stratum).replace("_", " ")
    header = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
    worked = [f"{_lettered(exemplar)} {LETTERS[int(exemplar.target)]}\n\n" for exemplar in exemplars]
    return Prompt(
        kind="likelihood",
        text="".join([header, *worked, _lettered(sample)]),
        continuations=tuple(f" {letter}" for letter in LETTERS[: len(sample.choices)]),
    )


LM_EVAL = Protocol(
    name="lm-eval",
    version="1",
    kind="likelihood",
    render=_lm_eval_prompt,
    grade=lambda sample, completion: {"accuracy": likelihood.grade_choice(sample, completion)["accuracy"]},
    description="lm-eval mmlu v1: log-likelihood of the letters after the listed choices (5 shots are usual)",
    needs_choices=True,
    temperature=None,
    inline=True,
)

MMLU = Benchmark(
    name="mmlu",
    version="1",
    load=load,
    protocols=(simple_evals(), LM_EVAL, cloze(_header), letter()),
    defaults={"": "simple-evals"},
    parts=SUBJECTS,
    stratified=True,
    groups=GROUPS,
    description="knowledge in 57 subjects, four choices",
    items=14_042,
    licence="MIT",
    source="cais/mmlu",
    revision=REVISION,
)
