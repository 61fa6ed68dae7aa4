"""What anybody scores without thinking: a random, a constant and the most common answer.

A floor is answered here, by the benchmark's own knowledge of choices and golds; no provider and no clock is involved,
so a floor has no latency and no cost.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from steelyard.benchmarks.benchmark import Protocol
from steelyard.errors import UnknownName, UsageError
from steelyard.types import Completion, Likelihood, Sample

FLOORS = ("random", "constant", "majority")
POOL = 2_000


class Floor:
    """One floor over one set of items: ``answer`` gives the completion that scores what the floor scores."""

    def __init__(self, name: str, protocol: Protocol, samples: Sequence[Sample], seed: int) -> None:
        kind, _, text = name.partition(":")
        if kind not in FLOORS:
            raise UnknownName("floor", name, FLOORS)
        self._kind, self._protocol, self._seed = kind, protocol, seed
        self._golds = [sample.target for sample in samples[:POOL]]
        self._common = Counter(self._golds).most_common(1)[0][0]
        self._constant = text or self._default_constant(samples[0])

    def answer(self, sample: Sample, repeat: int) -> Completion:
        """The completion that gives this floor's answer to ``sample``."""
        answer = self._pick(sample, repeat)
        if self._protocol.kind == "likelihood":
            return Completion(likelihoods=one_hot(len(sample.choices), int(answer)), stop_reason="stop")
        return Completion(text=self._protocol.reply(sample, answer), stop_reason="stop")

    def _pick(self, sample: Sample, repeat: int) -> str:
        if self._kind == "constant":
            return self._constant
        if self._kind == "majority":
            return self._common
        draw = random.Random(f"{self._seed}/{sample.id}/{repeat}")
        return str(draw.randrange(len(sample.choices))) if sample.choices else draw.choice(self._golds)

    def _default_constant(self, sample: Sample) -> str:
        if sample.choices:
            return "0"
        if self._kind == "constant":
            raise UsageError("baseline/constant needs a text where there are no choices. Try: baseline/constant:42")
        return ""


def one_hot(count: int, index: int) -> tuple[Likelihood, ...]:
    """Likelihoods that choose ``index`` and nothing else."""
    return tuple(Likelihood(logprob=0.0 if i == index else -1e9, tokens=1, characters=1) for i in range(count))
