"""The rules by which a run ends early, as functions of the scores of a complete prefix of its order.

A look says how many items to ask next, or that the question is settled. Waiting for a *width* does not bend the error
(Chow & Robbins 1965), so Wilson's interval stands; waiting for a *difference* does, so its bounds are repeated ones
(Jennison & Turnbull 1989), which hold over all looks and all pairs together.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Literal, Protocol

import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.engine.schedule.prefix import (
    ENDLESS,
    FEWEST_ITEMS,
    Found,
    Seen,
    are_enough,
    difference_within,
    differences_of,
    score_within,
)
from steelyard.plan.stopping import Anytime, Cascade, Compare, HalfWidth, Ladder, Stop
from steelyard.types import Estimand, Look, LookVerdict

MOST_ANYTIME_LOOKS = 100
ESTIMANDS: dict[str, Estimand] = {"benchmark": "this benchmark", "questions": "questions like these"}


class Rule(Protocol):
    """When to look, and what a look says. ``number`` counts from 1."""

    def first(self) -> int:
        """How many items to ask before the first look."""

    def look(self, number: int, seen: Seen) -> Look:
        """What the prefix shows, and how far to go on."""

    def reach(self, n: int) -> int:
        """How far items may be sent while the look at ``n`` of them is awaited."""


def rule_for(stop: Stop, *, planned: int, population: int, pairs: int = 1) -> Rule:
    """The rule for one question: ``planned`` items may be asked of ``population``; ``pairs`` share the error."""
    if isinstance(stop, HalfWidth):
        return ToHalfWidth(stop=stop, planned=planned, population=population)
    if isinstance(stop, Ladder):
        return OnLadder(stop=stop, planned=planned, population=population)
    if isinstance(stop, Anytime):
        return ToDifferenceAnytime(stop=stop, planned=planned, population=population, alpha=stop.alpha / pairs)
    if isinstance(stop, Cascade):
        return ToDrop(stop=stop, planned=planned, population=population, alpha=stop.alpha / pairs)
    return ToDifference(stop=stop, planned=planned, population=population, alpha=stop.alpha / pairs)


def look_points(stop: Stop, planned: int) -> tuple[int, ...]:
    """The looks as numbers of items; of a rule that finds them as it goes, the first one and the last."""
    if isinstance(stop, HalfWidth):
        return tuple(dict.fromkeys((_at_least_a_few(math.ceil(stop.pilot * planned - 1e-9), planned), planned)))
    if isinstance(stop, Anytime):
        every = stop.every or max(10, math.ceil(planned / MOST_ANYTIME_LOOKS))
        first = _at_least_a_few(every, planned)
        return tuple(dict.fromkeys((*range(first, planned, every), planned)))
    shares = stop.ladder if isinstance(stop, Ladder) else stop.looks
    return tuple(
        sorted({_at_least_a_few(math.ceil(share * planned - 1e-9), planned) for share in shares}),
    )


def _at_least_a_few(n: int, planned: int) -> int:
    return min(planned, max(n, FEWEST_ITEMS))


class ToHalfWidth(Struct, frozen=True, kw_only=True):
    """A pilot, then straight to the number of items that the width needs, then the few that may still be missing."""

    stop: HalfWidth
    planned: int
    population: int

    def first(self) -> int:
        """The pilot."""
        return look_points(self.stop, self.planned)[0]

    def look(self, number: int, seen: Seen) -> Look:
        """Whether the score of the whole benchmark is known well enough, else how many items that takes."""
        found, worth = score_within(seen, population=self.population, alpha=self.stop.alpha)
        n = len(seen.a)
        verdict: LookVerdict = "go_on"
        if found.low is not None and found.high is not None:
            verdict = "precise" if (found.high - found.low) / 2 <= self.stop.half_width else "go_on"
        wanted = self._needed(n, seen, found, worth) if verdict == "go_on" else n
        return _look(self, number, seen, found, verdict, wanted, alpha=self.stop.alpha)

    def reach(self, n: int) -> int:
        """Not beyond the look."""
        return n

    def _needed(self, n: int, seen: Seen, found: Found, worth: float) -> int:
        """Items to ask in all, unscored ones and what clusters take away allowed for."""
        if found.value is None:
            return 2 * n
        needed = stats.sample_size_precision_wilson(
            p=found.value, half_width=self.stop.half_width, confidence=1 - self.stop.alpha
        ).n_infinite
        assert needed is not None
        scored = int((~np.isnan(seen.a)).sum())
        independent = needed * scored / worth
        finite = independent * self.population / (self.population + independent - 1)
        return math.ceil(finite * n / scored - 1e-9)


class OnLadder(Struct, frozen=True, kw_only=True):
    """Rung after rung until the variance of the score is small; a few right answers are not certainty.

    Near 0 and 1 the variance depends on the luck, so on a ladder of few rungs the interval has to be a repeated one.
    """

    stop: Ladder
    planned: int
    population: int

    def first(self) -> int:
        """The first rung."""
        return look_points(self.stop, self.planned)[0]

    def look(self, number: int, seen: Seen) -> Look:
        """Whether the variance of the score, for questions like these, is small enough."""
        rungs = look_points(self.stop, self.planned)
        n = len(seen.a)
        z = _bounds(rungs, None, "pocock", self.stop.alpha)[rungs.index(n)]
        assert z is not None
        now, _ = score_within(seen, population=None, alpha=self.stop.alpha)
        found, _ = score_within(seen, population=None, alpha=2 * NormalDist().cdf(-z))
        verdict: LookVerdict = "go_on"
        if now.low is not None and now.high is not None:
            reach = (now.high - now.low) / 2 / NormalDist().inv_cdf(1 - self.stop.alpha / 2)
            verdict = "precise" if reach**2 <= self.stop.variance else "go_on"
        return _look(self, number, seen, found, verdict, _after(rungs, n), alpha=self.stop.alpha, z=z)

    def reach(self, n: int) -> int:
        """Not beyond the look."""
        return n


class ToDifference(Struct, frozen=True, kw_only=True):
    """Looks at planned shares of the items, each with a bound that leaves the error of them all together as it is."""

    stop: Compare
    planned: int
    population: int
    alpha: float

    def first(self) -> int:
        """The first look."""
        return look_points(self.stop, self.planned)[0]

    def look(self, number: int, seen: Seen) -> Look:
        """Whether the repeated interval of the difference leaves out a tie, or lies within the margin."""
        points = look_points(self.stop, self.planned)
        n = len(seen.a)
        z = self.bounds()[points.index(n)]
        found = difference_within(seen, population=self._whole, z=z)
        verdict = _told_apart(found, self.stop.margin)
        if verdict in ("ahead", "behind") and z is not None and not are_enough(seen):
            verdict = "go_on"
        return _look(self, number, seen, found, verdict, _after(points, n), alpha=self.alpha, z=z)

    def reach(self, n: int) -> int:
        """Not beyond the look."""
        return n

    @property
    def _whole(self) -> int | None:
        return self.population if self.stop.estimand == "benchmark" else None

    def bounds(self) -> tuple[float | None, ...]:
        """The bound on z at every look; ``None`` where the whole benchmark is asked and nothing is left to chance."""
        return _bounds(look_points(self.stop, self.planned), self._whole, self.stop.bounds, self.alpha)


class ToDrop(Struct, frozen=True, kw_only=True):
    """Planned looks at whether a model is worse than another by more than a margin; if not, all is asked."""

    stop: Cascade
    planned: int
    population: int
    alpha: float

    def first(self) -> int:
        """The first look."""
        return look_points(self.stop, self.planned)[0]

    def look(self, number: int, seen: Seen) -> Look:
        """Whether the repeated interval of the difference lies below the margin as a whole."""
        points = look_points(self.stop, self.planned)
        n = len(seen.a)
        z = _bounds(points, self.population, "pocock", self.alpha)[points.index(n)]
        found = difference_within(seen, population=self.population, z=z)
        is_clear = found.high is not None and found.high < -(self.stop.worse_by or 0.0)
        verdict: LookVerdict = "behind" if is_clear and (z is None or are_enough(seen)) else "go_on"
        return _look(self, number, seen, found, verdict, _after(points, n), alpha=self.alpha, z=z)

    def reach(self, n: int) -> int:
        """Not beyond the look."""
        return n


class ToDifferenceAnytime(Struct, frozen=True, kw_only=True):
    """Looks as often as one likes: bets against a tie, sized for half the items (Waudby-Smith & Ramdas 2024)."""

    stop: Anytime
    planned: int
    population: int
    alpha: float

    def first(self) -> int:
        """The first look."""
        return look_points(self.stop, self.planned)[0]

    def look(self, number: int, seen: Seen) -> Look:
        """Whether the confidence sequence of the difference leaves out a tie, or lies within the margin."""
        n = len(seen.a)
        points = look_points(self.stop, self.planned)
        found = self._sequence(seen) if self._is_worth_it(seen, is_last=n >= self.planned) else Found(None, None, None)
        verdict = _told_apart(found, self.stop.margin) if found.value is not None else "go_on"
        return _look(self, number, seen, found, verdict, _after(points, n), alpha=self.alpha)

    def reach(self, n: int) -> int:
        """One look ahead, so that nobody waits: the bounds hold whatever has been sent meanwhile."""
        return max(n, _after(look_points(self.stop, self.planned), n))

    def _is_worth_it(self, seen: Seen, *, is_last: bool) -> bool:
        """Whether bets against a tie have won, or the plain interval is within the margin: both are quick to know."""
        if is_last or self._may_be_within(seen):
            return True
        found = stats.betting_e_value(
            values=(differences_of(seen) + 1) / 2,
            mean=0.5,
            population=self._whole,
            alpha=self.alpha,
            planned=self.planned / 2,
        )
        return found.e_value >= 1 / self.alpha

    def _may_be_within(self, seen: Seen) -> bool:
        """Whether a single look would lie within the margin, which the sequence, being wider, then may too."""
        if self.stop.margin is None:
            return False
        z = NormalDist().inv_cdf(1 - self.alpha / 2)
        return _told_apart(difference_within(seen, population=self._whole, z=z), self.stop.margin) == "equivalent"

    def _sequence(self, seen: Seen) -> Found:
        differences = differences_of(seen)
        if not len(differences):
            return Found(None, -1.0, 1.0)
        if self._whole is not None and len(seen.a) >= self._whole:
            return difference_within(seen, population=self._whole, z=None)
        sequence = stats.paired_difference_sequence(
            differences=differences, population=self._whole, alpha=self.alpha, planned=self.planned / 2
        )
        low, high = sequence.intervals[0]
        return Found(float(differences.mean()), low, high)

    @property
    def _whole(self) -> int | None:
        return self.population if self.stop.estimand == "benchmark" else None


def _told_apart(found: Found, margin: float | None) -> LookVerdict:
    if found.low is None or found.high is None:
        return "go_on"
    if found.low > 0:
        return "ahead"
    if found.high < 0:
        return "behind"
    if margin is not None and -margin < found.low and found.high < margin:
        return "equivalent"
    return "go_on"


def _next(n: int, wanted: int, planned: int) -> tuple[LookVerdict, int | None]:
    """Go on to so many items, a few more at least; ``all_asked`` where there are none."""
    if n >= planned:
        return "all_asked", None
    return "go_on", min(planned, max(wanted, n + max(1, math.ceil(0.005 * planned))))


def _after(points: tuple[int, ...], n: int) -> int:
    return next((point for point in points if point > n), n)


@lru_cache(maxsize=64)
def _bounds(points: tuple[int, ...], population: int | None, kind: str, alpha: float) -> tuple[float | None, ...]:
    by_chance = [n for n in points if population is None or n < population]
    information = [float(n) if population is None else n * population / (population - n) for n in by_chance]
    if not information:
        return (None,) * len(points)
    times = [value / information[-1] for value in information]
    if kind == "spending":
        z = stats.alpha_spending_bounds(spending="pocock", information=times, alpha=alpha).z
    else:
        shape: Literal["pocock", "obf"] = "pocock" if kind == "pocock" else "obf"
        z = stats.group_sequential_bounds(kind=shape, looks=len(times), information=times, alpha=alpha).z
    return (*z, *(None for _ in points[len(by_chance) :]))


def _look(
    rule: ToHalfWidth | OnLadder | ToDifference | ToDrop | ToDifferenceAnytime,
    number: int,
    seen: Seen,
    found: Found,
    verdict: LookVerdict,
    wanted: int,
    *,
    alpha: float,
    z: float | None = None,
) -> Look:
    """The look as it is kept; where the question is open, with the items ``wanted`` before the next one."""
    stop, n, following = rule.stop, len(seen.a), None
    if verdict == "go_on":
        verdict, following = _next(n, wanted, rule.planned)
    scored = ~np.isnan(seen.a if seen.b is None else seen.a + seen.b)
    return Look(
        rule=str(stop.__struct_config__.tag),
        number=number,
        looks=None if isinstance(stop, HalfWidth) else len(look_points(stop, rule.planned)),
        n=n,
        scored=int(scored.sum()),
        planned=rule.planned,
        population=None if rule.population == ENDLESS else rule.population,
        value=found.value,
        low=found.low,
        high=found.high,
        level=1 - alpha,
        z=z,
        estimand=ESTIMANDS[_asks(stop)],
        verdict=verdict,
        next=following,
    )


def _asks(stop: Stop) -> str:
    """Which question a rule's interval answers."""
    if isinstance(stop, Ladder):
        return "questions"
    return stop.estimand if isinstance(stop, Compare | Anytime) else "benchmark"
