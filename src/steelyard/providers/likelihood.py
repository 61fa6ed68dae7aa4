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
ALSO = 100
"""Likeliest tokens reported where continuations part: most letters are among them, at 1 ms more a call."""
LOWEST = -103.28
"""Log of the smallest positive 32-bit float: the server's softmax cannot tell anything below it from 0."""

WHOLE = 1_000_000
"""More than any vocabulary holds."""

Path = tuple[int, ...]
"""The tokens of a continuation, or of its beginning."""

Post = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Posts a body to a path of the server and returns the decoded reply."""


async def continuation_logprobs(
    post: Post, context: str, continuations: Sequence[str], *, slot: int = -1
) -> tuple[Likelihood, ...]:
    """The natural log-probability of each continuation after ``context``, asked one token after the other.

    ``slot`` keeps all requests on one slot of the server, whose cache then holds the context; -1 lets it choose.
    Tokens that several continuations begin with are asked once, and where several differ in their next token, the
    ones that stand among the likeliest are read off one reply. ``characters`` leaves out leading spaces.
    """
    start, ends = await _tokens(post, context, continuations)
    known: dict[Path, float] = {}
    paths = _paths(ends)
    for path in paths:
        if path not in known:
            siblings = [other for other in paths if other[:-1] == path[:-1] and other != path]
            known |= await _step(post, [*start, *path[:-1]], path, siblings, slot)
    return tuple(
        Likelihood(
            logprob=sum(known[end[: done + 1]] for done in range(len(end))),
            tokens=len(end),
            characters=len(continuation.lstrip(" ")),
        )
        for continuation, end in zip(continuations, ends, strict=True)
    )


def _paths(ends: Sequence[Path]) -> list[Path]:
    """Every beginning of every continuation, those of one continuation together, so that the cache is used."""
    return list(dict.fromkeys(end[: done + 1] for end in ends for done in range(len(end))))


async def _step(post: Post, prompt: list[int], path: Path, siblings: Sequence[Path], slot: int) -> dict[Path, float]:
    """The log-probability of the last token of ``path``, and of those siblings that stand high enough beside it."""
    reply = await post("/completion", forced_request(prompt, path[-1], slot, also=ALSO if siblings else 1))
    if reply.get("stop") and not reply.get("completion_probabilities"):
        logprobs = await _whole_softmax(post, prompt, slot)
    else:
        logprobs = _logprobs(reply, path[-1])
    wanted = [path, *(sibling for sibling in siblings if sibling[-1] in logprobs)]
    return {name: max(logprobs.get(name[-1], LOWEST), LOWEST) for name in wanted}


async def _whole_softmax(post: Post, prompt: list[int], slot: int) -> dict[int, float]:
    """Every token's log-probability, for a token that is part of a character: the server keeps back what it chose
    until the character is whole, and with it the log-probability. Another token is forced, and this one looked up."""
    harmless = (await _tokenise(post, "a"))[-1]
    return _logprobs(await post("/completion", forced_request(prompt, harmless, slot, also=WHOLE)), harmless)


def _logprobs(reply: Any, forced: int) -> dict[int, float]:
    """The log-probabilities that a reply holds: of the token that was forced, and of the likeliest."""
    try:
        chosen = reply["completion_probabilities"][0]
        found = {int(other["id"]): float(other["logprob"]) for other in chosen.get("top_logprobs", ())}
        found[int(chosen["id"])] = float(chosen["logprob"])
        token = int(chosen["id"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _malformed("/completion", reply) from error
    if token != forced:
        raise ProviderError(Failure(kind="malformed", message=f"llama.cpp chose token {token}, not {forced} as forced"))
    return found


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


def forced_request(prompt: list[int], token: int, slot: int, *, also: int = 1) -> dict[str, Any]:
    """The body for ``/completion`` that forces ``token`` after ``prompt`` and asks for its log-probability.

    ``also`` is how many of the likeliest tokens are reported beside it.
    """
    return {
        "prompt": prompt,
        "n_predict": 1,
        "temperature": 0,
        "n_probs": also,
        "logit_bias": [[token, BIAS]],
        "cache_prompt": True,
        "id_slot": slot,
    }


def _rejected(message: str) -> ProviderError:
    return ProviderError(Failure(kind="rejected", message=message))


def _malformed(path: str, reply: Any) -> ProviderError:
    return ProviderError(Failure(kind="malformed", message=f"cannot read llama.cpp's {path}: {str(reply)[:200]}"))
