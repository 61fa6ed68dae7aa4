"""How a model and a benchmark are written in one word, and what that word means."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from msgspec import structs

from steelyard.benchmarks import FILE_SUFFIXES, benchmark_names
from steelyard.errors import UnknownName, UsageError
from steelyard.plan.plan import BenchmarkSpec
from steelyard.providers import is_provider, models_like, provider_names
from steelyard.types import Confidence, Escalation, ModelSpec, Price

if TYPE_CHECKING:
    from steelyard.types import ConfidenceBy

BASELINE = "baseline"
CASCADE = "cascade"
CONFIDENCES = ("logprob", "agreement", "judge")
OF_THE_USER = ("python", "object")
"""Providers that are code of the user's: what it does is known by its version alone."""
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
BARE_NAMES = (
    (re.compile(r"gpt-|chatgpt-|o[1-9](-|$)|text-davinci"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "google"),
)


def seconds(age: str | None) -> float | None:
    """``90s``, ``30m``, ``12h``, ``7d`` or ``2w`` in seconds."""
    if age is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", age)
    if found is None:
        raise UsageError(f"{age!r} is no age. Try: 12h, 7d or 2w")
    return float(found[1]) * SECONDS[found[2]]


def parse_price(text: str) -> Price:
    """``0.15/0.60`` or ``0.15/0.60/0.075``: USD per million tokens of input, output and cached input."""
    try:
        figures = [float(part) for part in text.split("/")]
    except ValueError:
        figures = []
    if len(figures) not in (2, 3) or not all(0 <= figure < math.inf for figure in figures):
        raise UsageError(f"{text!r} is no price. Try: 0.15/0.60 (USD per million tokens, input/output[/cached input])")
    return Price(input=figures[0], output=figures[1], cached_input=figures[2] if len(figures) == 3 else None)


def parse_model(word: str) -> ModelSpec:
    """``PROVIDER/MODEL``, ``baseline/FLOOR``, ``python:MODULE:FUNCTION``, ``cascade/CHEAP>DEAR``, or a bare name."""
    if word.startswith("python:"):
        return ModelSpec(id=word.removeprefix("python:"), provider="python", model=word.removeprefix("python:"))
    provider, slash, model = word.partition("/")
    if not slash:
        provider, model = _provider_of(word), word
    elif not model:
        raise UsageError(f"model {word!r} names a provider only. Try: {provider}/MODEL")
    elif provider == CASCADE:
        return cascade_of(model)
    elif not _is_known(provider):
        raise _unknown_provider(provider, word)
    return ModelSpec(id=f"{provider}/{model}", provider=provider, model=model)


def cascade_of(
    names: str, known: Mapping[str, ModelSpec] | None = None, *, threshold: float | None = None
) -> ModelSpec:
    """The system that ``CHEAP>DEAR`` names; ``known`` are models with settings, by the id that may stand for one."""
    parts = [name.strip() for name in names.split(">")]
    if len(parts) != 2 or not all(parts):
        raise UsageError(f"{names!r} is no cascade. Try: {CASCADE}/CHEAP>DEAR, in quotes, with two models")
    cheap, dear = (structs.replace((known or {}).get(name) or parse_model(name), server_pid=None) for name in parts)
    if cheap.confidence is None:
        cheap = structs.replace(cheap, confidence=Confidence(by="logprob"))
    escalation = Escalation(cheap=cheap, dear=structs.replace(dear, confidence=None), threshold=threshold)
    model = f"{cheap.id}>{dear.id}"
    return ModelSpec(id=f"{CASCADE}/{model}", provider=CASCADE, model=model, cascade=escalation)


def confidence_of(
    by: str, *, samples: int | None = None, temperature: float | None = None, judge: str | ModelSpec | None = None
) -> Confidence:
    """How answers are given a confidence, in words."""
    if by not in CONFIDENCES:
        raise UnknownName("confidence", by, CONFIDENCES)
    if (by == "agreement") < (samples is not None or temperature is not None):
        raise UsageError(f"samples are what agreement is found in, and confidence is by {by}")
    if (by == "judge") != (judge is not None):
        raise UsageError("a judge goes with confidence by judge. Try: --confidence judge --confidence-judge MODEL")
    usual = Confidence(by="agreement")
    asked = parse_model(judge) if isinstance(judge, str) else judge
    if asked is not None and (asked.cascade is not None or asked.provider == BASELINE):
        raise UsageError(f"{asked.id} cannot say whether an answer is right. Try: one model")
    return Confidence(
        by=cast("ConfidenceBy", by),
        samples=usual.samples if samples is None else samples,
        temperature=usual.temperature if temperature is None else temperature,
        judge=None if asked is None else structs.replace(asked, confidence=None),
    )


def known_providers() -> list[str]:
    """Everything that may stand before the slash of a model."""
    return [*provider_names(), BASELINE]


def check_provider(name: str) -> None:
    """Raise where no provider goes by ``name``."""
    if not _is_known(name):
        raise UnknownName("provider", name, known_providers())


def _is_known(name: str) -> bool:
    return name == BASELINE or is_provider(name)


def _maker_of(name: str) -> str | None:
    return next((provider for pattern, provider in BARE_NAMES if pattern.match(name)), None)


def _provider_of(name: str) -> str:
    if maker := _maker_of(name):
        return maker
    if _is_known(name):
        raise UsageError(f"model {name!r} names a provider only. Try: {name}/MODEL")
    if near := _near(name):
        raise UsageError(f"model {name!r} names no provider. Did you mean {' or '.join(map(repr, near))}?")
    raise UsageError(
        f"model {name!r} names no provider. Try: PROVIDER/{name} with one of {', '.join(known_providers())}"
    )


def _near(name: str) -> list[str]:
    """What a name may mean, each at its maker's where that is known, since others serve many models too."""
    pairs = (word.split("/", 1) for word in models_like(name))
    return list(dict.fromkeys(f"{_maker_of(model) or provider}/{model}" for provider, model in pairs))


def _unknown_provider(name: str, word: str) -> UsageError:
    """A slash may be part of the model's own name, which some providers' models have."""
    if near := [model for model in models_like(word) if model.endswith(f"/{word}")]:
        return UsageError(f"unknown provider {name!r}. Did you mean {' or '.join(map(repr, near))}?")
    return UnknownName("provider", name, known_providers())


def parse_benchmark(word: str) -> BenchmarkSpec:
    """``NAME``, ``NAME:PART``, ``NAME@PROTOCOL``, ``NAME:PART@PROTOCOL`` or ``FILE.jsonl[@PROTOCOL]``."""
    rest, _, protocol = word.rpartition("@") if "@" in word else (word, "", "")
    is_file = rest.endswith(FILE_SUFFIXES)
    name, _, part = (rest, "", "") if is_file else rest.partition(":")
    if not is_file and name not in benchmark_names():
        raise UnknownName("benchmark", name, benchmark_names())
    return BenchmarkSpec(name=name, part=part or None, protocol=protocol or None)
