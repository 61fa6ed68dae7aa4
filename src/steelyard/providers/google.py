"""Google's generateContent, streamed as server-sent events, with thoughts and the tokens of cached content.

The key goes in a header, never in the URL. The service counts thoughts beside the rest of the output; here they are
part of it, as everywhere. Thoughts are shown where ``extra: {generationConfig: {thinkingConfig: {includeThoughts:
true}}}`` asks for them; until then the first token is one of the answer.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.providers.accepted import merged
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
from steelyard.providers.interface import Done, Event, Text, mean_probability
from steelyard.providers.refusals import asked_for_s, classify, reported
from steelyard.providers.reply import Reply
from steelyard.providers.services import address_of, key_of
from steelyard.secrets import Secret
from steelyard.types import ModelSpec, Request, Usage
from steelyard.types.ready import ready

VERSIONS = ("/v1", "/v1beta", "/v1alpha")

STOPS = {"STOP": "stop", "MAX_TOKENS": "length"}
NOT_YET = "FINISH_REASON_UNSPECIFIED"
FILTERS = (
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR",
)  # fmt: skip


class _Part(Struct):
    text: str | None = None
    thought: bool | None = None


class _Content(Struct):
    parts: list[_Part] | None = None


class _Token(Struct, rename="camel"):
    log_probability: float | None = None


class _Logprobs(Struct, rename="camel"):
    chosen_candidates: list[_Token] | None = None


class _Candidate(Struct, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None
    avg_logprobs: float | None = None
    logprobs_result: _Logprobs | None = None


class _Feedback(Struct, rename="camel"):
    block_reason: str | None = None


class _Error(Struct):
    code: int = 500
    message: str = ""


class _Response(Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Told = None
    model_version: str | None = None
    error: _Error | None = None

    @property
    def first(self) -> _Candidate | None:
        """The one that counts, where ``extra`` asked for several: they come in any order, or one to an event."""
        return next((one for one in self.candidates or () if not one.index), None)


_responses = msgspec.json.Decoder(ready(_Response))


class Google(Endpoint):
    """One model that generates content."""

    def with_confidence(self, request: Request) -> Request:
        """The request with its tokens' log-probabilities asked for."""
        asked = {"generationConfig": {"responseLogprobs": True}}
        return msgspec.structs.replace(request, extra=merged(asked, request.extra))


def connect(spec: ModelSpec) -> Google:
    """The model at Google, or at an address of one's own that speaks the same."""
    return with_key(spec, key_of(spec))


def with_key(spec: ModelSpec, key: Secret | None) -> Google:
    """The same with this key."""
    address, mark, query = address_of(spec).partition("?")
    address = address.rstrip("/")
    versioned = address if address.endswith(VERSIONS) else f"{address}/v1beta"
    headers = key_headers(key, "x-goog-api-key")
    return Google(GENERATE, base_url=f"{versioned}{mark}{query}", headers=headers, stall_s=stall_s_of(spec))


def path(request: Request) -> str:
    """Where a model streams; a tuned model has a collection of its own."""
    model = request.model if "/" in request.model else f"models/{request.model}"
    return f"/{urllib.parse.quote(model)}:streamGenerateContent?alt=sse"


def wire_body(request: Request, refused: Settings) -> dict[str, Any]:
    """The JSON that is sent, without ``extra``."""
    system = "\n\n".join(turn.content for turn in request.prompt.messages if turn.role == "system")
    turns = [turn for turn in request.prompt.messages if turn.role != "system"]
    contents = [
        {"role": "model" if turn.role == "assistant" else "user", "parts": [{"text": turn.content}]} for turn in turns
    ]
    body: dict[str, Any] = {"contents": contents}
    if system and "system" not in refused:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    elif system:
        body["contents"] = [{"role": "user", "parts": [{"text": system}]}, *contents]
    if settings := _settings(request, refused):
        body["generationConfig"] = settings
    return body


def _settings(request: Request, refused: Settings) -> dict[str, Any]:
    effort = request.reasoning_effort
    settings: dict[str, tuple[str, Any]] = {
        "temperature": ("temperature", request.temperature),
        "max_tokens": ("maxOutputTokens", request.max_tokens),
        "stop": ("stopSequences", list(request.stop) or None),
        "seed": ("seed", request.seed),
        "reasoning_effort": ("thinkingConfig", None if effort is None else thinking(effort)),
    }
    return {name: value for setting, (name, value) in settings.items() if value is not None and setting not in refused}


