"""The frontier of a cascade as a table: what each threshold would score and cost, and the one to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from steelyard.analysis.bench import Bench
from steelyard.analysis.frontier import THE_SAME, Aim, Choice, Frontier, Point, frontier
from steelyard.analysis.pairing import check_pairable
from steelyard.analysis.wording import PER_THOUSAND, change_written, signed_points, thousandfold, written
from steelyard.errors import UnknownName, UsageError
from steelyard.report.comparing.comparison import Reader
from steelyard.report.comparing.pairs import Question
from steelyard.report.console import console, new_table
from steelyard.store import Store
from steelyard.types import CellInfo, Estimate, RunInfo

MOST_DEAR = 2
"""Under so many better models a model is shown as the cheap one of a cascade."""
Found = dict[str, tuple[RunInfo, CellInfo]]
"""A model's cells by benchmark, each from the first run named that has it."""


def load_frontiers(
    store: Store, runs: Sequence[RunInfo], cheap: str, dear: str, aim: Aim, *, benchmark: str | None = None
) -> list[Frontier]:
    """The frontier of two models on every benchmark that both were asked, from what is stored."""
    if cheap == dear:
        raise UsageError("a cascade has two models, and these are one")
    of_cheap, of_dear = (_cells(store, runs, model, benchmark) for model in (cheap, dear))
    common = [label for label in of_cheap if label in of_dear]
    if not common:
        raise UsageError(
            f"{cheap} was asked {', '.join(of_cheap)} and {dear} {', '.join(of_dear)}: a cascade needs both on the "
            "same items. Try: naming both runs"
        )
    reader = Reader(store, Question())
    found = []
    for label in common:
        cells = of_cheap[label], of_dear[label]
        check_pairable(cells[0][1], cells[1][1])
        sides = [reader.side(*cell) for cell in cells]
        found.append(frontier(sides[0], sides[1], _confidence(store, cells[0][1]), aim))
    return found


def _cells(store: Store, runs: Sequence[RunInfo], model: str, benchmark: str | None) -> Found:
    known = [(run, info) for run in runs for info in store.cells(run.id)]
    found: Found = {}
    for run, info in known:
        if info.model == model and benchmark in (None, info.benchmark, info.label):
            found.setdefault(info.label, (run, info))
    if not found:
        where = " or ".join(f"run #{run.number}" for run in runs)
        raise UnknownName(f"model in {where}", model, {info.model for _, info in known})
    return found


def frontiers_of(store: Store, bench: Bench) -> list[Frontier]:
    """What the models of one benchmark would be as cascades: each with a confidence under those that beat it.

    Under the best few only, since each is a chart of its own; a cascade is no part of another one.
    """
    alone = [one for one in bench.scored if not one.side.info.settings.get("model", {}).get("cascade")]
    found: list[Frontier] = []
    for cheap in filter(lambda one: is_sure(one.side.info), alone):
        least = cheap.value("accuracy") or 0.0
        better = [one for one in alone if (one.value("accuracy") or 0.0) > least]
        for dear in [one for one in better if bench.is_pairable(cheap, one)][:MOST_DEAR]:
            found.append(frontier(cheap.side, dear.side, _confidence(store, cheap.side.info), Aim()))
    return [one for one in found if one.points]


def is_sure(cell: CellInfo) -> bool:
    """Whether the answers of the cell were given a confidence."""
    return bool(cell.settings.get("model", {}).get("confidence"))


def _confidence(store: Store, cell: CellInfo) -> np.ndarray:
    told = (None if answer is None else answer.confidence for answer in store.weighed(cell))
    return np.array([np.nan if value is None else value for value in told], dtype=float)


def frontiers_document(found: Sequence[Frontier]) -> list[dict[str, Any]]:
    """The same as JSON-ready values."""
    document: list[dict[str, Any]] = msgspec.to_builtins(list(found))
    return document


class FrontierTable(msgspec.Struct, frozen=True, kw_only=True):
    """A row for each threshold between those of the two models alone, in the columns that are known."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def print_frontier(found: Frontier) -> None:
    """One benchmark's table, the threshold chosen, and what to beware of."""
    out = console()
    out.print(f"{frontier_headline(found)}, nothing asked")
    told = frontier_table(found)
    table = new_table(*told.headings)
    for row in told.rows:
        table.add_row(*row)
    out.print(table)
    for line in frontier_lines(found):
        out.say(line)


