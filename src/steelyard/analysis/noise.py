"""A gate tried on nothing: the same model against itself, and what that says of margins.

Repeats of an item are exchangeable, so dealing each item's repeats at random to two sides makes two runs of one model
as a gate would see them, any number of times. Two runs of one plan are the harder test: what drifts from one to the
other (a service's load, a machine's) is in it too, and dealt repeats hide it, so of times believe the runs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.accuracy import is_binary
from steelyard.analysis.compare import POWER
from steelyard.analysis.estimates import Context, headline, item_means, rows_of, share
from steelyard.analysis.gate import Check, Policy, check_margin
from steelyard.analysis.margins import ALPHA, Cell
from steelyard.criteria import Margin
from steelyard.types import Estimate

ALLOWED = Policy(allowed=("cached", "machine"))


class Proposal(Struct, frozen=True, kw_only=True):
    """The smallest margin within which an unchanged model would be seen to be, four times of five."""

    model: str
    benchmark: str
    margin: float
    n: int
    basis: str


class Calibration(Struct, frozen=True, kw_only=True):
    """What a gate said of one model against itself.

    ``fails`` is the false-alarm rate, with an interval for more trials of this kind ("this run"): deals of the same
    answers, and pairs that share a run, are not independent, and of other answers it may be another. ``detectable`` is
    the smallest true change for the worse that is told from none with a power of 80 %; ``largest`` the largest change
    for the worse that was seen by luck; ``fails_at_twice`` how often a true fall of twice the margin would be called a
    fail, by the normal approximation.
    """

    criterion: str
    model: str
    benchmark: str
    source: str
    trials: int
    passes: Estimate
    fails: Estimate
    inconclusive: Estimate
    n: int
    scale: str
    unit: str
    detectable: float | None
    largest: float | None
    fails_at_twice: float | None
    judged: int
    reason: str | None = None


@dataclass(frozen=True)
class Pair:
    """Two cells of one model: nothing changed between them."""

    one: Cell
    other: Cell


def propose_margin(cell: Cell) -> Proposal | None:
    """A margin on accuracy from the noise of repeats, else from what it can be at most."""
    scores = headline(cell.columns)
    is_scored = ~np.isnan(scores)
    if not is_scored.any():
        return None
    items = cell.columns.sample[is_scored]
    means = item_means(scores[is_scored], items)
    repeats = len(items) / len(means)
    within = _within(scores[is_scored], items)
    if within is not None:
        variance, basis = 2 * within / repeats, f"from its {repeats:.3g} answers an item"
    elif is_binary(means):
        p = float(means.mean())
        variance, basis = (
            max(2 * p * (1 - p), 1 / len(means)),
            "at most: it was asked once, and --runs 2 tells its noise",
        )
    else:
        variance, basis = 2 * float(means.var(ddof=1)), "at most: it was asked once, and --runs 2 tells its noise"
    found = stats.minimum_detectable_effect(n=len(means), omega2=variance, alpha=2 * ALPHA, power=POWER).mde
    if not found:
        return None
    digits = 1 - math.floor(math.log10(found))
    return Proposal(
        model=cell.info.model,
        benchmark=cell.info.label,
        margin=math.ceil(found * 10**digits) / 10**digits,
        n=len(means),
        basis=basis,
    )


def _within(scores: np.ndarray, items: np.ndarray) -> float | None:
    """The mean variance of an item's answers; ``None`` where no item was asked twice."""
    _, membership, counts = np.unique(items, return_inverse=True, return_counts=True)
    means = np.bincount(membership, weights=scores) / counts
    squares = np.bincount(membership, weights=(scores - means[membership]) ** 2)
    asked_again = counts > 1
    if not asked_again.any():
        return None
    return float((squares[asked_again] / (counts[asked_again] - 1)).mean())


def dealt(cell: Cell, trials: int, seed: int = 0) -> list[Pair]:
    """The cell's repeats dealt to two sides, half to each, over and over; nothing where items were asked once."""
    generator = np.random.default_rng(seed)
    found: list[Pair] = []
    _, membership, counts = np.unique(cell.columns.sample, return_inverse=True, return_counts=True)
    if not (counts > 1).any():
        return found
    halves = (counts // 2)[membership]
    starts = np.cumsum(counts) - counts
    for _ in range(trials):
        order = np.lexsort((generator.random(len(membership)), membership))
        place = np.arange(len(order)) - starts[membership[order]]
        half = halves[order]
        one, other = order[place < half], order[(place >= half) & (place < 2 * half)]
        found.append(Pair(_part(cell, one), _part(cell, other)))
    return found


def _part(cell: Cell, rows: np.ndarray) -> Cell:
    return msgspec.structs.replace(cell, columns=rows_of(cell.columns, np.sort(rows)))


def calibrate(margin: Margin, pairs: Sequence[Pair], source: str) -> Calibration:
    """What the gate says of each pair, of which none differs."""
    checks = [check_margin(margin, pair.one, pair.other, ALLOWED) for pair in pairs]
    words = Counter(check.verdict for check in checks)
    judged = [check for check in checks if check.fault is None]
    last = checks[-1]
    context = Context(info=pairs[-1].one.info)
    shares = {
        word: share(f"gate.{word}", words[word], len(checks), context, estimand="this run")
        for word in ("pass", "fail", "inconclusive")
    }
    detectable = [check.detectable for check in judged if check.detectable is not None]
    worst = [_loss(check) for check in judged]
    return Calibration(
        criterion=last.criterion,
        model=last.model,
        benchmark=last.benchmark,
        source=source,
        trials=len(checks),
        passes=shares["pass"],
        fails=shares["fail"],
        inconclusive=shares["inconclusive"],
        n=last.n,
        scale=last.scale,
        unit=last.unit,
        detectable=float(np.median(detectable)) if detectable else None,
        largest=max(worst) if worst else None,
        fails_at_twice=_at_twice(judged),
        judged=len(judged),
        reason=None if judged else last.fault,
    )


def _loss(check: Check) -> float:
    """How much for the worse, as a share of the baseline for a ratio."""
    value = (check.value or 0.0) - (1.0 if check.scale == "ratio" else 0.0)
    return -value if check.better == "higher" else value


def _at_twice(judged: Sequence[Check]) -> float | None:
    discordant = [
        (check.agreement.only_baseline + check.agreement.only_candidate) / check.n
        for check in judged
        if check.agreement is not None and check.n
    ]
    if not discordant or judged[-1].margin is None:
        return None
    margin = judged[-1].margin
    return stats.gate_chances(
        n=judged[-1].n, discordant=float(np.mean(discordant)), drop=2 * margin, margin=margin, alpha=ALPHA
    ).fails
