"""A cascade's turns: each model begins when the cheaper ones have ended, unless one of them was good enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from steelyard.analysis.gate import is_much_lost
from steelyard.analysis.shared import shared_estimates
from steelyard.engine.schedule.cascade import meets, order_of, skipped
from steelyard.engine.schedule.looks import Looks, whole
from steelyard.engine.work import OpenCell
from steelyard.engine.writer import patiently
from steelyard.plan.plan import Plan
from steelyard.plan.stopping import Cascade
from steelyard.store import Store


def looks_of(store: Store, plan: Plan, cells: Sequence[OpenCell], run_id: str, tell: Callable[[str], None]) -> Looks:
    """Who looks at a run of this plan."""
    kind = Turns if isinstance(plan.stop, Cascade) else Looks
    return kind(store, plan, cells, run_id, tell)


class Turns(Looks):
    """Looks at a cascade: the model whose turn it is goes on to its next look, those after it wait."""

    def __init__(
        self, store: Store, plan: Plan, cells: Sequence[OpenCell], run_id: str, tell: Callable[[str], None]
    ) -> None:
        assert isinstance(plan.stop, Cascade)
        self._success = plan.stop.success
        own = [cell for cell in cells if cell.cell.floor is None]
        self._order = order_of([cell.cell for cell in own])
        self._of_model = {model: [cell for cell in own if cell.cell.spec.id == model] for model in self._order}
        self._judged: set[str] = set()
        super().__init__(store, plan, cells, run_id, tell)
        for cell in own:
            if any(look.verdict == "skipped" for look in self._earlier.get(cell.row, ())):
                self._close(cell, 0)

    def _is_open(self) -> bool:
        return any(not cell.horizon.is_closed for cell in self._cells.values() if not cell.horizon.is_abandoned)

    def _has_ended(self, model: str) -> bool:
        """Whether everything is done that will be asked of the model."""
        return all(
            cell.horizon.is_abandoned or (cell.horizon.is_closed and self._done.get(cell.row, 0) >= cell.horizon.end)
            for cell in self._of_model[model]
        )

    async def _between(self) -> None:
        """Where a model has ended and meets the criteria, skip all dearer ones."""
        for place, model in enumerate(self._order):
            if not self._has_ended(model):
                return
            if model in self._judged or not self._success:
                continue
            self._judged.add(model)
            if await patiently(partial(self._is_good_enough, model), self._tell):
                await self._skip(self._order[place + 1 :], model)
                return

    def _is_good_enough(self, model: str) -> bool:
        """Whether all its cells were asked to the end and meet the criteria, so clearly that a gate will say so too."""
        for cell in self._of_model[model]:
            columns = self._store.columns(cell.row)
            if self._fell_out(cell) or is_much_lost(columns):
                return False
            looks = [one.taken for one in self.questions if one.taken and any(each is cell for each in one.cells)]
            found = shared_estimates(columns, cell.cell.info, looks, len(self._order))
            if not meets(self._success, {estimate.metric: estimate for estimate in found}):
                return False
        return True

    async def _skip(self, models: Sequence[str], because: str) -> None:
        waiting = [cell for model in models for cell in self._of_model[model] if not cell.horizon.is_closed]
        for cell in waiting:
            await self._keep(cell.row, skipped(cell.cell, because, population=whole(cell.cell.task)))
            self._close(cell, 0)
        if waiting:
            names = ", ".join(dict.fromkeys(cell.cell.spec.id for cell in waiting))
            self._tell(f"{because} meets {' and '.join(self._success)}: skipping {names}")

    def _aim(self) -> None:
        """Move the horizon of the model whose turn it is; one that fell behind a cheaper one ends."""
        turn = next((model for model in self._order if not self._has_ended(model)), None)
        for cell in self._of_model[turn] if turn is not None else ():
            if cell.horizon.is_closed or cell.horizon.is_abandoned:
                continue
            own = [question for question in self.questions if question.cells[0] is cell]
            for question in own:
                if self._fell_out(question.cells[1]):
                    question.is_dropped = True
            behind = [look.n for question in own for look in question.taken if look.verdict == "behind"]
            wanted = [question.wanted for question in own if question.wanted is not None]
            if behind:
                self._close(cell, min(behind))
            elif wanted:
                cell.horizon.move(max(wanted))
            else:
                self._close(cell, len(cell.cell.task.positions))

    @staticmethod
    def _fell_out(cell: OpenCell) -> bool:
        """Whether a cell was not asked to the end, so that its model is not the best one."""
        return cell.horizon.is_abandoned or cell.horizon.end < len(cell.cell.task.positions)
