"""The answers beside one, of the same model on the same benchmark and among those that are sought."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct
from sqlalchemy import Connection, func, select, tuple_

from steelyard.store.database import schema
from steelyard.store.reading.answer_pages import (
    FIRST_POSITIONS,
    GROWTH,
    LOOKED_AT_ONCE,
    PATIENCE_S,
    AnswersWanted,
    answers_like,
    fits,
)
from steelyard.store.reading.rare import Place, Rarities
from steelyard.types import CellInfo


class Neighbours(Struct, frozen=True, kw_only=True):
    """The calls before and after one; ``None`` where there is none, or none was found in the time."""

    before: int | None
    after: int | None


def neighbours(
    connection: Connection,
    run: str,
    info: CellInfo,
    place: tuple[int, int],
    wanted: AnswersWanted,
    rarities: Rarities,
    *,
    reveal: bool,
) -> Neighbours:
    """What stands beside the item and repeat at a place: looked for in order, then among all of a rare kind."""
    deadline_s = time.monotonic() + wanted.within_s
    patience_s = wanted.within_s if wanted.kind.is_any else min(PATIENCE_S, wanted.within_s)
    sides = [
        _nearest(connection, info, place, wanted, step, time.monotonic() + patience_s / 2, reveal=reveal)
        for step in (-1, 1)
    ]
    if not wanted.kind.is_any and "cut" in sides:
        rare = rarities.places(connection, run, [info], wanted.kind, deadline_s=deadline_s)
        for side, step in enumerate((-1, 1)):
            if rare is not None and sides[side] == "cut":
                ordered = [one for one in rare[::step] if (one[1:3] > place if step > 0 else one[1:3] < place)]
                sides[side] = _first_that_fits(connection, info, wanted, ordered, deadline_s, reveal=reveal)
    before, after = (None if side == "cut" else side for side in sides)
    return Neighbours(before=before, after=after)


def _first_that_fits(
    connection: Connection,
    info: CellInfo,
    wanted: AnswersWanted,
    places: Sequence[Place],
    deadline_s: float,
    *,
    reveal: bool,
) -> int | None:
    for start in range(0, len(places), LOOKED_AT_ONCE):
        some = [one.call for one in places[start : start + LOOKED_AT_ONCE]]
        chosen = answers_like(connection, info, wanted, by_number=True).where(schema.calls.c.id.in_(some))
        rows = {row.id: row for row in connection.execute(chosen)}
        for number in some:
            if number in rows and fits(rows[number], info, wanted, reveal=reveal):
                return number
        if time.monotonic() > deadline_s:
            break
    return None


def _nearest(
    connection: Connection,
    info: CellInfo,
    place: tuple[int, int],
    wanted: AnswersWanted,
    step: int,
    deadline_s: float,
    *,
    reveal: bool,
) -> int | Literal["cut"] | None:
    """The nearest one that fits in a direction, sought in stretches that grow; "cut" where time was up before.

    The first stretch is looked at in any case.
    """
    calls = schema.calls
    here = tuple_(calls.c.position, calls.c.repeat)
    last = connection.execute(select(func.max(calls.c.position)).where(calls.c.cell == info.id)).scalar() or 0
    position, positions = place[0], FIRST_POSITIONS
    like = answers_like(connection, info, wanted)
    like = like.where(here > tuple_(*place) if step > 0 else here < tuple_(*place))
    while 0 <= position <= last:
        began_s = time.monotonic()
        first, end = (position, position + positions) if step > 0 else (position - positions + 1, position + 1)
        some: Any = like.where(calls.c.position >= first, calls.c.position < end)
        order = (calls.c.position, calls.c.repeat)
        for row in connection.execute(some.order_by(*(one if step > 0 else one.desc() for one in order))).yield_per(1):
            if fits(row, info, wanted, reveal=reveal):
                return int(row.id)
            if time.monotonic() > deadline_s:
                return "cut"
        now_s = time.monotonic()
        position = end if step > 0 else first - 1
        if now_s > deadline_s and 0 <= position <= last:
            return "cut"
        pace = positions / max(now_s - began_s, 1e-4)
        positions = max(1, min(positions * GROWTH, int(pace * (deadline_s - now_s))))
    return None
