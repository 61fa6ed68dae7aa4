"""A candidate against a baseline on scores: the difference on the same items, its interval, its test, its word.

The decision is taken on the interval, the p-value stands beside it; in a grid it is that of the test which the interval
inverts, and sets the level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.accuracy import accuracy, is_binary, is_over_strata, stratum_weights
from steelyard.analysis.estimates import Context
from steelyard.analysis.pairing import Paired, Range, lost_range, mean_difference, pair_scores, settings_apart
from steelyard.analysis.score_difference import NONE_ON_BOTH, WeighedStrata, score_difference, with_its_inverted_test
from steelyard.analysis.wording import counted, signed_points
from steelyard.types import Agreement, CellInfo, Columns, Comparison, Estimate, Pairing, Verdict

CONFIDENCE = 0.95
POWER = 0.8
FALSE_SHARE = 0.10
"""Of what is called a difference in a table of many, the share that may be none (Benjamini & Hochberg)."""
MUCH_LOST = 0.01
WAS, HAS = ("was", "were"), ("has", "have")
MIXED = "some of its differences are of a whole benchmark, others of questions like its own"
NO_SPREAD = 1e-9
"""A standard error that is rounding alone, as of a ratio that every item has."""

Family = Literal["claim", "grid"]


class Side(Struct, frozen=True, kw_only=True):
    """One cell as it is compared: what it is called, the number of its run, what it is, its columns."""

    name: str
    run: int
    info: CellInfo
    columns: Columns


def compare_scores(
    baseline: Side,
    candidate: Side,
    metric: str = "accuracy",
    *,
    confidence: float = CONFIDENCE,
    margin: float | None = None,
    by_interval: bool = False,
) -> Comparison:
    """One of the grader's metrics, candidate - baseline, over the items that both have scored.

    ``by_interval``: beside the interval stands the test that it inverts, so that the two never disagree.
    """
    pair = pair_scores(candidate.columns, baseline.columns, metric)
    found = score_difference(metric, pair, _strata_of(pair, candidate), confidence)
    found = with_its_inverted_test(found) if by_interval else found
    lost = _lost(metric, baseline, candidate, found.difference.value or 0.0)
    sides = [_over_items(metric, side, pair) for side in (baseline, candidate)]
    seen = _agreement(pair)
    met = msgspec.structs.replace(
        pairing_of(pair, low=lost.low, high=lost.high),
        unscored_repeats_baseline=_unscored_repeats(metric, baseline, pair),
        unscored_repeats_candidate=_unscored_repeats(metric, candidate, pair),
    )
    return Comparison(
        metric=metric,
        benchmark=candidate.info.label,
        baseline=baseline.name,
        candidate=candidate.name,
        baseline_run=baseline.run,
        candidate_run=candidate.run,
        of_baseline=sides[0],
        of_candidate=sides[1],
        difference=found.difference,
        test=found.test,
        p_value=found.p,
        margin=margin,
        verdict=verdict(found.difference, margin=margin, better="higher"),
        pairing=met,
        agreement=seen,
        odds_ratio=odds_ratio(seen),
        cohens_h=None if seen is None or not pair.n else stats.cohens_h(p1=pair.a.mean(), p2=pair.b.mean()).h,
        detectable=detectable_difference(found.difference, confidence),
        notes=notes_on(met, baseline, candidate),
    )


def verdict(
    estimate: Estimate, *, margin: float | None, better: Literal["higher", "lower"], none: float = 0.0
) -> Verdict:
    """The word for an interval. ``none`` is what no difference looks like: 0, or 1 for a ratio."""
    low, high = estimate.low, estimate.high
    if margin is not None and low is not None and high is not None:
        floor, ceiling = (none - margin, none + margin) if none == 0 else (none / (1 + margin), none * (1 + margin))
        if floor < low and high < ceiling:
            return "equivalent"
    if low is not None and low > none:
        return "improved" if better == "higher" else "regressed"
    if high is not None and high < none:
        return "regressed" if better == "higher" else "improved"
    return "inconclusive"


def claim_level(size: int) -> float:
    """The level of each interval so that all those of a claim hold together (Bonferroni)."""
    return CONFIDENCE if size < 2 else 1 - (1 - CONFIDENCE) / size


def grid_level(p: Sequence[float | None]) -> float:
    """The level of each interval of a grid, so that those without 0 in them are the ones that BH tells apart.

    ``p`` are those of the tests that the intervals invert.
    """
    return stats.false_coverage(p=p, share=FALSE_SHARE).level


def p_by_interval(baseline: Side, candidate: Side, metric: str = "accuracy") -> float | None:
    """That of the test which the interval inverts, at whatever level: all that the level of a grid takes."""
    pair = pair_scores(candidate.columns, baseline.columns, metric)
    return with_its_inverted_test(score_difference(metric, pair, _strata_of(pair, candidate), CONFIDENCE)).p


def in_family(comparisons: Sequence[Comparison], family: Family) -> list[Comparison]:
    """The same with p-values adjusted: Holm's within a claim, Benjamini and Hochberg's over a grid."""
    if len(comparisons) < 2:
        return list(comparisons)
    values = [one.p_value for one in comparisons]
    adjusted = (stats.holm_adjust(p=values) if family == "claim" else stats.bh_adjust(p=values)).adjusted
    how: Literal["holm", "bh"] = "holm" if family == "claim" else "bh"
    return [
        msgspec.structs.replace(one, adjusted_p=p, adjustment=how) for one, p in zip(comparisons, adjusted, strict=True)
    ]


def pairing_of(pair: Paired, *, low: float | None = None, high: float | None = None) -> Pairing:
    """The counts of a pair whose side a is the candidate."""
    return Pairing(
        n=pair.n,
        n_common=pair.n_common,
        only_baseline=len(pair.only_b),
        only_candidate=len(pair.only_a),
        lost_baseline=len(pair.lost_b),
        lost_candidate=len(pair.lost_a),
        low=low,
        high=high,
    )


def beside(baseline: Side, candidate: Side) -> list[str]:
    """What to beware of whatever is compared: other settings, and items that nobody drew."""
    return [*settings_note(baseline, candidate), *_chosen_note(baseline, candidate)]


def _chosen_note(baseline: Side, candidate: Side) -> list[str]:
    """Items that are no random part of the benchmark: what holds on them need not hold on the others."""
    info = min(baseline.info, candidate.info, key=lambda one: one.items)
    if info.is_drawn:
        return []
    how = "were chosen elsewhere" if info.is_imported else "are the first ones in file order"
    return [f"the {info.items:,} of {info.available:,} items {how} and are no random sample of them"]


def settings_note(baseline: Side, candidate: Side) -> list[str]:
    """What makes two systems of one model, or of two: the settings in which they differ. A floor has none."""
    if baseline.info.is_floor or candidate.info.is_floor:
        return []
    words = settings_apart(candidate.info, baseline.info)
    return [f"their settings differ: {words}"] if words else []


def standard_error(estimate: Estimate) -> float | None:
    """What the interval says it is, whichever way it was made."""
    if estimate.low is None or estimate.high is None or estimate.level is None:
        return None
    return (estimate.high - estimate.low) / 2 / NormalDist().inv_cdf(0.5 + estimate.level / 2)


def logarithm(ratio: Estimate) -> Estimate:
    """The estimate of a ratio on the logarithmic scale; without bounds where these are not above 0."""
    if ratio.value is None or ratio.low is None or ratio.high is None or ratio.low <= 0:
        return msgspec.structs.replace(ratio, low=None, high=None)
    value, low, high = (math.log(one) for one in (ratio.value, ratio.low, ratio.high))
    return msgspec.structs.replace(ratio, value=value, low=low, high=high)


def detectable_difference(difference: Estimate, confidence: float) -> float | None:
    """The smallest true difference that as many items find with a power of 80 %, from the spread seen here.

    Without any spread nobody can say.
    """
    se = standard_error(difference)
    if not se or se <= NO_SPREAD:
        return None
    return stats.minimum_detectable_effect(
        n=difference.n, omega2=difference.n * se**2, alpha=1 - confidence, power=POWER
    ).mde


def average_over_benchmarks(comparisons: Sequence[Comparison], *, confidence: float = CONFIDENCE) -> Estimate | None:
    """The plain mean of one candidate's differences on several benchmarks; ``None`` of fewer than two, or of ratios.

    The benchmarks are fixed: the error is that of their items, sqrt(sum SE^2) / B, and speaks of no other benchmark.
    Without one where the differences are bounded for whole benchmarks in part, and in part for questions like theirs.
    Of differences that end at 1, as those of shares do, the mean ends there too.
    """
    errors = [standard_error(one.difference) for one in comparisons]
    values = [one.difference.value for one in comparisons if one.difference.value is not None]
    if len(comparisons) < 2 or len(values) < len(comparisons) or any(one.ratio is not None for one in comparisons):
        return None
    known = [error for error in errors if error is not None]
    value, count = sum(values) / len(values), len(values)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * math.hypot(*known) / count
    estimands = {one.difference.estimand for one in comparisons}
    is_known = len(known) == count and len(estimands) == 1
    unbounded = "a difference without an interval" if len(known) < count else MIXED
    ends = [end for one in comparisons for end in (one.difference.low, one.difference.high) if end is not None]
    most = 1.0 if all(abs(end) <= 1 for end in ends) else math.inf
    return Estimate(
        metric=comparisons[0].metric,
        value=value,
        low=max(-most, value - reach) if is_known else None,
        high=min(most, value + reach) if is_known else None,
        level=confidence if is_known else None,
        n=sum(one.difference.n for one in comparisons),
        method=f"plain mean over {count} fixed benchmarks, normal",
        unit="share",
        estimand=comparisons[0].difference.estimand,
        status="ok" if is_known else unbounded,
    )


def items_to_find(comparison: Comparison, delta: float) -> int | None:
    """How many items would find a true difference of ``delta`` with a power of 80 %, from the spread seen here.

    Of a time or an amount ``delta`` is relative: 0.05 is 5 % more.
    """
    found, n = comparison.difference, comparison.pairing.n
    if comparison.ratio is not None:
        found, delta = logarithm(comparison.ratio), math.log1p(delta)
    se, level = standard_error(found), found.level
    if se is None or se <= NO_SPREAD or not n or not delta or level is None:
        return None
    needed = stats.sample_size_paired(delta=delta, omega2=n * se**2, alpha=1 - level, power=POWER).n
    return None if needed is None else int(needed)


def _lost(metric: str, baseline: Side, candidate: Side, difference: float) -> Range:
    """What lost answers could make of the difference, as the headline weighs items."""
    if not any(np.isnan(side.columns.scores[metric]).any() for side in (baseline, candidate)):
        return Range(low=difference, high=difference)

    def mean(pair: Paired) -> float:
        strata = _strata_of(pair, candidate)
        return mean_difference(pair) if strata is None else strata.mean(pair)

    return lost_range(candidate.columns, baseline.columns, metric, mean)


def _strata_of(pair: Paired, candidate: Side) -> WeighedStrata | None:
    """The strata of the pairs, if there are any, where the headline is a mean over them."""
    if not pair.n or not is_over_strata(candidate.columns, Context(info=candidate.info)):
        return None
    codes, names = np.unique(pair.strata).tolist(), candidate.columns.strata
    weights = stratum_weights([names[code] for code in codes], candidate.info.families).tolist()
    return WeighedStrata(names=names, weights=dict(zip(codes, weights, strict=True)))


def _over_items(metric: str, side: Side, pair: Paired) -> Estimate:
    """The side's own estimate over the paired items alone; of none it says whether the side has scores elsewhere."""
    is_paired = np.isin(side.columns.sample, pair.items)
    scores = {metric: np.where(is_paired, side.columns.scores[metric], np.nan)}
    columns = msgspec.structs.replace(side.columns, scores=scores)
    found = accuracy(metric, columns, Context(info=side.info, confidence=CONFIDENCE))
    if found.value is not None:
        return msgspec.structs.replace(found, status="ok")
    is_scored = not np.isnan(side.columns.scores[metric]).all()
    return msgspec.structs.replace(found, status=NONE_ON_BOTH) if is_scored else found


