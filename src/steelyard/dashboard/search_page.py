"""One field for all: runs by name, tag, model and benchmark, items by name, answers by what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.dashboard.board import board_of, number, word
from steelyard.dashboard.runs_page import line_of
from steelyard.dashboard.shown import TONES, ShownAnswer, around, shown
from steelyard.report.answers import without_weights
from steelyard.store.reading.pages import RunsWanted

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

RUNS, ITEMS, ANSWERS = 10, 20, 20
LONGEST, LONGEST_READ = 700, 200_000


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
        answers=[_hit(shown(one, LONGEST_READ), text) for one in answers.answers] if answers else [],
        tones=TONES,
        is_first=is_first,
    )


def _hit(one: ShownAnswer, text: str) -> dict[str, object]:
    """An answer with the part of its reply, or else of its question, in which the text stands."""
    wanted, reply = text.casefold(), without_weights(one.text) if one.is_weighed else one.text
    is_in_reply = wanted in reply.casefold() or wanted not in one.prompt.casefold()
    return {
        "answer": one,
        "where": "" if is_in_reply else "asked",
        "is_weighed": is_in_reply and one.is_weighed,
        "text": around(one.text if is_in_reply else one.prompt, text, LONGEST),
    }
