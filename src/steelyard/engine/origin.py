"""Where the figures of a session come from, and what of it the user should hear before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from steelyard import prices
from steelyard.analysis.wording import amount
from steelyard.engine.cells import Cell
from steelyard.engine.lanes import concurrency_of
from steelyard.engine.money.budget import is_free
from steelyard.engine.money.cut_off import CutOff
from steelyard.engine.money.purse import who_is_paid
from steelyard.engine.provenance import provenance
from steelyard.engine.weight.calibration import instrument
from steelyard.engine.weight.loops import loop_name
from steelyard.plan.names import OF_THE_USER
from steelyard.plan.plan import Plan
from steelyard.store import Store
from steelyard.store.database.places import network_file_system, warning


def session_origin(cells: Sequence[Cell], plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Where the figures of this session come from: code, machine, prices, workers, and the clock that reads them."""
    origin = provenance(loop_name()) | {"prices": _quotes(cells, tell), "workers": plan.workers}
    return origin | {"instrument": instrument(_streams(cells, plan), origin)}


def _quotes(cells: Sequence[Cell], tell: Callable[[str], None]) -> dict[str, Any]:
    """The rates of everyone who is paid, as they are kept with the session; ``None`` where they are unknown."""
    found: dict[str, Any] = {}
    for spec in who_is_paid(cells):
        if is_free(spec) or spec.id in found:
            continue
        quote = prices.quote(spec, datetime.now(UTC))
        found[spec.id] = msgspec.to_builtins(quote)
        if quote is not None and not quote.is_tier_listed:
            tell(f"{spec.id}: the price of service tier {quote.tier!r} is not listed; costs are the standard tier's")
    return found


def _streams(cells: Sequence[Cell], plan: Plan) -> int:
    """How many answers may stream in at once, over all models; what is made in this process does not come in."""
    by_model: dict[str, int] = {}
    for cell in cells:
        is_streamed = cell.provider is not None and cell.provider.streams and not cell.spec.batch
        if (
            is_streamed
            and any(asked.provider not in OF_THE_USER for asked in cell.spec.asked)
            and cell.info.kind != "likelihood"
        ):
            asked = by_model.get(cell.spec.id, 0) + len(cell.task.positions) * cell.info.repeats
            by_model[cell.spec.id] = min(asked, concurrency_of(cell, plan))
    return sum(by_model.values())


def doubts(cells: Sequence[Cell], store: Store, lost: CutOff | None) -> Iterator[str]:
    """What the user should hear before anything is sent; ``lost`` is what a kill can have cost."""
    if store.file is not None and (kind := network_file_system(store.file)) is not None:
        yield warning(store.file, kind)
    if lost is not None:
        most = "at a price that is unknown" if lost.usd is None else f"for {amount(lost.usd)} USD at most"
        yield f"the run was killed: up to {lost.calls} calls without a record may be paid for twice, {most}"
    yield from dict.fromkeys(note for cell in cells for note in cell.task.benchmark.notes)
