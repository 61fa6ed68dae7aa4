"""The answers of a run, a page at a time, by what became of them and what stands in them.

A page goes on where the one before ended (by key, never by counting rows from the start), and reading it is bounded: by
its length where nothing is sought, and by time where few rows fit. What was looked through is said, and the next page
goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from steelyard.errors import UsageError
from steelyard.store.database import schema
from steelyard.store.reading.conditions import Condition
from steelyard.store.reading.fitting import fits_condition
from steelyard.store.reading.ranks import Foremost, Ranks
from steelyard.store.reading.rare import Kind, Place, Rarities
from steelyard.store.reading.redaction import redact_answer, redact_sample
from steelyard.store.reading.states import ANSWER_STATES, counts, is_in_state
from steelyard.store.rows.answers import answer_columns, read_call, with_original
from steelyard.store.writing.codec import unpack
from steelyard.store.writing.judgements import scores_of
from steelyard.types import Call, CellInfo, Completion, Sample, Score

Order = Literal["item", "slowest", "dearest", "longest"]
FIRST_POSITIONS = 2
"""Few, since each may have been asked hundreds of times, and no clock is looked at before they are done."""
GROWTH = 8
LOOKED_AT_ONCE = 50
MOST_SORTED = 20_000
"""Answers that the database puts in order within a page's time; of more the foremost are looked for."""
RANKED_WITHIN_S = 0.12
PATIENCE_S = 0.05
"""So long answers in a state are looked for in order; then all of the run's are looked through as they lie."""
BY_FIGURE = {"slowest": "total_s", "dearest": "cost_usd", "longest": "output_tokens"}


class AnswersWanted(Struct, frozen=True, kw_only=True):
    """Which answers of a run, of which of its cells. ``state`` is one of ``ANSWER_STATES``; ``text`` stands in question
    or reply; ``where`` is what their figures and names must fit.

    ``within_s`` is how long to look for what fits before the page is given as it is.
    """

    cells: tuple[int, ...] | None = None
    state: str = ""
    stratum: str = ""
    text: str = ""
    where: Condition | None = None
    order: Order = "item"
    after: str = ""
    most: int = 100
    within_s: float = 0.15

    @property
    def kind(self) -> Kind:
        """What their rows must tell, wherever they stand and whatever stands in them."""
        return Kind(state=self.state, where=self.where)


class AnswerRow(Struct, frozen=True, kw_only=True):
    """One answer as a line of a table: its item, its figures, and what its own grader made of it."""

    id: int
    cell: int
    item: str
    sample: Sample
    repeat: int
    failure: str | None
    stop_reason: str | None
    is_reused: bool
    tries: int
    queued_s: float | None
    ttft_s: float | None
    total_s: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    value: float | None = None
    answer: str | None = None


class AnswerPage(Struct, frozen=True, kw_only=True):
    """Some answers and where the next page begins ("" for the end); ``is_cut``: time was up before it was full.

    ``foremost``: how a large cell was put in order, if it was.
    """

    rows: tuple[AnswerRow, ...]
    next: str
    is_cut: bool = False
    foremost: Foremost | None = None


def whole_number(text: str) -> int:
    """A number that stands in the name of a place; anything else is no place."""
    if not text.isdecimal() or len(text) > 18:
        raise UsageError(f"{text[:40]!r} is no place in a list")
    return int(text)


