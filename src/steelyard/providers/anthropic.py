"""Anthropic's messages, streamed, with thinking and the tokens of the prompt cache.

The system text stands apart from the turns, and a limit on the answer must be sent: where neither model nor protocol
has one, it is ``MOST_TOKENS``, or what the model's own error says that it can give. The service counts cached input
beside the rest; here it is part of the input, as everywhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.providers.dialect import Dialect, Settings
from steelyard.providers.endpoint import (
    BROKEN_OFF,
    Count,
    Endpoint,
    count,
    decoded,
    key_headers,
    malformed,
    no_answer,
    reported,
)
from steelyard.providers.interface import Done, Event, Text
from steelyard.providers.reply import Reply
from steelyard.providers.services import address_of, key_of
from steelyard.types import Channel, FailureKind, ModelSpec, Request, Usage

VERSION = "2023-06-01"
MOST_TOKENS = 32_000

STOPS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
KINDS: dict[str, FailureKind] = {
    "authentication_error": "auth",
    "permission_error": "auth",
    "billing_error": "quota",
    "invalid_request_error": "rejected",
    "not_found_error": "unavailable",
    "rate_limit_error": "rate_limit",
    "request_too_large": "rejected",
    "timeout_error": "timeout",
}
"""What an error within a stream means; ``overloaded_error`` and ``api_error`` are the server's."""


class _Block(Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    stop_reason: str | None = None


class _CacheCreation(Struct):
    ephemeral_1h_input_tokens: Count = None


class _OutputDetails(Struct):
    thinking_tokens: Count = None


class _Usage(Struct):
    input_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_creation: _CacheCreation | None = None
    output_tokens: Count = None
    output_tokens_details: _OutputDetails | None = None


class _Error(Struct):
    type: str = ""
    message: str = ""


class _Message(Struct):
    model: str | None = None
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: _Error | None = None


class _Event(Struct):
    type: str = ""
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Block | None = None
    usage: _Usage | None = None
    error: _Error | None = None


_events = msgspec.json.Decoder(_Event)
_messages = msgspec.json.Decoder(_Message)


def connect(spec: ModelSpec) -> Endpoint:
    """The model at Anthropic, or at an address of one's own that speaks the same."""
    headers = {"anthropic-version": VERSION, **key_headers(key_of(spec), "x-api-key")}
    address, mark, query = address_of(spec).partition("?")
    address = f"{address.rstrip('/').removesuffix('/v1')}/v1{mark}{query}"
    return Endpoint(MESSAGES, base_url=address, headers=headers)


def wire_body(request: Request, refused: Settings) -> dict[str, Any]:
    """The JSON that is sent, without ``extra``."""
    turns = request.prompt.messages
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    body: dict[str, Any] = {
        "model": request.model,
        "stream": True,
        "max_tokens": request.max_tokens or MOST_TOKENS,
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns if turn.role != "system"],
    }
    if system:
        body["system"] = system
    if request.temperature is not None and "temperature" not in refused:
        body["temperature"] = request.temperature
    if request.stop and "stop" not in refused:
        body["stop_sequences"] = list(request.stop)
    if request.reasoning_effort is not None and "reasoning_effort" not in refused:
        body |= thinking(request.reasoning_effort)
    return body


def thinking(effort: str) -> dict[str, Any]:
    """An effort as the API has it: ``none``, a number of tokens, or a word for a model that decides how much."""
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if effort.isdecimal():
        return {"thinking": {"type": "enabled", "budget_tokens": int(effort)}}
    return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}


async def _streamed(reply: Reply) -> AsyncIterator[Event]:
    told, model, stop = _Usage(), None, None
    finished = False
    async for data, at_ns in reply.events():
        event = decoded(_events, data)
        if event.type in ("content_block_delta", "content_block_start"):
            for text in _texts(event.delta or event.content_block or _Block(), at_ns):
                yield text
        elif event.type == "message_delta":
            stop = event.delta.stop_reason if event.delta else None
            told = _together(told, event.usage or _Usage())
        elif event.type == "message_start" and event.message is not None:
            model = event.message.model
            told = msgspec.structs.replace(event.message.usage or _Usage(), output_tokens=None)  # it has only begun
        elif event.type == "error":
            raise _told(event.error or _Error())
        elif event.type == "message_stop":
            finished = True
            break
    if not finished and stop is None:
        raise malformed(BROKEN_OFF)
    await reply.finish()
    yield Done(stop_reason=STOPS.get(stop or "", stop), usage=_usage(told), model_reported=model)


def _whole(data: bytes, at_ns: int) -> list[Event]:
    message = decoded(_messages, data)
    if message.error is not None:
        raise _told(message.error)
    if message.stop_reason is None and not message.content:
        raise no_answer(data)
    texts = [text for block in message.content for text in _texts(block, at_ns)]
    stop = message.stop_reason
    usage = _usage(message.usage or _Usage())
    reason = STOPS.get(stop or "", stop)
    done = Done(stop_reason=reason, usage=usage, model_reported=message.model, streamed=False, at_ns=at_ns)
    return [*texts, done]


def _texts(block: _Block, at_ns: int) -> list[Text]:
    pieces: tuple[tuple[str, Channel], ...] = ((block.thinking, "reasoning"), (block.text, "answer"))
    return [Text(text, channel, at_ns) for text, channel in pieces if text]


def _told(error: _Error) -> Exception:
    return reported(f"{error.message} ({error.type})", KINDS.get(error.type, "server"))


def _together(before: _Usage, later: _Usage) -> _Usage:
    """Counts are cumulative: the later one stands, where there is one."""
    fields = _Usage.__struct_fields__
    return _Usage(**{name: getattr(before if getattr(later, name) is None else later, name) for name in fields})


def _usage(told: _Usage) -> Usage:
    if told == _Usage():
        return Usage()
    cached, written = count(told.cache_read_input_tokens), count(told.cache_creation_input_tokens)
    fresh = count(told.input_tokens)
    return Usage(
        input_tokens=None if fresh is None else fresh + (cached or 0) + (written or 0),
        output_tokens=count(told.output_tokens),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=count(told.cache_creation.ephemeral_1h_input_tokens) if told.cache_creation else None,
        reasoning_tokens=count(told.output_tokens_details.thinking_tokens) if told.output_tokens_details else None,
        source="server",
    )


MESSAGES = Dialect(
    name="Anthropic's messages",
    path=lambda request: "/messages",
    body=wire_body,
    streamed=_streamed,
    whole=_whole,
    optional={
        "temperature": ("temperature",),
        "reasoning_effort": ("thinking", "effort", "output_config"),
        "stop": ("stop_sequences",),
    },
    renamed={"reasoning_effort": "its own default stands; a number of tokens as the effort sets a budget instead"},
    absent={"seed": "a repeated question may be answered differently"},
)
