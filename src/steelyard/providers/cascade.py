"""Several models as one provider: those of a cascade, or one whose answers another one judges as it goes.

It opens them, closes them and says who they are. Whom to ask next is the engine's to decide, stage by stage, so that
each model is retried, held back, timed and paid by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from msgspec import Struct

from steelyard.errors import ProviderError, UsageError
from steelyard.providers import connect as connect_model
from steelyard.providers.interface import Event, GivesConfidence, Learns, Opens, Provider, origin_of
from steelyard.types import Failure, ModelSpec, Request

OF_THE_ANSWER = ("provider", "model", "system", "temperature", "max_tokens", "reasoning_effort", "stop", "extra")
"""Settings of a model that can change what it answers, beside who it is."""

OF_ONE_MODEL = (
    "base_url",
    "api_key_env",
    "requests_per_minute",
    "tokens_per_minute",
    "price",
    "server_pid",
    "version",
    "confidence",
)
"""Settings that a cascade has none of its own of."""


class Member(Struct, frozen=True, kw_only=True):
    """One model of several, and how it is reached."""

    spec: ModelSpec
    provider: Provider


class Several:
    """The ``members`` in the order in which they are asked."""

    streams = False

    def __init__(self, spec: ModelSpec, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        indirect = [timing for member in members if (timing := getattr(member.provider, "timing", None)) is not None]
        if indirect:
            self.timing = indirect[0]
        self.concurrency = members[0].provider.concurrency
        self.origin = f"{' > '.join(origin_of(member.provider) for member in members)}, {_digest(spec, members)}"

    @property
    def learnt(self) -> dict[str, str]:
        """What each member turned out not to take, under its name."""
        return {
            f"{member.spec.id}: {setting}": instead
            for member in self.members
            if isinstance(member.provider, Learns)
            for setting, instead in member.provider.learnt.items()
        }

    async def open(self) -> None:
        """Open every member."""
        for provider in self._opening():
            await provider.open()

    async def close(self) -> None:
        """Close every member, whatever happens to the others."""
        faults = []
        for provider in self._opening():
            try:
                await provider.close()
            except Exception as error:  # noqa: BLE001 - raised below, once the others are closed
                faults.append(error)
        if faults:
            raise faults[0]

    def generate(self, request: Request) -> AsyncIterator[Event]:
        """Refuse: one request is not enough to know whom to ask."""
        message = f"{request.model} consists of several models, which are asked in a run. Try: steelyard run"
        raise ProviderError(Failure(kind="unavailable", message=message))

    def _opening(self) -> list[Opens]:
        distinct = {id(member.provider): member.provider for member in self.members}
        return [provider for provider in distinct.values() if isinstance(provider, Opens)]


def connect(spec: ModelSpec) -> Provider:
    """The cascade that ``spec`` describes."""
    return connected(spec, connect_model)


def connected(spec: ModelSpec, reach: Callable[[ModelSpec], Provider]) -> Provider:
    """Who answers for ``spec``: one provider, or several as one; what cannot be done is refused before it is asked.

    ``reach`` gives the provider of one model.
    """
    if spec.cascade is not None:
        _check(spec)
    members = [Member(spec=asked, provider=reach(asked)) for asked in spec.asked]
    for member in members:
        _check_confidence(member)
    return members[0].provider if len(members) == 1 else Several(spec, members)


def members_of(spec: ModelSpec, provider: Provider) -> tuple[Member, ...]:
    """The models behind a provider: itself, where it is not several."""
    return provider.members if isinstance(provider, Several) else (Member(spec=spec, provider=provider),)


def _check(spec: ModelSpec) -> None:
    assert spec.cascade is not None
    cheap, dear, threshold = spec.cascade.cheap, spec.cascade.dear, spec.cascade.threshold
    if threshold is None:
        raise UsageError(
            f"{spec.id}: below which confidence is the second model asked? Try: --escalate-below 0.8, or threshold: "
            "0.8 in the plan. What a threshold would cost and gain: steelyard cascade RUN --cheap A --dear B"
        )
    if not 0 < threshold <= 1:
        raise UsageError(
            f"{spec.id}: the second model is asked below a confidence above 0 and up to 1, so {threshold:g} is no "
            "threshold"
        )
    for name in OF_ONE_MODEL:
        if getattr(spec, name) is not None:
            raise UsageError(f"{spec.id}: {name} is for one model. Try: an entry for each of the two, named by its id")
    for asked in (cheap, dear):
        if asked.cascade is not None or asked.provider == "baseline":
            raise UsageError(f"{spec.id}: {asked.id} cannot be part of a cascade. Try: two models")
        if asked.batch or spec.batch:
            raise UsageError(f"{spec.id}: an answer that another one waits for cannot come as a batch")


def _check_confidence(member: Member) -> None:
    """Raise where nobody could be sure of this model's answers in the way that was asked for."""
    spec, confidence = member.spec, member.spec.confidence
    if confidence is None:
        return
    if spec.batch:
        raise UsageError(f"{spec.id}: answers that come as a batch have no confidence. Try: without batch")
    if (confidence.by == "judge") != (confidence.judge is not None):
        raise UsageError(f"{spec.id}: confidence by a judge needs one, and only that. Try: --confidence-judge MODEL")
    if confidence.by == "logprob" and not isinstance(member.provider, GivesConfidence):
        raise UsageError(
            f"{spec.id}: {spec.provider} gives no log-probabilities of an answer's tokens. "
            "Try: --confidence agreement (several answers to each question), or --confidence judge"
        )
    if confidence.samples < 2 or not confidence.temperature > 0:
        raise UsageError(f"{spec.id}: agreement needs at least 2 samples, at a temperature above 0")


def _digest(spec: ModelSpec, members: Sequence[Member]) -> str:
    """What else decides the answer, in twelve digits: settings of each, how confidence is found, the threshold."""
    settings = [{name: getattr(member.spec, name) for name in OF_THE_ANSWER} for member in members]
    first, threshold = members[0].spec, spec.cascade.threshold if spec.cascade else None
    how = first.confidence and (first.confidence.by, first.confidence.samples, first.confidence.temperature)
    return hashlib.sha256(msgspec.json.encode([settings, how, threshold], order="sorted")).hexdigest()[:12]
