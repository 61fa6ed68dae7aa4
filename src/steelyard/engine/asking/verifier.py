"""A model asked whether an answer is right: what it is asked, and how probable its word makes it."""

from __future__ import annotations

import re

from steelyard.types import Completion, Message, ModelSpec, Prompt, Request

INSTRUCTION = (
    "You are given a question and an answer to it. Is the answer right? Reply with one word: Yes or No.\n\n"
    "<question>\n{question}\n</question>\n\n<answer>\n{answer}\n</answer>\n\nIs the answer right? Yes or No:"
)
WORD = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


def verdict_request(asked: Request, answer: str, judge: ModelSpec) -> Request:
    """The question whether ``answer`` is right, put to ``judge`` within the token limit of ``asked``."""
    turns = [turn.content for turn in asked.prompt.messages]
    question = "\n\n".join(turns) if turns else asked.prompt.text
    system = (Message(role="system", content=judge.system),) if judge.system else ()
    words = Message(role="user", content=INSTRUCTION.format(question=question, answer=answer))
    return Request(
        model=judge.model,
        prompt=Prompt(kind="chat", messages=(*system, words)),
        temperature=0.0 if judge.temperature is None else judge.temperature,
        max_tokens=asked.max_tokens,
        stop=judge.stop,
        reasoning_effort=judge.reasoning_effort,
        repeat=asked.repeat,
        extra=judge.extra,
    )


def parse_verdict(verdict: Completion) -> float:
    """How probable it is that the answer is right: the probability of *yes*, of which *no* leaves the rest.

    A judge whose probabilities are unknown is taken at its word, and one that says neither is not sure of anything: 0.
    """
    found = WORD.search(verdict.text)
    if found is None:
        return 0.0
    certainty = 1.0 if verdict.confidence is None else verdict.confidence
    return certainty if found[1].lower() == "yes" else 1.0 - certainty
