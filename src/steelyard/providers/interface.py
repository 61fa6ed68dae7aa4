"""What a provider is: something that answers a request with a stream of events.

The engine stamps the clock on every event that carries no ``at_ns`` of its own; a provider that reads bytes from a
socket sets ``at_ns`` where the bytes arrive, before it parses them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from steelyard.types import Channel, Likelihood, Request, Usage


class FirstByte(Struct, frozen=True, kw_only=True):
    """The reply has begun: its first byte, headers included, has arrived."""

    at_ns: int | None = None


class Text(Struct, frozen=True):
    """A piece of the answer, or of the reasoning before it."""

    text: str
    channel: Channel = "answer"
    at_ns: int | None = None


class Done(Struct, frozen=True, kw_only=True):
    """The reply is complete. ``streamed`` is false where it came in one piece after all.

    ``confidence`` is the mean probability of the answer's tokens (geometric), where it was asked for.
    """

    stop_reason: str | None = None
    usage: Usage = Usage()
    model_reported: str | None = None
    fingerprint: str | None = None
    streamed: bool = True
    confidence: float | None = None
    at_ns: int | None = None


class Pause(Struct, frozen=True, kw_only=True):
    """The service says that nothing is left of one of its limits, and for how long."""

    seconds: float


class Notice(Struct, frozen=True, kw_only=True):
    """Something the user should hear once: a setting the model refused and that was left out."""

    text: str


Event = FirstByte | Text | Done | Pause | Notice


class Provider(Protocol):
    """One way to reach one model.

    ``streams``: whether text arrives piece by piece, so that TTFT and ITL mean something.
    ``concurrency``: how many requests in flight suit it, where the plan does not say.
    ``timing``: where it has this attribute, a word for times that are not the model's alone: ``indirect`` where another
    client stands between the socket and the clock.
    ``origin``: who answers, for the cache key and for provenance; never holds a secret.
    ``generate`` raises ``ProviderError`` for a call that failed; any other exception is blamed on the provider too.
    """

    streams: bool
    concurrency: int
    origin: str

    def generate(self, request: Request) -> AsyncIterator[Event]:
        """Ask once; yield what comes, in order, ending with ``Done``. No retries in here."""
        ...


class Telling:
    """A provider that tells what comes as it comes, which takes a fraction of the time of being asked for each event.

    It can be asked all the same.
    """

    async def tell(self, request: Request, hear: Callable[[Event], None]) -> None:
        """Ask once; ``hear`` what comes, in order, ending with ``Done``. Raises as ``generate`` does."""
        raise NotImplementedError

    async def generate(self, request: Request) -> AsyncIterator[Event]:
        """Ask once; yield what comes."""
        heard: asyncio.Queue[Event | None] = asyncio.Queue()
        telling = asyncio.ensure_future(self.tell(request, heard.put_nowait))
        telling.add_done_callback(lambda _: heard.put_nowait(None))
        try:
            while (event := await heard.get()) is not None:
                yield event
            await telling
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)


def teller(provider: Provider) -> Telling | None:
    """The provider as one that tells, unless somebody has made it generate in another way."""
    if not isinstance(provider, Telling):
        return None
    generate: object = type(provider).generate
    return provider if generate is Telling.generate else None


class Weighed(Struct, frozen=True, kw_only=True):
    """Every continuation's ``Likelihood`` in order, with what the service said of itself and of the tokens it took."""

    likelihoods: tuple[Likelihood, ...]
    usage: Usage = Usage()
    model_reported: str | None = None
    fingerprint: str | None = None


@runtime_checkable
class LikelihoodProvider(Protocol):
    """The optional second ability: the log-probability of each continuation of a likelihood request."""

    async def likelihood(self, request: Request) -> tuple[Likelihood, ...] | Weighed:
        """One ``Likelihood`` per continuation, in order; ``Weighed`` where more than that is known."""
        ...


@runtime_checkable
class GivesConfidence(Protocol):
    """The optional third ability: to say with an answer how probable its tokens were."""

    def with_confidence(self, request: Request) -> Request:
        """The request as it must be sent for ``Done`` to carry a ``confidence``."""
        ...


@runtime_checkable
class Probes(Protocol):
    """A provider that cannot know without asking whether its model has an ability."""

    async def probe_likelihood(self, model: str) -> None:
        """Raise ``UsageError`` where the model gives no log-likelihoods; asked once, before the first item."""
        ...


@runtime_checkable
class Learns(Protocol):
    """Something that asks a model and learns which settings it does not take."""

    @property
    def learnt(self) -> Mapping[str, str]:
        """Each setting that was asked for and is not sent as it was, with what happens instead."""
        ...


def origin_of(provider: Provider) -> str:
    """Who answers, with the version of an object that states one."""
    version = getattr(provider, "version", None)
    has_it = version is None or provider.origin.endswith(f"@{version}")
    return provider.origin if has_it else f"{provider.origin}@{version}"


def mean_probability(logprobs: Sequence[float]) -> float | None:
    """The geometric mean of tokens' probabilities, from their natural logarithms; ``None`` of none."""
    return math.exp(min(0.0, math.fsum(logprobs) / len(logprobs))) if logprobs else None


@runtime_checkable
class Opens(Protocol):
    """A provider with something to start before the first call and to end after the last: a process, a session."""

    async def open(self) -> None:
        """Make ready to answer; raise ``EnvironmentFault`` where that cannot be."""
        ...

    async def close(self) -> None:
        """Let go of everything ``open`` took; safe to call twice."""
        ...


@runtime_checkable
class OwnsProcess(Protocol):
    """A provider whose model runs in a child process on this machine, so that its memory can be weighed."""

    @property
    def pid(self) -> int | None:
        """The process to weigh, once it runs."""
        ...
