"""Exact log-likelihoods from a llama.cpp server, which gives no log-probabilities of a prompt.

Each token of a continuation is forced: the prompt is the token ids so far, a bias of 1,000 on the next id makes the
server choose it, and the log-probability reported for the chosen token is the model's own, before the bias. With the
prompt cache on, a token costs one step of decoding and the context is read once.

Tokens are cut as lm-evaluation-harness cuts them (``TemplateLM._encode_pair``), so that scores can be compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from steelyard.errors import ProviderError
from steelyard.types import Failure, Likelihood

BIAS = 1000
LOWEST = -103.28
"""Log of the smallest positive 32-bit float: the server's softmax cannot tell anything below it from 0."""

Post = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Posts a body to a path of the server and returns the decoded reply."""


async def continuation_logprobs(
    post: Post, context: str, continuations: Sequence[str], *, slot: int = -1
) -> tuple[Likelihood, ...]:
    """The natural log-probability of each continuation after ``context``, asked one token after the other.

    ``slot`` keeps all requests on one slot of the server, whose cache then holds the context; -1 lets it choose.
    Tokens that several continuations begin with are asked once. ``characters`` leaves out leading spaces.
    """
    start, ends = await _tokens(post, context, continuations)
    known: dict[tuple[int, ...], float] = {}
    likelihoods = []
    for continuation, end in zip(continuations, ends, strict=True):
        total = 0.0
        for done, token in enumerate(end):
            path = end[: done + 1]
            if path not in known:
                known[path] = await _forced_logprob(post, [*start, *end[:done]], token, slot)
            total += known[path]
        likelihoods.append(Likelihood(logprob=total, tokens=len(end), characters=len(continuation.lstrip(" "))))
    return tuple(likelihoods)


async def _tokens(
    post: Post, context: str, continuations: Sequence[str]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The context's tokens and those of each continuation: what the whole has beyond as many as the context has."""
    kept = context.rstrip()
    moved = context[len(kept) :]
    start, *wholes = await asyncio.gather(
        _tokenise(post, kept), *(_tokenise(post, kept + moved + continuation) for continuation in continuations)
    )
    if not start:
        raise _rejected("a likelihood needs a context of at least one token")
    ends = [whole[len(start) :] for whole in wholes]
    for continuation, end in zip(continuations, ends, strict=True):
        if not end:
            raise _rejected(f"the continuation {continuation!r} has no token of its own after this context")
    return start, ends


async def _tokenise(post: Post, text: str) -> tuple[int, ...]:
    reply = await post("/tokenize", {"content": text, "add_special": True})
    try:
        return tuple(int(token) for token in reply["tokens"])
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed("/tokenize", reply) from error


async def _forced_logprob(post: Post, prompt: list[int], token: int, slot: int) -> float:
    reply = await post("/completion", forced_request(prompt, token, slot))
    try:
        chosen = reply["completion_probabilities"][0]
        forced, logprob = int(chosen["id"]), float(chosen["logprob"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _malformed("/completion", reply) from error
    if forced != token:
        raise ProviderError(Failure(kind="malformed", message=f"llama.cpp chose token {forced}, not {token} as forced"))
    return max(logprob, LOWEST)


def forced_request(prompt: list[int], token: int, slot: int) -> dict[str, Any]:
    """The body for ``/completion`` that forces ``token`` after ``prompt`` and asks for its log-probability."""
    return {
        "prompt": prompt,
        "n_predict": 1,
        "temperature": 0,
        "n_probs": 1,
        "logit_bias": [[token, BIAS]],
        "cache_prompt": True,
        "id_slot": slot,
    }


def _rejected(message: str) -> ProviderError:
    return ProviderError(Failure(kind="rejected", message=message))


def _malformed(path: str, reply: Any) -> ProviderError:
    return ProviderError(Failure(kind="malformed", message=f"cannot read llama.cpp's {path}: {str(reply)[:200]}"))
