"""Case by case: the items of a benchmark down, models across, of one run or of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from steelyard.dashboard.board import Board, board_of, number, word, words
from steelyard.dashboard.links import around
from steelyard.dashboard.shown import TONES
from steelyard.errors import UsageError
from steelyard.report.answers import asked_line, gold, gold_letter
from steelyard.store.reading.cases import AT_ONCE, CASES_SHOWN, STATES, Case, CasesWanted, Outcome, State
from steelyard.store.reading.pages import RunsWanted
from steelyard.types import CellInfo, RunInfo

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

MOST_RUNS, MOST_COLUMNS = 60, 100
OFFERED = 60
NAMES = {
    "": "all cases",
    "differ": "models differ",
    "wrong": "no model is right",
    "right": "every model is right",
    "failed": "a call failed",
}
Cell = tuple[RunInfo, CellInfo]
SIGNS = {"right": "\u2713", "wrong": "\u2717", "failed": "!", "partly": "\u25d0", "unscored": "?"}
"""Told apart without colours, and read out as the word that stands beside them."""


class Column(Struct, frozen=True, kw_only=True):
    """A cell as a column: what heads it, and what else tells it from the others."""

    cell: int
    model: str
    of: str
    state: State | Literal[""]


class Mark(Struct, frozen=True, kw_only=True):
    """What a model made of a case, in a sign, a word and what was read."""

    call: int
    state: str
    tone: str
    sign: str
    said: str
    answer: str | None


class Row(Struct, frozen=True, kw_only=True):
    """A case with a mark for each column; ``None`` where the model was not asked."""

    name: str
    asked: str
    gold: str
    marks: tuple[Mark | None, ...]


def cases(request: Request) -> Response:
    """The page; without runs it offers the choice."""
    board = board_of(request)
    runs = _runs(board, request)
    sets = _sets(board, [(run, info) for run in runs for info in board.store.cells(run.id)])
    label = _chosen_set(sets, word(request, "benchmark")) if runs else ""
    of_set = sets.get(label, [])
    models = list(dict.fromkeys(info.model for _, info in of_set))
    chosen_models = [model for model in words(request, "model", MOST_COLUMNS) if model in models]
    chosen = [(run, info) for run, info in of_set if info.model in (chosen_models or models)]
    shown = chosen[:MOST_COLUMNS]
    infos = [info for _, info in shown]
    strata = board.store.pages.strata(infos[0].id or 0) if infos else []
    after = word(request, "after")
    wanted = _wanted(request, [info.id or 0 for info in infos], strata, after)
    found = board.store.pages.cases(infos, wanted, reveal=board.reveal)
    trail = [place for place in word(request, "trail").split(",") if place]
    return board.page(
        "cases.html.j2",
        request,
        title="Case by case",
        runs=runs,
        offered=[] if runs else [one.info for one in board.store.pages.runs(RunsWanted(), most=OFFERED).runs],
        labels=list(sets),
        label=label,
        compared=infos[0].label if infos else "",
        models=models,
        chosen=chosen_models,
        columns=_columns(shown, wanted),
        states=STATES,
        n_cases=max((info.items for info in infos), default=0),
        n_left_out=len(chosen) - len(shown),
        wanted=wanted,
        outcomes=[f"{cell}.{state}" for cell, state in wanted.states.items()],
        names=NAMES,
        strata=strata,
        rows=[_row(one, infos, reveal=board.reveal) for one in found.cases],
        found=found,
        pages=around(after, trail, "" if found.next is None else str(found.next)),
        is_first=not after,
        a_page=AT_ONCE,
    )


def _runs(board: Board, request: Request) -> list[RunInfo]:
    texts = words(request, "run", MOST_RUNS + 1)
    references = list(dict.fromkeys(part for text in texts for part in text.replace(",", " ").split()))
    if len(references) > MOST_RUNS:
        raise UsageError(f"{len(references)} runs on one page; at most {MOST_RUNS}")
    return list({run.id: run for run in map(board.store.run, references)}.values())


def _sets(board: Board, cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells of each set of items, by what it is called."""
    of_cell = board.store.pages.sets([info.id or 0 for _, info in cells])
    by_set: dict[int, list[Cell]] = {}
    for run, info in cells:
        by_set.setdefault(of_cell[info.id or 0], []).append((run, info))
    found: dict[str, list[Cell]] = {}
    for own in by_set.values():
        found[next(name for name in _names(*own[0]) if name not in found)] = own
    return found


