"""The answers that a report shows: failed calls and turned items first, then wrong ones, then some that are right.

Side by side, model by model, of the same item. What a model wrote is text: characters that a browser would hide or
reorder are made visible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from steelyard.analysis.bench import Bench, Contender
from steelyard.analysis.estimates import headline
from steelyard.report.answers import answer_text, asked, asked_line, gold
from steelyard.report.drawing.axes import price_text, value_text
from steelyard.report.evidence import Evidence
from steelyard.report.unseen import cut, visible
from steelyard.store import Store
from steelyard.types import Completion, Record, Usage

MOST_ANSWERS = 500
MOST_MODELS = 12
LONGEST_PROMPT = 1_600
LONGEST_ANSWER = 3_000
SHARES = (0.25, 0.45, 0.2, 0.1)
"""Of the answers shown: failed, turned, wrong, right; what one kind leaves goes to the next."""

State = Literal["right", "partly", "wrong", "failed", "unscored"]


class Answer(Struct, frozen=True, kw_only=True):
    """One model's answer to one item, as it is shown."""

    model: str
    slot: int | None
    state: State
    repeat: int
    text: str
    extracted: str | None
    score: str
    reason: str
    figures: tuple[str, ...]
    """Of an answer made elsewhere nothing is known of its sending."""


class Item(Struct, frozen=True, kw_only=True):
    """One item with the answers of all models shown. ``is_flip``: one model is right and another wrong.

    ``prompt`` is whole; where it goes on after ``examples``, these are the ones at that place of those shown once.
    """

    id: str
    benchmark: str
    line: str
    prompt: str
    gold: str
    is_flip: bool
    answers: tuple[Answer, ...]
    stratum: str = ""
    examples: int | None = None


def load_samples(
    store: Store, evidence: Evidence, slot_of: dict[str, int], *, most: int = MOST_ANSWERS, reveal: bool = False
) -> list[Item]:
    """The items of each benchmark that tell most, as many answers as ``most`` in all; confidential texts redacted."""
    benches = [bench for bench in evidence.benches if _shown(bench)]
    found: list[Item] = []
    for left, bench in zip(range(len(benches), 0, -1), benches, strict=True):
        share = (most - sum(len(item.answers) for item in found)) // left
        found += _of_bench(store, evidence, bench, slot_of, share, reveal)
    return found


def _shown(bench: Bench) -> list[Contender]:
    """The models whose answers are shown; those of a floor say nothing, those graded again stand under their run."""
    return [one for one in bench.models if one.side.info.asked_as is None][:MOST_MODELS]


def _of_bench(
    store: Store, evidence: Evidence, bench: Bench, slot_of: dict[str, int], share: int, reveal: bool
) -> Iterator[Item]:
    models = _shown(bench)
    runs = {run.number: run.id for run in evidence.runs}
    names = _item_names(store, models)
    for position, is_flip in _chosen(models, share):
        records = [
            (one, record)
            for one in models
            for record in store.records(
                runs[one.side.run], cell=one.side.info.id, sample_id=names[position], reveal=reveal
            )
        ]
        if records:
            yield _item(bench, records, slot_of, is_flip)


def _item_names(store: Store, models: Sequence[Contender]) -> dict[int, str]:
    names: dict[int, str] = {}
    for one in models:
        columns = one.side.columns
        if all(position in names for position in np.unique(columns.sample).tolist()):
            continue
        named = store.columns(one.side.info.id or 0, with_names=True)
        names |= dict(zip(named.sample.tolist(), named.names, strict=True))
    return names


def _chosen(models: Sequence[Contender], answers: int) -> list[tuple[int, bool]]:
    """Items by kind, each kind up to its share of the answers, from all over; ``True`` where they turned."""
    kinds, counts = _kinds(models)
    chosen: list[tuple[int, bool]] = []
    left = float(answers)
    for place, positions in enumerate(kinds):
        share = answers * sum(SHARES[: place + 1]) - (answers - left)
        for position in positions:
            if counts[position] > min(share, left):
                break
            chosen.append((position, place == 1))
            share -= counts[position]
            left -= counts[position]
    taken = {position for position, _ in chosen}
    for place, positions in enumerate(kinds):
        for position in positions:
            if position not in taken and counts[position] <= left:
                chosen.append((position, place == 1))
                left -= counts[position]
    return sorted(chosen, key=lambda one: (next(i for i, kind in enumerate(kinds) if one[0] in kind), one[0]))


