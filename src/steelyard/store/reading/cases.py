"""The items of a set with what each of several cells made of them, a page at a time: cases down, models across.

Whether a case is wanted is told in two steps. How each item stands with a cell is counted in the database, as one of
four codes, for a stretch of items at once; of those that may fit, the answers that count are read, and judge.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct
from sqlalchemy import Connection, case, func, select

from steelyard.errors import UsageError
from steelyard.store.database import schema
from steelyard.store.database.dialect import listed
from steelyard.store.reading.answer_pages import GROWTH, read_answers
from steelyard.store.reading.columns import the_one_that_counts
from steelyard.store.reading.redaction import redact_answer, redact_sample
from steelyard.store.writing.codec import unpack
from steelyard.store.writing.judgements import measures_of
from steelyard.types import CellInfo, Sample

Shown = Literal["", "differ", "wrong", "right", "failed"]
CASES_SHOWN: tuple[Shown, ...] = ("", "differ", "wrong", "right", "failed")
State = Literal["right", "wrong", "partly", "failed", "unscored"]
STATES: tuple[State, ...] = ("right", "wrong", "partly", "failed", "unscored")
FIRST_POSITIONS = 8
AT_ONCE = 25
MOST_CALLS = 4_000
"""Answers that are read between two looks at the clock."""
AS_ONE_MEAN = 1e-9
WRONG, RIGHT, NONE, MIXED = range(4)
"""How an item stands with a cell: all answers wrong, all right, none scored, anything else, to be looked at closely."""
CODES: dict[State, tuple[int, ...]] = {
    "right": (RIGHT, MIXED),
    "wrong": (WRONG, MIXED),
    "partly": (MIXED,),
    "failed": (NONE, MIXED),
    "unscored": (NONE, MIXED),
}
"""How an item may stand with a cell that has it so."""
LIST = msgspec.json.Decoder(list[int])


class CasesWanted(Struct, frozen=True, kw_only=True):
    """Which items, as these cells of one set answered them.

    ``shown``: those where models differ, no model was right, every one was, or a call failed. ``states`` says of cells
    what they made of it. ``text`` stands in the item. ``after`` is a position. ``within_s`` is how long to look.
    """

    cells: tuple[int, ...]
    shown: Shown = ""
    states: dict[int, State] = {}
    stratum: str = ""
    text: str = ""
    after: int = -1
    most: int = AT_ONCE
    within_s: float = 0.15


class Outcome(Struct, frozen=True, kw_only=True):
    """What a cell made of an item: so many answers that count, of which so many are scored, right, failed.

    ``call`` is the first of them, ``answer`` what was read in it, ``failure`` why it failed if it did.
    """

    call: int
    n: int
    scored: int
    right: int
    failed: int
    mean: float | None
    answer: str | None
    failure: str | None

    @property
    def state(self) -> State:
        """The answers together, in a word."""
        if self.mean is None:
            return "failed" if self.failed == self.n else "unscored"
        return "right" if self.mean >= 1 else "wrong" if self.mean <= 0 else "partly"


class Case(Struct, frozen=True, kw_only=True):
    """An item, and its outcome by cell; a cell that was not asked is missing."""

    position: int
    name: str
    sample: Sample
    outcomes: dict[int, Outcome]


class CasePage(Struct, frozen=True, kw_only=True):
    """Some cases; ``next`` is the position to go on after, ``None`` at the end. ``is_cut``: time was up before."""

    cases: tuple[Case, ...]
    next: int | None
    is_cut: bool = False


class _Side(Struct, frozen=True, kw_only=True):
    """What is asked about: cells of one set, by which measures each is ranked, and whether texts stay hidden."""

    cells: tuple[CellInfo, ...]
    item_set: int
    measures: dict[int, tuple[int, ...]]
    is_hidden: bool
    reveal: bool


def case_page(connection: Connection, cells: Sequence[CellInfo], wanted: CasesWanted, *, reveal: bool) -> CasePage:
    """The cases of these cells, which are of one set, that fit."""
    deadline_s = time.monotonic() + wanted.within_s
    side = _side(connection, cells, reveal=reveal)
    calls, seen = schema.calls, wanted.after
    found: list[Case] = []
    of_cells = [select(func.max(calls.c.position)).where(calls.c.cell == info.id) for info in cells]
    last = max((connection.execute(chosen).scalar() or 0 for chosen in of_cells), default=-1)
    at_once = 0
    place, positions = wanted.after + 1, FIRST_POSITIONS
    while place <= last:
        began_s, end = time.monotonic(), place + positions
        likely = _likely(connection, side, wanted, place, end)
        if likely and not at_once:
            at_once = _at_once(connection, side, likely, wanted.most)
        for start in range(0, len(likely), at_once or 1):
            for one in _cases(connection, side, likely[start : start + at_once]):
                if not _fits(one, wanted):
                    continue
                if len(found) == wanted.most:
                    return CasePage(cases=tuple(found), next=seen)
                found.append(one)
                seen = one.position
            seen = likely[min(start + at_once, len(likely)) - 1]
            if time.monotonic() > deadline_s and seen < last:
                return CasePage(cases=tuple(found), next=seen, is_cut=len(found) < wanted.most)
        place = end
        now_s = time.monotonic()
        if now_s > deadline_s and end <= last:
            return CasePage(cases=tuple(found), next=end - 1, is_cut=len(found) < wanted.most)
        pace = positions / max(now_s - began_s, 1e-4)
        positions = max(1, min(positions * GROWTH, int(pace * (deadline_s - now_s))))
    return CasePage(cases=tuple(found), next=None)


def _at_once(connection: Connection, side: _Side, likely: Sequence[int], most: int) -> int:
    """Of how many cases answers are read between two looks at the clock; all are asked about as often as the first."""
    calls = schema.calls
    own = (calls.c.cell.in_(list(side.measures)), calls.c.position == likely[0])
    n = int(connection.execute(select(func.count()).where(*own)).scalar_one())
    return max(1, min(most, MOST_CALLS // max(1, n)))


def sets_of(connection: Connection, cells: Sequence[int]) -> dict[int, int]:
    """The set of items that each cell asked; only cells of one set can stand side by side."""
    table = schema.cells
    return {row.id: row.set for row in connection.execute(select(table.c.id, table.c.set).where(table.c.id.in_(cells)))}


def _side(connection: Connection, cells: Sequence[CellInfo], *, reveal: bool) -> _Side:
    sets = set(sets_of(connection, [info.id or 0 for info in cells]).values())
    if len(sets) > 1:
        raise UsageError("these models were asked items of different sets, which cannot stand side by side. Choose one")
    by_headline = {
        headline: tuple(measures_of(connection, *headline[:2], headline[2:]))
        for headline in {_headline(info) for info in cells}
    }
    return _Side(
        cells=tuple(cells),
        item_set=next(iter(sets), 0),
        measures={info.id or 0: by_headline[_headline(info)] for info in cells},
        is_hidden=not reveal and any(info.is_confidential for info in cells),
        reveal=reveal,
    )


def _headline(info: CellInfo) -> tuple[str, str, str]:
    return info.protocol, info.protocol_version, info.scored[0]


# Which items may fit


def _likely(connection: Connection, side: _Side, wanted: CasesWanted, first: int, end: int) -> list[int]:
    """The positions from ``first`` to before ``end`` at which a case may fit, in order."""
    among = None
    if wanted.text or wanted.stratum:
        among = _said(connection, side, wanted, first, end)
        if not among:
            return []
    if not (wanted.shown or wanted.states):
        asked = {position for info in side.cells for position in _asked(connection, info, first, end)}
        return sorted(asked if among is None else asked & among)
    codes = {info.id or 0: _codes(connection, side, info.id or 0, first, end) for info in side.cells}
    fitting = _coded(codes, wanted, end - first)
    return [first + place for place in np.flatnonzero(fitting).tolist() if among is None or first + place in among]


def _said(connection: Connection, side: _Side, wanted: CasesWanted, first: int, end: int) -> set[int]:
    """The items of a subject, or in which the text stands; where their words are hidden, in their names."""
    samples, text, is_hidden = schema.samples, wanted.text.casefold(), side.is_hidden
    columns = [samples.c.position, samples.c.name, *([samples.c.content] if text and not is_hidden else [])]
    of_set = samples.c.set == side.item_set
    chosen = select(*columns).where(of_set, samples.c.position >= first, samples.c.position < end)
    if wanted.stratum:
        chosen = chosen.where(samples.c.stratum == wanted.stratum)
    return {row.position for row in connection.execute(chosen) if not text or _holds(row, text, is_hidden=is_hidden)}


def _holds(row: Any, text: str, *, is_hidden: bool) -> bool:
    if text in row.name.casefold():
        return True
    if is_hidden:
        return False
    sample = unpack(row.content, Sample)
    turns = [sample.input] if isinstance(sample.input, str) else [turn.content for turn in sample.input]
    return any(text in each.casefold() for each in (*turns, *sample.choices))


def _asked(connection: Connection, info: CellInfo, first: int, end: int) -> Iterator[int]:
    position = schema.calls.c.position
    chosen = select(position).distinct().where(schema.calls.c.cell == info.id, position >= first, position < end)
    return iter(connection.execute(chosen).scalars())


def _codes(connection: Connection, side: _Side, cell: int, first: int, end: int) -> np.ndarray:
    """How each item of the stretch stands with the cell; -1 where it was not asked."""
    calls, scores = schema.calls, schema.scores
    is_its = schema.is_of_call(calls.c.id) & scores.c.measure.in_(side.measures[cell])
    n, scored = func.count(), func.count(scores.c.value)
    is_plain = (n == func.max(calls.c.repeat) + 1) & (scored == n)  # no call for an item and repeat but the one
    code = case(
        ((scored == 0) & (n == func.max(calls.c.repeat) + 1), NONE),
        (is_plain & (func.min(scores.c.value) >= 1), RIGHT),
        (is_plain & (func.max(scores.c.value) == 0), WRONG),
        else_=MIXED,
    )
    each = (
        select(calls.c.position, code.label("code"))
        .select_from(calls.outerjoin(scores, is_its))
        .where(calls.c.cell == cell, calls.c.position >= first, calls.c.position < end)
        .group_by(calls.c.position)
        .subquery()
    )
    both = connection.execute(select(listed(each.c.position), listed(each.c.code))).one()
    positions, codes = (np.array(LIST.decode(text), dtype=np.int64) for text in both)
    found = np.full(end - first, -1, dtype=np.int8)
    found[positions - first] = codes
    return found


def _coded(codes: dict[int, np.ndarray], wanted: CasesWanted, n: int) -> np.ndarray:
    """Which items may fit, by their codes alone."""

    def has(*any_of: int) -> np.ndarray:
        found = np.zeros(n, dtype=bool)
        for column in codes.values():
            for code in any_of:
                found |= column == code
        return found

    if wanted.shown == "differ":
        fitting: np.ndarray = has(MIXED) | (has(WRONG) & has(RIGHT))
    elif wanted.shown == "wrong":
        fitting = has(WRONG, MIXED) & ~has(RIGHT)
    elif wanted.shown == "right":
        fitting = has(RIGHT, MIXED) & ~has(WRONG, NONE)
    elif wanted.shown == "failed":
        fitting = has(NONE, MIXED)
    else:
        fitting = has(WRONG, RIGHT, NONE, MIXED)
    for cell, state in wanted.states.items():
        fitting = fitting & np.isin(codes.get(cell, np.full(n, -1)), CODES[state])
    return fitting


# What the answers say


def _fits(one: Case, wanted: CasesWanted) -> bool:
    outcomes = one.outcomes
    if not outcomes:
        return False
    if any((own := outcomes.get(cell)) is None or own.state != state for cell, state in wanted.states.items()):
        return False
    means = [each.mean for each in outcomes.values() if each.mean is not None]
    if wanted.shown == "differ":
        return bool(means) and max(means) - min(means) > AS_ONE_MEAN
    if wanted.shown == "wrong":
        return bool(means) and not any(each.right for each in outcomes.values())
    if wanted.shown == "right":
        return all(_is_right(each) for each in outcomes.values())
    return wanted.shown == "" or any(each.failed for each in outcomes.values())


def _is_right(one: Outcome) -> bool:
    return one.right == one.n


def _cases(connection: Connection, side: _Side, positions: Sequence[int]) -> list[Case]:
    """The items at these positions with all that the cells made of them."""
    samples = schema.samples
    chosen = select(samples.c.position, samples.c.name, samples.c.content)
    chosen = chosen.where(samples.c.set == side.item_set, samples.c.position.in_(positions))
    outcomes: dict[int, dict[int, Outcome]] = {position: {} for position in positions}
    for measures, cells in _by_measures(side).items():
        for cell, position, outcome in _outcomes(connection, cells, measures, positions, reveal=side.reveal):
            outcomes[position][cell] = outcome
    found = []
    for row in connection.execute(chosen.order_by(samples.c.position)):
        sample = unpack(row.content, Sample)
        shown = redact_sample(sample) if side.is_hidden else sample
        found.append(Case(position=row.position, name=row.name, sample=shown, outcomes=outcomes[row.position]))
    return found


def _by_measures(side: _Side) -> dict[tuple[int, ...], list[CellInfo]]:
    """The cells that are ranked by the same measures, whose outcomes are read together."""
    found: dict[tuple[int, ...], list[CellInfo]] = {}
    for info in side.cells:
        found.setdefault(side.measures[info.id or 0], []).append(info)
    return found


def _outcomes(
    connection: Connection,
    cells: Sequence[CellInfo],
    measures: Sequence[int],
    positions: Sequence[int],
    *,
    reveal: bool,
) -> Iterator[tuple[int, int, Outcome]]:
    """Of each of the cells, which are ranked by the same measures, what it made of the items."""
    calls, scores = schema.calls, schema.scores
    of_these = (calls.c.cell.in_([info.id for info in cells]), calls.c.position.in_(positions))
    chosen = select(calls.c.cell, calls.c.position, calls.c.repeat, calls.c.id, calls.c.failure).where(*of_these)
    rows = connection.execute(chosen.order_by(calls.c.cell, calls.c.position, calls.c.repeat, calls.c.id)).all()
    judged = (
        select(scores.c.id, calls.c.id, scores.c.value)
        .select_from(calls)
        .join(scores, schema.is_of_call(calls.c.id))
        .where(*of_these, scores.c.measure.in_(measures))
    )  # put in order here: asked for it, SQLite would read all scores of the store in theirs
    values = {call: value for _, call, value in sorted(map(tuple, connection.execute(judged)), key=lambda row: row[0])}
    counted = [
        (place, [the_one_that_counts(list(tries)) for _, tries in groupby(own, lambda row: row.repeat)])
        for place, own in groupby(rows, lambda row: (row.cell, row.position))
    ]
    answers = _read_as(connection, [own[0].id for _, own in counted], measures)
    infos = {info.id: info for info in cells}
    for (cell, position), own in counted:
        known = [value for row in own if (value := values.get(row.id)) is not None]
        outcome = Outcome(
            call=own[0].id,
            n=len(own),
            scored=len(known),
            right=sum(value >= 1 for value in known),
            failed=sum(row.failure is not None for row in own),
            mean=sum(known) / len(known) if known else None,
            answer=redact_answer(answers.get(own[0].id), infos[cell], reveal=reveal),
            failure=own[0].failure,
        )
        yield cell, position, outcome


def _read_as(connection: Connection, numbers: Sequence[int], measures: Sequence[int]) -> dict[int, str | None]:
    """What was read in these replies; one that is kept as its place in the reply is looked up there."""
    calls, scores = schema.calls, schema.scores
    chosen = (
        select(calls.c.id.label("of_call"), scores.c.answer, scores.c.answer_at, scores.c.answer_length)
        .join(scores, schema.is_of_call(calls.c.id))
        .where(calls.c.id.in_(numbers), scores.c.measure.in_(measures))
        .order_by(scores.c.id)
    )
    rows = {row.of_call: row for row in connection.execute(chosen)}
    replies = read_answers(connection, [number for number, row in rows.items() if row.answer_at is not None])
    found = {number: row.answer for number, row in rows.items()}
    for number, (_, completion) in replies.items():
        place = rows[number].answer_at
        found[number] = None if completion is None else completion.text[place : place + rows[number].answer_length]
    return found
