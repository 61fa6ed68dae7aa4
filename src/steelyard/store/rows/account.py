"""The budget over a whole store: what all its runs together may spend.

A run draws a share in one transaction before it spends it, a little at a time, and settles it when it ends. A share
that is out counts in full, so runs side by side cannot overspend together. A run that was killed cannot settle: its
share counts as spent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, case, delete, distinct, func, select, update

from steelyard.store.database import schema
from steelyard.store.database.dialect import put
from steelyard.store.rows.answers import Open
from steelyard.store.rows.signs import readable
from steelyard.types.ready import ready

KEY = "budget"
DOUBTFUL, DOUBTFUL_TRIES = "doubtful_usd", "doubtful_tries"
"""Among a session's figures: what may have been billed for tries that failed, and how many those were."""
CUT_OFF_TRIES = "cut_off_tries"
"""Among those of a session that was broken off: how many requests it sent that have no record."""
CUT_OFF_CALLS, CUT_OFF_USD = "cut_off_calls", "cut_off_usd"
"""Among those of a session that was killed: the calls that may have been billed without a record, and for how much."""
SHARE_AT_ONCE = 0.01
IsAlive = Callable[[int, str], bool]


class Terms(Struct, frozen=True, kw_only=True):
    """What was set: the limit, when, and what the store's runs had spent by then, with what they had in doubt.

    ``going_on`` are the runs that had not ended by then, each with what it had spent: they have no share.
    """

    limit_usd: float
    set_at: str
    before_usd: float
    going_on: dict[int, float] = {}


class CellSpent(Struct, frozen=True, kw_only=True):
    """What the answers of a cell and the judgements of them are known to have cost, and how many answers cost anything
    themselves or to judge.
    """

    answers_usd: float = 0.0
    paid_answers: int = 0
    judgements_usd: float = 0.0
    paid_judgements: int = 0

    @property
    def usd(self) -> float:
        """Both together."""
        return self.answers_usd + self.judgements_usd

    @property
    def each_usd(self) -> float:
        """What another answer with its judgement costs, by those that were paid for: what was reused tells no price."""
        judged = max(self.paid_judgements, self.paid_answers)
        return self.answers_usd / max(1, self.paid_answers) + self.judgements_usd / max(1, judged)


class Doubt(Struct, frozen=True, kw_only=True):
    """What may have been billed to a run, for tries that failed and for calls that kills cut off.

    ``cut_off_usd`` is what is known of it; where ``is_unknown`` the price of some of those calls is not.
    """

    failed_usd: float
    failed_tries: int
    cut_off_usd: float
    cut_off_calls: int
    is_unknown: bool

    @property
    def usd(self) -> float:
        """Both together, so far as prices are known."""
        return self.failed_usd + self.cut_off_usd


class Account(Struct, frozen=True, kw_only=True):
    """The state of the store's budget. ``held_usd`` is drawn by runs that go on, and partly spent."""

    limit_usd: float
    set_at: str
    spent_usd: float
    held_usd: float

    @property
    def remaining_usd(self) -> float:
        """What a run that begins now may still draw."""
        return max(0.0, self.limit_usd - self.spent_usd - self.held_usd)


class Budget:
    """The budget over a store, as its runs and its user meet it."""

    def __init__(
        self,
        open_to_read: Open,
        open_to_write: Open,
        number_of: Callable[[Connection, str], int],
        is_alive: IsAlive,
    ) -> None:
        self._reading, self._writing = open_to_read, open_to_write
        self._number_of, self._is_alive = number_of, is_alive

    def set(self, limit_usd: float, *, from_now: bool = False) -> None:
        """Limit what all runs of the store may spend together; ``from_now``: what they have spent does not count."""
        with self._writing() as connection:
            set_budget(connection, limit_usd, from_now=from_now)

    def clear(self) -> None:
        """Take the limit away."""
        with self._writing() as connection:
            clear_budget(connection)

    def account(self) -> Account | None:
        """What is left of it; ``None`` where there is none."""
        with self._reading() as connection:
            state = account(connection)
        if state is None or not state.held_usd:
            return state
        with self._writing() as connection:
            settle_the_dead(connection, self._is_alive)
            return account(connection)

    def open_share(self) -> int | None:
        """A share for this process, empty as yet; ``None`` where there is no budget."""
        if self.account() is None:
            return None
        with self._writing() as connection:
            return open_share(connection)

    def draw(self, share: int, wanted_usd: float) -> float:
        """Add to a share; return by how much, which is 0 where nothing is left."""
        with self._writing() as connection:
            return draw(connection, share, wanted_usd)

    def settle(self, share: int, spent_usd: float) -> None:
        """Give back what was not spent of a share."""
        with self._writing() as connection:
            settle_share(connection, share, spent_usd)

    def count_since_set(self, run_id: str) -> None:
        """Count what a run without a share has spent since the budget was set, where one stands by now."""
        if self.account() is None:
            return
        with self._writing() as connection:
            count_since_set(connection, self._number_of(connection, run_id))

    def counted_shares(self) -> frozenset[int]:
        """The shares that have been settled and count in the budget that stands now."""
        with self._reading() as connection:
            return counted_shares(connection)

    def spent_of_run(self, run_id: str) -> float:
        """What a run has spent in USD, known costs and costs in doubt, its judges included."""
        with self._reading() as connection:
            return spent_of_run(connection, self._number_of(connection, run_id))

    def doubt_of_run(self, run_id: str) -> Doubt:
        """What of that may have been billed, and may not."""
        with self._reading() as connection:
            return doubt_of_run(connection, self._number_of(connection, run_id))


