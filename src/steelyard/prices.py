"""What a call costs: usage to USD at a date, or unknown.

A price the user states comes first, then the bundled table of genai-prices. Where neither knows the model, or the
service did not report its tokens, the cost is unknown, which is ``None`` and never 0.
"""

from __future__ import annotations

import importlib.metadata
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.types import ModelSpec, Usage

TABLE = "genai-prices"
LISTED = {
    "anthropic": "anthropic",
    "azure": "azure",
    "deepseek": "deepseek",
    "google": "google",
    "groq": "groq",
    "openai": "openai",
    "openai-responses": "openai",
    "openrouter": "openrouter",
    "together": "together",
}
"""What the table calls each provider of ours."""

BEHIND_LITELLM = {"gemini": "google", "together_ai": "together"}
"""Providers that litellm calls by other names than ours; its models have their provider before the slash."""

OF_ITS_OWN_ADDRESS = ("azure",)
"""Providers whose every customer has an address, so that one given by hand says nothing about the price."""


def load_table() -> str:
    """Read the price table into memory (a quarter of a second, once) and name it with its version."""
    import genai_prices  # noqa: F401

    return f"{TABLE} {importlib.metadata.version(TABLE)}"


def price_source(spec: ModelSpec) -> str:
    """Where the price of this model comes from: the user, the table, or nowhere."""
    if spec.price is not None:
        return "stated by the user"
    return TABLE if _is_listed(spec) else "unknown"


def cost_usd(usage: Usage, spec: ModelSpec, at: datetime) -> float | None:
    """The price of one answered call in USD, or ``None`` where price or tokens are unknown."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    if spec.price is not None:
        return _stated(usage, spec)
    if not _is_listed(spec):
        return None
    return _listed(usage, spec, at)


def listed_models() -> dict[str, list[str]]:
    """Every model that the table knows by the providers of ours that serve it; slow, for the words of an error."""
    from genai_prices.data import providers

    ours = {listed: name for name, listed in reversed(LISTED.items())}
    found: dict[str, list[str]] = {}
    for provider in providers:
        if provider.id in ours:
            for model in provider.models:
                found.setdefault(model.id, []).append(ours[provider.id])
    return found


def _is_listed(spec: ModelSpec) -> bool:
    return _served_by(spec)[0] in LISTED and (spec.base_url is None or spec.provider in OF_ITS_OWN_ADDRESS)


def _served_by(spec: ModelSpec) -> tuple[str, str]:
    if spec.provider != "litellm":
        return spec.provider, spec.model
    provider, _, model = spec.model.partition("/")
    return BEHIND_LITELLM.get(provider, provider), model


def _stated(usage: Usage, spec: ModelSpec) -> float:
    price = spec.price
    assert price is not None
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None
    cached = (usage.cached_input_tokens or 0) if price.cached_input is not None else 0
    written = (usage.cache_write_tokens or 0) if price.cache_write is not None else 0
    fresh = usage.input_tokens - cached - written
    of_the_cache = cached * (price.cached_input or 0.0) + written * (price.cache_write or 0.0)
    return (fresh * price.input + of_the_cache + usage.output_tokens * price.output) / 1e6


def _listed(usage: Usage, spec: ModelSpec, at: datetime) -> float | None:
    import genai_prices

    provider, model = _served_by(spec)
    try:
        counted = genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
        )
        found = genai_prices.calc_price(counted, model, provider_id=LISTED[provider], genai_request_timestamp=at)
    except (LookupError, ValueError):  # an unknown model, or counts that contradict each other
        return None
    return float(found.total_price)
