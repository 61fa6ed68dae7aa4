"""Prices: by date, with their source; cached input, reasoning, batches and tiers; unknown is unknown."""

from datetime import UTC, datetime

import pytest

from steelyard import prices
from steelyard.types import ModelSpec, Price, Usage

NOW = datetime(2026, 11, 25, tzinfo=UTC)
THEN = datetime(2025, 5, 1, tzinfo=UTC)
THOUSAND = Usage(input_tokens=1000, output_tokens=200)


def spec(model="gpt-4o-mini", *, provider="openai", **changes):
    return ModelSpec(id=model, provider=provider, model=model, **changes)


@pytest.mark.parametrize(
    ("model", "usd"), [("gpt-3.5-turbo", 0.0008), ("gpt-4", 0.042), ("gpt-4o", 0.0045), ("gpt-4o-mini", 0.00027)]
)
def test_known_models_have_their_listed_price(model, usd):
    assert prices.cost_usd(THOUSAND, spec(model), NOW) == pytest.approx(usd)


def test_openrouters_word_on_what_it_charged_comes_before_the_table_and_after_the_user():
    charged = Usage(input_tokens=1000, output_tokens=200, charged_usd=0.0042)
    routed = spec("openai/gpt-4o-mini", provider="openrouter")
    assert prices.cost_usd(THOUSAND, routed, NOW) == pytest.approx(0.00027)
    assert prices.cost_usd(charged, routed, NOW) == 0.0042
    assert prices.cost_usd(charged, spec("a/new-one", provider="openrouter"), NOW) == 0.0042
    own = spec("a/new-one", provider="openrouter", price=Price(input=1.0, output=2.0))
    assert prices.cost_usd(charged, own, NOW) == pytest.approx(0.0014)
    assert prices.cost_usd(charged, spec(), NOW) == pytest.approx(0.00027)


def test_a_price_is_that_of_the_day_of_the_call():
    assert prices.quote(spec("o3"), THEN).output == 40.0
    assert prices.quote(spec("o3"), NOW).output == 8.0


@pytest.mark.parametrize(
    ("given", "usage"),
    [
        (spec("no-such-model"), THOUSAND),
        (spec(base_url="http://127.0.0.1/v1"), THOUSAND),
        (spec(), Usage(input_tokens=5)),
        (spec(), Usage()),
        (ModelSpec(id="l", provider="local", model="l"), THOUSAND),
    ],
)
def test_unknown_is_unknown_and_never_nothing(given, usage):
    assert prices.cost_usd(usage, given, NOW) is None


def test_what_is_stated_to_cost_nothing_costs_nothing_also_where_no_tokens_were_counted():
    free = spec("mine", price=Price(input=0.0, output=0.0))
    assert prices.cost_usd(Usage(), free, NOW) == 0.0
    reasoning = spec("mine", price=Price(input=0.0, output=0.0, reasoning=3.0))
    assert prices.cost_usd(Usage(), reasoning, NOW) is None


def test_input_from_the_services_cache_is_cheaper():
    cached = Usage(input_tokens=1000, output_tokens=200, cached_input_tokens=800)
    assert prices.cost_usd(cached, spec(), NOW) < prices.cost_usd(THOUSAND, spec(), NOW)
    own = spec("x", price=Price(input=1.0, output=2.0, cached_input=0.1))
    assert prices.cost_usd(cached, own, NOW) == pytest.approx((200 * 1 + 800 * 0.1 + 200 * 2) / 1e6)


def test_reasoning_is_charged_as_output_or_at_its_own_price():
    usage = Usage(input_tokens=0, output_tokens=1000, reasoning_tokens=400)
    assert prices.cost_usd(usage, spec("x", price=Price(input=1, output=2)), NOW) == pytest.approx(0.002)
    own = spec("x", price=Price(input=1, output=2, reasoning=5))
    assert prices.cost_usd(usage, own, NOW) == pytest.approx((600 * 2 + 400 * 5) / 1e6)
    assert prices.cost_usd(usage, spec("o3"), NOW) == pytest.approx(0.008)


def test_a_batch_costs_half_where_batches_are_listed_and_is_unknown_elsewhere():
    assert prices.batch_cost_usd(THOUSAND, spec(), NOW) == pytest.approx(prices.cost_usd(THOUSAND, spec(), NOW) / 2)
    assert prices.batch_cost_usd(THOUSAND, spec("x", price=Price(input=1, output=2)), NOW) is None
    assert prices.batch_cost_usd(THOUSAND, spec("no-such-model"), NOW) is None


def test_a_service_tier_has_its_own_price_or_says_that_nobody_knows_it():
    flex = {"service_tier": "flex"}
    listed = prices.quote(spec("gpt-5", extra=flex), NOW)
    assert (listed.tier, listed.is_tier_listed, listed.output) == ("flex", True, 5.0)
    unlisted = prices.quote(spec("gpt-4o-mini", extra=flex), NOW)
    assert (unlisted.tier, unlisted.is_tier_listed, unlisted.output) == ("flex", False, 0.6)
    assert prices.quote(spec(extra={"service_tier": "auto"}), NOW).tier is None


def test_a_quote_names_its_source_and_date():
    quote = prices.quote(spec(), NOW)
    assert quote.source.startswith("genai-prices 0.")
    assert quote.at == "2026-11-25T00:00:00+00:00"
    assert (quote.input, quote.output, quote.cached_input) == (0.15, 0.6, 0.075)
    stated = prices.quote(spec("x", price=Price(input=1, output=2)), NOW)
    assert (stated.source, stated.input, stated.output) == ("stated by the user", 1.0, 2.0)
