"""An answer as pages show it: its state in a word, its texts with nothing hidden in them, and where its time went."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from steelyard.report.answers import GAP, WEIGHT, answer_text, asked, gold
from steelyard.report.drawing.timelines import Lane, Span
from steelyard.report.unseen import cut, visible
from steelyard.store.reading.history import Answered
from steelyard.types import Call, Sample, Score, Timing

if TYPE_CHECKING:
    from markupsafe import Markup

TONES = {"right": "pass", "wrong": "fail", "failed": "fail", "partly": "open", "unscored": "open"}
"""The tag of each state, as the report's style sheet colours it."""
BEFORE_CHOICE = WEIGHT + GAP


class ShownAnswer(Struct, frozen=True, kw_only=True):
    """One answer with its texts made visible and cut to a length; ``is_weighed``: its text is choices with weights."""

    id: int
    run: int
    run_name: str
    model: str
    benchmark: str
    item: str
    repeat: int
    state: str
    prompt: str
    gold: str
    text: str
    score: str
    extracted: str | None
    reason: str
    started_s: float
    ttft_s: float | None
    total_s: float | None
    output_tokens: int | None
    cost_usd: float | None
    tries: int
    is_reused: bool
    is_weighed: bool
    counts: bool


def state_of(failure: str | None, value: float | None) -> str:
    """How an answer stands, in a word."""
    if failure is not None:
        return "failed"
    if value is None:
        return "unscored"
    return "right" if value >= 1 else "wrong" if value <= 0 else "partly"


def shown(one: Answered, longest: int) -> ShownAnswer:
    """The answer for a page, no text longer than that many characters."""
    call, sample = one.record.call, one.record.sample
    timing = call.completion.timing if call.completion else None
    usage = call.completion.usage if call.completion else None
    return ShownAnswer(
        id=one.id,
        run=one.run.number,
        run_name=one.run.name,
        model=one.cell.model,
        benchmark=one.cell.label,
        item=sample.id,
        repeat=call.repeat,
        state=state_of(call.failure.kind if call.failure else None, one.headline.value if one.headline else None),
        prompt=cut(visible(asked(call.request.prompt)), longest),
        gold=cut(visible(gold(sample)), longest),
        text=cut(visible(reply(call, sample)), longest),
        score=_score(one.headline),
        extracted=None
        if one.headline is None or one.headline.answer is None
        else cut(visible(one.headline.answer), 400),
        reason="" if one.headline is None or one.headline.reason is None else cut(visible(one.headline.reason), 2_000),
        started_s=one.started_s,
        ttft_s=timing.ttft_s if timing else None,
        total_s=timing.total_s if timing else call.failed_after_s,
        output_tokens=usage.output_tokens if usage else None,
        cost_usd=call.cost_usd,
        tries=len(call.attempts) + 1,
        is_reused=bool(call.completion and call.completion.cached),
        is_weighed=bool(call.completion and call.completion.likelihoods),
        counts=one.counts,
    )


def reply(call: Call, sample: Sample) -> str:
    """What came back, or why nothing did."""
    if call.failure is not None:
        return f"{call.failure.kind}: {call.failure.message}"
    return "" if call.completion is None else answer_text(call.completion, sample)


def marked(text: str, words: str, is_weighed: bool = False) -> Markup:
    """The text, visible and escaped, with the words that were sought marked in it; in no weight of a choice."""
    from markupsafe import Markup, escape

    if not words:
        return escape(visible(text))
    if is_weighed:
        lines = ((line[:BEFORE_CHOICE], line[BEFORE_CHOICE:]) for line in text.split("\n"))
        return Markup("\n").join(escape(weight) + marked(choice, words) for weight, choice in lines)
    parts = re.split(f"({re.escape(visible(words))})", visible(text), flags=re.IGNORECASE)
    shown = (f"<mark>{escape(part)}</mark>" if place % 2 else escape(part) for place, part in enumerate(parts))
    return Markup("").join(map(Markup, shown))


def around(text: str, words: str, most: int) -> str:
    """A long text's part in which the words stand; its beginning where they do not."""
    place = text.casefold().find(words.casefold())
    if len(text) <= most or place < 0:
        return cut(text, most)
    start = max(0, min(place - most // 3, len(text) - most))
    return ("… " if start else "") + text[start : start + most] + (" …" if start + most < len(text) else "")


def _score(score: Score | None) -> str:
    return "not scored" if score is None or score.value is None else f"{score.value:g}"


def lane(one: Answered, name: str) -> Lane:
    """Where the time of an answer went, from when it was ready to be sent."""
    call = one.record.call
    timing = call.completion.timing if call.completion else None
    if timing is None and call.failure is None:
        return Lane(name=name, spans=(), remark="given in an earlier run" if one.reused_from else "not timed")
    return Lane(name=name, spans=tuple(span for span in _spans(call, timing) if span.length_s > 0))


def _spans(call: Call, timing: Timing | None) -> Iterator[Span]:
    tried_s = sum(attempt.duration_s + attempt.wait_s for attempt in call.attempts)
    at_s = 0.0
    if timing is not None:
        queued_s = max(0.0, timing.queued_s - tried_s)
        yield Span(kind="queued", start_s=0.0, length_s=queued_s)
        at_s = queued_s
    for number, attempt in enumerate(call.attempts, start=1):
        told = f"try {number} failed: {attempt.failure.kind}"
        yield Span(kind="failed", start_s=at_s, length_s=attempt.duration_s, told=told)
        at_s += attempt.duration_s
        yield Span(kind="pause", start_s=at_s, length_s=attempt.wait_s)
        at_s += attempt.wait_s
    if timing is None:
        kind = call.failure.kind if call.failure else ""
        yield Span(kind="failed", start_s=at_s, length_s=call.failed_after_s or 0.0, told=f"failed: {kind}")
    elif timing.ttft_s is None:
        yield Span(kind="whole", start_s=at_s, length_s=timing.total_s)
    else:
        answers_s = timing.total_s if timing.first_answer_s is None else timing.first_answer_s
        yield Span(kind="first", start_s=at_s, length_s=timing.ttft_s)
        yield Span(kind="reasoning", start_s=at_s + timing.ttft_s, length_s=answers_s - timing.ttft_s)
        yield Span(kind="answer", start_s=at_s + answers_s, length_s=timing.total_s - answers_s)


def is_timed(lanes: Sequence[Lane]) -> bool:
    """Whether a chart of the lanes would show anything."""
    return any(one.spans for one in lanes)
