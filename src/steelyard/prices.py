"""What a call costs: usage to USD at a date, or unknown.

A price the user states comes first, then what the service says that it charged, where it is one that does, then the
bundled table of genai-prices. Where none knows the model, or the service did not report its tokens, the cost is
unknown, which is ``None`` and never 0, unless the user states that a token costs nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import UNSET, Struct
from msgspec.structs import astuple

from steelyard.types import Usage

if TYPE_CHECKING:
    from steelyard.types import ModelSpec, Price

TABLE = "genai-prices"
UNKNOWN = "unknown"
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

SAYS_ITS_CHARGE = "openrouter"
"""The provider whose replies say what they cost: it sends a request to whom it likes, each at a price of its own."""

OF_ITS_OWN_ADDRESS = ("azure",)
"""Providers whose every customer has an address, so that one given by hand says nothing about the price."""

PROBE = 1_000
BATCH = {"processing": "batch"}
STANDARD_TIERS = ("auto", "default", "standard")


class Quote(Struct, frozen=True, kw_only=True):
    """Rates in USD per million tokens, where they come from and of when. Reasoning is charged as output.

    ``is_tier_listed`` is false where a service tier is asked for whose price nobody knows: costs are then those of the
    standard tier.
    """

    input: float
    cached_input: float
    output: float
    source: str
    at: str
    tier: str | None = None
    is_tier_listed: bool = True


def load_table() -> str:
    """Read the price table into memory (a quarter of a second, once) and name it with its version."""
    import genai_prices  # noqa: F401

    return _table()


def _table() -> str:
    import importlib.metadata  # a worker has no other use for it

    return f"{TABLE} {importlib.metadata.version(TABLE)}"


def price_source(spec: ModelSpec) -> str:
    """Where the price of this model comes from: the user, the table, or nowhere."""
    if spec.cascade is not None:
        return " > ".join(map(price_source, spec.asked))
    if spec.price is not None:
        return "stated by the user"
    return TABLE if _is_listed(spec) else UNKNOWN


def cost_usd(usage: Usage, spec: ModelSpec, at: datetime) -> float | None:
    """The price of one answered call in USD, or ``None`` where price or tokens are unknown."""
    if spec.price is None and spec.provider == SAYS_ITS_CHARGE and usage.charged_usd is not UNSET:
        return usage.charged_usd
    if _is_stated_free(spec):
        return 0.0
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    if spec.price is not None:
        return _stated(usage, spec) + _reasoning_surcharge(usage, spec.price)
    if not _is_listed(spec):
        return None
    return batch_cost_usd(usage, spec, at) if spec.batch else _listed(usage, spec, at)


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


def _is_stated_free(spec: ModelSpec) -> bool:
    """Whether the user says that the model costs nothing, however many tokens it takes."""
    return spec.price is not None and not any(astuple(spec.price))


def _context(spec: ModelSpec) -> dict[str, str]:
    asked = tier(spec)
    return {} if asked is None else {"service_tier": asked}


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


def _reasoning_surcharge(usage: Usage, price: Price) -> float:
    """Reasoning is billed as output unless it has a price of its own."""
    if price.reasoning is None:
        return 0.0
    return (usage.reasoning_tokens or 0) * (price.reasoning - price.output) / 1e6


def batch_cost_usd(usage: Usage, spec: ModelSpec, at: datetime) -> float | None:
    """What the same would cost as a batch, where the service takes batches and its price for them is listed."""
    if spec.price is not None or not _is_listed(spec):
        return None
    as_batch = _listed(usage, spec, at, BATCH)
    return as_batch if as_batch != _listed(usage, spec, at, {}) else None


def quote(spec: ModelSpec, at: datetime) -> Quote | None:
    """The rates that a small request is charged at, for the record; ``None`` where the price is unknown."""
    rates = [
        cost_usd(Usage(input_tokens=inputs, cached_input_tokens=cached, output_tokens=outputs), spec, at)
        for inputs, cached, outputs in ((PROBE, 0, 0), (PROBE, PROBE, 0), (0, 0, PROBE))
    ]
    if any(rate is None for rate in rates):
        return None
    per_million = [round((rate or 0.0) * 1e6 / PROBE, 9) for rate in rates]
    asked_tier = tier(spec)
    return Quote(
        input=per_million[0],
        cached_input=per_million[1],
        output=per_million[2],
        source=_table() if spec.price is None else price_source(spec),
        at=at.isoformat(timespec="seconds"),
        tier=asked_tier,
        is_tier_listed=spec.price is not None or asked_tier is None or _has_tier_price(spec, at),
    )


def tier(spec: ModelSpec) -> str | None:
    """The service tier that the model's requests ask for; ``None`` for the standard one."""
    asked = spec.extra.get("service_tier")
    return asked if isinstance(asked, str) and asked not in STANDARD_TIERS else None


def _has_tier_price(spec: ModelSpec, at: datetime) -> bool:
    """Whether the table knows the tier. One that it does not know is charged in silence at the standard price."""
    usage = Usage(input_tokens=PROBE, output_tokens=PROBE)
    return _listed(usage, spec, at) != _listed(usage, spec, at, {})


def _listed(usage: Usage, spec: ModelSpec, at: datetime, context: dict[str, str] | None = None) -> float | None:
    """The table's price; ``context`` takes the place of the service tier that the model's requests ask for."""
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
        found = genai_prices.calc_price(
            counted,
            model,
            provider_id=LISTED[provider],
            genai_request_timestamp=at,
            price_context=_context(spec) if context is None else context,
        )
    except (LookupError, ValueError):  # an unknown model, or counts that contradict each other
        return None
    return float(found.total_price)
