"""OpenAI's protocol: chat completions and completions, streamed, with usage, and log-likelihoods where they are given.

Most of the field speaks it: see ``services``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.errors import ProviderError, UsageError, unended
from steelyard.providers.counted import Told, together, usage_of
from steelyard.providers.dialect import CUT_HERE, Dialect, Settings
from steelyard.providers.echo import TRY_CONTINUATION, TRY_TEXT, echo_body, read_echo
from steelyard.providers.endpoint import (
    BROKEN_OFF,
    Endpoint,
    Sent,
    decoded,
    key_headers,
    malformed,
    no_answer,
)
from steelyard.providers.http import STALL_TIMEOUT_S, stall_s_of
from steelyard.providers.interface import Done, Event, Text, Weighed, mean_probability
from steelyard.providers.refusals import classify, reported
from steelyard.providers.reply import Reply
from steelyard.providers.services import address_of, key_of
from steelyard.secrets import Secret
from steelyard.types import Channel, FailureKind, ModelSpec, Prompt, Request
from steelyard.types.ready import ready

RENAMED = {"max_tokens": "max_completion_tokens"}
OPTIONAL = ("max_completion_tokens", "temperature", "seed", "stop", "reasoning_effort", "stream_options", "max_tokens")
KINDS: dict[str, FailureKind] = {
    "insufficient_quota": "quota",
    "rate_limit_exceeded": "rate_limit",
    "invalid_api_key": "auth",
    "invalid_prompt": "rejected",
    "invalid_request_error": "rejected",
    "context_length_exceeded": "rejected",
}
"""What an error's code means where it comes within a reply."""
STOPS = {"max_tokens": "length", "model_length": "length", "eos": "stop", "eos_token": "stop"}
"""What other services call the end of an answer (Mistral, Together, TGI, proxies of Anthropic)."""
DIGITS_OF_A_STATUS = 3
BROKE_OFF = ("error", "abort", "insufficient_system_resource")
"""Ends that are the service's fault and not the model's (OpenRouter, Mistral, vLLM; SGLang; DeepSeek)."""
THOUGHTS = ("thinking", "reasoning")
"""Types of parts whose text is a thought."""


class _Part(Struct):
    """One part of a content that is a list: a text, a thought (a text or parts again, by several names), or neither."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    thinking: str | list[_Part] | None = None
    reasoning: str | list[_Part] | None = None
    summary: str | list[_Part] | None = None

    @property
    def said(self) -> list[tuple[str, Channel]]:
        """Its texts, each with its channel."""
        thoughts = [_joined(thought) for thought in (self.thinking, self.reasoning, self.summary) if thought]
        own: Channel = "reasoning" if self.type in THOUGHTS else "answer"
        texts: list[tuple[str | None, Channel]] = [(self.text, own), (self.refusal, "answer")]
        return [*((thought, "reasoning") for thought in thoughts), *((text, one) for text, one in texts if text)]


class _Delta(Struct):
    content: str | list[_Part | str] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None

    @property
    def has_refused(self) -> bool:
        if self.refusal or not isinstance(self.content, list):
            return bool(self.refusal)
        return any(isinstance(part, _Part) and part.refusal for part in self.content)


class _Token(Struct):
    logprob: float | None = None


class _Logprobs(Struct):
    """Of chats ``content`` or ``refusal``; of completions ``token_logprobs``, or ``content`` at some servers."""

    content: list[_Token] | None = None
    refusal: list[_Token] | None = None
    token_logprobs: list[float | None] | None = None

    @property
    def values(self) -> list[float]:
        """Those of its tokens, as far as they are told."""
        told = [token.logprob for token in (*(self.content or ()), *(self.refusal or ()))]
        return [logprob for logprob in told or self.token_logprobs or () if logprob is not None]


class _Choice(Struct):
    index: int | None = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    logprobs: _Logprobs | float | list[Any] | None = None
    finish_reason: str | None = None
    error: Any = None

    @property
    def logprob_values(self) -> list[float]:
        """Its tokens' log-probabilities; of Together a streamed piece, which is one token, has its own as a number."""
        if isinstance(self.logprobs, _Logprobs):
            return self.logprobs.values
        return [self.logprobs] if isinstance(self.logprobs, float) else []


class _OfGroq(Struct):
    usage: Told = None


