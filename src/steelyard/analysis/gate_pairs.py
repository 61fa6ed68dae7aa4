"""Which cells of a run a gate holds against which of the baseline, and what stands on one side only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from steelyard.analysis.margins import Cell
from steelyard.types import CellInfo


def held_against(baseline: Sequence[Cell], model: str | None, benchmark: str | None) -> list[Cell]:
    """The baseline's cells that are asked about: of the model that is named, or of the baseline's only one."""
    is_one_model = len({cell.info.model for cell in baseline}) == 1
    return [cell for cell in of_benchmark(baseline, benchmark) if is_one_model or model in (None, cell.info.model)]


def of_benchmark(cells: Sequence[Cell], benchmark: str | None) -> list[Cell]:
    """The cells of a benchmark, by NAME or NAME@PROTOCOL; all where none is named."""
    return [cell for cell in cells if benchmark in (None, cell.info.benchmark, cell.info.label)]


def pairs_of(baseline: Sequence[Cell], candidate: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Each cell of the run with the baseline's of the same benchmark: of the same model, or of the only one."""
    pairs: list[tuple[Cell, Cell]] = []
    is_one_model = len({cell.info.model for cell in baseline}) == 1 == len({cell.info.model for cell in candidate})
    for cell in candidate:
        same = [one for one in baseline if one.info.label == cell.info.label]
        chosen = [one for one in same if one.info.model == cell.info.model] or (same if is_one_model else [])
        pairs += [(one, cell) for one in chosen[:1]]
    return pairs


def unpaired(
    baseline: Sequence[Cell], candidate: Sequence[Cell], pairs: Sequence[tuple[Cell, Cell]], skipped: Iterable[CellInfo]
) -> list[str]:
    """What stands on one side only, so that nothing can be said of it, and what to try.

    A model that is gone from the run may be the one that serves; what a cascade skipped is gone on purpose.
    """
    judged = {id(cell) for pair in pairs for cell in pair}
    gone_on_purpose = {(info.model, info.label) for info in skipped}
    faults = [
        f"the baseline has no {cell.info.model} on {cell.info.label}, so nothing is known of its change. "
        f"Try: {_narrowed(pairs, cell)}, or bless a run that has it (steelyard baseline set)"
        for cell in candidate
        if id(cell) not in judged
    ]
    return faults + [
        f"the run has no {one.info.model} on {one.info.label}, which the baseline has. "
        f"Try: run it too, or {_narrowed(pairs, one)}"
        for one in baseline
        if id(one) not in judged and len(one.columns.sample) and (one.info.model, one.info.label) not in gone_on_purpose
    ]


def _narrowed(pairs: Sequence[tuple[Cell, Cell]], left_out: Cell) -> str:
    """How to gate without a cell: by a benchmark of its model that both sides have, else by another model."""
    of_model = [after for _, after in pairs if after.info.model == left_out.info.model]
    if of_model:
        return f"gate with --benchmark {of_model[0].info.label}"
    others = [after.info.model for _, after in pairs]
    return f"gate with --model {others[0]}" if others else "gate a run of the same models and benchmarks"


def renamed(pairs: Sequence[tuple[Cell, Cell]]) -> list[str]:
    """Where another model answers now, by its name or as the service says: its change may be what is judged."""
    others = [
        f"{after.info.model} on {after.info.label} is held against another model, the baseline's only one: "
        f"{before.info.model}"
        for before, after in pairs
        if before.info.model != after.info.model
    ]
    return others + [
        f"{after.info.model} on {after.info.label}: the service reported {', '.join(before.reported)} for the baseline "
        f"and {', '.join(after.reported)} for this run"
        for before, after in pairs
        if before.reported and after.reported and before.reported != after.reported
    ]


def not_planned(baseline: Sequence[Cell], models: Sequence[str]) -> list[str]:
    """The baseline's models that the plan does not ask; one alone may go by another name now."""
    known = list(dict.fromkeys(cell.info.model for cell in baseline if len(cell.columns.sample)))
    if len(known) == 1 == len(models):
        return []
    kept = [model for model in models if model in known]
    otherwise = f", or gate with --model {kept[0]}" if kept else ""
    return [
        f"the plan has no {model}, which the baseline has. Try: add it to the plan{otherwise}"
        for model in known
        if model not in models
    ]
