"""Log-likelihoods from a completions endpoint that echoes its prompt with log-probabilities (vLLM, SGLang, TGI).

The context and each continuation go as one prompt with ``echo`` and ``logprobs``; the continuation's tokens are those
that begin where it begins. An endpoint that ignores ``echo`` would give the log-probability of its own next words, so
the reply must repeat the prompt, or it is refused.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from steelyard.errors import ProviderError
from steelyard.providers.counted import Told, usage_of
from steelyard.providers.interface import Weighed
from steelyard.types import Failure, Likelihood
from steelyard.types.ready import ready

TRY_TEXT = "The capital of France is"
TRY_CONTINUATION = " Paris"


class Logprobs(Struct):
    """The legacy arrays of the completions protocol, one entry a token."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    text_offset: list[int] = []


class EchoChoice(Struct):
    """One prompt's echo."""

    index: int = 0
    text: str = ""
    logprobs: Logprobs | None = None


class EchoReply(Struct):
    """What comes back for a list of prompts."""

    choices: list[EchoChoice] = []
    usage: Told = None
    model: str | None = None
    system_fingerprint: str | None = None


def echo_body(model: str, text: str, continuations: tuple[str, ...], extra: dict[str, Any]) -> dict[str, Any]:
    """The request: every continuation behind the text, one token more than the prompt since some servers refuse 0."""
    body = {
        "model": model,
        "prompt": [text + continuation for continuation in continuations],
        "max_tokens": 1,
        "temperature": 0,
        "echo": True,
        "logprobs": 1,
    }
    return body | extra


def read_echo(data: bytes, text: str, continuations: tuple[str, ...]) -> Weighed:
    """One likelihood per continuation, in order; a reply that does not echo its prompts is ``rejected``."""
    try:
        reply = msgspec.json.decode(data, type=ready(EchoReply))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderError(Failure(kind="malformed", message=f"cannot read the echoed reply: {error}")) from error
    by_index = {choice.index: choice for choice in reply.choices}
    if set(by_index) != set(range(len(continuations))):
        raise _refused(f"{len(reply.choices)} choices for {len(continuations)} prompts")
    return Weighed(
        likelihoods=tuple(_likelihood(by_index[index], text, word) for index, word in enumerate(continuations)),
        usage=usage_of(reply.usage),
        model_reported=reply.model,
        fingerprint=reply.system_fingerprint,
    )


def _likelihood(choice: EchoChoice, text: str, continuation: str) -> Likelihood:
    found, whole = choice.logprobs, text + continuation
    if found is None or not (len(found.tokens) == len(found.token_logprobs) == len(found.text_offset)):
        raise _refused("no log-probability for each token")
    if not choice.text.startswith(whole):
        raise _refused("the reply does not begin with the prompt")
    begins, ends = len(text.rstrip()), len(whole)
    start = found.text_offset[0] if found.text_offset else 0  # some servers count from behind the first special token
    chosen = [
        logprob
        for logprob, offset in zip(found.token_logprobs, found.text_offset, strict=True)
        if begins <= offset - start < ends
    ]
    if not chosen or any(logprob is None for logprob in chosen):
        raise _refused("the continuation's tokens have no log-probabilities")
    total = sum(logprob for logprob in chosen if logprob is not None)
    return Likelihood(logprob=total, tokens=len(chosen), characters=len(continuation.lstrip(" ")))


def _refused(what: str) -> ProviderError:
    return ProviderError(Failure(kind="rejected", message=f"the endpoint gives no prompt log-probabilities: {what}"))
