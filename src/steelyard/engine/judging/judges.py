"""Judges in a run: each connected once, asked beside the models under test, and booked apart from them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from steelyard import prices
from steelyard.benchmarks.benchmark import Protocol
from steelyard.engine.asking.attempts import Asker, RetryPolicy
from steelyard.engine.asking.throttle import Door, GateShut
from steelyard.engine.judging.verdicts import Verdicts, key_of_verdict
from steelyard.engine.money.budget import ASSUMED_OUTPUT_TOKENS, SPENT, Till, input_bound, output_bound
from steelyard.errors import ProviderError, UsageError
from steelyard.plan.names import BASELINE, parse_model
from steelyard.providers import connect
from steelyard.providers.function import Function
from steelyard.providers.interface import Provider
from steelyard.store.nouns import NewVerdict, Remembered
from steelyard.types import Completion, Failure, Message, ModelSpec, Prompt, Request, Score, Spent

INSTRUCTION_TOKENS = 1_024
"""Room for the words that a judge is told what to do with."""

SETTINGS = (
    "base_url",
    "api_key_env",
    "temperature",
    "max_tokens",
    "reasoning_effort",
    "extra",
    "timeout_s",
    "concurrency",
    "price",
)


class Seat:
    """One judge: who it is, how many questions it takes at once, and whether it was given up."""

    def __init__(self, protocol: Protocol) -> None:
        assert protocol.judge is not None
        self.spec, given = _spec(protocol.judge)
        self.provider: Provider = given or connect(self.spec)
        self.concurrency = self.spec.concurrency or self.provider.concurrency
        self.policy = RetryPolicy()
        self.tell: Callable[[str], None] = lambda text: None
        self.stopped: Failure | None = None
        self.till: Till | None = None
        self.memory: Verdicts | None = None
        self._form = protocol.judge.form
        self.calls_per_answer = protocol.judge.calls_per_answer
        self._slots = asyncio.Semaphore(self.concurrency)
        self._asker: Asker | None = None

    @property
    def throttle(self) -> Door | None:
        """What keeps questions to it back; ``None`` before the first one."""
        return None if self._asker is None else self._asker.throttle

    def share(self, among: int) -> None:
        """Take so many questions at once as are left when the judge serves several workers."""
        self.concurrency = max(1, self.concurrency // among)
        self._slots = asyncio.Semaphore(self.concurrency)

    def hearing(self, sample_id: str, repeat: int) -> Hearing:
        """The judge as it hears one answer."""
        return Hearing(self, f"{sample_id}/{repeat}", self._form)

    def most_usd(self, asked: Request) -> float:
        """The most that judging the answer to ``asked`` is expected to cost: what must be left when it is there."""
        if self.till is None or not self.till.ledger.is_limited:
            return 0.0
        read = input_bound(asked) + output_bound(asked) + INSTRUCTION_TOKENS
        said = self.spec.max_tokens or ASSUMED_OUTPUT_TOKENS
        return self.calls_per_answer * (self.till.worst_case.of_tokens(read, said) or 0.0)

    async def remembered(self, digest: bytes | None) -> Remembered | None:
        """What the judge said to this in an earlier run, where that may be used."""
        return None if self.memory is None or digest is None else await self.memory.find(digest, self.spec.id)

    async def ask(self, request: Request) -> tuple[Completion, Spent]:
        """Ask once, again where that may help. Raises ``ProviderError`` where there is no answer in the end."""
        async with self._slots:
            if self.stopped is not None:
                raise ProviderError(self.stopped)
            self._asker = asker = self._asker or self._seated()
            bill = None if self.till is None else await self.till.bill(request, is_promised=True)
            if self.till is not None and bill is None:
                raise Unheard(Failure(kind="quota", message=SPENT), 0)
            started = datetime.now(UTC)
            try:
                outcome = await asker.ask(request, bill)
            except GateShut:
                assert self.stopped is not None
                raise Unheard(self.stopped, 0) from None
            cost = None
            if outcome.completion is not None:
                cost = prices.cost_usd(outcome.completion.usage, self.spec, started)
            if bill is not None:
                bill.close(cost, outcome.failure)
        sent = len(outcome.attempts) + 1
        if outcome.completion is None:
            failure = outcome.failure or Failure(kind="provider", message="no answer")
            if failure.is_permanent and self.stopped is None:
                self.stopped = failure
                asker.throttle.shut()
                self.tell(f"the judge {self.spec.id} stopped: {failure.message}")
            raise Unheard(failure, sent)
        usage = outcome.completion.usage
        return outcome.completion, Spent(
            calls=sent, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cost_usd=cost
        )

    def _seated(self) -> Asker:
        """As it is asked from its first question on."""
        return Asker(
            self.provider,
            timeout_s=self.spec.timeout_s,
            policy=self.policy,
            generator=random.Random(),
            throttle=self.policy.throttle(self.concurrency, self.spec),
            notice=self.tell,
        )


class Unheard(ProviderError):
    """The judge gave no answer, after so many requests."""

    def __init__(self, failure: Failure, sent: int) -> None:
        super().__init__(failure)
        self.sent = sent


class Hearing:
    """One answer before its judge: what ``grade`` asks through, what it took, and the ``replies`` to be kept."""

    def __init__(self, seat: Seat, case: str, form: str) -> None:
        self._seat, self._case, self._form = seat, case, form
        self._asked = 0
        self._spent: list[Spent] = []
        self.replies: list[NewVerdict] = []

    async def ask(self, messages: tuple[Message, ...]) -> Completion:
        """Put messages to the judge."""
        spec = self._seat.spec
        number, self._asked = self._asked, self._asked + 1
        request = Request(
            model=spec.model,
            prompt=Prompt(kind="chat", messages=messages),
            temperature=spec.temperature,
            max_tokens=spec.max_tokens,
            stop=spec.stop,
            seed=_seed(self._case, number) if spec.temperature else None,
            reasoning_effort=spec.reasoning_effort,
            repeat=number,
            extra=spec.extra,
        )
        digest = key_of_verdict(spec, self._seat.provider, request, f"judge/{self._form}/{self._case}")
        if (known := await self._seat.remembered(digest)) is not None:
            self._spent.append(
                Spent(calls=0, input_tokens=0, output_tokens=0, cost_usd=0.0, cached=1, saved_usd=known.cost_usd)
            )
            return msgspec.structs.replace(known.completion, cached=True)
        started_s = time.time()
        try:
            completion, spent = await self._seat.ask(request)
        except Unheard as error:
            self._spent.append(Spent(calls=error.sent, input_tokens=0, output_tokens=0, cost_usd=0.0))
            raise
        self._spent.append(spent)
        if digest is not None:
            self.replies.append(
                NewVerdict(
                    digest=digest,
                    judge=spec.id,
                    completion=completion,
                    started_s=started_s,
                    cost_usd=spent.cost_usd,
                )
            )
        return completion

    def booked(self, scores: dict[str, Score], headline: str) -> dict[str, Score]:
        """The scores, with what the judge took written to the headline. Replies without a verdict are not kept."""
        if scores[headline].value is None:
            self.replies.clear()
        spent = Spent(
            calls=sum(spent.calls for spent in self._spent),
            input_tokens=_total([spent.input_tokens for spent in self._spent]),
            output_tokens=_total([spent.output_tokens for spent in self._spent]),
            cost_usd=_total([spent.cost_usd for spent in self._spent]),
            cached=sum(spent.cached for spent in self._spent),
            saved_usd=_total([spent.saved_usd for spent in self._spent]),
        )
        return scores | {headline: msgspec.structs.replace(scores[headline], spent=spent)}


class Seats:
    """The judges of a run, each seated once however many cells it judges."""

    def __init__(self) -> None:
        self._seats: dict[bytes | int, Seat] = {}

    def of(self, protocol: Protocol) -> Seat | None:
        """The seat of the protocol's judge; ``None`` where no model judges."""
        judge = protocol.judge
        if judge is None:
            return None
        settings = {name: getattr(judge, name) for name in SETTINGS}
        is_named = isinstance(judge.model, str | ModelSpec)
        key = msgspec.json.encode([judge.model, settings], order="sorted") if is_named else id(judge.model)
        if key not in self._seats:
            self._seats[key] = Seat(protocol)
        return self._seats[key]