def _kinds(models: Sequence[Contender]) -> tuple[list[dict[int, None]], dict[int, int]]:
    """The items that failed somewhere, turned, were wrong or right throughout; and how many answers each has."""
    scores: dict[int, list[float]] = {}
    failed: dict[int, None] = {}
    for one in models:
        columns = one.side.columns
        values = headline(columns) if columns.scores else np.full(len(columns.sample), np.nan)
        for position, value, failure in zip(
            columns.sample.tolist(), values.tolist(), columns.failure.tolist(), strict=True
        ):
            scores.setdefault(position, []).append(value)
            if failure or np.isnan(value):
                failed[position] = None
    kinds: list[dict[int, None]] = [dict.fromkeys(sorted(failed, key=_spread)), {}, {}, {}]
    for position in sorted(scores, key=_spread):
        known = [value for value in scores[position] if not np.isnan(value)]
        if position not in failed:
            place = 1 if min(known) < 1 <= max(known) else 3 if min(known) >= 1 else 2
            kinds[place][position] = None
    return kinds, {position: len(values) for position, values in scores.items()}


def _spread(position: int) -> int:
    """A place in an order that takes from all over the benchmark, the same each time (Knuth's multiplicative hash)."""
    return position * 2_654_435_761 % 2**32


def _item(bench: Bench, records: Sequence[tuple[Contender, Record]], slot_of: dict[str, int], is_flip: bool) -> Item:
    first = records[0][1]
    return Item(
        id=visible(first.sample.id),
        benchmark=bench.label,
        line=asked_line(first.sample),
        prompt=visible(asked(first.call.request.prompt)),
        stratum=visible(first.sample.stratum or ""),
        gold=cut(visible(gold(first.sample)), LONGEST_ANSWER),
        is_flip=is_flip,
        answers=tuple(_answer(one, record, slot_of.get(one.name)) for one, record in records),
    )


def _answer(one: Contender, record: Record, slot: int | None) -> Answer:
    call = record.call
    score = record.scores.get(one.side.info.scored[0])
    value = None if score is None else score.value
    if call.failure is not None:
        text = f"{call.failure.kind}: {call.failure.message}"
    else:
        text = "" if call.completion is None else answer_text(call.completion, record.sample)
    return Answer(
        model=one.name,
        slot=slot,
        state=_state(record, value),
        repeat=call.repeat,
        text=cut(visible(text), LONGEST_ANSWER),
        extracted=None if score is None or score.answer is None else cut(visible(score.answer), 400),
        score="not scored" if value is None else f"{value:g}",
        reason="" if score is None or score.reason is None else cut(visible(score.reason), 800),
        figures=() if one.side.info.is_imported else tuple(_figures(record, call.completion)),
    )


def _state(record: Record, value: float | None) -> State:
    if record.call.failure is not None:
        return "failed"
    if value is None:
        return "unscored"
    return "right" if value >= 1 else "wrong" if value <= 0 else "partly"


def _figures(record: Record, completion: Completion | None) -> Iterator[str]:
    """Timing, tokens, money, tries."""
    call = record.call
    if completion is not None:
        usage, timing = completion.usage, completion.timing
        if completion.cached:
            yield "given in an earlier run"
        if timing is not None and not completion.likelihoods:
            if timing.queued_s >= 0.001:
                yield f"queued {value_text(timing.queued_s, 's')}"
            if timing.ttft_s is not None:
                yield f"first token {value_text(timing.ttft_s, 's')}"
            if timing.first_answer_s is not None and timing.first_answer_s != timing.ttft_s:
                yield f"first of the answer {value_text(timing.first_answer_s, 's')}"
            yield f"total {value_text(timing.total_s, 's')}"
        if usage.input_tokens is not None or usage.output_tokens is not None:
            yield _tokens(usage)
        if isinstance(usage.stated, Usage):
            yield f"the service counted what cannot be: {_tokens(usage.stated)}"
        if completion.stop_reason != "stop":
            yield f"stopped by {completion.stop_reason or 'unknown'}"
    if call.attempts:
        yield f"{len(call.attempts) + 1} tries"
    yield "cost unknown" if call.cost_usd is None else price_text(call.cost_usd)


def _tokens(usage: Usage) -> str:
    return f"{_known(usage.input_tokens)} tokens in, {_known(usage.output_tokens)} out"


def _known(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"
