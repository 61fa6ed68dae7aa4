"""One answer as a reader sees it in a terminal: what was asked, what came back, how it was judged."""

from __future__ import annotations

import re

from steelyard.report.drawing.axes import value_text
from steelyard.report.unseen import harmless, on_one_line
from steelyard.types import Completion, Prompt, Record, Sample, Stage

LONGEST_LINE = 140
WEIGHT, GAP = 9, 2
"""Characters of a log-likelihood before its choice, and between the two."""
NEVER = -1e9
"""The log-likelihood that a floor gives to what it does not pick."""
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def print_record(record: Record) -> None:
    """Print one answer; whatever a model wrote is shown as text and never obeyed by the terminal."""
    print("\n".join(_lines(record)) + "\n")


def plain(text: str) -> str:
    """The text with nothing in it that a terminal or a CI service's log obeys.

    No control characters, no terminal sequences, no marks that turn the direction of what follows, no commands.
    """
    return harmless(_CONTROL.sub("", text))


def _lines(record: Record) -> list[str]:
    call = record.call
    repeat = f" repeat {call.repeat}" if call.repeat else ""
    where = f"{record.model} · {record.benchmark}@{record.protocol}"
    lines = [f"── {on_one_line(record.sample.id)}{repeat} · {on_one_line(where)}"]
    lines += ["asked:", *_indented(asked(call.request.prompt))]
    lines.append(f"gold: {plain(gold(record.sample))}")
    if call.failure is not None:
        tries = "1 try" if not call.attempts else f"{len(call.attempts) + 1} tries"
        lines.append(f"failed ({call.failure.kind}, {tries}): {plain(call.failure.message)}")
    elif call.completion is not None:
        lines += ["answer:", *_indented(answer_text(call.completion, record.sample))]
        lines.append(_footer(call.completion, call.cost_usd, call.slept_s))
    stages = call.stages if call.completion is None else call.completion.stages
    lines += [line for stage in stages for line in _stage_lines(stage)]
    lines += [_judged(metric, score.value, score.answer, score.reason) for metric, score in record.scores.items()]
    return lines


def asked(prompt: Prompt) -> str:
    """What was asked, as one text."""
    if prompt.kind == "chat":
        return "\n".join(f"[{turn.role}] {turn.content}" for turn in prompt.messages)
    return prompt.text


def question(sample: Sample) -> str:
    """The item as its benchmark has it, before a protocol put it into words."""
    turns = [sample.input] if isinstance(sample.input, str) else [f"[{one.role}] {one.content}" for one in sample.input]
    return "\n".join([*turns, *_lettered(sample)])


def asked_line(sample: Sample) -> str:
    """What an item asks, as one line that tells it from others."""
    line = on_one_line(question(sample))
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"


def gold(sample: Sample) -> str:
    """The right answer; of choices its letter and its text."""
    if not sample.choices:
        return sample.target
    return _lettered(sample)[int(sample.target)]


def gold_letter(sample: Sample) -> str:
    """The right answer where no text is shown: of choices the letter alone."""
    return chr(ord("A") + int(sample.target)) if sample.choices else sample.target


def without_weights(text: str) -> str:
    """A text of weighed choices as it is read for its words: no figure of ours is one."""
    return "\n".join(line[WEIGHT + GAP :] for line in text.split("\n"))


def _lettered(sample: Sample) -> list[str]:
    """The choices, each by the letter as which it is read."""
    return [f"{chr(ord('A') + place)}) {choice}" for place, choice in enumerate(sample.choices)]


def _weight(logprob: float) -> str:
    """A log-likelihood; a floor, which picks, gives what it does not pick none."""
    return "never" if logprob <= NEVER else f"{logprob:.3f}"


def answer_text(completion: Completion, sample: Sample) -> str:
    """What came back: a text, or how likely each choice was."""
    if completion.likelihoods:
        pairs = zip(_lettered(sample), completion.likelihoods, strict=False)
        return "\n".join(f"{_weight(weighed.logprob):>{WEIGHT}}{' ' * GAP}{choice}" for choice, weighed in pairs)
    thought = f"[reasoning] {completion.reasoning}\n" if completion.reasoning else ""
    return thought + (completion.text or "(empty)")


def _footer(completion: Completion, cost_usd: float | None, slept_s: float | None) -> str:
    parts = [f"stopped by: {on_one_line(completion.stop_reason or 'unknown')}"]
    if completion.usage.output_tokens is not None:
        parts.append(f"{completion.usage.output_tokens} tokens")
    if completion.timing is not None and not completion.likelihoods:
        parts.append(f"{completion.timing.total_s:.3f} s")
        if completion.timing.ttft_s is not None:
            parts.append(f"first token after {completion.timing.ttft_s:.3f} s")
    if slept_s:
        parts.append(f"no times: the machine slept, or the client was stopped, for {slept_s:.0f} s")
    parts.append(_cost(cost_usd))
    if completion.confidence is not None:
        parts.append(f"confidence {completion.confidence:.3f}")
    return " · ".join(parts)


def _cost(cost_usd: float | None) -> str:
    return "cost unknown" if cost_usd is None else value_text(cost_usd, "USD")


def _stage_lines(stage: Stage) -> list[str]:
    """One model's part in the answer, with what it said where that is not the answer."""
    calls = f"{stage.calls} answers" if stage.calls > 1 else "1 answer"
    tokens = "tokens unknown" if stage.usage.output_tokens is None else f"{stage.usage.output_tokens} tokens"
    took = "time unknown" if stage.took_s is None else f"{stage.took_s:.3f} s"
    line = f"{stage.part} by {on_one_line(stage.model)}: {calls} · {tokens} · {took} · {_cost(stage.cost_usd)}"
    read = [f"    read as {', '.join('nothing' if one is None else repr(plain(one)) for one in stage.answers)}"]
    return [line, *read * bool(stage.answers), *(_indented(stage.text) if stage.text else [])]


def _judged(metric: str, value: float | None, answer: str | None, reason: str | None) -> str:
    found = "nothing" if answer is None else repr(plain(answer[:200]))
    judged = "not scored" if value is None else f"{value:g}"
    return f"{metric}: {judged}, read as {found}" + (f" ({plain(reason)})" if reason else "")


def _indented(text: str) -> list[str]:
    """Each line behind a mark, so that none of a model's can be taken for one of ours."""
    return [harmless(f"  | {line}") for line in _CONTROL.sub("", text).split("\n")]
