"""One field for all: runs by name, tag, model and benchmark, items by name, answers by what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.dashboard.board import board_of, number, word
from steelyard.dashboard.runs_page import line_of
from steelyard.dashboard.shown import TONES, shown
from steelyard.store.pages import RunsWanted

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

RUNS, ITEMS, ANSWERS = 10, 20, 20
LONGEST = 700


def search(request: Request) -> Response:
    """The page."""
    board = board_of(request)
    text, before = word(request, "q"), number(request, "before")
    store = board.store
    is_first = bool(text) and not before
    answers = store.history.search(text, before=before, most=ANSWERS, reveal=board.reveal) if text else None
    return board.page(
        "search.html.j2",
        request,
        title="Search",
        text=text,
        runs=[line_of(run) for run in store.pages.runs(RunsWanted(text=text), most=RUNS).runs] if is_first else [],
        items=store.history.names(text, most=ITEMS) if is_first else [],
        found=answers,
        answers=[shown(one, LONGEST) for one in answers.answers] if answers else [],
        tones=TONES,
        is_first=is_first,
    )