def answer_page(
    connection: Connection,
    run: str,
    cells: Sequence[CellInfo],
    wanted: AnswersWanted,
    ranks: Ranks,
    rarities: Rarities,
    *,
    reveal: bool,
) -> AnswerPage:
    """The answers of these cells of the run that fit, from where the page before ended."""
    if wanted.state and wanted.state not in ANSWER_STATES:
        raise UsageError(f"{wanted.state[:40]!r} is no state of an answer. Known: {', '.join(ANSWER_STATES)}")
    if wanted.order != "item" and len(cells) != 1:
        raise UsageError("answers are put in order of time, cost or length one model and benchmark at a time")
    deadline_s = time.monotonic() + wanted.within_s
    known = {info.id: info for info in cells}
    found: list[Any] = []
    seen = ""
    foremost = _foremost(connection, run, cells[0], wanted, ranks) if wanted.order != "item" else None

    def page(following: str, *, is_cut: bool = False) -> AnswerPage:
        rows = _rows(connection, found, known, reveal=reveal)
        return AnswerPage(rows=rows, next=following, is_cut=is_cut, foremost=foremost)

    in_order = (
        _by_figures(connection, cells[0], wanted, foremost, deadline_s)
        if wanted.order != "item"
        else _in_order(connection, run, cells, wanted, rarities, deadline_s)
    )
    for row in in_order:
        if isinstance(row, str):  # time was up, and this is how far it came
            return page(row, is_cut=True)
        if len(found) == wanted.most:
            return page(seen)
        if fits(row, known[row.cell], wanted, reveal=reveal):
            found.append(row)
        seen = _mark(row, wanted.order)
        if wanted.text and time.monotonic() > deadline_s:
            return page(seen, is_cut=True)
    return page("")


def _by_figures(
    connection: Connection, info: CellInfo, wanted: AnswersWanted, foremost: Foremost | None, deadline_s: float
) -> Iterator[Any]:
    """The rows that may fit, in order of a figure; a text instead, where time was up: the place to go on from."""
    if foremost is not None:
        return _of_foremost(connection, info, wanted, foremost, deadline_s)
    return iter(connection.execute(_by_figure(connection, info, wanted)).yield_per(LOOKED_AT_ONCE))


def _in_order(
    connection: Connection,
    run: str,
    cells: Sequence[CellInfo],
    wanted: AnswersWanted,
    rarities: Rarities,
    deadline_s: float,
) -> Iterator[Any]:
    """The rows that may fit, in order of items; a text instead, where time was up: the place to go on from."""
    after = _marked(wanted.after, 3) if wanted.after else (0, 0, -1)
    if not wanted.kind.is_any:
        soon_s = min(deadline_s, time.monotonic() + PATIENCE_S)
        for row in _one_by_one(connection, cells, wanted, after, soon_s):
            if isinstance(row, str):
                after = _marked(row, 3)
                break
            yield row
        else:
            return
        here = [info for info in cells if (info.id or 0) >= after[0]]
        for some in (here, here[:1]):  # of all models' answers many may be so, and none of the next one's
            places = rarities.places(connection, run, some, wanted.kind, deadline_s=deadline_s) if some else None
            if places is None:
                continue
            for row in _at(connection, some, wanted, [one for one in places if one[:3] > after], deadline_s):
                yield row
                if isinstance(row, str):
                    return
            if some is here:
                return
            after = ((some[0].id or 0) + 1, 0, -1)
            break
        if time.monotonic() > deadline_s:
            yield ".".join(map(str, after))
            return
    yield from _one_by_one(connection, cells, wanted, after, deadline_s)


def _at(
    connection: Connection,
    cells: Sequence[CellInfo],
    wanted: AnswersWanted,
    places: Sequence[Place],
    deadline_s: float,
) -> Iterator[Any]:
    """The rows at these places that are of the kind wanted."""
    for start in range(0, len(places), LOOKED_AT_ONCE):
        some = places[start : start + LOOKED_AT_ONCE]
        for info in cells:
            if numbers := [one.call for one in some if one.cell == info.id]:
                chosen = answers_like(connection, info, wanted, by_number=True).where(schema.calls.c.id.in_(numbers))
                yield from connection.execute(chosen.order_by(schema.calls.c.position, schema.calls.c.repeat)).all()
        if time.monotonic() > deadline_s and start + LOOKED_AT_ONCE < len(places):
            yield ".".join(str(part) for part in some[-1][:3])
            return


