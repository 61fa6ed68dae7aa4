"""The batch APIs of OpenAI and Anthropic. No time is measured in here: what is asked is asked through aiohttp.

What a request without an answer costs is the service's word. OpenAI charges "for any completed work", also of a batch
that expired or was cancelled (help.openai.com, Batch API FAQ; platform.openai.com, Batch guide). Anthropic does not
bill requests that errored, were cancelled before they were sent to the model, or expired (docs.claude.com, Batch
processing, result types).
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec

from steelyard.errors import ProviderError, UsageError
from steelyard.providers import anthropic, openai
from steelyard.providers.accepted import Accepted, Known
from steelyard.providers.batches import (
    AnothersBatch,
    Answered,
    BatchService,
    Found,
    NoReply,
    Progress,
    Ticket,
    custom_id,
    index_of,
)
from steelyard.providers.counted import count
from steelyard.providers.dialect import Dialect
from steelyard.providers.endpoint import decoded, key_headers, malformed
from steelyard.providers.http import broken, take_apart
from steelyard.providers.interface import Done, Text
from steelyard.providers.proxied import BEFORE_SENDING, as_os_error
from steelyard.providers.refusals import TIMED_OUT_ON_THE_WAY, classify, reason_of
from steelyard.providers.services import address_of, key_of
from steelyard.secrets import scrub
from steelyard.types import Completion, Failure, FailureKind, ModelSpec, Request

CLOCKS_DIFFER_S = 300.0
MOST_LISTED = 100
TIMEOUT = aiohttp.ClientTimeout(total=600.0, sock_connect=30.0)
FOR_RESULTS = aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=120.0)
"""Results are as large as all answers together: they may take as long as they go on coming."""

NO_REPLY: tuple[FailureKind, ...] = ("timeout", "connection", "malformed")
TAKE_BATCHES = ("openai", "anthropic")
OPENAI_IS_OVER = ("completed", "failed", "expired", "cancelled")
OPENAI_NOT_BEGUN = ("batch_expired", "batch_cancelled")
"""Errors of a request that was not completed, and so is not charged."""
TOO_MUCH_AT_ONCE = "token_limit_exceeded"
"""A batch is refused as a whole where it and those in progress hold more tokens than the account may have waiting."""


def batch_service(spec: ModelSpec) -> BatchService:
    """The batch API of a model's provider."""
    if spec.provider not in TAKE_BATCHES:
        raise UsageError(f"{spec.id}: {spec.provider} takes no batches here. Known: {', '.join(TAKE_BATCHES)}")
    address = address_of(spec).rstrip("/")
    if spec.provider == "openai":
        return OpenAIBatches(address, key_headers(key_of(spec)))
    headers = {"anthropic-version": anthropic.VERSION, **key_headers(key_of(spec), "x-api-key")}
    return AnthropicBatches(f"{address.removesuffix('/v1')}/v1", headers)


class _Learning:
    """What the model of a batch service turned out not to accept; whoever asks again does so a few times at most.

    A batch is answered long after it was handed in, perhaps to another process: what had been left out of it is not
    known then, and a complaint counts as the first of its kind.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._accepted = Accepted(dialect)

    @property
    def learnt(self) -> Mapping[str, str]:
        """Each setting that was asked for and is not sent as it was, with what happens instead."""
        return self._accepted.learnt

    def learn(self, failure: Failure, request: Request) -> bool:
        """Take in a setting that the model refuses; whether asking again without it may help."""
        return self._accepted.learn(failure, request, Known()) is not None

    def _body(self, request: Request) -> dict[str, Any]:
        self._accepted.absent(request)
        body = self._accepted.body(request, self._accepted.known)
        body.pop("stream", None)
        body.pop("stream_options", None)
        return body


class OpenAIBatches(_Learning):
    """A file of requests is uploaded, then a batch is made of it; the label stands in the batch's metadata."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        super().__init__(openai.CHAT)
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
                "body": self._body(asked),
            }
            for index, asked in enumerate(requests)
        ]
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", b"\n".join(map(msgspec.json.encode, lines)), filename=f"{ticket.label}.jsonl")
        uploaded = await self._http.post("/files", form)
        return await self._http.make(
            "/batches",
            {
                "input_file_id": _named(uploaded),
                "endpoint": endpoint,
                "completion_window": "24h",
                "metadata": {"steelyard": ticket.label},
            },
        )

    async def find(self, ticket: Ticket, taken: Collection[str]) -> Found | None:
        """The batch whose metadata holds the label, among all that are not older than the ticket."""
        async for batch in self._http.listed("/batches", "after"):
            if _part(batch, "metadata").get("steelyard") == ticket.label:
                return Found(batch=_named(batch), is_sure=True)
            made_s = _made_s(batch)
            if made_s is not None and made_s < ticket.meant_at_s - CLOCKS_DIFFER_S:
                return None
        return None

    async def progress(self, batch: str) -> Progress:
        """How far it is; one that failed as a whole was never begun, and is too much where the account's queue is full.

        What was not completed of one that expired or was cancelled is not charged.
        """
        told = await self._http.get(f"/batches/{batch}")
        status = told.get("status")
        failure = None
        if status == "failed":
            error = next(_parts(_part(told, "errors"), "data"), {})
            kind: FailureKind = "rate_limit" if error.get("code") == TOO_MUCH_AT_ONCE else "rejected"
            why = error.get("message") or "no reason given"
            failure = Failure(kind=kind, message=scrub(f"the batch was refused: {why}"))
        return Progress(
            is_over=status in OPENAI_IS_OVER,
            answered=count(told, "request_counts", "completed"),
            failed=count(told, "request_counts", "failed"),
            failure=failure,
        )

    async def answers(self, ticket: Ticket) -> AsyncIterator[Answered]:
        """The lines of both files: those that were answered and those that were not."""
        told = await self._http.get(f"/batches/{ticket.batch}")
        for file in (told.get("output_file_id"), told.get("error_file_id")):
            if file:
                async for line in self._http.lines(f"/files/{_name(file)}/content"):
                    index = index_of(ticket, str(line.get("custom_id")))
                    if index is not None:
                        yield _openai_answer(index, line)


