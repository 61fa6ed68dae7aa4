"""What became of an item over all runs and models, one answer in full, and the search for either."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from sqlalchemy import Connection, func, select

from steelyard.store.database import schema
from steelyard.store.reading.answer_pages import holds
from steelyard.store.reading.fitting import contains
from steelyard.store.reading.redaction import redact
from steelyard.store.reading.states import counts
from steelyard.store.rows.answers import answer_columns, read_call, with_original
from steelyard.store.rows.cells import cell_info
from steelyard.store.writing.codec import unpack
from steelyard.store.writing.judgements import Measure, judgements_of
from steelyard.types import Call, CellInfo, Record, RunInfo, Sample, Score
from steelyard.types.ready import ready

Open = Callable[[], AbstractContextManager[Connection]]

ROWS_AT_ONCE = 100
MOST_OTHERS = 24


class Judgement(Struct, frozen=True, kw_only=True):
    """What one grader said of an answer by one metric; ``is_own``: the protocol that asked judged."""

    metric: str
    score: Score
    grader: str
    grader_version: str
    is_own: bool


class Answered(Struct, frozen=True, kw_only=True):
    """One answer in full: its run and cell, the record, every judgement, the gaps between its chunks.

    ``counts`` tells whether it is the one that its run counts; ``tries`` are all calls for the same item and repeat.
    ``started_s`` is in seconds since the epoch. ``reused_from`` is the call whose answer this is.
    """

    id: int
    run: RunInfo
    cell: CellInfo
    position: int
    record: Record
    judgements: tuple[Judgement, ...]
    started_s: float
    gaps_s: tuple[float, ...]
    tries: tuple[int, ...]
    counts: bool
    reused_from: int | None

    @property
    def headline(self) -> Score | None:
        """The score by which its cell is ranked."""
        return self.record.scores.get(self.cell.scored[0])


class ItemPage(Struct, frozen=True, kw_only=True):
    """An item and what became of it, the newest answers first; ``next`` is where the older ones begin, 0 for none.

    Several contents have one name where a data set changed: the newest is shown, ``versions`` counts them.
    """

    name: str
    sample: Sample
    versions: int
    answers: tuple[Answered, ...]
    next: int
    before: str | None
    after: str | None


class Found(Struct, frozen=True, kw_only=True):
    """Answers in which a text stands, newest first. ``looked_at`` were read, ``next`` is where to go on or 0."""

    answers: tuple[Answered, ...]
    looked_at: int
    next: int


class History:
    """Items and answers by their own names, whatever run they belong to."""

    def __init__(self, open_to_read: Open, info_of: Callable[[Connection, Any], RunInfo]) -> None:
        self._reading, self._info_of = open_to_read, info_of

    def call(self, number: int, *, reveal: bool = False) -> Answered | None:
        """One answer in full; ``None`` where there is no such call."""
        with self._reading() as connection:
            found = _answered(connection, [number], self._info_of, reveal=reveal)
        return found[0] if found else None

    def others(self, one: Answered, *, most: int = MOST_OTHERS, reveal: bool = False) -> list[Answered]:
        """What the other models of its run answered to the same item in the same repeat, in the run's order."""
        calls, cells = schema.calls, schema.cells
        own_set = select(cells.c.set).where(cells.c.id == one.cell.id).scalar_subquery()
        place = (calls.c.position == one.position, calls.c.repeat == one.record.call.repeat)
        chosen = (
            select(calls.c.id)
            .join(cells, cells.c.id == calls.c.cell)
            .where(cells.c.run == one.run.number, cells.c.id != one.cell.id, cells.c.set == own_set, *place, counts())
            .order_by(cells.c.id)
            .limit(most)
        )
        with self._reading() as connection:
            numbers = list(connection.execute(chosen).scalars())
            return _answered(connection, numbers, self._info_of, reveal=reveal)

    def item(self, name: str, *, before: int = 0, most: int = 25, reveal: bool = False) -> ItemPage | None:
        """The item with its answers; ``None`` where no run asked it. ``before``: only calls with a smaller number."""
        samples = schema.samples
        with self._reading() as connection:
            chosen = select(samples.c.set, samples.c.position, samples.c.content).where(samples.c.name == name)
            kept = connection.execute(chosen.order_by(samples.c.set)).all()
            if not kept:
                return None
            calls = _calls_of_item(connection, kept, before, most + 1)
            answers = _answered(connection, calls[:most], self._info_of, reveal=reveal)
            sample = unpack(kept[-1].content, Sample)
            if not reveal and any(one.cell.is_confidential for one in answers):
                sample = next(one.record.sample for one in answers if one.cell.is_confidential)
            elif not reveal and not answers and _is_hidden(connection, kept[-1].set):
                return None
            return ItemPage(
                name=name,
                sample=sample,
                versions=len(kept),
                answers=tuple(answers),
                next=calls[most - 1] if len(calls) > most else 0,
                before=_neighbour(connection, kept[-1], -1),
                after=_neighbour(connection, kept[-1], 1),
            )

    def names(self, text: str, *, most: int = 20) -> list[str]:
        """Items whose name holds the text."""
        name = schema.samples.c.name
        with self._reading() as connection:
            chosen = (
                select(name).where(contains(name, text)).group_by(name).order_by(func.length(name), name).limit(most)
            )
            return list(connection.execute(chosen).scalars())

    def search(
        self, text: str, *, before: int = 0, most: int = 20, within_s: float = 0.15, reveal: bool = False
    ) -> Found:
        """Answers in which the text stands, over all runs, the newest first, as many as are found in the time."""
        deadline_s = time.monotonic() + within_s
        wanted, numbers, looked_at, last = text.casefold(), [], 0, 0
        with self._reading() as connection:
            hidden = {} if reveal else _hidden_cells(connection)
            for row in connection.execute(_newest(before)).yield_per(ROWS_AT_ONCE):
                looked_at, last = looked_at + 1, row.id
                if row.cell not in hidden and holds(wanted, row):
                    numbers.append(row.id)
                if len(numbers) == most or time.monotonic() > deadline_s:
                    break
            else:
                last = 0
            answers = _answered(connection, numbers, self._info_of, reveal=reveal)
        return Found(answers=tuple(answers), looked_at=looked_at, next=last)


