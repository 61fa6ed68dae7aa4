"""What a plan would ask and cost: counted from its own prompts, before anything is sent.

Each cell is counted by itself; here they stand together, with what the plan's rule watches and what it
could tell apart.
"""

from __future__ import annotations

from functools import cache

from msgspec import Struct

from steelyard.analysis.wording import amount
from steelyard.cli.earlier_clusters import alike_in_store
from steelyard.cli.forecast_cell import CellForecast, forecast_cell
from steelyard.cli.power import FIND, PowerForecast, power_forecast, power_words
from steelyard.engine.reuse.cache import count_known
from steelyard.engine.run import Given, prepare
from steelyard.engine.schedule.looks import Watched, expansion, floors_line
from steelyard.plan.plan import Plan
from steelyard.store import Store

MOST_LOOKS_LISTED = 8


class Forecast(Struct, frozen=True, kw_only=True):
    """Every cell of a plan, with the plan's digest. ``stop`` is what its stopping rule watches, by benchmark."""

    plan_digest: str
    cells: tuple[CellForecast, ...]
    stop: tuple[Watched, ...] = ()
    power: tuple[PowerForecast, ...] = ()

    @property
    def most_usd(self) -> float:
        """What all of it may cost, so far as prices are known."""
        return sum((cell.most_cost_usd or 0.0) + (cell.judge_most_cost_usd or 0.0) for cell in self.cells)


def forecast(plan: Plan, store: Store | None = None, find: float = FIND) -> Forecast:
    """Expand the plan and estimate every cell; sends nothing. What the ``store`` knows is not asked again.

    ``find`` is a difference of two models, as a share: what it takes to find it is told.
    """
    cells = prepare(plan, Given())
    known = [count_known(store, cell, plan) if store is not None else 0 for cell in cells]
    alike_in = cache(lambda label: None if store is None else alike_in_store(store, label))  # the same of every model
    expected = tuple(forecast_cell(cell, answers, alike_in) for cell, answers in zip(cells, known, strict=True))
    power = power_forecast(expected, [cell.info.is_floor for cell in cells], find)
    watched = tuple(expansion(cells, plan))
    return Forecast(plan_digest=plan.digest(), cells=expected, stop=watched, power=tuple(power))


BATCH_HEADINGS = ("as a batch <=",)
JUDGE_HEADINGS = ("judge requests", "judge cost <=")


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else f"${amount(cost)}"


def print_forecast(expected: Forecast) -> None:
    """The forecast as a table."""
    from rich.table import Table

    from steelyard.report.console import console

    batches = any(cell.most_batch_cost_usd is not None for cell in expected.cells)
    judges = any(cell.judge_requests for cell in expected.cells)
    table = Table(title="Dry run: nothing is sent", title_justify="left", box=None, pad_edge=False)
    for heading in ("model", "benchmark"):
        table.add_column(heading)
    for heading in (
        "items",
        "requests",
        "input tokens ~",
        "output tokens <=",
        "cost <=",
        *BATCH_HEADINGS[: 1 * batches],
        *JUDGE_HEADINGS[: 2 * judges],
        "accuracy to within",
    ):
        table.add_column(heading, justify="right")
    for cell in expected.cells:
        table.add_row(
            cell.model,
            cell.benchmark,
            f"{cell.items:,} of {cell.available:,}",
            f"{cell.requests:,}" + (f" ({cell.known:,} known)" if cell.known else ""),
            f"{cell.input_tokens:,}",
            "no limit" if cell.most_output_tokens is None else f"{cell.most_output_tokens:,}",
            _usd(cell.most_cost_usd),
            *([_usd(cell.most_batch_cost_usd)] if batches else []),
            *([f"{cell.judge_requests:,}", _usd(cell.judge_most_cost_usd)] if judges else []),
            f"±{100 * (cell.half_width or 0):.1f} points",
        )
    out = console()
    out.print(table)
    for words in filter(None, map(power_words, expected.power)):
        out.print(words, markup=False, soft_wrap=True)
    for watched in expected.stop:
        out.print(watched_line(watched), markup=False, soft_wrap=True)
    if expected.stop and expected.stop[0].floors:
        out.print(floors_line(expected.stop[0].floors), markup=False, soft_wrap=True)


def watched_line(watched: Watched) -> str:
    """What a stopping rule will watch on one benchmark, and when."""
    asked = ", ".join(" against ".join(models) for models in watched.questions)
    turns = ""
    if watched.rule == "cascade":
        turns = f"{watched.benchmark} is asked of one model after another: {', '.join(watched.models)}. "
        if not watched.questions:
            return turns.strip()
    whole = "" if watched.population is None else f" of the benchmark's {watched.population:,}"
    return (
        f"{turns}{watched.benchmark} may end early by {watched.rule}: {asked}; for {watched.estimand}; "
        f"looks at {_look_points(watched)} of {watched.planned:,} items{whole}; error {100 * watched.alpha:.3g} % each"
    )


def _look_points(watched: Watched) -> str:
    looks = [f"{n:,}" for n in watched.looks]
    if not watched.looks_are_fixed:
        return f"{looks[0]}, then at what the width needs, at most {looks[-1]}" if len(looks) > 1 else looks[0]
    if len(looks) > MOST_LOOKS_LISTED:
        return f"{', '.join(looks[:3])}, ... {looks[-1]}"
    return ", ".join(looks)
