"""What a cascade of two models would score and cost at each threshold, from answers that both have given already.

A row replays the cascade: below the threshold the dear model's answer counts and is paid beside the cheap one's, above
it the cheap one's alone. Rows are of the same items, so the best of them is partly lucky: a threshold is chosen on one
half of the items and judged on the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.accuracy import accuracy, is_over_strata, micro, stratum_weights
from steelyard.analysis.clusters import clustered_t, clusters_of, t_over_clusters
from steelyard.analysis.compare import Side, compare_scores
from steelyard.analysis.estimates import Context, headline, item_means, rows_of, unknown
from steelyard.analysis.metrics import METRICS
from steelyard.errors import UsageError
from steelyard.stats.paired import TTest
from steelyard.types import Columns, Estimate

ESCALATED = "escalated"
MOST_ROWS = 12
FEWEST_ITEMS = 20
"""So many a half at least, before anything is chosen."""
MOST_DIGITS = 17
CONFIDENCE = 0.95
THE_SAME = "the same answers"


class Aim(Struct, frozen=True, kw_only=True):
    """What a threshold is chosen for: the fewest escalations ``within`` so much of the dear model's score, as a share.

    With ``at_most_usd`` instead: the best score at that mean cost of an item. ``seed`` draws the half that chooses.
    """

    within: float = 0.01
    at_most_usd: float | None = None
    seed: int = 0


class Point(Struct, frozen=True, kw_only=True):
    """A cascade at one threshold, or one model alone (``threshold`` is ``None``).

    ``against_dear`` is the paired difference of scores to the dear model alone; ``over_chance`` to a cascade that
    escalates as many, drawn by lot: what the confidence is worth.
    """

    name: str
    threshold: float | None
    escalated: Estimate
    accuracy: Estimate
    against_dear: Estimate
    over_chance: Estimate
    cost_per_item: Estimate
    cost_per_correct: Estimate
    latency: Estimate


class Choice(Struct, frozen=True, kw_only=True):
    """A threshold chosen on one half of the items, and what it is on either half; ``judged`` is what to believe."""

    threshold: float
    chosen_on: Point
    judged: Point
    dear_judged: Point


class Frontier(Struct, frozen=True, kw_only=True):
    """Two models as a cascade on one benchmark. ``left_out`` were asked of both and lack an answer's score on one side,
    or its confidence. ``why_no_choice`` says why there is no ``choice``.
    """

    benchmark: str
    cheap: str
    dear: str
    items: int
    left_out: int
    alone: tuple[Point, Point]
    points: tuple[Point, ...]
    aim: Aim
    choice: Choice | None
    why_no_choice: str = ""


class _Both(Struct, frozen=True, kw_only=True):
    """Both models' rows side by side, with the confidence in the cheap one's."""

    cheap: Side
    dear: Side
    confidence: np.ndarray

    def rows(self, chosen: np.ndarray) -> _Both:
        return _Both(
            cheap=_with(self.cheap, rows_of(self.cheap.columns, chosen)),
            dear=_with(self.dear, rows_of(self.dear.columns, chosen)),
            confidence=self.confidence[chosen],
        )


def frontier(cheap: Side, dear: Side, confidence: np.ndarray, aim: Aim) -> Frontier:
    """The cascade of ``cheap`` and ``dear`` at thresholds over the whole range of ``confidence``."""
    both, left_out = _joined(cheap, dear, confidence)
    thresholds = thresholds_of(both.confidence)
    choice, why = _choice(both, aim)
    return Frontier(
        benchmark=cheap.info.label,
        cheap=cheap.name,
        dear=dear.name,
        items=len(np.unique(both.cheap.columns.sample)),
        left_out=left_out,
        alone=(_alone(both.cheap, both), _alone(both.dear, both)),
        points=tuple(_point(both, threshold) for threshold in _shown(both, thresholds)),
        aim=aim,
        choice=choice,
        why_no_choice=why,
    )


def thresholds_of(confidence: np.ndarray) -> list[float]:
    """Every threshold that escalates differently, written as short as it can be: above one value, at most the next.

    The first one escalates nothing, unless a confidence is 0, which is below every threshold.
    """
    values = [0.0, *(value for value in np.unique(np.minimum(confidence, 1.0)).tolist() if value > 0)]
    found = [_shortest(below, above) for below, above in itertools.pairwise(values)]
    return found if values[-1] == 1.0 else [*found, 1.0]


def _shortest(below: float, above: float) -> float:
    """The number of fewest decimals in (below, above]."""
    for digits in range(1, MOST_DIGITS):
        rounded = math.floor(above * 10**digits) / 10**digits
        if below < rounded <= above:
            return float(rounded)
    return above


def _joined(cheap: Side, dear: Side, confidence: np.ndarray) -> tuple[_Both, int]:
    """The rows that both have a score of, and the cheap one a confidence."""
    if len(confidence) and np.isnan(confidence).all():
        raise UsageError(
            f"no confidence is stored with the answers of {cheap.name} on {cheap.info.label}. "
            f"Try: steelyard run {cheap.info.label} -m {cheap.name} --confidence logprob (or agreement, or judge)"
        )
    keys, of_cheap, of_dear = np.intersect1d(
        _places(cheap.columns), _places(dear.columns), assume_unique=True, return_indices=True
    )
    scores = headline(cheap.columns)[of_cheap], headline(dear.columns)[of_dear]
    known = ~np.isnan(scores[0]) & ~np.isnan(scores[1]) & ~np.isnan(confidence[of_cheap])
    if not known.any():
        raise UsageError(f"{cheap.name} and {dear.name} have no scored item of {cheap.info.label} in common")
    both = _Both(
        cheap=_with(cheap, _paid(rows_of(cheap.columns, of_cheap[known]))),
        dear=_with(dear, _paid(rows_of(dear.columns, of_dear[known]))),
        confidence=confidence[of_cheap[known]],
    )
    return both, int(len(keys) - known.sum())


def _places(columns: Columns) -> np.ndarray:
    """One number for each (item, repeat)."""
    return np.asarray(columns.sample.astype(np.int64) * (1 << 20) + columns.repeat)


def _paid(columns: Columns) -> Columns:
    """The columns with what each answer had cost and taken when it was asked; of one used again no time is known."""
    return msgspec.structs.replace(
        columns,
        cost_usd=np.where(columns.cached, columns.saved_usd, columns.cost_usd),
        total_s=np.where(columns.cached, np.nan, columns.total_s),
        cached=np.zeros(len(columns.cached), dtype=bool),
    )


def _with(side: Side, columns: Columns, name: str | None = None) -> Side:
    return msgspec.structs.replace(side, columns=columns, name=name or side.name)


def _replayed(both: _Both, threshold: float) -> Side:
    """The cascade as if it had been run."""
    cheap, dear, goes_on = both.cheap.columns, both.dear.columns, both.confidence < threshold
    metric = next(iter(cheap.scores))
    own, others = cheap.scores[metric], dear.scores[metric]
    columns = msgspec.structs.replace(
        cheap,
        scores={metric: np.where(goes_on, others, own), ESCALATED: goes_on.astype(float)},
        cost_usd=np.where(goes_on, cheap.cost_usd + dear.cost_usd, cheap.cost_usd),
        total_s=np.where(goes_on, cheap.total_s + dear.total_s, cheap.total_s),
    )
    return _with(both.cheap, columns, f"{both.cheap.name}>{both.dear.name}")


def _point(both: _Both, threshold: float) -> Point:
    side = _replayed(both, threshold)
    found = _measured(side, both)
    return msgspec.structs.replace(
        found,
        threshold=threshold,
        against_dear=_the_same(found.against_dear) if _is_dear_alone(both, threshold) else found.against_dear,
        escalated=micro(ESCALATED, side.columns, Context(info=side.info)),
        over_chance=_over_chance(both, threshold),
    )


def _is_dear_alone(both: _Both, threshold: float) -> bool:
    """Whether every answer of the cascade is the dear model's own."""
    return bool((both.confidence < threshold).all())


