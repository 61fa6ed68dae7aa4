"""What is shown of a record whose items its authors ask not to publish: ids, letters, scores, times and costs, no text.

The model's reply is left out too, since it may quote the question.
"""

from __future__ import annotations

from msgspec.structs import replace

from steelyard.types import Attempt, Call, CellInfo, Completion, Failure, Message, Prompt, Record, Sample, Score

REDACTED = "[redacted: the authors of this benchmark ask that its items are not shown; --reveal shows them]"
LONGEST_ANSWER = 3


def redact(record: Record) -> Record:
    """The record without any text that could hold an item's."""
    return replace(
        record,
        sample=redact_sample(record.sample),
        call=redact_call(record.call),
        scores={metric: _score(score) for metric, score in record.scores.items()},
    )


def redact_prompt(prompt: Prompt) -> Prompt:
    """The prompt's shape without its words; letters to be weighed stay."""
    return replace(
        prompt,
        messages=tuple(Message(role=turn.role, content=REDACTED) for turn in prompt.messages),
        text=_text(prompt.text),
        continuations=tuple(text if len(text.strip()) <= LONGEST_ANSWER else REDACTED for text in prompt.continuations),
    )


def redact_answer(answer: str | None, cell: CellInfo, *, reveal: bool) -> str | None:
    """What was read as the answer: of a confidential benchmark only letters and the like."""
    is_shown = reveal or not cell.is_confidential or answer is None or len(answer) <= LONGEST_ANSWER
    return answer if is_shown else REDACTED


def redact_sample(sample: Sample) -> Sample:
    """The item without its words; its id and its target stay."""
    return replace(sample, input=REDACTED, choices=tuple(REDACTED for _ in sample.choices), metadata={})


def redact_call(call: Call) -> Call:
    """The call without what was asked and answered."""
    return replace(
        call,
        request=replace(call.request, prompt=redact_prompt(call.request.prompt)),
        completion=None if call.completion is None else redact_completion(call.completion),
        failure=None if call.failure is None else _failure(call.failure),
        attempts=tuple(
            Attempt(failure=_failure(tried.failure), duration_s=tried.duration_s, wait_s=tried.wait_s)
            for tried in call.attempts
        ),
    )


def redact_completion(completion: Completion) -> Completion:
    """The answer's times and counts without its words."""
    return replace(completion, text=_text(completion.text), reasoning=_text(completion.reasoning))


def _failure(failure: Failure) -> Failure:
    return replace(failure, message=REDACTED)


def _score(score: Score) -> Score:
    answer = score.answer if score.answer is None or len(score.answer) <= LONGEST_ANSWER else REDACTED
    return replace(score, answer=answer, reason=None if score.reason is None else REDACTED)


def _text(text: str) -> str:
    return REDACTED if text else ""
