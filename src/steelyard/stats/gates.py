"""Verdicts on a margin. A gate has three outcomes: what is not shown either way is inconclusive, never a pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
import scipy
from msgspec import Struct

from steelyard.stats.intervals import mean_interval
from steelyard.stats.paired import paired_difference_score_interval

Word = Literal["pass", "fail", "inconclusive"]


class Equivalence(Struct, frozen=True, kw_only=True):
    """p-values that the mean is not above ``low``, not below ``high``, and their larger; ``None`` without spread."""

    p: float | None
    p_low: float | None
    p_high: float | None


class GateVerdict(Struct, frozen=True, kw_only=True):
    """A verdict on candidate - baseline, the difference, and the one-sided bounds it rests on."""

    verdict: Word
    diff: float | None
    low: float
    high: float


class GateChances(Struct, frozen=True, kw_only=True):
    """How often a gate would pass, fail and stay inconclusive; the three make one."""

    passes: float
    fails: float
    inconclusive: float


def tost_paired(*, differences: Sequence[float] | np.ndarray, low: float, high: float) -> Equivalence:
    """Two one-sided t tests that the mean difference lies within (``low``, ``high``) (Schuirmann 1987)."""
    found = mean_interval(values=differences)
    if found.mean is None or not found.se or not math.isfinite(found.mean):
        return Equivalence(p=None, p_low=None, p_high=None)
    p_low = float(scipy.special.stdtr(found.n - 1, -(found.mean - low) / found.se))
    p_high = float(scipy.special.stdtr(found.n - 1, (found.mean - high) / found.se))
    return Equivalence(p=max(p_low, p_high), p_low=p_low, p_high=p_high)


def gate_verdict(
    *, n: int, only_baseline_correct: int, only_candidate_correct: int, margin: float, alpha: float = 0.05
) -> GateVerdict:
    """Whether the candidate fell by more than ``margin``, by one-sided bounds at 1 - alpha (Tango's score interval).

    Fail where even the upper bound is below -margin, pass where the lower bound is above it, else inconclusive.
    """
    found = paired_difference_score_interval(
        only_a_correct=only_candidate_correct, only_b_correct=only_baseline_correct, n=n, confidence=1 - 2 * alpha
    )
    return GateVerdict(
        verdict=margin_verdict(low=found.low, high=found.high, margin=margin),
        diff=found.diff,
        low=found.low,
        high=found.high,
    )


def margin_verdict(*, low: float | None, high: float | None, margin: float) -> Word:
    """The verdict on bounds of candidate - baseline, higher being better; unknown bounds are inconclusive."""
    if high is not None and high < -margin:
        return "fail"
    return "pass" if low is not None and low > -margin else "inconclusive"


def gate_chances(*, n: int, discordant: float, drop: float, margin: float, alpha: float = 0.05) -> GateChances:
    """What a gate would say of a candidate that truly lost ``drop``, by the normal approximation: ask before running.

    ``discordant`` is the share of items on which the two disagree; at least the drop itself.
    """
    spread = math.sqrt(max(0.0, max(discordant, abs(drop)) - drop**2) / n) if n > 0 else math.inf
    if spread == 0 or math.isinf(spread):
        return GateChances(passes=0.0, fails=0.0, inconclusive=1.0)
    z = NormalDist().inv_cdf(1 - alpha)
    fails = float(scipy.special.ndtr((drop - margin) / spread - z))
    passes = float(scipy.special.ndtr((margin - drop) / spread - z))
    return GateChances(passes=passes, fails=fails, inconclusive=1.0 - passes - fails)
