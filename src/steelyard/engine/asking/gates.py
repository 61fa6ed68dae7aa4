"""The gates of one run: one before each model, however many lanes lead to it.

A model that is asked alone and as part of a cascade is one model to its service, which counts all its requests. So
limits and what refusals teach are common, while each lane ends by itself.
"""

from __future__ import annotations

from collections.abc import Hashable

from steelyard.engine.asking.attempts import RetryPolicy
from steelyard.engine.asking.throttle import Door
from steelyard.providers.interface import Provider
from steelyard.types import ModelSpec


class Gates:
    """Doors to the models of one run; those to the same model lead through one gate."""

    def __init__(self, policy: RetryPolicy) -> None:
        self.policy = policy
        self._doors: dict[Hashable, list[tuple[Door, int, bool]]] = {}

    def door(self, most: int, spec: ModelSpec, provider: Provider | None) -> Door:
        """A lane's way to a model, for ``most`` requests at once unless the model states how many it takes.

        Of several statements the lowest holds; without one as many go as the widest lane sends.
        """
        doors = self._doors.setdefault(_whom(spec, provider), [])
        door = Door(doors[0][0].gate) if doors else self.policy.throttle(most, spec)
        doors.append((door, spec.concurrency or most, spec.concurrency is not None))
        stated = [one for _, one, is_stated in doors if is_stated]
        door.gate.keep_to(
            min(stated) if stated else max(one for _, one, _ in doors),
            requests_per_minute=spec.requests_per_minute,
            tokens_per_minute=spec.tokens_per_minute,
        )
        return door


def _whom(spec: ModelSpec, provider: Provider | None) -> Hashable:
    """Who counts the requests: the model at its service under one key, or the very object that was given."""
    if provider is None or spec.provider == "object":
        return id(provider) if provider is not None else object()
    return (spec.provider, spec.model, spec.base_url, spec.api_key_env)
