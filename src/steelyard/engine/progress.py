"""What a run can be asked while it goes on: plain counters that the engine keeps and a display reads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from steelyard.types import Wait

if TYPE_CHECKING:
    from steelyard.engine.money.budget import Ledger
    from steelyard.providers.batches import Progress as Told
    from steelyard.types import Call, Failure, Score


WINDOW_S = 60.0
"""The pace is that of the last minute: a burst at the beginning, or a limit met since, would bend it for long."""
MARK_EVERY_S = 1.0


class Gate(Protocol):
    """What keeps the requests to a model back, as far as a display wants to know."""

    @property
    def waiting(self) -> int:
        """Requests that wait to be let go."""
        ...

    @property
    def held_for_s(self) -> float:
        """Seconds until the next one may go."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether the service cannot be reached at present."""
        ...

    @property
    def resting(self) -> int:
        """Requests that failed and wait until they are tried again."""
        ...


class Purse(Protocol):
    """Where the requests to a model are paid, likewise."""

    @property
    def is_short(self) -> bool:
        """Whether a request waits for money that others hold."""
        ...


class Judge(Protocol):
    """The model that judges, likewise."""

    @property
    def throttle(self) -> Gate | None:
        """What keeps requests to it back; ``None`` before the first one."""
        ...

    @property
    def till(self) -> Purse | None:
        """Where they are paid, if they are."""
        ...


class Disk(Protocol):
    """Where answers are kept, likewise."""

    @property
    def is_full(self) -> bool:
        """Whether nothing is sent until there is room again."""
        ...


@dataclass
class CellProgress:
    """One cell's counters. ``planned`` counts requests (items times repeats), ``reused`` those that this run had
    answered before, ``cached`` those that another run has. ``scored_anew`` leaves the cached ones out. ``retries`` are
    tries that failed and were made again. ``ended_s`` is when the last one was done, on the clock of ``started_s``.
    ``awaits_look``: all that may be asked is done, and others must come as far before anybody knows how it goes on.
    ``stopped``: why nothing more is asked, where the model was given up or the money ended before all was done.
    ``marks`` say how many had been sent and finished when, over the last minute.
    """

    model: str
    label: str
    planned: int
    reused: int = 0
    answered: int = 0
    cached: int = 0
    errored: int = 0
    scored: int = 0
    scored_anew: int = 0
    right: float = 0.0
    in_flight: int = 0
    cost_usd: float | None = None
    saved_usd: float = 0.0
    retries: int = 0
    last_failure: Failure | None = None
    started_s: float | None = None
    ended_s: float | None = None
    throttle: Gate | None = None
    purse: Purse | None = None
    judge: Judge | None = None
    disk: Disk | None = None
    stopped: str | None = None
    awaits_look: bool = False
    marks: deque[tuple[float, int]] = field(default_factory=deque)

    def count_call(self, call: Call, *, is_reused: bool, saved_usd: float | None) -> None:
        """A call is durable; its answer may be one that was used again."""
        self.retries += len(call.attempts)
        if call.failure is not None:
            self.errored += 1
            self.last_failure = call.failure
            self._note_end()
            return
        self.answered += 1
        if is_reused:
            self.cached += 1
            self.saved_usd += saved_usd or 0.0
        elif call.cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + call.cost_usd

    def count_score(self, headline: Score, *, is_reused: bool) -> None:
        """The scores of a call are durable."""
        self.scored += 1
        self.scored_anew += not is_reused
        self.right += headline.value or 0.0
        self._note_end()

    @property
    def came(self) -> int:
        """How many requests of this run have come to their end, as far as that is durable."""
        return self.answered - self.cached + self.errored

    def _note_end(self) -> None:
        now_s = time.monotonic()
        self.ended_s = now_s if self.finished >= self.planned else None
        if not self.marks or now_s - self.marks[-1][0] >= MARK_EVERY_S:
            self.marks.append((now_s, self.scored_anew + self.errored))
        while len(self.marks) > 1 and now_s - self.marks[1][0] > WINDOW_S:
            self.marks.popleft()

    @property
    def finished(self) -> int:
        """Requests that need nothing more: scored or failed."""
        return self.reused + self.scored + self.errored

    @property
    def is_over(self) -> bool:
        """Whether nothing more is asked."""
        return self.stopped is not None or self.finished >= self.planned

    @property
    def came_to_nothing(self) -> bool:
        """Whether calls failed and not one was answered, in this session or before."""
        return self.errored > 0 and self.answered + self.reused == 0

    def held(self, *, short: bool = False) -> str | None:
        """What keeps requests back at present, if anything does; in a word where there is little room."""
        return next((wait.words(short=short) for wait in self.waits()), None)

    def waits(self) -> Iterator[Wait]:
        """All that keeps requests back at present, what matters most first; nothing where none are left."""
        if self.is_over:
            return
        if self.awaits_look:
            yield Wait(why="look")
        if self.disk is not None and self.disk.is_full:
            yield Wait(why="disk")
        yield from _held_back(self.throttle, self.purse)
        if self.judge is not None:
            yield from _held_back(self.judge.throttle, self.judge.till, is_of_judge=True)

    def per_second(self) -> float | None:
        """Requests sent and finished, per second: of the last minute, or since the first one was sent if that is less;
        once all is done over the whole time. ``None`` before the first one.
        """
        done = self.scored_anew + self.errored
        if self.started_s is None or done == 0:
            return None
        now_s = time.monotonic() if self.ended_s is None else self.ended_s
        since_s, before = self.started_s, 0
        if self.ended_s is None and self.marks and now_s - self.started_s > WINDOW_S:
            since_s, before = self.marks[0]
        return (done - before) / max(1e-9, now_s - since_s)

    def remaining_s(self) -> float | None:
        """Seconds to go at the present rate, where anything goes."""
        rate = self.per_second()
        is_held_up = self.awaits_look or any(wait.why in ("service", "disk") for wait in self.waits())
        return None if not rate or is_held_up or self.is_over else (self.planned - self.finished) / rate


