"""Several calls behind one answer: how sure a model is of it, and whether a dearer one is asked instead.

Each model of a system has its own door to its gate, its own retries and its own till, so that a fault of the second
never asks the first again, and every stage costs what it costs. The time to the answer is the whole way, our own
waiting left out.
Nothing is handed on before the first answer is complete and weighed, so the answer of a system comes in one piece.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from steelyard import prices
from steelyard.engine.asking.attempts import Asker, Outcome, RetryPolicy
from steelyard.engine.asking.gates import Gates
from steelyard.engine.asking.throttle import Door, GateShut
from steelyard.engine.asking.verifier import parse_verdict, verdict_request
from steelyard.engine.asking.way import Came, Extract, Way, as_one, commonest, stage_of
from steelyard.engine.cells import Cell, with_system
from steelyard.engine.judging.judges import INSTRUCTION_TOKENS
from steelyard.engine.money.budget import Bill, Ledger, Till, input_bound, is_free, output_bound
from steelyard.providers.cascade import members_of
from steelyard.providers.interface import GivesConfidence, Provider
from steelyard.types import (
    Completion,
    Confidence,
    Failure,
    ModelSpec,
    Request,
    Stage,
    StagePart,
)


class Unpaid(Exception):
    """The budget has no room for the next stage."""


class Unanswered(Exception):
    """A stage failed for good."""

    def __init__(self, failure: Failure, last_try_s: float | None) -> None:
        super().__init__(failure.message)
        self.failure, self.last_try_s = failure, last_try_s or 0.0


@dataclass(kw_only=True)
class Station:
    """One model of a system, as one run asks it."""

    spec: ModelSpec
    asker: Asker
    till: Till | None = None


def system_of(
    cell: Cell,
    *,
    policy: RetryPolicy,
    gates: Gates,
    concurrency: int,
    tell: Callable[[str], None],
    generator: random.Random,
) -> System | None:
    """The several calls behind each answer of a cell; ``None`` where there is one."""
    if cell.provider is None or (cell.spec.confidence is None and cell.spec.cascade is None):
        return None
    return System(
        cell.spec,
        cell.provider,
        policy=policy,
        gates=gates,
        concurrency=concurrency,
        tell=tell,
        generator=generator,
    )


class System:
    """The models behind one answer: the first, whoever judges it, and the one that takes over."""

    def __init__(
        self,
        spec: ModelSpec,
        provider: Provider,
        *,
        policy: RetryPolicy,
        gates: Gates,
        concurrency: int,
        tell: Callable[[str], None],
        generator: random.Random,
    ) -> None:
        self.stations = tuple(
            Station(
                spec=member.spec,
                asker=Asker(
                    member.provider,
                    timeout_s=member.spec.timeout_s,
                    policy=policy,
                    generator=generator,
                    throttle=gates.door(concurrency, member.spec, member.provider),
                    notice=tell,
                ),
            )
            for member in members_of(spec, provider)
        )
        self.first = self.stations[0]
        confidence = self.first.spec.confidence
        assert confidence is not None
        self._how: Confidence = confidence
        self._has_told = False
        self._ledger: Ledger | None = None
        self._judge = self.stations[1] if confidence.judge is not None else None
        self._second = self.stations[-1] if spec.cascade is not None else None
        self._threshold = spec.cascade.threshold if spec.cascade is not None else None

    @property
    def throttles(self) -> tuple[Door, ...]:
        """The gate before each model, the first one's first."""
        return tuple(station.asker.throttle for station in self.stations)

    def pay_from(self, ledger: Ledger) -> None:
        """Let each model be paid at its own price."""
        self._ledger = ledger
        for station in self.stations:
            station.till = None if is_free(station.spec) else Till(ledger, station.spec)

    def first_request(self, request: Request) -> Request:
        """What the first model is asked first, in its own settings."""
        return self._opening(request, b"", 0)

    def most_to_follow_usd(self, request: Request) -> float:
        """The most that all calls after the first one can cost."""
        first = self.first_request(request)
        read, said = input_bound(first), output_bound(first)
        most_usd = _most_usd(self.first, read, said) * (self._calls - 1)
        if self._judge is not None:
            most_usd += _most_usd(self._judge, read + said + INSTRUCTION_TOKENS, self._judge_tokens)
        if self._second is not None:
            second = as_asked(request, self._second.spec)
            most_usd += _most_usd(self._second, input_bound(second), output_bound(second))
        return most_usd

    async def ask(self, request: Request, case: bytes, bill: Bill | None, extract: Extract) -> Outcome:
        """Ask stage by stage. ``bill`` is open for the first call; ``case`` tells seeds of one item from another's.

        Raises ``GateShut`` where a model takes no more requests, ``Unpaid`` where the money does not reach.
        """
        scheduled_ns, way = time.perf_counter_ns(), Way()
        try:
            completion = await self._weighed(request, case, bill, extract, way)
            if self._second is not None and self._is_unsure(completion):
                completion = await self._escalated(request, case, completion, way)
        except Unanswered as error:
            return Outcome(
                attempts=tuple(way.attempts),
                completion=None,
                failure=error.failure,
                last_try_s=error.last_try_s + sum(stage.took_s or 0.0 for stage in way.stages),
                stages=tuple(way.stages),
            )
        except (GateShut, Unpaid, asyncio.CancelledError):
            self._lose(way)
            raise
        if len(way.stages) > 1 or self._calls > 1 or self._second is not None:
            completion = as_one(completion, way.stages, scheduled_ns)
        return Outcome(
            attempts=tuple(way.attempts),
            completion=completion,
            failure=None,
            last_try_s=way.stages[-1].took_s,
            stages=tuple(way.stages),
        )

    def _lose(self, way: Way) -> None:
        """The item is to be asked anew, and what was answered of it is kept nowhere."""
        for cost_usd in way.paid_usd:
            assert self._ledger is not None
            self._ledger.lose(cost_usd)

    @property
    def _calls(self) -> int:
        return self._how.samples if self._how.by == "agreement" else 1

    def _is_unsure(self, completion: Completion) -> bool:
        assert self._threshold is not None
        return completion.confidence is None or completion.confidence < self._threshold

    async def _weighed(
        self, request: Request, case: bytes, bill: Bill | None, extract: Extract, way: Way
    ) -> Completion:
        """The first model's answer with its confidence."""
        if self._how.by == "agreement":
            return await self._agreed(request, case, bill, extract, way)
        asked = self._opening(request, case, 0)
        came = await self._call(self.first, asked, way, bill)
        way.stages.append(self._stage(self.first, "answer", [came]))
        if self._how.by == "judge":
            confidence = await self._judged(asked, came.completion, way)
        else:
            confidence = self._probability(came.completion)
        return replace(came.completion, confidence=confidence)

    async def _agreed(self, request: Request, case: bytes, bill: Bill | None, extract: Extract, way: Way) -> Completion:
        """Of several answers side by side, the first that says what most of them say, and how many do."""
        bills = [bill] + [None] * (self._calls - 1)
        asking = [
            self._call(self.first, self._opening(request, case, number), way, each) for number, each in enumerate(bills)
        ]
        ended = await asyncio.gather(*asking, return_exceptions=True)
        came = [one for one in ended if isinstance(one, Came)]
        said = [await extract(one.completion) for one in came]
        if came:
            way.stages.append(self._stage(self.first, "answer", came, answers=said))
        for fault in ended:
            if isinstance(fault, BaseException):
                raise fault
        chosen, share = commonest(said)
        return replace(came[chosen].completion, confidence=share)

    async def _judged(self, asked: Request, completion: Completion, way: Way) -> float:
        """How probable the judge finds it that the answer is right."""
        assert self._judge is not None
        request = verdict_request(replace(asked, max_tokens=self._judge_tokens), completion.text, self._judge.spec)
        gives = self._judge.asker.provider
        if isinstance(gives, GivesConfidence):
            request = gives.with_confidence(request)
        came = await self._call(self._judge, request, way)
        way.stages.append(replace(self._stage(self._judge, "judge", [came]), text=came.completion.text))
        return parse_verdict(came.completion)

    @property
    def _judge_tokens(self) -> int:
        assert self._judge is not None
        return self._judge.spec.max_tokens or 16

    async def _escalated(self, request: Request, case: bytes, cheap: Completion, way: Way) -> Completion:
        """The second model's answer, under the first one's confidence; the first answer stays with its stage."""
        assert self._second is not None
        asked = _seeded(as_asked(request, self._second.spec), case)
        way.stages[0] = replace(way.stages[0], text=cheap.text)
        came = await self._call(self._second, asked, way)
        way.stages.append(self._stage(self._second, "escalation", [came]))
        return replace(came.completion, confidence=cheap.confidence)

    def _opening(self, request: Request, case: bytes, number: int) -> Request:
        """The request to the first model; of several samples the ``number``-th."""
        asked = as_asked(request, self.first.spec)
        if self._how.by == "agreement":
            return _seeded(replace(asked, temperature=self._how.temperature, seed=None), case, number)
        provider = self.first.asker.provider
        if self._how.by == "logprob" and isinstance(provider, GivesConfidence):
            asked = provider.with_confidence(asked)
        return _seeded(asked, case)

    def _probability(self, completion: Completion) -> float:
        """What the provider reported; of an answer without a word 0, for nothing can be sure of that."""
        if completion.confidence is not None:
            self._has_told = True
            return completion.confidence
        if not completion.text:
            return 0.0
        failure = self._no_logprobs("an answer came without them")
        if self._has_told:  # this one did not, as others may not where several servers stand behind one name
            failure = replace(failure, kind="provider")
        raise Unanswered(failure, 0.0)

    def _no_logprobs(self, told: str) -> Failure:
        message = (
            f"{self.first.spec.id} gives no log-probabilities of its answers' tokens: {told}. "
            "Try: --confidence agreement, or --confidence judge"
        )
        return Failure(kind="unavailable", message=message)

    async def _call(self, station: Station, request: Request, way: Way, bill: Bill | None = None) -> Came:
        """One call to one model, tried again where that may help, and paid."""
        if bill is None and station.till is not None:
            bill = await station.till.bill(request, is_promised=True)
            if bill is None:
                raise Unpaid
        started = datetime.now(UTC)
        outcome = await station.asker.ask(request, bill)
        way.attempts += outcome.attempts
        completion = outcome.completion
        cost_usd = None if completion is None else prices.cost_usd(completion.usage, station.spec, started)
        if bill is not None:
            bill.close(cost_usd, outcome.failure)
            way.paid_usd.append(cost_usd or 0.0)
        if completion is None:
            assert outcome.failure is not None
            raise Unanswered(self._explained(outcome.failure, station), outcome.last_try_s)
        return Came(completion=completion, cost_usd=cost_usd)

    def _stage(
        self, station: Station, part: StagePart, came: Sequence[Came], answers: Sequence[str | None] = ()
    ) -> Stage:
        is_uncounted = is_free(station.spec) and not all(is_free(other.spec) for other in self.stations)
        return stage_of(station.spec.id, part, came, answers=answers, is_uncounted=is_uncounted)

    def _explained(self, failure: Failure, station: Station) -> Failure:
        """Whose failure it is; a refusal to tell log-probabilities is one for good."""
        if station is self.first and self._how.by == "logprob" and failure.status in (400, 422):
            words = failure.message.lower()
            if "logprob" in words or "log-prob" in words:
                return replace(self._no_logprobs(failure.message), status=failure.status)
        if len(self.stations) == 1:
            return failure
        return replace(failure, message=f"{station.spec.id}: {failure.message}")


def as_asked(request: Request, spec: ModelSpec) -> Request:
    """The request under a model's own settings, where it has some."""
    own = {name: getattr(spec, name) for name in ("temperature", "max_tokens", "reasoning_effort")}
    changes = {name: value for name, value in own.items() if value is not None}
    return replace(
        request,
        model=spec.model,
        prompt=with_system(request.prompt, spec.system),
        stop=spec.stop or request.stop,
        extra=request.extra | spec.extra,
        **changes,
    )


def _seeded(request: Request, case: bytes, number: int = 0) -> Request:
    """The request with a seed of its own wherever chance has a say and nobody has set one."""
    if not request.temperature or request.seed is not None:
        return request
    digest = hashlib.blake2b(case + number.to_bytes(4, "big"), digest_size=4).digest()
    return replace(request, seed=int.from_bytes(digest, "big") >> 1)


def _most_usd(station: Station, input_tokens: int, output_tokens: int) -> float:
    """The most that a call of so many tokens can cost; 0 where nobody counts."""
    if station.till is None or not station.till.ledger.is_limited:
        return 0.0
    return station.till.worst_case.of_tokens(input_tokens, output_tokens) or 0.0
