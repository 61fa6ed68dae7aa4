"""What stands around the lanes while they work: providers open, resources watched, the collector held back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from steelyard.engine.cells import Cell
from steelyard.engine.weight import collector
from steelyard.engine.weight.resources import Resources
from steelyard.providers.interface import Opens, Probes, Provider


def distinct_providers(cells: Sequence[Cell]) -> list[Provider]:
    """Everyone who answers or judges, once."""
    seated = [cell.judge.provider for cell in cells if cell.judge is not None]
    found = [*(cell.provider for cell in cells if cell.provider is not None), *seated]
    return list({id(provider): provider for provider in found}.values())


async def probe(cells: Sequence[Cell]) -> None:
    """Ask each endpoint once for an ability that a protocol needs and that nobody can know without asking."""
    asking: dict[tuple[int, str], Probes] = {}
    for cell in cells:
        provider: object = cell.provider
        if cell.info.kind == "likelihood" and isinstance(provider, Probes):
            asking[id(provider), cell.spec.model] = provider
    await asyncio.gather(*(asked.probe_likelihood(model) for (_, model), asked in asking.items()))


@asynccontextmanager
async def opened(providers: Sequence[Provider]) -> AsyncIterator[None]:
    """Start what needs starting, all at once, and end it again whatever happens."""
    opening = [provider for provider in providers if isinstance(provider, Opens)]
    try:
        await asyncio.gather(*(provider.open() for provider in opening))
        yield
    finally:
        await asyncio.gather(*(provider.close() for provider in opening), return_exceptions=True)


@asynccontextmanager
async def watched(resources: Resources) -> AsyncIterator[None]:
    """Sample what this process weighs while the block goes on."""
    task = asyncio.ensure_future(resources.watch())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        resources.sample()


@asynccontextmanager
async def measuring() -> AsyncIterator[None]:
    """Hold the garbage collector back while the clock is read."""
    with collector.held_back():
        yield
