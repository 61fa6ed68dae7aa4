"""The last answers of a model that keep a run waiting, named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LATE_AFTER_S = 30.0
LOOKED_FOR_EVERY_S = 5.0
MOST_NAMED = 3


class Stragglers:
    """Which items are being asked, and since when; ``watch`` tells of those that take long at the end.

    ``held`` says what keeps requests back, if anything does.
    """

    def __init__(
        self,
        model: str,
        timeout_s: float,
        tell: Callable[[str], None],
        held: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._model, self._timeout_s, self._tell, self._held = model, timeout_s, tell, held
        self._since_s: dict[int, tuple[str, float]] = {}
        self._named: set[int] = set()

    def asked(self, work: object, name: str) -> None:
        """The item is being asked from now on."""
        self._since_s[id(work)] = name, time.monotonic()

    def answered(self, work: object) -> None:
        """It has come to its end."""
        del self._since_s[id(work)]
        if self._named:
            self._named.discard(id(work))

    async def watch(self) -> None:
        """Tell of each late item once, until cancelled."""
        while True:
            await asyncio.sleep(min(LATE_AFTER_S, LOOKED_FOR_EVERY_S))
            now_s = time.monotonic()
            late = {
                key: name
                for key, (name, since_s) in self._since_s.items()
                if now_s - since_s > LATE_AFTER_S and key not in self._named
            }
            if late:
                self._named |= late.keys()
                shown = ", ".join(list(late.values())[:MOST_NAMED])
                more = f" and {len(late) - MOST_NAMED} more" if len(late) > MOST_NAMED else ""
                why = self._held() or f"a try ends after {self._timeout_s:g} s"
                self._tell(
                    f"{self._model}: still waiting for {shown}{more}, asked more than {LATE_AFTER_S:g} s ago; {why}"
                )
