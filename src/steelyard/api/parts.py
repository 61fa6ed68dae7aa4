"""The parts of a run by themselves: the items of a benchmark, one model asked one thing, answers graded."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from steelyard.api.given import Model, model_spec
from steelyard.api.synchronous import synchronous
from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.benchmark import Selection, scores_of
from steelyard.engine.asking.attempts import Asker, RetryPolicy
from steelyard.engine.run import Given
from steelyard.engine.stage import opened
from steelyard.errors import ProviderError, UnknownName, UsageError
from steelyard.plan.names import parse_benchmark
from steelyard.providers import connect
from steelyard.types import Completion, Estimate, Failure, Message, Prompt, Request, Sample


def load_dataset(name: str, *, limit: int | None = None, seed: int = 0) -> list[Sample]:
    """The items of a benchmark in file order; the first ``limit`` of them."""
    spec = parse_benchmark(name)
    benchmark = find_benchmark(spec.name)
    samples = benchmark.dataset(Selection(part=spec.part, seed=seed, limit=limit)).samples
    return list(samples[: len(samples) if limit is None else limit])


async def run_model_async(model: Model, prompt: str | Sequence[Message], **settings: Any) -> Completion:
    """Ask one model one thing and return what came back, with its timing and usage.

    ``settings`` are those of a ``ModelSpec`` (``temperature``, ``max_tokens``, ``system``, ``base_url``, ...).
    Raises ``ProviderError`` where the call failed.
    """
    given = Given()
    spec = msgspec.structs.replace(model_spec(model, given), **settings)
    if spec.cascade is not None:
        raise UsageError(f"{spec.id} is two models, which are asked in a run. Try: steelyard.run")
    provider = given.providers.get(spec.id) or connect(spec)
    turns = (Message(role="user", content=prompt),) if isinstance(prompt, str) else tuple(prompt)
    if spec.system:
        turns = (Message(role="system", content=spec.system), *turns)
    request = Request(
        model=spec.model,
        prompt=Prompt(kind="chat", messages=turns),
        temperature=spec.temperature,
        max_tokens=spec.max_tokens,
        stop=spec.stop,
        reasoning_effort=spec.reasoning_effort,
        extra=spec.extra,
    )
    async with opened([provider]):
        asker = Asker(provider, timeout_s=spec.timeout_s, policy=RetryPolicy(), generator=random.Random())
        outcome = await asker.ask(request)
    if outcome.completion is None:
        raise ProviderError(outcome.failure or Failure(kind="provider", message="no answer"))
    return outcome.completion


run_model = synchronous("run_model", run_model_async)


def calculate_metrics(
    predictions: Sequence[str], truth: Sequence[str], *, grader: str = "exact"
) -> dict[str, Estimate]:
    """Grade answers that are already there: accuracy with its interval, and the share without an answer.

    ``grader`` is one of those of a JSON Lines file: ``exact``, ``contains``, ``number``, ``regex``.
    """
    from steelyard.benchmarks.own import GRADERS
    from steelyard.stats import wilson_interval

    if len(predictions) != len(truth):
        raise UsageError(f"{len(predictions)} predictions for {len(truth)} answers")
    of_texts = [name for name, known in GRADERS.items() if not known.needs_choices and name != "code"]
    if grader not in of_texts:
        raise UnknownName("grader", grader, of_texts)
    protocol = GRADERS[grader]
    judged = [
        scores_of(protocol, protocol.grade(Sample(id=str(i), input="", target=gold), Completion(text=text)))
        for i, (text, gold) in enumerate(zip(predictions, truth, strict=True))
    ]
    shares = {metric: sum(bool(scores[metric].value) for scores in judged) for metric in protocol.metrics} | {
        "unparsed": sum(scores[protocol.metrics[0]].answer is None for scores in judged)
    }
    return {metric: _share(metric, count, len(judged), wilson_interval) for metric, count in shares.items()}


def _share(metric: str, count: int, n: int, interval_of: Callable[..., Any]) -> Estimate:
    if n == 0:
        return Estimate(metric=metric, value=None, n=0, method="wilson", unit="share", status="no items")
    interval = interval_of(successes=count, n=n, confidence=0.95)
    return Estimate(
        metric=metric,
        value=count / n,
        low=interval.low,
        high=interval.high,
        level=0.95,
        n=n,
        method="wilson",
        unit="share",
    )
