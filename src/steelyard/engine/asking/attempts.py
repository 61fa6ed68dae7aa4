"""One question to one model: asked, stamped, and asked again where that may help.

A try is timed alone. The wait for its turn and the pause before another try are neither the model's latency nor part
of the timed region; they stand on the record as what they are.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import aclosing

import msgspec
from msgspec import Struct

from steelyard.engine.asking.believed import believed
from steelyard.engine.asking.deadlines import Deadlines
from steelyard.engine.asking.heard import Heard
from steelyard.engine.asking.throttle import Door, GateShut, Throttle
from steelyard.engine.money.budget import Bill
from steelyard.errors import ProviderError
from steelyard.providers.interface import LikelihoodProvider, Provider, Weighed, teller
from steelyard.secrets import scrub
from steelyard.types import Attempt, Completion, Failure, ModelSpec, Prompt, Request, Stage, Timing, Usage

MOST_TRIES = {"malformed": 2}
CHARACTERS_PER_TOKEN = 4.0


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often and how patiently: full jitter over an exponential ceiling (Brooker 2015).

    A refusal for rate is waited out by the throttle, for all requests at once; it counts as a try of ``refusals``.
    A pause that the service asks for is kept however long; ``longest_s`` bounds all tries of one question with their
    pauses, from the first one that is sent: one that would go beyond it is not waited for.
    """

    tries: int = 5
    refusals: int = 100
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_s: float = 3600.0

    def wait_s(self, tried: int, failure: Failure, generator: random.Random) -> float | None:
        """Seconds before the next try after ``tried`` ones like it, or ``None`` where there is none."""
        is_refusal = failure.kind == "rate_limit"
        most = self.refusals if is_refusal else MOST_TRIES.get(failure.kind, self.tries)
        if not failure.is_transient or tried >= most:
            return None
        if is_refusal:
            return 0.0
        return max(
            failure.retry_after_s or 0.0,
            generator.uniform(0.0, min(self.longest_wait_s, self.first_wait_s * 2 ** (tried - 1))),
        )

    def throttle(self, most: int, spec: ModelSpec | None = None) -> Door:
        """A gate before a model, and a door to it: ``most`` in flight, the limits it states, pauses as here."""
        return Door(
            Throttle(
                most,
                requests_per_minute=spec.requests_per_minute if spec else None,
                tokens_per_minute=spec.tokens_per_minute if spec else None,
                first_pause_s=self.first_wait_s,
                longest_pause_s=self.longest_wait_s,
            )
        )


class Outcome(Struct, frozen=True, kw_only=True):
    """How a question ended: an answer, or the failure of the last try; ``attempts`` are the failed ones before it.

    ``last_try_s`` is ``None`` where the clock cannot be trusted. ``stages`` are those of several models that were
    answered, whether or not the whole was.
    """

    attempts: tuple[Attempt, ...]
    completion: Completion | None
    failure: Failure | None
    last_try_s: float | None
    stages: tuple[Stage, ...] = ()


