"""Whether going slower helps against refusals: a limit refuses fewer then, a service that refuses by chance does not.

Some services refuse a few requests in a hundred however slowly they come, for others use them too. A gate that slowed
down at each of those refusals would come to a standstill. A limit refuses all that is above it: where no more than a
share ``FEW`` was refused, requests came at most at 1 / (1 - FEW) times the limit. So where they go ``SLOWER_BY`` times
slower than at first, few were refused on the way, and some still are, it is no limit, and going fast is tried. Where
many are refused then, there was one after all. So it was where few are, for each is waited for, but nearly all that was
sent behind a refused one before that was known: chance refuses them no oftener than others.
"""

from __future__ import annotations

FEW = 0.4
SLOWER_BY, SLOWER_BY_AT_MOST, SLOWER_BY_A_LIMIT = 2.5, 5.0, 80.0
LEAST_REFUSALS = 4
TRIED = 64
LEAST_BEHIND, MOST_REFUSED_BEHIND = 6, 2 / 3


class Slowing:
    """How much slower requests have become since few of them are refused; ``is_in_vain`` where that does not help."""

    def __init__(self) -> None:
        self.is_in_vain = False
        self._slower_by = SLOWER_BY
        self._begin(0.0)

    def _begin(self, s_a_request: float) -> None:
        self._first_s_a_request = s_a_request
        self._sent = self._refused = self._refusals = 0
        self._behind = self._refused_behind = 0

    @property
    def _are_few(self) -> bool:
        return self._refused <= FEW * self._sent

    @property
    def _come_together(self) -> bool:
        return self._behind >= LEAST_BEHIND and self._refused_behind > MOST_REFUSED_BEHIND * self._behind

    def went_behind(self, requests: int) -> None:
        """So many went after a refused one before that was known."""
        self._behind += requests

    def ended(self, *, is_refused: bool, is_behind: bool = False) -> None:
        """A request was answered or refused, ``is_behind`` another one; that shows whether going fast does harm."""
        self._sent += 1
        self._refused += is_refused
        self._refused_behind += is_refused and is_behind
        if self.is_in_vain and self._sent >= TRIED:
            self.is_in_vain = self._are_few and not self._come_together
            most = SLOWER_BY_A_LIMIT if self._come_together else SLOWER_BY_AT_MOST
            self._slower_by = SLOWER_BY if self.is_in_vain else max(self._slower_by, min(most, 2 * self._slower_by))
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
