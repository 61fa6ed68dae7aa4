"""A cell as arrays: what every metric is computed from.

Calls come as they lie in the file; here they are put in order of (position, repeat) and time, the one that counts is
chosen for each, and what their items say is laid beside them. A set of items is shared by cells and their repeats, so
it is read once and not joined to each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, func, literal_column, select

from steelyard.store.database import schema
from steelyard.store.database.dialect import SQLITE, listed, spoken
from steelyard.store.reading.cell_calls import (
    FEW,
    NUMBERS,
    SPARSE,
    Calls,
    Extent,
    Words,
    extent_of,
    partitions,
    places_of,
    read_calls,
)
from steelyard.store.reading.cell_scores import read_judging, read_scores
from steelyard.types import Columns

OF_SAMPLES = ("stratum", "cluster", "flags")
LIST = msgspec.json.Decoder(list[int])
TEXTS = msgspec.json.Decoder(list[str | None])


def read_columns(
    connection: Connection, cell: int, grader: str | None, grader_version: str | None, *, with_names: bool
) -> Columns:
    """Every (item, repeat) of the cell that was asked, with the scores of one grader."""
    extent = extent_of(connection, cell)
    calls = read_calls(connection, cell, extent)
    keep, left_out = _the_ones_that_count(calls)
    figures = {name: column[keep] for name, column in calls.figures.items()}
    words = {name: calls.words[name].texts(codes[keep]) for name, codes in calls.codes.items()}
    items = _items(connection, cell, extent, figures["position"], with_names=with_names)
    scores, parsed = read_scores(connection, cell, extent, grader, grader_version, figures["id"])
    gaps_s, gap_starts = _gaps(calls.gaps, keep)
    return Columns(
        names=items.names,
        sample=figures["position"],
        repeat=figures["repeat"],
        session=figures["session"],
        tries=figures["tries"],
        retried=(figures["tries"] > 1) | _were_asked_before(calls, keep, left_out),
        cached=figures["cached"].astype(bool),
        answered_empty=figures["empty"].astype(bool),
        stratum=items.codes["stratum"],
        strata=tuple(word or "" for word in items.words["stratum"].known),
        cluster=_clusters(items.words["cluster"], items.codes["cluster"]),
        flags=items.words["flags"].texts(items.codes["flags"]),
        answer=figures["answer"],
        gaps_s=gaps_s,
        gap_starts=gap_starts,
        scores=scores,
        parsed=parsed,
        judging=read_judging(connection, cell, grader, grader_version),
        superseded=int(calls.figures["tries"][left_out].sum()),
        superseded_cost_usd=float(np.nansum(calls.figures["cost_usd"][left_out])),
        **{name: figures[name] for name in NUMBERS},
        **words,
    )


def the_one_that_counts(tries: list[Any]) -> Any:
    """Of the calls for one (item, repeat), in order of time: the last answer, or the last failure if there is none."""
    answers = [row for row in tries if row.failure is None]
    return (answers or tries)[-1]


def read_names(connection: Connection, cell: int, among: Sequence[int] | None = None) -> dict[int, str]:
    """What the items of the cell that were asked are called, by position; of those at the positions ``among``."""
    calls, samples = schema.calls, schema.samples
    chosen = (
        select(samples.c.position, samples.c.name)
        .join(schema.cells, schema.cells.c.set == samples.c.set)
        .where(schema.cells.c.id == cell)
    )
    if among is None:
        chosen = chosen.where(samples.c.position.in_(select(calls.c.position).where(calls.c.cell == cell)))
    else:
        chosen = chosen.where(samples.c.position.in_(among))
    return {
        position: name
        for part in partitions(connection, chosen)
        for position, name in zip(part["position"], part["name"], strict=True)
    }


def _the_ones_that_count(calls: Calls) -> tuple[np.ndarray, np.ndarray]:
    """``the_one_that_counts`` for all rows at once: where those are, in order, and where the superseded ones are."""
    figures, n = calls.figures, len(calls.figures["id"])
    if n == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    order = np.lexsort((figures["id"], figures["repeat"], figures["position"]))
    position, repeat = figures["position"][order], figures["repeat"][order]
    starts = np.flatnonzero(np.r_[True, (np.diff(position) != 0) | (np.diff(repeat) != 0)])
    if len(starts) == n:
        return order, np.zeros(0, dtype=np.int64)
    is_answer = calls.codes["failure"][order] == calls.words["failure"].none
    last_answer = np.maximum.reduceat(np.where(is_answer, np.arange(n), -1), starts)
    last = np.r_[starts[1:], n] - 1
    keep = np.where(last_answer >= 0, last_answer, last)
    is_left_out = np.ones(n, dtype=bool)
    is_left_out[keep] = False
    return order[keep], order[is_left_out]


def _were_asked_before(calls: Calls, keep: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Of the calls that count, those for whose item and repeat there is another one."""
    if not len(left_out):
        return np.zeros(len(keep), dtype=bool)
    position, repeat = (calls.figures[name].astype(np.int64) for name in ("position", "repeat"))
    which = position * (int(repeat.max()) + 1) + repeat
    return np.asarray(np.isin(which[keep], which[left_out]))


