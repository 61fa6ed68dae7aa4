"""The answers of a run, sought and by pages, in the columns that a reader chooses.

What is sought and which columns are shown stands in the address, so that a list can be sent and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from steelyard.dashboard.board import Board, board_of, number, soon_s, word, words
from steelyard.dashboard.links import around
from steelyard.dashboard.rendering import seconds, usd
from steelyard.dashboard.run_pages import run_of
from steelyard.dashboard.shown import TONES, state_of
from steelyard.errors import UsageError
from steelyard.report.answers import asked_line, gold, gold_letter
from steelyard.store.reading.answer_pages import AnswerPage, AnswerRow, AnswersWanted, Order
from steelyard.store.reading.conditions import FIGURES, WORDS, Condition, parse_condition
from steelyard.store.reading.states import ANSWER_STATES
from steelyard.store.reading.tallies import ALL
from steelyard.types import CellInfo, RunInfo

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

T = TypeVar("T")
ORDERS: tuple[Order, ...] = ("item", "slowest", "dearest", "longest")
A_PAGE, MOST_A_PAGE = 100, 500
PARTS_COUNTED_AT_ONCE = 4_000
"""So many answers are looked through for a part or its subjects while one waits: each takes some 20 us."""
COLUMNS = {
    "read": "read as",
    "gold": "right answer",
    "score": "score",
    "model": "model",
    "benchmark": "benchmark",
    "subject": "subject",
    "ttft_s": "first token",
    "latency_s": "total",
    "queued_s": "waited",
    "input_tokens": "tokens in",
    "output_tokens": "tokens",
    "cost_usd": "cost",
    "tries": "tries",
    "stop_reason": "stopped by",
}
"""What a line can show beside the item and the outcome, by the names that filters have for it, and its heading."""
TEXTS, NAMES = ("read", "gold"), ("model", "benchmark", "subject")
WHOLE = ("", "right", "wrong", "failed", "unscored")
"""The states of which each answer is in one; in those that follow it may be besides."""
WHERE_KNOWN = ("ttft_s", "latency_s", "output_tokens", "cost_usd", "stop_reason")
"""Shown without being asked for, where any answer of the page has it."""


class Column(Struct, frozen=True, kw_only=True):
    """A column of the list: its name in addresses and filters, its heading, and the style of its cells."""

    name: str
    heading: str
    style: str


class Chip(Struct, frozen=True, kw_only=True):
    """A state to be chosen by a click, "" for any; ``n`` are its answers, where they are counted."""

    state: str
    name: str
    n: int | None
    is_part: bool


class Row(Struct, frozen=True, kw_only=True):
    """An answer as a line: ``said`` is what stands in each column that is shown, by its name."""

    row: AnswerRow
    state: str
    asked: str
    said: dict[str, str]


class Sought(Struct, frozen=True, kw_only=True):
    """What the address asks for, and why its filter cannot be followed, if it cannot."""

    model: str
    benchmark: str
    where: str
    wanted: AnswersWanted
    problem: str | None


def answers(request: Request) -> Response:
    """The page."""
    board, until_s = board_of(request), soon_s()  # the counts have the time that the list leaves
    info = run_of(request)
    cells = board.store.cells(info.id)
    sought = sought_of(request, cells)
    wanted = sought.wanted
    chosen = [one for one in cells if one.id in (wanted.cells or ())]
    empty = AnswerPage(rows=(), next="")
    found = empty if sought.problem else board.store.pages.answers(info.id, wanted, reveal=board.reveal)
    asked_for = [name for name in words(request, "show") if name in COLUMNS]
    strata = board.store.pages.strata(chosen[0].id or 0) if chosen else []
    tallied = _tally(board, info, chosen, sought, until_s)
    subjects = _subjects(board, info, chosen, sought, until_s) if strata else None
    columns = _columns(asked_for or _usual(cells, sought, found))
    named = {one.id: one for one in cells}
    trail = [place for place in word(request, "trail").split(",") if place]
    return board.page(
        "answers.html.j2",
        request,
        status=400 if sought.problem else 200,
        title=f"Answers of #{info.number} {info.name}",
        run=info,
        found=found,
        rows=[_row(board, row, named[row.cell], columns) for row in found.rows],
        wanted=wanted,
        where=sought.where,
        problem=sought.problem,
        pages=around(wanted.after, trail, found.next),
        is_first=not wanted.after,
        same=_same(sought, asked_for, can_sort=len(chosen) == 1),
        model=sought.model,
        benchmark=sought.benchmark,
        models=list(dict.fromkeys(one.model for one in cells)),
        benchmarks=list(dict.fromkeys(one.label for one in cells)),
        strata=strata,
        columns=columns,
        offered=COLUMNS,
        formats={"csv": "CSV", "jsonl": "JSON Lines"},
        names={"figures": FIGURES, "words": WORDS},
        states=ANSWER_STATES,
        chips=_chips(tallied, wanted.state),
        subjects=subjects,
        is_counting=(tallied is None or (subjects is None and bool(strata))) and not (wanted.text or sought.problem),
        orders=ORDERS,
        can_sort=len(chosen) == 1,
        tones=TONES,
    )


def sought_of(request: Request, cells: Sequence[CellInfo]) -> Sought:
    """What the address asks for, of the cells of its run."""
    model, benchmark = word(request, "model"), word(request, "benchmark")
    where = request.query_params.get("where", "").strip()
    condition, problem = _condition(where)
    wanted = AnswersWanted(
        cells=tuple(one.id or 0 for one in cells if model in ("", one.model) and benchmark in ("", one.label)),
        state=word(request, "state", ANSWER_STATES),
        stratum=word(request, "stratum"),
        text=word(request, "text"),
        where=condition,
        order=next(one for one in ORDERS if one == word(request, "order", ORDERS, "item")),
        after=word(request, "after"),
        most=min(MOST_A_PAGE, number(request, "most", A_PAGE) or A_PAGE),
    )
    return Sought(model=model, benchmark=benchmark, where=where, wanted=wanted, problem=problem)


def _condition(where: str) -> tuple[Condition | None, str | None]:
    """The filter, or why it cannot be followed: what was written stays in the form."""
    try:
        return parse_condition(where), None
    except UsageError as error:
        return None, str(error)


def _same(sought: Sought, columns: Sequence[str], *, can_sort: bool) -> dict[str, object]:
    """What the addresses of this list's other pages say alike."""
    wanted = sought.wanted
    return {
        "text": wanted.text,
        "state": wanted.state,
        "where": sought.where,
        "model": sought.model,
        "benchmark": sought.benchmark,
        "stratum": wanted.stratum,
        "order": wanted.order if can_sort and wanted.order != "item" else "",
        "most": wanted.most if wanted.most != A_PAGE else "",
        "show": list(columns),
    }


