"""Two models as a cascade, at every threshold, from answers that are stored: what ``steelyard cascade`` says, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.analysis.frontier import Aim, Frontier
from steelyard.dashboard.board import Board, board_of, number, word, words
from steelyard.errors import UsageError
from steelyard.report.comparing.frontier import is_sure, load_frontiers
from steelyard.report.html import frontier_part
from steelyard.types import RunInfo

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

MOST_RUNS = 12
LARGEST = 1e6


def cascade(request: Request) -> Response:
    """The page; without two models it offers the choice."""
    board = board_of(request)
    references = [part for text in words(request, "run") for part in text.replace(",", " ").split()]
    runs = [board.store.run(reference) for reference in dict.fromkeys(references)]
    if len(runs) > MOST_RUNS:
        raise UsageError(f"{len(runs)} runs on one page; at most {MOST_RUNS}")
    cheap, dear, benchmark = (word(request, name) for name in ("cheap", "dear", "benchmark"))
    within, at_most = word(request, "within", default="1"), word(request, "at_most")
    aim = Aim(
        within=_positive(within, "within") / 100,
        at_most_usd=_positive(at_most, "at_most") if at_most else None,
        seed=number(request, "seed"),
    )
    is_asked = bool(runs and cheap and dear)
    found, problem = _found(board, runs, cheap, dear, aim, benchmark) if is_asked else (None, "")
    cells = [cell for run in runs for cell in board.store.cells(run.id) if not cell.is_floor]
    return board.page(
        "cascade.html.j2",
        request,
        status=400 if problem else 200,
        title="As a cascade",
        runs=runs,
        cheap=cheap,
        dear=dear,
        benchmark=benchmark,
        within=within,
        at_most=at_most,
        models=list(dict.fromkeys(cell.model for cell in cells)),
        sure=list(dict.fromkeys(cell.model for cell in cells if is_sure(cell))),
        benchmarks=list(dict.fromkeys(cell.label for cell in cells)),
        problem=problem,
        is_making=is_asked and found is None and not problem,
        parts=[frontier_part(one, is_open=True) for one in found or ()],
    )


def _positive(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < LARGEST:
        raise UsageError(f"{name} is a number of 0 or more, not {text[:40]!r}")
    return value


def _found(
    board: Board, runs: Sequence[RunInfo], cheap: str, dear: str, aim: Aim, benchmark: str
) -> tuple[list[Frontier] | None, str]:
    """The frontiers, or why there are none. Neither: they are on their way."""
    remember = board.remember_large if board.is_large(runs) else board.remember
    key = (tuple((run.id, run.status) for run in runs), cheap, dear, aim, benchmark)

    def load() -> list[Frontier]:
        return load_frontiers(board.store, runs, cheap, dear, aim, benchmark=benchmark or None)

    try:
        return remember("frontiers", key, load), ""
    except UsageError as error:
        return None, str(error)