def _agreement(pair: Paired) -> Agreement | None:
    """Who got which items right, where each item has one answer that is right or wrong."""
    if not (pair.is_single and is_binary(pair.a) and is_binary(pair.b)):
        return None
    return Agreement(
        both=int(((pair.a == 1) & (pair.b == 1)).sum()),
        only_baseline=int((pair.b > pair.a).sum()),
        only_candidate=int((pair.a > pair.b).sum()),
        neither=int(((pair.a == 0) & (pair.b == 0)).sum()),
    )


def odds_ratio(seen: Agreement | None) -> float | None:
    """Of what one side alone has right; ``None`` where nothing is the baseline's alone."""
    return seen.only_candidate / seen.only_baseline if seen is not None and seen.only_baseline else None


def _used_again(baseline: Side, candidate: Side) -> int:
    """How many answers of a later run may be the earlier run's own."""
    is_again = baseline.run != candidate.run and baseline.info.origin == candidate.info.origin
    return int(candidate.columns.cached.sum()) if is_again else 0


def notes_on(met: Pairing, baseline: Side, candidate: Side) -> tuple[str, ...]:
    """What a reader must know of the items that are not among the pairs, and of those that are."""
    notes = unshared_note(met, baseline, candidate)
    names = names_apart(baseline, candidate)
    lost = met.n_common - met.n
    if lost and met.low is not None and met.high is not None:
        notes.append(
            f"{counted(lost, 'item', HAS)} no score on a side ({met.lost_baseline:,} of {names[0]}, "
            f"{met.lost_candidate:,} of {names[1]}) and {'is' if lost == 1 else 'are'} left out, which could make the "
            f"difference anything from {signed_points(met.low)} to {signed_points(met.high)} points"
            + (". Try: steelyard run --resume to ask them again" if lost > MUCH_LOST * met.n_common else "")
        )
    notes += _unscored_repeats_note(met, names)
    if reused := _used_again(baseline, candidate):
        notes.append(
            f"{counted(reused, 'answer')} of run #{candidate.run} {WAS[reused != 1]} given in earlier runs and used "
            "again, which says nothing new of this model. Try: steelyard run --fresh"
        )
    return (*notes, *beside(baseline, candidate))


