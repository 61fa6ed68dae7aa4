"""What a user names as a model or a benchmark: a word, a description, or a Python object of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from steelyard.benchmarks.benchmark import Benchmark
from steelyard.engine.run import Given
from steelyard.errors import UsageError
from steelyard.plan.names import confidence_of, parse_benchmark, parse_model
from steelyard.plan.plan import BenchmarkSpec
from steelyard.providers.function import Function
from steelyard.types import ConfidenceBy, Escalation, ModelSpec

Model = str | ModelSpec | Callable[..., Any] | Any
BenchmarkLike = str | BenchmarkSpec | Benchmark

OF_A_PROVIDER = ("streams", "concurrency", "origin")
"""What an object that can ``generate`` has beside it."""


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """Two models as one system under test: ``dear`` is asked wherever the confidence in ``cheap`` is ``below``.

    Each is a name, a ``ModelSpec``, a callable or a provider object. ``confidence``: ``logprob`` (a callable may state
    the ``confidence`` of the ``Completion`` it returns), ``agreement`` of so many ``samples``, or ``judge``, by the
    model ``judge``. See docs/cascade.md.
    """

    cheap: Model
    dear: Model
    below: float
    confidence: ConfidenceBy = "logprob"
    samples: int | None = None
    judge: Model | None = None


def several(given: Any) -> list[Any]:
    """What was given as a list; one alone is a list of one."""
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]


def model_spec(model: Model, given: Given) -> ModelSpec:
    """The model as a plan has it; an object is noted in ``given`` under its name."""
    if isinstance(model, ModelSpec):
        if isinstance(word := model.confidence, str):
            raise UsageError(
                f'{model.id}: confidence is no word here. Try: confidence=steelyard.Confidence(by="{word}")'
            )
        return model
    if isinstance(model, Cascade):
        return _together(model, given)
    if isinstance(model, str):
        return parse_model(model)
    provider = model if hasattr(model, "generate") else Function(model) if callable(model) else None
    if provider is None:
        raise UsageError(f"{model!r} is no model: give a name, a ModelSpec, a callable or a provider object")
    if missing := [name for name in OF_A_PROVIDER if not hasattr(provider, name)]:
        raise UsageError(
            f"{type(provider).__name__} is no provider: it has no {' and no '.join(missing)}. "
            "Try: as steelyard.providers.interface.Provider describes them"
        )
    name = str(getattr(provider, "name", type(provider).__name__))
    given.providers[name] = provider
    return ModelSpec(id=name, provider="object", model=name)


def _together(cascade: Cascade, given: Given) -> ModelSpec:
    """The two models as one system; objects go by their names, as they do alone."""
    cheap, dear = (model_spec(model, given) for model in (cascade.cheap, cascade.dear))
    judge = None if cascade.judge is None else model_spec(cascade.judge, given)
    how = confidence_of(cascade.confidence, samples=cascade.samples, judge=judge)
    cheap = msgspec.structs.replace(cheap, confidence=how)
    names = f"{cheap.id}>{dear.id}"
    escalation = Escalation(cheap=cheap, dear=dear, threshold=cascade.below)
    return ModelSpec(id=f"cascade/{names}", provider="cascade", model=names, cascade=escalation)


def benchmark_spec(benchmark: BenchmarkLike, given: Given) -> BenchmarkSpec:
    """The benchmark as a plan has it, likewise."""
    if isinstance(benchmark, BenchmarkSpec):
        return benchmark
    if isinstance(benchmark, str):
        return parse_benchmark(benchmark)
    given.benchmarks[benchmark.name] = benchmark
    return BenchmarkSpec(name=benchmark.name)
