"""What a process tells while it works on a run: how its cells stand, and why its models wait."""

from __future__ import annotations

import time
from typing import Literal

from msgspec import Struct

SILENT_AFTER_S = 20.0


class Wait(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why ``n`` requests are held back, and for how long yet as far as that is known.

    ``look``: the run looks at itself before it goes on; ``disk``: it is full, or the store is out of reach; ``money``:
    what is in flight holds what is left of the budget; ``service``: it cannot be reached; ``rate``: the service, or the
    plan, lets no more go; ``again``: they failed, and are tried again after a pause. ``is_of_judge``: they are those to
    the model that judges.
    """

    why: Literal["look", "disk", "money", "service", "rate", "again"]
    n: int = 0
    for_s: float = 0.0
    is_of_judge: bool = False

    def words(self, *, short: bool = False, since_s: float = 0.0) -> str:
        """In words, ``since_s`` after it was so; in a word or two where there is little room."""
        words = self._words(short=short, since_s=since_s)
        return f"judge{'' if short else ':'} {words}" if self.is_of_judge else words

    def _words(self, *, short: bool, since_s: float) -> str:
        left_s = self.for_s - since_s
        seconds = f"{left_s:.0f} s" if left_s >= 1 else ""
        match self.why:
            case "look":
                return "look due" if short else "waiting for a look"
            case "disk":
                return "store held up" if short else "waiting until the store can be written"
            case "money":
                return "budget held" if short else "waiting for money: what is in flight may take the rest"
            case "service":
                return "service gone" if short else f"{self.n} waiting for the service to come back"
            case "rate":
                words = "limited" if short else f"{self.n} waiting for the rate limit"
                return (" " if short else ", ").join([words, *([seconds] if seconds else [])])
            case "again":
                return f"{self.n} again" if short else f"{self.n} to be tried again"


class CellSign(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a cell stands: requests in flight, calls that failed for good and tries made again in this session, why it
    waits, and why its model was given up.
    """

    cell: int
    in_flight: int = 0
    failed: int = 0
    retries: int = 0
    waits: tuple[Wait, ...] = ()
    stopped: str | None = None


class Sign(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a process told at ``told_s`` since the epoch. ``doubtful_usd`` may have been billed for tries that failed,
    of which there were ``doubtful_tries``, less than nothing where more of what earlier sessions had in doubt came to
    its end. ``batches`` say how far each is, ``messages`` what the user was told last. The clock by which it lies is
    ``ahead_s`` ahead of the one that it was told by: of a sign that is kept the store's, of one that is read ours.
    """

    told_s: float
    cells: tuple[CellSign, ...] = ()
    doubtful_usd: float = 0.0
    doubtful_tries: int = 0
    batches: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    ahead_s: float = 0.0

    @property
    def age_s(self) -> float:
        """Seconds since then."""
        return max(0.0, time.time() - self.ahead_s - self.told_s)

    @property
    def is_silent(self) -> bool:
        """Whether the process should have told something since."""
        return self.age_s > SILENT_AFTER_S
