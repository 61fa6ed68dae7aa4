"""The first page: every run with who was asked what, how it stands, score and cost; sorted, filtered, in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from steelyard.analysis.telling import first_few
from steelyard.analysis.wording import written
from steelyard.dashboard.board import Board, board_of, number, word
from steelyard.dashboard.run_pages import results_of
from steelyard.report.drawing.axes import shortened
from steelyard.store.reading.pages import ListedRun, RunsWanted
from steelyard.types import CellInfo, Estimate

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

STATUSES = ("running", "done", "budget", "interrupted", "failed")
ORDERS = ("newest", "oldest", "name", "score", "cost")
COMPUTED = ("score", "cost")
AT_ONCE = 50
MOST_SORTED = 500
MOST_READ = 5_000
NAMED, LONGEST_SHOWN = 3, 48


class Line(Struct, frozen=True, kw_only=True):
    """One run as the list shows it. ``best`` is the best score of a benchmark, ``best_of`` whose and on what.

    Requests are those to models, not what a floor guesses. ``planned``: how many there will be of a run on its way.
    """

    number: int
    name: str
    status: str
    tags: tuple[str, ...]
    created_at: str
    models: str
    benchmarks: str
    best: str
    best_of: str
    score: float | None
    requests: int
    planned: int | None = None
    failed: int
    cost_usd: float | None
    is_cost_known: bool


def runs(request: Request) -> Response:
    """The page."""
    board = board_of(request)
    order = word(request, "order", ORDERS, "newest")
    fields = {name: word(request, name) for name in ("text", "tag", "model", "benchmark", "after")}
    stored: Literal["newest", "oldest", "name"] = (
        "oldest" if order == "oldest" else "name" if order == "name" else "newest"
    )
    wanted = RunsWanted(**fields, status=word(request, "status", STATUSES), order=stored)
    start = number(request, "start")
    lines, following, is_cut = _computed(board, wanted, order, start) if order in COMPUTED else _stored(board, wanted)
    pages = board.store.pages
    return board.page(
        "runs.html.j2",
        request,
        title="Runs",
        lines=lines,
        wanted=wanted,
        order=order,
        orders=ORDERS,
        statuses=STATUSES,
        tags=pages.tags(),
        models=pages.models(),
        benchmarks=pages.benchmarks(),
        following=following,
        is_cut=is_cut,
        most_sorted=MOST_SORTED,
        is_running=any(line.status == "running" for line in lines),
        is_new=not lines and not any((*fields.values(), wanted.status, start)) and not pages.models(),
    )


def _stored(board: Board, wanted: RunsWanted) -> tuple[list[Line], dict[str, object], bool]:
    page = board.store.pages.runs(wanted, most=AT_ONCE)
    return [_line(board, run) for run in page.runs], {"after": page.next} if page.next else {}, False


def _computed(board: Board, wanted: RunsWanted, order: str, start: int) -> tuple[list[Line], dict[str, object], bool]:
    """By what is not a column of the store: the newest runs that fit are sorted."""
    page = board.store.pages.runs(wanted, most=MOST_SORTED)
    lines = [_line(board, run) for run in page.runs]
    figure = {line.number: line.score if order == "score" else line.cost_usd for line in lines}
    lines.sort(key=lambda line: -(figure[line.number] or 0.0) if figure[line.number] is not None else 1.0)
    end = start + AT_ONCE
    return lines[start:end], {"start": end} if end < len(lines) else {}, bool(page.next)


def _line(board: Board, run: ListedRun) -> Line:
    """A run as far as it is known: of one on its way what it has done so far."""
    line = line_of(_summed_up(board, run))
    if run.info.status != "running":
        return line
    so_far = board.store.progress(run.info.id)
    asked = [one for one in so_far.cells if not one.cell.is_floor]
    spent = [one.spent_usd for one in asked if one.spent_usd is not None]
    return msgspec.structs.replace(
        line,
        requests=sum(one.done for one in asked),
        planned=sum(one.planned for one in asked),
        failed=sum(one.failed for one in asked),
        cost_usd=sum(spent) if spent else None,
    )


def _summed_up(board: Board, run: ListedRun) -> ListedRun:
    """With the estimates of a run that was stopped before it summed itself up, where a page has the time for them."""
    is_summed_up = run.info.status == "running" or all(run.estimates.values())
    if is_summed_up or board.store.pages.holds_more_than(run.info.id, MOST_READ):
        return run
    made = {cell.info.id or 0: cell.estimates for cell in results_of(board, run.info).cells if not cell.info.asked_as}
    return msgspec.structs.replace(run, estimates=made)


def line_of(run: ListedRun) -> Line:
    """A run in a line."""
    asked = [cell for cell in run.cells if not cell.is_floor]
    cells = asked or list(run.cells)
    best = max((cell for cell in cells if _score(run, cell) is not None), key=lambda cell: _score(run, cell) or 0.0,
               default=None)  # fmt: skip
    costs = [cost for cell in asked if _value(run, cell, "answered") for cost in _costs(run, cell)]
    return Line(
        number=run.info.number,
        name=run.info.name,
        status=run.info.status,
        tags=run.info.tags,
        created_at=run.info.created_at,
        models=_named([cell.model for cell in run.cells]),
        benchmarks=_named([cell.label for cell in run.cells]),
        best="" if best is None else written(_estimate(run, best, "accuracy")),
        best_of="" if best is None or len(cells) < 2 else f"{shortened(best.model, LONGEST_SHOWN)} on {best.label}",
        score=None if best is None else _score(run, best),
        requests=int(sum(_value(run, cell, "attempted") or 0 for cell in cells)),
        failed=int(sum(_value(run, cell, "errored") or 0 for cell in cells)),
        cost_usd=sum(cost for cost in costs if cost is not None) if any(cost is not None for cost in costs) else None,
        is_cost_known=None not in costs,
    )


def _costs(run: ListedRun, cell: CellInfo) -> list[float | None]:
    """What its answers cost, and what judging them did where a model judges; ``None`` where that is not known."""
    known = [_estimate(run, cell, name) for name in ("cost.total", "judge.cost.total")]
    return [cost.value for cost in known if cost is not None] or [None]


def _named(names: list[str]) -> str:
    return first_few([shortened(name, LONGEST_SHOWN) for name in dict.fromkeys(names)], NAMED)


def _score(run: ListedRun, cell: CellInfo) -> float | None:
    return _value(run, cell, "accuracy")


def _value(run: ListedRun, cell: CellInfo, metric: str) -> float | None:
    found = _estimate(run, cell, metric)
    return None if found is None else found.value


def _estimate(run: ListedRun, cell: CellInfo, metric: str) -> Estimate | None:
    return run.estimates.get(cell.id or 0, {}).get(metric)
