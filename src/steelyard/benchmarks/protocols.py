"""Protocols that several benchmarks share: the letter asked for, the choice weighed, the answer in free text.

A benchmark passes what differs (its header, its labels) and gets a ``Protocol`` value back.
"""

from __future__ import annotations

from collections.abc import Callable

from steelyard.benchmarks.benchmark import Protocol, ask
from steelyard.sandbox import Limits, Program
from steelyard.scoring import choice, code, exact, likelihood, number
from steelyard.scoring.reply import visible
from steelyard.types import Completion, Message, Prompt, Sample, Score

LETTERS = choice.LETTERS


def cloze(header: Callable[[Sample], str] = lambda sample: "", *, version: str = "1", shots: int = 0) -> Protocol:
    """The text of each choice is weighed after ``Question: ...\\nAnswer:``; no choice is shown.

    This is lm-eval's ``mmlu_continuation`` form. ``accuracy`` takes the choice of the highest summed log-probability,
    ``accuracy.norm`` the highest per character.
    """

    def text(sample: Sample) -> str:
        return f"Question: {question(sample).strip()}\nAnswer:"

    def render(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
        worked = [f"{text(exemplar)} {exemplar.choices[int(exemplar.target)]}\n\n" for exemplar in exemplars]
        return Prompt(
            kind="likelihood",
            text="".join([header(sample), *worked, text(sample)]),
            continuations=tuple(f" {option}" for option in sample.choices),
        )

    return Protocol(
        name="cloze",
        version=version,
        kind="likelihood",
        render=render,
        grade=likelihood.grade_choice,
        metrics=("accuracy", "accuracy.norm"),
        description="log-likelihood of each choice's text, choices not shown",
        shots=shots,
        needs_choices=True,
        temperature=None,
        inline=True,
    )


def letter(*, version: str = "1", max_tokens: int = 32) -> Protocol:
    """The choices are shown and the model is asked for the letter alone."""

    def render(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
        last = LETTERS[len(sample.choices) - 1]
        instruction = f"Answer with the letter of the right choice (A to {last}) and nothing else."
        content = f"{question(sample)}\n\n{choice.listed(sample.choices)}\n\n{instruction}"
        return Prompt(kind="chat", messages=(Message(role="user", content=content),))

    def grade(sample: Sample, completion: Completion) -> Score:
        return choice.grade(sample, choice.short_letter(completion.text, len(sample.choices)))

    return Protocol(
        name="letter",
        version=version,
        kind="chat",
        render=render,
        grade=grade,
        reply=lambda sample, answer: LETTERS[int(answer)],
        description="the generated letter, asked for alone",
        needs_choices=True,
        max_tokens=max_tokens,
        inline=True,
    )


SIMPLE_EVALS_INSTRUCTION = (
    "Answer the following multiple choice question. The last line of your response should be of the following "
    "format: 'Answer: $LETTER' (without quotes) where LETTER is one of ABCD. Think step by step before answering."
)


def simple_evals() -> Protocol:
    """OpenAI simple-evals' form for four choices: reason first, then a last line ``Answer: $LETTER``."""

    def render(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
        content = f"{SIMPLE_EVALS_INSTRUCTION}\n\n{question(sample)}\n\n{choice.listed(sample.choices)}"
        return Prompt(kind="chat", messages=(Message(role="user", content=content),))

    def grade(sample: Sample, completion: Completion) -> Score:
        return choice.grade(sample, choice.answer_letter(completion.text, len(sample.choices)))

    return Protocol(
        name="simple-evals",
        version="1",
        kind="chat",
        render=render,
        grade=grade,
        reply=lambda sample, answer: f"Answer: {LETTERS[int(answer)]}",
        description="chat, zero-shot chain of thought, last line 'Answer: $LETTER'",
        needs_choices=True,
        max_tokens=2048,
        temperature=0.5,
        inline=True,
    )


def free_number(*, version: str = "1", instruction: str = "", max_tokens: int = 1024) -> Protocol:
    """The answer is the last number of the reply (after the last mark such as ``####``, where there is one)."""

    def render(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
        return with_instruction(sample, instruction)

    def grade(sample: Sample, completion: Completion) -> dict[str, Score]:
        return {
            "accuracy": number.grade(sample.target, number.final_number(completion.text)),
            "accuracy.strict": number.grade(sample.target, number.marked_number(completion.text)),
        }

    return Protocol(
        name="zero-shot",
        version=version,
        kind="chat",
        render=render,
        grade=grade,
        reply=lambda sample, answer: f"#### {answer}",
        metrics=("accuracy", "accuracy.strict"),
        description="chat, no examples; the last number counts, strict: only after ####",
        max_tokens=max_tokens,
        inline=True,
    )


def free_text(name: str, accept: Callable[[str, str], bool], description: str, *, instruction: str = "") -> Protocol:
    """The reply as a whole is held against the target by ``accept(reply, target)``."""

    def render(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
        return with_instruction(sample, instruction)

    def grade(sample: Sample, completion: Completion) -> Score:
        return exact.grade(completion.text, sample.target, accept)

    return Protocol(
        name=name,
        version="1",
        kind="chat",
        render=render,
        grade=grade,
        description=description,
        max_tokens=1024,
        inline=True,
    )


TEST, ENTRY_POINT = "test", "entry_point"


def written_code() -> Protocol:
    """The reply is code that must pass the sample's ``test``, which calls the function ``entry_point``.

    Where the code does not define that function itself, it is taken to go on from the question.
    """

    def grade(sample: Sample, completion: Completion) -> Score:
        if TEST not in sample.metadata:
            return Score(value=None, reason="not scored: the item has no test")
        entry_point = sample.metadata[ENTRY_POINT]
        found = code.written(visible(completion.text), entry_point)
        text = found or ""
        if not code.defines(text, entry_point):
            text = question(sample) + text
        program = Program(code=text, test=sample.metadata[TEST], entry_point=entry_point)
        return code.grade(program, Limits(), found)

    return Protocol(
        name="code",
        version="1",
        kind="chat",
        render=lambda sample, exemplars: ask(sample),
        grade=grade,
        reply=lambda sample, answer: f"```python\n{answer}\n```",
        description="the code in the reply must pass the row's test, in a sandbox",
        max_tokens=2048,
        ready=code.ready,
    )


def question(sample: Sample) -> str:
    """The words of the question, whether given as a text or as messages."""
    return sample.input if isinstance(sample.input, str) else "\n\n".join(turn.content for turn in sample.input)


def with_instruction(sample: Sample, instruction: str) -> Prompt:
    """The sample's own words, and the instruction below them where there is one."""
    prompt = ask(sample)
    if not instruction:
        return prompt
    *before, last = prompt.messages
    asked = Message(role=last.role, content=f"{last.content}\n\n{instruction}")
    return Prompt(kind="chat", messages=(*before, asked))
