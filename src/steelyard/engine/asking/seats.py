"""How many requests a service takes at once, as answers and refusals show it.

A service that counts what is in flight answers whatever comes while there is room and refuses the next one, each time
at the same number. One that counts requests a minute, or refuses by chance, does not: it also refuses below what it has
answered before. So where the fewest in flight that were refused are one more than the most that were answered, that is
how many it takes; where that turns out wrong, it takes twice as many refusals to be believed again.

In flight here is not seated there. A request that is refused takes no seat, though it is on its way until that shows.
One whose answer is on its way has left its seat: those that are answered before a refusal could have come back.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

NEEDED, MOST_NEEDED = 2, 64  # refusals of the same number
REMEMBERED = 64  # requests of either kind
TRIPS = 2  # of the shortest refusal: how long an answer may be on its way


class Sent(NamedTuple):
    """A request as it was sent: when, as the how many-th, as one of how many in flight."""

    given_s: float
    number: int
    in_flight: int


class Ended(NamedTuple):
    """A request that has come to its end: the how many-th it was, and when."""

    number: int
    ended_s: float


class Seats:
    """What is known of the most that may be in flight."""

    def __init__(self) -> None:
        self._answered = self._seen = 0
        self._refused: int | None = None
        self._needed = NEEDED
        self._trip_s = math.inf
        self._stood: deque[Ended] = deque(maxlen=REMEMBERED)
        self._rose: deque[Ended] = deque(maxlen=REMEMBERED)

    @property
    def most(self) -> int | None:
        """How many are taken at once; ``None`` where nothing points to such a limit."""
        is_next = self._answered > 0 and self._refused == self._answered + 1
        return self._answered if is_next and self._seen >= self._needed else None

    def answered(self, sent: Sent, now_s: float) -> int | None:
        """A request was answered. How many are taken, where that is what shows it."""
        was_known = self.most is not None
        seated = sent.in_flight - self._standing(sent) - self._rising(sent)
        self._rose.append(Ended(sent.number, now_s))
        self._answered = max(self._answered, seated)
        if self._refused is not None and seated >= self._refused:
            self._refused, self._seen = None, 0  # there is room for more by now
        return None if was_known else self.most

    def refused(self, sent: Sent, now_s: float, *, is_first: bool) -> None:
        """A request was refused; ``is_first`` of those that were on their way."""
        seated = sent.in_flight - self._standing(sent)
        self._stood.append(Ended(sent.number, now_s))
        self._trip_s = min(self._trip_s, now_s - sent.given_s)
        if seated <= self._answered:
            self._answered, self._refused, self._seen = 0, None, 0
            self._needed = min(MOST_NEEDED, 2 * self._needed)
        elif self._refused is None or seated < self._refused:
            self._refused, self._seen = seated, 1
        elif seated == self._refused:
            self._seen += is_first

    def _standing(self, sent: Sent) -> int:
        """How many before it were on their way and never had a seat."""
        return sum(one.number < sent.number and one.ended_s > sent.given_s for one in self._stood)

    def _rising(self, sent: Sent) -> int:
        """How many before it may have left their seats, their answers on the way."""
        until_s = sent.given_s + TRIPS * self._trip_s
        return sum(one.number < sent.number and sent.given_s < one.ended_s <= until_s for one in self._rose)
