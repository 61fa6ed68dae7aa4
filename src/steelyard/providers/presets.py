"""The services and servers that speak OpenAI's protocol, in one table: where they are and which variable holds the key.

A preset is a name for an address. Everything else about them is ``openai``'s.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping

from msgspec import Struct

from steelyard.errors import UsageError
from steelyard.providers.endpoint import Endpoint, key_headers
from steelyard.providers.openai import BASE_URL, OpenAI
from steelyard.providers.responses import RESPONSES
from steelyard.secrets import Secret, from_environment
from steelyard.types import ModelSpec


class Preset(Struct, frozen=True, kw_only=True):
    """One service. ``base_url`` is ``None`` where every customer has an address of his own, named by ``url_variable``.

    ``needs_key`` is false for a server of one's own, which gets a key if there is one.
    """

    base_url: str | None = None
    url_variable: str | None = None
    key_variable: str
    needs_key: bool = True
    header: str = "Authorization"
    described: str


PRESETS = {
    "openai": Preset(base_url=BASE_URL, key_variable="OPENAI_API_KEY", described="OpenAI's chat completions"),
    "openai-responses": Preset(base_url=BASE_URL, key_variable="OPENAI_API_KEY", described="OpenAI's responses"),
    "azure": Preset(
        url_variable="AZURE_OPENAI_ENDPOINT",
        key_variable="AZURE_OPENAI_API_KEY",
        header="api-key",
        described="Azure OpenAI: MODEL is the name of a deployment",
    ),
    "openrouter": Preset(
        base_url="https://openrouter.ai/api/v1", key_variable="OPENROUTER_API_KEY", described="OpenRouter"
    ),
    "groq": Preset(base_url="https://api.groq.com/openai/v1", key_variable="GROQ_API_KEY", described="Groq"),
    "together": Preset(
        base_url="https://api.together.xyz/v1", key_variable="TOGETHER_API_KEY", described="Together AI"
    ),
    "deepseek": Preset(base_url="https://api.deepseek.com/v1", key_variable="DEEPSEEK_API_KEY", described="DeepSeek"),
    "ollama": Preset(
        base_url="http://localhost:11434/v1",
        key_variable="OLLAMA_API_KEY",
        needs_key=False,
        described="an Ollama server, by default on this machine",
    ),
    "vllm": Preset(
        base_url="http://localhost:8000/v1",
        key_variable="VLLM_API_KEY",
        needs_key=False,
        described="a vLLM server, by default on this machine",
    ),
    "sglang": Preset(
        base_url="http://localhost:30000/v1",
        key_variable="SGLANG_API_KEY",
        needs_key=False,
        described="an SGLang server, by default on this machine",
    ),
}

AZURE_VERSION_VARIABLE = "OPENAI_API_VERSION"
AZURE_VERSION = "2024-10-21"
"""The newest version of Azure's dated API that is not a preview; ``/openai/v1`` needs none."""


def connect(spec: ModelSpec) -> Endpoint:
    """The endpoint that ``spec`` names. A service wants a key; a server of one's own gets one if there is one."""
    preset = PRESETS[spec.provider]
    address = spec.base_url or preset.base_url or _own_address(spec, preset)
    is_needed = preset.needs_key and spec.base_url is None
    headers = key_headers(find_key(spec, preset.key_variable, is_needed=is_needed), preset.header)
    if spec.provider == "azure":
        address = azure_address(address, spec.model, os.environ)
    if spec.provider == "openai-responses":
        return Endpoint(RESPONSES, base_url=address, headers=headers, origin=f"{address.rstrip('/')}/responses")
    return OpenAI(base_url=address, headers=headers)


def find_key(spec: ModelSpec, *variables: str, is_needed: bool) -> Secret | None:
    """The key for a model: from the variable that its entry names, else from the first of ``variables`` that is set."""
    names = (spec.api_key_env,) if spec.api_key_env else variables
    key = from_environment(*names)
    if key is None and (is_needed or spec.api_key_env):
        others = "".join(f" (nor is {name})" for name in names[1:])
        raise UsageError(
            f"{spec.id}: environment variable {names[0]} is not set{others}. Try: export {names[0]}=..., "
            "or --base-url for an endpoint of your own"
        )
    return key


def azure_address(address: str, deployment: str, environment: Mapping[str, str]) -> str:
    """Where a deployment answers: under its own path with a dated version, unless the address is of the undated API."""
    place, _, query = address.partition("?")
    place = place.rstrip("/")
    if "/openai/" in f"{place}/".removesuffix("/openai/"):
        return address
    place = place.removesuffix("/openai")
    version = query or f"api-version={environment.get(AZURE_VERSION_VARIABLE) or AZURE_VERSION}"
    return f"{place}/openai/deployments/{urllib.parse.quote(deployment, safe='')}?{version}"


def _own_address(spec: ModelSpec, preset: Preset) -> str:
    variable = preset.url_variable or ""
    address = os.environ.get(variable, "").strip()
    if not address:
        raise UsageError(
            f"{spec.id}: environment variable {variable} is not set. "
            f"Try: export {variable}=https://RESOURCE.openai.azure.com, or --base-url"
        )
    return address
