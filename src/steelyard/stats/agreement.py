"""How far two raters of the same items agree beyond what chance alone would give."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from msgspec import Struct


class Kappa(Struct, frozen=True, kw_only=True):
    """Cohen's kappa with its large-sample standard error and bounds.

    ``agreement`` is the share of items rated alike. ``kappa`` is ``None`` where nothing was rated, or where both raters
    give one and the same rating throughout; ``se`` and the bounds are ``None`` too where the ratings are all alike.
    """

    kappa: float | None
    agreement: float | None
    se: float | None
    low: float | None
    high: float | None
    n: int


def cohen_kappa(
    *,
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    weights: Literal["none", "linear", "quadratic"] = "none",
    categories: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> Kappa:
    """Kappa (Cohen 1960), or weighted kappa (Cohen 1968) of ordered categories.

    The standard error is that of Fleiss, Cohen & Everitt 1969, eq. 13 (weighted) and 16 (unweighted, the same with
    weights of one on the diagonal). It is for large samples: below some 50 items the interval is rough. Weights need
    ``categories`` in their order, the distance between neighbours being one.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} ratings against {len(second)}")
    if weights != "none" and categories is None:
        raise ValueError("weights need the categories in their order")
    n = len(first)
    if n == 0:
        return Kappa(kappa=None, agreement=None, se=None, low=None, high=None, n=0)
    known = list(dict.fromkeys([*first, *second] if categories is None else categories))
    place = {category: i for i, category in enumerate(known)}
    table = np.zeros((len(known), len(known)))
    np.add.at(table, ([place[rating] for rating in first], [place[rating] for rating in second]), 1 / n)
    agreement = sum(one == other for one, other in zip(first, second, strict=True)) / n
    kappa, se = _kappa(table, _weights(len(known), weights), n)
    if kappa is None or se is None:
        return Kappa(kappa=kappa, agreement=agreement, se=None, low=None, high=None, n=n)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * se
    return Kappa(
        kappa=kappa, agreement=agreement, se=se, low=max(-1.0, kappa - reach), high=min(1.0, kappa + reach), n=n
    )


def _weights(size: int, weights: str) -> np.ndarray:
    """What a pair of ratings counts as agreement: 1 on the diagonal, less with distance."""
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) / max(1, size - 1)
    if weights == "none":
        return np.eye(size)
    return np.asarray(1.0 - (distance if weights == "linear" else distance**2))


def _kappa(table: np.ndarray, weight: np.ndarray, n: int) -> tuple[float | None, float | None]:
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    observed, expected = float((weight * table).sum()), float(rows @ weight @ columns)
    if math.isclose(expected, 1.0, abs_tol=1e-12):
        return None, None
    kappa = min(1.0, (observed - expected) / (1.0 - expected))
    mean_weight = np.add.outer(weight @ columns, rows @ weight)
    spread = float((table * (weight - mean_weight * (1.0 - kappa)) ** 2).sum())
    variance = (spread - (kappa - expected * (1.0 - kappa)) ** 2) / (n * (1.0 - expected) ** 2)
    return kappa, math.sqrt(variance) if variance > 1e-12 else None