class _Reply(Struct):
    """``object`` and ``message`` are read of an error that stands bare in the place of a reply (vLLM, FastChat)."""

    choices: list[_Choice] | None = None
    usage: Told = None
    x_groq: _OfGroq | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    error: Any = None
    object: Any = None
    message: Any = None
    code: Any = None


_decoder = msgspec.json.Decoder(ready(_Reply))


class OpenAI(Endpoint):
    """One model behind one endpoint that speaks chat completions."""

    def __init__(
        self,
        *,
        base_url: str,
        key: Secret | None = None,
        headers: Mapping[str, str] | None = None,
        stall_s: float = STALL_TIMEOUT_S,
        keep_alive: bool = True,
    ) -> None:
        sent = key_headers(key) if headers is None else headers
        super().__init__(CHAT, base_url=base_url, headers=sent, stall_s=stall_s, keep_alive=keep_alive)

    def with_confidence(self, request: Request) -> Request:
        """The request with its tokens' log-probabilities asked for."""
        logprobs = 1 if request.prompt.kind == "completion" else True  # there it is how many other tokens are told
        return msgspec.structs.replace(request, extra={"logprobs": logprobs} | request.extra)

    def sent(self, request: Request) -> Sent:
        """What is sent for a request: for continuations to weigh, the prompt to be echoed with each of them."""
        prompt = request.prompt
        if prompt.kind != "likelihood":
            return super().sent(request)
        body = echo_body(request.model, prompt.text, prompt.continuations, request.extra)
        return Sent(self.url("/completions"), body, self._headers)

    async def likelihood(self, request: Request) -> Weighed:
        """The log-probability of each continuation, from an endpoint that echoes its prompt with them."""
        async with self._http.post(*self.sent(request)) as reply:
            data, _ = await reply.read()
        return read_echo(data, request.prompt.text, request.prompt.continuations)

    async def probe_likelihood(self, model: str) -> None:
        """Ask for one likelihood; an endpoint that cannot give it is refused with its own words."""
        prompt = Prompt(kind="likelihood", text=TRY_TEXT, continuations=(TRY_CONTINUATION,))
        try:
            await self.likelihood(Request(model=model, prompt=prompt))
        except ProviderError as error:
            raise UsageError(
                f"{model} at {self.origin} gives no log-likelihoods (completions with echo and logprobs): "
                f"{unended(error)}. Try: a protocol that generates, or a server such as vLLM"
            ) from error


def connect(spec: ModelSpec) -> OpenAI:
    """The endpoint that ``spec`` names."""
    return with_key(spec, key_of(spec))


def with_key(spec: ModelSpec, key: Secret | None) -> OpenAI:
    """The same with this key."""
    return OpenAI(base_url=address_of(spec), key=key, stall_s=stall_s_of(spec))


def wire_body(request: Request, refused: Settings) -> dict[str, Any]:
    """The JSON that is sent, without ``extra``."""
    settings: dict[str, Any] = {
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "reasoning_effort": request.reasoning_effort,
        "stream_options": {"include_usage": True},
    }
    body: dict[str, Any] = {"model": request.model, "stream": True}
    body |= {name: value for name, value in settings.items() if value is not None}
    for name in refused & body.keys():
        value = body.pop(name)
        if name in RENAMED and RENAMED[name] not in refused:
            body[RENAMED[name]] = value
    if request.prompt.kind == "completion":
        body["prompt"] = request.prompt.text
    else:
        body["messages"] = [{"role": turn.role, "content": turn.content} for turn in request.prompt.messages]
    return body


async def _streamed(reply: Reply) -> AsyncIterator[Event]:
    done = Done()
    told: Told = None
    finished = refused = has_begun = False
    logprobs: list[float] = []
    async for data, at_ns in reply.events():
        if data == b"[DONE]":
            finished = True
            break
        part = _decode(data)
        if (choice := _first(part.choices)) is not None:
            has_begun = True
            for text in _texts(choice.delta or _Delta(content=choice.text), at_ns):
                yield text
            if choice.logprobs is not None:
                logprobs += choice.logprob_values
            refused = refused or bool(choice.delta and choice.delta.has_refused)
            if choice.finish_reason:
                finished = True
                done = msgspec.structs.replace(done, stop_reason="refusal" if refused else _reason(choice))
        if part.usage or part.x_groq:
            told = together(told, _told_of(part))
            done = msgspec.structs.replace(done, usage=usage_of(told))
        if part.model != done.model_reported or part.system_fingerprint != done.fingerprint:
            done = _with_origin(done, part)
        if finished and has_begun:
            yield _with_confidence(done, logprobs)
    if not finished:
        raise malformed(BROKEN_OFF)
    if not has_begun:
        raise malformed("the stream holds no answer")
    await reply.finish()
    yield _with_confidence(done, logprobs)


