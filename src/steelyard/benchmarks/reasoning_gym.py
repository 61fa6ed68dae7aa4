"""Reasoning Gym: fresh tasks without end from some hundred generators, each with its own scorer (arXiv 2505.24760).

``reasoning-gym:leg_counting`` and its like need ``--limit``. The package makes item ``i`` of a seed, and makes it again
where a stored answer is judged, since the scorer wants the whole item. A few generators make another one in another
process; that is noticed by the question, which stands in the item's name as six digits of its digest.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import threading
from typing import Any

from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, Selection, digest_of
from steelyard.benchmarks.protocols import with_instruction
from steelyard.errors import EnvironmentFault, UnknownName, UsageError
from steelyard.scoring.reply import visible
from steelyard.types import Completion, Prompt, Sample, Score

SEEDS_APART = (
    1_000_000  # the package makes item i of seed s as item 0 of seed s + i: neighbours would share their items
)
SIZE = 1_000  # what a generator is told; some draw differently for another size, so it grows only where it must
OPENING, CLOSING = "<answer>", "</answer>"
NOT_ALONE = ("composite",)  # made of other generators, which it has to be told
INSTRUCTION = (
    f"Think step by step. Then give the final answer alone, in the form asked for, between {OPENING} and {CLOSING}."
)

_quiet = threading.Lock()  # of two who overlap, each would put back what the other has put there


def load(selection: Selection) -> Dataset:
    """The first items of one generator and seed; a larger limit goes on where a smaller one ended."""
    if selection.part is None or selection.limit is None:
        raise UsageError(
            "reasoning-gym is a collection of generators: name one. Try: reasoning-gym:leg_counting --limit 100"
        )
    size = max(SIZE, selection.limit)
    samples = tuple(_sample(selection, size, index) for index in range(selection.limit))
    return Dataset(
        samples=samples,
        id=f"reasoning-gym:{selection.part}",
        revision=f"{importlib.metadata.version('reasoning-gym')} seed {selection.seed}",
        digest=digest_of(samples[:100]),
        split="generated",
    )


def _sample(selection: Selection, size: int, index: int) -> Sample:
    entry = _entry(str(selection.part), selection.seed, size, index)
    asked = hashlib.sha256(entry["question"].encode()).hexdigest()[:6]
    return Sample(
        id=f"reasoning-gym/{selection.part}/{selection.seed}.{index}.{asked}",
        input=entry["question"],
        target=entry["answer"] or "",
        metadata={
            "generator": str(selection.part),
            "seed": str(selection.seed),
            "size": str(size),
            "index": str(index),
        },
    )


@functools.lru_cache(maxsize=10_000)
def _entry(name: str, seed: int, size: int, index: int) -> dict[str, Any]:
    """One item with all that its scorer needs. A generator may print as it works, which is not for our output."""
    with _quiet, contextlib.redirect_stdout(io.StringIO()):
        found: dict[str, Any] = _generator(name, seed, size)[index]
    return found


@functools.lru_cache(maxsize=8)
def _generator(name: str, seed: int, size: int) -> Any:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise EnvironmentFault(
            "reasoning-gym is made by a package that is not here. Try: pip install 'steelyard[reasoning-gym]'"
        ) from error
    known = sorted(set(DATASETS) - set(NOT_ALONE))
    if name not in known:
        raise UnknownName("generator of reasoning-gym", name, known)
    return reasoning_gym.create_dataset(name, seed=seed * SEEDS_APART % 2**32, size=size)


def _render(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    return with_instruction(sample, INSTRUCTION)


def answer_in(reply: str) -> str | None:
    """What stands between the last pair of answer tags."""
    before, closed, _ = visible(reply).rpartition(CLOSING)
    _, opened, answer = before.rpartition(OPENING)
    return answer.strip() if opened and closed and answer.strip() else None


def _grade(sample: Sample, completion: Completion) -> dict[str, Score]:
    """The generator's own score, which may give a part of the marks; strict: full marks or none."""
    answer = answer_in(completion.text)
    if answer is None:
        nothing = Score(value=0.0, answer=None, reason=f"nothing between {OPENING} and {CLOSING}")
        return {"accuracy": nothing, "accuracy.strict": nothing}
    told = sample.metadata
    made_by = told["generator"], int(told["seed"]), int(told["size"])
    entry = _entry(*made_by, int(told["index"]))
    if entry["question"] != sample.input:
        other = Score(value=None, answer=answer, reason="not scored: the generator makes another item here now")
        return {"accuracy": other, "accuracy.strict": other}
    value = min(1.0, max(0.0, float(_generator(*made_by).score_answer(answer, entry))))
    return {
        "accuracy": Score(value=value, answer=answer),
        "accuracy.strict": Score(value=float(value == 1.0), answer=answer),
    }


TAGGED = Protocol(
    name="tagged",
    version="1",
    kind="chat",
    render=_render,
    grade=_grade,
    reply=lambda sample, answer: f"{OPENING}{answer}{CLOSING}",
    metrics=("accuracy", "accuracy.strict"),
    description="chat, zero-shot; the answer between tags by the generator's own scorer, strict: full marks only",
    max_tokens=4_096,
)

REASONING_GYM = Benchmark(
    name="reasoning-gym",
    version="1",
    load=load,
    protocols=(TAGGED,),
    any_part=True,
    description="endless fresh reasoning tasks; a generator's name follows the colon",
    licence="Apache-2.0",
    source="package reasoning-gym",
    is_verified=False,
)
