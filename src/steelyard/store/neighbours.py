"""The answers beside one, of the same model on the same benchmark and among those that are sought."""

from __future__ import annotations

import time
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, func, select, tuple_

from steelyard.store import schema
from steelyard.store.answer_pages import FIRST_POSITIONS, GROWTH, AnswersWanted, answers_like, fits
from steelyard.types import CellInfo


class Neighbours(Struct, frozen=True, kw_only=True):
    """The calls before and after one; ``None`` where there is none, or none was found in the time."""

    before: int | None
    after: int | None


def neighbours(
    connection: Connection, info: CellInfo, place: tuple[int, int], wanted: AnswersWanted, *, reveal: bool
) -> Neighbours:
    """What stands beside the item and repeat at a place; each side has half of the time."""
    each_s = wanted.within_s / 2
    found = [
        _neighbour(connection, info, place, wanted, step, time.monotonic() + each_s, reveal=reveal) for step in (-1, 1)
    ]
    return Neighbours(before=found[0], after=found[1])


def _neighbour(
    connection: Connection,
    info: CellInfo,
    place: tuple[int, int],
    wanted: AnswersWanted,
    step: int,
    deadline_s: float,
    *,
    reveal: bool,
) -> int | None:
    """The nearest one that fits in a direction, sought in stretches that grow; the first is looked at in any case."""
    calls = schema.calls
    here = tuple_(calls.c.position, calls.c.repeat)
    last = connection.execute(select(func.max(calls.c.position)).where(calls.c.cell == info.id)).scalar() or 0
    position, positions = place[0], FIRST_POSITIONS
    like = answers_like(connection, info, wanted)
    like = like.where(here > tuple_(*place) if step > 0 else here < tuple_(*place))
    while 0 <= position <= last:
        first, end = (position, position + positions) if step > 0 else (position - positions + 1, position + 1)
        some: Any = like.where(calls.c.position >= first, calls.c.position < end)
        order = (calls.c.position, calls.c.repeat)
        for row in connection.execute(some.order_by(*(one if step > 0 else one.desc() for one in order))).yield_per(1):
            if fits(row, info, wanted, reveal=reveal):
                return int(row.id)
            if time.monotonic() > deadline_s:
                return None
        if time.monotonic() > deadline_s:
            return None
        position, positions = (end if step > 0 else first - 1), positions * GROWTH
    return None
