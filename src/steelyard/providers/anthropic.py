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

from steelyard.providers.counted import Told, count, together
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
from steelyard.providers.interface import Done, Event, Text
from steelyard.providers.refusals import reported
from steelyard.providers.reply import Reply
from steelyard.providers.services import address_of, key_of
from steelyard.secrets import Secret
from steelyard.types import Channel, FailureKind, ModelSpec, Request, Usage
from steelyard.types.ready import ready

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

INPUTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
"""What was read anew, read from the cache, and written to it: counted beside one another."""


class _Block(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    stop_reason: str | None = None


class _Error(Struct):
    type: str = ""
    message: str = ""


class _Message(Struct):
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: Told = None
    error: _Error | None = None


class _Event(Struct):
    type: str = ""
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Block | None = None
    usage: Told = None
    error: _Error | None = None


_events = msgspec.json.Decoder(ready(_Event))
_messages = msgspec.json.Decoder(ready(_Message))


def connect(spec: ModelSpec) -> Endpoint:
    """The model at Anthropic, or at an address of one's own that speaks the same."""
    return with_key(spec, key_of(spec))


def with_key(spec: ModelSpec, key: Secret | None) -> Endpoint:
    """The same with this key."""
    headers = {"anthropic-version": VERSION, **key_headers(key, "x-api-key")}
    address, mark, query = address_of(spec).partition("?")
    address = f"{address.rstrip('/').removesuffix('/v1')}/v1{mark}{query}"
    return Endpoint(MESSAGES, base_url=address, headers=headers, stall_s=stall_s_of(spec))


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
    stops = [string for string in request.stop if string.strip()]  # at white space alone only we can cut
    if stops and "stop" not in refused:
        body["stop_sequences"] = stops
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
    told: dict[str, Told] = {}
    done = Done()
    has_begun = finished = False
    async for data, at_ns in reply.events():
        event = decoded(_events, data)
        if event.type in ("content_block_delta", "content_block_start"):
            has_begun = True
            for text in _texts(event.delta or event.content_block or _Block(), at_ns):
                yield text
        elif event.type == "message_delta":
            stop = event.delta.stop_reason if event.delta else None
            told = together(told, event.usage)
            done = msgspec.structs.replace(
                done, stop_reason=STOPS.get(stop or "", stop) or done.stop_reason, usage=_usage(told)
            )
        elif event.type == "message_start" and event.message is not None:
            told = together(event.message.usage, None)
            told.pop("output_tokens", None)  # it has only begun
            done = msgspec.structs.replace(done, model_reported=event.message.model, usage=_usage(told))
        elif event.type == "error":
            raise _told(event.error or _Error())
        elif event.type == "message_stop":
            finished = has_begun
            break
        if done.stop_reason is not None:
            yield done
    if not finished and done.stop_reason is None:
        raise malformed(BROKEN_OFF)
    await reply.finish()
    yield done


def _whole(data: bytes, at_ns: int) -> list[Event]:
    message = decoded(_messages, data)
    if message.error is not None:
        raise _told(message.error)
    if message.stop_reason is None and not message.content:
        raise no_answer(data)
    texts = [text for block in message.content or () for text in _texts(block, at_ns)]
    stop = message.stop_reason
    usage = _usage(message.usage)
    reason = STOPS.get(stop or "", stop)
    done = Done(stop_reason=reason, usage=usage, model_reported=message.model, streamed=False, at_ns=at_ns)
    return [*texts, done]


def _texts(block: _Block, at_ns: int) -> list[Text]:
    pieces: tuple[tuple[str | None, Channel], ...] = ((block.thinking, "reasoning"), (block.text, "answer"))
    return [Text(text, channel, at_ns) for text, channel in pieces if text]


def _told(error: _Error) -> Exception:
    return reported(f"{error.message} ({error.type})", KINDS.get(error.type, "server"))


def _usage(told: Told) -> Usage:
    if not isinstance(told, dict) or not told:
        return Usage()
    fresh, cached, written = (count(told, name) for name in INPUTS)
    return Usage(
        input_tokens=None if fresh is None else fresh + (cached or 0) + (written or 0),
        output_tokens=count(told, "output_tokens"),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=count(told, "cache_creation", "ephemeral_1h_input_tokens"),
        reasoning_tokens=count(told, "output_tokens_details", "thinking_tokens"),
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
    renamed={
        "reasoning_effort": "its own default stands; a number of tokens as the effort sets a budget instead",
        "stop": CUT_HERE,
    },
    absent={"seed": "a repeated question may be answered differently"},
)