def _newest(before: int) -> Any:
    calls, samples = schema.calls, schema.samples
    chosen = with_original(select(calls.c.id, calls.c.cell, samples.c.content, *answer_columns()))
    chosen = chosen.order_by(calls.c.id.desc())
    return chosen.where(calls.c.id < before) if before else chosen


def _hidden_cells(connection: Connection) -> set[int]:
    rows = connection.execute(select(schema.cells.c.id, schema.cells.c.info))
    return {row.id for row in rows if msgspec.json.decode(row.info, type=ready(CellInfo)).is_confidential}


def _is_hidden(connection: Connection, item_set: int) -> bool:
    """Whether a set is one whose items are not shown, or one of which nothing is known any more."""
    chosen = select(schema.cells.c.info).where(schema.cells.c.set == item_set)
    infos = [msgspec.json.decode(encoded, type=ready(CellInfo)) for encoded in connection.execute(chosen).scalars()]
    return not infos or any(info.is_confidential for info in infos)


def _calls_of_item(connection: Connection, kept: Sequence[Any], before: int, most: int) -> list[int]:
    calls, cells = schema.calls, schema.cells
    found: list[int] = []
    for row in kept:
        chosen = (
            select(calls.c.id)
            .join(cells, cells.c.id == calls.c.cell)
            .where(cells.c.set == row.set, calls.c.position == row.position)
            .order_by(calls.c.id.desc())
            .limit(most)
        )
        found += connection.execute(chosen.where(calls.c.id < before) if before else chosen).scalars()
    return sorted(found, reverse=True)[:most]


