"""Which items are asked, and in which order: a permutation fixed by the seed before the first call.

A prefix of the order is a valid sample, so a run that stops early or is extended later stays one sample.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from steelyard.types import Sample

SPARSE_ABOVE = 100_000
GROUPED_AT_ONCE = 4_000


def draw_positions(
    samples: Sequence[Sample], *, limit: int | None, seed: int, shuffled: bool, strata: bool
) -> list[int]:
    """The positions to ask, in order. With ``strata``, every prefix holds each stratum in proportion (within one)."""
    available = len(samples)
    count = available if limit is None else min(limit, available)
    if not shuffled:
        return list(range(count))
    generator = random.Random(f"order/{seed}")
    if available > SPARSE_ABOVE:
        return _sparse_permutation(available, count, generator)
    positions = list(range(available))
    generator.shuffle(positions)
    if strata:
        positions = _interleaved(positions, samples, generator)
    return positions[:count]


def grouped(positions: Sequence[int], samples: Sequence[Sample]) -> list[int]:
    """The same positions with each stratum's together, block by block, so that a few-shot prefix is read once a block.

    Within blocks only: a run that is stopped early still holds every stratum in proportion, to within one block.
    """
    blocks = (positions[start : start + GROUPED_AT_ONCE] for start in range(0, len(positions), GROUPED_AT_ONCE))
    return [position for block in blocks for position in sorted(block, key=lambda at: samples[at].stratum or "")]


def _sparse_permutation(available: int, count: int, generator: random.Random) -> list[int]:
    """The first ``count`` places of a Fisher-Yates shuffle, holding only the swapped ones."""
    swapped: dict[int, int] = {}
    drawn = []
    for i in range(count):
        j = generator.randrange(i, available)
        drawn.append(swapped.get(j, j))
        swapped[j] = swapped.pop(i, i)
    return drawn


def _interleaved(positions: list[int], samples: Sequence[Sample], generator: random.Random) -> list[int]:
    """Systematic sampling over strata: the k-th item of a stratum of size m stands near (k + u) / m of the way."""
    strata: dict[str, list[int]] = {}
    for position in positions:
        strata.setdefault(samples[position].stratum or "", []).append(position)
    placed: list[tuple[float, int]] = []
    for name in sorted(strata):
        start = generator.random()
        members = strata[name]
        placed.extend(((k + start) / len(members), position) for k, position in enumerate(members))
    return [position for _, position in sorted(placed)]
