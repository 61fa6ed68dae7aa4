"""Where a run's numbers come from: what was asked as a table, the rest in parts that are opened one by one."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from steelyard.dashboard.board import board_of
from steelyard.dashboard.run_pages import key_of, run_of
from steelyard.report.asked import asked_row
from steelyard.report.origins import ask_again, what_is_set
from steelyard.report.provenance import provenance_document, provenance_text

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class Part(Struct, frozen=True, kw_only=True):
    """A part of the document: its title, and its text in full."""

    title: str
    text: str


class Origin(Struct, frozen=True, kw_only=True):
    """What the page shows: the run and its plan, each cell in full, and each session."""

    plan: Part
    cells: tuple[Part, ...]
    sessions: tuple[Part, ...]


def provenance(request: Request) -> Response:
    """Plan, data, settings, code, machine and packages, in full."""
    board = board_of(request)
    info = run_of(request)
    cells = board.store.cells(info.id)
    is_hidden = not board.reveal and any(one.is_confidential for one in cells)
    remember = board.remember_large if board.is_large([info]) else board.remember
    origin = (
        None
        if is_hidden
        else remember("provenance", key_of(info), lambda: origin_of(provenance_document(board.store, info)))
    )
    return board.page(
        "provenance.html.j2",
        request,
        title=f"Where #{info.number} comes from",
        run=info,
        cells=list(map(asked_row, cells)),
        origin=origin,
        is_hidden=is_hidden,
        commands=ask_again(info),
        is_making=origin is None and not is_hidden,
    )


def origin_of(document: Mapping[str, Any]) -> Origin:
    """The document in parts, without what its plan leaves open."""
    return Origin(
        plan=Part(title="The plan in full", text=_text({"plan_digest": document["plan_digest"]}) + _plan(document)),
        cells=tuple(
            Part(title=f"{one['model']} on {one['benchmark']}@{one['protocol']}", text=_text(one))
            for one in document["cells"]
        ),
        sessions=tuple(
            Part(title=f"Session {place}, began {one['started_at'][:16].replace('T', ' ')}", text=_text(one))
            for place, one in enumerate(document["sessions"], 1)
        ),
    )


def _plan(document: Mapping[str, Any]) -> str:
    """The plan's own lines; what is not set is known by the heading above it."""
    if not document["plan"]:
        return ""
    return dedent(what_is_set(_text({"plan": document["plan"]})).partition("\n")[2])


def _text(part: Mapping[str, Any]) -> str:
    return f"{provenance_text(dict(part))}\n"
