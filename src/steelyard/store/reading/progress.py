"""How far a run has come: counted from the answers that are durable, so any process can tell it of any run.

Pace and trouble are those of the newest answers; counts and money are of the whole run. Why a model waits is in no
answer: that its process tells, as its last sign.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, func, select

from steelyard.store.database import schema
from steelyard.store.rows.account import CellSpent, doubt_of_run, spent_by_cell
from steelyard.store.rows.cells import cells_of
from steelyard.store.rows.signs import last_sign
from steelyard.types import CellInfo, CellSign, Sign

NEWEST = 2_000
MANY = 50_000
WINDOW_S = 60.0
TROUBLES = 5
FEWEST = 10
LOOKED_AT = 2_000


class CellProgress(Struct, frozen=True, kw_only=True):
    """How many of a cell's requests have come back, failed ones included; ``planned`` counts repeats.

    ``rate`` is its answers a second over the last minute of them. Of its calls among the newest ones, ``failures`` says
    how many failed of what, and ``retried`` were sent more than once. ``spent_usd`` is what is known of it,
    ``each_usd`` what another answer costs, which nobody knows while all were reused. ``sign`` is what its process told
    of it last, where one works on it.
    """

    cell: CellInfo
    done: int
    planned: int
    rate: float | None = None
    failures: dict[str, int] = {}
    retried: int = 0
    spent_usd: float | None = None
    each_usd: float | None = None
    sign: CellSign | None = None

    @property
    def failed(self) -> int:
        """Calls that failed: of this session as far as its process tells, else of the newest ones."""
        newest = sum(self.failures.values())
        return newest if self.sign is None else max(newest, self.sign.failed)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is awaited: all is done, its model was given up, or it is a floor, done at once."""
        is_stopped = self.sign is not None and self.sign.stopped is not None
        return is_stopped or self.done >= self.planned or self.cell.is_floor

    @property
    def is_held_up(self) -> bool:
        """Whether nothing goes until others have done something: no pace tells how long that takes."""
        return self.sign is not None and any(wait.why in ("look", "service", "disk") for wait in self.sign.waits)

    @property
    def remaining_s(self) -> float | None:
        """Seconds until it is done at this pace."""
        if self.is_over:
            return 0.0
        if self.is_held_up:
            return None
        return (self.planned - self.done) / self.rate if self.rate else None


class Trouble(Struct, frozen=True, kw_only=True):
    """A call that failed lately."""

    call: int
    kind: str
    ended_s: float


class Progress(Struct, frozen=True, kw_only=True):
    """A run on its way. ``rate`` is models' answers a second over the last minute of what came in, ``None`` where
    nothing did; floors answer at once and tell no pace. ``rates`` has the same for each model whose pace is known.

    ``failed`` of the ``looked_at`` newest calls failed. ``ended_s`` is when the last call ended, since the epoch. What
    was spent includes ``doubtful_usd``, which may have been billed for tries that failed. ``sign`` is what the process
    that works on it told last, if one does.
    """

    cells: tuple[CellProgress, ...]
    spent_usd: float
    looked_at: int
    retried: int
    failed: dict[str, int]
    troubles: tuple[Trouble, ...]
    rate: float | None
    rates: dict[str, float]
    ended_s: float | None
    doubtful_usd: float = 0.0
    sign: Sign | None = None

    @property
    def done(self) -> int:
        """Requests that have come back."""
        return sum(one.done for one in self.cells)

    @property
    def is_unanswered(self) -> bool:
        """Whether no model gave an answer, so that nothing was spent on any."""
        return sum(one.done for one in self.cells if not one.cell.is_floor) == sum(self.failed.values())

    @property
    def planned(self) -> int:
        """Requests that the run means to send."""
        return sum(one.planned for one in self.cells)

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the last model is done, each at its own pace; an upper bound where the run may end early."""
        left: dict[str, int] = {}
        for one in self.cells:
            if not one.is_over:
                left[one.cell.model] = left.get(one.cell.model, 0) + one.planned - one.done
        is_held_up = any(one.is_held_up for one in self.cells if not one.is_over)
        if not self.rate or is_held_up or any(model not in self.rates for model in left):
            return None
        return max((n / self.rates[model] for model, n in left.items()), default=0.0)

    @property
    def forecast_usd(self) -> float | None:
        """What the whole run comes to if what is left is asked, at the price of what was paid for, cell by cell;
        ``None`` where that of a cell is unknown. Less where answers will be reused or fail.
        """
        if not self.spent_usd:
            return None
        left = [(one.planned - one.done, one.each_usd) for one in self.cells if not one.is_over]
        known = [n * each_usd for n, each_usd in left if each_usd is not None]
        return self.spent_usd + sum(known) if len(known) == len(left) else None


def progress(connection: Connection, run: int) -> Progress:
    """Count what is there."""
    infos = cells_of(connection, run)
    newest = _newest(connection, [info.id or 0 for info in infos])
    asked = {info.id for info in infos if not info.is_floor}
    failed = sorted((row for row in newest if row.failure is not None), key=lambda row: -row.ended_s)
    spent, sign = spent_by_cell(connection, run), last_sign(connection, run)
    now_s = sign.told_s if sign else None  # on the clock by which the answers came in
    signs = {one.cell: one for one in sign.cells} if sign else {}
    doubtful_usd = doubt_of_run(connection, run).usd
    return Progress(
        cells=tuple(
            replace(
                _cell(connection, info, [row for row in newest if row.cell == info.id], now_s),
                spent_usd=spent[info.id or 0].usd if info.id in spent else None,
                each_usd=_each_usd(connection, info.id or 0, spent.get(info.id or 0, CellSpent())),
                sign=signs.get(info.id or 0),
            )
            for info in infos
        ),
        spent_usd=sum(one.usd for one in spent.values()) + doubtful_usd,
        doubtful_usd=doubtful_usd,
        sign=sign,
        looked_at=len(newest),
        retried=sum(row.tries > 1 for row in newest),
        failed=dict(Counter(row.failure for row in failed)),
        troubles=tuple(Trouble(call=row.id, kind=row.failure, ended_s=row.ended_s) for row in failed[:TROUBLES]),
        rate=_rate([row.ended_s for row in newest if not row.cached and row.cell in asked], now_s),
        rates=_rates(infos, newest, now_s),
        ended_s=max((row.ended_s for row in newest), default=None),
    )


def _rates(infos: list[CellInfo], newest: list[Any], now_s: float | None) -> dict[str, float]:
    """Each model's pace over all its benchmarks, which take their turns."""
    model = {info.id: info.model for info in infos if not info.is_floor}
    ended: dict[str, list[float]] = {}
    for row in newest:
        if not row.cached and row.cell in model:
            ended.setdefault(model[row.cell], []).append(row.ended_s)
    found = {name: _rate(times, now_s) for name, times in ended.items()}
    return {name: rate for name, rate in found.items() if rate}


