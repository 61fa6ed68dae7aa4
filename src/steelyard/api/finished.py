"""A run as Python meets it: its numbers with their intervals, its spending, its answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.errors import UnknownName, UsageError
from steelyard.store import Store
from steelyard.types import CellInfo, Estimate, Record, RunInfo

if TYPE_CHECKING:
    from steelyard.report.spending import Spending


class Run:
    """A finished or interrupted run in its store: what was measured, and every answer behind it."""

    def __init__(self, info: RunInfo, location: str) -> None:
        self.info, self._location = info, location

    @property
    def number(self) -> int:
        """The run's number in its store."""
        return self.info.number

    @property
    def status(self) -> str:
        """``done``, ``interrupted``, ``budget`` (the money ended) or ``failed`` (a model was given up)."""
        return self.info.status

    @property
    def cells(self) -> tuple[CellInfo, ...]:
        """Every model on every benchmark."""
        with Store.open(self._location) as store:
            return tuple(store.cells(self.info.id))

    def estimate(self, metric: str = "accuracy", *, model: str | None = None, benchmark: str | None = None) -> Estimate:
        """One number with its interval. ``model`` and ``benchmark`` may be left out where there is only one.

        Of a run that was cut off, also by a kill, it is of the answers that are durable.
        """
        from steelyard.report.stands import estimates_of

        with Store.open(self._location) as store:
            cells = [
                cell
                for cell in store.cells(self.info.id)
                if model in (None, cell.model) and benchmark in (None, cell.benchmark, cell.label)
            ]
            if not store.cells(self.info.id):
                raise UsageError(f"run #{self.number} has no answers yet. Try: steelyard run --resume {self.number}")
            if len(cells) != 1:
                names = [f"{cell.model} on {cell.label}" for cell in cells]
                raise UsageError(f"name one cell by model= and benchmark=; {len(cells)} fit: {', '.join(names)}")
            estimates = {estimate.metric: estimate for estimate in estimates_of(store, self.info, cells[0])}
        if metric not in estimates:
            raise UnknownName("metric", metric, estimates)
        return estimates[metric]

    @property
    def spending(self) -> Spending:
        """What the run took and what is left: calls, money, money per answer, budgets, what was saved."""
        from steelyard.report.results import load_results
        from steelyard.report.spending import spending

        with Store.open(self._location) as store:
            return spending(store, self.info, load_results(store, self.info).cells)

    def records(self, *, model: str | None = None, where: str = "", reveal: bool = False) -> Iterator[Record]:
        """Every answer, streamed: what was asked, what came back, how it scored, what it cost.

        ``where`` narrows them, as in ``steelyard show --where``: "outcome != right", "score < 0.5 and latency_s > 2".
        Texts of a confidential benchmark are left out unless ``reveal``.
        """
        from steelyard.store.reading.conditions import parse_condition

        with Store.open(self._location) as store:
            yield from store.records(self.info.id, model=model, where=parse_condition(where), reveal=reveal)

    def table(self) -> str:
        """The results as plain text, as ``steelyard show`` prints them."""
        from steelyard.report.results import load_results
        from steelyard.report.terminal import results_text

        with Store.open(self._location) as store:
            return results_text(load_results(store, self.info))

    def __repr__(self) -> str:
        return f"<Run #{self.number} {self.info.name!r} {self.status}>"
