"""What is said of a run that could end early: the rule, the look, what was saved, and intervals that hold all the same.

A look settles a question about one cell, or about two. An estimate that was looked at while it grew leans away from 0
when it ends the run: its repeated interval allows for that, the point does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import msgspec
import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.clusters import is_over_clusters
from steelyard.analysis.compare import verdict
from steelyard.analysis.estimates import Context, counted, distinct, headline, unknown
from steelyard.analysis.summary import summarise
from steelyard.analysis.wording import signed_points
from steelyard.types import CellInfo, Columns, Comparison, Estimate, Look, LookVerdict

MIRRORED: dict[LookVerdict, LookVerdict] = {"ahead": "behind", "behind": "ahead"}
REPEATED, SEQUENCE = "repeated over", "confidence sequence (PPR)"
"""How the method of an interval that allows for all looks is called."""
SINGLE_ITEMS = "paired, single items of the benchmark"
"""The method of a difference on a whole benchmark in clusters, of which single items were drawn."""
HIGHER: dict[LookVerdict, str] = {"ahead": "higher", "behind": "lower"}
"""Of a whole benchmark: who scored more is a fact of these answers, and no claim about others."""
FORECAST = "forecast"
"""How the method of what a skipped model would have cost begins: nothing was counted."""
LEANS = "A difference that ended a run early leans away from 0; its interval allows for that, the value does not."


class Stopped(Struct, frozen=True, kw_only=True):
    """How a cell that could end early ended. ``questions`` are the last looks at it, one a question.

    ``look`` is the one at which it ended, ``items`` how many were asked of those ``planned``; money is ``None`` where
    it is unknown, and ``is_forecast`` where nothing was asked from which it could be counted.
    """

    rule: str
    is_early: bool
    is_settled: bool
    look: int
    looks: int | None
    items: int
    planned: int
    population: int | None
    saved_items: int
    saved_usd: float | None
    is_forecast: bool = False
    questions: tuple[Look, ...]
    note: str | None = None

    @property
    def is_skipped(self) -> bool:
        """Whether a cheaper model was good enough, so that nothing was asked."""
        return any(look.verdict == "skipped" for look in self.questions)

    @property
    def is_dropped(self) -> bool:
        """Whether it was so clearly worse than a cheaper model that a cascade asked it no more."""
        return any(has_dropped(look) for look in self.questions)


def looks_by_cell(cells: Sequence[CellInfo], looks: Mapping[int, Sequence[Look]]) -> dict[int, list[list[Look]]]:
    """Every cell's series of looks, one a question, each difference seen from the cell's own side."""
    row_of = {(cell.model, cell.label): cell.id for cell in cells}
    found: dict[int, dict[str | None, list[Look]]] = {}
    for cell in cells:
        for look in looks.get(cell.id or 0, ()):
            found.setdefault(cell.id or 0, {}).setdefault(look.against, []).append(look)
            if look.verdict == "skipped":
                continue
            if look.against is not None and (other := row_of.get((look.against, cell.label))) is not None:
                found.setdefault(other, {}).setdefault(cell.model, []).append(mirrored(look, cell.model))
    return {cell: list(series.values()) for cell, series in found.items()}


def skipped_cells(looks: Mapping[int, Sequence[Look]]) -> set[int]:
    """The cells that a cascade skipped: nobody asked them, so they stand in no comparison and in no ranking."""
    return {cell for cell, taken in looks.items() if any(look.verdict == "skipped" for look in taken)}


def dropped_cells(looks: Mapping[int, Sequence[Look]]) -> set[int]:
    """The cells that a cascade dropped: what ended them leans away from the others, so they stand in no ranking."""
    return {cell for cell, taken in looks.items() if any(map(has_dropped, taken))}


def has_dropped(look: Look) -> bool:
    """Whether a cascade asked a cell no more for what this look at it showed."""
    return look.rule == "cascade" and look.verdict == "behind" and look.n < look.planned


def mirrored(look: Look, against: str) -> Look:
    """The same look from the other model's side."""
    return msgspec.structs.replace(
        look,
        against=against,
        value=None if look.value is None else 0.0 - look.value,  # of a tie no -0.0
        low=None if look.high is None else -look.high,
        high=None if look.low is None else -look.low,
        verdict=MIRRORED.get(look.verdict, look.verdict),
    )


