"""Whether going slower helps against refusals: a limit refuses fewer then, a service that refuses by chance does not.

Some services refuse a few requests in a hundred however slowly they come, for others use them too. A gate that slowed
down at each of those refusals would come to a standstill. A limit refuses all that is above it: where no more than a
share ``FEW`` was refused, requests came at most at 1 / (1 - FEW) times the limit. So where they go ``SLOWER_BY`` times
slower than at first, few were refused on the way, and some still are, it is no limit, and going fast is tried. Where
many are refused then, there was one after all.
"""

from __future__ import annotations

FEW = 0.4
SLOWER_BY, SLOWER_BY_AT_MOST = 2.5, 5.0
LEAST_REFUSALS = 4
TRIED = 64


class Slowing:
    """How much slower requests have become since few of them are refused; ``is_in_vain`` where that does not help."""

    def __init__(self) -> None:
        self.is_in_vain = False
        self._slower_by = SLOWER_BY
        self._begin(0.0)

    def _begin(self, s_a_request: float) -> None:
        self._first_s_a_request = s_a_request
        self._sent = self._refused = self._refusals = 0

    @property
    def _are_few(self) -> bool:
        return self._refused <= FEW * self._sent

    def ended(self, *, is_refused: bool) -> None:
        """A request was answered or refused, which shows whether going fast does harm."""
        self._sent += 1
        self._refused += is_refused
        if self.is_in_vain and self._sent >= TRIED:
            self.is_in_vain = self._are_few
            self._slower_by = SLOWER_BY if self.is_in_vain else min(SLOWER_BY_AT_MOST, 2 * self._slower_by)
            self._begin(0.0)

    def slows(self, s_a_request: float) -> None:
        """A refusal is about to slow the gate down; until then one went every ``s_a_request`` seconds."""
        if self.is_in_vain:
            return
        if s_a_request < self._first_s_a_request or not self._first_s_a_request or not self._are_few:
            self._begin(s_a_request)
            return
        self._refusals += 1
        if self._refusals >= LEAST_REFUSALS and s_a_request >= self._slower_by * self._first_s_a_request:
            self.is_in_vain = True
            self._begin(0.0)
