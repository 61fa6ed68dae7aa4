"""The ways to reach a model, in one literal table; others come by entry point or as an object."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.errors import EnvironmentFault, UnknownName, UsageError

if TYPE_CHECKING:
    import importlib.metadata

    from steelyard.providers.interface import Provider
    from steelyard.types import ModelSpec

    Connect = Callable[[ModelSpec], Provider]

_OPENAI = "steelyard.providers.openai"
BUILT_IN = {
    "openai": _OPENAI,
    "openai-responses": "steelyard.providers.responses",
    "anthropic": "steelyard.providers.anthropic",
    "google": "steelyard.providers.google",
    "azure": "steelyard.providers.azure",
    "openrouter": _OPENAI,
    "groq": _OPENAI,
    "together": _OPENAI,
    "deepseek": _OPENAI,
    "ollama": _OPENAI,
    "vllm": _OPENAI,
    "sglang": _OPENAI,
    "litellm": "steelyard.providers.litellm",
    "local": "steelyard.providers.local",
    "python": "steelyard.providers.function",
    "cascade": "steelyard.providers.cascade",
}
"""The module of each provider, whose ``connect`` takes a ``ModelSpec``."""

HERE = ("local", "python", "cascade")
ENTRY_POINTS = "steelyard.providers"


def provider_names() -> list[str]:
    """Every provider that ``connect`` knows, built-in first."""
    return [*BUILT_IN, *(name for name in _plugins() if name not in BUILT_IN)]


def is_provider(name: str) -> bool:
    """Whether ``connect`` knows the provider; what is installed is looked through for other names only."""
    return name in BUILT_IN or name in _plugins()


def is_remote(name: str) -> bool:
    """Whether the provider's models answer at an address, which a plan may name."""
    return name in BUILT_IN and name not in HERE


def connect(spec: ModelSpec) -> Provider:
    """The provider for one model: nothing is sent, but a missing key, package or weights file is an error here."""
    check_holds_no_key(spec)
    if spec.provider in BUILT_IN:
        build: Connect = importlib.import_module(BUILT_IN[spec.provider]).connect
        return build(spec)
    if not is_provider(spec.provider):
        raise UnknownName("provider", spec.provider, provider_names())
    return _load_plugin(_plugins()[spec.provider])(spec)


def models_like(name: str, most: int = 3) -> list[str]:
    """The models that ``name`` may mean, as ``PROVIDER/MODEL``, the nearest first."""
    import difflib

    from steelyard.prices import listed_models
    from steelyard.providers.weights import SHA256

    known = listed_models() | {weights: ["local"] for weights in SHA256}
    if name in known:
        return [f"{provider}/{name}" for provider in known[name]]
    ends = [model for model in known if model.endswith(f"/{name}")]
    close = difflib.get_close_matches(name.lower(), known, n=most, cutoff=0.7)
    return [f"{known[model][0]}/{model}" for model in dict.fromkeys([*ends, *close])][:most]


def check_holds_no_key(spec: ModelSpec) -> None:
    """Raise where a key stands in what would be stored with the run: the address, or what is sent beside the prompt."""
    from steelyard.secrets import looks_like_key

    for name, text in (("base_url", spec.base_url or ""), ("extra", repr(spec.extra) if spec.extra else "")):
        if text and looks_like_key(text):
            raise UsageError(
                f"{spec.id}: {name} holds a key or a password, which would be stored with the run. "
                "Try: put it into an environment variable and name that by api_key_env (--api-key-env)"
            )


def _plugins() -> dict[str, importlib.metadata.EntryPoint]:
    import importlib.metadata

    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if entry.name in BUILT_IN or entry.name in found:
            raise EnvironmentFault(f"two providers are called {entry.name!r}; one is from {entry.value}")
        found[entry.name] = entry
    return found


def _load_plugin(entry: importlib.metadata.EntryPoint) -> Connect:
    try:
        build: Connect = entry.load()
    except Exception as error:
        package = entry.dist.name if entry.dist else entry.value
        raise EnvironmentFault(f"provider {entry.name!r} of package {package!r} cannot be loaded: {error}") from error
    return build