def _neighbour(connection: Connection, row: Any, step: int) -> str | None:
    samples = schema.samples
    chosen = select(samples.c.name).where(samples.c.set == row.set)
    if step < 0:
        chosen = chosen.where(samples.c.position < row.position).order_by(samples.c.position.desc())
    else:
        chosen = chosen.where(samples.c.position > row.position).order_by(samples.c.position)
    return connection.execute(chosen.limit(1)).scalar()


def _answered(
    connection: Connection, numbers: Sequence[int], info_of: Callable[[Connection, Any], RunInfo], *, reveal: bool
) -> list[Answered]:
    """The calls in full, in the order of the numbers."""
    calls, cells, samples = schema.calls, schema.cells, schema.samples
    names = ("id", "cell", "position", "repeat", "started_s", "gaps_us", "reused_from")
    columns = [*(calls.c[name] for name in names), samples.c.content, cells.c.run, cells.c.info]
    chosen = with_original(select(*columns, *answer_columns())).where(calls.c.id.in_(numbers))
    rows = {row.id: row for row in connection.execute(chosen)} if numbers else {}
    runs = {number: _run(connection, number, info_of) for number in {row.run for row in rows.values()}}
    samples_of = {number: unpack(row.content, Sample) for number, row in rows.items()}
    calls_of = {number: read_call(row, samples_of[number]) for number, row in rows.items()}
    judged = judgements_of(connection, {number: call.completion for number, call in calls_of.items()}) if rows else {}
    return [
        _read(connection, rows[number], runs[rows[number].run], samples_of[number], calls_of[number],
              judged.get(number, []), reveal=reveal)
        for number in numbers
        if number in rows
    ]  # fmt: skip


def _run(connection: Connection, number: int, info_of: Callable[[Connection, Any], RunInfo]) -> RunInfo:
    return info_of(connection, connection.execute(select(schema.runs).where(schema.runs.c.id == number)).one())


def _read(
    connection: Connection,
    row: Any,
    run: RunInfo,
    sample: Sample,
    call: Call,
    judged: Sequence[tuple[Measure, Score]],
    *,
    reveal: bool,
) -> Answered:
    info = cell_info(row.info, row.cell)
    whole = Record(
        run=run.id,
        model=info.model,
        benchmark=info.benchmark,
        protocol=info.protocol,
        sample=sample,
        call=call,
        scores={str(place): score for place, (_, score) in enumerate(judged)},  # all of them, to be redacted as one
    )
    shown = redact(whole) if info.is_confidential and not reveal else whole
    judgements = tuple(
        Judgement(
            metric=metric,
            score=shown.scores[str(place)],
            grader=grader,
            grader_version=version,
            is_own=(grader, version) == (info.protocol, info.protocol_version),
        )
        for place, ((grader, version, metric), _) in enumerate(judged)
    )
    scores = {one.metric: one.score for one in judgements if one.is_own}
    tries = _tries(connection, row)
    answers = [number for number, failure in tries if failure is None]
    return Answered(
        id=row.id,
        run=run,
        cell=info,
        position=row.position,
        record=msgspec.structs.replace(shown, scores=scores),
        judgements=judgements,
        started_s=row.started_s,
        gaps_s=tuple((np.frombuffer(row.gaps_us or b"", dtype="<u4") / 1e6).tolist()),
        tries=tuple(number for number, _ in tries),
        counts=row.id == (answers or [number for number, _ in tries])[-1],
        reused_from=row.reused_from,
    )


def _tries(connection: Connection, row: Any) -> list[tuple[int, str | None]]:
    calls = schema.calls
    same = (calls.c.cell == row.cell, calls.c.position == row.position, calls.c.repeat == row.repeat)
    chosen = select(calls.c.id, calls.c.failure).where(*same).order_by(calls.c.id)
    return [(number, failure) for number, failure in connection.execute(chosen)]
