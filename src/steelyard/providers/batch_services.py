"""The batch APIs of OpenAI and Anthropic. No time is measured in here: what is asked is asked through aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec

from steelyard.errors import ProviderError, UsageError
from steelyard.providers import anthropic, openai
from steelyard.providers.batches import Answered, BatchService, Progress, Ticket, custom_id, index_of
from steelyard.providers.endpoint import Dialect, key_headers, malformed, merged
from steelyard.providers.http import Piece, Reply
from steelyard.providers.interface import Done, Text
from steelyard.providers.refusals import classify, error_message
from steelyard.providers.services import address_of, key_of
from steelyard.secrets import scrub
from steelyard.types import Completion, Failure, ModelSpec, Request

CLOCKS_DIFFER_S = 300.0
MOST_LISTED = 100
TIMEOUT = aiohttp.ClientTimeout(total=600.0, sock_connect=30.0)

TAKE_BATCHES = ("openai", "anthropic")
OPENAI_IS_OVER = ("completed", "failed", "expired", "cancelled")


def batch_service(spec: ModelSpec) -> BatchService:
    """The batch API of a model's provider."""
    if spec.provider not in TAKE_BATCHES:
        raise UsageError(f"{spec.id}: {spec.provider} takes no batches here. Known: {', '.join(TAKE_BATCHES)}")
    address = address_of(spec).rstrip("/")
    if spec.provider == "openai":
        return OpenAIBatches(address, key_headers(key_of(spec)))
    headers = {"anthropic-version": anthropic.VERSION, **key_headers(key_of(spec), "x-api-key")}
    return AnthropicBatches(f"{address.removesuffix('/v1')}/v1", headers)


class OpenAIBatches:
    """A file of requests is uploaded, then a batch is made of it; the label stands in the batch's metadata."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self._http = _Json(base_url, headers)

    async def submit(self, ticket: Ticket, requests: Sequence[Request]) -> str:
        """Upload, which costs nothing and may be done twice; then make the batch, once."""
        kinds = {request.prompt.kind for request in requests}
        endpoint = "/v1/completions" if kinds == {"completion"} else "/v1/chat/completions"
        lines = [
            {
                "custom_id": custom_id(ticket, index),
                "method": "POST",
                "url": endpoint,
                "body": _body(openai.CHAT, asked),
            }
            for index, asked in enumerate(requests)
        ]
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", b"\n".join(map(msgspec.json.encode, lines)), filename=f"{ticket.label}.jsonl")
        uploaded = await self._http.post("/files", form)
        made = await self._http.post(
            "/batches",
            {
                "input_file_id": _named(uploaded),
                "endpoint": endpoint,
                "completion_window": "24h",
                "metadata": {"steelyard": ticket.label},
            },
        )
        return _named(made)

    async def find(self, ticket: Ticket) -> str | None:
        """The batch whose metadata holds the label, among all that are not older than the ticket."""
        after = ""
        while True:
            page = await self._http.get(f"/batches?limit={MOST_LISTED}{after}")
            batches = page.get("data") or []
            for batch in batches:
                if (batch.get("metadata") or {}).get("steelyard") == ticket.label:
                    return _named(batch)
            is_older = batches and batches[-1].get("created_at", 0) < ticket.meant_at_s - CLOCKS_DIFFER_S
            if not page.get("has_more") or not batches or is_older:
                return None
            after = f"&after={_named(batches[-1])}"

    async def progress(self, batch: str) -> Progress:
        """How far it is; one that failed as a whole was never begun."""
        told = await self._http.get(f"/batches/{batch}")
        status = told.get("status")
        failure = None
        if status == "failed":
            errors = (told.get("errors") or {}).get("data") or [{}]
            failure = Failure(kind="rejected", message=scrub(f"the batch was refused: {errors[0].get('message')}"))
        answered = (told.get("request_counts") or {}).get("completed")
        return Progress(is_over=status in OPENAI_IS_OVER, answered=answered, failure=failure)

    async def answers(self, ticket: Ticket) -> AsyncIterator[Answered]:
        """The lines of both files: those that were answered and those that were not."""
        told = await self._http.get(f"/batches/{ticket.batch}")
        for file in (told.get("output_file_id"), told.get("error_file_id")):
            if file:
                async for line in self._http.lines(f"/files/{file}/content"):
                    index = index_of(ticket, str(line.get("custom_id")))
                    if index is not None:
                        yield await _openai_answer(index, line)


class AnthropicBatches:
    """Requests go within the batch. It has no label of its own: its requests' names have."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self._http = _Json(base_url, headers)

    async def submit(self, ticket: Ticket, requests: Sequence[Request]) -> str:
        """Hand in, once."""
        entries = [
            {"custom_id": custom_id(ticket, index), "params": _body(anthropic.MESSAGES, asked)}
            for index, asked in enumerate(requests)
        ]
        return _named(await self._http.post("/messages/batches", {"requests": entries}))

    async def find(self, ticket: Ticket) -> str | None:
        """The first batch of as many requests that was made since the ticket was; of one that is over, by its names."""
        found = None
        after = ""
        while True:
            page = await self._http.get(f"/messages/batches?limit={MOST_LISTED}{after}")
            batches = page.get("data") or []
            for batch in batches:
                made_s = datetime.fromisoformat(str(batch["created_at"])).astimezone(UTC).timestamp()
                if made_s < ticket.meant_at_s - CLOCKS_DIFFER_S:
                    return found
                if sum((batch.get("request_counts") or {}).values()) == ticket.requests and await self._is(
                    ticket, batch
                ):
                    found = _named(batch)
            if not page.get("has_more") or not batches:
                return found
            after = f"&after_id={_named(batches[-1])}"

    async def _is(self, ticket: Ticket, batch: dict[str, Any]) -> bool:
        """Whether the batch may be the ticket's: one that still works does not show its requests' names."""
        if batch.get("processing_status") != "ended":
            return True
        async for line in self._http.lines(f"/messages/batches/{_named(batch)}/results"):
            return index_of(ticket, str(line.get("custom_id"))) is not None
        return False

    async def progress(self, batch: str) -> Progress:
        """How far it is; counts are told only when it is over."""
        told = await self._http.get(f"/messages/batches/{batch}")
        answered = (told.get("request_counts") or {}).get("succeeded")
        is_over = told.get("processing_status") == "ended"
        return Progress(is_over=is_over, answered=answered if is_over else None)

    async def answers(self, ticket: Ticket) -> AsyncIterator[Answered]:
        """The results, from the same address as the rest: the key goes to no address that a reply names."""
        async for line in self._http.lines(f"/messages/batches/{ticket.batch}/results"):
            index = index_of(ticket, str(line.get("custom_id")))
            if index is None:
                raise malformed(f"batch {ticket.batch} holds requests of another one: {line.get('custom_id')}")
            yield await _anthropic_answer(index, line.get("result") or {})