def summarise_stopped(
    columns: Columns, context: Context, series: Sequence[Sequence[Look]], forecast: Estimate | None = None
) -> tuple[Estimate, ...]:
    """All estimates of a cell that could end early: scores within repeated bounds, and what was saved.

    ``forecast`` is what a cell that was skipped would have cost, where that is known.
    """
    estimates = summarise(columns, context)
    last = [looks[-1] for looks in series if looks]
    if not last:
        return estimates
    bounded = tuple(_bounded(columns, context, series, estimates))
    found = {estimate.metric: estimate for estimate in bounded}
    return (*bounded, *_savings(columns, context, last, found, forecast))


def _bounded(
    columns: Columns, context: Context, series: Sequence[Sequence[Look]], estimates: Sequence[Estimate]
) -> list[Estimate]:
    """The scores with bounds that hold over all looks. Waiting for a width needs none."""
    rule = series[0][-1].rule
    if rule == "anytime":
        return [
            _at_any_time(columns, context, series, each) if each.metric == "accuracy" else each for each in estimates
        ]
    z = max((look.z for looks in series for look in looks if look.z is not None), default=None)
    if z is None:
        return list(estimates)
    # a rule that errs more often than the table does not make its scores surer
    wider = msgspec.structs.replace(context, confidence=max(context.confidence, 2 * NormalDist().cdf(z) - 1))
    repeated = {
        estimate.metric: estimate for estimate in summarise(columns, wider) if _is_score(estimate, context.info)
    }
    return [_repeated(repeated.get(each.metric, each), each, series[0][-1].looks) for each in estimates]


def _is_score(estimate: Estimate, info: CellInfo) -> bool:
    return estimate.level is not None and (estimate.metric.startswith("accuracy") or estimate.metric in info.scored)


def _repeated(found: Estimate, plain: Estimate, looks: int | None) -> Estimate:
    if found is plain:
        return plain
    return msgspec.structs.replace(found, level=plain.level, method=f"{found.method}, {REPEATED} {looks} looks")


def _at_any_time(columns: Columns, context: Context, series: Sequence[Sequence[Look]], plain: Estimate) -> Estimate:
    """The share right of the whole benchmark by a confidence sequence, where every item is right or wrong."""
    scores = headline(columns)
    scored = scores[~np.isnan(scores)]
    look = series[0][-1]
    if look.population is None or context.info.repeats > 1 or not len(scored) or not np.isin(scored, (0.0, 1.0)).all():
        return plain
    bounds = stats.confidence_sequence_wor_binary(
        successes=int(scored.sum()), n=len(scored), population=look.population, alpha=1 - context.confidence
    )
    return msgspec.structs.replace(plain, low=bounds.low, high=bounds.high, method=SEQUENCE, estimand="this benchmark")


def _savings(
    columns: Columns,
    context: Context,
    last: Sequence[Look],
    estimates: Mapping[str, Estimate],
    forecast: Estimate | None,
) -> tuple[Estimate, ...]:
    asked = len(distinct(columns.sample))
    saved = last[0].planned - asked if is_early(last, asked) else 0
    per_item, judged = estimates.get("cost.per_item"), estimates.get("judge.cost.total")
    judge_usd = 0.0 if judged is None else judged.value
    if saved and not asked and forecast is not None:
        money = forecast
    elif saved and (per_item is None or per_item.value is None or judge_usd is None):
        money = unknown("stop.saved_usd", "USD", "the cost of an item is unknown", n=saved)
    else:
        each = (
            0.0 if per_item is None or per_item.value is None else per_item.value + (judge_usd or 0.0) / max(1, asked)
        )
        money = msgspec.structs.replace(
            counted("stop.saved_usd", "USD", saved * each, n=saved), method="mean cost of an item"
        )
    return (counted("stop.items", "items", asked), counted("stop.saved_items", "items", saved), money)


def is_early(last: Sequence[Look], asked: int) -> bool:
    """Whether every question about the cell was settled before all its items were asked."""
    if last[0].rule == "cascade":  # one question that says "worse" is enough there
        return asked < last[0].planned and any(look.verdict in ("behind", "skipped") for look in last)
    return all(look.is_settled for look in last) and asked < last[0].planned


def stopped(series: Sequence[Sequence[Look]], estimates: Mapping[str, Estimate]) -> Stopped | None:
    """How the cell ended, from its looks and its kept estimates; ``None`` where nobody looked."""
    last = [looks[-1] for looks in series if looks]
    items, saved, money = (estimates.get(f"stop.{name}") for name in ("items", "saved_items", "saved_usd"))
    if not last or items is None:
        return None
    latest = max(last, key=lambda look: look.n)
    asked = int(items.value or 0)
    early = is_early(last, asked)
    return Stopped(
        rule=latest.rule,
        is_early=early,
        is_settled=early or all(look.is_settled for look in last),
        look=latest.number,
        looks=latest.looks,
        items=asked,
        planned=latest.planned,
        population=latest.population,
        saved_items=int((saved.value if saved else 0) or 0),
        saved_usd=money.value if money else None,
        is_forecast=money is not None and money.method.startswith(FORECAST),
        questions=tuple(last),
        note=LEANS if early and latest.against is not None and latest.verdict != "skipped" else None,
    )


