"""Any endpoint that speaks the OpenAI protocol: chat completions and completions, streamed, with usage.

Most of the field does: OpenAI itself, vLLM, SGLang, llama.cpp, Ollama, Groq, Together, OpenRouter. What a model
refuses (a temperature, a token limit by its old name) is learnt from its error, said once, and left out from then on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.errors import ProviderError, UsageError
from steelyard.providers.echo import TRY_CONTINUATION, TRY_TEXT, echo_body, read_likelihoods
from steelyard.providers.http import STALL_TIMEOUT_S, Http, Reply, is_loopback, spent_for_s
from steelyard.providers.interface import Done, Event, FirstByte, Notice, Pause, Text
from steelyard.providers.secrets import Secret, from_environment, scrub
from steelyard.types import Failure, Likelihood, ModelSpec, Prompt, Request, Usage

BASE_URL = "https://api.openai.com/v1"
RENAMED = {"max_tokens": "max_completion_tokens"}
OPTIONAL = ("temperature", "seed", "stop", "reasoning_effort", "stream_options", "max_tokens")
COMPLAINTS = ("unsupported", "not support", "unrecognized", "unknown", "extra input", "unexpected")


class _Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class _Choice(Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _InputDetails(Struct):
    cached_tokens: int | None = None


class _OutputDetails(Struct):
    reasoning_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Reply(Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Reply)


class OpenAI:
    """One model behind one endpoint."""

    streams = True
    concurrency = 16

    def __init__(
        self,
        *,
        base_url: str = BASE_URL,
        key: Secret | None = None,
        stall_s: float = STALL_TIMEOUT_S,
        keep_alive: bool = True,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.origin = scrub(self.base_url)
        self._headers = {"Authorization": f"Bearer {key.reveal()}"} if key else {}
        self._http = Http(stall_s=stall_s, through_proxy=not is_loopback(self.base_url), keep_alive=keep_alive)
        self._refused: set[str] = set()

    async def open(self) -> None:
        """Create the session."""
        self._http.open()

    async def close(self) -> None:
        """Close the session."""
        await self._http.close()

    async def generate(self, request: Request) -> AsyncIterator[Event]:
        """Ask, and once more for each setting that the model turns out not to accept."""
        path = "/completions" if request.prompt.kind == "completion" else "/chat/completions"
        for _ in range(1 + len(OPTIONAL)):
            body = wire_body(request, self._refused)
            try:
                async with self._http.post(self.base_url + path, body, self._headers) as reply:
                    yield FirstByte(at_ns=reply.first_byte_ns)
                    if (pause_s := spent_for_s(reply.headers)) is not None:
                        yield Pause(seconds=pause_s)
                    is_streamed = reply.content_type == "text/event-stream"
                    async for event in _streamed(reply) if is_streamed else _whole(reply):
                        yield event
                return
            except ProviderError as error:
                setting = refused_setting(error.failure, body)
                if setting is None:
                    raise
                self._refused.add(setting)
                yield Notice(text=_left_out(request.model, setting))

    async def likelihood(self, request: Request) -> tuple[Likelihood, ...]:
        """The log-probability of each continuation, from an endpoint that echoes its prompt with them."""
        prompt = request.prompt
        body = echo_body(request.model, prompt.text, prompt.continuations, request.extra)
        async with self._http.post(self.base_url + "/completions", body, self._headers) as reply:
            data, _ = await reply.read()
        return read_likelihoods(data, prompt.text, prompt.continuations)

    async def probe_likelihood(self, model: str) -> None:
        """Ask for one likelihood; an endpoint that cannot give it is refused with its own words."""
        prompt = Prompt(kind="likelihood", text=TRY_TEXT, continuations=(TRY_CONTINUATION,))
        try:
            await self.likelihood(Request(model=model, prompt=prompt))
        except ProviderError as error:
            raise UsageError(
                f"{model} at {self.origin} gives no log-likelihoods (completions with echo and logprobs): {error}. "
                "Try: a protocol that generates, or a server such as vLLM"
            ) from error


def connect(spec: ModelSpec) -> OpenAI:
    """The endpoint that ``spec`` names. OpenAI's own wants a key; another one gets one if there is one."""
    variable = spec.api_key_env or "OPENAI_API_KEY"
    key = from_environment(variable)
    if key is None and (spec.base_url is None or spec.api_key_env):
        raise UsageError(
            f"{spec.id}: environment variable {variable} is not set. Try: export {variable}=..., "
            "or --base-url for an endpoint of your own"
        )
    return OpenAI(base_url=spec.base_url or BASE_URL, key=key)


