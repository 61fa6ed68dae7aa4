"""The models of one benchmark side by side: who leads, who cannot be told from the leader, and any pair of them.

Every difference is a paired comparison (``compare``), every tie a place of a ranking (``places``); nothing is judged
here by a formula of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from steelyard.analysis.compare import Side, claim_level, compare_scores
from steelyard.analysis.compare_measures import MEASURES, compare_measure
from steelyard.analysis.correlations import Standing, front, unscored_share
from steelyard.analysis.margins import Cell
from steelyard.analysis.mirrored import mirrored
from steelyard.analysis.pairing import differing_fields
from steelyard.analysis.places import Ranking, rank
from steelyard.types import Comparison, Estimate


class Contender(Struct, frozen=True, kw_only=True):
    """One model on the benchmark: its cell, named as the page calls it, and its stored estimates.

    ``failure``: what the first failed call of it failed with, where many did. ``is_dropped``: a cascade asked it no
    more, so that it stands below the others and leads in nothing.
    """

    cell: Cell
    estimates: Mapping[str, Estimate]
    failure: str | None = None
    is_dropped: bool = False

    @property
    def side(self) -> Side:
        """The cell as comparisons take it."""
        return self.cell.side

    @property
    def name(self) -> str:
        """What the page calls it."""
        return self.side.name

    def value(self, metric: str) -> float | None:
        """The value of a metric; ``None`` where it is unknown or does not apply."""
        estimate = self.estimates.get(metric)
        return None if estimate is None else estimate.value


class Settled(Struct, frozen=True, kw_only=True):
    """What a look at a growing run said of two models, in a sentence; ``method`` is the rule that it was taken by."""

    sentence: str
    method: str
    is_told: bool


class Bench:
    """One benchmark under one protocol. Pairs are compared when they are asked for, each once, whichever way round.

    ``settled`` is what a stopping rule said where a run could end by a difference: only such looks allow for that, and
    no comparison of all the answers does.
    """

    def __init__(
        self,
        label: str,
        models: Sequence[Contender],
        floors: Sequence[Contender] = (),
        *,
        settled: Sequence[Settled] = (),
    ) -> None:
        self.label = label
        self.settled = tuple(settled)
        self.models = tuple(sorted(models, key=_best_first))
        self.floors = tuple(sorted(floors, key=_best_first))
        self._compared: dict[tuple[str, str, str, float | None], Comparison] = {}
        self._ranking: Ranking | None = None

    def compare(
        self, candidate: Contender, baseline: Contender, metric: str = "accuracy", *, margin: float | None = None
    ) -> Comparison:
        """The candidate against the baseline, at a level at which all comparisons with one model hold together."""
        key = (candidate.name, baseline.name, metric, margin)
        if key not in self._compared:
            turned = self._compared.get((baseline.name, candidate.name, metric, margin))
            found = None if turned is None else mirrored(turned, baseline.side, candidate.side)
            self._compared[key] = found or self._judged(candidate.side, baseline.side, metric, margin)
        return self._compared[key]

    def _judged(self, candidate: Side, baseline: Side, metric: str, margin: float | None) -> Comparison:
        level = claim_level(len(self.models) - 1)
        judge = compare_measure if metric in MEASURES else compare_scores
        return judge(baseline, candidate, metric, confidence=level, margin=margin)

    @property
    def scored(self) -> tuple[Contender, ...]:
        """The models that have a score, best first."""
        return tuple(one for one in self.models if one.value("accuracy") is not None)

    @property
    def leader(self) -> Contender | None:
        """The model with the best score seen, decided or not."""
        return next(iter(self.scored), None)

    def is_pairable(self, one: Contender, other: Contender) -> bool:
        """Whether both were asked the same items in the same words."""
        return not differing_fields(one.side.info, other.side.info)

    @property
    def pairable(self) -> tuple[Contender, ...]:
        """The scored models that can be paired with the leader, the leader first."""
        leader = self.leader
        return () if leader is None else tuple(one for one in self.scored if self.is_pairable(leader, one))

    @property
    def ranking(self) -> Ranking | None:
        """The places of three models or more, judged together."""
        if self._ranking is None and len(self.pairable) > 2:
            self._ranking = rank([one.side for one in self.pairable], "accuracy")
        return self._ranking

    def second(self) -> Contender | None:
        """The best model that can be paired with the leader, the leader apart."""
        return self.pairable[1] if len(self.pairable) > 1 else None

    def tied(self) -> tuple[Contender, ...]:
        """The leader and every model that is not told from it; one that cannot be paired is no evidence either way."""
        pairable = self.pairable
        if len(pairable) < 2 or self.settled:
            return pairable
        if self.ranking is not None:
            near = {(place.name, place.run) for place in self.ranking.places if place.near_best}
            return tuple(one for one in pairable if one is pairable[0] or (one.name, one.side.run) in near)
        is_told = self.compare(pairable[0], pairable[1]).verdict in ("improved", "regressed")
        return pairable[:1] if is_told else pairable

    def standings(self) -> list[Standing]:
        """Each model as a point of score, median latency and cost, with the one that beats it, where one does."""
        return front(
            [
                Standing(
                    model=one.name,
                    accuracy=one.value("accuracy"),
                    latency_s=one.value("latency.p50"),
                    cost_usd=one.value("cost.per_request"),
                    unscored=unscored_share(one.side),
                )
                for one in self.models
            ]
        )


def _best_first(one: Contender) -> tuple[bool, float]:
    value = one.value("accuracy")
    return (one.is_dropped, float("inf") if value is None else -value)
