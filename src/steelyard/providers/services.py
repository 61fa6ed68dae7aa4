"""The services and servers that models answer at, in one table: where they are and which variable holds the key.

Those beyond OpenAI, Anthropic and Google are names for an address: they speak OpenAI's protocol.
"""

from __future__ import annotations

import os

from msgspec import Struct

from steelyard.errors import UsageError
from steelyard.secrets import Secret, from_environment, scrub
from steelyard.types import ModelSpec


class Service(Struct, frozen=True, kw_only=True):
    """One service. ``address`` is ``None`` where every customer has an address of his own, held by a variable.

    ``needs_key`` is false for a server of one's own, which gets a key if there is one.
    """

    address: str | None = None
    address_variable: str = ""
    key_variables: tuple[str, ...]
    needs_key: bool = True
    described: str

    @property
    def missing(self) -> tuple[str, ...]:
        """The environment variables without which it cannot be asked; of several that would do, the first."""
        address = () if self.address or _is_set(self.address_variable) else (self.address_variable,)
        has_key = not self.needs_key or any(map(_is_set, self.key_variables))
        return address if has_key else (*address, self.key_variables[0])


SERVICES = {
    "openai": Service(
        address="https://api.openai.com/v1", key_variables=("OPENAI_API_KEY",), described="OpenAI: chat completions"
    ),
    "openai-responses": Service(
        address="https://api.openai.com/v1", key_variables=("OPENAI_API_KEY",), described="OpenAI: responses"
    ),
    "anthropic": Service(
        address="https://api.anthropic.com", key_variables=("ANTHROPIC_API_KEY",), described="Anthropic: messages"
    ),
    "google": Service(
        address="https://generativelanguage.googleapis.com/v1beta",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        described="Google: generateContent",
    ),
    "azure": Service(
        address_variable="AZURE_OPENAI_ENDPOINT",
        key_variables=("AZURE_OPENAI_API_KEY",),
        described="Azure OpenAI: MODEL is a deployment's name",
    ),
    "openrouter": Service(
        address="https://openrouter.ai/api/v1", key_variables=("OPENROUTER_API_KEY",), described="OpenRouter"
    ),
    "groq": Service(address="https://api.groq.com/openai/v1", key_variables=("GROQ_API_KEY",), described="Groq"),
    "together": Service(
        address="https://api.together.xyz/v1", key_variables=("TOGETHER_API_KEY",), described="Together AI"
    ),
    "deepseek": Service(
        address="https://api.deepseek.com/v1", key_variables=("DEEPSEEK_API_KEY",), described="DeepSeek"
    ),
    "ollama": Service(
        address="http://localhost:11434/v1",
        key_variables=("OLLAMA_API_KEY",),
        needs_key=False,
        described="an Ollama server",
    ),
    "vllm": Service(
        address="http://localhost:8000/v1", key_variables=("VLLM_API_KEY",), needs_key=False, described="a vLLM server"
    ),
    "sglang": Service(
        address="http://localhost:30000/v1",
        key_variables=("SGLANG_API_KEY",),
        needs_key=False,
        described="an SGLang server",
    ),
}


def address_of(spec: ModelSpec) -> str:
    """Where the model answers: where its entry says, else at its service."""
    service = SERVICES[spec.provider]
    address = spec.base_url or service.address or os.environ.get(service.address_variable, "").strip()
    if not address:
        raise UsageError(
            f"{spec.id}: environment variable {service.address_variable} is not set. "
            f"Try: export {service.address_variable}=https://RESOURCE.openai.azure.com, or --base-url"
        )
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"{spec.id}: {scrub(address)} is no address: it names no http:// or https://")
    return address


def key_of(spec: ModelSpec) -> Secret | None:
    """The key for a model: from the variable that its entry names, else from its service's.

    A service wants a key; an endpoint of one's own gets one if there is one.
    """
    service = SERVICES[spec.provider]
    names = (spec.api_key_env,) if spec.api_key_env else service.key_variables
    key = from_environment(*names)
    if key is None and (spec.api_key_env or (service.needs_key and spec.base_url is None)):
        also = "".join(f" (nor is {name})" for name in names[1:])
        instead = "another --api-key-env" if spec.api_key_env else "--base-url for an endpoint of your own"
        raise UsageError(
            f"{spec.id}: environment variable {names[0]} is not set{also}. Try: export {names[0]}=..., or {instead}"
        )
    return key


def where_the_key_is(spec: ModelSpec) -> str:
    """What to try where a service refuses the key of a model: the variable it is read from, never what that holds."""
    service = SERVICES.get(spec.provider)
    if service is None:
        return ""
    names = (spec.api_key_env,) if spec.api_key_env else service.key_variables
    held = next(filter(_is_set, names), None)
    return f". Try: another key in {held}" if held else f". Try: export {names[0]}=..., which is not set"


def key_variable(spec: ModelSpec) -> str | None:
    """The variable that the key for a model is in; ``None`` for an endpoint of one's own, where none is set here."""
    service = SERVICES[spec.provider]
    names = (spec.api_key_env,) if spec.api_key_env else service.key_variables
    wanted = spec.api_key_env or (service.needs_key and spec.base_url is None)
    return next(filter(_is_set, names), names[0] if wanted else None)


def _is_set(variable: str) -> bool:
    return bool(os.environ.get(variable, "").strip())
