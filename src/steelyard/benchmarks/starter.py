"""The starter benchmark: it ships with Steelyard, needs no download, and anybody may read it.

The fixed set holds four-choice questions written for this project. ``starter:arithmetic`` and ``starter:symbolic``
are generated from a seed, item by item on demand, so there is no end to fresh ones.
"""

from __future__ import annotations

import importlib.resources
import json
import random
from collections.abc import Callable, Sequence
from typing import overload

import msgspec

from steelyard.benchmarks.benchmark import Benchmark, Dataset, Selection, digest_of
from steelyard.benchmarks.protocols import cloze, free_text, letter
from steelyard.scoring import exact, number
from steelyard.types import Completion, Sample, Score

SUBJECTS = (
    "geography",
    "history",
    "biology",
    "physics",
    "chemistry",
    "mathematics",
    "language",
    "everyday_reasoning",
    "computing",
    "arts_and_culture",
    "economics_and_society",
)
GENERATED_ITEMS = 1_000_000
FILE = "data/starter.jsonl"


def load(selection: Selection) -> Dataset:
    """The fixed set, one subject of it, or a generated part."""
    if selection.part in PROBLEMS:
        return _generated(selection.part, selection.seed)
    samples = tuple(sample for sample in _fixed() if selection.part in (None, sample.stratum))
    return Dataset(samples=samples, id="steelyard/starter", revision="1", digest=digest_of(samples))


def _fixed() -> list[Sample]:
    text = importlib.resources.files("steelyard.benchmarks").joinpath(FILE).read_text("utf-8")
    counts: dict[str, int] = {}
    samples = []
    for line in text.split("\n"):
        if not line:
            continue
        row = json.loads(line)
        index = counts[row["subject"]] = counts.get(row["subject"], -1) + 1
        samples.append(
            Sample(
                id=f"starter/{row['subject']}/{index}",
                input=row["question"],
                target=str(row["answer"]),
                choices=tuple(row["choices"]),
                stratum=row["subject"],
            )
        )
    return samples


class Generated(Sequence[Sample]):
    """Items that are made when they are asked for: item ``i`` depends on the part, the seed and ``i`` alone."""

    def __init__(self, part: str, seed: int, length: int = GENERATED_ITEMS) -> None:
        self._part, self._seed, self._length = part, seed, length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        if not 0 <= index < self._length:
            raise IndexError(index)
        draw = random.Random(f"{self._part}/{self._seed}/{index}")
        kind = draw.choice(PROBLEMS[self._part])
        question, answer = kind(draw)
        return Sample(
            id=f"starter/{self._part}/{self._seed}.{index}",
            input=question,
            target=answer,
            stratum=kind.__name__.strip("_"),
        )


def _generated(part: str, seed: int) -> Dataset:
    samples = Generated(part, seed)
    return Dataset(
        samples=samples,
        id=f"steelyard/starter:{part}",
        revision=f"1 seed {seed}",
        digest=digest_of(samples[:100]),
        split="generated",
    )


Problem = Callable[[random.Random], tuple[str, str]]


def _sum(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randint(10, 999), draw.randint(10, 999)
    return f"What is {a} + {b}?", str(a + b)


def _difference(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randint(10, 999), draw.randint(10, 999)
    return f"What is {a} - {b}?", str(a - b)


def _product(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randint(2, 99), draw.randint(2, 12)
    return f"What is {a} times {b}?", str(a * b)


def _expression(draw: random.Random) -> tuple[str, str]:
    a, b, c, d = (draw.randint(2, 20) for _ in range(4))
    return f"What is ({a} + {b}) * {c} - {d}?", str((a + b) * c - d)


def _shopping(draw: random.Random) -> tuple[str, str]:
    count, price, paid_with = draw.randint(2, 9), draw.randint(2, 15), draw.choice((150, 200, 500))
    item = draw.choice(("notebooks", "lamps", "tickets", "plants", "cups"))
    story = f"Mira buys {count} {item} at {price} dollars each and pays with {paid_with} dollars."
    return f"{story} How many dollars does she get back?", str(paid_with - count * price)


def _remainder(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randint(30, 400), draw.randint(3, 12)
    return f"What is the remainder when {a} is divided by {b}?", str(a % b)


WORDS = (
    "river candle orange window planet garden silver button market winter pencil thunder basket copper forest "
    "island jacket kitten ladder mirror needle pepper rabbit saddle tunnel velvet walnut yellow zipper anchor"
).split()


def _reversed(draw: random.Random) -> tuple[str, str]:
    word = draw.choice(WORDS)
    return f'Write the word "{word}" backwards. Give only the result.', word[::-1]


def _sorted(draw: random.Random) -> tuple[str, str]:
    words = draw.sample(WORDS, draw.randint(3, 5))
    return f"Sort these words alphabetically, separated by spaces: {' '.join(words)}. Give only the result.", " ".join(
        sorted(words)
    )


def _next_letter(draw: random.Random) -> tuple[str, str]:
    step, start = draw.randint(1, 4), draw.randint(0, 5)
    letters = [chr(ord("A") + start + step * i) for i in range(5)]
    return f"Which letter comes next: {', '.join(letters[:4])}? Give only the letter.", letters[4]


def _truth(draw: random.Random) -> tuple[str, str]:
    a, b, c = (draw.random() < 0.5 for _ in range(3))
    first, second = draw.choice(("and", "or")), draw.choice(("and", "or"))
    left = (a and b) if first == "and" else (a or b)
    value = (left and not c) if second == "and" else (left or not c)
    return f"Is (({a} {first} {b}) {second} not {c}) True or False? Give only the word.", str(value)


def _count_letter(draw: random.Random) -> tuple[str, str]:
    word = draw.choice(WORDS)
    letter_asked = draw.choice(sorted(set(word)))
    question = f'How many times does the letter "{letter_asked}" occur in "{word}"? Give only the number.'
    return question, str(word.count(letter_asked))


PROBLEMS: dict[str, tuple[Problem, ...]] = {
    "arithmetic": (_sum, _difference, _product, _expression, _shopping, _remainder),
    "symbolic": (_reversed, _sorted, _next_letter, _truth, _count_letter),
}


def _grade_generated(sample: Sample, completion: Completion) -> Score:
    """A number is compared as a number wherever it stands last in the reply, a word as a word."""
    if number.as_decimal(sample.target) is not None:
        return number.grade(sample.target, number.final_number(completion.text))
    return exact.grade(completion.text, sample.target, exact.same)


GENERATE = msgspec.structs.replace(
    free_text("generate", exact.same, "chat; the last number, or the words as a whole"),
    grade=_grade_generated,
    max_tokens=256,
)

STARTER = Benchmark(
    name="starter",
    version="1",
    load=load,
    protocols=(letter(), cloze(), GENERATE),
    defaults={"": "letter", "arithmetic": "generate", "symbolic": "generate"},
    parts=(*SUBJECTS, *PROBLEMS),
    endless=tuple(PROBLEMS),
    stratified=True,
    description="general knowledge and reasoning, ships with Steelyard; :arithmetic and :symbolic are generated",
    items=176,
    licence="Apache-2.0",
    source="package",
    revision="1",
)
