"""What is asked, and of whom: an item, its prompt, a request, a model with its settings."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec
from msgspec import Struct

Kind = Literal["chat", "completion", "likelihood"]
ConfidenceBy = Literal["logprob", "agreement", "judge"]


class Message(Struct, frozen=True, kw_only=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


LOST_TEXT = "lost-text"
"""The flag of an item whose text was lost with a damaged store: its answers keep their scores and get no new ones."""


class Sample(Struct, frozen=True, kw_only=True):
    """One item of a benchmark, before any protocol has put it into words.

    ``target`` is the gold answer: for an item with ``choices`` the text of the right one is
    ``choices[int(target)]`` and ``target`` its 0-based index in decimal, because two choices may read alike.
    ``flags`` name known properties of the item, such as a defect; each gives a score with and without such items.
    """

    id: str
    input: str | tuple[Message, ...]
    target: str
    choices: tuple[str, ...] = ()
    cluster: str | None = None
    stratum: str | None = None
    flags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}


class Prompt(Struct, frozen=True, kw_only=True):
    """What a protocol makes of a sample: chat messages, or a text, or a text with continuations to weigh."""

    kind: Kind
    messages: tuple[Message, ...] = ()
    text: str = ""
    continuations: tuple[str, ...] = ()


class Request(Struct, frozen=True, kw_only=True):
    """One question as it is put to a model. ``extra`` is sent as it is, beside the fields named here."""

    model: str
    prompt: Prompt
    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: str | None = None
    repeat: int = 0
    extra: dict[str, Any] = {}

    def digest(self, origin: str, about: str = "") -> bytes:
        """32 bytes that change whenever anything that can change the answer does.

        ``origin`` names who answers: a base URL, a weights file's sha256 with its runtime, a function's version.
        ``about`` tells apart what is asked about different things in the same words, as judges are.
        """
        return hashlib.sha256(msgspec.json.encode([about, origin, self], order="sorted")).digest()


class WireRequest(Struct, frozen=True, kw_only=True):
    """A request as it goes over the wire, to be sent by hand: ``body`` is its JSON.

    Where a header has a key, ``$`` and ``key_variable`` stand for it, by which shells call what that variable holds.
    ``left_out`` are settings that the model does not take as they were asked for, each with what happens instead.
    """

    url: str
    headers: dict[str, str]
    body: str
    key_variable: str | None = None
    left_out: dict[str, str] = {}


class Price(Struct, frozen=True, kw_only=True):
    """USD per million tokens, as the user states it. Reasoning costs as output does unless it has its own price."""

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None


class Confidence(Struct, frozen=True, kw_only=True):
    """How a model's answers are given a confidence, from 0 to 1.

    ``logprob``: the mean probability of the answer's tokens, as a geometric mean. ``agreement``: of ``samples`` answers
    at ``temperature``, the share that agrees with the commonest, which is then the answer. ``judge``: what the model
    ``judge`` makes of it when it is asked whether the answer is right.
    """

    by: ConfidenceBy
    samples: int = 5
    temperature: float = 0.7
    judge: ModelSpec | None = None


class Escalation(Struct, frozen=True, kw_only=True):
    """Two models as one system: ``cheap`` answers, and ``dear`` wherever the confidence in that is below ``threshold``.

    ``cheap.confidence`` says how confidence is found. ``threshold`` is ``None`` until somebody has said it.
    """

    cheap: ModelSpec
    dear: ModelSpec
    threshold: float | None = None


class ModelSpec(Struct, frozen=True, kw_only=True):
    """One system under test: a model with its own generation settings. ``id`` is what tables call it.

    A setting left at ``None`` follows the protocol. ``provider`` is ``python`` for an object given in Python.
    ``batch``: asked through the provider's batch API, within a day at about half the price, without any latency.
    ``server_pid``: the process of this machine that serves it, to be weighed; no part of what is asked.
    ``confidence``: how each answer is given one; ``None`` where nobody asks. ``cascade``: the two models that this
    system consists of, where it is one.
    """

    id: str
    provider: str
    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None
    stop: tuple[str, ...] = ()
    extra: dict[str, Any] = {}
    timeout_s: float = 600.0
    concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    price: Price | None = None
    version: str | None = None
    batch: bool = False
    server_pid: int | None = None
    confidence: Confidence | None = None
    cascade: Escalation | None = None

    @property
    def asked(self) -> tuple[ModelSpec, ...]:
        """The models that are asked for one answer, and paid: of a cascade both, and whoever judges the first."""
        if self.cascade is not None:
            return (*self.cascade.cheap.asked, self.cascade.dear)
        judge = self.confidence.judge if self.confidence is not None else None
        return (self,) if judge is None else (self, judge)

    @property
    def calls_per_answer(self) -> int:
        """How many calls stand behind one answer at the utmost, each tried once."""
        first = self if self.cascade is None else self.cascade.cheap
        how = first.confidence
        samples = how.samples if how is not None and how.by == "agreement" else 1
        return samples - 1 + len(self.asked)