class _Json:
    """Requests with a key, replies as JSON, faults as ``ProviderError``."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self._base_url, self._headers = base_url, headers

    async def get(self, path: str) -> dict[str, Any]:
        async with self._replied("GET", path) as reply:
            return _object(await reply.read())

    async def post(self, path: str, body: aiohttp.FormData | dict[str, Any]) -> dict[str, Any]:
        sent = {"json": body} if isinstance(body, dict) else {"data": body}
        async with self._replied("POST", path, **sent) as reply:
            return _object(await reply.read())

    async def lines(self, path: str) -> AsyncIterator[dict[str, Any]]:
        async with self._replied("GET", path) as reply:
            pending = b""
            async for piece in reply.content.iter_any():
                *whole, pending = (pending + piece).split(b"\n")
                for line in filter(bytes.strip, whole):
                    yield _object(line)
            if pending.strip():
                yield _object(pending)

    @asynccontextmanager
    async def _replied(self, method: str, path: str, **sent: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        url = self._base_url + path
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True) as session,
                session.request(method, url, headers=self._headers, allow_redirects=False, **sent) as reply,
            ):
                if reply.status != 200:
                    raise ProviderError(_refusal(reply.status, await reply.text(errors="replace")))
                yield reply
        except TimeoutError as error:
            raise ProviderError(Failure(kind="timeout", message=f"no reply about the batch from {url}")) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderError(
                Failure(kind="connection", message=scrub(str(error) or type(error).__name__))
            ) from error


def _body(dialect: Dialect, request: Request) -> dict[str, Any]:
    body = merged(dialect.body(request, frozenset()), request.extra)
    body.pop("stream", None)
    body.pop("stream_options", None)
    return body


async def _openai_answer(index: int, line: dict[str, Any]) -> Answered:
    response, error = line.get("response"), line.get("error")
    if not response:
        message = scrub(str((error or {}).get("message") or "the batch has no answer to this request"))
        return Answered(index=index, failure=Failure(kind="provider", message=message))
    data = msgspec.json.encode(response.get("body"))
    if response.get("status_code") != 200:
        return Answered(index=index, failure=_refusal(int(response.get("status_code") or 500), data.decode()))
    return await _read(index, openai.CHAT, data)


async def _anthropic_answer(index: int, result: dict[str, Any]) -> Answered:
    if result.get("type") == "succeeded":
        return await _read(index, anthropic.MESSAGES, msgspec.json.encode(result.get("message")))
    told = ((result.get("error") or {}).get("error") or {}) if result.get("type") == "errored" else {}
    message = scrub(str(told.get("message") or f"the request is {result.get('type')}"))
    return Answered(
        index=index,
        failure=Failure(kind=anthropic.KINDS.get(str(told.get("type")), "provider"), message=message),
    )


async def _read(index: int, dialect: Dialect, data: bytes) -> Answered:
    """The answer that an API's whole reply holds; there is no timing, for nobody waited."""
    pieces: list[Piece] = [(data, 0)]

    async def next_piece() -> Piece | None:
        return pieces.pop() if pieces else None

    texts: dict[str, list[str]] = {"answer": [], "reasoning": []}
    done = Done()
    try:
        reply = Reply(status=200, reason="OK", headers={}, first_byte_ns=0, next_piece=next_piece)
        async for event in dialect.whole(reply):
            if isinstance(event, Text):
                texts[event.channel].append(event.text)
            elif isinstance(event, Done):
                done = event
    except ProviderError as error:
        return Answered(index=index, failure=error.failure)
    return Answered(
        index=index,
        completion=Completion(
            text="".join(texts["answer"]),
            reasoning="".join(texts["reasoning"]),
            stop_reason=done.stop_reason,
            usage=done.usage,
            model_reported=done.model_reported,
            fingerprint=done.fingerprint,
        ),
    )


def _refusal(status: int, body: str) -> Failure:
    told = scrub(error_message(body) or body.strip()[:300] or "no reason given")
    return Failure(kind=classify(status, body), message=f"HTTP {status} about the batch: {told}", status=status)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise malformed(f"cannot read the reply about the batch: {error}") from error
    if not isinstance(value, dict):
        raise malformed("the reply about the batch is no object")
    return value


def _named(value: dict[str, Any]) -> str:
    """The service's own name for something; nothing goes into a path that could lead elsewhere."""
    name = str(value.get("id") or "")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise malformed(f"not a name: {name!r}")
    return name