class _Items(msgspec.Struct, frozen=True, kw_only=True):
    """What the items say, laid beside the calls."""

    words: dict[str, Words]
    codes: dict[str, np.ndarray]
    names: tuple[str, ...]


def _items(connection: Connection, cell: int, extent: Extent, position: np.ndarray, *, with_names: bool) -> _Items:
    """``position`` is each call's item, in order."""
    is_next = np.diff(position, prepend=-1) != 0
    asked, item = position[is_next], np.cumsum(is_next) - 1
    found = _samples(connection, cell, extent, [*OF_SAMPLES, "name"] if with_names else OF_SAMPLES)
    place = places_of(np.array(found.pop("position"), dtype=np.int64), asked)
    words, codes, names = {name: Words() for name in OF_SAMPLES}, {}, ()
    for name, texts in found.items():
        of_asked = np.array([*texts, None], dtype=object)[place].tolist()
        if name == "name":
            names = tuple(np.array(of_asked, dtype=object)[item].tolist())
        else:
            codes[name] = words[name].codes(of_asked)[item]
    return _Items(words=words, codes=codes, names=names)


def _samples(connection: Connection, cell: int, extent: Extent, names: Sequence[str]) -> dict[str, list[Any]]:
    """Columns of the items of the cell's set: of those that were asked, where these are few."""
    calls, samples = schema.calls, schema.samples
    number = connection.execute(select(schema.cells.c.set).where(schema.cells.c.id == cell)).scalar_one()
    columns = (samples.c.position, *(samples.c[name] for name in names))
    chosen = select(*map(listed, columns))
    if extent.n < FEW:
        asked = select(calls.c.position).where(calls.c.cell == cell)
        chosen = chosen.where(samples.c.set == number, samples.c.position.in_(asked))
    elif _is_most(connection, number):
        chosen = chosen.where(samples.c.set + 0 == number)  # + 0: the rows as they lie, not by the index
    else:
        chosen = chosen.where(samples.c.set == number)
    positions, *texts = connection.execute(chosen).one()
    return {"position": LIST.decode(positions)} | {
        name: TEXTS.decode(text) for name, text in zip(names, texts, strict=True)
    }


def _is_most(connection: Connection, number: int) -> bool:
    """Whether so much of the store's items are of this set that all are read sooner than its own are jumped to."""
    if spoken(connection) is not SQLITE:  # PostgreSQL finds the shorter way by itself
        return False
    samples = schema.samples
    own = select(func.count()).where(samples.c.set == number).scalar_subquery()
    last = select(func.max(literal_column("rowid"))).select_from(samples).scalar_subquery()
    held, some = connection.execute(select(own, last)).one()
    return bool(SPARSE * held > some)


def _clusters(words: Words, codes: np.ndarray) -> np.ndarray:
    """The clusters' codes, -1 where an item belongs to none."""
    return np.where(codes == words.none, -1, codes)


def _gaps(gaps: list[bytes] | None, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if gaps is None:
        return np.zeros(0), np.zeros(len(keep) + 1, dtype=np.int64)
    kept = [gaps[index] for index in keep.tolist()]
    return np.frombuffer(b"".join(kept), dtype="<u4") / 1e6, np.cumsum([0, *map(len, kept)], dtype=np.int64) // 4
