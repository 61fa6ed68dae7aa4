"""A model on this machine: its weights checked by digest, served by llama.cpp in a child process.

Answers stream over the same HTTP client as any other endpoint's, so that latencies compare. The prompt cache is off
when text is generated, because a cached prefix would make the time to first token a fiction, and on for likelihoods,
which are never timed. Model and harness share the cores of one machine: a latency measured so holds both.
"""

from __future__ import annotations

import asyncio
import os.path
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from steelyard.errors import ProviderError
from steelyard.providers import weights
from steelyard.providers.http import Http
from steelyard.providers.interface import Done, Event, Telling
from steelyard.providers.likelihood import continuation_logprobs
from steelyard.providers.llamacpp import CONTEXT_PER_SLOT, SLOTS, LlamaServer, runtime_version
from steelyard.providers.openai import OpenAI
from steelyard.types import Failure, Likelihood, ModelSpec, Request

STALL_TIMEOUT_S = 600.0
"""Longer than over a network: on a busy laptop four long prompts may be read for minutes before a token comes."""

WORTH_WAITING_CHARACTERS = 1000
"""About 250 tokens, a second of reading on two cores."""

MAY_BE_DEAD = ("connection", "malformed", "timeout")


class Local(Telling):
    """One GGUF model. Making one finds and checks the weights; ``open`` starts the server, ``close`` ends it.

    Without a seed the repeat's index is one: a run can be repeated, and the repeats of an item differ. At a
    temperature of 0 answers may still differ by what else the server has in its batch.
    """

    streams = True

    def __init__(
        self,
        model: str,
        *,
        slots: int = SLOTS,
        context_per_slot: int = CONTEXT_PER_SLOT,
        threads: int | None = None,
    ) -> None:
        self.weights = weights.find(model)
        self.concurrency = slots
        self.runtime = f"xllamacpp/{runtime_version()}"
        self.origin = f"llama.cpp {self.runtime} sha256:{self.weights.sha256}"
        self._server = LlamaServer(
            self.weights.path,
            alias=Path(model).name.removesuffix(".gguf"),
            slots=slots,
            context_per_slot=context_per_slot,
            threads=threads,
        )
        self._slots = Slots(slots)
        self._http = Http(stall_s=STALL_TIMEOUT_S, through_proxy=False)
        self._chat: OpenAI | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, for weighing its memory."""
        return self._server.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """Every process that answers for this model."""
        return () if self.pid is None else (self.pid,)

    async def open(self) -> None:
        """Start the server and wait until the model is loaded; nothing happens where it already runs."""
        if self._chat is not None and self.pid is not None:
            return
        await self.close()
        await self._server.start()
        self._http.open()
        # llama.cpp closes a connection after a streamed reply, though its headers say that it stays open
        self._chat = OpenAI(base_url=f"{self._server.url}/v1", stall_s=STALL_TIMEOUT_S, keep_alive=False)
        await self._chat.open()

    async def close(self) -> None:
        """End the server; safe to call twice."""
        chat, self._chat = self._chat, None
        if chat is not None:
            await chat.close()
        await self._http.close()
        await self._server.stop()

    async def tell(self, request: Request, hear: Callable[[Event], None]) -> None:
        """Answer in pieces, the prompt read anew."""

        def here(event: Event) -> None:
            hear(msgspec.structs.replace(event, fingerprint=self.runtime) if isinstance(event, Done) else event)

        async with self._attributed():
            if self._chat is None:
                raise ProviderError(Failure(kind="unavailable", message="the local model was not opened"))
            await self._chat.tell(as_local(request), here)

    def with_confidence(self, request: Request) -> Request:
        """The request with its tokens' log-probabilities asked for, and no other tokens' beside them."""
        asked = {"logprobs": 1} if request.prompt.kind == "completion" else {"logprobs": True, "top_logprobs": 1}
        return msgspec.structs.replace(request, extra=asked | request.extra)

    async def likelihood(self, request: Request) -> tuple[Likelihood, ...]:
        """The log-probability of each continuation, all asked on one slot of the server."""
        prompt = request.prompt
        async with self._attributed(), self._slots.borrow(prompt.text) as slot:
            return await continuation_logprobs(self._post, prompt.text, prompt.continuations, slot=slot)

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        async with self._http.post(f"{self._server.url}{path}", body, {}) as reply:
            data, _ = await reply.read()
        try:
            return msgspec.json.decode(data)
        except msgspec.DecodeError as error:
            raise ProviderError(Failure(kind="malformed", message=f"{path}: {error}")) from error

    @asynccontextmanager
    async def _attributed(self) -> AsyncIterator[None]:
        """Say of a failed call what a local model's user needs to know: the server has died, the prompt is too long."""
        try:
            yield
        except ProviderError as error:
            raise ProviderError(await self._explained(error.failure)) from error

    async def _explained(self, failure: Failure) -> Failure:
        if failure.kind in MAY_BE_DEAD and (ending := await self._server.death()):
            message = f"the server of local/{self.weights.name} is gone: {ending}"
            return Failure(kind="unavailable", message=message)
        if failure.status == 400 and "context size" in failure.message:
            room = f"one request has room for {self._server.context_per_slot:,} tokens (prompt and answer)"
            message = f"the prompt is too long for local/{self.weights.name}: {room}. {failure.message}"
            return msgspec.structs.replace(failure, kind="rejected", message=message)
        return failure


def connect(spec: ModelSpec) -> Local:
    """The model that ``local/NAME`` or ``local/PATH.gguf`` names."""
    return Local(spec.model, **({"slots": spec.concurrency} if spec.concurrency else {}))


class Slots:
    """The server's slots, lent one item at a time: each to the text that begins most like the one it held before.

    A text that shares much more with a slot in use waits for that slot, unless another one waits for it already: to
    read a few-shot prefix again takes seconds, so one slot does, and the next one only where there is more to come.
    """

    def __init__(self, count: int) -> None:
        self._held = dict.fromkeys(range(count), "")
        self._free = set(self._held)
        self._waited_for: set[int] = set()
        self._given_back = asyncio.Event()

    @asynccontextmanager
    async def borrow(self, text: str) -> AsyncIterator[int]:
        """A slot that nobody else uses until it is given back."""
        while (slot := self._best(text)) not in self._free:
            self._waited_for.add(slot)
            try:
                await self._given_back.wait()
            finally:
                self._waited_for.discard(slot)
        self._free.remove(slot)
        self._held[slot] = text
        try:
            yield slot
        finally:
            self._free.add(slot)
            self._given_back.set()
            self._given_back = asyncio.Event()

    def _best(self, text: str) -> int:
        """The slot to use, or to wait for."""
        shared = {slot: _shared_start(held, text) for slot, held in self._held.items()}
        best = max(shared, key=shared.__getitem__)
        if not self._free:
            return best
        at_once = max(sorted(self._free), key=shared.__getitem__)
        is_worth_it = shared[best] - shared[at_once] >= WORTH_WAITING_CHARACTERS
        return best if is_worth_it and best not in self._waited_for else at_once


def _shared_start(one: str, other: str) -> int:
    """How many characters both begin with."""
    return len(os.path.commonprefix([one, other]))  # noqa: RUF071 - characters are meant, not path components


def as_local(request: Request) -> Request:
    """The request with what llama.cpp must be told for an honest clock and a repeatable answer."""
    seed = request.repeat if request.seed is None else request.seed
    return msgspec.structs.replace(request, seed=seed, extra={"cache_prompt": False} | request.extra)
