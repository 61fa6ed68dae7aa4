"""Where a run's money comes from: its own budget, and a share of the one that stands over the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from steelyard import prices
from steelyard.engine.cells import Cell
from steelyard.engine.money.budget import Ledger, check_prices, is_priced
from steelyard.engine.writer import patiently
from steelyard.plan.names import OF_THE_USER
from steelyard.store import Store
from steelyard.store.rows.account import CUT_OFF_TRIES, DOUBTFUL, DOUBTFUL_TRIES
from steelyard.types import ModelSpec


class Purse:
    """A ledger, tied to the store's budget where there is one; ``limit_usd`` is that of a run of its own.

    Where the disk is too full for the store to say what it gives, who asks waits.
    """

    def __init__(
        self,
        store: Store,
        run_id: str | None = None,
        limit_usd: float | None = None,
        *,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._store, self._run_id, self._tell = store, run_id, tell
        self.share = store.budget.open_share()
        before_usd = 0.0 if limit_usd is None or run_id is None else store.budget.spent_of_run(run_id)
        draw = None if self.share is None else self._draw
        self.ledger = Ledger(limit_usd, before_usd=before_usd, draw=draw)

    async def _draw(self, wanted_usd: float) -> float:
        assert self.share is not None
        return await patiently(partial(self._store.budget.draw, self.share, wanted_usd), self._tell)

    def figures(self) -> dict[str, float]:
        """What is stored with the session: what it adds to the doubt, over how many tries, and how many it cut off."""
        ledger, found = self.ledger, dict[str, float]()
        if ledger.doubtful_tries or ledger.resolved_tries:
            found |= {DOUBTFUL: ledger.doubt_added_usd, DOUBTFUL_TRIES: float(ledger.doubt_added_tries)}
        if ledger.cut_off_tries:
            found[CUT_OFF_TRIES] = float(ledger.cut_off_tries)
        return found

    def close(self) -> None:
        """Give back what was not spent; batches that stand when the run is broken off may be billed, so they count.

        What an earlier session's share has counted is taken off, unless a budget set anew has forgotten it meanwhile.
        A run without a share counts what it has spent since a budget was set.
        """
        if self.share is None:
            if self._run_id is not None:
                self._store.budget.count_since_set(self._run_id)
            return
        ledger, still = self.ledger, self._store.budget.counted_shares()
        counted_usd = sum(usd for share, usd in ledger.counted_before.items() if share in still)
        self._store.budget.settle(self.share, ledger.used_usd + ledger.held_usd - counted_usd)


def who_is_paid(cells: Sequence[Cell]) -> list[ModelSpec]:
    """Every model that may cost something: those asked, those they are made of, and the judges."""
    asked = (asked for cell in cells for asked in cell.spec.asked)
    return [*asked, *(cell.judge.spec for cell in cells if cell.judge is not None)]


async def load_prices(specs: Iterable[ModelSpec]) -> None:
    """Have the table at hand where a price stands in it, before any clock is read."""
    if any(prices.price_source(spec) == prices.TABLE for spec in specs):
        await asyncio.to_thread(prices.load_table)


def check_store_budget(specs: Iterable[ModelSpec], tell: Callable[[str], None]) -> None:
    """Refuse what the store's budget cannot count; functions of the user's without a price are only named."""
    counted = []
    for spec in specs:
        if spec.provider in OF_THE_USER and not is_priced(spec):
            tell(f"{spec.id} has no price: what it spends is not counted in the store's budget")
        else:
            counted.append(spec)
    check_prices(counted)
