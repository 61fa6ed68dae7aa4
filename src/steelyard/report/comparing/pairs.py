"""Which cells stand against which.

One run: its models against its first. Two runs or more: each later one against the first, model by model where both
have it, else by position where each has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from steelyard.analysis.pairing import PROTOCOL
from steelyard.analysis.stopped import skipped_cells
from steelyard.errors import Incomparable, UnknownName
from steelyard.store import Store
from steelyard.types import CellInfo, RunInfo

Pair = tuple[tuple[RunInfo, CellInfo], tuple[RunInfo, CellInfo]]
"""Baseline and candidate, each with its run."""


class Question(Struct, frozen=True, kw_only=True):
    """What is asked: which metric, of whom, with what margin; ``across`` names what may differ between the sides.

    ``models``: only these, the first of them the baseline. ``detect`` is a difference to be found, in shares. With
    ``control_variate`` the candidate's score over all the baseline's items is estimated from those it was asked.
    """

    metric: str = "accuracy"
    models: tuple[str, ...] = ()
    benchmark: str | None = None
    margin: float | None = None
    detect: float | None = None
    across: tuple[str, ...] = ()
    control_variate: bool = False


def pairs_of(store: Store, runs: Sequence[RunInfo], question: Question) -> list[Pair]:
    """The pairs that the question is about; an error says why there are none."""
    cells = {run.number: _cells(store, run, question) for run in runs}
    return list(_within(runs[0], cells, question) if len(runs) == 1 else _between(runs, cells, question))


def _cells(store: Store, run: RunInfo, question: Question) -> list[CellInfo]:
    """The run's cells that the question is about."""
    skipped = skipped_cells(store.looks(run.id)) if run.plan.get("stop") else set()
    asked = [info for info in store.cells(run.id) if info.id not in skipped]
    found = [*asked, *(info for info, _ in store.gradings(run.id))]
    if question.benchmark is not None:
        chosen = [cell for cell in found if question.benchmark in (cell.benchmark, cell.label)]
        if not chosen:
            raise UnknownName(f"benchmark in run #{run.number}", question.benchmark, {cell.label for cell in found})
        found = chosen
    return [cell for cell in found if not question.models or cell.model in question.models]


def _within(run: RunInfo, cells: dict[int, list[CellInfo]], question: Question) -> Iterator[Pair]:
    """The models of one run against its first, benchmark by benchmark."""
    _check_models([run], cells, question)
    found = False
    for group in _grouped(cells[run.number], question).values():
        baseline, *candidates = _in_order(group, question)
        for candidate in candidates:
            found = True
            yield (run, baseline), (run, candidate)
    if not found:
        raise Incomparable(
            f"run #{run.number} has one model on each benchmark, so there is nothing to compare it with.",
            "steelyard compare RUN_A RUN_B",
            needs="another run",
        )


def _in_order(group: list[CellInfo], question: Question) -> list[CellInfo]:
    """The baseline, then those compared with it: as they are named, else as they stand in the run.

    Floors are asked for by name: each more comparison makes the others harder to tell. One model alone is compared with
    its floors.
    """
    if question.models:
        return sorted(group, key=lambda cell: question.models.index(cell.model))
    models = [cell for cell in group if not cell.is_floor]
    return models if len(models) > 1 else [*(cell for cell in group if cell.is_floor), *models]


def _between(runs: Sequence[RunInfo], cells: dict[int, list[CellInfo]], question: Question) -> Iterator[Pair]:
    _check_models(runs, cells, question)
    first, *others = runs
    for other in others:
        pairs = list(_matched(cells[first.number], cells[other.number], question))
        if not pairs:
            across = msgspec.structs.replace(question, across=(*question.across, PROTOCOL))
            is_one_across = any(_matched(cells[first.number], cells[other.number], across))
            raise _nothing_in_common(first, other, cells, is_one_across=is_one_across)
        yield from (((first, baseline), (other, candidate)) for baseline, candidate in pairs)


def _matched(first: list[CellInfo], other: list[CellInfo], question: Question) -> Iterator[tuple[CellInfo, CellInfo]]:
    """The same model on the same benchmark; else one against one."""
    of_first, of_other = _grouped(first, question), _grouped(other, question)
    common = [key for key in of_first if key in of_other]
    for key in common:
        models = {cell.model: cell for cell in of_other[key]}
        same = [(cell, models[cell.model]) for cell in of_first[key] if cell.model in models]
        if same:
            yield from same
        elif len(of_first[key]) == len(of_other[key]) == 1:
            yield of_first[key][0], of_other[key][0]
    if not common and len(first) == len(other) == 1:
        yield first[0], other[0]  # one against one: the refusal names what differs


def _grouped(cells: list[CellInfo], question: Question) -> dict[str, list[CellInfo]]:
    """The cells of each benchmark under one protocol, or under any where protocols are what is compared."""
    found: dict[str, list[CellInfo]] = {}
    for cell in cells:
        is_any = PROTOCOL in question.across
        found.setdefault(f"{cell.benchmark}:{cell.part or ''}" if is_any else cell.label, []).append(cell)
    return found


def _nothing_in_common(
    first: RunInfo, other: RunInfo, cells: dict[int, list[CellInfo]], *, is_one_across: bool
) -> Incomparable:
    """Why two runs have no pair; ``is_one_across``: they have, but for the protocol."""

    def listed(run: RunInfo) -> str:
        return ", ".join(f"{cell.model} on {cell.label}" for cell in cells[run.number][:6]) or "nothing"

    what = (
        f"runs #{first.number} and #{other.number} have no pair to compare: #{first.number} has {listed(first)}; "
        f"#{other.number} has {listed(other)}."
    )
    if is_one_across:
        return Incomparable(
            f"{what} They differ in protocol.", "--across protocol, if that is what you compare", needs="protocols"
        )
    return Incomparable(what, "--model A --model B names who stands against whom", needs="models")


def _check_models(runs: Sequence[RunInfo], cells: dict[int, list[CellInfo]], question: Question) -> None:
    known = {cell.model for run in runs for cell in cells[run.number]}
    for model in question.models:
        if model not in known:
            raise UnknownName("model in " + " or ".join(f"run #{run.number}" for run in runs), model, known)
