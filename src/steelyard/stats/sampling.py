"""What several samples of one item say: the chance that at least one of k would be right."""

from __future__ import annotations

import numpy as np

from steelyard.stats.given import count_of
from steelyard.stats.quantiles import Value


def pass_at_k(*, n: int, c: int, k: int) -> Value:
    """The chance that one of ``k`` samples passes, from ``n`` of which ``c`` did (Chen et al. 2021, eq. 1).

    1 - C(n - c, k) / C(n, k), without bias, as a product; unknown where fewer than ``k`` samples were taken.
    """
    if k < 1:
        raise ValueError(f"k is a number of samples from 1, not {k}")
    count_of(c, n, name="c")
    if k > n:
        return Value(value=None)
    if k > n - c:
        return Value(value=1.0)
    few, many = sorted((c, k))
    return Value(value=1.0 - float(np.prod(1 - many / np.arange(n - few + 1, n + 1))))
