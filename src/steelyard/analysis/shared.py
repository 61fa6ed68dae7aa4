"""By what figures one of several models is taken for good enough, where one is looked for.

Each of them may be taken by luck, so they share the error that a gate has for a single one. Of shares the bounds are
exact, so that none of it is lost to the steps in which a score comes; what is approximated keeps a part back for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.analysis.estimates import EXACT, Context
from steelyard.analysis.margins import ALPHA
from steelyard.analysis.stopped import summarise_stopped
from steelyard.types import CellInfo, Columns, Estimate, Look

LEFT_BY_STEPS = 0.8
"""The part of an error that several models may share where bounds are approximations, since scores come in steps."""


def exact_confidence(models: int) -> float:
    """The level of two-sided exact bounds by which one of so many models may be taken for good enough."""
    return 1 - 2 * ALPHA / models


def shared_confidence(models: int) -> float:
    """The same of bounds that are approximations.

    At 200 items Wilson's bound of 98.3 % errs in up to 2 %, and so may those of strata, repeats and clusters.
    """
    return 1 - 2 * ALPHA * LEFT_BY_STEPS / models


def shared_estimates(
    columns: Columns, info: CellInfo, looks: Sequence[Sequence[Look]], models: int
) -> tuple[Estimate, ...]:
    """All estimates of a cell by which it may be taken for the best of so many models, however it was looked at."""
    exact, near = (
        summarise_stopped(columns, context, looks)
        for context in (
            Context(info=info, confidence=exact_confidence(models), is_exact=True),
            Context(info=info, confidence=shared_confidence(models)),
        )
    )
    by_metric = {estimate.metric: estimate for estimate in exact if estimate.method.startswith(EXACT)}
    return tuple(by_metric.get(estimate.metric, estimate) for estimate in near)