def _tally(
    board: Board, run: RunInfo, cells: Sequence[CellInfo], sought: Sought, until_s: float
) -> dict[str, int] | None:
    """How many of the answers that are sought are in each state; ``None`` where that is not counted, or not yet."""
    wanted, pages = sought.wanted, board.store.pages
    if wanted.text or sought.problem:
        return None
    key = (run.id, tuple(one.id for one in cells), wanted.stratum, sought.where)
    if wanted.stratum or wanted.where:
        return _of_part(board, run, until_s)("tally", key, lambda: pages.tally_part(cells, wanted))
    remember = partial(board.remember_large, until_s=until_s) if board.is_large([run]) else board.remember
    return remember("tally", key, lambda: pages.tally(cells))


def _of_part(board: Board, run: RunInfo, until_s: float) -> Callable[[str, Hashable, Callable[[], T]], T | None]:
    """How a part is counted: at once, or while the page is open."""
    is_long = board.store.pages.holds_more_than(run.id, PARTS_COUNTED_AT_ONCE)
    return partial(board.remember_large, until_s=until_s) if is_long else board.remember


def _subjects(
    board: Board, run: RunInfo, cells: Sequence[CellInfo], sought: Sought, until_s: float
) -> dict[str, int] | None:
    """The same of each subject, where one model and one benchmark are chosen."""
    wanted = sought.wanted
    if wanted.text or sought.problem or len(cells) != 1:
        return None
    key = (run.id, cells[0].id, wanted.state, sought.where)
    return _of_part(board, run, until_s)("subjects", key, lambda: board.store.pages.tally_strata(cells[0], wanted))


def _chips(tallied: dict[str, int] | None, chosen: str) -> list[Chip]:
    """The states to choose from; of those that nothing is in only the one that is chosen."""
    counts = tallied or {}
    return [
        Chip(state=state, name=state or "all", n=counts.get(state or ALL), is_part=state not in WHOLE)
        for state in (*WHOLE, *(one for one in ANSWER_STATES if one not in WHOLE))
        if tallied is None or counts[state or ALL] or state in ("", chosen)
    ]


def _usual(cells: Sequence[CellInfo], sought: Sought, found: AnswerPage) -> list[str]:
    """The columns of a list that asks for none: texts, the names that differ within it, the figures that are known."""
    names = {
        "model": not sought.model and len({one.model for one in cells}) > 1,
        "benchmark": not sought.benchmark and len({one.label for one in cells}) > 1,
    }
    known = [name for name in WHERE_KNOWN if any(_figure(row, name) is not None for row in found.rows)]
    return [*TEXTS, *(name for name, is_shown in names.items() if is_shown), *known]


def _columns(names: Sequence[str]) -> list[Column]:
    def style(name: str) -> str:
        if name in TEXTS:
            return "said"
        return "names" if name in NAMES else "" if name == "stop_reason" else "num"

    return [Column(name=name, heading=COLUMNS[name], style=style(name)) for name in COLUMNS if name in names]


def _figure(row: AnswerRow, name: str) -> float | int | str | None:
    found: float | int | str | None = getattr(row, {"latency_s": "total_s", "score": "value"}.get(name, name))
    return found


def _row(board: Board, row: AnswerRow, cell: CellInfo, columns: Sequence[Column]) -> Row:
    is_hidden = cell.is_confidential and not board.reveal
    texts = {
        "read": "" if row.answer is None else row.answer,
        "gold": gold_letter(row.sample) if is_hidden else gold(row.sample),
        "model": cell.model,
        "benchmark": cell.label,
        "subject": row.sample.stratum or "",
    }
    return Row(
        row=row,
        state=state_of(row.failure, row.value),
        asked="" if is_hidden else asked_line(row.sample),
        said={one.name: texts[one.name] if one.name in texts else _said(row, one.name) for one in columns},
    )


def _said(row: AnswerRow, name: str) -> str:
    """A figure as it is written; nothing where it is unknown."""
    value = _figure(row, name)
    if value is None or isinstance(value, str):
        return value or ""
    if name.endswith("_s"):
        return seconds(value)
    return usd(value) if name == "cost_usd" else f"{value:g}" if name == "score" else f"{value:,}"
