"""A cascade of the evaluation: models one after another, cheapest first, until one is good enough.

Who is asked at all depends on what cheaper models scored; what a model scores does not. So every score that is shown is
a score of the items it says, and a model that was skipped has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np

from steelyard import prices
from steelyard.analysis.estimates import counted
from steelyard.analysis.metrics import JUDGE_METRICS, METRICS
from steelyard.analysis.stopped import FORECAST
from steelyard.criteria import Threshold, parse_threshold
from steelyard.engine.cells import Cell
from steelyard.engine.money.budget import is_free
from steelyard.errors import UnknownName, UsageError
from steelyard.types import CellInfo, Columns, Estimate, Look, ModelSpec, Usage
from steelyard.types.ready import ready

OF_PARTS = ("accuracy/", "accuracy.", "pass@", "spread.")
"""Figures that a benchmark has by its strata, groups and repeats."""
TYPICAL = Usage(input_tokens=1000, output_tokens=300, source="tokenizer")


def by_price(specs: Iterable[ModelSpec], at: datetime) -> list[str]:
    """The models' ids, cheapest first by what a typical request costs; of the same price, in the plan's order."""
    costs: dict[str, float] = {}
    for spec in specs:
        cost = 0.0
        for asked in spec.asked:  # of a system of several models all of them
            part = 0.0 if is_free(asked) else prices.cost_usd(TYPICAL, asked, at)
            if part is None:
                raise UsageError(
                    f"a cascade goes by price, and {asked.id} has none. Try: price: {{input: 0.1, output: 0.4}}"
                )
            cost += part
        costs[spec.id] = cost
    return sorted(costs, key=lambda model: costs[model])


def would_have_cost(info: CellInfo, cheaper: CellInfo, asked: Columns) -> Estimate | None:
    """What a skipped model would have cost by its own price, with as many tokens an answer as the ``cheaper`` one took.

    The judge's part is what it took an answer there. ``None`` where a price or tokens are unknown, and of a system of
    several calls, for these are not foreseen.
    """
    spec = msgspec.convert(info.settings["model"], ready(ModelSpec))
    judge_usd = 0.0 if asked.judging is None else asked.judging.cost_usd
    tokens = [values[~np.isnan(values)] for values in (asked.input_tokens, asked.output_tokens)]
    if spec.calls_per_answer > 1 or judge_usd is None or not all(map(len, tokens)):
        return None
    each = [round(float(known.mean())) for known in tokens]
    usage = Usage(input_tokens=each[0], output_tokens=each[1], source="tokenizer")
    price = 0.0 if is_free(spec) else prices.cost_usd(usage, spec, datetime.now(UTC))
    if price is None:
        return None
    usd = info.items * info.repeats * (price + judge_usd / len(asked.sample))
    total = counted("stop.saved_usd", "USD", usd, n=info.items)
    return msgspec.structs.replace(total, method=f"{FORECAST}: its price at the tokens of {cheaper.model}")


def check_criteria(success: Sequence[str], cells: Sequence[Cell]) -> None:
    """Refuse a criterion about a metric that some cell will not have."""
    check_metrics([threshold.metric for threshold in map(parse_threshold, success)], cells)


def check_metrics(metrics: Iterable[str], cells: Sequence[Cell]) -> None:
    """Refuse a metric that some cell will not have."""
    for metric in metrics:
        for cell in cells:
            known = {*METRICS, *JUDGE_METRICS, *cell.info.scored}
            if metric not in known and not metric.startswith(OF_PARTS):
                raise UnknownName("metric", metric, known)


def order_of(cells: Sequence[Cell]) -> list[str]:
    """The watched models in the order of their turns."""
    return by_price({cell.spec.id: cell.spec for cell in cells}.values(), datetime.now(UTC))


def meets(success: Sequence[str], estimates: Mapping[str, Estimate]) -> bool:
    """Whether every criterion holds by the estimate's own bound; a count or a peak is what it is."""
    return all(_holds(threshold, estimates.get(threshold.metric)) for threshold in map(parse_threshold, success))


def _holds(threshold: Threshold, estimate: Estimate | None) -> bool:
    if estimate is None or estimate.value is None:
        return False
    low, high = (estimate.value, estimate.value) if estimate.method == "count" else (estimate.low, estimate.high)
    if threshold.sign == ">=":
        return low is not None and low >= threshold.value
    return high is not None and high <= threshold.value


def skipped(cell: Cell, because: str, *, population: int | None) -> Look:
    """The word that a cell is not asked, because a cheaper model meets the criteria."""
    return Look(
        rule="cascade",
        number=0,
        n=0,
        scored=0,
        planned=len(cell.task.positions),
        population=population,
        against=because,
        value=None,
        low=None,
        high=None,
        level=0.95,
        estimand="this benchmark",
        verdict="skipped",
    )