class AnthropicBatches(_Learning):
    """Requests go within the batch. It has no label of its own: its requests' names have."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        super().__init__(anthropic.MESSAGES)
        self._http = _Json(base_url, headers)

    async def submit(self, ticket: Ticket, requests: Sequence[Request]) -> str:
        """Hand in, once."""
        entries = [
            {"custom_id": custom_id(ticket, index), "params": self._body(asked)} for index, asked in enumerate(requests)
        ]
        return await self._http.make("/messages/batches", {"requests": entries})

    async def find(self, ticket: Ticket, taken: Collection[str]) -> Found | None:
        """The batch whose requests bear the ticket's label; names are shown of one that is over, and of no other.

        So else, as a guess, one of as many requests, as far as is told, that still works and was made when the ticket
        was.
        """
        nearest: tuple[float, str] | None = None
        async for batch in self._http.listed("/messages/batches", "after_id"):
            name, made_s = _named(batch), _made_s(batch)
            if made_s is not None and made_s < ticket.meant_at_s - CLOCKS_DIFFER_S:
                break
            if _requests(batch) not in (None, ticket.requests) or name in ticket.not_these:
                continue
            if batch.get("processing_status") == "ended":
                if await self._is(ticket, name):
                    return Found(batch=name, is_sure=True)
            elif name not in taken:
                away_s = math.inf if made_s is None else abs(made_s - ticket.meant_at_s)
                nearest = min(nearest or (away_s, name), (away_s, name))
        return None if nearest is None else Found(batch=nearest[1], is_sure=False)

    async def _is(self, ticket: Ticket, name: str) -> bool:
        async for line in self._http.lines(f"/messages/batches/{name}/results"):
            return index_of(ticket, str(line.get("custom_id"))) is not None
        return False

    async def progress(self, batch: str) -> Progress:
        """How far it is; counts are told only when it is over."""
        told = await self._http.get(f"/messages/batches/{batch}")
        if told.get("processing_status") != "ended":
            return Progress(is_over=False)
        answered, requests = count(told, "request_counts", "succeeded"), _requests(told)
        failed = None if answered is None or requests is None else requests - answered
        return Progress(is_over=True, answered=answered, failed=failed)

    async def answers(self, ticket: Ticket) -> AsyncIterator[Answered]:
        """The results, from the same address as the rest: the key goes to no address that a reply names.

        Only a batch that was guessed can be another one's; what else is strange in ours costs none of its answers.
        """
        may_be_anothers = ticket.is_guessed
        async for line in self._http.lines(f"/messages/batches/{ticket.batch}/results"):
            index = index_of(ticket, str(line.get("custom_id")))
            if index is None and may_be_anothers:
                told = f"batch {ticket.batch} holds requests of another one: {line.get('custom_id')}"
                raise AnothersBatch(Failure(kind="malformed", message=scrub(told)))
            if index is None:
                continue
            may_be_anothers = False
            yield _anthropic_answer(index, _part(line, "result"))


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

    async def make(self, path: str, body: dict[str, Any]) -> str:
        """The name of what is made by it, which may be billed from then on."""
        try:
            return _named(await self.post(path, body))
        except ProviderError as error:
            is_unheard = error.failure.kind in NO_REPLY or error.failure.status in TIMED_OUT_ON_THE_WAY
            if is_unheard and error.failure.was_sent:
                raise NoReply(error.failure) from error
            raise

    async def listed(self, path: str, after: str) -> AsyncIterator[dict[str, Any]]:
        """What a list holds, page by page, the newest first; ``after`` names the last one of the page before."""
        seen: set[str] = set()
        following = ""
        while True:
            page = await self.get(f"{path}?limit={MOST_LISTED}{following}")
            found = [one for one in _parts(page, "data") if str(one.get("id")) not in seen]
            for one in found:
                yield one
            if not page.get("has_more") or not found:  # a list without end begins anew somewhere
                return
            seen |= {str(one.get("id")) for one in found}
            following = f"&{after}={_named(found[-1])}"

    async def lines(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Each line that can be read: one that is damaged costs its own answer, and not those of all others."""
        was_read, fault = False, None
        async for line in self._raw_lines(path):
            try:
                value = _object(line)
            except ProviderError as error:
                fault = error
                continue
            was_read = True
            yield value
        if fault is not None and not was_read:
            raise fault

    async def _raw_lines(self, path: str) -> AsyncIterator[bytes]:
        async with self._replied("GET", path, timeout=FOR_RESULTS) as reply:
            pending = b""
            async for piece in reply.content.iter_any():
                *whole, pending = (pending + piece).split(b"\n")
                for line in filter(bytes.strip, whole):
                    yield line
            if pending.strip():
                yield pending

    @asynccontextmanager
    async def _replied(self, method: str, path: str, **sent: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        url = self._base_url + path
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True) as session,
                session.request(method, url, headers=self._headers, allow_redirects=False, **sent) as reply,
            ):
                if not 200 <= reply.status < 300:
                    raise ProviderError(_refusal(reply.status, await reply.text(errors="replace")))
                yield reply
        except TimeoutError as error:
            told, was_sent = f"no reply about the batch from {url}", not isinstance(error, BEFORE_SENDING)
            raise ProviderError(Failure(kind="timeout", message=told, was_sent=was_sent)) from error
        except aiohttp.ClientError as error:
            was_sent = not isinstance(error, BEFORE_SENDING)
            raise ProviderError(broken(take_apart(url), as_os_error(error), was_sent=was_sent)) from error
        except OSError as error:
            raise ProviderError(broken(take_apart(url), error)) from error