def _the_same(difference: Estimate) -> Estimate:
    """A difference of answers to themselves: none, of which nothing is left to chance."""
    return msgspec.structs.replace(difference, low=None, high=None, level=None, method=THE_SAME, status=THE_SAME)


def _alone(side: Side, both: _Both) -> Point:
    return _measured(side, both)


def _measured(side: Side, both: _Both) -> Point:
    context, metric = Context(info=side.info), next(iter(both.dear.columns.scores))
    none = unknown(ESCALATED, "share", "one model alone")
    difference = compare_scores(both.dear, side, metric, confidence=CONFIDENCE).difference
    own = msgspec.structs.replace(
        side.columns, scores={metric: side.columns.scores[metric]}, parsed={metric: np.ones(len(both.confidence), bool)}
    )
    return Point(
        name=side.name,
        threshold=None,
        escalated=none,
        accuracy=accuracy(metric, own, context),
        against_dear=none if side.name == both.dear.name else difference,
        over_chance=none,
        cost_per_item=METRICS["cost.per_item"].compute(own, context),
        cost_per_correct=METRICS["cost.per_correct"].compute(own, context),
        latency=METRICS["latency.mean"].compute(own, context)
        if not np.isnan(own.total_s).any()
        else unknown("latency.mean", "s", "some answers came from an earlier run: their time is not of this one"),
    )


def _over_chance(both: _Both, threshold: float) -> Estimate:
    """The score, less that of a cascade that escalates as many by lot: (e - share)(gain - mean gain), as scores weigh.

    The share is that of items, whatever they weigh in the score: what an item does to it is put in terms of its weight.
    """
    columns, weights, alike = both.cheap.columns, _weights(both.cheap), _alike(both.cheap.columns)
    gains = headline(both.dear.columns) - headline(columns)
    goes_on = (both.confidence < threshold).astype(float)
    beyond_mean = gains - (weights @ gains) * alike / weights
    added = item_means((goes_on - alike @ goes_on) * beyond_mean, columns.sample)
    found = _headline_t(added, both.cheap)
    none = "nobody or everybody is escalated, or nobody gains"
    return Estimate(
        metric="over_chance",
        value=found.mean_diff,
        low=found.low,
        high=found.high,
        level=None if found.low is None else CONFIDENCE,
        n=len(added),
        method="covariance of escalation and gain, t",
        unit="share",
        status="ok" if found.low is not None else "clusters are too few for an interval" if added.any() else none,
    )