def _held_back(throttle: Gate | None, purse: Purse | None, *, is_of_judge: bool = False) -> Iterator[Wait]:
    """What keeps the requests to one model back."""
    if purse is not None and purse.is_short:
        yield Wait(why="money", is_of_judge=is_of_judge)
    if throttle is not None and throttle.waiting:
        why: Literal["service", "rate"] = "service" if throttle.is_closed else "rate"
        yield Wait(why=why, n=throttle.waiting, for_s=round(throttle.held_for_s, 1), is_of_judge=is_of_judge)
    if throttle is not None and throttle.resting:
        yield Wait(why="again", n=throttle.resting, is_of_judge=is_of_judge)


@dataclass
class BatchProgress:
    """How far one batch is, as far as its service tells. ``number`` counts the model's batches of this session."""

    model: str
    number: int
    requests: int
    is_handed_in: bool = False
    answered: int | None = None
    failed: int | None = None
    is_over: bool = False

    def begun(self) -> None:
        """The service has taken it."""
        self.is_handed_in = True

    def look(self, told: Told) -> None:
        """What the service says of it now."""
        self.answered, self.failed = told.answered, told.failed

    def restart(self, requests: int) -> None:
        """It goes on as another batch of so many requests."""
        self.requests, self.is_handed_in, self.answered, self.failed = requests, False, None, None

    def state(self) -> str:
        """In words."""
        if not self.is_handed_in:
            return f"batch {self.number}: handing in {self.requests:,} requests"
        if self.answered is None:
            return f"batch {self.number}: {self.requests:,} requests at the service"
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"batch {self.number}: {self.answered:,} of {self.requests:,} answered{failed}"


@dataclass
class Progress:
    """All cells of a run, and what the user should hear: ``say`` is called once per new message."""

    say: Callable[[str], None] = lambda text: None
    cells: list[CellProgress] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    ledger: Ledger | None = None
    batches: list[BatchProgress] = field(default_factory=list)

    def begin_batch(self, model: str, requests: int) -> BatchProgress:
        """A batch of a model is about to be handed in, or to be found again."""
        number = 1 + sum(batch.model == model for batch in self.batches)
        self.batches.append(BatchProgress(model=model, number=number, requests=requests))
        return self.batches[-1]

    def tell(self, text: str) -> None:
        """Say something to the user, once."""
        if text not in self.messages:
            self.messages.append(text)
            self.say(text)
