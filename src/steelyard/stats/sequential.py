"""Planned looks at a comparison while it runs: bounds on z that keep the error over all looks together.

``information`` is the share of the final information at each look: n / N, or over a finite benchmark n N / (N - n)
relative to the last look's. Bounds are two-sided at ``alpha`` and approximate while there are few items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
import scipy
from msgspec import Struct

NODES = 96
HIGHEST_Z = 40.0
HALVINGS = 50


class Bounds(Struct, frozen=True, kw_only=True):
    """Where to stop: |z| at or above the bound of a look. ``None`` is a look that brings nothing new."""

    z: tuple[float | None, ...]
    final_z: float


class SpendingBounds(Struct, frozen=True, kw_only=True):
    """Bounds by look, and the error spent until then; ``None`` is a look that brings nothing new."""

    z: tuple[float | None, ...]
    spent: tuple[float, ...]


class Crossings(Struct, frozen=True, kw_only=True):
    """The chance to stop first at each look, and at any."""

    by_look: tuple[float, ...]
    total: float


def group_sequential_bounds(
    *,
    kind: Literal["pocock", "obf", "obrien_fleming"],
    looks: int,
    alpha: float = 0.05,
    information: Sequence[float] | None = None,
) -> Bounds:
    """Bounds of z at planned looks that err with ``alpha`` together, on both sides.

    One for all looks (Pocock 1977), or one that falls as c / sqrt(t) (O'Brien & Fleming 1979).

    The constant is found by recursive integration (Armitage, McPherson & Rowe 1969; Jennison & Turnbull 2000, ch. 2).
    Looks are equally spaced unless ``information`` says where they are.
    """
    _check("kind", kind)
    looks = max(1, looks)
    times = _times([(i + 1) / looks for i in range(looks)] if information is None else information)
    known = [time for time in times if time is not None]
    if not known:
        return Bounds(z=tuple(None for _ in times), final_z=NormalDist().inv_cdf(1 - alpha / 2))
    shape = [1.0 if kind == "pocock" else math.sqrt(known[-1] / time) for time in known]

    def spends_more(constant: float) -> bool:
        return sum(_exits([constant * part for part in shape], known)) > alpha

    constant = _turning(spends_more, 0.0, HIGHEST_Z)
    bounds = iter([constant * part for part in shape])
    return Bounds(z=tuple(None if time is None else next(bounds) for time in times), final_z=constant)


def alpha_spending_bounds(
    *, spending: Literal["obrien_fleming", "obf", "pocock"], information: Sequence[float], alpha: float = 0.05
) -> SpendingBounds:
    """Bounds for looks whose number and times need not be planned (Lan & DeMets 1983).

    ``obrien_fleming`` spends 2 (1 - Phi(z_{alpha/4} / sqrt t)) on each side, ``pocock`` alpha ln(1 + (e - 1) t) in all.
    A bound depends on the looks up to its own only. A series that ends before t = 1 has spent less than alpha.
    """
    _check("spending", spending)
    z: list[float | None] = []
    spent: list[float] = []
    density: _Density | None = None
    latest = 0.0
    for time in _times(information):
        if time is None:
            z.append(None)
            spent.append(spent[-1] if spent else 0.0)
            continue
        target = _spent(spending, time, alpha)
        bound = _next_bound(density, time, time - latest, target - (spent[-1] if spent else 0.0))
        density = _advance(density, bound * math.sqrt(time), time - latest, 0.0)
        latest = time
        z.append(bound)
        spent.append(target)
    return SpendingBounds(z=tuple(z), spent=tuple(spent))


def crossing_probabilities(*, z: Sequence[float], information: Sequence[float], drift: float = 0.0) -> Crossings:
    """How often each look is the first to reach its bound, on either side, where E z = ``drift`` sqrt(t).

    Without drift the total is the error of the whole series; with it, its power.
    """
    if len(z) != len(information):
        raise ValueError(f"z and information are of the same looks, not of {len(z)} and {len(information)}")
    by_look = _exits(z, information, drift)
    return Crossings(by_look=tuple(by_look), total=min(1.0, sum(by_look)))


class _Density(Struct, frozen=True):
    """A density of the score z sqrt(t), not yet stopped, at the nodes of an integration."""

    nodes: np.ndarray
    mass: np.ndarray


def _check(keyword: str, word: str) -> None:
    if word not in ("pocock", "obrien_fleming", "obf"):
        raise ValueError(f"{keyword} is pocock or obrien_fleming, not {word!r}")


def _times(information: Sequence[float]) -> list[float | None]:
    """Information that grows and ends at 1 at the latest; ``None`` for a look that brings nothing new."""
    times: list[float | None] = []
    latest = 0.0
    for share in information:
        time = min(1.0, float(share))
        times.append(time if time > latest + 1e-9 else None)
        latest = max(latest, time)
    return times


def _spent(spending: str, time: float, alpha: float) -> float:
    if spending == "pocock":
        return alpha * math.log1p((math.e - 1) * time)
    z = NormalDist().inv_cdf(1 - alpha / 4)
    return 4 * float(scipy.special.ndtr(-z / math.sqrt(time)))


def _next_bound(density: _Density | None, time: float, step: float, allowed: float) -> float:
    """The bound on z at which a look spends what it is allowed, given who has not stopped before."""
    return _turning(lambda z: _exit(density, z * math.sqrt(time), step, 0.0) > allowed, 0.0, HIGHEST_Z)


def _exits(z: Sequence[float], information: Sequence[float], drift: float = 0.0) -> list[float]:
    exits: list[float] = []
    density: _Density | None = None
    latest = 0.0
    for bound, time in zip(z, information, strict=True):
        edge, step = bound * math.sqrt(time), time - latest
        exits.append(_exit(density, edge, step, drift))
        density = _advance(density, edge, step, drift)
        latest = time
    return exits


def _exit(density: _Density | None, edge: float, step: float, drift: float) -> float:
    """The chance to be at or beyond ``edge`` after a step of information, not having stopped before."""
    if step <= 0:
        return 0.0
    nodes, mass = (np.zeros(1), np.ones(1)) if density is None else (density.nodes, density.mass)
    centre, sd = nodes + drift * step, math.sqrt(step)
    return float(mass @ (scipy.special.ndtr((centre - edge) / sd) + scipy.special.ndtr((-edge - centre) / sd)))


def _advance(density: _Density | None, edge: float, step: float, drift: float) -> _Density:
    """The score after one more step, within the bounds."""
    if density is not None and step <= 0:
        return density
    nodes, mass = (np.zeros(1), np.ones(1)) if density is None else (density.nodes, density.mass)
    centre, sd = nodes + drift * step, math.sqrt(step)
    # nobody is beyond nine deviations: there the nodes would be wasted
    low, high = max(-edge, float(centre.min()) - 9 * sd), min(edge, float(centre.max()) + 9 * sd)
    if low >= high:
        return _Density(np.zeros(1), np.zeros(1))
    count = min(8 * NODES, max(NODES, math.ceil(6 * (high - low) / sd)))
    points, weights = _legendre(count)
    points, weights = (low + high) / 2 + points * (high - low) / 2, weights * (high - low) / 2
    spread = np.exp(-0.5 * ((points[:, None] - centre[None, :]) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
    return _Density(points, weights * (spread @ mass))


@lru_cache(maxsize=32)
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    points, weights = scipy.special.roots_legendre(count)
    return points, weights


def _turning(more: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest bound that does not spend more than allowed, by halving."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if more(middle) else (low, middle)
    return high
