"""What the runs cost, day by day and model by model, what was saved, and what no price is known for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from steelyard.dashboard.board import Board, board_of, number
from steelyard.dashboard.rendering import drawn
from steelyard.report.drawing.figures import Figure
from steelyard.report.drawing.marks import for_any_screen
from steelyard.report.drawing.timelines import Day, per_day
from steelyard.report.facts import cut_short, some
from steelyard.store.reading.pages import ListedRun, RunsWanted

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

MOST_RUNS, MOST_DAYS = 500, 60
COLOURED = 7
"""So many of the dearest models have a colour; where there are more, they are one grey part of a day's column."""
JUDGES, OTHER = "judges", "not summarised yet"


class Cost(Struct, frozen=True, kw_only=True):
    """What one model took in one run. ``usd`` is ``None`` where a price is not known."""

    day: str
    run: int
    run_name: str
    model: str
    usd: float | None
    saved_usd: float
    answers: int


class Total(Struct, frozen=True, kw_only=True):
    """What one model took over all runs shown; ``usd`` sums what is known, ``unknown`` counts the runs it is not of."""

    model: str
    slot: int | None
    usd: float
    saved_usd: float
    answers: int
    runs: int
    unknown: int


def money(request: Request) -> Response:
    """The page."""
    board = board_of(request)
    most = min(MOST_RUNS, number(request, "most", MOST_RUNS) or MOST_RUNS)
    page = board.store.pages.runs(RunsWanted(), most=most)
    costs = [cost for run in page.runs for cost in _costs(board, run)]
    totals = _totals(costs)
    days = _days(costs, {one.model: one.slot for one in totals})
    unknown = [one.model for one in totals if one.unknown]
    figures = []
    if any(day.parts for day in days):
        svg = for_any_screen(partial(per_day, days[-MOST_DAYS:], label="USD spent a day, by model"))
        note = f"USD a day by when the run began (UTC). What has no known price is not in it.{_grey(totals)}"
        figures = drawn([Figure(title="Spent a day", note=note, svg=svg)])
    return board.page(
        "money.html.j2",
        request,
        title="Cost",
        figures=figures,
        totals=totals,
        runs=_by_run(costs),
        spent_usd=sum(one.usd for one in totals),
        saved_usd=sum(one.saved_usd for one in totals),
        unknown=unknown,
        unknown_named=some(unknown),
        unknown_whole=cut_short(unknown),
        budget=board.store.budget.account(),
        is_cut=bool(page.next),
        shown=len(page.runs),
    )


def _costs(board: Board, run: ListedRun) -> Iterator[Cost]:
    """A model's line a benchmark; a run that was not summarised has what its answers came to."""

    def cost(model: str, usd: float | None, saved_usd: float = 0.0, answers: int = 0) -> Cost:
        info = run.info
        return Cost(
            day=info.created_at[:10],
            run=info.number,
            run_name=info.name,
            model=model,
            usd=usd,
            saved_usd=saved_usd,
            answers=answers,
        )

    if not any(run.estimates.values()):
        if spent_usd := board.store.budget.spent_of_run(run.info.id):
            yield cost(OTHER, spent_usd)
        return
    for cell in run.cells:
        values = {name: one.value for name, one in run.estimates.get(cell.id or 0, {}).items()}
        if cell.is_floor or not values.get("answered"):
            continue
        saved_usd, answers = values.get("cost.saved") or 0.0, int(values["answered"] or 0)
        yield cost(cell.model, values.get("cost.total"), saved_usd, answers)
        if judged_usd := values.get("judge.cost.total"):
            yield cost(JUDGES, judged_usd)


def _totals(costs: Sequence[Cost]) -> list[Total]:
    """Dearest first; each keeps its colour over the page."""
    named: dict[str, list[Cost]] = {}
    for cost in costs:
        named.setdefault(cost.model, []).append(cost)
    ordered = sorted(named, key=lambda name: -sum(cost.usd or 0.0 for cost in named[name]))
    return [
        Total(
            model=name,
            slot=place if place < COLOURED or len(ordered) == COLOURED + 1 else None,
            usd=sum(cost.usd or 0.0 for cost in named[name]),
            saved_usd=sum(cost.saved_usd for cost in named[name]),
            answers=sum(cost.answers for cost in named[name]),
            runs=len({cost.run for cost in named[name]}),
            unknown=len({cost.run for cost in named[name] if cost.usd is None}),
        )
        for place, name in enumerate(ordered)
    ]


def _grey(totals: Sequence[Total]) -> str:
    """What the grey part is, where there is one: the other colours are those of the table."""
    others = [one for one in totals if one.slot is None and one.usd]
    return f" Grey: {len(others):,} others, each cheaper." if others else ""


def _days(costs: Sequence[Cost], slot_of: dict[str, int | None]) -> list[Day]:
    rest = f"{sum(slot is None for slot in slot_of.values())} others"
    one_name = {name: rest if slot is None else name for name, slot in slot_of.items()}
    spent: dict[str, dict[tuple[str, int | None], float]] = {}
    for cost in costs:
        if cost.usd:
            of_day, part = spent.setdefault(cost.day, {}), (one_name[cost.model], slot_of[cost.model])
            of_day[part] = of_day.get(part, 0.0) + cost.usd
    return [
        Day(name=day, parts=tuple((*part, usd) for part, usd in sorted(spent[day].items(), key=_dearest_first)))
        for day in sorted(spent)
    ]


def _dearest_first(part: tuple[tuple[str, int | None], float]) -> int:
    """Where a model's part stands in its column: by its colour, and the grey one on top."""
    (_, slot), _ = part
    return COLOURED + 1 if slot is None else slot


def _by_run(costs: Sequence[Cost]) -> list[dict[str, object]]:
    found: dict[int, list[Cost]] = {}
    for cost in costs:
        found.setdefault(cost.run, []).append(cost)
    return [
        {
            "number": run,
            "name": of_run[0].run_name,
            "day": of_run[0].day,
            "usd": sum(cost.usd or 0.0 for cost in of_run),
            "saved_usd": sum(cost.saved_usd for cost in of_run),
            "answers": sum(cost.answers for cost in of_run),
            "unknown": list(dict.fromkeys(cost.model for cost in of_run if cost.usd is None)),
        }
        for run, of_run in found.items()
    ]
