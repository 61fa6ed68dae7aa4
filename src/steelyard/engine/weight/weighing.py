"""What a run weighs itself and its models by: their processes on this machine, and when it waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from steelyard.engine.cells import Cell
from steelyard.engine.progress import CellProgress, Progress
from steelyard.engine.weight.gpus import open_gpus
from steelyard.engine.weight.resources import Resources
from steelyard.engine.weight.served import served_pids
from steelyard.plan.names import OF_THE_USER


async def resources_of(cells: Sequence[Cell], progress: Progress) -> Resources:
    """The scales for a run of these cells."""
    gpus = await asyncio.to_thread(open_gpus)
    return Resources(
        lambda: _pids(cells),
        is_waiting=lambda: any(counters.in_flight for counters in _awaited(cells, progress)),
        came=lambda: sum(counters.came for counters in _awaited(cells, progress)),
        gpus=gpus,
    )


def _pids(cells: Sequence[Cell]) -> dict[str, list[int]]:
    """The processes of this machine that answer for each model, where they are known."""
    found = {cell.spec.id: list(served_pids(cell.spec, cell.provider)) for cell in cells}
    return {model: pids for model, pids in found.items() if pids}


def _awaited(cells: Sequence[Cell], progress: Progress) -> list[CellProgress]:
    """The cells answered from outside this process: what a callable computes here is not the client's work."""
    awaited = {cell.spec.id for cell in cells if any(asked.provider not in OF_THE_USER for asked in cell.spec.asked)}
    return [counters for counters in progress.cells if counters.model in awaited]
