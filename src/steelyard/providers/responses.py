"""OpenAI's responses, streamed: ``openai-responses/MODEL``. Some models answer there only.

Nothing is kept by the service (``store`` is false). A summary of the reasoning comes only where it is asked for, by
``extra: {reasoning: {summary: auto}}``, since some accounts may not have it; until then the first token is one of the
answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.providers.counted import Told, count
from steelyard.providers.dialect import CUT_HERE, Dialect, Settings
from steelyard.providers.endpoint import (
    BROKEN_OFF,
    Endpoint,
    decoded,
    key_headers,
    malformed,
    no_answer,
)
from steelyard.providers.http import stall_s_of
from steelyard.providers.interface import Done, Event, Text, mean_probability
from steelyard.providers.openai import error_kind
from steelyard.providers.refusals import reported
from steelyard.providers.reply import Reply
from steelyard.providers.services import address_of, key_of
from steelyard.secrets import Secret
from steelyard.types import Channel, ModelSpec, Request, Usage
from steelyard.types.ready import ready

CHANNELS: dict[str, Channel] = {
    "response.output_text.delta": "answer",
    "response.refusal.delta": "answer",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
}
PARTS: dict[str, Channel] = {
    "output_text": "answer",
    "refusal": "answer",
    "summary_text": "reasoning",
    "reasoning_text": "reasoning",
}
STOPS = {"max_output_tokens": "length", "content_filter": "content_filter"}
LOGPROBS = "message.output_text.logprobs"


class _Token(Struct):
    logprob: float | None = None


class _Part(Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    logprobs: list[_Token] | None = None


class _Item(Struct):
    type: str = ""
    content: list[_Part] | None = None
    summary: list[_Part] | None = None


class _Error(Struct):
    code: str | int | None = None
    message: str | None = None


class _Incomplete(Struct):
    reason: str | None = None


class _Response(Struct):
    status: str | None = None
    model: str | None = None
    output: list[_Item] | None = None
    usage: Told = None
    error: _Error | None = None
    incomplete_details: _Incomplete | None = None


class _Event(Struct):
    type: str = ""
    delta: Any = None
    logprobs: list[_Token] | None = None
    response: _Response | None = None
    code: str | int | None = None
    message: str | None = None
    error: _Error | None = None


_events = msgspec.json.Decoder(ready(_Event))
_responses = msgspec.json.Decoder(ready(_Response))


class Responses(Endpoint):
    """One model that answers by responses."""

    def with_confidence(self, request: Request) -> Request:
        """The request with its tokens' log-probabilities asked for."""
        included = [*request.extra.get("include", ()), LOGPROBS]
        return msgspec.structs.replace(request, extra=request.extra | {"include": list(dict.fromkeys(included))})


def connect(spec: ModelSpec) -> Responses:
    """The model at OpenAI, or at an address of one's own that speaks the same."""
    return with_key(spec, key_of(spec))


def with_key(spec: ModelSpec, key: Secret | None) -> Responses:
    """The same with this key."""
    address = address_of(spec).rstrip("/")
    return Responses(
        RESPONSES,
        base_url=address,
        headers=key_headers(key),
        origin=f"{address}/responses",
        stall_s=stall_s_of(spec),
    )


def wire_body(request: Request, refused: Settings) -> dict[str, Any]:
    """The JSON that is sent, without ``extra``."""
    settings: dict[str, Any] = {
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "reasoning_effort": request.reasoning_effort,
    }
    sent = {name: value for name, value in settings.items() if value is not None and name not in refused}
    body: dict[str, Any] = {
        "model": request.model,
        "stream": True,
        "store": False,
        "input": [{"role": turn.role, "content": turn.content} for turn in request.prompt.messages],
    }
    if "temperature" in sent:
        body["temperature"] = sent["temperature"]
    if "max_tokens" in sent:
        body["max_output_tokens"] = sent["max_tokens"]
    if "reasoning_effort" in sent:
        body["reasoning"] = {"effort": sent["reasoning_effort"]}
    return body


