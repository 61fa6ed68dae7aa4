"""What a baseline's answers saved, in words: how far the two go together, and how many items that is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steelyard.analysis.sentences import descriptive, names, points
from steelyard.report.comparing.comparison import Compared
from steelyard.types import Comparison, ControlVariate


def variate_words(pairs: Sequence[Compared]) -> list[str]:
    """Some lines for each pair whose candidate was asked a part of the items."""
    return [
        line
        for pair in pairs
        if pair.comparison.control_variate is not None
        for line in _of_one(pair.comparison, pair.comparison.control_variate)
    ]


def _of_one(comparison: Comparison, variate: ControlVariate) -> Iterator[str]:
    who, other = names(comparison)
    of_what = "this benchmark" if variate.is_whole else "these items alone"
    yield (
        f"{who} was asked {variate.items:,} of the {variate.population:,} items that {other} was asked; the difference "
        f"is over all {variate.population:,}, of {of_what} (regression estimator, theta {variate.theta:.2f})."
    )
    yield f"  phi {_phi(variate)}"
    yield f"  {_worth(variate)}"
    yield f"  without the baseline: {descriptive(variate.plain)}"
    if variate.beyond is not None:
        doubt = "" if variate.beyond.status == "ok" else f" ({variate.beyond.status})"
        yield f"  of questions like these the difference is {points(variate.beyond)} points{doubt}"


def _phi(variate: ControlVariate) -> str:
    phi = variate.phi
    if phi.value is None or phi.low is None or phi.high is None or variate.variance_left is None:
        return f"unknown: {phi.status}"
    bounds = f"{phi.low:.2f} to {phi.high:.2f}, {100 * (phi.level or 0):g} %"
    left = f"{100 * variate.variance_left:.0f} % of the variance of a plain mean is left"
    return f"{phi.value:.2f} ({bounds}): {left}"


def _worth(variate: ControlVariate) -> str:
    if variate.worth_items is None or variate.saved_items is None or variate.paired_worth_items is None:
        return "nothing saved: the baseline's scores say nothing of these. Try: without --control-variate"
    between = ""
    if variate.worth_low is not None and variate.worth_high is not None:
        between = f" ({variate.worth_low:,.0f} to {variate.worth_high:,.0f})"
    worth = f"as good as {variate.worth_items:,.0f}{between} items without the baseline"
    if not variate.is_worth_it:
        return f"not worth it: {worth}. Try: without --control-variate"
    return (
        f"{worth}: {variate.saved_items:,.0f} items saved; of the difference, pairing alone is as good as "
        f"{variate.paired_worth_items:,.0f}"
    )
