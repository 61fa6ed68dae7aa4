"""What one try hears of a model: the pieces of its answer, and when each came."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from steelyard.engine.asking.thoughts import behind_thoughts
from steelyard.errors import ProviderError
from steelyard.providers.interface import Done, Event, FirstByte, Notice, Text
from steelyard.types import TRUNCATED, Completion, Failure, Timing


class Heard:
    """Takes events as they come, up to the first ``Done``; ``notice`` and ``hold`` are told what is not the answer's.

    ``streams``: whether what comes in pieces came as the model said it.
    """

    __slots__ = (
        "_answer", "_dispatched_ns", "_done", "_ended_ns", "_first_answer_ns", "_first_byte_ns", "_first_token_ns",
        "_gaps_ns", "_hold", "_last_token_ns", "_notice", "_reasoning", "_scheduled_ns", "_streams",
    )  # fmt: skip

    def __init__(
        self,
        scheduled_ns: int,
        dispatched_ns: int,
        *,
        streams: bool,
        notice: Callable[[str], None],
        hold: Callable[[float], None],
    ) -> None:
        self._scheduled_ns, self._dispatched_ns = scheduled_ns, dispatched_ns
        self._streams, self._notice, self._hold = streams, notice, hold
        self._answer: list[str] = []
        self._reasoning: list[str] = []
        self._first_byte_ns: int | None = None
        self._first_token_ns: int | None = None
        self._first_answer_ns: int | None = None
        self._last_token_ns: int | None = None
        self._gaps_ns: list[int] = []
        self._done: Done | None = None
        self._ended_ns = 0

    @property
    def is_done(self) -> bool:
        """Whether the answer is complete."""
        return self._done is not None

    def hear(self, event: Event) -> None:
        """Something came. Those that come most often are looked for first."""
        if self._done is not None:
            return
        if isinstance(event, Text):
            is_answer = event.channel == "answer"
            (self._answer if is_answer else self._reasoning).append(event.text)
            self.token(event.at_ns or time.perf_counter_ns(), is_answer=is_answer)
        elif isinstance(event, FirstByte):
            self._first_byte_ns = event.at_ns or time.perf_counter_ns()
        elif isinstance(event, Done):
            self._done, self._ended_ns = event, event.at_ns or time.perf_counter_ns()
        elif isinstance(event, Notice):
            self._notice(event.text)
        else:
            self._hold(event.seconds)

    def token(self, at_ns: int, *, is_answer: bool) -> None:
        """A chunk with text has arrived."""
        if self._last_token_ns is None:
            self._first_token_ns = at_ns
        else:
            self._gaps_ns.append(at_ns - self._last_token_ns)
        if is_answer and self._first_answer_ns is None:
            self._first_answer_ns = at_ns
        self._last_token_ns = at_ns

    def completion(self, stop: tuple[str, ...]) -> Completion:
        """The answer, up to the first stop string; raises ``ProviderError`` where it never was complete."""
        done = self._done
        if done is None:
            message = "the provider ended without saying that it was done"
            raise ProviderError(Failure(kind="malformed", message=message))
        timing = self._timing(is_streamed=self._streams and done.streamed)
        completion = Completion(
            text="".join(self._answer),
            reasoning="".join(self._reasoning),
            stop_reason=done.stop_reason,
            usage=done.usage,
            timing=timing if self._reasoning else behind_thoughts(timing, self._answer),
            model_reported=done.model_reported,
            fingerprint=done.fingerprint,
            confidence=done.confidence,
        )
        return cut_at_stop(completion, stop) if stop else completion

    def _timing(self, *, is_streamed: bool) -> Timing:
        return Timing(
            scheduled_ns=self._scheduled_ns,
            dispatched_ns=self._dispatched_ns,
            first_byte_ns=self._first_byte_ns,
            first_token_ns=self._first_token_ns,
            first_answer_ns=self._first_answer_ns,
            last_token_ns=self._last_token_ns,
            ended_ns=self._ended_ns,
            streamed=is_streamed,
            gaps_ns=tuple(self._gaps_ns) if is_streamed else (),
        )


def cut_at_stop(completion: Completion, stop: tuple[str, ...]) -> Completion:
    """The answer up to the first stop string, for services and callables that do not cut it themselves.

    One that went on to the token limit from there was not cut off by it.
    """
    ends = [end for string in stop if (end := completion.text.find(string)) >= 0]
    if not ends:
        return completion
    reason = "stop" if completion.stop_reason in TRUNCATED else completion.stop_reason
    return msgspec.structs.replace(completion, text=completion.text[: min(ends)], stop_reason=reason)
