"""Whether the tokens that a service reports can be: counts that cannot are as unknown as those it does not report."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import UNSET
from msgspec.structs import replace

from steelyard.engine.money.budget import input_bound
from steelyard.types import Completion, Request, Usage

MOST_UNSEEN_TOKENS = 1 << 20
"""What may be counted beyond what was sent, shown and allowed: hidden reasoning, which some services do not hold
against the limit, a template, what a service looks up. It is as long as the longest contexts of most models.
"""

WHOLES = {"input_tokens": ("cached_input_tokens", "cache_write_tokens"), "output_tokens": ("reasoning_tokens",)}
"""Counts, and the parts of them that are told apart."""


def believed(completion: Completion, request: Request, notice: Callable[[str], None]) -> Completion:
    """The completion without the counts that cannot be, which stand beside the others as ``stated``.

    Of each way in which they cannot be the user hears once.
    """
    usage = completion.usage
    if usage.source != "server" or _is_plain(usage):
        return completion
    for why, names in _doubts(completion, request):
        told = f"{request.model}: the service counted tokens that cannot be ({why})"
        by_them = ", and with them the cost" if usage.charged_usd is UNSET else ""
        notice(f"{told}; they are taken as unknown{by_them}")
        usage = replace(usage, **dict.fromkeys(names), stated=completion.usage)
    return completion if usage is completion.usage else replace(completion, usage=usage)


def _is_plain(usage: Usage) -> bool:
    """Whether nothing can be doubted: some of each, not beyond all bounds, and no part told apart."""
    return (
        0 < (usage.input_tokens or 0) <= MOST_UNSEEN_TOKENS
        and 0 < (usage.output_tokens or 0) <= MOST_UNSEEN_TOKENS
        and not (usage.cached_input_tokens or usage.cache_write_tokens or usage.reasoning_tokens)
    )


def _doubts(completion: Completion, request: Request) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Why a count cannot be, each with the counts that it makes unknown."""
    for whole, parts in WHOLES.items():
        tokens = getattr(completion.usage, whole)
        if tokens is None:
            continue
        if tokens == 0 and (whole == "input_tokens" or completion.text or completion.reasoning):
            yield "none where there was text", (whole,)
        elif tokens > MOST_UNSEEN_TOKENS and tokens > MOST_UNSEEN_TOKENS + _seen(whole, completion, request):
            yield "more than there can be", (whole,)
        elif tokens < _sum(completion.usage, parts):
            yield "more in a part than in the whole", (whole, *parts)


def _seen(whole: str, completion: Completion, request: Request) -> int:
    """How many tokens what was sent can have, or what was shown or allowed."""
    if whole == "input_tokens":
        return input_bound(request)
    shown = (completion.text + completion.reasoning).encode("utf-8", "surrogatepass")
    return max(len(shown), request.max_tokens or 0)


def _sum(usage: Usage, parts: tuple[str, ...]) -> int:
    return sum(getattr(usage, part) or 0 for part in parts)