def _whole(data: bytes, at_ns: int) -> list[Event]:
    part = _decode(data)
    if (choice := _first(part.choices)) is None:
        raise no_answer(data)
    message = choice.message or _Delta(content=choice.text)
    reason = "refusal" if message.has_refused else _reason(choice)
    done = Done(
        at_ns=at_ns,
        streamed=False,
        stop_reason=reason,
        usage=usage_of(_told_of(part)),
        model_reported=part.model or None,
        fingerprint=part.system_fingerprint or None,
        confidence=mean_probability(choice.logprob_values),
    )
    return [*_texts(message, at_ns), done]


def _first(choices: list[_Choice] | None) -> _Choice | None:
    """The one choice that counts, where ``extra`` asked for several: they come in any order, or one to an event."""
    if not choices:
        return None
    if len(choices) == 1 and not choices[0].index:
        return choices[0]
    return next((choice for choice in choices if not choice.index), None)


def _reason(choice: _Choice) -> str | None:
    """Why the answer ended, in the words used here; one that the service broke off is none."""
    if choice.error or choice.finish_reason in BROKE_OFF:
        raise _told(choice.error or f"the answer ended with {choice.finish_reason!r}")
    return STOPS.get(choice.finish_reason or "", choice.finish_reason)


def _texts(delta: _Delta, at_ns: int) -> list[Text]:
    reasoning = delta.reasoning_content or delta.reasoning
    texts = [Text(reasoning, "reasoning", at_ns)] if reasoning else []
    answer = delta.content or delta.refusal
    if isinstance(answer, list):
        return [*texts, *(Text(text, channel, at_ns) for part in answer for text, channel in _said(part) if text)]
    return [*texts, Text(answer, "answer", at_ns)] if answer else texts


def _said(part: _Part | str) -> list[tuple[str, Channel]]:
    return [(part, "answer")] if isinstance(part, str) else part.said


def _joined(thought: str | list[_Part]) -> str:
    return thought if isinstance(thought, str) else "".join(text for part in thought for text, _ in part.said)


def _decode(data: bytes) -> _Reply:
    part = decoded(_decoder, data)
    if part.error:
        raise _told(part.error)
    if part.object == "error":
        raise _told({"message": part.message, "code": part.code})
    return part


def _told(error: Any) -> ProviderError:
    told = error if isinstance(error, dict) else {"message": error}
    return reported(told.get("message"), error_kind(told.get("code"), told.get("type")))


def error_kind(*codes: object) -> FailureKind:
    """What the codes of an error within a reply mean; some services put the status there."""
    for code in codes:
        if isinstance(code, int) or (isinstance(code, str) and code.isdecimal() and len(code) == DIGITS_OF_A_STATUS):
            return classify(int(code), "")
        if isinstance(code, str) and code in KINDS:
            return KINDS[code]
    return "server"


def _told_of(part: _Reply) -> Told:
    return part.usage or (part.x_groq.usage if part.x_groq else None)


def _with_confidence(done: Done, logprobs: list[float]) -> Done:
    return msgspec.structs.replace(done, confidence=mean_probability(logprobs)) if logprobs else done


def _with_origin(done: Done, part: _Reply) -> Done:
    return msgspec.structs.replace(
        done,
        model_reported=part.model or done.model_reported,
        fingerprint=part.system_fingerprint or done.fingerprint,
    )


CHAT = Dialect(
    name="OpenAI's protocol",
    path=lambda request: "/completions" if request.prompt.kind == "completion" else "/chat/completions",
    body=wire_body,
    streamed=_streamed,
    whole=_whole,
    kinds=("chat", "completion"),
    optional={name: (name,) for name in OPTIONAL},
    renamed={"stop": CUT_HERE} | {name: f"it is sent as {later!r}" for name, later in RENAMED.items()},
)
