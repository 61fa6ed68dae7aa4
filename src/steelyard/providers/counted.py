"""The tokens that a reply says it took, as they are told: an answer is not lost because a count of it is odd."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from steelyard.types import Usage

Told = Any
"""What stands in the place of the counts. Some services have something else there than an object of numbers."""

MOST_TOKENS = 1 << 40
MOST_USD = 1e6


def count(told: Told, *path: str) -> int | None:
    """The count at ``path``; one that is not there, no number, negative or beyond all bounds is unknown."""
    for name in path:
        told = told.get(name) if isinstance(told, dict) else None
    if told is None:
        return None
    if isinstance(told, float) and told.is_integer():
        told = int(told)
    return told if type(told) is int and 0 <= told < MOST_TOKENS else None  # a bool is no count


def first_count(*told: Told) -> int | None:
    """The first of these that is a count."""
    for each in told:
        if each is not None and (found := count(each)) is not None:
            return found
    return None


def together(before: Told, later: Told) -> dict[str, Told]:
    """Counts that come more than once in a stream are cumulative: the later one stands, where there is one."""
    told = [counts for counts in (before, later) if isinstance(counts, dict)]
    return {name: value for counts in told for name, value in counts.items() if value is not None}


def whole_output(prompt: int | None, completion: int | None, reasoning: int | None, total: int | None) -> int | None:
    """The output with its reasoning, both of which are billed: xAI counts one beside the other, most one in the other.

    The total of the same reply tells which. Where it tells neither, what is called the completion stands.
    """
    if prompt is None or completion is None or not reasoning or total != prompt + completion + reasoning:
        return completion
    return completion + reasoning


def usage_of(told: Told) -> Usage:
    """What OpenAI's protocol counts as a call's usage.

    Some count what came from their cache and what was thought beside the rest and not in its details, by the same names
    (Moonshot; SGLang, which says 0 where it does not count thoughts) or another (DeepSeek).
    """
    if not isinstance(told, dict):
        return Usage()
    inputs, outputs = _details(told, "prompt_tokens_details"), _details(told, "completion_tokens_details")
    prompt, completion = count(told.get("prompt_tokens")), count(told.get("completion_tokens"))
    reasoning = count(outputs.get("reasoning_tokens"))
    if reasoning is None:
        reasoning = count(told.get("reasoning_tokens")) or None
    return Usage(
        input_tokens=prompt,
        output_tokens=whole_output(prompt, completion, reasoning, count(told.get("total_tokens"))),
        cached_input_tokens=first_count(
            inputs.get("cached_tokens"), told.get("prompt_cache_hit_tokens"), told.get("cached_tokens")
        ),
        cache_write_tokens=count(inputs.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        source="server",
        charged_usd=_charged_usd(told) if "cost" in told else UNSET,
    )


def _details(told: dict[str, Told], name: str) -> dict[str, Told]:
    """What is told apart under that name; nothing where nothing is, or something else stands there."""
    details = told.get(name)
    return details if isinstance(details, dict) else {}


def _charged_usd(told: dict[str, Told]) -> float | UnsetType:
    """OpenRouter's word on what it charged; by a key of one's own, what the model's provider charges comes on top."""
    charged = _usd(told, "cost")
    if told.get("is_byok") is not True or charged is UNSET:
        return charged
    beside = _usd(told.get("cost_details"), "upstream_inference_cost")
    return UNSET if beside is UNSET else charged + beside


def _usd(told: Told, name: str) -> float | UnsetType:
    """The amount of that name; one that is not there, no number, negative or beyond all bounds is unknown."""
    amount = told.get(name) if isinstance(told, dict) else None
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < MOST_USD:
        return UNSET
    return float(amount)
