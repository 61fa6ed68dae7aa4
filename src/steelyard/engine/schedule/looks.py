"""Who looks at a run while it goes on: waits for complete prefixes, asks the rule, moves the horizons.

A look reads what is durable, and what it decided is durable before anything follows from it. A run that goes on after a
kill takes no look twice. A floor costs nothing and is asked to the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

import msgspec
import numpy as np
from msgspec import Struct

from steelyard.analysis.estimates import headline
from steelyard.analysis.stopped import look_line
from steelyard.engine.cells import Cell, Task
from steelyard.engine.schedule.cascade import check_criteria, order_of
from steelyard.engine.schedule.prefix import ENDLESS, Seen
from steelyard.engine.schedule.stopping import Rule, look_points, rule_for
from steelyard.engine.schedule.strata import Strata, strata_of
from steelyard.engine.work import OpenCell
from steelyard.engine.writer import patiently
from steelyard.errors import UnknownName, UsageError
from steelyard.plan.plan import Plan
from steelyard.plan.stopping import Anytime, Cascade, Compare, HalfWidth, Stop
from steelyard.store import Store
from steelyard.types import Columns, Look


class Watched(Struct, frozen=True, kw_only=True):
    """What a rule watches on one benchmark, stated before the first item: the plan's expansion.

    ``models`` are in the order of their turns where they are asked one after another; ``floors`` are asked everything.
    ``looks`` are numbers of items; ``looks_are_fixed`` is false where only the first and the last are known beforehand.
    ``alpha`` is the error of each question; of pairs, all of a benchmark's together have the plan's.
    """

    benchmark: str
    rule: str
    models: tuple[str, ...]
    floors: tuple[str, ...]
    questions: tuple[tuple[str, ...], ...]
    looks: tuple[int, ...]
    looks_are_fixed: bool
    planned: int
    population: int | None
    estimand: str
    alpha: float


@dataclass(kw_only=True)
class Question:
    """One cell's score, or the difference of two cells, and the looks taken at it."""

    rule: Rule
    cells: tuple[OpenCell, ...]
    taken: list[Look] = field(default_factory=list)
    is_dropped: bool = False

    @property
    def wanted(self) -> int | None:
        """How many items the next look needs; ``None`` where there is none."""
        if self.is_dropped:
            return None
        return self.taken[-1].next if self.taken else self.rule.first()


def check_stop(cells: Sequence[Cell], plan: Plan) -> None:
    """Refuse what a rule cannot watch, before anything is sent."""
    stop = plan.stop
    if stop is None:
        return
    if plan.order != "shuffled":
        raise UsageError("stop needs items drawn by seed: the first ones in file order are no sample. Try: no --order")
    watched, floors = [cell for cell in cells if cell.floor is None], floors_of(cells)
    if not watched:
        raise UsageError(
            f"stop watches models, and {' and '.join(floors)} costs nothing to ask in full. Try: no --stop"
        )
    for cell in watched:
        _check_cell(cell, stop)
    if isinstance(stop, Cascade):
        check_criteria(stop.success, watched)
        order_of(watched)
    if isinstance(stop, (Compare, Anytime, Cascade)):
        models = list(dict.fromkeys(cell.spec.id for cell in watched))
        if not isinstance(stop, Cascade) and stop.against in floors:
            raise UsageError(
                f"a rule compares with no floor, and {stop.against} is one. Try: steelyard compare, after a run"
            )
        if not isinstance(stop, Cascade) and stop.against is not None and stop.against not in models:
            raise UnknownName("model to compare with", stop.against, models)
        if len(models) < 2:
            raise UsageError("it takes two models to compare, and there is one only. Try: a second -m")


def _check_cell(cell: Cell, stop: Stop) -> None:
    """Refuse what cannot be watched on one benchmark, or of one model."""
    if isinstance(stop, Anytime) and cell.spec.batch:
        raise UsageError(
            f"{cell.spec.id} is asked by batches, and every look would wait for one. Try: compare, with four looks"
        )
    if isinstance(stop, Anytime) and strata_of(cell.task) is not None:
        raise UsageError(
            f"{cell.info.label} is a mean over strata, and anytime bets on single items. Try: compare, whose looks "
            "hold for strata too"
        )
    if not isinstance(stop, (Compare, Anytime)) or stop.estimand != "questions" or not are_in_clusters(cell.task):
        return
    if isinstance(stop, Anytime):
        raise UsageError(
            f"items of {cell.info.label} come in clusters, and anytime bets on questions like these one by one. "
            "Try: compare, whose looks hold for clusters too, or anytime without estimand=questions"
        )
    if stop.bounds == "obrien_fleming" and strata_of(cell.task) is not None:
        raise UsageError(
            f"{cell.info.label} is a mean over strata whose items come in clusters, too few at a first look for the "
            "certainty that bounds=obrien_fleming asks of it. Try: bounds=pocock"
        )


