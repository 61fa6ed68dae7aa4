"""Which calls of a large cell took longest, cost most, said most: found by looking through, not by an index.

An index over a figure would take some 18 bytes an item of every store, for a list that few people ask for. So the calls
are looked through in the order in which they were kept, as many as there is time for; the foremost are remembered, and
the next one who asks goes on where the last one stopped. What comes in later is looked through then.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from heapq import nlargest

from msgspec import Struct
from sqlalchemy import Connection, func, select

from steelyard.store.database import schema
from steelyard.store.reading.witness import Witness, last_before

FOREMOST = 5_000
"""So many of a cell are remembered."""
IDS_AT_ONCE, IDS_BY_A_BAR = 10_000, 50_000
"""Once there are enough, only what is above the last of them is read: far more numbers are then looked through."""
MOST_KEPT = 12
MOST_FIRSTS = 10_000

Key = tuple[str, int, str]
"""A run's id, one of its cells, a figure. A number alone may be given again once a run was deleted."""


class Foremost(Struct, frozen=True, kw_only=True):
    """(figure, call) of the foremost, the largest first, among the calls ``looked_at`` of ``held``.

    Both count numbers of calls, of which other runs may hold some. ``is_all``: no more of the cell have the figure.
    """

    calls: list[tuple[float, int]]
    looked_at: int
    held: int
    is_all: bool

    @property
    def is_whole(self) -> bool:
        """Whether everything was looked through."""
        return self.looked_at >= self.held


class Firsts:
    """The first call of each cell, which stays the first; a run's id and one of its cells name it.

    Only of a run that was deleted and read in again it is another one.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], Witness] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, connection: Connection, run: str, cell: int) -> int | None:
        """Its number; ``None`` where the cell has no calls yet."""
        with self._lock:
            known = self._known.get((run, cell))
        if known is not None and known.still_stands(connection):
            return known.call
        first = _first_call(connection, cell)
        witness = None if first is None else last_before(connection, first + 1)
        if witness is not None:
            with self._lock:
                self._known[run, cell] = witness
                while len(self._known) > MOST_FIRSTS:
                    self._known.popitem(last=False)
        return first


def _first_call(connection: Connection, cell: int) -> int | None:
    calls = schema.calls
    oldest = int(connection.execute(select(func.min(calls.c.id))).scalar() or 0)
    near = select(calls.c.id).where(calls.c.cell + 0 == cell, calls.c.id < oldest + IDS_AT_ONCE)
    first: int | None = connection.execute(near.order_by(calls.c.id).limit(1)).scalar()
    if first is None:  # the index of items is in no order of time, so all of the cell in it is read
        first = connection.execute(select(func.min(calls.c.id)).where(calls.c.cell == cell)).scalar()
    return first


class _Look:
    """How far one cell was looked through for one figure."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.first = self.next = -1
        self.witness: Witness | None = None
        self.found: list[tuple[float, int]] = []
        self.is_all = True


class Ranks:
    """The foremost calls of the cells that were asked for lately."""

    def __init__(self, firsts: Firsts) -> None:
        self._firsts = firsts
        self._lock = threading.Lock()
        self._looks: OrderedDict[Key, _Look] = OrderedDict()

    def foremost(self, connection: Connection, key: Key, *, deadline_s: float) -> Foremost:
        """Look further until the monotonic clock shows ``deadline_s``, at least once."""
        look = self._look(key)
        newest = int(connection.execute(select(func.max(schema.calls.c.id))).scalar() or 0)
        with look.lock:
            if look.witness is None or not look.witness.still_stands(connection):
                look.first = look.next = self._firsts.of(connection, *key[:2]) or 0
                look.found, look.is_all = [], True
            while look.next <= newest:
                self._go_on(connection, look, key, newest)
                if time.monotonic() > deadline_s:
                    break
            look.witness = last_before(connection, look.next)
            return Foremost(
                calls=list(look.found),
                looked_at=look.next - look.first,
                held=newest + 1 - look.first,
                is_all=look.is_all,
            )

    def _look(self, key: Key) -> _Look:
        with self._lock:
            look = self._looks.setdefault(key, _Look())
            self._looks.move_to_end(key)
            while len(self._looks) > MOST_KEPT:
                self._looks.popitem(last=False)
            return look

    @staticmethod
    def _go_on(connection: Connection, look: _Look, key: Key, newest: int) -> None:
        _, cell, name = key
        bar = None if look.is_all else look.found[-1][0]
        calls, end = schema.calls, min(look.next + (IDS_AT_ONCE if bar is None else IDS_BY_A_BAR), newest + 1)
        figure = calls.c[name]
        chosen = (
            select(figure, calls.c.id)
            .where(
                calls.c.id >= look.next,
                calls.c.id < end,
                calls.c.cell + 0 == cell,  # + 0: by number, not by the index of items, which leads all over the table
                figure.is_not(None) if bar is None else figure >= bar,
            )
            .order_by(figure.desc(), calls.c.id.desc())
            .limit(FOREMOST + 1)
        )
        found = [(float(value), number) for value, number in connection.execute(chosen).all()]
        look.found = nlargest(FOREMOST + 1, [*look.found, *found])
        if len(look.found) > FOREMOST:
            look.found, look.is_all = look.found[:FOREMOST], False
        look.next = end
