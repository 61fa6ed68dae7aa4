"""What a benchmark is: items to ask, and named protocols that say how they are asked and judged.

Both are values. A benchmark of one's own is one ``Benchmark`` with a ``load`` and a ``grade``; the built-in ones add
protocols, parts and pinned data in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.benchmarks.judged import judged
from steelyard.benchmarks.protocol import Deliberate as Deliberate  # whoever makes a benchmark finds it all here
from steelyard.benchmarks.protocol import Grade as Grade
from steelyard.benchmarks.protocol import Protocol as Protocol
from steelyard.errors import DataError, UnknownName, UsageError
from steelyard.scoring.judge import Judge
from steelyard.types import Message, Prompt, Sample, Score

Exemplars = Callable[[int, int], tuple[Sample, ...]]


class Selection(Struct, frozen=True, kw_only=True):
    """What is wanted of a benchmark: which part, which seed for generated items, which digest to accept."""

    part: str | None = None
    seed: int = 0
    limit: int | None = None
    accept_digest: str | None = None


class Dataset(Struct, frozen=True, kw_only=True):
    """The items of one benchmark in the file's own order, and where they are from.

    ``exemplars(position, shots)`` gives the worked examples that stand before the item at ``position``.
    """

    samples: Sequence[Sample]
    id: str
    digest: str
    revision: str | None = None
    split: str = "test"
    exemplars: Exemplars | None = None


class Benchmark(Struct, frozen=True, kw_only=True):
    """A set of items with its protocols.

    ``load(selection)`` returns a ``Dataset``, or simply a sequence of samples. ``grade`` is the short form for a
    benchmark with one protocol: it judges the answer to ``sample.input`` sent as one user message, by a function or a
    ``Judge``. ``parts`` are the names that may follow a colon; ``defaults`` maps a part to its default protocol
    (``""``: the rest). ``endless`` parts are generated and need a limit; with ``any_part`` the loader knows which parts
    there are, and all are endless. ``stratified``: a sample is drawn evenly over
    the strata. ``groups`` are named sets of strata that get a score of their own; ``families`` are strata that a macro
    mean counts as one (their mean). ``is_verified``: the rows were held against a pinned digest once. ``confidential``
    items are shown nowhere unless the user asks by a flag. ``notes`` are what the user should hear before anything is
    asked.
    """

    name: str
    version: str
    load: Callable[[Selection], Dataset | Sequence[Sample]]
    grade: Grade | Judge | None = None
    protocols: tuple[Protocol, ...] = ()
    defaults: dict[str, str] = {}
    parts: tuple[str, ...] = ()
    endless: tuple[str, ...] = ()
    any_part: bool = False
    stratified: bool = False
    groups: dict[str, tuple[str, ...]] = {}
    families: dict[str, tuple[str, ...]] = {}
    confidential: bool = False
    description: str = ""
    items: int | None = None
    licence: str | None = None
    source: str | None = None
    revision: str | None = None
    is_verified: bool = True
    notes: tuple[str, ...] = ()

    def protocol(self, name: str | None, part: str | None = None) -> Protocol:
        """The protocol called ``name``, or the default one of ``part``."""
        known = {protocol.name: protocol for protocol in self.protocols or (self._only(),)}
        wanted = name or self.defaults.get(part or "") or self.defaults.get("") or next(iter(known))
        if wanted not in known:
            raise UnknownName(f"protocol of {self.name}", wanted, known)
        return known[wanted]

    def dataset(self, selection: Selection) -> Dataset:
        """Load the items; a bare sequence becomes a dataset whose digest covers every sample."""
        self._check_part(selection)
        loaded = self.load(selection)
        if isinstance(loaded, Dataset):
            return loaded
        if not loaded:
            raise DataError(f"{self.name}: no items. Try: check what load() returns")
        samples = tuple(loaded)
        names = {sample.id for sample in samples}
        if len(names) < len(samples):
            raise DataError(f"{self.name}: {len(samples) - len(names)} items share an id with another one")
        return Dataset(samples=samples, id=f"{self.name}/{self.version}", digest=digest_of(samples))

    def is_endless(self, part: str | None) -> bool:
        """Whether the part is generated, so that there is no end to its items."""
        return part in self.endless or (self.any_part and part is not None)

    def _check_part(self, selection: Selection) -> None:
        part = selection.part
        if part is not None and part not in self.parts and not self.any_part:
            raise UnknownName(f"part of {self.name}", part, self.parts)
        if self.is_endless(part) and selection.limit is None:
            raise UsageError(f"{self.name}:{part} is generated without end: say how many items. Try: --limit 100")

    def _only(self) -> Protocol:
        if self.grade is None:
            raise UsageError(f"benchmark {self.name!r} has neither protocols nor a grade function")
        if isinstance(self.grade, Judge):
            return judged(self.grade, ask)
        return Protocol(name="default", version=self.version, kind="chat", render=ask, grade=self.grade)


def ask(sample: Sample, exemplars: tuple[Sample, ...] = ()) -> Prompt:
    """The sample's own words as a chat: one user message, or the messages it holds."""
    turns = (Message(role="user", content=sample.input),) if isinstance(sample.input, str) else sample.input
    return Prompt(kind="chat", messages=turns)


def scores_of(protocol: Protocol, judged: Any) -> dict[str, Score]:
    """What a grade function returned, in full: a score per metric, of which the first is a share of what is right."""
    if not isinstance(judged, dict | Score):
        judged = Score(value=float(judged), answer="")
    scores = judged if isinstance(judged, dict) else {protocol.metrics[0]: judged}
    first = scores.get(protocol.metrics[0])
    if first is not None and first.value is not None and not 0 <= first.value <= 1:
        raise ValueError(f"{protocol.metrics[0]} is a number from 0 to 1, not {first.value:g}")
    return scores


def digest_of(samples: Sequence[Sample]) -> str:
    """sha256 over the samples' JSON, one a line."""
    total = hashlib.sha256()
    for sample in samples:
        total.update(msgspec.json.encode(sample, order="sorted") + b"\n")
    return total.hexdigest()
