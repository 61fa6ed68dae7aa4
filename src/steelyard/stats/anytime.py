"""Looks that nobody planned: what holds at every moment of a run at once, however often one looks.

Items come in an order drawn beforehand at random. Over a finite benchmark (``population``) they come without
replacement, so what is left shrinks to what has not been asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.intervals import Interval

LARGEST_EXPONENT = 700.0
MOST_BET = 0.5
ROUNDING = 1e-9


class EValue(Struct, frozen=True, kw_only=True):
    """Evidence against no difference: at or above 1 / alpha it may stop a run. ``anytime_p`` is 1 / e, at most 1."""

    e_value: float
    log_e_value: float
    anytime_p: float


class Sequences(Struct, frozen=True, kw_only=True):
    """One (low, high) for each of the moments asked for."""

    intervals: tuple[tuple[float, float], ...]


def eprocess_paired_binary(*, only_a_correct: int, only_b_correct: int, prior: float = 1.0) -> EValue:
    """B(b + a, c + a) / B(a, a) 2^(b + c): a mixture of bets on which of two models wins a discordant pair.

    Robbins 1970; Ramdas et al. 2023. ``prior`` a is a Beta(a, a) on A's share of those pairs: 5 suits models that are
    near each other. It holds at this moment; the p-value for many looks is the smallest of them.
    """
    b, c = only_a_correct, only_b_correct
    log_e = float(scipy.special.betaln(b + prior, c + prior) - scipy.special.betaln(prior, prior)) + (b + c) * math.log(
        2
    )
    return EValue(
        e_value=math.exp(log_e) if log_e < LARGEST_EXPONENT else math.inf,
        log_e_value=log_e,
        anytime_p=min(1.0, math.exp(-max(0.0, log_e))),
    )


def confidence_sequence_wor_binary(
    *,
    successes: int,
    n: int,
    population: int,
    prior_a: float = 1.0,
    prior_b: float = 1.0,
    alpha: float = 0.05,
) -> Interval:
    """The share right of the whole benchmark after ``n`` of its items (Waudby-Smith & Ramdas 2020, PPR).

    It holds every total whose prior probability is below 1 / alpha times its posterior one. No running intersection.
    """
    if population <= 0:
        return Interval(low=0.0, high=1.0)
    totals = np.arange(successes, population - (n - successes) + 1)
    before = _log_beta_binomial(totals, population, prior_a, prior_b)
    after = _log_beta_binomial(totals - successes, population - n, prior_a + successes, prior_b + n - successes)
    kept = totals[before - after < -math.log(alpha) - ROUNDING]
    return Interval(low=float(kept[0]) / population, high=float(kept[-1]) / population)


def hedged_confidence_sequence(
    *,
    values: Sequence[float] | np.ndarray,
    population: int | None = None,
    alpha: float = 0.05,
    at: Sequence[int] | None = None,
    planned: float | None = None,
    resolution: int = 1000,
) -> Sequences:
    """Bounds of the mean of values in [0, 1] by betting against every mean at once (Waudby-Smith & Ramdas 2024).

    A mean is dropped for good once a bet against it has multiplied its stake by 1 / alpha. Bets are sized by the
    variance so far; ``planned`` says for how many items, such as half the benchmark, and must be set beforehand. ``at``
    are the numbers of items after which bounds are wanted, by default the last. Bounds are a step of 1 / resolution
    wide of the means tried, and within what the answers so far leave possible. From an unknown value on, which cannot
    be bet on, nothing is learnt.
    """
    sample = _until_unknown(values)
    moments = [len(sample)] if at is None else [min(int(moment), len(sample)) for moment in at]
    bets = _bet_sizes(sample, alpha, planned)
    means = np.linspace(0.0, 1.0, resolution + 1)
    up, down, total = np.ones_like(means), np.ones_like(means), 0.0
    found = {0: (0.0, 1.0)}
    for t, (value, bet) in enumerate(zip(sample, bets, strict=True), start=1):
        expected = means if population is None else (population * means - total) / max(1, population - t + 1)
        above, below = _capped(bet, expected)
        up, down, total = (
            up * (1 + above * (value - expected)),
            down * (1 - below * (value - expected)),
            total + float(value),
        )
        kept = (np.maximum(up, down) / 2 <= 1 / alpha) & _attainable(expected)
        if not kept.any():  # the truth lies between two of the means tried: the last to go stands for it
            last = int(np.maximum(up, down).argmin())
            kept, up, down = np.arange(len(means)) == last, np.zeros_like(up), np.zeros_like(down)
        means, up, down = means[kept], up[kept], down[kept]
        if t in moments:
            found[t] = _possible(means, total, t, population, 1 / resolution)
    return Sequences(intervals=tuple(found[moment] for moment in moments))


def paired_difference_sequence(
    *,
    differences: Sequence[float] | np.ndarray,
    population: int | None = None,
    alpha: float = 0.05,
    at: Sequence[int] | None = None,
    planned: float | None = None,
    resolution: int = 2000,
) -> Sequences:
    """Bounds of the mean of per-item differences in [-1, 1] that hold at every look, such as those of two models.

    By ``hedged_confidence_sequence`` of (d + 1) / 2 (Waudby-Smith & Ramdas 2024).
    """
    found = hedged_confidence_sequence(
        values=(np.asarray(differences, dtype=float) + 1) / 2,
        population=population,
        alpha=alpha,
        at=at,
        planned=planned,
        resolution=resolution,
    )
    return Sequences(intervals=tuple((2 * low - 1, 2 * high - 1) for low, high in found.intervals))


def betting_e_value(
    *,
    values: Sequence[float] | np.ndarray,
    mean: float,
    population: int | None = None,
    alpha: float = 0.05,
    planned: float | None = None,
) -> EValue:
    """The most that hedged bets against one ``mean`` have made at any moment: the test of a confidence sequence.

    A paired difference d in [-1, 1] is tested for a tie as the value (d + 1) / 2 against the mean 1/2. From an unknown
    value on nothing is bet.
    """
    sample = _until_unknown(values)
    before = np.concatenate([[0.0], np.cumsum(sample)[:-1]]) if len(sample) else sample
    left = np.inf if population is None else population - np.arange(len(sample))
    expected = np.full(len(sample), mean) if population is None else (population * mean - before) / np.maximum(1, left)
    above, below = _capped(_bet_sizes(sample, alpha, planned), expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.cumsum(np.log1p(above * (sample - expected)))
        down = np.cumsum(np.log1p(-below * (sample - expected)))
    made = np.maximum(up, down) - math.log(2)
    log_e = math.inf if not _attainable(expected).all() else float(made.max(initial=-math.log(2)))
    return EValue(
        e_value=math.exp(log_e) if log_e < LARGEST_EXPONENT else math.inf,
        log_e_value=log_e,
        anytime_p=min(1.0, math.exp(-max(0.0, log_e))),
    )


def _log_beta_binomial(k: np.ndarray, n: int, a: float, b: float) -> np.ndarray:
    choose = scipy.special.gammaln(n + 1) - scipy.special.gammaln(k + 1) - scipy.special.gammaln(n - k + 1)
    return np.asarray(choose + scipy.special.betaln(k + a, n - k + b) - scipy.special.betaln(a, b))


def _until_unknown(values: Sequence[float] | np.ndarray) -> np.ndarray:
    sample = np.asarray(values, dtype=float)
    unknown = np.isnan(sample)
    return sample[: int(unknown.argmax())] if unknown.any() else sample


def _bet_sizes(values: np.ndarray, alpha: float, planned: float | None) -> np.ndarray:
    """A stake for each item from those before it alone: an empirical-Bernstein plug-in."""
    t = np.arange(1, len(values) + 1)
    means = (0.5 + np.cumsum(values)) / (t + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (t + 1)
    known = np.concatenate([[0.25], variances[:-1]]) if len(values) else variances
    horizon = t * np.log(1 + t) if planned is None else np.full(len(values), max(1.0, planned))
    return np.asarray(np.sqrt(2 * math.log(2 / alpha) / (horizon * known)))


def _capped(bet: np.ndarray | float, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stakes on more and on less than ``expected`` that can never lose more than half."""
    inside = np.clip(expected, 1e-12, 1 - 1e-12)
    return np.minimum(bet, MOST_BET / inside), np.minimum(bet, MOST_BET / (1 - inside))


def _attainable(expected: np.ndarray) -> np.ndarray:
    """Whether what is left could have this mean, rounding allowed for."""
    return (expected >= -1e-9) & (expected <= 1 + 1e-9)


def _possible(means: np.ndarray, total: float, t: int, population: int | None, step: float) -> tuple[float, float]:
    """The means kept, a step wide, within what the items not yet asked leave possible."""
    low, high = max(0.0, float(means[0]) - step), min(1.0, float(means[-1]) + step)
    if population is None:
        return low, high
    least, most = total / population, min(1.0, (total + max(0, population - t)) / population)
    low, high = max(low, least), min(high, most)
    return (low, high) if low <= high else (least, most)
