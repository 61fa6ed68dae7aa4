"""All estimates of one cell, in a fixed order."""

from __future__ import annotations

from functools import partial

from steelyard.analysis.accuracy import accuracy, breakdown, by_flag, over_parts, pass_at
from steelyard.analysis.estimates import Context
from steelyard.analysis.judging import judge_of
from steelyard.analysis.metrics import JUDGE_METRICS, METRICS, Metric
from steelyard.analysis.spread import spread
from steelyard.types import Columns, Estimate

ASKED = ".asked"


def summarise(columns: Columns, context: Context) -> tuple[Estimate, ...]:
    """Every metric of the table, one for each further score of the protocol, and the headline's breakdown."""
    computed = [metric.compute(columns, context) for metric in metrics_of(context)]
    parts = (pass_at, spread, breakdown, by_flag)
    return (*computed, *(estimate for part in parts for estimate in part(columns, context)))


def metrics_of(context: Context) -> list[Metric]:
    """The table's metrics, with the protocol's further scores right after the headline."""
    first, *rest = METRICS.values()
    of_judge = JUDGE_METRICS if judge_of(context) is not None else {}
    own = [name for name in context.info.scored if name != first.name and not name.startswith("judge.")]
    further = [_score(name, _counts(name, own)) for name in own if not name.endswith(ASKED)]
    return [first, *further, *rest, *of_judge.values()]


def _counts(name: str, scored: list[str]) -> str | None:
    """The score that says of how many parts of an item ``name`` is a share, where there is one."""
    counts = name.rpartition(".")[0] + ASKED
    return counts if counts in scored else None


def _score(name: str, counts: str | None) -> Metric:
    return Metric(
        name=name,
        unit="share",
        better="higher",
        definition="another reading of the same answers" if counts is None else "share of parts, all items together",
        compute=partial(accuracy, name) if counts is None else partial(over_parts, name, counts),
    )
