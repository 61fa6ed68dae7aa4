"""Answers of large cells of a kind that few are of, found by looking through the tables as they lie in the file.

In the order of items each answer costs a jump into the file and two more to judge it; as they lie, a million scores are
looked through in less than a tenth of a second, and a million calls in a fifth. How far they were looked through is
remembered. What a call says of itself never changes; judgements come later, and are soon looked through again, but
never before they were looked through to the end.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, select

from steelyard.store.database import schema
from steelyard.store.reading.conditions import Condition
from steelyard.store.reading.fitting import told_by_calls, told_by_scores
from steelyard.store.reading.ranks import Firsts
from steelyard.store.reading.states import is_by_headline, said_by_calls, said_by_scores
from steelyard.store.reading.witness import Witness, last_before
from steelyard.types import CellInfo

FEW = 5_000
"""Of more answers than this in a state, some stand on every page's way: it needs no list of them."""
IDS_AT_ONCE = 50_000
MOST_KEPT = 24
JUDGED_FOR_S = 20.0
"""So long a judgement that is passed on an old call may be missed."""
SCORED_FOR_S = 2.0
"""So long one that is passed on a new call may be."""


class Kind(NamedTuple):
    """Which answers: in a state, and such as fit a condition."""

    state: str = ""
    where: Condition | None = None

    @property
    def is_any(self) -> bool:
        """Whether all are of it."""
        return not self.state and self.where is None


Key = tuple[str, tuple[int, ...], Kind]
"""A run's id, as a number alone may be given again, some of its cells, a kind."""


class Place(NamedTuple):
    """Where an answer stands among those of its run, in the order of a list, and its number."""

    cell: int
    position: int
    repeat: int
    call: int


class _Look:
    """How far some cells were looked through for one kind, and when to the end of what there was then.

    ``score`` is the newest one when it began. Of too many of the kind it holds none.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begin(first=0, score=0)

    def begin(self, *, first: int, score: int) -> None:
        """Look through all from the first call on."""
        self.next, self.score = first, score
        self.witness: Witness | None = None
        self.through_s: float | None = None
        self.found: list[Place] = []
        self.are_too_many = False

    def still_holds(self, connection: Connection, *, score: int | None) -> bool:
        """Whether it can go on from where it is; ``score`` is the newest one where scores tell the kind."""
        if self.witness is None or not self.witness.still_stands(connection):
            return False
        if score is None or self.through_s is None:
            return True
        return time.monotonic() <= self.through_s + (JUDGED_FOR_S if score == self.score else SCORED_FOR_S)

    def add(self, places: Sequence[Place], end: int, newest: int) -> None:
        """What was found up to the number ``end``."""
        self.next = end
        self.found += places
        if len(self.found) > FEW:
            self.found, self.are_too_many = [], True
        if self.through_s is None and (end > newest or self.are_too_many):
            self.through_s = time.monotonic()


class Rarities:
    """The answers of rare kinds of the cells that were asked for lately."""

    def __init__(self, firsts: Firsts) -> None:
        self._firsts = firsts
        self._lock = threading.Lock()
        self._looks: OrderedDict[Key, _Look] = OrderedDict()

    def places(
        self, connection: Connection, run: str, cells: Sequence[CellInfo], kind: Kind, *, deadline_s: float
    ) -> list[Place] | None:
        """Every answer of the cells that may be of the kind, in order; whoever shows one makes sure that it is.

        They are looked through further until the monotonic clock shows ``deadline_s``, at least once. ``None`` where
        there was no time to look through all, where there are too many, or where no row tells the kind, as none does
        of an answer without a score.
        """
        numbers = tuple(sorted(info.id or 0 for info in cells))
        said, judged = _by_calls(cells, kind), _by_scores(connection, cells, kind)
        if said is None and judged is None:
            return None
        newest, score = (
            int(connection.execute(select(func.max(table.c.id))).scalar() or 0)
            for table in (schema.calls, schema.scores)
        )
        look = self._look((run, numbers, kind))
        with look.lock:
            if not look.still_holds(connection, score=None if judged is None else score):
                firsts = [self._firsts.of(connection, run, number) for number in numbers]
                look.begin(first=min([one for one in firsts if one is not None], default=newest + 1), score=score)
            while look.next <= newest and not look.are_too_many:
                end = min(look.next + IDS_AT_ONCE, newest + 1)
                look.add(_between(connection, numbers, look.next, end, said, judged), end, newest)
                if time.monotonic() > deadline_s:
                    break
            look.witness = last_before(connection, look.next)
            return None if look.are_too_many or look.next <= newest else sorted(look.found)

    def _look(self, key: Key) -> _Look:
        with self._lock:
            look = self._looks.setdefault(key, _Look())
            self._looks.move_to_end(key)
            while len(self._looks) > MOST_KEPT:
                self._looks.popitem(last=False)
            return look


def _by_calls(cells: Sequence[CellInfo], kind: Kind) -> ColumnElement[bool] | None:
    """What calls tell of the kind by themselves."""
    of_where = None if kind.where is None else told_by_calls(cells, kind.where)
    return _both(said_by_calls(kind.state), of_where)


def _by_scores(connection: Connection, cells: Sequence[CellInfo], kind: Kind) -> ColumnElement[bool] | None:
    """What scores tell of the kind by themselves."""
    of_where = None if kind.where is None else told_by_scores(kind.where)
    told = _both(said_by_scores(kind.state), of_where)
    return None if told is None else and_(told, is_by_headline(connection, cells))


def _both(one: ColumnElement[bool] | None, other: ColumnElement[bool] | None) -> ColumnElement[bool] | None:
    known = [each for each in (one, other) if each is not None]
    return and_(*known) if known else None


def _between(
    connection: Connection,
    cells: Sequence[int],
    first: int,
    end: int,
    said: ColumnElement[bool] | None,
    judged: ColumnElement[bool] | None,
) -> list[Place]:
    calls, scores = schema.calls, schema.scores
    chosen: Any = select(calls.c.cell, calls.c.position, calls.c.repeat, calls.c.id).limit(FEW + 1)
    # + 0: by number, not by the index of items, which leads all over the table
    chosen = chosen.where((calls.c.cell + 0).in_(cells))
    if said is not None:
        chosen = chosen.where(said)
    if judged is None:
        chosen = chosen.where(calls.c.id >= first, calls.c.id < end)
    else:
        of_these = scores.c.id.between(first * schema.JUDGEMENTS, end * schema.JUDGEMENTS - 1)
        chosen = chosen.select_from(scores).join(calls, calls.c.id == scores.c.call).where(of_these, judged).distinct()
    return [Place(*row) for row in connection.execute(chosen)]
