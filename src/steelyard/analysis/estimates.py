"""What every metric is made with: the context, an estimate that says why it has no value, and shares.

``columns`` are those of one cell; see ``types.Columns``.
"""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.types import CellInfo, Columns, Estimand, Estimate

NOT_BY_REQUEST = (
    "names",
    "strata",
    "gaps_s",
    "gap_starts",
    "scores",
    "parsed",
    "superseded",
    "superseded_cost_usd",
    "judging",
)
MADE_ELSEWHERE = "the answers were made elsewhere: what was sent for them, and when, is not known"
OF_SENDING = ("reliability", "requests_per_second", "tokens_per_second", "api_calls")
"""What says nothing of answers that were made elsewhere."""
EXACT = "clopper-pearson"
"""How the method of a share's exact interval begins."""
ALL_CACHED = "every answer came from an earlier run: --fresh asks anew"


class Context(Struct, frozen=True, kw_only=True):
    """What a metric may need to know beside the columns. ``resources`` are the run's, over all its sessions.

    ``is_exact`` asks for bounds of shares that never err more often than ``confidence`` says.
    """

    info: CellInfo
    resources: dict[str, float] = {}
    confidence: float = 0.95
    is_exact: bool = False


def unknown(metric: str, unit: str, status: str, *, n: int = 0, method: str = "none") -> Estimate:
    """An estimate without a value, which says why."""
    return Estimate(metric=metric, value=None, n=n, method=method, unit=unit, status=status)


def counted(metric: str, unit: str, value: float, *, n: int = 1) -> Estimate:
    """A count or a peak: no sampling error, so no interval."""
    return Estimate(metric=metric, value=float(value), n=n, method="count", unit=unit, estimand="this run")


def share(
    metric: str,
    successes: float,
    n: int,
    context: Context,
    *,
    status: str = "ok",
    estimand: Estimand = "questions like these",
) -> Estimate:
    """A share with its Wilson interval, or the exact one (Clopper & Pearson 1934)."""
    if n == 0:
        return unknown(metric, "share", "nothing to count", method="wilson")
    interval = stats.clopper_pearson_interval if context.is_exact else stats.wilson_interval
    bounds = interval(successes=successes, n=n, confidence=context.confidence)
    return Estimate(
        metric=metric,
        value=successes / n,
        low=bounds.low,
        high=bounds.high,
        level=context.confidence,
        n=n,
        method=EXACT if context.is_exact else "wilson",
        unit="share",
        estimand=estimand,
        status=status,
    )


def first_tries_unknown(columns: Columns, context: Context) -> str | None:
    """Why it is not known which answers the first request for them gave, where it is not."""
    if context.info.is_floor:
        return "a floor sends nothing"
    if context.info.is_imported:
        return MADE_ELSEWHERE
    if context.info.sends_several:
        return "several requests make an answer"
    return "not read" if columns.retried is None else None


def headline(columns: Columns) -> np.ndarray:
    """The headline score of every request, NaN where there is none."""
    return next(iter(columns.scores.values()), np.array([]))


def headline_scored(columns: Columns) -> int:
    """How many requests have a headline score."""
    return int((~np.isnan(headline(columns))).sum())


def distinct(items: np.ndarray) -> np.ndarray:
    """Each once, in order: as ``np.unique``, which hashes numbers and sorts then, though items mostly lie in order."""
    ordered = np.sort(items, kind="stable")
    return np.asarray(ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0])


def item_means(scores: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The mean score of each item over its repeats."""
    _, membership, counts = np.unique(items, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(membership, weights=scores) / counts)


def is_answered(columns: Columns) -> np.ndarray:
    """Which requests were answered, well or not."""
    return np.asarray(columns.failure == "", dtype=bool)


def rows_of(columns: Columns, rows: np.ndarray) -> Columns:
    """Some of the requests; the gaps between tokens are left out."""
    kept = {name: getattr(columns, name) for name in Columns.__struct_fields__ if name not in NOT_BY_REQUEST}
    changed = {name: column[rows] for name, column in kept.items() if column is not None}
    return msgspec.structs.replace(
        columns,
        names=(),
        gaps_s=np.array([]),
        gap_starts=np.zeros(len(rows) + 1, dtype=np.int64),
        scores={metric: values[rows] for metric, values in columns.scores.items()},
        parsed={metric: values[rows] for metric, values in columns.parsed.items()},
        **changed,
    )
