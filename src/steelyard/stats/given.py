"""What a function is given, checked: counts that cannot be are an error, and two columns are of the same items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ROUNDING = 1e-9


def count_of(part: float, whole: float, *, name: str = "successes", of: str = "n") -> tuple[float, float]:
    """A count and what it is a part of, as plain numbers."""
    count, size = float(part), float(whole)
    if not -ROUNDING <= count <= size * (1 + ROUNDING) + ROUNDING:
        raise ValueError(f"{name} is a count from 0 to {of}, not {part} of {whole}")
    return min(max(count, 0.0), size), size


def flips_of(only_a: float, only_b: float, n: float) -> tuple[float, float, float]:
    """Discordant pairs, and pairs in all, as plain numbers."""
    for part in (only_a, only_b):
        count_of(part, n, name="a number of discordant pairs")
    count_of(float(only_a) + float(only_b), n, name="only_a_correct + only_b_correct")
    return float(only_a), float(only_b), float(n)


def same_items(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, *, names: str = "a and b"
) -> tuple[np.ndarray, np.ndarray]:
    """Two columns as numbers, which numpy would stretch to one length where one of them is a single value."""
    one, other = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"{names} are two columns of the same items, not of shapes {one.shape} and {other.shape}")
    return one, other