def set_budget(connection: Connection, limit_usd: float, *, from_now: bool) -> None:
    """Set or change the limit. What the runs of the store have spent so far counts, unless ``from_now``."""
    before = _terms(connection)
    if from_now or before is None:
        connection.execute(delete(schema.shares).where(schema.shares.c.spent_usd.is_not(None)))
        before_usd = 0.0 if from_now else _spent_in_rows(connection) + _doubt(connection).usd
        before = Terms(limit_usd=limit_usd, set_at="", before_usd=before_usd, going_on=_going_on(connection))
    terms = replace(before, limit_usd=limit_usd, set_at=schema.now())
    put(connection, schema.meta, {"key": KEY}, {"value": msgspec.json.encode(terms).decode()})


def clear_budget(connection: Connection) -> None:
    """Let the store's runs spend without a common limit. Shares that are out stay: another budget may be set soon."""
    connection.execute(delete(schema.meta).where(schema.meta.c.key == KEY))


def account(connection: Connection) -> Account | None:
    """The store's budget and what is left of it; ``None`` where there is none."""
    terms = _terms(connection)
    if terms is None:
        return None
    shares = schema.shares
    spent_usd = connection.execute(select(func.coalesce(func.sum(shares.c.spent_usd), 0.0))).scalar_one()
    out = select(func.coalesce(func.sum(shares.c.granted_usd), 0.0)).where(shares.c.spent_usd.is_(None))
    return Account(
        limit_usd=terms.limit_usd,
        set_at=terms.set_at,
        spent_usd=terms.before_usd + float(spent_usd),
        held_usd=float(connection.execute(out).scalar_one()),
    )


def open_share(connection: Connection) -> int | None:
    """A share for a run of this process, empty as yet; ``None`` where no budget stands over the store."""
    if _terms(connection) is None:
        return None
    values = {"opened_at": schema.now(), "pid": os.getpid(), "host": socket.gethostname(), "granted_usd": 0.0}
    inserted = connection.execute(schema.shares.insert().values(**values)).inserted_primary_key
    assert inserted is not None
    return int(inserted[0])


def draw(connection: Connection, share: int, wanted_usd: float) -> float:
    """Add to a share what is wanted, or one hundredth of the limit if that is more, so far as it is there."""
    state = account(connection)
    if state is None:  # the budget was cleared while the run went on: nothing limits it any more
        return float("inf")
    given_usd = min(state.remaining_usd, max(wanted_usd, SHARE_AT_ONCE * state.limit_usd))
    table = schema.shares
    added = table.c.granted_usd + given_usd
    connection.execute(update(table).where(table.c.id == share).values(granted_usd=added))
    return given_usd


def settle_share(connection: Connection, share: int, spent_usd: float) -> None:
    """The run has ended, and this is what it spent, or may have."""
    table = schema.shares
    connection.execute(update(table).where(table.c.id == share).values(spent_usd=spent_usd))


def count_since_set(connection: Connection, run: int) -> None:
    """Count what a run that was going on when the budget was set has spent since."""
    terms = _terms(connection)
    if terms is None or run not in terms.going_on:
        return
    share = open_share(connection)
    assert share is not None
    settle_share(connection, share, max(0.0, spent_of_run(connection, run) - terms.going_on[run]))