def _headline_t(values: np.ndarray, side: Side) -> TTest:
    """t of a mean over items, weighed as the headline weighs them."""
    columns, context = side.columns, Context(info=side.info)
    clusters = clusters_of(columns.sample, columns.cluster)
    if not is_over_strata(columns, context):
        if clusters is None:
            return stats.paired_t(a=values, b=np.zeros(len(values)), confidence=CONFIDENCE)
        return clustered_t(values, clusters, confidence=CONFIDENCE)
    strata = columns.stratum[np.unique(columns.sample, return_index=True)[1]]
    codes = np.unique(strata).tolist()
    parts = stratum_weights([columns.strata[code] for code in codes], context.info.families).tolist()
    weights = dict(zip(codes, parts, strict=True))
    if clusters is None:
        none = np.zeros(len(values))
        return stats.paired_t_stratified(a=values, b=none, strata=strata, weights=weights, confidence=CONFIDENCE)
    spread = stats.cluster_se_stratified(scores=values, clusters=clusters, strata=strata, weights=weights)
    return t_over_clusters(spread, len(values), confidence=CONFIDENCE)


def _shown(both: _Both, thresholds: Sequence[float]) -> list[float]:
    """Those that escalate anything; of many the ones whose shares are about evenly spaced."""
    thresholds = [threshold for threshold in thresholds if (both.confidence < threshold).any()]
    if len(thresholds) <= MOST_ROWS:
        return thresholds
    shares = np.array([(both.confidence < threshold).mean() for threshold in thresholds])
    wanted = np.arange(1, MOST_ROWS + 1) / MOST_ROWS
    nearest = {int(np.abs(shares - share).argmin()) for share in wanted}
    return [thresholds[place] for place in sorted(nearest)]


def _choice(both: _Both, aim: Aim) -> tuple[Choice | None, str]:
    """A threshold by the aim on one half of the independent units, judged on the other."""
    columns = both.cheap.columns
    units = np.where(columns.cluster >= 0, -1 - columns.cluster, columns.sample)
    known = np.unique(units)
    if len(known) < 2 * FEWEST_ITEMS:
        return None, f"{len(known)} independent items are too few to choose on one half and judge on the other"
    drawn = np.random.default_rng(aim.seed).permutation(known)[: len(known) // 2]
    is_drawn = np.isin(units, drawn)
    one, other = both.rows(np.flatnonzero(is_drawn)), both.rows(np.flatnonzero(~is_drawn))
    threshold = _best(one, aim)
    if threshold is None:
        return None, _why_none(aim, both)
    return Choice(
        threshold=threshold,
        chosen_on=_point(one, threshold),
        judged=_point(other, threshold),
        dear_judged=_alone(other.dear, other),
    ), ""


def _best(both: _Both, aim: Aim) -> float | None:
    """The threshold that serves the aim on these rows."""
    weights = _weights(both.cheap)
    cheap, dear = headline(both.cheap.columns), headline(both.dear.columns)
    thresholds = thresholds_of(both.confidence)
    scores = [float(weights @ np.where(both.confidence < threshold, dear, cheap)) for threshold in thresholds]
    if aim.at_most_usd is None:
        enough = float(weights @ dear) - aim.within - 1e-12
        return next((each for each, score in zip(thresholds, scores, strict=True) if score >= enough), None)
    costs = [float(np.mean(_replayed(both, threshold).columns.cost_usd)) for threshold in thresholds]
    borne = [place for place, cost in enumerate(costs) if cost <= aim.at_most_usd]
    return thresholds[max(borne, key=lambda place: scores[place])] if borne else None


def _weights(side: Side) -> np.ndarray:
    """What each row weighs in the headline: items alike, or strata alike where the headline is their mean."""
    columns, context = side.columns, Context(info=side.info)
    weights = _alike(columns)
    if is_over_strata(columns, context):
        codes, of_row = np.unique(columns.stratum, return_inverse=True)
        parts = stratum_weights([columns.strata[code] for code in codes], context.info.families)
        weights = weights * (parts / np.bincount(of_row, weights=weights))[of_row]
    return np.asarray(weights / weights.sum())


def _alike(columns: Columns) -> np.ndarray:
    """What each row weighs where items weigh alike, however often each was asked."""
    _, item, repeats = np.unique(columns.sample, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / repeats[item] / len(repeats))


def _why_none(aim: Aim, both: _Both) -> str:
    if aim.at_most_usd is None:
        return f"at no threshold does the cascade come within {100 * aim.within:g} points of {both.dear.name}"
    if np.isnan(both.cheap.columns.cost_usd + both.dear.columns.cost_usd).any():
        return "a cost is unknown, so none can be kept to"
    return f"no threshold keeps to {aim.at_most_usd:g} USD an item"
