"""The table of services: where each is asked, with which key, and at which prices."""

from pathlib import Path

import pytest

from steelyard import prices
from steelyard.errors import UsageError
from steelyard.providers import BUILT_IN, HERE, connect
from steelyard.providers.azure import deployment_address
from steelyard.providers.services import SERVICES
from steelyard.types import ModelSpec

OWN_SERVERS = {"ollama", "vllm", "sglang"}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for service in SERVICES.values():
        for variable in (*service.key_variables, service.address_variable):
            if variable:
                monkeypatch.delenv(variable, raising=False)


def test_every_provider_with_an_address_stands_in_the_table():
    assert set(SERVICES) == set(BUILT_IN) - {*HERE, "litellm"}


def test_every_service_that_costs_money_has_listed_prices():
    assert set(prices.LISTED) == set(SERVICES) - OWN_SERVERS


@pytest.mark.parametrize("name", sorted(set(SERVICES) - OWN_SERVERS - {"azure"}))
def test_a_service_without_its_key_is_refused_before_any_call_and_with_it_is_not(name, monkeypatch):
    spec = ModelSpec(id=f"{name}/m", provider=name, model="m")
    with pytest.raises(UsageError, match=f"{SERVICES[name].key_variables[0]} is not set"):
        connect(spec)
    monkeypatch.setenv(SERVICES[name].key_variables[-1], "canary-0123456789")
    assert SERVICES[name].missing == ()
    provider = connect(spec)
    assert provider.origin.startswith(SERVICES[name].address)
    assert "canary" not in repr(vars(provider)["origin"])


@pytest.mark.parametrize("name", sorted(OWN_SERVERS))
def test_a_server_of_ones_own_needs_no_key(name):
    provider = connect(ModelSpec(id=f"{name}/m", provider=name, model="m"))
    assert provider.origin == SERVICES[name].address
    assert prices.price_source(ModelSpec(id="m", provider=name, model="m")) == "unknown"


def test_an_address_without_its_scheme_is_told_before_any_call():
    spec = ModelSpec(id="vllm/m", provider="vllm", model="m", base_url="localhost:8000/v1")
    with pytest.raises(UsageError, match=r"localhost:8000/v1 is no address: it names no http"):
        connect(spec)


def test_the_key_may_come_from_a_variable_of_the_entrys_own(monkeypatch):
    spec = ModelSpec(id="mine", provider="groq", model="m", api_key_env="TEAM_KEY")
    monkeypatch.setenv("GROQ_API_KEY", "canary-0123456789")
    with pytest.raises(UsageError, match="TEAM_KEY is not set"):
        connect(spec)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            "https://r.openai.azure.com/",
            "https://r.openai.azure.com/openai/deployments/my%20gpt?api-version=2024-10-21",
        ),
        (
            "https://r.openai.azure.com/openai?api-version=2025-01-01-preview",
            "https://r.openai.azure.com/openai/deployments/my%20gpt?api-version=2025-01-01-preview",
        ),
        ("https://r.openai.azure.com/openai/v1", "https://r.openai.azure.com/openai/v1"),
        ("https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai/v1/"),
        (
            "https://r.openai.azure.com/openai/deployments/x?api-version=1",
            "https://r.openai.azure.com/openai/deployments/x?api-version=1",
        ),
    ],
)
def test_azure_is_asked_at_its_deployment(address, expected):
    assert deployment_address(address, "my gpt", {}) == expected


def test_azure_is_asked_with_its_own_header_and_version(monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "canary-0123456789")
    spec = ModelSpec(id="azure/gpt-4o", provider="azure", model="gpt-4o")
    with pytest.raises(UsageError, match="AZURE_OPENAI_ENDPOINT is not set"):
        connect(spec)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com")
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01-preview")
    provider = connect(spec)
    assert provider.url("/chat/completions") == (
        "https://r.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2025-04-01-preview"
    )
    assert provider._headers == {"api-key": "canary-0123456789"}


def test_a_key_that_names_its_scheme_is_sent_as_it_is(monkeypatch):
    monkeypatch.setenv("MINE", "Basic dXNlcjpwYXNzd29yZA==")
    spec = ModelSpec(id="mine", provider="openai", model="m", base_url="http://h/v1", api_key_env="MINE")
    assert connect(spec)._headers == {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "https://user:password@host/v1"},
        {"base_url": "https://token-0123456789@host/v1"},
        {"base_url": "https://host/v1?api_key=abcdefgh12345678"},
        {"extra": {"headers": {"Authorization": "Bearer abcdefgh12345678"}}},
        {"extra": {"api_key": "sk-abcdefgh12345678"}},
    ],
)
def test_a_key_in_a_models_entry_is_refused_and_not_repeated(fields):
    spec = ModelSpec(id="mine", provider="openai", model="m", **({"base_url": "http://h/v1"} | fields))
    with pytest.raises(UsageError, match="holds a key or a password") as error:
        connect(spec)
    assert not any(word in str(error.value) for word in ("password@", "0123456789", "12345678"))


def test_the_page_about_providers_names_every_service_its_key_and_its_address():
    page = (Path(__file__).parents[2] / "docs" / "providers.md").read_text("utf-8")
    for name, service in SERVICES.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}/"))
        expected = (*service.key_variables, service.address or service.address_variable)
        assert [word for word in expected if f"`{word}`" not in row] == []