def expansion(cells: Sequence[Cell], plan: Plan) -> list[Watched]:
    """What the plan's rule watches, benchmark by benchmark."""
    if plan.stop is None:
        return []
    return [_watched(group, floors_of(cells), plan.stop) for group in _by_benchmark(cells)]


def floors_of(cells: Iterable[Cell]) -> tuple[str, ...]:
    """The floors among them, which no rule watches."""
    return tuple(dict.fromkeys(cell.spec.id for cell in cells if cell.floor is not None))


def floors_line(floors: Sequence[str]) -> str:
    """That a floor ends by no rule."""
    return f"{', '.join(floors)}: no model but a floor, so asked everything and watched by no stopping rule"


def _watched(group: Sequence[Cell], floors: tuple[str, ...], stop: Stop) -> Watched:
    task = group[0].task
    questions = tuple(_questions(group, stop))
    planned = len(task.positions)
    shared = max(1, len(questions)) if isinstance(stop, (Compare, Anytime, Cascade)) else 1
    of_questions = (
        stop.estimand == "questions" if isinstance(stop, (Compare, Anytime)) else "variance" in stop.__struct_fields__
    )
    return Watched(
        benchmark=group[0].info.label,
        rule=str(stop.__struct_config__.tag),
        models=tuple(order_of(group) if isinstance(stop, Cascade) else [cell.spec.id for cell in group]),
        floors=floors,
        questions=questions,
        looks=look_points(stop, planned),
        looks_are_fixed=not isinstance(stop, HalfWidth),
        planned=planned,
        population=whole(task),
        estimand="questions like these" if of_questions else "this benchmark",
        alpha=stop.alpha / shared,
    )


def _questions(group: Sequence[Cell], stop: Stop) -> Iterator[tuple[str, ...]]:
    models = [cell.spec.id for cell in group]
    if isinstance(stop, Cascade):
        if stop.worse_by is not None:
            yield from ((dearer, cheaper) for cheaper, dearer in combinations(order_of(group), 2))
    elif not isinstance(stop, (Compare, Anytime)):
        yield from ((model,) for model in models)
    elif stop.against is None:
        yield from combinations(models, 2)
    else:
        yield from ((model, stop.against) for model in models if model != stop.against)


