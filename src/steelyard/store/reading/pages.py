"""What a page over the store shows, read a page at a time: runs, and the answers of one run (``answer_pages``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, exists, func, or_, select, tuple_

from steelyard.store.database import schema
from steelyard.store.reading.answer_pages import AnswerPage, AnswersWanted, answer_page, whole_number
from steelyard.store.reading.cases import CasePage, CasesWanted, case_page, sets_of
from steelyard.store.reading.fitting import contains
from steelyard.store.reading.neighbours import Neighbours, neighbours
from steelyard.store.reading.ranks import Firsts, Ranks
from steelyard.store.reading.rare import Rarities
from steelyard.store.reading.tallies import tally, tally_part, tally_strata
from steelyard.store.rows.cells import cell_info, cells_of
from steelyard.types import CellInfo, Estimate, RunInfo
from steelyard.types.ready import ready

Open = Callable[[], AbstractContextManager[Connection]]


class RunsWanted(Struct, frozen=True, kw_only=True):
    """Which runs: parts of names, a tag, how they stand, who was asked what. ``after`` is a page's ``next``."""

    text: str = ""
    tag: str = ""
    status: str = ""
    model: str = ""
    benchmark: str = ""
    order: Literal["newest", "oldest", "name"] = "newest"
    after: str = ""


class ListedRun(Struct, frozen=True, kw_only=True):
    """A run with its cells and the estimates that are kept of them, by the cell's id."""

    info: RunInfo
    cells: tuple[CellInfo, ...]
    estimates: dict[int, dict[str, Estimate]]


class RunPage(Struct, frozen=True, kw_only=True):
    """Some runs, and where the next page begins; "" where there is none."""

    runs: tuple[ListedRun, ...]
    next: str


class Pages:
    """Pages over the runs of a store."""

    def __init__(
        self,
        open_to_read: Open,
        number_of: Callable[[Connection, str], int],
        info_of: Callable[[Connection, Any], RunInfo],
    ) -> None:
        self._reading, self._number_of, self._info_of = open_to_read, number_of, info_of
        firsts = Firsts()
        self._ranks, self._rarities = Ranks(firsts), Rarities(firsts)

    def runs(self, wanted: RunsWanted, *, most: int = 50) -> RunPage:
        """The runs that fit, a page of them."""
        with self._reading() as connection:
            return _run_page(connection, wanted, most, self._info_of)

    def tags(self) -> list[tuple[str, int]]:
        """Every tag with the number of its runs."""
        table = schema.run_tags
        with self._reading() as connection:
            chosen = select(table.c.tag, func.count()).group_by(table.c.tag).order_by(table.c.tag)
            return [(tag, n) for tag, n in connection.execute(chosen)]

    def models(self) -> list[str]:
        """Every model that a run asked."""
        with self._reading() as connection:
            return list(
                connection.execute(select(schema.cells.c.model).distinct().order_by(schema.cells.c.model)).scalars()
            )

    def benchmarks(self) -> list[str]:
        """Every benchmark that was asked, as tables head it."""
        with self._reading() as connection:
            return list(
                connection.execute(select(schema.cells.c.label).distinct().order_by(schema.cells.c.label)).scalars()
            )

    def strata(self, cell: int) -> list[str]:
        """The subjects or tasks of a cell's items, as its kept estimates name them; without any, all of its set."""
        cells, samples = schema.cells, schema.samples
        with self._reading() as connection:
            kept = connection.execute(select(cells.c.summary).where(cells.c.id == cell)).scalar()
            if kept is None:
                own = select(cells.c.set).where(cells.c.id == cell).scalar_subquery()
                every = select(samples.c.stratum).where(samples.c.set == own, samples.c.stratum.is_not(None)).distinct()
                return sorted(connection.execute(every).scalars())
        prefix = "accuracy/"
        return sorted(name.removeprefix(prefix) for name in _estimates(kept) if name.startswith(prefix))

    def strata_of_items(self, cell: int, available: int) -> list[str] | None:
        """The stratum of each item that the cell could draw, by position; ``None`` unless all of them are kept."""
        samples, cells = schema.samples, schema.cells
        chosen = (
            select(samples.c.stratum)
            .join(cells, cells.c.set == samples.c.set)
            .where(cells.c.id == cell)
            .order_by(samples.c.position)
        )
        with self._reading() as connection:
            found = [stratum or "" for stratum in connection.execute(chosen.limit(available + 1)).scalars()]
        return found if len(found) == available else None

    def answers(self, run_id: str, wanted: AnswersWanted, *, reveal: bool = False) -> AnswerPage:
        """The run's answers that fit, a page of them; of a confidential benchmark's only ids are searched."""
        with self._reading() as connection:
            cells = cells_of(connection, self._number_of(connection, run_id))
            if wanted.cells is not None:
                cells = [info for info in cells if info.id in wanted.cells]
            return answer_page(connection, run_id, cells, wanted, self._ranks, self._rarities, reveal=reveal)

    def tally(self, cells: Sequence[CellInfo]) -> dict[str, int]:
        """How many answers of these cells there are, and how many in each state: all are looked through."""
        with self._reading() as connection:
            return tally(connection, cells)

    def tally_part(self, cells: Sequence[CellInfo], wanted: AnswersWanted) -> dict[str, int]:
        """The same of the answers that are wanted, in whichever state, whatever stands in them."""
        with self._reading() as connection:
            return tally_part(connection, cells, wanted)

    def tally_strata(self, info: CellInfo, wanted: AnswersWanted) -> dict[str, int]:
        """How many answers of each subject of the cell are wanted, whatever stands in them."""
        with self._reading() as connection:
            return tally_strata(connection, info, wanted)

    def beside(
        self, run_id: str, info: CellInfo, place: tuple[int, int], wanted: AnswersWanted, *, reveal: bool = False
    ) -> Neighbours:
        """The answers before and after the one at a position and repeat, of its cell and among those wanted."""
        with self._reading() as connection:
            return neighbours(connection, run_id, info, place, wanted, self._rarities, reveal=reveal)

    def sets(self, cells: Sequence[int]) -> dict[int, int]:
        """The set of items that each cell asked."""
        with self._reading() as connection:
            return sets_of(connection, cells)

    def cases(self, cells: Sequence[CellInfo], wanted: CasesWanted, *, reveal: bool = False) -> CasePage:
        """The items that these cells of one set answered, of whichever runs, side by side: a page of those that fit."""
        with self._reading() as connection:
            return case_page(connection, [info for info in cells if info.id in wanted.cells], wanted, reveal=reveal)

    def ids(self) -> set[str]:
        """The ids of all runs, without what else is known of them."""
        with self._reading() as connection:
            return set(connection.execute(select(schema.runs.c.uid)).scalars())

    def holds_more_than(self, run_id: str, most: int) -> bool:
        """Whether the run has more calls than that, counted no further."""
        calls, cells = schema.calls, schema.cells
        with self._reading() as connection:
            of_run = cells.c.run == self._number_of(connection, run_id)
            some = select(calls.c.id).join(cells, cells.c.id == calls.c.cell).where(of_run).limit(most + 1).subquery()
            return int(connection.execute(select(func.count()).select_from(some)).scalar_one()) > most

    def state(self) -> tuple[int, int, int]:
        """Three numbers of which one grows whenever an answer or a judgement is written, or a run begun."""
        tables = (schema.runs, schema.calls, schema.scores)
        with self._reading() as connection:
            found = [connection.execute(select(func.max(table.c.id))).scalar() or 0 for table in tables]
        return found[0], found[1], found[2]