def _cell(connection: Connection, info: CellInfo, newest: list[Any], now_s: float | None) -> CellProgress:
    planned = info.items * info.repeats
    return CellProgress(
        cell=info,
        done=min(_done(connection, info.id or 0), planned),
        planned=planned,
        rate=None if info.is_floor else _rate([row.ended_s for row in newest if not row.cached], now_s),
        failures=dict(Counter(row.failure for row in newest if row.failure is not None)),
        retried=sum(row.tries > 1 for row in newest),
    )


def _each_usd(connection: Connection, cell: int, spent: CellSpent) -> float | None:
    """What another answer costs: nothing where some were asked for and none was paid for."""
    return spent.each_usd if spent.paid_answers or _was_asked(connection, cell) else None


def _was_asked(connection: Connection, cell: int) -> bool:
    """Whether any answer was given anew, of so many as are read in no time."""
    calls = schema.calls
    some = select(calls.c.cached, calls.c.failure).where(calls.c.cell == cell).limit(LOOKED_AT).subquery()
    anew = select(some.c.cached).where(~some.c.cached, some.c.failure.is_(None)).limit(1)
    return connection.execute(anew).scalar() is not None


def _done(connection: Connection, cell: int) -> int:
    """(Item, repeat) pairs with a call, read from the index alone; of very many the calls, since telling takes long."""
    calls = schema.calls
    n = int(connection.execute(select(func.count()).where(calls.c.cell == cell)).scalar_one())
    if n > MANY:
        return n
    pairs = select(calls.c.position, calls.c.repeat).where(calls.c.cell == cell).distinct().subquery()
    return int(connection.execute(select(func.count()).select_from(pairs)).scalar_one())


def _newest(connection: Connection, cells: list[int]) -> list[Any]:
    """The newest calls of the cells, the last one first."""
    calls = schema.calls
    last = connection.execute(select(func.max(calls.c.id))).scalar()
    if last is None or not cells:
        return []
    figures = [calls.c[name] for name in ("id", "cell", "failure", "ended_s", "cached", "tries")]
    chosen = (
        select(*figures)
        .where((calls.c.cell + 0).in_(cells), calls.c.id > last - 10 * NEWEST)  # + 0: by id, not all calls of the cells
        .order_by(calls.c.id.desc())
        .limit(NEWEST)
    )
    return list(connection.execute(chosen).all())


def _rate(ended_s: list[float], now_s: float | None) -> float | None:
    """Calls a second over the last minute, or over what the newest ones span where that is less, or where hardly any
    came within it. So it sinks while nothing comes; without ``now_s`` it stays what it was at the last one.
    """
    ended = sorted(ended_s)
    if len(ended) < 2:
        return None
    last_s = max(ended[-1], now_s or 0.0)
    within = [at for at in ended if at > last_s - WINDOW_S]
    counted = within if len(within) > 1 else ended[-FEWEST:]
    spans_s = last_s - counted[0]
    return (len(counted) - 1) / spans_s if spans_s > 0 else None