def frontier_headline(found: Frontier) -> str:
    """Whose cascade, on what."""
    return f"{found.cheap} > {found.dear} on {found.benchmark}: {found.items:,} items"


def frontier_table(found: Frontier) -> FrontierTable:
    """Every threshold that is shown."""
    has_costs = any(point.cost_per_item.value is not None for point in found.points)
    has_times = any(point.latency.value is not None for point in found.points)
    headings = ["escalate below", "escalated", "accuracy (95 %)", "against the dear one", "over chance"]
    headings += list(PER_THOUSAND.values()) * has_costs + ["latency"] * has_times
    cheap, dear = found.alone
    points = (cheap, *found.points, dear)
    rows = (tuple(_row(point, has_costs=has_costs, has_times=has_times)) for point in points)
    return FrontierTable(headings=tuple(headings), rows=tuple(rows))


def _row(point: Point, *, has_costs: bool, has_times: bool) -> list[str]:
    row = [point_name(point), written(point.escalated, bounds=False), written(point.accuracy)]
    row += [_change(point.against_dear), _change(point.over_chance)]
    costs = (point.cost_per_item, point.cost_per_correct) if has_costs else ()
    row += [written(thousandfold(one), bounds=False) for one in costs]
    return row + [written(point.latency, bounds=False)] * has_times


def point_name(point: Point) -> str:
    """The threshold as it is typed, or whose answers alone it is."""
    if point.threshold is None:
        return f"{point.name} alone"
    short = f"{point.threshold:g}"
    return short if float(short) == point.threshold else repr(point.threshold)


def _change(estimate: Estimate, unit: str = "") -> str:
    """A difference in points with its interval; nothing where a row has none."""
    if estimate.value is None:
        return ""
    if estimate.status == THE_SAME:
        return THE_SAME
    text = f"{signed_points(estimate.value)}{unit}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({signed_points(estimate.low)} to {signed_points(estimate.high)})"


def frontier_lines(found: Frontier) -> list[str]:
    """The threshold chosen and what it is on the other half; what to beware of."""
    lines = []
    if found.left_out:
        lines.append(f"! {found.left_out} answers are left out: without a score on one side, or without a confidence")
    if found.choice is None:
        lines.append(f"No threshold is chosen: {found.why_no_choice}.")
    else:
        lines += _choice_lines(found, found.choice)
    lines.append("All rows are of the same items: an interval holds for its row, not for the best of them.")
    return lines


def _choice_lines(found: Frontier, choice: Choice) -> list[str]:
    aim, judged, dear = found.aim, choice.judged, choice.dear_judged
    goal = f"the fewest escalations within {_points(aim.within)} of {found.dear}"
    if aim.at_most_usd is not None:
        goal = f"the best score at no more than {aim.at_most_usd:g} USD an item"
    chosen, tried = choice.chosen_on.accuracy, judged.accuracy
    told = [f"{written(judged.escalated)} escalated", f"accuracy {written(tried)}"]
    if judged.against_dear.value is not None:
        beside = "as" if judged.against_dear.status == THE_SAME else "against"
        told.append(f"{_change(judged.against_dear, ' points')} {beside} {found.dear}")
    if judged.cost_per_item.value is not None and dear.cost_per_item.value:
        share = judged.cost_per_item.value / dear.cost_per_item.value
        told.append(f"{written(thousandfold(judged.cost_per_item))} for 1,000, {100 * share:.0f} % of {found.dear}'s")
    luck = change_written((chosen.value or 0.0) - (tried.value or 0.0), "share")
    return [
        f"Chosen on {chosen.n:,} items, half of them drawn by seed {aim.seed}: {choice.threshold!r}, {goal}.",
        f"On the other {tried.n:,}: {'; '.join(told)}.",
        f"On the items it was chosen on it scored {written(chosen)}, {luck} apart: what a choice sees of itself.",
        f"Try: -m 'cascade/{found.cheap}>{found.dear}' --escalate-below {choice.threshold!r}, or threshold in a plan",
    ]


def _points(share: float) -> str:
    return f"{100 * share:g} point{'' if share == 0.01 else 's'}"