# Runs


def _run_page(
    connection: Connection, wanted: RunsWanted, most: int, info_of: Callable[[Connection, Any], RunInfo]
) -> RunPage:
    found: list[tuple[Any, RunInfo]] = []
    after = wanted.after
    while len(found) <= most:
        rows = connection.execute(_runs_after(wanted, after).limit(most + 1)).all()
        infos = [(row, info_of(connection, row)) for row in rows]
        found += [(row, info) for row, info in infos if wanted.status in ("", info.status)]
        if len(rows) <= most:
            break
        after = _place(rows[-1], wanted.order)
    shown = found[:most]
    is_more = len(found) > most
    return RunPage(
        runs=tuple(_listed(connection, info) for _, info in shown),
        next=_place(shown[-1][0], wanted.order) if is_more else "",
    )


def _runs_after(wanted: RunsWanted, after: str) -> Any:
    runs, tags, cells = schema.runs, schema.run_tags, schema.cells
    conditions: list[ColumnElement[bool]] = []
    if wanted.text:
        tagged = exists().where(tags.c.run == runs.c.id, contains(tags.c.tag, wanted.text))
        asked = exists().where(cells.c.run == runs.c.id, contains(cells.c.model + " " + cells.c.label, wanted.text))
        conditions.append(or_(contains(runs.c.name, wanted.text), runs.c.uid.startswith(wanted.text, autoescape=True),
                              tagged, asked))  # fmt: skip
    if wanted.tag:
        conditions.append(exists().where(tags.c.run == runs.c.id, tags.c.tag == wanted.tag))
    if wanted.model:
        conditions.append(exists().where(cells.c.run == runs.c.id, cells.c.model == wanted.model))
    if wanted.benchmark:
        conditions.append(exists().where(cells.c.run == runs.c.id, cells.c.label == wanted.benchmark))
    if wanted.status:  # one that says it runs may be found dead
        conditions.append(runs.c.status.in_((wanted.status, "running")))
    chosen = select(runs).where(*conditions)
    if wanted.order == "name":
        number, _, name = after.partition(".")
        if after:
            chosen = chosen.where(tuple_(runs.c.name, runs.c.id) > tuple_(name, whole_number(number)))
        return chosen.order_by(runs.c.name, runs.c.id)
    is_newest = wanted.order == "newest"
    if after:
        chosen = chosen.where(runs.c.id < whole_number(after) if is_newest else runs.c.id > whole_number(after))
    return chosen.order_by(runs.c.id.desc() if is_newest else runs.c.id)


def _place(row: Any, order: str) -> str:
    return f"{row.id}.{row.name}" if order == "name" else str(row.id)


def _listed(connection: Connection, info: RunInfo) -> ListedRun:
    table = schema.cells
    rows = connection.execute(
        select(table.c.id, table.c.info, table.c.summary).where(table.c.run == info.number).order_by(table.c.id)
    ).all()
    return ListedRun(
        info=info,
        cells=tuple(cell_info(row.info, row.id) for row in rows),
        estimates={row.id: _estimates(row.summary) for row in rows},
    )


def _estimates(kept: bytes | None) -> dict[str, Estimate]:
    found = msgspec.json.decode(kept, type=ready(list[Estimate])) if kept else []
    return {estimate.metric: estimate for estimate in found}
