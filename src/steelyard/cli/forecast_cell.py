"""What one cell of a plan would ask and cost.

Tokens are estimated at four characters each, which is rough and said so; the most a cell can cost takes every answer
at its full token limit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from msgspec import Struct

from steelyard import prices
from steelyard.cli.earlier_clusters import Alike, DesignEffects
from steelyard.engine.cells import MOST_COUNTED, Cell
from steelyard.engine.money.budget import costs_nothing, is_free
from steelyard.engine.schedule.strata import variance_factor
from steelyard.types import ModelSpec, Prompt, Usage

CHARACTERS_PER_TOKEN = 4
PROMPTS_MEASURED = 50
JUDGE_PROMPT_TOKENS = 250


class CellForecast(Struct, frozen=True, kw_only=True):
    """One cell: how much would be asked. ``None`` is unknown.

    ``requests`` is all that the plan asks; ``known`` of their answers are in the store and would be used again. Tokens
    and costs are those of the rest, ``most_request_usd`` that of a single request. ``variance_factor`` is how many
    times a plain mean's variance the headline has. ``clusters`` is in how many the items lie, ``None`` where no two
    share one or nobody counted; ``half_width`` is of questions like these, and takes items to be independent where
    ``design_effects`` do not say how far they are not.
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
    most_request_usd: float | None
    judge_requests: int
    judge_most_cost_usd: float | None
    half_width: float | None
    variance_factor: float = 1.0
    clusters: int | None = None
    design_effects: DesignEffects | None = None


def forecast_cell(cell: Cell, known: int, alike_in: Callable[[str], Alike | None] = lambda label: None) -> CellForecast:
    """What the cell would ask, of which ``known`` answers are in the store and would be used again.

    ``alike_in`` tells how alike items of one cluster of a benchmark were in earlier answers.
    """
    info, factor = cell.info, variance_factor(cell.task)
    sizes = _cluster_sizes(cell)
    alike = None if sizes is None else alike_in(info.label)
    effects = None if alike is None or sizes is None else alike.over(sizes)
    planned = info.items * info.repeats
    requests = planned - known
    shown = cell.task.positions[:PROMPTS_MEASURED]
    prompts = [cell.task.prompt(position) for position in shown]
    reads_once = cell.spec.provider == "local"
    characters = sum(_characters(prompt, reads_once=reads_once) for prompt in prompts)
    per_request = characters / len(shown) / CHARACTERS_PER_TOKEN
    input_tokens = 0 if info.is_floor else round(per_request * requests)
    limit = cell.spec.max_tokens or cell.task.protocol.max_tokens
    if info.kind == "likelihood":  # of each continuation one token more comes back
        limit = math.ceil(sum(len(prompt.continuations) for prompt in prompts) / len(shown))
    most_output = 0 if info.is_floor else requests * limit if limit else None
    cost = batch_cost = each = None
    if most_output is not None and not info.is_floor:
        one = Usage(input_tokens=math.ceil(per_request), output_tokens=limit, source="tokenizer")
        each = most_usd(one, cell.spec, datetime.now(UTC))
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
        most_request_usd=each,
        judge_requests=_judge_requests(cell),
        judge_most_cost_usd=_judge_cost(cell, round(per_request * planned), planned * limit if limit else None),
        half_width=_half_width(info.items, factor * (1.0 if effects is None else effects.score)),
        variance_factor=factor,
        clusters=None if sizes is None else len(sizes),
        design_effects=effects,
    )


def _cluster_sizes(cell: Cell) -> np.ndarray | None:
    """How many items each of their clusters has; not counted where so many would have to be read."""
    positions = cell.task.positions
    if len(positions) > MOST_COUNTED or cell.task.benchmark.is_endless(cell.task.spec.part):
        return None
    names = [cell.task.dataset.samples[position].cluster for position in positions]
    counted = Counter(name for name in names if name is not None)
    alone = len(names) - counted.total()
    return np.array([*counted.values(), *[1] * alone]) if len(counted) < counted.total() else None


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

    Items of a mean over strata, or in clusters, are worth as many as their variance says (``factor``, Kish 1965).
    """
    from steelyard.stats import wilson_interval

    worth = max(1, round(items / factor))
    interval = wilson_interval(successes=worth // 2, n=worth, confidence=0.95)
    return float(interval.high - interval.low) / 2


def _characters(prompt: Prompt, *, reads_once: bool) -> int:
    """All that is read: before each continuation to be weighed the text again, but by a model that keeps it."""
    shared = len(prompt.text) + sum(len(turn.content) for turn in prompt.messages)
    times = 1 if reads_once else max(1, len(prompt.continuations))
    return times * shared + sum(map(len, prompt.continuations))
