"""The tokens that a reply of OpenAI's protocol says it took, of whatever kind the reply is."""

from __future__ import annotations

from msgspec import Struct

from steelyard.providers.endpoint import Count, count
from steelyard.types import Usage


class InputDetails(Struct):
    """Parts of the prompt that have prices of their own."""

    cached_tokens: Count = None
    cache_write_tokens: Count = None


class OutputDetails(Struct):
    """Parts of the answer that are told apart."""

    reasoning_tokens: Count = None


class Counted(Struct):
    """The counts as they are told; DeepSeek has a name of its own for what came from its cache."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: InputDetails | None = None
    prompt_cache_hit_tokens: Count = None
    completion_tokens_details: OutputDetails | None = None


def usage_of(told: Counted) -> Usage:
    """The counts as a call's usage; one that makes no sense is unknown."""
    inputs, outputs = told.prompt_tokens_details, told.completion_tokens_details
    cached = inputs.cached_tokens if inputs else None
    return Usage(
        input_tokens=count(told.prompt_tokens),
        output_tokens=count(told.completion_tokens),
        cached_input_tokens=count(told.prompt_cache_hit_tokens if cached is None else cached),
        cache_write_tokens=count(inputs.cache_write_tokens) if inputs else None,
        reasoning_tokens=count(outputs.reasoning_tokens) if outputs else None,
        source="server",
    )
