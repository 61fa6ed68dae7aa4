"""What a plan would ask and cost: counted from its own prompts, before anything is sent.

Tokens are estimated at four characters each, which is rough and said so; the most a run can cost takes every answer
at its full token limit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from steelyard import prices
from steelyard.cli.power import FIND, PowerForecast, power_forecast, power_words
from steelyard.engine.budget import costs_nothing, is_free
from steelyard.engine.cache import count_known
from steelyard.engine.cells import Cell
from steelyard.engine.looks import Watched, expansion
from steelyard.engine.run import Given, prepare
from steelyard.engine.strata import variance_factor
from steelyard.plan.plan import Plan
from steelyard.store import Store
from steelyard.types import ModelSpec, Prompt, Usage

CHARACTERS_PER_TOKEN = 4
PROMPTS_MEASURED = 50
JUDGE_PROMPT_TOKENS = 250
MOST_LOOKS_LISTED = 8


class CellForecast(Struct, frozen=True, kw_only=True):
    """One cell: how much would be asked. ``None`` is unknown.

    ``requests`` is all that the plan asks; ``known`` of their answers are in the store and would be used again. Tokens
    and costs are those of the rest. ``variance_factor`` is how many times a plain mean's variance the headline has.
    """

    model: str
    benchmark: str
    items: int
    available: int
    repeats: int
    requests: int
    known: int
    input_tokens: int
    most_output_tokens: int | None
    most_cost_usd: float | None
    most_batch_cost_usd: float | None
    judge_requests: int
    judge_most_cost_usd: float | None
    half_width: float | None
    variance_factor: float = 1.0


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
    expected = tuple(map(_cell, cells, known))
    power = power_forecast(expected, [cell.info.is_floor for cell in cells], find)
    watched = tuple(expansion(cells, plan))
    return Forecast(plan_digest=plan.digest(), cells=expected, stop=watched, power=tuple(power))


def _cell(cell: Cell, known: int) -> CellForecast:
    info, factor = cell.info, variance_factor(cell.task)
    planned = info.items * info.repeats
    requests = planned - known
    shown = cell.task.positions[:PROMPTS_MEASURED]
    per_request = sum(_characters(cell.task.prompt(position)) for position in shown) / len(shown) / CHARACTERS_PER_TOKEN
    input_tokens = 0 if info.is_floor else round(per_request * requests)
    limit = cell.spec.max_tokens or cell.task.protocol.max_tokens
    most_output = 0 if info.is_floor or info.kind == "likelihood" else requests * limit if limit else None
    cost = batch_cost = None
    if most_output is not None and not info.is_floor:
        usage = Usage(input_tokens=input_tokens, output_tokens=most_output, source="tokenizer")
        cost = _at_requests(usage, requests, cell, most_usd)
        batch_cost = _at_requests(usage, requests, cell, prices.batch_cost_usd)
    return CellForecast(
        model=info.model,
        benchmark=info.label,
        items=info.items,
        available=info.available,
        repeats=info.repeats,
        requests=planned,
        known=known,
        input_tokens=input_tokens,
        most_output_tokens=most_output,
        most_cost_usd=cost,
        most_batch_cost_usd=batch_cost,
        judge_requests=_judge_requests(cell),
        judge_most_cost_usd=_judge_cost(cell, round(per_request * planned), planned * limit if limit else None),
        half_width=_half_width(info.items, factor),
        variance_factor=factor,
    )


def _at_requests(
    usage: Usage, requests: int, cell: Cell, price: Callable[[Usage, ModelSpec, datetime], float | None]
) -> float | None:
    """The price of one mean request, times their number: long contexts have prices of their own."""
    if requests == 0:
        return 0.0
    each = Usage(
        input_tokens=-(-(usage.input_tokens or 0) // requests),
        output_tokens=-(-(usage.output_tokens or 0) // requests),
        source="tokenizer",
    )
    cost = price(each, cell.spec, datetime.now(UTC))
    return None if cost is None else cost * requests


def most_usd(usage: Usage, spec: ModelSpec, at: datetime) -> float | None:
    """What the calls behind one answer can cost at most: of a cascade both models, of agreement every sample."""
    if len(spec.asked) == 1 and spec.confidence is None:
        return prices.cost_usd(usage, spec, at)
    total_usd = 0.0
    for asked in spec.asked:
        each_usd = 0.0 if is_free(asked) and not costs_nothing(spec) else prices.cost_usd(usage, asked, at)
        if each_usd is None:
            return None
        how = asked.confidence
        total_usd += each_usd * (how.samples if how is not None and how.by == "agreement" else 1)
    return total_usd


def _judge_requests(cell: Cell) -> int:
    """How often a judge would be asked: about each answer, and about each one in the file beside it."""
    protocol = cell.task.protocol
    if protocol.judge is None:
        return 0
    answers = 1 + ("judge.human" in protocol.metrics)
    return cell.info.items * cell.info.repeats * protocol.judge.calls_per_answer * answers


def _judge_cost(cell: Cell, input_tokens: int, output_tokens: int | None) -> float | None:
    """The most a judge can cost: it reads the question and the longest answer, and says as much as it may."""
    judge, seat = cell.task.protocol.judge, cell.judge
    if judge is None or seat is None:
        return 0.0
    if output_tokens is None:
        return None
    requests = _judge_requests(cell)
    each = (input_tokens + output_tokens) / (cell.info.items * cell.info.repeats) + JUDGE_PROMPT_TOKENS
    usage = Usage(input_tokens=round(each * requests), output_tokens=judge.max_tokens * requests, source="tokenizer")
    return prices.cost_usd(usage, seat.spec, datetime.now(UTC))


def _half_width(items: int, factor: float) -> float:
    """The half width of the 95 % Wilson interval at an accuracy of one half: what this many items can tell.

    Items of a mean over strata are worth as many as their variance says (``factor``, Kish 1965).
    """
    from steelyard.stats import wilson_interval

    worth = max(1, round(items / factor))
    interval = wilson_interval(successes=worth // 2, n=worth, confidence=0.95)
    return float(interval.high - interval.low) / 2


def _characters(prompt: Prompt) -> int:
    return len(prompt.text) + sum(len(turn.content) for turn in prompt.messages) + sum(map(len, prompt.continuations))


BATCH_HEADINGS = ("as a batch <=",)
JUDGE_HEADINGS = ("judge requests", "judge cost <=")


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else f"${cost:.4f}"


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
