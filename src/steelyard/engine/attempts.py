"""One question to one model: asked, stamped, and asked again where that may help.

A try is timed alone. The pause before the next one is neither the model's latency nor part of the timed region; it
stands on the record as what it is.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from msgspec import Struct

from steelyard.errors import ProviderError
from steelyard.providers.interface import Done, FirstByte, LikelihoodProvider, Notice, Provider, Text
from steelyard.providers.secrets import scrub
from steelyard.types import Attempt, Completion, Failure, Request, Timing

MOST_TRIES = {"malformed": 2}


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often and how patiently: full jitter over an exponential ceiling (Brooker 2015), Retry-After honoured."""

    tries: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 120.0

    def wait_s(self, tried: int, failure: Failure, generator: random.Random) -> float | None:
        """Seconds before the next try after ``tried`` ones, or ``None`` where there is none."""
        if not failure.is_transient or tried >= MOST_TRIES.get(failure.kind, self.tries):
            return None
        ceiling = min(self.longest_wait_s, self.first_wait_s * 2 ** (tried - 1))
        asked_for = min(failure.retry_after_s or 0.0, self.longest_retry_after_s)
        return max(asked_for, generator.uniform(0.0, ceiling))


class Outcome(Struct, frozen=True, kw_only=True):
    """How a question ended: an answer, or the failure of the last try; ``attempts`` are the failed ones before it."""

    attempts: tuple[Attempt, ...]
    completion: Completion | None
    failure: Failure | None
    last_try_s: float


async def always(failure: Failure) -> bool:
    """Try again whenever the policy says so."""
    return True


async def ask(
    provider: Provider,
    request: Request,
    *,
    timeout_s: float,
    policy: RetryPolicy,
    generator: random.Random,
    notice: Callable[[str], None] = lambda text: None,
    again: Callable[[Failure], Awaitable[bool]] = always,
) -> Outcome:
    """Ask until there is an answer, or a failure that another try will not mend. Always ends.

    ``again`` is asked before each further try whether it may be sent.
    """
    scheduled_ns = time.perf_counter_ns()
    attempts: list[Attempt] = []
    while True:
        dispatched_ns = time.perf_counter_ns()
        result = await _try_once(provider, request, scheduled_ns, dispatched_ns, timeout_s, notice)
        took_s = (time.perf_counter_ns() - dispatched_ns) / 1e9
        if isinstance(result, Completion):
            return Outcome(attempts=tuple(attempts), completion=result, failure=None, last_try_s=took_s)
        wait_s = policy.wait_s(len(attempts) + 1, result, generator)
        if wait_s is None or not await again(result):
            return Outcome(attempts=tuple(attempts), completion=None, failure=result, last_try_s=took_s)
        attempts.append(Attempt(failure=result, duration_s=took_s, wait_s=wait_s))
        await asyncio.sleep(wait_s)


async def _try_once(
    provider: Provider,
    request: Request,
    scheduled_ns: int,
    dispatched_ns: int,
    timeout_s: float,
    notice: Callable[[str], None],
) -> Completion | Failure:
    try:
        async with asyncio.timeout(timeout_s):
            if request.prompt.kind == "likelihood":
                return await _weigh(provider, request, scheduled_ns, dispatched_ns)
            return await _generate(provider, request, Stopwatch(scheduled_ns, dispatched_ns), notice)
    except TimeoutError:
        return Failure(kind="timeout", message=f"no complete answer within {timeout_s:g} s")
    except ProviderError as error:
        return error.failure
    except Exception as error:  # noqa: BLE001 - the boundary where foreign code's errors are attributed to it
        return Failure(kind="provider", message=scrub(f"{type(error).__name__}: {error}"))


async def _weigh(provider: Provider, request: Request, scheduled_ns: int, dispatched_ns: int) -> Completion:
    assert isinstance(provider, LikelihoodProvider)
    likelihoods = await provider.likelihood(request)
    timing = Timing(scheduled_ns=scheduled_ns, dispatched_ns=dispatched_ns, ended_ns=time.perf_counter_ns())
    return Completion(likelihoods=likelihoods, stop_reason="stop", timing=timing)


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


async def _generate(
    provider: Provider, request: Request, watch: Stopwatch, notice: Callable[[str], None]
) -> Completion:
    answer: list[str] = []
    reasoning: list[str] = []
    async with aclosing(provider.generate(request)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, Notice):
                notice(event.text)
                continue
            at_ns = event.at_ns or time.perf_counter_ns()
            if isinstance(event, Text):
                is_answer = event.channel == "answer"
                (answer if is_answer else reasoning).append(event.text)
                watch.token(at_ns, is_answer=is_answer)
            elif isinstance(event, FirstByte):
                watch.byte(at_ns)
            else:
                return _completion("".join(answer), "".join(reasoning), event, request, watch, provider)
    raise ProviderError(Failure(kind="malformed", message="the provider ended without saying that it was done"))


def _completion(
    answer: str, reasoning: str, done: Done, request: Request, watch: Stopwatch, provider: Provider
) -> Completion:
    ended_ns = done.at_ns or time.perf_counter_ns()
    return Completion(
        text=cut_at_stop(answer, request.stop),
        reasoning=reasoning,
        stop_reason=done.stop_reason,
        usage=done.usage,
        timing=watch.stop(ended_ns, streamed=provider.streams and done.streamed),
        model_reported=done.model_reported,
        fingerprint=done.fingerprint,
    )


def cut_at_stop(text: str, stop: tuple[str, ...]) -> str:
    """The text up to the first stop string, for services and callables that do not cut it themselves."""
    ends = [end for string in stop if (end := text.find(string)) >= 0]
    return text[: min(ends)] if ends else text
