"""Any model that litellm reaches: ``litellm/PROVIDER/MODEL``. Accuracy and cost as anywhere; timing is indirect.

litellm's own client stands between the socket and the clock and bunches what a service streams, so that a time to
first token or between tokens would be a figure of litellm's. Neither is measured; the total holds its overhead.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import AsyncIterator
from typing import Any

from steelyard.errors import EnvironmentFault, ProviderError, UsageError
from steelyard.providers.accepted import merged
from steelyard.providers.counted import count, whole_output
from steelyard.providers.http import is_loopback
from steelyard.providers.interface import Done, Event, Notice, Text
from steelyard.providers.refusals import classify
from steelyard.secrets import from_environment, scrub
from steelyard.types import Failure, FailureKind, ModelSpec, Request, Usage

STOLE_KEYS = ("1.82.7", "1.82.8")
"""Releases that sent credentials to a stranger (24 March 2026)."""

INDIRECT = "timing is indirect: litellm's client stands before the clock, so TTFT and ITL are not measured"


class LiteLLM:
    """One model behind litellm, asked without its retries, its cache and its fallbacks."""

    streams = False
    concurrency = 8
    timing = "indirect"
    kinds = ("chat",)

    def __init__(self, spec: ModelSpec, version: str) -> None:
        where = f" at {spec.base_url}" if spec.base_url else ""
        self.origin = scrub(f"litellm {version}: {spec.model}{where}")
        self._version = version
        self._settings: dict[str, Any] = {"api_base": spec.base_url} if spec.base_url else {}
        self._api_key_env = spec.api_key_env
        if spec.api_key_env and from_environment(spec.api_key_env) is None:
            raise UsageError(f"{spec.id}: environment variable {spec.api_key_env} is not set")
        if spec.base_url and is_loopback(spec.base_url) and not spec.api_key_env:
            self._settings["api_key"] = "none"  # litellm wants one, a server of one's own does not

    async def generate(self, request: Request) -> AsyncIterator[Event]:
        """Ask once, whole."""
        import litellm

        if request.prompt.kind != "chat":
            raise ProviderError(Failure(kind="unavailable", message="litellm is asked by chat. Try: a chat protocol"))
        yield Notice(text=f"{request.model}: {INDIRECT}")
        try:
            reply = await litellm.acompletion(**self._call(request))
        except Exception as error:  # every fault of a foreign client is this call's
            raise ProviderError(_failure(error)) from error
        choice = reply.choices[0]
        if reasoning := getattr(choice.message, "reasoning_content", None):
            yield Text(reasoning, "reasoning")
        if choice.message.content:
            yield Text(choice.message.content)
        yield Done(
            stop_reason=choice.finish_reason,
            usage=_usage(getattr(reply, "usage", None)),
            model_reported=reply.model,
            fingerprint=f"litellm {self._version}",
            streamed=False,
        )

    def _call(self, request: Request) -> dict[str, Any]:
        settings = {
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "stop": list(request.stop) or None,
            "seed": request.seed,
            "reasoning_effort": request.reasoning_effort,
        }
        body: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
        body["messages"] = [{"role": turn.role, "content": turn.content} for turn in request.prompt.messages]
        key = from_environment(self._api_key_env) if self._api_key_env else None
        own = self._settings | ({"api_key": key.reveal()} if key else {})
        return merged(body, request.extra) | own | {"model": request.model, "num_retries": 0, "max_retries": 0}


def connect(spec: ModelSpec) -> LiteLLM:
    """The model by litellm's name for it; litellm reads its provider's key from the environment by itself."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches a table when it is imported
    try:
        version = importlib.metadata.version("litellm")
        if version in STOLE_KEYS:
            raise EnvironmentFault(f"litellm {version} sends away the keys it finds. Try: pip install -U litellm")
        import litellm
    except ImportError as error:
        raise EnvironmentFault(f"{spec.id} needs a package. Try: pip install 'steelyard[litellm]'") from error
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return LiteLLM(spec, version)


def _failure(error: Exception) -> Failure:
    status = getattr(error, "status_code", None)
    name, text = type(error).__name__, str(error)
    kind: FailureKind = "provider"
    if "Timeout" in name:
        kind = "timeout"
    elif "Connection" in name or "Connection error" in text:
        kind = "connection"
    elif isinstance(status, int):
        kind = classify(status, text)
    return Failure(kind=kind, message=scrub(text)[:500], status=status if isinstance(status, int) else None)


def _usage(told: Any) -> Usage:
    if told is None:
        return Usage()
    inputs, outputs = getattr(told, "prompt_tokens_details", None), getattr(told, "completion_tokens_details", None)
    prompt, completion = count(told.prompt_tokens), count(told.completion_tokens)
    reasoning = count(getattr(outputs, "reasoning_tokens", None))
    return Usage(
        input_tokens=prompt,
        output_tokens=whole_output(prompt, completion, reasoning, count(getattr(told, "total_tokens", None))),
        cached_input_tokens=count(getattr(inputs, "cached_tokens", None)),
        cache_write_tokens=count(getattr(told, "cache_creation_input_tokens", None)),
        reasoning_tokens=reasoning,
        source="server",
    )
