"""When the next request to a model may go: within its limits where they are stated, and as its refusals teach.

Additive increase, multiplicative decrease (Chiu and Jain 1989): a refusal for rate cuts how many may be in flight, once
for all requests that were on their way when it was cut; after a while each answer raises it again by one over what is
allowed. A service that counts requests a minute refuses fast ones however few are in flight, so the rate at which
they went is learnt too, kept just below, and raised slowly to see whether more is allowed by now. One that counts what
is in flight takes as many each time: where that shows (``seats``) so many go, as fast as they are answered. Where
neither helps (``slowing``) a refusal costs its pause and no more. A pause that a service asks for holds everybody. When
a service that has answered gives nothing but faults the way is closed, and one request at a time tries whether it is
open again. Waiting here is never part of a latency.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from steelyard.engine.asking.seats import Seats, Sent
from steelyard.engine.asking.slowing import Slowing
from steelyard.providers.refusals import LONGEST_ASKED_S
from steelyard.types import Failure

CUT = 0.7
COOL_DOWN_S = 15.0
BELOW_REFUSED = 0.95  # of the rate at which requests went before a refusal
SLOWER = 0.8  # where a refusal came before a rate could be seen
RAISED_A_SECOND = 0.001  # at first after a refusal, twice as much every few seconds without one
DOUBLED_AFTER_S = 8.0
MOST_RAISED_A_SECOND = 0.7
LEAST_SENT = 8  # to tell a rate from
TRIED_AT_ONCE = 16  # where going slower did not help
LONGEST_HOLD_S = 300.0  # for what an answer says of its limits
PROBE_EVERY_S = 5.0
TIMERS_ARE_LATE_S = 0.005  # by so much at least, which the next request makes up for
TROUBLE = ("connection", "server")
LEAST_TROUBLE = 10


class Ticket(NamedTuple):
    """Leave to send one request, and the tokens it was taken to cost."""

    sent: Sent
    tokens: float


class GateShut(Exception):
    """Nothing more is sent to this model by this lane."""


class Throttle:
    """The gate before one model. Used from one event loop.

    ``most`` requests are in flight at the utmost; ``requests_per_minute`` and ``tokens_per_minute`` space them evenly.
    A refusal that names no time is waited out for ``first_pause_s``, twice that the next time, ``longest_pause_s`` at
    most. ``patience_s`` is how long the way may stay closed before ``is_lost`` says so.
    """

    def __init__(
        self,
        most: int,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        first_pause_s: float = 0.5,
        longest_pause_s: float = 30.0,
        patience_s: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.allowed = float(most)
        self.in_flight = 0
        self.refusals = 0
        self._clock = clock
        self._first_pause_s, self._longest_pause_s = first_pause_s, longest_pause_s
        self._patience_s = patience_s
        self._s_a_request = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._s_a_token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._next_request_s = self._next_token_s = self._held_until_s = 0.0
        self._cut_s = float("-inf")
        self._pauses = self._given = self._given_before = self._first_refused = 0
        self._counted_from_s = clock()
        self._learnt_s_a_request = 0.0
        self._is_guessing = False
        self._slowing, self._seats = Slowing(), Seats()
        self._troubles = 0
        self._has_answered = False
        self._closed_since_s: float | None = None
        self._usual_tokens = 0.0
        self._waiting: deque[tuple[asyncio.Future[Ticket], float, object]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self.on_refusal: Callable[[float], None] = lambda seconds: None

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens a minute are limited, so that it has to be told of them."""
        return self._s_a_token > 0

    @property
    def waiting(self) -> int:
        """Requests that wait to be let go."""
        return len(self._waiting)

    @property
    def held_for_s(self) -> float:
        """Seconds until the next request may go, as far as is known; 0 where only others in flight are in its way."""
        return max(0.0, self._opens_s() - self._clock())

    @property
    def is_closed(self) -> bool:
        """Whether the service cannot be reached at present."""
        return self._closed_since_s is not None

    @property
    def is_lost(self) -> bool:
        """Whether it could not be reached for longer than patience lasts."""
        return self._closed_since_s is not None and self._clock() - self._closed_since_s > self._patience_s

    def keep_to(self, most: int, *, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        """Before anything is sent: take ``most``, and of two limits a minute the lower one."""
        self.most, self.allowed = most, float(most)
        if requests_per_minute:
            self._s_a_request = max(self._s_a_request, 60.0 / requests_per_minute)
        if tokens_per_minute:
            self._s_a_token = max(self._s_a_token, 60.0 / tokens_per_minute)

    async def enter(self, *, input_tokens: float = 0.0, again: bool = False, by: object = None) -> Ticket:
        """Wait until a request may go. ``again``: it has been tried before and goes ahead of those that were not."""
        if (ticket := self.at_once(input_tokens)) is not None:
            return ticket
        tokens = self._taken_to_cost(input_tokens)
        turn: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        entry = turn, tokens, by
        self._waiting.appendleft(entry) if again else self._waiting.append(entry)
        self._let_go()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.withdraw()
            elif entry in self._waiting:
                self._waiting.remove(entry)
            raise

    def at_once(self, input_tokens: float = 0.0) -> Ticket | None:
        """Leave to send one request, where none need wait."""
        now_s = self._clock()
        if self._waiting or self.in_flight >= self._most_now or now_s < self._opens_s():
            return None
        return self._ticket(self._taken_to_cost(input_tokens), now_s)

    def leave(self, ticket: Ticket, failure: Failure | None, *, tokens: int | None = None) -> None:
        """A request has come to its end: answered (``failure=None``) for so many ``tokens``, or failed."""
        self.in_flight -= 1
        if failure is None:
            self._answered(ticket, tokens)
        elif failure.kind == "rate_limit":
            self._refused(ticket, failure)
        elif failure.kind in TROUBLE:
            self._troubled()
        self._let_go()

    def waiting_by(self, door: object) -> int:
        """How many wait who came by that door."""
        return sum(by is door for _, _, by in self._waiting)

    def send_away(self, door: object) -> None:
        """Those that wait and came by that door do not go any more."""
        turns = [turn for turn, _, by in self._waiting if by is door]
        self._waiting = deque(entry for entry in self._waiting if entry[2] is not door)
        for turn in turns:
            if not turn.done():
                turn.set_exception(GateShut())
        self._let_go()

    def withdraw(self) -> None:
        """A request was called off: nothing is known of how it would have ended."""
        self.in_flight -= 1
        self._let_go()

    def hold(self, seconds: float, *, most_s: float = LONGEST_HOLD_S) -> None:
        """Nobody goes for so long, or for ``most_s``: the service has said that nothing is left until then."""
        self._held_until_s = max(self._held_until_s, self._clock() + min(seconds, most_s))
        self._next_request_s = max(self._next_request_s, self._held_until_s)

    def _answered(self, ticket: Ticket, tokens: int | None) -> None:
        self._pauses = self._troubles = 0
        self._closed_since_s = None
        self._has_answered = True
        if self.refusals:
            self._slowing.ended(is_refused=False)
            if (most := self._seats.answered(ticket.sent, self._clock())) is not None:
                self._take_seats(most)
        if self.allowed < self.most and (self._slowing.is_in_vain or self._clock() > self._cut_s + COOL_DOWN_S):
            self.allowed = min(float(self.most), self.allowed + 1.0 / self.allowed)
        if self._learnt_s_a_request:
            self._learnt_s_a_request /= 1.0 + self._raised_a_second() * min(1.0, self._learnt_s_a_request)
        if self._s_a_token and tokens is not None:
            counted = self._believable(tokens)
            self._usual_tokens += (counted - self._usual_tokens) / 8.0
            self._next_token_s += (counted - ticket.tokens) * self._s_a_token

    def _taken_to_cost(self, input_tokens: float) -> float:
        """The tokens of a request before they are counted, where they are limited."""
        return self._believable(input_tokens + self._usual_tokens) if self._s_a_token else 0.0

    def _believable(self, tokens: float) -> float:
        """So many tokens, but no more than keep the others back for as long as an answer may."""
        return min(tokens, LONGEST_HOLD_S / self._s_a_token)

    def _refused(self, ticket: Ticket, failure: Failure) -> None:
        self.refusals += 1
        is_first = ticket.sent.given_s > self._cut_s
        self._seats.refused(ticket.sent, self._clock(), is_first=is_first)
        self._slowing.ended(is_refused=True, is_behind=not is_first and ticket.sent.number > self._first_refused)
        if is_first:
            self._cut_s, self._first_refused = self._clock(), ticket.sent.number
            self._slowing.went_behind(self._given - ticket.sent.number)
            pause_s = failure.retry_after_s
            if self._seats.most is not None:
                self._take_seats(self._seats.most, pause_s)
                return
            if pause_s is None:
                pause_s = min(self._longest_pause_s, self._first_pause_s * 2**self._pauses)
                self._pauses += 1
            self._slow_down(ticket, pause_s)
            self.hold(pause_s, most_s=LONGEST_ASKED_S)
            self.on_refusal(pause_s)
            self._given_before, self._counted_from_s = self._given, self._held_until_s
        elif failure.retry_after_s is not None:
            self.hold(failure.retry_after_s, most_s=LONGEST_ASKED_S)

    def _take_seats(self, most: int, pause_s: float | None = None) -> None:
        """Keep to what the service takes at once: what goes within that need not go slower, nor wait unasked."""
        self.allowed, self._learnt_s_a_request = float(min(most, self.most)), 0.0
        if pause_s is not None:
            self.hold(pause_s, most_s=LONGEST_ASKED_S)
            self.on_refusal(pause_s)
        self._given_before, self._counted_from_s = self._given, max(self._clock(), self._held_until_s)

    def _slow_down(self, refused: Ticket, pause_s: float) -> None:
        """Let fewer be in flight, and go slower; or neither, where that was seen to be in vain."""
        elapsed_s = refused.sent.given_s - self._counted_from_s
        went = refused.sent.number - self._given_before - 1
        self._slowing.slows(elapsed_s / went if went >= LEAST_SENT else self._learnt_s_a_request)
        if self._slowing.is_in_vain:
            self.allowed, self._learnt_s_a_request = max(self.allowed, min(self.most, TRIED_AT_ONCE)), 0.0
        else:
            self.allowed = max(1.0, self.allowed * CUT)
            self._learn_rate(elapsed_s, went, pause_s)

    def _raised_a_second(self) -> float:
        if self._is_guessing:
            return MOST_RAISED_A_SECOND
        since_s = max(0.0, self._clock() - self._counted_from_s)
        return min(MOST_RAISED_A_SECOND, RAISED_A_SECOND * 2 ** min(since_s / DOUBLED_AFTER_S, 16))

    def _learn_rate(self, elapsed_s: float, went: int, pause_s: float) -> None:
        """Take the rate at which requests went, from the last refusal to this one, as more than is allowed."""
        if went >= LEAST_SENT and elapsed_s > 0 and not self._is_guessing:
            self._learnt_s_a_request = elapsed_s / went / BELOW_REFUSED
        elif self._learnt_s_a_request:
            self._is_guessing = False
            self._learnt_s_a_request /= SLOWER
        else:
            self._is_guessing = True
            self._learnt_s_a_request = (max(0.0, elapsed_s) + pause_s) / max(1, went)
        self._learnt_s_a_request = min(self._learnt_s_a_request, self._longest_pause_s)

    def _troubled(self) -> None:
        self._troubles += 1
        if self._has_answered and self._troubles >= max(LEAST_TROUBLE, 2 * self.most):
            self._closed_since_s = self._closed_since_s or self._clock()
            self.hold(PROBE_EVERY_S)

    def _opens_s(self) -> float:
        return max(self._held_until_s, self._next_request_s, self._next_token_s)

    def _let_go(self) -> None:
        """Let go who may, and set an alarm for the next one who only waits for time to pass."""
        while self._waiting and self.in_flight < self._most_now:
            now_s = self._clock()
            closed_for_s = self._opens_s() - now_s
            if closed_for_s > 0:
                self._wake_in(closed_for_s)
                return
            turn, tokens, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_result(self._ticket(tokens, now_s))

    @property
    def _most_now(self) -> int:
        return 1 if self.is_closed else int(self.allowed)

    def _ticket(self, tokens: float, now_s: float) -> Ticket:
        """Let one go, and put off the next one by what is allowed a minute."""
        self.in_flight += 1
        self._given += 1
        s_a_request = max(self._s_a_request, self._learnt_s_a_request)
        self._next_request_s = max(now_s - TIMERS_ARE_LATE_S, self._next_request_s) + s_a_request
        self._next_token_s = max(now_s - TIMERS_ARE_LATE_S, self._next_token_s) + tokens * self._s_a_token
        return Ticket(Sent(now_s, self._given, self.in_flight), tokens)

    def _wake_in(self, seconds: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._rung)

    def _rung(self) -> None:
        self._alarm = None
        self._let_go()


class Door:
    """One lane's way to a gate that other lanes to the same model may share: limits are common, each is shut alone."""

    def __init__(self, gate: Throttle) -> None:
        self.gate = gate
        self.resting = 0
        self._is_shut = asyncio.Event()

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens a minute are limited, so that the gate has to be told of them."""
        return self.gate.counts_tokens

    @property
    def waiting(self) -> int:
        """Requests of this lane that wait to be let go."""
        return self.gate.waiting_by(self)

    @property
    def held_for_s(self) -> float:
        """As the gate has it."""
        return self.gate.held_for_s

    @property
    def is_closed(self) -> bool:
        """As the gate has it."""
        return self.gate.is_closed

    @property
    def is_lost(self) -> bool:
        """As the gate has it."""
        return self.gate.is_lost

    def at_once(self, input_tokens: float = 0.0) -> Ticket | None:
        """Leave to send one request, where none need wait and the door is open."""
        return None if self._is_shut.is_set() else self.gate.at_once(input_tokens)

    def enter(self, *, input_tokens: float = 0.0, again: bool = False) -> Awaitable[Ticket]:
        """Wait until a request may go. Raises ``GateShut`` where none of this lane's goes any more."""
        if self._is_shut.is_set():
            raise GateShut
        return self.gate.enter(input_tokens=input_tokens, again=again, by=self)

    async def rest(self, seconds: float) -> None:
        """Let a request that failed pause before it comes again. Raises ``GateShut`` as soon as none goes any more."""
        self.resting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._is_shut.wait()
        except TimeoutError:
            return
        finally:
            self.resting -= 1
        raise GateShut

    def leave(self, ticket: Ticket, failure: Failure | None, *, tokens: int | None = None) -> None:
        """A request has come to its end."""
        self.gate.leave(ticket, failure, tokens=tokens)

    def withdraw(self) -> None:
        """A request was called off."""
        self.gate.withdraw()

    def hold(self, seconds: float) -> None:
        """Nobody goes for so long, by whichever door."""
        self.gate.hold(seconds)

    def shut(self) -> None:
        """Let nothing of this lane go any more, what waits included."""
        self._is_shut.set()
        self.gate.send_away(self)
