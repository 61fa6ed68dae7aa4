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

PRESETS = "steelyard.providers.presets"
BUILT_IN = {
    "openai": (PRESETS, "connect"),
    "openai-responses": (PRESETS, "connect"),
    "anthropic": ("steelyard.providers.anthropic", "connect"),
    "google": ("steelyard.providers.google", "connect"),
    "azure": (PRESETS, "connect"),
    "openrouter": (PRESETS, "connect"),
    "groq": (PRESETS, "connect"),
    "together": (PRESETS, "connect"),
    "deepseek": (PRESETS, "connect"),
    "ollama": (PRESETS, "connect"),
    "vllm": (PRESETS, "connect"),
    "sglang": (PRESETS, "connect"),
    "local": ("steelyard.providers.local", "connect"),
    "python": ("steelyard.providers.function", "connect"),
}
HERE = ("local", "python")
ENTRY_POINTS = "steelyard.providers"


def provider_names() -> list[str]:
    """Every provider that ``connect`` knows, built-in first."""
    return [*BUILT_IN, *(name for name in _plugins() if name not in BUILT_IN)]


def is_remote(name: str) -> bool:
    """Whether the provider's models answer at an address, which a plan may name."""
    return name in BUILT_IN and name not in HERE


def connect(spec: ModelSpec) -> Provider:
    """The provider for one model: nothing is sent, but a missing key, package or weights file is an error here."""
    check_holds_no_key(spec)
    if spec.provider in BUILT_IN:
        module, attribute = BUILT_IN[spec.provider]
        build: Connect = getattr(importlib.import_module(module), attribute)
        return build(spec)
    plugins = _plugins()
    if spec.provider not in plugins:
        raise UnknownName("provider", spec.provider, provider_names())
    return _load_plugin(plugins[spec.provider])(spec)


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