def _openai_answer(index: int, line: dict[str, Any]) -> Answered:
    response, error = _part(line, "response"), _part(line, "error")
    if not response:
        message = scrub(str(error.get("message") or "the batch has no answer to this request"))
        return Answered(
            index=index,
            failure=Failure(kind="provider", message=message),
            is_unbilled=error.get("code") in OPENAI_NOT_BEGUN,
        )
    data = msgspec.json.encode(response.get("body"))
    status = response.get("status_code")
    if not isinstance(status, int):
        return Answered(index=index, failure=malformed("the batch tells no status of this request").failure)
    if not 200 <= status < 300:
        return Answered(index=index, failure=_refusal(status, data.decode()))
    return _read(index, openai.CHAT, data)


def _anthropic_answer(index: int, result: dict[str, Any]) -> Answered:
    if result.get("type") == "succeeded":
        return _read(index, anthropic.MESSAGES, msgspec.json.encode(result.get("message")))
    told = _part(_part(result, "error"), "error") if result.get("type") == "errored" else {}
    message = scrub(str(told.get("message") or f"the request is {result.get('type')}"))
    kind = anthropic.KINDS.get(str(told.get("type")), "provider")
    status = 400 if told.get("type") == "invalid_request_error" else None
    return Answered(
        index=index,
        failure=Failure(kind=kind, message=message, status=status),
        is_unbilled=result.get("type") in ("errored", "canceled", "expired"),
    )


def _read(index: int, dialect: Dialect, data: bytes) -> Answered:
    """The answer that an API's whole reply holds; there is no timing, for nobody waited."""
    texts: dict[str, list[str]] = {"answer": [], "reasoning": []}
    done = Done()
    try:
        for event in dialect.whole(data, 0):
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
    told = reason_of(body) or "no reason given"
    return Failure(kind=classify(status, body), message=f"HTTP {status} about the batch: {told}", status=status)


_documents: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def _object(data: bytes) -> dict[str, Any]:
    value = decoded(_documents, data)
    if not isinstance(value, dict):
        raise malformed("the reply about the batch is no object")
    return value


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    """An object within one; empty where there is none, or something else in its place."""
    part = value.get(name)
    return part if isinstance(part, dict) else {}


def _parts(value: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The objects of a list within one."""
    parts = value.get(name)
    return (part for part in (parts if isinstance(parts, list) else ()) if isinstance(part, dict))


def _requests(batch: dict[str, Any]) -> int | None:
    """How many requests a batch holds by its counts, each of another end; ``None`` where that is not told."""
    counts = [count(batch, "request_counts", end) for end in _part(batch, "request_counts")]
    known = [some for some in counts if some is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _made_s(batch: dict[str, Any]) -> float | None:
    """When it was made, in seconds since 1970; ``None`` where that cannot be read."""
    made = batch.get("created_at")
    if isinstance(made, int | float):
        return float(made)
    try:
        return datetime.fromisoformat(str(made)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _named(value: dict[str, Any]) -> str:
    """The service's own name for something."""
    return _name(value.get("id"))


def _name(told: object) -> str:
    """A name of the service's; nothing goes into a path that could lead elsewhere."""
    name = str(told or "")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise malformed(f"not a name: {name!r}")
    return name