class Asker:
    """One model as it is asked: so patiently, by one door, ``notice`` told what is odd. Without one, one at a time."""

    def __init__(
        self,
        provider: Provider,
        *,
        timeout_s: float,
        policy: RetryPolicy,
        generator: random.Random,
        throttle: Door | None = None,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.provider, self.throttle = provider, throttle or policy.throttle(1)
        self._timeout_s, self._policy, self._generator, self._notice = timeout_s, policy, generator, notice
        self._deadlines = Deadlines(timeout_s)
        self._tells = teller(provider)

    async def ask(self, request: Request, bill: Bill | None = None) -> Outcome:
        """Ask until there is an answer, or a failure that another try will not mend. Always ends.

        ``bill`` is open for the first try, says before each further one whether there is money for it, and stays open
        for how the last one ended. Raises ``GateShut`` where the door was shut before anything was sent.
        """
        throttle = self.throttle
        input_tokens = _guessed_tokens(request.prompt) if throttle.counts_tokens else 0.0
        scheduled_ns = time.perf_counter_ns()
        attempts: list[Attempt] = []
        tried = {False: 0, True: 0}  # by whether it was a refusal
        begun_ns = failed_ns = 0
        while True:
            try:
                if attempts:
                    await throttle.rest(attempts[-1].wait_s)
                ticket = throttle.at_once(input_tokens) or await throttle.enter(
                    input_tokens=input_tokens, again=bool(attempts)
                )
            except (GateShut, asyncio.CancelledError) as end:
                if bill is not None:
                    bill.unsend()
                if not attempts or not isinstance(end, GateShut):
                    if bill is not None:
                        bill.leave_unrecorded(len(attempts))
                    raise
                *before, last = attempts
                return Outcome(
                    attempts=tuple(before), completion=None, failure=last.failure, last_try_s=last.duration_s
                )
            dispatched_ns = time.perf_counter_ns()
            begun_ns = begun_ns or dispatched_ns
            if attempts:
                attempts[-1] = msgspec.structs.replace(attempts[-1], wait_s=(dispatched_ns - failed_ns) / 1e9)
            try:
                result = await self._try_once(request, scheduled_ns, dispatched_ns)
            except BaseException:
                throttle.withdraw()
                if bill is not None:
                    bill.cut_off()
                    bill.leave_unrecorded(len(attempts) + 1)
                raise
            failed_ns = time.perf_counter_ns()
            took_s = (failed_ns - dispatched_ns) / 1e9
            if isinstance(result, Completion):
                throttle.leave(ticket, None, tokens=_tokens_of(result.usage))
                return Outcome(attempts=tuple(attempts), completion=result, failure=None, last_try_s=took_s)
            throttle.leave(ticket, result)
            is_refusal = result.kind == "rate_limit"
            tried[is_refusal] += not throttle.is_closed or throttle.is_lost  # while nobody gets through no try counts
            wait_s = self._policy.wait_s(tried[is_refusal], result, self._generator)
            is_late = (failed_ns - begun_ns) / 1e9 + (wait_s or 0.0) > self._policy.longest_s
            if wait_s is None or is_late or not (bill is None or await bill.again(result)):
                return Outcome(attempts=tuple(attempts), completion=None, failure=result, last_try_s=took_s)
            attempts.append(Attempt(failure=result, duration_s=took_s, wait_s=wait_s))

    async def _try_once(self, request: Request, scheduled_ns: int, dispatched_ns: int) -> Completion | Failure:
        try:
            with self._deadlines.begin():
                if request.prompt.kind == "likelihood":
                    answer = await _weigh(self.provider, request, scheduled_ns, dispatched_ns)
                else:
                    answer = await self._generate(request, scheduled_ns, dispatched_ns)
                return believed(answer, request, self._notice)
        except TimeoutError:
            return Failure(kind="timeout", message=f"no complete answer within {self._timeout_s:g} s")
        except ProviderError as error:
            return error.failure
        except Exception as error:  # noqa: BLE001 - the boundary where foreign code's errors are attributed to it
            return Failure(kind="provider", message=scrub(f"{type(error).__name__}: {error}"))

    async def _generate(self, request: Request, scheduled_ns: int, dispatched_ns: int) -> Completion:
        heard = Heard(
            scheduled_ns,
            dispatched_ns,
            streams=self.provider.streams,
            notice=self._notice,
            hold=self.throttle.hold,
        )
        if self._tells is not None:
            await self._tells.tell(request, heard.hear)
        else:
            await _iterate(self.provider, request, heard)
        return heard.completion(request.stop)


async def _iterate(provider: Provider, request: Request, heard: Heard) -> None:
    """Ask for one event after the other, up to the one that says that the answer is complete."""
    async with aclosing(provider.generate(request)) as events:  # type: ignore[type-var]
        async for event in events:
            heard.hear(event)
            if heard.is_done:
                return


def _guessed_tokens(prompt: Prompt) -> float:
    """What the prompt will count, before anybody has counted it; before each continuation it is sent anew."""
    shared = len(prompt.text) + sum(len(turn.content) for turn in prompt.messages)
    characters = max(1, len(prompt.continuations)) * shared + sum(map(len, prompt.continuations))
    return characters / CHARACTERS_PER_TOKEN


def _tokens_of(usage: Usage) -> int | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens + usage.output_tokens


async def _weigh(provider: Provider, request: Request, scheduled_ns: int, dispatched_ns: int) -> Completion:
    assert isinstance(provider, LikelihoodProvider)
    found = await provider.likelihood(request)
    timing = Timing(scheduled_ns=scheduled_ns, dispatched_ns=dispatched_ns, ended_ns=time.perf_counter_ns())
    weighed = found if isinstance(found, Weighed) else Weighed(likelihoods=found)
    return Completion(
        likelihoods=weighed.likelihoods,
        stop_reason="stop",
        usage=weighed.usage,
        timing=timing,
        model_reported=weighed.model_reported,
        fingerprint=weighed.fingerprint,
    )
