"""``gate --calibrate``: which pairs of one model there are to try a gate on, and what it said of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from steelyard.analysis.gate import refuse_mistaken
from steelyard.analysis.margins import Cell
from steelyard.analysis.noise import Calibration, Pair, calibrate, dealt, propose_margin
from steelyard.analysis.wording import change_written, written
from steelyard.criteria import Margin
from steelyard.errors import UnknownName, UsageError
from steelyard.report.comparing.verdict import cells_of_run
from steelyard.report.console import console, new_table
from steelyard.store import Store
from steelyard.types import RunInfo

FINISHED = ("done", "budget")
MOST_RUNS = 50
EACH_RUN = "each run of this plan against the one before"


def calibrations(
    store: Store,
    run: RunInfo,
    margins: Sequence[Margin],
    *,
    trials: int,
    model: str | None = None,
    benchmark: str | None = None,
) -> list[Calibration]:
    """The gate tried on the run's own repeats, dealt to two sides, and on the runs of the same plan."""
    cells = cells_of_run(store, run, model=model, benchmark=benchmark)
    known = {one.metric for cell in cells for one in cell.estimates}
    for margin in margins:
        if margin.metric not in known:
            raise UnknownName("metric", margin.metric, known)
        for cell in cells:
            refuse_mistaken(margin, cell.info)
    alike = _runs_alike(store, run)
    found = []
    for cell in cells:
        repeats = dealt(cell, trials)
        runs = _pairs_of(alike, cell)
        for margin in margins or _proposed(cell):
            if repeats:
                source = (
                    f"the {cell.info.repeats} answers of each item dealt to two sides, {cell.info.repeats // 2} each"
                )
                found.append(calibrate(margin, repeats, source))
            if runs:
                found.append(calibrate(margin, runs, EACH_RUN))
    if not found:
        raise UsageError(
            f"run #{run.number} asked each item once, and no other run has its plan: nothing to tell its noise by. "
            f"Try: steelyard run --resume {run.number} --runs 2 (asks each item once more), or run the plan again "
            "with --fresh"
        )
    return found


def _proposed(cell: Cell) -> list[Margin]:
    found = propose_margin(cell)
    if found is None:
        return []
    return [Margin(metric=cell.info.scored[0], absolute=found.margin, text=f"{cell.info.scored[0]}={found.margin:g}")]


def _runs_alike(store: Store, run: RunInfo) -> list[list[Cell]]:
    """The finished runs of the same plan, oldest first; what used answers of another is no run of its own."""
    same = [one for one in store.runs() if one.plan_digest == run.plan_digest and one.status in FINISHED][:MOST_RUNS]
    return [cells_of_run(store, one) for one in reversed(same)] if len(same) > 1 else []


def _pairs_of(alike: Sequence[Sequence[Cell]], cell: Cell) -> list[Pair]:
    key = (cell.info.model, cell.info.label)
    same = [one for cells in alike for one in cells if (one.info.model, one.info.label) == key]
    return [Pair(one, other) for one, other in pairwise(same) if not one.columns.cached.any()
            and not other.columns.cached.any()]  # fmt: skip


def calibrations_document(found: Sequence[Calibration]) -> list[dict[str, Any]]:
    """The same as JSON-ready values."""
    document: list[dict[str, Any]] = msgspec.to_builtins(list(found))
    return document


def print_calibrations(found: Sequence[Calibration]) -> None:
    """One row for each criterion and way of trying it, then what it means."""
    out = console()
    out.print("The same model against itself: what the gate says where nothing changed.")
    table = new_table("model", "benchmark", "criterion", "trials", "false alarms (95 %)", "passes", "inconclusive", "n",
                      "can tell a change of", "largest by luck")  # fmt: skip
    for one in found:
        table.add_row(
            one.model,
            one.benchmark,
            one.criterion,
            f"{one.trials:,}",
            written(one.fails),
            written(one.passes, bounds=False),
            written(one.inconclusive, bounds=False),
            f"{one.n:,}",
            _size(one, one.detectable),
            _size(one, one.largest),
        )
    out.print()
    out.print(table)
    out.print()
    for source in dict.fromkeys(one.source for one in found):
        out.say(f"Tried on: {source}. {_dependence(source)}")
    for one in found:
        if one.reason:
            out.say(f"! {one.criterion} on {one.benchmark} was never judged: {one.reason}")
        elif one.fails_at_twice is not None:
            out.print(
                f"{one.criterion} on {one.benchmark}: a true fall of twice the margin would be called a fail "
                f"{100 * one.fails_at_twice:.0f} % of the time (n = {one.n:,}).",
                soft_wrap=True,
            )


def _dependence(source: str) -> str:
    if source == EACH_RUN:
        return "Neighbouring pairs share a run, so the interval is somewhat narrower than it should be."
    return (
        "All deals are of the same answers: the interval is of more such deals, and other answers of an unchanged "
        "model may give another rate."
    )


def _size(one: Calibration, value: float | None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.3g} %" if one.scale == "ratio" else change_written(value, one.unit).lstrip("+")
