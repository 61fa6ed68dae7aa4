"""How often the interval of a ratio of percentiles holds the true one, over shapes of tails: what docs/compare.md says.

Two models' times on the same items: log-normal (three widths), Pareto 1.2, Weibull 0.6, gamma 2, uniform, and a mixture
of nine in ten fast answers and one slow one. They go together not at all, or with a correlation of 0.6 or 0.95. Slow:
with ``--series 2000`` an hour on one core.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

import numpy as np
import scipy.special as special

from steelyard import stats

Quantile = Callable[[np.ndarray], np.ndarray]


def normal(width: float) -> Quantile:
    """Log-normal times."""
    return lambda u: np.exp(width * special.ndtri(u))


def mixture() -> Quantile:
    """Nine in ten around 1, one around 4."""
    times = np.exp(np.linspace(-3, 5, 400_001))
    shares = 0.9 * special.ndtr(np.log(times) / 0.3) + 0.1 * special.ndtr(np.log(times / 4) / 0.4)
    return lambda u: np.interp(u, shares, times)


SHAPES: dict[str, Quantile] = {
    "narrow": normal(0.25),
    "smooth": normal(0.5),
    "wide": normal(0.7),
    "pareto": lambda u: (1 - u) ** (-1 / 1.2),
    "weibull": lambda u: (-np.log1p(-u)) ** (1 / 0.6),
    "gamma": lambda u: special.gammaincinv(2.0, u),
    "uniform": lambda u: 1 + u,
    "mixture": mixture(),
}
ALIKE = (("wide", "wide"), ("pareto", "pareto"))
APART = (
    ("wide", "pareto"),
    ("narrow", "pareto"),
    ("smooth", "pareto"),
    ("gamma", "wide"),
    ("narrow", "mixture"),
    ("mixture", "pareto"),
    ("weibull", "narrow"),
    ("uniform", "wide"),
)
SIZES = {0.5: (100,), 0.9: (100,), 0.95: (100, 300, 1_000)}


def covered(pair: tuple[str, str], n: int, p: float, correlation: float, series: int) -> float:
    """The share of series whose interval holds the true ratio."""
    generator = np.random.default_rng(n)
    of_a, of_b = (SHAPES[name] for name in pair)
    truth = of_a(np.array([p])).item() / of_b(np.array([p])).item()
    hits = 0
    for _ in range(series):
        one, noise = generator.standard_normal((2, n))
        other = correlation * one + (1 - correlation**2) ** 0.5 * noise
        found = stats.paired_quantiles(a=of_a(special.ndtr(one)), b=of_b(special.ndtr(other)), p=p)
        assert found.ratio_low is not None
        assert found.ratio_high is not None
        hits += found.ratio_low <= truth <= found.ratio_high
    return hits / series


def main() -> None:
    """Print the least, the mean and the most over shapes and sharing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=2_000)
    options = parser.parse_args()
    for p, sizes in SIZES.items():
        for n, (words, pairs) in itertools.product(sizes, (("one shape", ALIKE), ("two shapes", APART))):
            shares = [
                100 * covered(pair, n, p, correlation, options.series)
                for pair, correlation in itertools.product(pairs, (0.0, 0.6, 0.95))
            ]
            least, mean, most = min(shares), sum(shares) / len(shares), max(shares)
            print(f"P{100 * p:g}  n = {n:>5,}  {words:10}  {least:.1f} to {most:.1f}, mean {mean:.1f} %", flush=True)


if __name__ == "__main__":
    main()
