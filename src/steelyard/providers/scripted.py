"""A provider that answers from a script, for tests of benchmarks, graders and the engine: no network, no model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from steelyard.errors import ProviderError
from steelyard.providers.interface import Done, Event, Text, Weighed
from steelyard.types import Completion, Failure, Likelihood, Request, Usage

Reply = str | Completion | Failure


class Scripted:
    """Answers what ``script`` returns for a request, or the same text always; a ``Failure`` is raised as one.

    ``delay_s`` passes before the first chunk, ``gap_s`` between chunks of ``chunk`` characters.
    """

    streams = True

    def __init__(
        self,
        script: Reply | Callable[[Request], Reply],
        *,
        delay_s: float = 0.0,
        gap_s: float = 0.0,
        chunk: int | None = None,
        concurrency: int = 16,
        name: str = "scripted",
    ) -> None:
        self._script = script
        self._delay_s, self._gap_s, self._chunk = delay_s, gap_s, chunk
        self.concurrency = concurrency
        self.name = name
        self.origin = f"scripted:{name}"
        self.asked: int = 0

    async def generate(self, request: Request) -> AsyncIterator[Event]:
        """Answer by the script, a chunk at a time."""
        reply = await self._reply(request)
        text = reply if isinstance(reply, str) else reply.text
        size = self._chunk or max(1, len(text))
        for start in range(0, len(text), size):
            if start and self._gap_s:
                await asyncio.sleep(self._gap_s)
            yield Text(text[start : start + size])
        usage = Usage(input_tokens=_words(request), output_tokens=len(text.split()), source="tokenizer")
        if isinstance(reply, Completion):
            usage, confidence = reply.usage, reply.confidence
            yield Done(stop_reason=reply.stop_reason or "stop", usage=usage, confidence=confidence)
        else:
            yield Done(stop_reason="stop", usage=usage)

    def with_confidence(self, request: Request) -> Request:
        """The request as it is: the script's completion states its ``confidence``, or none."""
        return request

    async def likelihood(self, request: Request) -> tuple[Likelihood, ...] | Weighed:
        """The completion's own likelihoods, or for a text a continuation's likelihood by whether it is that text."""
        reply = await self._reply(request)
        if isinstance(reply, Completion):
            return Weighed(likelihoods=reply.likelihoods, usage=reply.usage)
        return tuple(_weigh(continuation, reply) for continuation in request.prompt.continuations)

    async def _reply(self, request: Request) -> Any:
        self.asked += 1
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        reply = self._script(request) if callable(self._script) else self._script
        if isinstance(reply, Failure):
            raise ProviderError(reply)
        return reply


def _weigh(continuation: str, expected: str) -> Likelihood:
    words = continuation.strip()
    return Likelihood(
        logprob=-0.1 if words == expected.strip() else -9.0, tokens=len(words.split()) or 1, characters=len(words)
    )


def _words(request: Request) -> int:
    turns = request.prompt.messages
    return sum(len(turn.content.split()) for turn in turns) if turns else len(request.prompt.text.split())
