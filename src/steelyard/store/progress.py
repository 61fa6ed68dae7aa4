"""How far a run has come: counted from the answers that are durable, so any process can tell it of any run.

Pace and trouble are those of the newest answers; counts and money are of the whole run.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, func, select

from steelyard.store import schema
from steelyard.store.account import spent_of_run
from steelyard.store.cells import cells_of
from steelyard.types import CellInfo

NEWEST = 2_000
MANY = 50_000
WINDOW_S = 60.0
TROUBLES = 5


class CellProgress(Struct, frozen=True, kw_only=True):
    """How many of a cell's requests have come back, failed ones included; ``planned`` counts repeats.

    ``rate`` is its answers a second over the last minute of them. Of its calls among the newest ones, ``failed``
    failed and ``retried`` were sent more than once.
    """

    cell: CellInfo
    done: int
    planned: int
    rate: float | None = None
    failed: int = 0
    retried: int = 0

    @property
    def remaining_s(self) -> float | None:
        """Seconds until it is done at this pace."""
        if self.done >= self.planned or self.cell.is_floor:
            return 0.0
        return (self.planned - self.done) / self.rate if self.rate else None


class Trouble(Struct, frozen=True, kw_only=True):
    """A call that failed lately."""

    call: int
    kind: str
    ended_s: float


class Progress(Struct, frozen=True, kw_only=True):
    """A run on its way. ``rate`` is models' answers a second over the last minute of what came in, ``None`` where
    nothing did; floors answer at once and tell no pace. ``rates`` has the same for each model whose pace is known.

    ``failed`` of the ``looked_at`` newest calls failed. ``ended_s`` is when the last call ended, since the epoch.
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

    @property
    def done(self) -> int:
        """Requests that have come back."""
        return sum(one.done for one in self.cells)

    @property
    def planned(self) -> int:
        """Requests that the run means to send."""
        return sum(one.planned for one in self.cells)

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the last model is done, each at its own pace; an upper bound where the run may end early."""
        left: dict[str, int] = {}
        for one in self.cells:
            if not one.cell.is_floor and one.done < one.planned:
                left[one.cell.model] = left.get(one.cell.model, 0) + one.planned - one.done
        if not self.rate or any(model not in self.rates for model in left):
            return None
        return max((n / self.rates[model] for model, n in left.items()), default=0.0)


def progress(connection: Connection, run: int) -> Progress:
    """Count what is there."""
    infos = cells_of(connection, run)
    newest = _newest(connection, [info.id or 0 for info in infos])
    asked = {info.id for info in infos if not info.is_floor}
    failed: dict[str, int] = {}
    for row in newest:
        if row.failure is not None:
            failed[row.failure] = failed.get(row.failure, 0) + 1
    troubles = [row for row in newest if row.failure is not None][:TROUBLES]
    return Progress(
        cells=tuple(_cell(connection, info, [row for row in newest if row.cell == info.id]) for info in infos),
        spent_usd=spent_of_run(connection, run),
        looked_at=len(newest),
        retried=sum(row.tries > 1 for row in newest),
        failed=failed,
        troubles=tuple(Trouble(call=row.id, kind=row.failure, ended_s=row.ended_s) for row in troubles),
        rate=_rate([row.ended_s for row in newest if not row.cached and row.cell in asked]),
        rates=_rates(infos, newest),
        ended_s=max((row.ended_s for row in newest), default=None),
    )


def _rates(infos: list[CellInfo], newest: list[Any]) -> dict[str, float]:
    """Each model's pace over all its benchmarks, which take their turns."""
    model = {info.id: info.model for info in infos if not info.is_floor}
    ended: dict[str, list[float]] = {}
    for row in newest:
        if not row.cached and row.cell in model:
            ended.setdefault(model[row.cell], []).append(row.ended_s)
    found = {name: _rate(times) for name, times in ended.items()}
    return {name: rate for name, rate in found.items() if rate}


def _cell(connection: Connection, info: CellInfo, newest: list[Any]) -> CellProgress:
    planned = info.items * info.repeats
    return CellProgress(
        cell=info,
        done=min(_done(connection, info.id or 0), planned),
        planned=planned,
        rate=None if info.is_floor else _rate([row.ended_s for row in newest if not row.cached]),
        failed=sum(row.failure is not None for row in newest),
        retried=sum(row.tries > 1 for row in newest),
    )


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


def _rate(ended_s: list[float]) -> float | None:
    """Calls a second within the last minute of them: what the newest ones span, if that is shorter."""
    if len(ended_s) < 2:
        return None
    last = max(ended_s)
    within = [at for at in ended_s if at > last - WINDOW_S]
    spans_s = last - min(within)
    return (len(within) - 1) / spans_s if spans_s > 0 else None
