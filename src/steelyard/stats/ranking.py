"""Several models on the same items: which places each could have, and which cannot be told from the best.

All models are resampled on the same items, so what makes an item hard for everyone does not blur their order.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.intervals import members_of, t_quantile

WEIGHTS_AT_ONCE = 1 << 22


class Places(Struct, frozen=True, kw_only=True):
    """For each model, in the order given: its mean, its place, the places it could have, and its chance of the first.

    Equal means share the better place, and could have any of those they share: that models never differed is no proof
    that they never will. ``near_best`` says that the model's difference from the best one seen is not told from 0. Of
    one item, or none, or with an unknown score every place is possible.
    """

    means: tuple[float | None, ...]
    places: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    first: tuple[float | None, ...]
    near_best: tuple[bool, ...]


def rank_models(
    *,
    scores: Sequence[Sequence[float]] | np.ndarray,
    strata: Sequence[Hashable] | np.ndarray | None = None,
    confidence: float = 0.95,
    degrees: float | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Places:
    """Ranks by a seeded paired bootstrap over items (Efron & Tibshirani 1993); one row of item scores for each model.

    Higher is better. A first place that is shared counts in part for each that shares it. The differences from the best
    are judged together: each must be below what the largest of them is by chance (max-type simultaneous bounds). Of
    fewer than some 30 items a bootstrap is too sure of itself; ``degrees`` of freedom, where few clusters stand for
    items, widen it as t is wider than the normal. Items of fixed ``strata`` are drawn within each, one fewer than it
    has, so that the error is right in small ones too (Rao & Wu 1988); lone items are drawn together.
    """
    table = np.asarray(scores, dtype=float)
    models = len(table)
    items = table.shape[1] if table.ndim == 2 else 0
    if items < 2 or not np.isfinite(table).all():
        return Places(
            means=tuple(float(row.mean()) if items and np.isfinite(row).all() else None for row in table),
            places=(1,) * models,
            low=(1,) * models,
            high=(models,) * models,
            first=(None,) * models,
            near_best=(True,) * models,
        )
    means = table.mean(axis=1)
    generator = np.random.default_rng(seed)
    drawn = _resampled(table, draws, generator) if strata is None else _within(table, strata, draws, generator)
    ranks = _ranks(drawn)
    tops = ranks == 1
    stretch = 1.0 if degrees is None else _stretch(degrees, confidence)
    tail = float(scipy.special.ndtr(-stretch * scipy.special.ndtri(0.5 + confidence / 2)))
    return Places(
        means=tuple(float(mean) for mean in means),
        places=tuple(int(place) for place in _ranks(means[None, :])[0]),
        low=tuple(int(place) for place in np.quantile(ranks, tail, axis=0, method="lower")),
        high=tuple(int(place) for place in np.quantile(_last_of_equals(drawn), 1 - tail, axis=0, method="higher")),
        first=tuple(float(share) for share in (tops / tops.sum(axis=1, keepdims=True)).mean(axis=0)),
        near_best=_near_best(means, drawn, items, confidence, stretch),
    )


def _stretch(degrees: float, confidence: float) -> float:
    """How much wider t is than the normal, with what resampling all the units leaves out of their error."""
    of_normal = float(scipy.special.ndtri(0.5 + confidence / 2))
    return t_quantile(degrees, 0.5 + confidence / 2) / of_normal * math.sqrt((degrees + 1) / degrees)


def _resampled(table: np.ndarray, draws: int, generator: np.random.Generator, fewer: int = 0) -> np.ndarray:
    """Means of every model over resampled items, one row for each draw; items scored alike are drawn together."""
    items, size = table.shape[1], table.shape[1] - fewer
    patterns, alike = np.unique(table, axis=1, return_counts=True)  # the same draws whatever the order of the items
    chunk = max(1, WEIGHTS_AT_ONCE // len(alike))
    parts = []
    for start in range(0, draws, chunk):
        counts = generator.multinomial(size, alike / items, size=min(chunk, draws - start))
        parts.append(counts @ patterns.T / size)
    return np.round(np.concatenate(parts), 12)


def _within(
    table: np.ndarray, strata: Sequence[Hashable] | np.ndarray, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """The same with every stratum as large as it is."""
    membership = members_of(strata)
    sizes = np.bincount(membership)
    membership = np.where(sizes[membership] == 1, -1, membership)
    total = np.zeros((draws, len(table)))
    for stratum in np.unique(membership):
        part = table[:, membership == stratum]
        size = part.shape[1]
        means = _resampled(part, draws, generator, fewer=1) if size > 1 else part.T
        total += means * size
    return np.asarray(np.round(total / table.shape[1], 12))


def _ranks(means: np.ndarray) -> np.ndarray:
    rounded = np.round(means, 12)
    return np.asarray((rounded[:, None, :] > rounded[:, :, None]).sum(axis=2) + 1)


def _last_of_equals(means: np.ndarray) -> np.ndarray:
    """Ranks where equal means share the worse place."""
    return np.asarray((means[:, None, :] >= means[:, :, None]).sum(axis=2))


def _near_best(means: np.ndarray, drawn: np.ndarray, items: int, confidence: float, stretch: float) -> tuple[bool, ...]:
    best = int(means.argmax())
    gaps, drawn_gaps = means[best] - means, drawn[:, [best]] - drawn
    errors = drawn_gaps.std(axis=0)
    known = errors > 1e-12
    reach = 0.0
    if known.any():
        largest = ((drawn_gaps - gaps)[:, known] / errors[known]).max(axis=1)
        reach = stretch * float(np.quantile(largest, confidence))
    constant_tells = 0.5 ** (items - 1) <= 1 - confidence  # a gap alike on all items, by the sign test
    told = np.where(known, gaps > reach * errors + 1e-12, (gaps > 1e-12) & constant_tells)
    return tuple(bool(not one) for one in told)