def _one_by_one(
    connection: Connection,
    cells: Sequence[CellInfo],
    wanted: AnswersWanted,
    after: Sequence[int],
    deadline_s: float,
) -> Iterator[Any]:
    """The cells' rows from a place on, some positions at once: as many as can be looked through in the time left."""
    calls = schema.calls
    for info in cells:
        assert info.id is not None
        if info.id < after[0]:
            continue
        place = tuple(after[1:]) if info.id == after[0] else (0, -1)
        positions = FIRST_POSITIONS
        last = connection.execute(select(func.max(calls.c.position)).where(calls.c.cell == info.id)).scalar()
        while last is not None and place[0] <= last:
            began_s = time.monotonic()
            end = place[0] + positions
            chosen = answers_like(connection, info, wanted).where(
                tuple_(calls.c.position, calls.c.repeat) > tuple_(*place),
                calls.c.position < end,
            )
            yield from connection.execute(chosen.order_by(calls.c.position, calls.c.repeat)).yield_per(LOOKED_AT_ONCE)
            place = (end, -1)
            now_s = time.monotonic()
            if now_s > deadline_s and (end <= last or info is not cells[-1]):
                yield f"{info.id}.{end}.-1"
                return
            pace = positions / max(now_s - began_s, 1e-4)
            positions = max(1, min(positions * GROWTH, int(pace * (deadline_s - now_s))))


def _foremost(connection: Connection, run: str, info: CellInfo, wanted: AnswersWanted, ranks: Ranks) -> Foremost | None:
    """The foremost calls of a cell that is too large to be put in order as a whole."""
    calls = schema.calls
    some = select(calls.c.id).where(calls.c.cell == info.id).limit(MOST_SORTED + 1).subquery()
    if int(connection.execute(select(func.count()).select_from(some)).scalar_one()) <= MOST_SORTED:
        return None
    key = (run, info.id or 0, BY_FIGURE[wanted.order])
    return ranks.foremost(connection, key, deadline_s=time.monotonic() + RANKED_WITHIN_S)


def _of_foremost(
    connection: Connection, info: CellInfo, wanted: AnswersWanted, foremost: Foremost, deadline_s: float
) -> Iterator[Any]:
    place = _figure_place(wanted.after)
    below = [one for one in foremost.calls if place is None or one < place]
    for start in range(0, len(below), LOOKED_AT_ONCE):
        some = below[start : start + LOOKED_AT_ONCE]
        chosen = answers_like(connection, info, wanted, by_number=True).where(
            schema.calls.c.id.in_([number for _, number in some])
        )
        rows = {row.id: row for row in connection.execute(chosen)}
        yield from (rows[number] for _, number in some if number in rows)
        if time.monotonic() > deadline_s and start + LOOKED_AT_ONCE < len(below):
            value, number = some[-1]
            yield f"{value!r}/{number}"
            return


def _by_figure(connection: Connection, info: CellInfo, wanted: AnswersWanted) -> Any:
    calls = schema.calls
    figure = calls.c[BY_FIGURE[wanted.order]]
    chosen = answers_like(connection, info, wanted).where(figure.is_not(None))
    if (place := _figure_place(wanted.after)) is not None:
        chosen = chosen.where(tuple_(figure, calls.c.id) < tuple_(*place))
    return chosen.order_by(figure.desc(), calls.c.id.desc())


def _figure_place(after: str) -> tuple[float, int] | None:
    """The figure and the call after which a page begins."""
    if not after:
        return None
    value, _, number = after.rpartition("/")
    try:
        return float(value), whole_number(number)
    except ValueError as error:
        raise UsageError(f"{after[:40]!r} is no place in a list") from error


def answers_like(connection: Connection, info: CellInfo, wanted: AnswersWanted, *, by_number: bool = False) -> Any:
    """The calls of the cell that count and are of the kind wanted, with what a line shows.

    ``by_number``: they will be named by their numbers, so the index over the cell is of no use.
    """
    calls, samples, cells = schema.calls, schema.samples, schema.cells
    names = ("id", "cell", "position", "repeat", "failure", "stop_reason", "cached", "tries")
    figures = ("queued_s", "ttft_s", "total_s", "input_tokens", "output_tokens", "cost_usd")
    columns: list[ColumnElement[Any]] = [*(calls.c[name] for name in (*names, *figures)), samples.c.name]
    if wanted.text:
        chosen = with_original(select(*columns, *answer_columns()[:1], *answer_columns()[2:], samples.c.content))
    else:
        chosen = (
            select(*columns)
            .join(cells, cells.c.id == calls.c.cell)
            .join(samples, (samples.c.set == cells.c.set) & (samples.c.position == calls.c.position))
        )
    chosen = chosen.where((calls.c.cell + 0 if by_number else calls.c.cell) == info.id)
    if wanted.stratum:
        chosen = chosen.where(samples.c.stratum == wanted.stratum)
    if wanted.state:
        chosen = chosen.where(is_in_state(connection, info, wanted.state))
    if wanted.where is not None:
        chosen = chosen.where(fits_condition(connection, info, wanted.where))
    return chosen.where(counts())