def counted_shares(connection: Connection) -> frozenset[int]:
    """The shares that have been settled and still count: a budget that is set from now on, or anew, forgets them."""
    if _terms(connection) is None:
        return frozenset()
    return frozenset(
        connection.execute(select(schema.shares.c.id).where(schema.shares.c.spent_usd.is_not(None))).scalars()
    )


def settle_the_dead(connection: Connection, is_alive: IsAlive) -> int:
    """Count the shares of runs that were killed on this machine as spent; return how many there were."""
    table = schema.shares
    out = select(table).where(table.c.spent_usd.is_(None), table.c.host == socket.gethostname())
    dead = [row for row in connection.execute(out) if not is_alive(row.pid, row.opened_at)]
    for row in dead:
        settle_share(connection, row.id, row.granted_usd)
    return len(dead)


def spent_of_run(connection: Connection, run: int) -> float:
    """What the answers and judgements of a run are known to have cost, and what its sessions left in doubt."""
    return sum(one.usd for one in spent_by_cell(connection, run).values()) + doubt_of_run(connection, run).usd


def spent_by_cell(connection: Connection, run: int) -> dict[int, CellSpent]:
    """What is known of each cell of a run, where anything is."""
    cells, calls, scores = schema.cells, schema.calls, schema.scores
    of_run = select(cells.c.id).where(cells.c.run == run)
    answers = select(calls.c.cell, func.sum(calls.c.cost_usd), func.count())
    answers = answers.where(calls.c.cell.in_(of_run), schema.HAS_COST)
    paid = func.count(distinct(case((scores.c.cost_usd > 0, scores.c.call))))
    judgements = (
        select(calls.c.cell, func.sum(scores.c.cost_usd), paid)
        .join(calls, calls.c.id == scores.c.call)
        .where(scores.c.calls.is_not(None), calls.c.cell.in_(of_run))
    )
    spent: dict[int, CellSpent] = {}
    for cell, usd, n in connection.execute(answers.group_by(calls.c.cell)):
        spent[cell] = CellSpent(answers_usd=float(usd), paid_answers=n)
    for cell, usd, n in connection.execute(judgements.group_by(calls.c.cell)):
        if usd is not None:
            spent[cell] = replace(spent.get(cell, CellSpent()), judgements_usd=float(usd), paid_judgements=n)
    return spent


def doubt_of_run(connection: Connection, run: int) -> Doubt:
    """What the sessions of a run left in doubt; of one that goes on or was killed, as far as it told.

    What a kill cut off is in doubt, too, once the run has been gone on with.
    """
    return _doubt(connection, schema.sessions.c.run == run)


def _doubt(connection: Connection, *of_sessions: ColumnElement[bool]) -> Doubt:
    sessions = schema.sessions
    kept = connection.execute(select(sessions.c.resources, sessions.c.sign).where(*of_sessions)).all()
    ended = [msgspec.json.decode(resources, type=dict[str, float]) for resources, _ in kept if resources]
    told = [sign for _, kept_sign in kept if (sign := readable(kept_sign))]  # one that has ended keeps none
    failed_usd = sum(one.get(DOUBTFUL, 0.0) for one in ended) + sum(sign.doubtful_usd for sign in told)
    failed_tries = int(sum(one.get(DOUBTFUL_TRIES, 0.0) for one in ended)) + sum(one.doubtful_tries for one in told)
    return Doubt(  # what a session resolved of one that was killed, and could not tell of it, is not less than nothing
        failed_usd=max(0.0, failed_usd),
        failed_tries=max(0, failed_tries),
        cut_off_usd=sum(one.get(CUT_OFF_USD, 0.0) for one in ended),
        cut_off_calls=int(sum(one.get(CUT_OFF_CALLS, 0.0) for one in ended)),
        is_unknown=any(CUT_OFF_CALLS in one and CUT_OFF_USD not in one for one in ended),
    )


def _terms(connection: Connection) -> Terms | None:
    value = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == KEY)).scalar()
    return None if value is None else msgspec.json.decode(value, type=ready(Terms))


def _going_on(connection: Connection) -> dict[int, float]:
    """The runs that have not ended, killed ones among them, and what each has spent so far."""
    sessions = schema.sessions
    runs = connection.execute(select(sessions.c.run).where(sessions.c.ended_at.is_(None)).distinct()).scalars()
    return {run: spent_of_run(connection, run) for run in runs}


def _spent_in_rows(connection: Connection) -> float:
    """What all answers and judgements in the store are known to have cost."""
    return sum(
        float(connection.execute(select(func.coalesce(func.sum(table.c.cost_usd), 0.0))).scalar_one())
        for table in (schema.calls, schema.scores)
    )