def names_apart(baseline: Side, candidate: Side) -> list[str]:
    """Both sides by name, or by run where one model stands against itself."""
    is_one = baseline.name == candidate.name
    return [f"run #{side.run}" if is_one else side.name for side in (baseline, candidate)]


def unshared_note(met: Pairing, baseline: Side, candidate: Side) -> list[str]:
    """The items that only one side was asked."""
    if not (met.only_baseline or met.only_candidate):
        return []
    names = names_apart(baseline, candidate)
    return [
        f"{counted(met.n_common, 'item', WAS)} asked on both sides; {met.only_baseline:,} only of {names[0]} "
        f"and {met.only_candidate:,} only of {names[1]} are left out"
    ]


def _unscored_repeats(metric: str, side: Side, pair: Paired) -> int:
    """Answers without a score to items that have one by other answers."""
    of_pairs = np.isnan(side.columns.scores[metric]) & np.isin(side.columns.sample, pair.items)
    return int(of_pairs.sum())


def _unscored_repeats_note(met: Pairing, names: Sequence[str]) -> list[str]:
    """An item that lost some of its repeats stands, by fewer answers than were asked for."""
    of_each = met.unscored_repeats_baseline, met.unscored_repeats_candidate
    if not any(of_each):
        return []
    note = (
        f"{counted(sum(of_each), 'answer', HAS)} no score ({of_each[0]:,} of {names[0]}, {of_each[1]:,} of {names[1]}) "
        "to items that their other repeats stand for"
    )
    if met.n < met.n_common or met.low is None or met.high is None:
        return [note]
    return [
        f"{note}, which could make the difference anything from {signed_points(met.low)} to {signed_points(met.high)} "
        "points"
    ]
