"""The order in which items are asked: a permutation fixed by a seed, every prefix of which is a valid sample.

So what a run has answered of the first items says something of all of them. What merely came in first does not: quick
answers come before slow ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

SPARSE_ABOVE = 100_000


def permutation(available: int, *, count: int, seed: int, strata: Sequence[str] | None = None) -> list[int]:
    """The first ``count`` positions. With the stratum of every position, each prefix holds all in proportion."""
    generator = random.Random(f"order/{seed}")
    if available > SPARSE_ABOVE:
        return _sparse_permutation(available, count, generator)
    positions = list(range(available))
    generator.shuffle(positions)
    if strata is not None:
        positions = _interleaved(positions, strata, generator)
    return positions[:count]


def _sparse_permutation(available: int, count: int, generator: random.Random) -> list[int]:
    """The first ``count`` places of a Fisher-Yates shuffle, holding only the swapped ones."""
    swapped: dict[int, int] = {}
    drawn = []
    for i in range(count):
        j = generator.randrange(i, available)
        drawn.append(swapped.get(j, j))
        swapped[j] = swapped.pop(i, i)
    return drawn


def _interleaved(positions: list[int], strata_of: Sequence[str], generator: random.Random) -> list[int]:
    """Systematic sampling over strata: the k-th item of a stratum of size m stands near (k + u) / m of the way."""
    strata: dict[str, list[int]] = {}
    for position in positions:
        strata.setdefault(strata_of[position], []).append(position)
    placed: list[tuple[float, int]] = []
    for name in sorted(strata):
        start = generator.random()
        members = strata[name]
        placed.extend(((k + start) / len(members), position) for k, position in enumerate(members))
    return [position for _, position in sorted(placed)]