def _by_benchmark(cells: Sequence[Cell]) -> list[list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.floor is None:
            groups.setdefault(cell.info.label, []).append(cell)
    return list(groups.values())


def population(task: Task) -> int:
    """How many items the benchmark has; without end where they are generated."""
    return ENDLESS if task.benchmark.is_endless(task.spec.part) else len(task.dataset.samples)


def are_in_clusters(task: Task) -> bool:
    """Whether two of the items that may be asked share a cluster."""
    named = [task.dataset.samples[position].cluster for position in task.positions]
    known = [name for name in named if name is not None]
    return len(set(known)) < len(known)


def whole(task: Task) -> int | None:
    """The same as it is told: ``None`` for what has no end."""
    items = population(task)
    return None if items == ENDLESS else items


class Looks:
    """Takes every look of a run, and tells the lanes how far they may go."""

    def __init__(self, store: Store, plan: Plan, cells: Sequence[OpenCell], run_id: str, tell: Callable[[str], None]):
        self._store, self._tell = store, tell
        self._earlier = {} if plan.stop is None else store.looks(run_id)
        self._news = asyncio.Event()
        self._done: dict[int, int] = {}
        self._strata: dict[str, Strata | None] = {}
        self._cells = {cell.row: cell for cell in cells if cell.cell.floor is None}
        self.questions = list(self._all_questions(plan)) if plan.stop is not None else []
        floors = floors_of(cell.cell for cell in cells)
        if plan.stop is not None and floors:
            tell(floors_line(floors))
        for question in self.questions:
            first, *others = question.cells
            model = others[0].cell.spec.id if others else None
            question.taken = [look for look in self._earlier.get(first.row, ()) if look.against == model]
        for cell in self._cells.values() if plan.stop is not None else ():
            self._watch(cell)
        self._aim()

    def _all_questions(self, plan: Plan) -> Iterator[Question]:
        assert plan.stop is not None
        by_name = {(cell.cell.spec.id, cell.cell.info.label): cell for cell in self._cells.values()}
        for group in _by_benchmark([cell.cell for cell in self._cells.values()]):
            label, task = group[0].info.label, group[0].task
            asked = list(_questions(group, plan.stop))
            rule = rule_for(
                plan.stop, planned=len(task.positions), population=population(task), pairs=max(1, len(asked))
            )
            for models in asked:
                yield Question(rule=rule, cells=tuple(by_name[model, label] for model in models))

    def _watch(self, cell: OpenCell) -> None:
        def done(items: int) -> None:
            self._done[cell.row] = items
            self._news.set()

        cell.horizon.end, cell.horizon.is_closed = 0, False
        cell.horizon.on_done, cell.horizon.on_abandoned = done, self._news.set

    async def serve(self) -> None:
        """Take look after look until every question is settled, or nobody is left to answer it."""
        while self._is_open():
            for question in self.questions:
                if any(cell.horizon.is_abandoned for cell in question.cells) and question.wanted is not None:
                    question.is_dropped = True
            due = [question for question in self.questions if self._is_due(question)]
            for question in due:
                await self._take(question)
            await self._between()
            self._aim()
            for cell in self._cells.values():
                at_its_end = self._done.get(cell.row, 0) >= cell.horizon.end > 0
                cell.progress.awaits_look = at_its_end and not cell.horizon.is_closed
            if not due and self._is_open():
                await self._news.wait()
                self._news.clear()

    def _is_open(self) -> bool:
        return any(question.wanted is not None for question in self.questions)

    async def _between(self) -> None:
        """What there is to do once all looks that are due were taken: nothing, but in a cascade."""

    def _is_due(self, question: Question) -> bool:
        wanted = question.wanted
        return wanted is not None and all(self._done.get(cell.row, 0) >= wanted for cell in question.cells)

    async def _take(self, question: Question) -> None:
        wanted = question.wanted
        assert wanted is not None
        look = await patiently(partial(self._look, question, wanted), self._tell)
        await self._keep(question.cells[0].row, look)
        question.taken.append(look)
        info = question.cells[0].cell.info
        if look.is_settled or look.rule != "anytime":  # of a look every few items only the last one is news
            self._tell(look_line(info.model, info.label, look))

    def _look(self, question: Question, n: int) -> Look:
        _, *others = question.cells
        look = question.rule.look(len(question.taken) + 1, self._seen(question.cells, n))
        if others:
            look = msgspec.structs.replace(look, against=others[0].cell.spec.id)
        return look

    async def _keep(self, row: int, look: Look) -> None:
        """Make the look durable."""
        await patiently(partial(self._store.add_look, row, look), self._tell)

    def _seen(self, cells: Sequence[OpenCell], n: int) -> Seen:
        order = np.asarray(cells[0].cell.task.positions[:n], dtype=np.int64)
        columns = [self._store.columns(cell.row) for cell in cells]
        scores = [scores_in_order(each, order) for each in columns]
        strata = self._strata_of(cells[0].cell)
        return Seen(
            a=scores[0],
            b=scores[1] if len(scores) > 1 else None,
            clusters=clusters_in_order(columns[0], order),
            strata=None if strata is None else strata.only(order),
        )

    def _strata_of(self, cell: Cell) -> Strata | None:
        if cell.info.label not in self._strata:
            self._strata[cell.info.label] = strata_of(cell.task)
        return self._strata[cell.info.label]

    def _aim(self) -> None:
        """Move every horizon to the farthest look that its cell is wanted for, or close it."""
        for cell in self._cells.values():
            own = [question for question in self.questions if cell in question.cells]
            if not own or cell.horizon.is_closed:
                continue
            wanted = [question.rule.reach(question.wanted) for question in own if question.wanted is not None]
            if wanted:
                cell.horizon.move(max(wanted))
            elif any(question.is_dropped for question in own):  # nobody can say when it is enough
                self._close(cell, len(cell.cell.task.positions))
            else:
                self._close(cell, max(look.n for question in own for look in question.taken))

    @staticmethod
    def _close(cell: OpenCell, end: int) -> None:
        """Let the cell end after so many items, or where it stands."""
        cell.horizon.move(end)
        cell.horizon.close()
        cell.progress.planned = min(cell.progress.planned, cell.horizon.end * cell.cell.info.repeats)


def scores_in_order(columns: Columns, order: np.ndarray) -> np.ndarray:
    """Each item's mean headline score over its repeats, in the order asked; NaN where it has none."""
    scores = headline(columns)
    if not len(scores):
        return np.full(len(order), np.nan)
    place = _places(order, columns.sample)
    counted = (place >= 0) & ~np.isnan(scores)
    total = np.bincount(place[counted], weights=scores[counted], minlength=len(order))
    times = np.bincount(place[counted], minlength=len(order))
    return np.asarray(np.where(times > 0, total / np.maximum(times, 1), np.nan))


def clusters_in_order(columns: Columns, order: np.ndarray) -> np.ndarray | None:
    """Each item's cluster in the order asked, -1 for none; ``None`` where there are no clusters."""
    if not (columns.cluster >= 0).any():
        return None
    found = np.full(len(order), -1, dtype=np.int64)
    place = _places(order, columns.sample)
    found[place[place >= 0]] = columns.cluster[place >= 0]
    return found


def _places(order: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Where each position stands in the order, -1 where it does not."""
    by_position = np.argsort(order, kind="stable")
    place = by_position[np.minimum(np.searchsorted(order, positions, sorter=by_position), len(order) - 1)]
    return np.where(order[place] == positions, place, -1)
