"""The ways to reach a model, in one literal table; others come by entry point or as an object."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.errors import EnvironmentFault, UnknownName

if TYPE_CHECKING:
    import importlib.metadata

    from steelyard.providers.interface import Provider
    from steelyard.types import ModelSpec

    Connect = Callable[[ModelSpec], Provider]

BUILT_IN = {
    "openai": ("steelyard.providers.openai", "connect"),
    "local": ("steelyard.providers.local", "connect"),
    "python": ("steelyard.providers.function", "connect"),
}
ENTRY_POINTS = "steelyard.providers"


def provider_names() -> list[str]:
    """Every provider that ``connect`` knows, built-in first."""
    return [*BUILT_IN, *(name for name in _plugins() if name not in BUILT_IN)]


def connect(spec: ModelSpec) -> Provider:
    """The provider for one model: nothing is sent, but a missing key, package or weights file is an error here."""
    if spec.provider in BUILT_IN:
        module, attribute = BUILT_IN[spec.provider]
        build: Connect = getattr(importlib.import_module(module), attribute)
        return build(spec)
    plugins = _plugins()
    if spec.provider not in plugins:
        raise UnknownName("provider", spec.provider, provider_names())
    return _load_plugin(plugins[spec.provider])(spec)


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