def fits(row: Any, info: CellInfo, wanted: AnswersWanted, *, reveal: bool) -> bool:
    """Whether the text that is sought, if any, stands in the item's name or in what may be shown of it."""
    text = wanted.text.casefold()
    if text in row.name.casefold():
        return True
    return (reveal or not info.is_confidential) and holds(text, row)


def holds(wanted: str, row: Any) -> bool:
    """Whether the text, in lower case, stands in the call of a row or in what it asked."""
    sample = unpack(row.content, Sample)
    return is_in(wanted, read_call(row, sample), sample)


def is_in(wanted: str, call: Call, sample: Sample) -> bool:
    """Whether the text, in lower case, stands in what came back or in the question."""
    completion, failure = call.completion, call.failure
    texts = [completion.text, completion.reasoning] if completion else []
    texts += [failure.message] if failure else []
    texts += [sample.input] if isinstance(sample.input, str) else [turn.content for turn in sample.input]
    return any(wanted in text.casefold() for text in (*texts, *sample.choices))


def _mark(row: Any, order: Order) -> str:
    if order == "item":
        return f"{row.cell}.{row.position}.{row.repeat}"
    return f"{getattr(row, BY_FIGURE[order])!r}/{row.id}"


def _marked(text: str, n: int) -> tuple[int, ...]:
    parts = text.split(".")
    if len(parts) != n:
        raise UsageError(f"{text[:40]!r} is no place in a list")
    return tuple(-1 if part == "-1" else whole_number(part) for part in parts)


def _rows(
    connection: Connection, rows: Sequence[Any], cells: dict[int | None, CellInfo], *, reveal: bool
) -> tuple[AnswerRow, ...]:
    read = read_answers(connection, [row.id for row in rows])
    own: dict[int, Score | None] = {}
    for info in {row.cell: cells[row.cell] for row in rows}.values():
        of_cell = {row.id: read[row.id][1] for row in rows if row.cell == info.id}
        judged = scores_of(connection, of_cell, info.protocol, info.protocol_version)
        own |= {number: judged.get(number, {}).get(info.scored[0]) for number in of_cell}
    found = []
    for row in rows:
        info = cells[row.cell]
        score = own.get(row.id)
        found.append(
            AnswerRow(
                id=row.id,
                cell=row.cell,
                item=row.name,
                sample=read[row.id][0] if reveal or not info.is_confidential else redact_sample(read[row.id][0]),
                repeat=row.repeat,
                failure=row.failure,
                stop_reason=row.stop_reason,
                is_reused=row.cached,
                tries=row.tries,
                queued_s=row.queued_s,
                ttft_s=row.ttft_s,
                total_s=row.total_s,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
                cost_usd=row.cost_usd,
                value=score.value if score else None,
                answer=redact_answer(score.answer, info, reveal=reveal) if score else None,
            )
        )
    return tuple(found)


def read_answers(connection: Connection, numbers: Sequence[int]) -> dict[int, tuple[Sample, Completion | None]]:
    """The items of the calls and the replies, in which long answers stand that are not kept again."""
    calls = schema.calls
    chosen = with_original(select(calls.c.id, schema.samples.c.content, *answer_columns())).where(
        calls.c.id.in_(numbers)
    )
    rows = connection.execute(chosen).all() if numbers else []
    samples = {row.id: unpack(row.content, Sample) for row in rows}
    return {row.id: (samples[row.id], read_call(row, samples[row.id]).completion) for row in rows}