async def _streamed(reply: Reply) -> AsyncIterator[Event]:
    done: Done | None = None
    refused = False
    begun: set[Channel] = set()
    logprobs: list[float] = []
    async for data, at_ns in reply.events():
        if data == b"[DONE]":
            break
        event = decoded(_events, data)
        channel = CHANNELS.get(event.type)
        if channel is not None:
            if isinstance(event.delta, str) and event.delta:
                begun.add(channel)
                yield Text(event.delta, channel, at_ns)
            logprobs += _told(event.logprobs)
            refused = refused or event.type == "response.refusal.delta"
        elif event.type == "error":
            told = event.error or _Error(code=event.code, message=event.message)
            raise reported(told.message, error_kind(told.code))
        elif event.response is not None and event.response.status in ("completed", "incomplete", "failed", "cancelled"):
            done = _done(event.response, refused=refused)
            whole = () if "answer" in begun else _texts(event.response, at_ns)  # some send it only then
            for text in whole:
                if text.channel not in begun:
                    yield text
            break
    if done is None:
        raise malformed(BROKEN_OFF)
    await reply.finish()
    yield done if done.confidence is not None else msgspec.structs.replace(done, confidence=mean_probability(logprobs))


def _whole(data: bytes, at_ns: int) -> list[Event]:
    response = decoded(_responses, data)
    if response.status is None and response.error is None:
        raise no_answer(data)
    done = _done(response, refused=False)
    return [*_texts(response, at_ns), msgspec.structs.replace(done, at_ns=at_ns, streamed=False)]


def _texts(response: _Response, at_ns: int) -> list[Text]:
    parts = [part for item in response.output or () for part in (*(item.summary or ()), *(item.content or ()))]
    told = [(part.text or part.refusal, PARTS.get(part.type)) for part in parts]
    return [Text(text, channel, at_ns) for text, channel in told if text and channel]


def _done(response: _Response, *, refused: bool) -> Done:
    if response.status not in ("completed", "incomplete"):
        told = response.error or _Error(message=f"status {response.status}")
        raise reported(told.message, error_kind(told.code))
    reason = response.incomplete_details.reason if response.incomplete_details else None
    refused = refused or any(part.refusal for part in _parts(response))
    stop = "refusal" if refused else "stop" if response.status == "completed" else STOPS.get(reason or "", reason)
    return Done(
        stop_reason=stop,
        usage=_usage(response.usage),
        model_reported=response.model,
        confidence=mean_probability([logprob for part in _parts(response) for logprob in _told(part.logprobs)]),
    )


def _parts(response: _Response) -> Iterator[_Part]:
    for item in response.output or ():
        yield from item.content or ()


def _told(tokens: list[_Token] | None) -> list[float]:
    return [token.logprob for token in tokens or () if token.logprob is not None]


def _usage(told: Told) -> Usage:
    if not isinstance(told, dict):
        return Usage()
    return Usage(
        input_tokens=count(told, "input_tokens"),
        output_tokens=count(told, "output_tokens"),
        cached_input_tokens=count(told, "input_tokens_details", "cached_tokens"),
        cache_write_tokens=count(told, "input_tokens_details", "cache_write_tokens"),
        reasoning_tokens=count(told, "output_tokens_details", "reasoning_tokens"),
        source="server",
    )


RESPONSES = Dialect(
    name="OpenAI's responses",
    path=lambda request: "/responses",
    body=wire_body,
    streamed=_streamed,
    whole=_whole,
    optional={
        "temperature": ("temperature",),
        "reasoning_effort": ("reasoning.effort", "reasoning_effort", "reasoning"),
        "max_tokens": ("max_output_tokens",),
    },
    absent={"stop": CUT_HERE, "seed": "a repeated question may be answered differently"},
)