def is_repeated(estimate: Estimate) -> bool:
    """Whether the interval allows for all looks that were taken at it."""
    return REPEATED in estimate.method or estimate.method == SEQUENCE


def as_looked_at(shown: Estimate, kept: Sequence[Estimate]) -> Estimate:
    """What is shown of a run that could end early: its own repeated interval, where it is over the same items."""
    own = next((one for one in kept if one.metric == shown.metric), None)
    return own if own is not None and is_repeated(own) and own.n == shown.n else shown


def as_looked_at_together(comparison: Comparison, look: Look) -> Comparison | None:
    """A comparison with the bounds that the last look at the two has, which hold over all looks, and the word for them.

    ``None`` where the look says nothing of those very items: other ones are compared, or all were asked, of which it
    asks no more.
    """
    plain = comparison.difference
    is_of_them = look.value is not None and plain.value is not None and look.scored == plain.n
    if not is_of_them or not math.isclose(look.value or 0.0, plain.value or 0.0, abs_tol=1e-9) or look.low == look.high:
        return None
    if look.estimand == "this benchmark" and is_over_clusters(plain):
        plain = msgspec.structs.replace(plain, method=SINGLE_ITEMS, status="ok")
    how = SEQUENCE if look.looks is None else f"{plain.method}, {REPEATED} {look.looks} looks"
    within = msgspec.structs.replace(
        plain, low=look.low, high=look.high, level=look.level, method=how, estimand=look.estimand
    )
    return msgspec.structs.replace(
        comparison,
        difference=within,
        test="none",
        p_value=None,
        adjusted_p=None,
        adjustment="none",
        detectable=None,
        verdict=verdict(within, margin=comparison.margin, better="higher"),
    )


def early_end(run: int, kept: Sequence[Estimate]) -> str | None:
    """That a cell ended early by a rule, in words, from its kept estimates; ``None`` where it did not.

    A rule that waits for a width bends no figure; one that watches the scores themselves does.
    """
    figures = {one.metric: one for one in kept}
    items, saved = (figures[name].value if name in figures else None for name in ("stop.items", "stop.saved_items"))
    if not items or not saved:
        return None
    told = f"run #{run} ended early by its stopping rule, at {items:,.0f} of {items + saved:,.0f} items"
    if not any(is_repeated(one) for one in kept):
        return told
    return (
        f"{told}: the scores that ended it lean away from what they were held against. Their own intervals allow for "
        "that, that of a difference to another run does not"
    )


def look_line(model: str, label: str, look: Look) -> str:
    """One look as a line: where it stood, what it showed, what follows."""
    of = f" of {look.looks}" if look.looks else ""
    what = f"{model} against {look.against} on {label}" if look.against else f"{model} on {label}"
    return f"{what}: look {look.number}{of} at {look.n:,} of {look.planned:,} items: {finding(look)}; {_follows(look)}"


def finding(look: Look) -> str:
    """What a look showed: the value, its bounds, and for what they hold."""
    if look.value is None or look.low is None or look.high is None:
        return "not told apart" if look.against else "nothing scored"
    of_whole = "this benchmark" if look.estimand == "this benchmark" else "questions like these"
    if look.against is None:
        half = (look.high - look.low) / 2
        return f"{100 * look.value:.1f} % (±{100 * half:.1f} points, {100 * look.level:.3g} %, {of_whole})"
    if look.low == look.high:
        seen = f"{signed_points(look.value)} points on the whole benchmark"
        return f"{seen}; what questions like these show: steelyard compare"
    return (
        f"{signed_points(look.value)} points ({signed_points(look.low)} to {signed_points(look.high)}, "
        f"{100 * look.level:.3g} % over all looks, {of_whole})"
    )


def _follows(look: Look) -> str:
    if look.next is not None:
        return f"going on to {look.next:,}"
    if look.against is not None and look.low == look.high and look.verdict in HIGHER:
        return f"{HIGHER[look.verdict]} than {look.against}"
    return {
        "precise": "precise enough",
        "ahead": f"ahead of {look.against}",
        "behind": f"behind {look.against}",
        "equivalent": f"within the margin of {look.against}",
        "skipped": f"skipped for {look.against}",
    }.get(look.verdict, "all items are asked")
