"""The answers that are sought, all of them and not a page, as a file that is written while it is sent.

Whoever takes it may be slow, stop or go away: the store is let go of after each block, and the next one is made when
that is taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from steelyard.dashboard.answers_page import sought_of
from steelyard.dashboard.board import board_of
from steelyard.dashboard.giving_way import GivingWay
from steelyard.dashboard.run_pages import run_of
from steelyard.errors import UsageError
from steelyard.store.reading.answer_pages import AnswersWanted
from steelyard.store.reading.conditions import AllOf, Compared, Condition
from steelyard.store.transfer.export import Part, blocks

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

FORMATS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}


def download(request: Request) -> Response:
    """The file; of a HEAD request what would be said of it."""
    from starlette.responses import StreamingResponse

    board, info, format_ = board_of(request), run_of(request), request.path_params["format"]
    if format_ not in FORMATS:
        raise UsageError(f"answers can be had as {' or '.join(FORMATS)}")
    sought = sought_of(request, board.store.cells(info.id))
    if sought.problem:
        raise UsageError(sought.problem)
    part = Part(cells=sought.wanted.cells, where=_all_of(sought.wanted), text=sought.wanted.text)
    headers = {"content-disposition": f'attachment; filename="steelyard-run-{info.number}-answers.{format_}"'}
    is_wanted = request.method == "GET"
    written = blocks(board.store, info.id, format_, part, reveal=board.reveal) if is_wanted else iter(())
    return StreamingResponse(_sent(board.giving_way, written), media_type=FORMATS[format_], headers=headers)


def _all_of(wanted: AnswersWanted) -> Condition | None:
    """Outcome, subject and filter as one condition."""
    named = {"outcome": wanted.state, "subject": wanted.stratum}
    parts = [Compared(name=name, sign="=", value=value) for name, value in named.items() if value]
    return AllOf(parts=(*parts, *([wanted.where] if wanted.where else []))) if parts else wanted.where


async def _sent(giving_way: GivingWay, written: Iterator[str]) -> AsyncIterator[str]:
    """The blocks that say something."""
    while (block := await giving_way.next(written)) is not None:
        if block:
            yield block
