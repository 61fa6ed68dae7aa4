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
from types import TracebackType

import msgspec
from msgspec import Struct

from steelyard.engine.asking.believed import believed
from steelyard.engine.asking.thoughts import behind_thoughts
from steelyard.engine.asking.throttle import Door, GateShut, Throttle
from steelyard.engine.money.budget import Bill
from steelyard.errors import ProviderError
from steelyard.providers.interface import Done, FirstByte, LikelihoodProvider, Notice, Provider, Text, Weighed
from steelyard.secrets import scrub
from steelyard.types import TRUNCATED, Attempt, Completion, Failure, ModelSpec, Prompt, Request, Stage, Timing, Usage

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
                ticket = await throttle.enter(input_tokens=input_tokens, again=bool(attempts))
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
            with Deadline(self._timeout_s):
                if request.prompt.kind == "likelihood":
                    answer = await _weigh(self.provider, request, scheduled_ns, dispatched_ns)
                else:
                    answer = await self._generate(request, Stopwatch(scheduled_ns, dispatched_ns))
                return believed(answer, request, self._notice)
        except TimeoutError:
            return Failure(kind="timeout", message=f"no complete answer within {self._timeout_s:g} s")
        except ProviderError as error:
            return error.failure
        except Exception as error:  # noqa: BLE001 - the boundary where foreign code's errors are attributed to it
            return Failure(kind="provider", message=scrub(f"{type(error).__name__}: {error}"))

    async def _generate(self, request: Request, watch: Stopwatch) -> Completion:
        provider = self.provider
        answer: list[str] = []
        reasoning: list[str] = []
        async with aclosing(provider.generate(request)) as events:  # type: ignore[type-var]
            async for event in events:  # those that come most often first
                if isinstance(event, Text):
                    is_answer = event.channel == "answer"
                    (answer if is_answer else reasoning).append(event.text)
                    watch.token(event.at_ns or time.perf_counter_ns(), is_answer=is_answer)
                elif isinstance(event, FirstByte):
                    watch.byte(event.at_ns or time.perf_counter_ns())
                elif isinstance(event, Done):
                    return _completion(answer, reasoning, event, request, watch, provider)
                elif isinstance(event, Notice):
                    self._notice(event.text)
                else:
                    self.throttle.hold(event.seconds)
        raise ProviderError(Failure(kind="malformed", message="the provider ended without saying that it was done"))


def _guessed_tokens(prompt: Prompt) -> float:
    """What the prompt will count, before anybody has counted it; before each continuation it is sent anew."""
    shared = len(prompt.text) + sum(len(turn.content) for turn in prompt.messages)
    characters = max(1, len(prompt.continuations)) * shared + sum(map(len, prompt.continuations))
    return characters / CHARACTERS_PER_TOKEN


def _tokens_of(usage: Usage) -> int | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens + usage.output_tokens


class Deadline:
    """Ends what the task awaits within it by ``TimeoutError``: ``asyncio.timeout`` at a third of its cost a call.

    A cancellation from elsewhere stays one, also when both come at once.
    """

    __slots__ = ("_cancelled_before", "_has_passed", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._has_passed = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelled_before = task, task.cancelling()
        self._timer = task.get_loop().call_later(self._seconds, self._pass)

    def _pass(self) -> None:
        self._has_passed = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if not self._has_passed:
            return
        is_ours_alone = self._task.uncancel() <= self._cancelled_before
        if is_ours_alone and kind is asyncio.CancelledError:
            raise TimeoutError from error


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


class Stopwatch:
    """Collects the stamps of one try as events come in."""

    def __init__(self, scheduled_ns: int, dispatched_ns: int) -> None:
        self._scheduled_ns, self._dispatched_ns = scheduled_ns, dispatched_ns
        self._first_byte_ns: int | None = None
        self._first_token_ns: int | None = None
        self._first_answer_ns: int | None = None
        self._last_token_ns: int | None = None
        self._gaps_ns: list[int] = []

    def byte(self, at_ns: int) -> None:
        """The reply has begun."""
        self._first_byte_ns = at_ns

    def token(self, at_ns: int, *, is_answer: bool) -> None:
        """A chunk with text has arrived."""
        if self._last_token_ns is None:
            self._first_token_ns = at_ns
        else:
            self._gaps_ns.append(at_ns - self._last_token_ns)
        if is_answer and self._first_answer_ns is None:
            self._first_answer_ns = at_ns
        self._last_token_ns = at_ns

    def stop(self, at_ns: int, *, streamed: bool) -> Timing:
        """The stamps as they stand when the reply is complete."""
        return Timing(
            scheduled_ns=self._scheduled_ns,
            dispatched_ns=self._dispatched_ns,
            first_byte_ns=self._first_byte_ns,
            first_token_ns=self._first_token_ns,
            first_answer_ns=self._first_answer_ns,
            last_token_ns=self._last_token_ns,
            ended_ns=at_ns,
            streamed=streamed,
            gaps_ns=tuple(self._gaps_ns) if streamed else (),
        )


def _completion(
    answer: list[str], reasoning: list[str], done: Done, request: Request, watch: Stopwatch, provider: Provider
) -> Completion:
    timing = watch.stop(done.at_ns or time.perf_counter_ns(), streamed=provider.streams and done.streamed)
    completion = Completion(
        text="".join(answer),
        reasoning="".join(reasoning),
        stop_reason=done.stop_reason,
        usage=done.usage,
        timing=timing if reasoning else behind_thoughts(timing, answer),
        model_reported=done.model_reported,
        fingerprint=done.fingerprint,
        confidence=done.confidence,
    )
    return cut_at_stop(completion, request.stop)


def cut_at_stop(completion: Completion, stop: tuple[str, ...]) -> Completion:
    """The answer up to the first stop string, for services and callables that do not cut it themselves.

    One that went on to the token limit from there was not cut off by it.
    """
    ends = [end for string in stop if (end := completion.text.find(string)) >= 0]
    if not ends:
        return completion
    reason = "stop" if completion.stop_reason in TRUNCATED else completion.stop_reason
    return msgspec.structs.replace(completion, text=completion.text[: min(ends)], stop_reason=reason)
