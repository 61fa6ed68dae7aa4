"""What a protocol is: how an item is asked, and how its answer is judged."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.scoring.judge import Ask, Judge
from steelyard.types import Aggregate, Completion, Kind, Message, Prompt, Sample, Score

Grade = Callable[[Sample, Completion], Any]
Deliberate = Callable[[Sample, Completion, Ask], Awaitable[dict[str, Score]]]


class Protocol(Struct, frozen=True, kw_only=True):
    """How an item is asked and its answer judged. Name and version stand beside every score.

    ``render(sample, exemplars)`` makes the prompt (a chat may leave the worked examples to ``prompt``);
    ``grade(sample, completion)`` gives a ``Score`` per metric in ``metrics`` (one alone may be given bare: a ``Score``,
    a ``bool`` or a number from 0 to 1);
    ``reply(sample, answer)`` is the well-formed reply that gives ``answer``: from it come the floors, and the check
    that gold scores 1. ``inline`` says that grading takes microseconds and may run between two network events.
    ``exemplars`` are worked examples of the protocol's own, where they are not drawn from the dataset. ``aggregate``
    says what the headline is over a benchmark with strata: the mean over items (``micro``) or strata (``macro``).
    ``ready`` raises ``EnvironmentFault`` before the first call where this machine cannot grade. Where a model judges,
    ``judge`` says which, and ``deliberate(sample, completion, ask)`` takes the place of ``grade``.
    """

    name: str
    version: str
    kind: Kind
    render: Callable[[Sample, tuple[Sample, ...]], Prompt]
    grade: Grade
    reply: Callable[[Sample, str], str] = lambda sample, answer: answer
    metrics: tuple[str, ...] = ("accuracy",)
    description: str = ""
    shots: int = 0
    needs_choices: bool = False
    max_tokens: int | None = None
    temperature: float | None = 0.0
    stop: tuple[str, ...] = ()
    inline: bool = False
    exemplars: tuple[Sample, ...] = ()
    aggregate: Aggregate = "micro"
    ready: Callable[[], None] = lambda: None
    judge: Judge | None = None
    deliberate: Deliberate | None = None

    def prompt(self, sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
        """What is put to a model. In a chat whose ``render`` leaves the worked examples out they stand as turns."""
        asked = self.render(sample, exemplars)
        if self.kind != "chat" or not exemplars or asked != self.render(sample, ()):
            return asked
        system = list(itertools.takewhile(_is_system, asked.messages))
        turns = [turn for exemplar in exemplars for turn in self._as_turns(exemplar)]
        return Prompt(kind="chat", messages=(*system, *turns, *asked.messages[len(system) :]))

    def _as_turns(self, exemplar: Sample) -> Iterator[Message]:
        yield from itertools.dropwhile(_is_system, self.render(exemplar, ()).messages)
        yield Message(role="assistant", content=self.reply(exemplar, exemplar.target))

    def settings(self) -> dict[str, Any]:
        """What the protocol fixes, as it is stored with the run."""
        fields = ("kind", "max_tokens", "temperature", "stop", "metrics")
        fixed = {name: msgspec.to_builtins(getattr(self, name)) for name in fields}
        return fixed if self.judge is None else fixed | {"judge": self.judge.identity()}


def _is_system(turn: Message) -> bool:
    return turn.role == "system"
