"""Which items are asked, and in which order: a permutation fixed by the seed before the first call.

A prefix of the order is a valid sample, so a run that stops early or is extended later stays one sample.
"""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.analysis.order import permutation
from steelyard.types import Sample

GROUPED_AT_ONCE = 4_000


def draw_positions(
    samples: Sequence[Sample], *, limit: int | None, seed: int, shuffled: bool, strata: bool
) -> list[int]:
    """The positions to ask, in order. With ``strata``, every prefix holds each stratum in proportion (within one)."""
    available = len(samples)
    count = available if limit is None else min(limit, available)
    if not shuffled:
        return list(range(count))
    named = [sample.stratum or "" for sample in samples] if strata else None
    return permutation(available, count=count, seed=seed, strata=named)


def grouped(positions: Sequence[int], samples: Sequence[Sample]) -> list[int]:
    """The same positions with each stratum's together, block by block, so that a few-shot prefix is read once a block.

    Within blocks only: a run that is stopped early still holds every stratum in proportion, to within one block.
    """
    blocks = (positions[start : start + GROUPED_AT_ONCE] for start in range(0, len(positions), GROUPED_AT_ONCE))
    return [position for block in blocks for position in sorted(block, key=lambda at: samples[at].stratum or "")]