def wire_body(request: Request, refused: set[str]) -> dict[str, Any]:
    """The JSON that is sent. ``extra`` comes last and may override everything but the question."""
    settings: dict[str, Any] = {
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "reasoning_effort": request.reasoning_effort,
        "stream_options": {"include_usage": True},
    }
    body: dict[str, Any] = {"model": request.model, "stream": True}
    for name, value in settings.items():
        if value is None:
            continue
        if name not in refused:
            body[name] = value
        elif name in RENAMED and RENAMED[name] not in refused:
            body[RENAMED[name]] = value
    if request.prompt.kind == "completion":
        body["prompt"] = request.prompt.text
    else:
        body["messages"] = [{"role": turn.role, "content": turn.content} for turn in request.prompt.messages]
    return body | request.extra


def refused_setting(failure: Failure, body: dict[str, Any]) -> str | None:
    """The setting that a 400 or 422 complains about by name, if it is one that can be left out."""
    if failure.status not in (400, 422):
        return None
    words = failure.message.lower()
    if not any(complaint in words for complaint in COMPLAINTS):
        return None
    for name in (*RENAMED.values(), *OPTIONAL):
        if name in body and name in words:
            return name
    return None


def _left_out(model: str, setting: str) -> str:
    instead = f"it is sent as {RENAMED[setting]!r}" if setting in RENAMED else "the model's own default stands"
    return f"{model} does not accept {setting!r}: {instead}"


async def _streamed(reply: Reply) -> AsyncIterator[Event]:
    done = Done()
    finished = refused = False
    async for data, at_ns in reply.events():
        if data == b"[DONE]":
            finished = True
            break
        part = _decode(data)
        if part.choices:
            choice = part.choices[0]
            for text in _texts(choice.delta or _Delta(content=choice.text), at_ns):
                yield text
            refused = refused or bool(choice.delta and choice.delta.refusal)
            if choice.finish_reason:
                finished = True
                done = msgspec.structs.replace(done, stop_reason="refusal" if refused else choice.finish_reason)
        if part.usage or part.model != done.model_reported or part.system_fingerprint != done.fingerprint:
            done = _with_origin(done, part)
    if not finished:
        raise ProviderError(Failure(kind="malformed", message="the stream ended before the answer was complete"))
    await reply.finish()
    yield done


async def _whole(reply: Reply) -> AsyncIterator[Event]:
    data, at_ns = await reply.read()
    part = _decode(data)
    if not part.choices:
        raise ProviderError(Failure(kind="malformed", message="the reply holds no answer"))
    choice = part.choices[0]
    message = choice.message or _Delta(content=choice.text)
    for text in _texts(message, at_ns):
        yield text
    reason = "refusal" if message.refusal else choice.finish_reason
    yield msgspec.structs.replace(_with_origin(Done(at_ns=at_ns, streamed=False), part), stop_reason=reason)


def _texts(delta: _Delta, at_ns: int) -> list[Text]:
    reasoning = delta.reasoning_content or delta.reasoning
    answer = delta.content or delta.refusal
    texts = [Text(reasoning, "reasoning", at_ns)] if reasoning else []
    return [*texts, Text(answer, "answer", at_ns)] if answer else texts


def _decode(data: bytes) -> _Reply:
    try:
        part = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        start = scrub(data[:200].decode("utf-8", "replace"))
        raise ProviderError(Failure(kind="malformed", message=f"cannot read the reply ({error}): {start}")) from error
    if part.error:
        text = part.error.get("message") if isinstance(part.error, dict) else part.error
        raise ProviderError(Failure(kind="server", message=scrub(f"the service reported: {text}")))
    return part


def _with_origin(done: Done, part: _Reply) -> Done:
    return msgspec.structs.replace(
        done,
        model_reported=part.model or done.model_reported,
        fingerprint=part.system_fingerprint or done.fingerprint,
        usage=_usage(part.usage) if part.usage else done.usage,
    )


def _usage(reported: _Usage) -> Usage:
    inputs, outputs = reported.prompt_tokens_details, reported.completion_tokens_details
    return Usage(
        input_tokens=_count(reported.prompt_tokens),
        output_tokens=_count(reported.completion_tokens),
        cached_input_tokens=_count(inputs.cached_tokens) if inputs else None,
        reasoning_tokens=_count(outputs.reasoning_tokens) if outputs else None,
        source="server",
    )


def _count(tokens: int | None) -> int | None:
    return tokens if tokens is not None and tokens >= 0 else None