def thinking(effort: str) -> dict[str, Any]:
    """An effort as the API has it: a budget of tokens (``none`` is 0), or the name of a level."""
    if effort == "none":
        return {"thinkingBudget": 0}
    return {"thinkingBudget": int(effort)} if effort.isdecimal() else {"thinkingLevel": effort}


async def _streamed(reply: Reply) -> AsyncIterator[Event]:
    done = Done()
    told: Told = None
    finished = False
    logprobs: list[float] = []
    average: float | None = None
    async for data, at_ns in reply.events():
        part = _decode(data)
        logprobs += _logprobs(part)
        average = _average(part, average)
        for text in _texts(part, at_ns):
            yield text
        stop = _stop(part)
        finished = finished or stop is not None
        told = together(told, part.usage_metadata)
        done = msgspec.structs.replace(
            done,
            stop_reason=stop or done.stop_reason,
            model_reported=part.model_version or done.model_reported,
        )
    if not finished:
        raise malformed(BROKEN_OFF)
    # not before the end: some models say STOP with every part of an answer
    yield msgspec.structs.replace(done, usage=_usage(told), confidence=_confidence(logprobs, average))


def _whole(data: bytes, at_ns: int) -> list[Event]:
    part = _decode(data)
    stop = _stop(part)
    if stop is None:
        raise no_answer(data)
    usage = _usage(part.usage_metadata)
    done = Done(
        stop_reason=stop,
        usage=usage,
        model_reported=part.model_version,
        confidence=_confidence(_logprobs(part), _average(part, None)),
        streamed=False,
        at_ns=at_ns,
    )
    return [*_texts(part, at_ns), done]


def _decode(data: bytes) -> _Response:
    part = decoded(_responses, data)
    if part.error is not None:
        body = data.decode("utf-8", "replace")
        asked_s = asked_for_s({}, body)
        raise reported(part.error.message, classify(part.error.code, body, asked_s), asked_s)
    return part


def _texts(part: _Response, at_ns: int) -> list[Text]:
    content = part.first.content if part.first else None
    pieces = (content.parts if content else None) or ()
    return [Text(piece.text, "reasoning" if piece.thought else "answer", at_ns) for piece in pieces if piece.text]


def _logprobs(part: _Response) -> list[float]:
    told = part.first.logprobs_result if part.first else None
    tokens = (told.chosen_candidates if told is not None else None) or ()
    return [token.log_probability for token in tokens if token.log_probability is not None]


def _average(part: _Response, before: float | None) -> float | None:
    told = part.first.avg_logprobs if part.first else None
    return before if told is None else told


def _confidence(logprobs: list[float], average: float | None) -> float | None:
    """From the tokens themselves; of a model that tells only their mean, from that."""
    return mean_probability(logprobs or ([] if average is None else [average]))


def _stop(part: _Response) -> str | None:
    """Why it ended, if it has: a prompt that was blocked has no candidate at all."""
    if part.prompt_feedback is not None and part.prompt_feedback.block_reason:
        return "content_filter"
    reason = part.first.finish_reason if part.first else None
    if not reason or reason == NOT_YET:
        return None
    return "content_filter" if reason in FILTERS else STOPS.get(reason, reason.lower())


def _usage(told: Told) -> Usage:
    inputs = count(told, "promptTokenCount")
    if inputs is None:
        return Usage()
    inputs += count(told, "toolUsePromptTokenCount") or 0
    thoughts = count(told, "thoughtsTokenCount")
    return Usage(
        input_tokens=inputs,
        output_tokens=_output_tokens(told, inputs, thoughts or 0),
        cached_input_tokens=count(told, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        source="server",
    )


def _output_tokens(told: Told, inputs: int, thoughts: int) -> int | None:
    """The answer with its thoughts; a count of nothing is left out by the service, but is part of the total."""
    answer = count(told, "candidatesTokenCount")
    if answer is not None:
        return answer + thoughts
    total = count(told, "totalTokenCount")
    return total - inputs if total is not None and total >= inputs + thoughts else None


GENERATE = Dialect(
    name="Google's generateContent",
    path=path,
    body=wire_body,
    streamed=_streamed,
    whole=_whole,
    optional={
        "system": ("system instruction", "systeminstruction", "system_instruction", "developer instruction"),
        "temperature": ("temperature",),
        "reasoning_effort": ("thinking",),
        "stop": ("stop_sequences", "stopsequences", "stop sequence"),
        "seed": ("seed",),
        "max_tokens": ("maxoutputtokens", "max_output_tokens"),
    },
    renamed={"system": "it is sent as the first turn of the user", "stop": CUT_HERE},
)
