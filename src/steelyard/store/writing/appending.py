"""Calls and scores on their way into the store: prepared and packed, then inserted in one transaction.

Everything that takes time is done before the write lock is taken. What a row of a call repeats of its item is left out,
as long as the store holds the item in these very words.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Dialect, Insert, select

from steelyard.errors import StoreError
from steelyard.secrets import known_forms
from steelyard.store.database import schema
from steelyard.store.database.dialect import insert_unless_there, spoken
from steelyard.store.nouns import NewCall, NewScore
from steelyard.store.rows import verdicts
from steelyard.store.writing.codec import mended
from steelyard.store.writing.dictionaries import Dictionaries, Packing
from steelyard.store.writing.figures import figures_of
from steelyard.store.writing.items import Items, Key, print_of, prints_here
from steelyard.store.writing.judgements import Measure, Measures, measures_of, number_rows, score_rows
from steelyard.store.writing.keys import keyless_call
from steelyard.store.writing.payload import to_keep
from steelyard.types import Call, Sample

ROWS_OF_A_STATEMENT = (128, 32, 8, 1)
LARGEST = 2**32 - 1

INSERT_CALLS = schema.calls.insert()
INSERT_SCORES = schema.scores.insert()

Open = Callable[[], AbstractContextManager[Connection]]


class Appending:
    """Writes what is new; remembers which items and measures the store holds."""

    def __init__(self, open_to_read: Open, open_to_write: Open, dictionaries: Dictionaries) -> None:
        self._reading, self._writing = open_to_read, open_to_write
        self._dictionaries = dictionaries
        self._items = Items()
        self._measures = Measures()

    def append(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """Write calls, and judgements of earlier ones, in one transaction; return the calls' ids when it is durable."""
        return self._write(calls, scores, is_new=True)

    def append_once(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """``append``, where that very transaction may have been made before nobody heard of it: whole or not at all.

        Who looks has the write lock: it may be on its way even then.
        """
        return self._write(calls, scores, is_new=False)

    def _write(self, calls: Sequence[NewCall], scores: Sequence[NewScore], *, is_new: bool) -> list[int]:
        # compressing is done before the write lock is taken
        batch = self._prepared(calls, known_forms())
        new_scores = score_rows(scores, batch.keys)
        new_verdicts = [verdicts.row_of(row.call, said, batch.keys) for row in scores for said in row.verdicts]
        if not batch.calls and not new_scores:
            return []
        ids: list[int] = []
        measures: dict[Measure, int] = {}
        with self._writing() as connection:
            if not is_new and (made := _made_before(connection, calls, scores)) is not None:
                return made
            if batch.calls:
                last = _last_call(connection, {row.cell for row in calls})
                _keep_samples(connection, batch)
                _keep_answers_at_hand(connection, batch)
                ids = list(range(last + 1, last + 1 + len(calls)))
                for call_id, values in zip(ids, batch.calls, strict=True):
                    values["id"] = call_id
                _insert_many(connection, INSERT_CALLS, batch.calls)
            if new_scores:
                measures = self._measures.numbers(connection, scores)
                number_rows(connection, scores, new_scores, measures)
                _insert_many(connection, INSERT_SCORES, new_scores)
            if new_verdicts:
                _insert_many(connection, verdicts.INSERT, new_verdicts)
        self._items.note(batch.prints)
        self._measures.note(measures)
        self._dictionaries.learn(batch.packings.values())
        return ids

    def _prepared(self, calls: Sequence[NewCall], keys: Sequence[bytes]) -> _Batch:
        """The rows of these calls and of the items that no run has asked yet."""
        packings = self._dictionaries.of({row.cell for row in calls})
        places = [(packings[row.cell].item_set, row.position) for row in calls]
        items = {place: row.sample for place, row in zip(places, calls, strict=True)}
        if not self._items.know(items):
            with self._reading() as connection:
                self._items.learn(connection, items)
        prints = {place: print_of(sample) for place, sample in items.items() if not self._items.print_at(place)}
        new_calls = []
        for place, row in zip(places, calls, strict=True):
            is_kept_so = print_of(row.sample) == (self._items.print_at(place) or prints[place])
            new_calls.append(_call_row(row, keys, packings[row.cell], row.sample if is_kept_so else None))
        of_sets = {packing.item_set: packing for packing in packings.values()}
        return _Batch(
            keys=keys,
            new=calls,
            places=places,
            packings=packings,
            calls=new_calls,
            samples=[_sample_row(place, items[place], of_sets[place[0]]) for place in prints],
            prints=prints,
        )


def _made_before(connection: Connection, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int] | None:
    """The ids of these very calls, where the transaction was made; ``None`` where it was not."""
    known = [_number_of_call(connection, row) for row in calls]
    ids = [number for number in known if number is not None]
    return ids if ids or any(_is_scored(connection, row) for row in scores) else None


def _number_of_call(connection: Connection, row: NewCall) -> int | None:
    """The id of that very call, where it is written: a session asks each item and repeat of a cell once."""
    table = schema.calls
    same = (table.c.cell == row.cell, table.c.position == row.position, table.c.repeat == row.call.repeat)
    return connection.execute(select(table.c.id).where(*same, table.c.session == row.session)).scalar()


def _is_scored(connection: Connection, row: NewScore) -> bool:
    """Whether the call has these scores: a run gives it none twice, but for such as could not be given before.

    Those are known by what the judge said for them; where it said nothing, what stands there twice counts nothing.
    """
    if all(score.value is None for score in row.scores.values()):
        return any(verdicts.is_kept(connection, row.call, said) for said in row.verdicts)
    table = schema.scores
    measures = measures_of(connection, row.grader, row.grader_version)
    of_call = table.c.id.between(row.call * schema.JUDGEMENTS, (row.call + 1) * schema.JUDGEMENTS - 1)
    given = select(table.c.id).where(of_call, table.c.measure.in_(measures), table.c.value.is_not(None))
    return connection.execute(given).first() is not None


def _last_call(connection: Connection, cells: set[int]) -> int:
    """The number of the last call, 0 where there is none; raises ``StoreError`` where one of the cells is gone."""
    cursor = connection.connection.cursor()  # the driver's own, for one question instead of two that are put together
    numbers = ", ".join(str(int(cell)) for cell in cells)
    cursor.execute(f"SELECT id, (SELECT coalesce(max(id), 0) FROM calls) FROM cells WHERE id IN ({numbers})")  # noqa: S608
    last = dict(cursor.fetchall())
    if gone := sorted(cells - last.keys()):
        raise StoreError(f"cell {gone[0]} is not in the store (any more). Was its run deleted meanwhile?")
    return int(max(last.values()))


class _Batch(Struct, kw_only=True):
    """Calls on their way into the store, with the items among them that it lacks and the prints of those."""

    keys: Sequence[bytes]
    new: Sequence[NewCall]
    places: list[Key]
    packings: dict[int, Packing]
    calls: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    prints: dict[Key, int]

    def keep_whole(self, index: int) -> None:
        """Give the call's row all of its answer, and of its request all that its item might say in other words."""
        row = msgspec.structs.replace(self.new[index], reused_from=None)
        self.calls[index] |= _call_row(row, self.keys, self.packings[row.cell], None)


def _keep_answers_at_hand(connection: Connection, batch: _Batch) -> None:
    """A row whose answer stood in a run that was deleted meanwhile gets the answer itself."""
    sources = {call.reused_from for call in batch.new if call.reused_from is not None}
    if not sources:
        return
    here = set(connection.execute(select(schema.calls.c.id).where(schema.calls.c.id.in_(sources))).scalars())
    for index, call in enumerate(batch.new):
        if call.reused_from is not None and call.reused_from not in here:
            batch.keep_whole(index)


def _keep_samples(connection: Connection, batch: _Batch) -> None:
    """Insert the items that no run has asked yet. Another process may have been first, with other words."""
    if not batch.samples:
        return
    insert = insert_unless_there(schema.samples, spoken(connection))
    if _insert_many(connection, insert, batch.samples) == len(batch.samples):
        return
    batch.prints |= prints_here(connection, batch.prints)
    for index, (place, call) in enumerate(zip(batch.places, batch.new, strict=True)):
        if call.reused_from is None and batch.prints.get(place) not in (None, print_of(call.sample)):
            batch.keep_whole(index)


def _insert_many(connection: Connection, statement: Insert, rows: Sequence[dict[str, Any]]) -> int:
    """Insert the rows, many of them by one statement; return how many there was room for.

    SQLite's driver lets go of the interpreter for each row it inserts, and waits until a busy event loop gives it back;
    a statement of many rows waits once.
    """
    sql, names = _compiled(statement, connection.dialect, tuple(rows[0]))
    if names is None:
        return connection.execute(statement, rows).rowcount
    values_of = itemgetter(*names)
    cursor = connection.connection.cursor()  # the driver's own: a statement costs a fifth of the time
    start = inserted = 0
    for size in ROWS_OF_A_STATEMENT:
        while len(rows) - start >= size:
            values = tuple(chain.from_iterable(map(values_of, rows[start : start + size])))
            cursor.execute(_of_many_rows(sql, size), values)
            start += size
            inserted += cursor.rowcount
    return inserted


@lru_cache(maxsize=16)
def _compiled(statement: Insert, dialect: Dialect, columns: tuple[str, ...]) -> tuple[str, list[str] | None]:
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    return str(compiled), compiled.positiontup


@lru_cache(maxsize=64)
def _of_many_rows(sql: str, size: int) -> str:
    head, values, rest = sql.partition(" VALUES ")
    row, end, clause = rest.partition(")")
    return head + values + ", ".join([row + end] * size) + clause


def _sample_row(place: Key, sample: Sample, packing: Packing) -> dict[str, Any]:
    return {
        "set": place[0],
        "position": place[1],
        "name": sample.id,
        "stratum": sample.stratum,
        "cluster": sample.cluster,
        "flags": " ".join(sample.flags) or None,
        "content": packing.pack(sample),
    }


def _call_row(row: NewCall, keys: Sequence[bytes], packing: Packing, item: Sample | None) -> dict[str, Any]:
    """The call's row; ``item`` is the one it asked where the store holds that in these very words."""
    call = keyless_call(row.call, keys)
    try:
        payload = packing.pack(to_keep(_without_gaps(call), item)) if row.reused_from is None else b""
    except UnicodeEncodeError:  # half a surrogate pair in an answer: kept with a replacement character, not lost
        call = mended(call)
        payload = packing.pack(to_keep(_without_gaps(call), item))
    completion = call.completion
    timing = completion.timing if completion else None
    return {
        **figures_of(call),
        "cell": row.cell,
        "session": row.session,
        "position": row.position,
        "digest": call.digest,
        "empty": completion is not None and not completion.likelihoods and not completion.text.strip(),
        "cached": completion is not None and completion.cached,
        "started_s": row.started_at_s,
        "ended_s": row.ended_at_s,
        "gaps_us": _gaps_us(timing.gaps_ns) if timing else None,
        "payload": payload,
        "reused_from": row.reused_from,
        "saved_usd": row.saved_usd,
    }


def _gaps_us(gaps_ns: tuple[int, ...]) -> bytes | None:
    """The gaps as little-endian 32-bit microseconds; a gap of more than 71 minutes does not occur."""
    if not gaps_ns:
        return None
    gaps_us = [min(max(gap_ns // 1000, 0), LARGEST) for gap_ns in gaps_ns]
    return struct.pack(f"<{len(gaps_us)}I", *gaps_us)


def _without_gaps(call: Call) -> Call:
    if call.completion is None or call.completion.timing is None or not call.completion.timing.gaps_ns:
        return call
    timing = msgspec.structs.replace(call.completion.timing, gaps_ns=())
    return msgspec.structs.replace(call, completion=msgspec.structs.replace(call.completion, timing=timing))
