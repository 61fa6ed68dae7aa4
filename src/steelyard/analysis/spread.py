"""Where the uncertainty of a score comes from: which items were asked, that answers vary, that the judge wavers.

Var(mean) = (between + (repeats + judge / J) / K) / n for n items, K repeats of each, J judgements of an answer (Miller
2024, section 3). What is bought next should lower the largest part: nearly always more items, not more repeats.
"""

from __future__ import annotations

import math

import numpy as np

from steelyard import stats
from steelyard.analysis.clusters import is_over_clusters
from steelyard.analysis.estimates import Context, headline
from steelyard.analysis.judging import VARIANCE, judge_of
from steelyard.types import Columns, Estimate

ITEMS, REPEATS, JUDGE = "spread.items", "spread.repeats", "spread.judge"
MOSTLY = 0.9
BETWEEN = "between items, their repeats' share taken off"
BETWEEN_CLIPPED = f"{BETWEEN}; below 0, so shown as 0"


def spread(columns: Columns, context: Context) -> list[Estimate]:
    """Standard deviations of a score: between items, within an item over its repeats, and of the judge alone.

    Nothing where no item was asked twice.
    """
    table = _repeated(columns, context)
    parts = stats.variance_components(scores=table)
    if parts.within is None or parts.between is None:
        return []
    judge = _judge_variance(columns)
    judged = judge / _judgements(context) if judge is not None else 0.0
    found = [
        _sd(ITEMS, parts.between, len(table), BETWEEN_CLIPPED if parts.clipped else BETWEEN),
        _sd(REPEATS, max(0.0, parts.within - judged), len(table), "within an item, over repeats"),
    ]
    if judge is not None:
        found.append(_sd(JUDGE, judge, len(table), "of one answer, over judgements"))
    return found


def advice(estimates: dict[str, Estimate], context: Context) -> str | None:
    """Which part weighs most, and what twice of the items, repeats or judgements would do; ``None`` without repeats."""
    items, repeats = (estimates[name].value if name in estimates else None for name in (ITEMS, REPEATS))
    score = estimates.get("accuracy")
    if items is None or repeats is None or score is None or score.low is None or score.high is None:
        return None
    if is_over_clusters(score):  # whose error is neither that of items nor that of their repeats
        return None
    times = context.info.repeats
    judge = estimates[JUDGE].value or 0.0 if JUDGE in estimates else 0.0
    of_judge = judge**2 / _judgements(context) / times
    is_mixed = judge_of(context) is not None and JUDGE not in estimates  # judged once each, so that nobody can tell
    varying = "answers that vary or a judge that wavers" if is_mixed else "answers that vary"
    parts = {"which items were asked": items**2, varying: repeats**2 / times, "the judge": of_judge}
    total = sum(parts.values())
    if not total:
        return None
    shares = ", ".join(f"{100 * part / total:.0f} % {name}" for name, part in parts.items() if part)
    half = 100 * (score.high - score.low) / 2
    more_items = half / math.sqrt(2)
    more_repeats = half * math.sqrt((items**2 + (total - items**2) / 2) / total)
    more_judgements = half * math.sqrt((total - of_judge / 2) / total)
    judged_more = f"; twice the judgements of each answer: ±{more_judgements:.1f}" if of_judge else ""
    is_the_judge = of_judge > repeats**2 / times
    return (
        f"the error of accuracy (±{half:.1f} points) is {shares}. Twice the items: ±{more_items:.1f}; "
        f"twice the repeats: ±{more_repeats:.1f}{judged_more}. "
        f"{_buy(_asked(estimates, context), context.info.available, items**2 / total, is_the_judge)}"
    )


def _asked(estimates: dict[str, Estimate], context: Context) -> float:
    """The items asked, which of a run that ended early are fewer than were planned; some may have fewer repeats."""
    attempted = estimates["attempted"].value if "attempted" in estimates else None
    whole = context.info.items if attempted is None else attempted / context.info.repeats
    return max(whole, estimates["accuracy"].n)


def _buy(asked: float, available: int, share_of_items: float, is_the_judge: bool) -> str:
    if asked < available:
        return "Buy items, not repeats"
    if share_of_items > MOSTLY:
        return "All items are asked already, and repeats would hardly help: another benchmark would"
    if is_the_judge:
        return "All items are asked already, and the judge wavers more than the answers: raise --judge-repeats"
    return "All items are asked already: repeats are what is left to buy"


def _repeated(columns: Columns, context: Context) -> np.ndarray:
    """One row for each item with all its repeats scored."""
    scores = headline(columns)
    if context.info.repeats < 2 or not len(scores):
        return np.empty((0, 0))
    scored = ~np.isnan(scores)
    order = np.lexsort((columns.repeat[scored], columns.sample[scored]))
    counts = np.unique(columns.sample[scored], return_counts=True)[1]
    is_whole = np.repeat(counts == context.info.repeats, counts)
    return np.asarray(scores[scored][order][is_whole].reshape(-1, context.info.repeats))


def _judge_variance(columns: Columns) -> float | None:
    variances = columns.scores.get(VARIANCE, np.array([]))
    known = variances[~np.isnan(variances)]
    return float(known.mean()) if len(known) else None


def _judgements(context: Context) -> int:
    return int((judge_of(context) or {}).get("repeats", 1))


def _sd(metric: str, variance: float, n: int, method: str) -> Estimate:
    return Estimate(
        metric=metric, value=math.sqrt(variance), n=n, method=method, unit="score", estimand="questions like these"
    )
