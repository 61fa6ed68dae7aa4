"""What many answers show: an estimate with its interval, and what a look at a run decided."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Estimand = Literal["this benchmark", "questions like these", "this run"]


class Estimate(Struct, frozen=True, kw_only=True):
    """A number that can be defended. ``low`` and ``high`` are ``None`` where no interval can be given.

    ``status`` is ``ok``, or says why there is no value or no interval ("n too small: need 72, have 20"); ``missing`` is
    how many more it takes for one, and ``clusters_needed`` in how many clusters, where that is all that is in the way.
    """

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    n: int
    method: str
    estimand: Estimand = "questions like these"
    unit: str
    status: str = "ok"
    missing: int | None = None
    clusters_needed: int | None = None


LookVerdict = Literal["go_on", "precise", "ahead", "behind", "equivalent", "all_asked", "skipped"]


class Look(Struct, frozen=True, kw_only=True):
    """One look at the first ``n`` items of a cell's order, all of them done, and what was decided.

    With ``against`` the value is the difference to that model, and ``ahead`` means better than it. The bounds hold
    over all looks that the rule plans, at ``level``; ``z`` is what they are wide, where it is not the level's own.
    ``scored`` items have a score (of both models); ``planned`` items may be asked of a ``population``, ``None`` where
    items are made without end. ``next`` is how many items to ask before the next look, ``None`` where the question
    is settled.
    """

    rule: str
    number: int
    looks: int | None = None
    n: int
    scored: int
    planned: int
    population: int | None
    against: str | None = None
    value: float | None
    low: float | None
    high: float | None
    level: float
    z: float | None = None
    estimand: Estimand
    verdict: LookVerdict
    next: int | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more needs to be asked for it."""
        return self.next is None