def _spec(judge: Any) -> tuple[ModelSpec, Provider | None]:
    """The judge as a model with settings, and its provider where it was given as an object."""
    model = judge.model
    settings = {name: getattr(judge, name) for name in SETTINGS}
    if isinstance(model, ModelSpec):
        given = {name: value for name, value in settings.items() if getattr(model, name) in (None, {})}
        return msgspec.structs.replace(model, **given), None
    if isinstance(model, str):
        spec = parse_model(model)
        if spec.provider == BASELINE:
            raise UsageError(f"{model!r} cannot judge: a floor answers without reading")
        if spec.cascade is not None:
            raise UsageError(f"{model!r} cannot judge: a judge is one model. Try: one of the two")
        return msgspec.structs.replace(spec, **settings), None
    provider: Provider | None = model if hasattr(model, "generate") else Function(model) if callable(model) else None
    if provider is None:
        raise UsageError(f"{model!r} is no judge: give a name, a ModelSpec, a callable or a provider object")
    name = str(getattr(provider, "name", type(provider).__name__))
    return ModelSpec(id=name, provider="object", model=name, **settings), provider


def _total(values: list[Any]) -> Any:
    return None if any(value is None for value in values) else sum(values)


def _seed(case: str, number: int) -> int:
    digest = hashlib.blake2b(f"{case}/{number}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
