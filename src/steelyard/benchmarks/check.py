"""Conformance of a benchmark: gold answers score 1, empty ones 0, counts and digests are the pinned ones.

An item without choices and with an empty target has no gold answer; of it only the empty answer is checked.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, Selection, scores_of
from steelyard.benchmarks.floors import one_hot
from steelyard.types import Completion, Sample

GENERATED_CHECKED = 500


class Conformance(Struct, frozen=True, kw_only=True):
    """What the check of one benchmark under one protocol found; ``gold`` and ``empty`` are mean scores.

    ``gold`` is ``None`` where no item has a gold answer.
    """

    benchmark: str
    protocol: str
    split: str
    items: int
    gold: float | None
    empty: float
    digest: str
    ok: bool
    problem: str | None = None


def check_benchmark(benchmark: Benchmark, selection: Selection) -> list[Conformance]:
    """Check every protocol that suits the items; nothing is sent anywhere."""
    part = selection.part
    dataset = benchmark.dataset(selection)
    samples = dataset.samples[:GENERATED_CHECKED] if benchmark.is_endless(part) else dataset.samples
    protocols = benchmark.protocols or (benchmark.protocol(None),)
    alone = [protocol for protocol in protocols if protocol.judge is None]  # a judge would have to be asked
    suiting = [protocol for protocol in alone if samples[0].choices or not protocol.needs_choices]
    return [_check(benchmark, part, dataset, protocol, samples) for protocol in suiting]


def _check(
    benchmark: Benchmark, part: str | None, dataset: Dataset, protocol: Protocol, samples: Iterable[Sample]
) -> Conformance:
    items = list(samples)
    golds = [_headline(protocol, sample, _gold(protocol, sample)) if _has_gold(sample) else None for sample in items]
    known = [gold for gold in golds if gold is not None]
    empties = [_headline(protocol, sample, Completion(stop_reason="stop")) for sample in items]
    problem = _first_problem(items, golds, empties)
    if benchmark.items and part is None and len(items) != benchmark.items:
        problem = f"{len(items)} items, expected {benchmark.items}"
    return Conformance(
        benchmark=benchmark.name + (f":{part}" if part else ""),
        protocol=protocol.name,
        split=dataset.split,
        items=len(items),
        gold=sum(known) / len(known) if known else None,
        empty=sum(empties) / len(items),
        digest=dataset.digest,
        ok=problem is None,
        problem=problem,
    )


def _has_gold(sample: Sample) -> bool:
    return bool(sample.target or sample.choices)


def _gold(protocol: Protocol, sample: Sample) -> Completion:
    if protocol.kind == "likelihood":
        return Completion(likelihoods=one_hot(len(sample.choices), int(sample.target)))
    return Completion(text=protocol.reply(sample, sample.target), stop_reason="stop")


def _headline(protocol: Protocol, sample: Sample, completion: Completion) -> float:
    return scores_of(protocol, protocol.grade(sample, completion))[protocol.metrics[0]].value or 0.0


def _first_problem(items: list[Sample], golds: list[float | None], empties: list[float]) -> str | None:
    for sample, gold, empty in zip(items, golds, empties, strict=True):
        if gold is not None and gold != 1.0:
            return f"{sample.id}: the gold answer scores {gold}"
        if empty != 0.0:
            return f"{sample.id}: an empty answer scores {empty}"
    return None