def _names(run: RunInfo, first: CellInfo) -> Iterator[str]:
    """What a set may be called after the first cell that asked it: other items may have been asked by the same label.
    The last name no other set can have.
    """
    yield first.label
    yield f"{first.label}, items of #{run.number}"
    yield f"{first.label}, items of #{run.number} for {first.model}"


def _chosen_set(sets: dict[str, list[Cell]], named: str) -> str:
    """The set that is called so, or that a cell of this label asked; without a word the first one."""
    if not named or named in sets:
        return named or next(iter(sets), "")
    for name, cells in sets.items():
        if named in (info.label for _, info in cells):
            return name
    raise UsageError(f"these runs did not ask {named[:60]!r}. They asked {', '.join(sets) or 'nothing'}")


def _wanted(request: Request, cells: Sequence[int], strata: Sequence[str], after: str) -> CasesWanted:
    """What the address asks for. Cells and subjects of another benchmark, which was chosen before, do not count."""
    stratum = word(request, "stratum")
    return CasesWanted(
        cells=tuple(cells),
        shown=next(one for one in CASES_SHOWN if one == word(request, "shown", CASES_SHOWN)),
        states={cell: state for cell, state in map(_state, words(request, "outcome", MOST_COLUMNS)) if cell in cells},
        stratum=stratum if stratum in strata else "",
        text=word(request, "text"),
        after=number(request, "after") if after else -1,
    )


def _state(text: str) -> tuple[int, State]:
    """What a cell is to have made of the cases: ``12.wrong``."""
    cell, _, named = text.partition(".")
    state = next((one for one in STATES if one == named), None)
    if state is None or not cell.isdecimal() or not cell.isascii():
        raise UsageError(f"{text[:40]!r} is no outcome of a column. Known: {', '.join(STATES)}")
    return int(cell), state


def _columns(shown: Sequence[Cell], wanted: CasesWanted) -> list[Column]:
    """Each column's model, with its run and its protocol where models alone do not tell columns apart."""
    models = [info.model for _, info in shown]
    is_one_protocol = len({info.label for _, info in shown}) == 1
    columns = []
    for run, info in shown:
        others = [f"#{run.number}"] if models.count(info.model) > 1 else []
        others += [] if is_one_protocol else [info.label]
        cell = info.id or 0
        columns.append(
            Column(cell=cell, model=info.model, of=" ".join(others), state=wanted.states.get(cell, "")),
        )
    return columns


def _row(one: Case, infos: Sequence[CellInfo], *, reveal: bool) -> Row:
    is_hidden = not reveal and any(info.is_confidential for info in infos)
    outcomes = [one.outcomes.get(info.id or 0) for info in infos]
    return Row(
        name=one.name,
        asked="" if is_hidden else asked_line(one.sample),
        gold=gold_letter(one.sample) if is_hidden else gold(one.sample),
        marks=tuple(None if outcome is None else _mark(outcome) for outcome in outcomes),
    )


def _mark(one: Outcome) -> Mark:
    """Of a case asked several times how many answers were right, and what was read in the first."""
    state = one.state
    if state == "failed":
        said = (one.failure or "failed").replace("_", " ")
    elif one.n > 1:
        said = f"{one.right} of {one.n} right"
    else:
        said = f"{state} {one.mean:.2g}" if state == "partly" else state
    return Mark(call=one.call, state=state, tone=TONES[state], sign=SIGNS[state], said=said, answer=one.answer)
