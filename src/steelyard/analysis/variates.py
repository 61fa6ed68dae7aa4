"""A candidate asked a part of the items, a baseline asked them all: what the candidate would score on all of them.

The regression estimator leans on how far the two are right about the same items, which is measured and said. It holds
for the items that the baseline was asked, so what was asked of the candidate must be a random part of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from msgspec import Struct

from steelyard import stats
from steelyard.analysis.accuracy import accuracy, is_binary, is_over_strata
from steelyard.analysis.clusters import by_influences, clusters_of, over_clusters
from steelyard.analysis.compare import CONFIDENCE, POWER, Side, compare_scores, settings_note, verdict
from steelyard.analysis.estimates import Context, item_means
from steelyard.analysis.pairing import Paired, pair_scores
from steelyard.errors import UsageError
from steelyard.stats.census import WholeDifference
from steelyard.types import Comparison, ControlVariate, Estimate

FEWEST_ITEMS = 100
"""Below, the interval is too narrow for a strong correlation."""
WORTH_IT = 0.3
"""The correlation below which less than a tenth of the variance goes."""
MUCH_LOST = 0.01
FEW_FLIPS = 12
"""Of fewer flips seen, where most items were asked, what was seen takes too few values for a smooth interval."""
FEW_UNASKED = 20
"""So it is where fewer than these were left unasked of the items that the baseline has right, or wrong."""
METHODS = {
    "t": "regression on the baseline's scores, t",
    "shares": "regression on the baseline's scores, Jeffreys within its right and wrong",
    "none": "regression on the baseline's scores",
    "counted": "regression on the baseline's scores, flips counted out",
}


class Parts(Struct, frozen=True, kw_only=True):
    """Both sides on the items that both have scored, and the baseline on all of its own, with their ``clusters``.

    ``is_shared`` says which of all are those of both; ``clusters`` is ``None`` where none holds two of the items.
    """

    metric: str
    confidence: float
    pair: Paired
    of_baseline: np.ndarray
    is_shared: np.ndarray
    clusters: np.ndarray | None

    @property
    def population(self) -> int:
        """How many items the baseline has a score of."""
        return len(self.of_baseline)


def compare_on_all_items(
    baseline: Side,
    candidate: Side,
    metric: str = "accuracy",
    *,
    confidence: float = CONFIDENCE,
    margin: float | None = None,
) -> Comparison:
    """Candidate - baseline over all the baseline's items, the candidate having been asked a random part of them."""
    parts = _parts(baseline, candidate, metric, confidence)
    _check_usable(baseline, candidate, parts)
    plain = compare_scores(baseline, candidate, metric, confidence=confidence, margin=margin)
    found = _difference(parts)
    return msgspec.structs.replace(
        plain,
        of_baseline=accuracy(metric, baseline.columns, Context(info=baseline.info)),
        of_candidate=_of_candidate(found.difference, parts),
        difference=found.difference,
        test="none" if found.p is None else f"{'t' if found.is_t else 'its interval'}, regression",
        p_value=found.p,
        verdict=verdict(found.difference, margin=margin, better="higher"),
        pairing=msgspec.structs.replace(plain.pairing, low=None, high=None),
        detectable=_detectable(found, confidence),
        control_variate=_variate(parts, baseline),
        notes=(*_notes(parts, baseline, candidate), *settings_note(baseline, candidate)),
    )


def _parts(baseline: Side, candidate: Side, metric: str, confidence: float) -> Parts:
    scores, items = baseline.columns.scores[metric], baseline.columns.sample
    scored = ~np.isnan(scores)
    pair = pair_scores(candidate.columns, baseline.columns, metric)
    return Parts(
        metric=metric,
        confidence=confidence,
        pair=pair,
        is_shared=np.isin(np.unique(items[scored]), pair.items),
        clusters=clusters_of(items[scored], baseline.columns.cluster[scored]),
        of_baseline=item_means(scores[scored], items[scored]) if scored.any() else np.zeros(0),
    )


def _check_usable(baseline: Side, candidate: Side, parts: Parts) -> None:
    """Refuse what is no random part of the baseline's items, or too small a one."""
    who = f"{candidate.name} on {candidate.info.label}, run #{candidate.run}:"
    if is_over_strata(candidate.columns, Context(info=candidate.info)):
        raise UsageError(f"{who} its score is a mean over strata, which --control-variate does not take")
    if len(np.unique(candidate.columns.sample)) >= len(np.unique(baseline.columns.sample)):
        raise UsageError(
            f"{who} it was asked no fewer items than {baseline.name} in run #{baseline.run}, so there is nothing to "
            "save. Try: the run with more items first, or without --control-variate"
        )
    if candidate.info.order != "shuffled" and candidate.info.is_imported:
        raise UsageError(
            f"{who} its items were chosen elsewhere, and are not those that a seed of ours draws, so nobody can say "
            f"that they are a random part. Try: steelyard prompts {candidate.info.label} --order shuffled --limit N, "
            "which draws them, and import the answers to these (with the same --seed)"
        )
    if candidate.info.order != "shuffled":
        raise UsageError(
            f"{who} its items were taken in the file's order, and the first ones of a file are no random sample. "
            "Try: steelyard run --limit N, which draws them"
        )
    asked = len(np.unique(candidate.columns.sample))
    if asked < candidate.info.items and candidate.info.kind == "likelihood":
        raise UsageError(
            f"{who} it ended at {asked:,} of {candidate.info.items:,} items, and likelihoods are asked one stratum "
            f"after another, so they are no random sample. Try: steelyard run --resume {candidate.run}"
        )
    if parts.pair.n < FEWEST_ITEMS:
        raise UsageError(
            f"{who} {parts.pair.n} items are scored on both sides; with fewer than {FEWEST_ITEMS} the interval of "
            f"--control-variate is too narrow. Try: steelyard run --resume {candidate.run} --limit {2 * FEWEST_ITEMS}"
        )


class _Found(Struct, frozen=True, kw_only=True):
    difference: Estimate
    p: float | None
    se: float | None
    is_t: bool


def _difference(parts: Parts, *, beyond: bool = False) -> _Found:
    """For the baseline's items, or ``beyond`` them for questions like these."""
    found = stats.control_variate_difference(
        new=parts.pair.a,
        baseline_same_items=parts.pair.b,
        baseline_full_mean=float(parts.of_baseline.mean()),
        population=parts.population,
        baseline_variance=float(parts.of_baseline.var(ddof=1)) if beyond else None,
        confidence=parts.confidence,
    )
    low, high, p, method = found.low, found.high, found.p, METHODS[found.method]
    if not beyond and low is not None and high is not None and p is not None and _takes_few_values(parts):
        exact = _counted_out(parts)
        low, high, p, method = min(low, exact.low), max(high, exact.high), max(p, exact.p), METHODS["counted"]
    difference = Estimate(
        metric=parts.metric,
        value=found.diff,
        low=None if low is None else max(-1.0, low),
        high=None if high is None else min(1.0, high),
        level=None if low is None else parts.confidence,
        n=parts.pair.n,
        method=method,
        estimand="questions like these" if beyond else "this benchmark",
        unit="share",
        status="ok" if low is not None else "every item differs by the same: no spread to build an interval on",
    )
    return _Found(difference=difference, p=p, se=found.se, is_t=found.method == "t")


def _takes_few_values(parts: Parts) -> bool:
    """Whether so little may flip that was not seen that each number of it is tried, on this very benchmark."""
    pair, size = parts.pair, parts.population
    if not (pair.is_single and all(is_binary(scores) for scores in (pair.a, pair.b, parts.of_baseline))):
        return False
    unasked_right = parts.of_baseline.sum() - pair.b.sum()
    unasked_wrong = size - pair.n - unasked_right
    has_few_flips = 2 * pair.n > size and (pair.a != pair.b).sum() < FEW_FLIPS
    return bool(has_few_flips or min(unasked_right, unasked_wrong) < FEW_UNASKED)


def _counted_out(parts: Parts) -> WholeDifference:
    return stats.whole_difference(
        new=parts.pair.a,
        baseline_same_items=parts.pair.b,
        baseline_right=int(parts.of_baseline.sum()),
        population=parts.population,
        confidence=parts.confidence,
    )


def _of_candidate(difference: Estimate, parts: Parts) -> Estimate:
    """The candidate's own score: of the baseline's items its mean is known, so it is as far off as the difference."""
    mean = float(parts.of_baseline.mean())
    return msgspec.structs.replace(
        difference,
        value=None if difference.value is None else difference.value + mean,
        low=None if difference.low is None else max(0.0, difference.low + mean),
        high=None if difference.high is None else min(1.0, difference.high + mean),
    )


def _plain(parts: Parts) -> Estimate:
    """The candidate's mean over its own items, for all the baseline's: Wilson's interval, or t, of a part."""
    new, n = parts.pair.a, parts.pair.n
    low: float | None
    high: float | None
    if parts.pair.is_single and is_binary(new):
        bounds = stats.wilson_interval_finite(
            successes=int(new.sum()), n=n, population=parts.population, confidence=parts.confidence
        )
        low, high, method = bounds.low, bounds.high, "Wilson of a part"
    else:
        alone = stats.control_variate_mean(
            new=new,
            baseline_same_items=np.zeros(n),
            baseline_full_mean=0.0,
            population=parts.population,
            confidence=parts.confidence,
        )
        low, high, method = alone.low, alone.high, "item means of a part, t"
    return Estimate(
        metric=parts.metric,
        value=float(new.mean()),
        low=None if low is None else max(0.0, low),
        high=None if high is None else min(1.0, high),
        level=None if low is None else parts.confidence,
        n=n,
        method=method,
        estimand="this benchmark",
        unit="share",
    )


def _detectable(found: _Found, confidence: float) -> float | None:
    if found.se is None:
        return None
    return stats.minimum_detectable_effect(n=1, omega2=found.se**2, alpha=1 - confidence, power=POWER).mde


def _variate(parts: Parts, baseline: Side) -> ControlVariate:
    """What the baseline did for it; where one side has no spread nothing goes together, and nothing is saved."""
    gain = stats.control_variate_gain(
        new=parts.pair.a,
        baseline_same_items=parts.pair.b,
        population=parts.population,
        confidence=parts.confidence,
    )
    together = stats.control_variate_mean(
        new=parts.pair.a, baseline_same_items=parts.pair.b, baseline_full_mean=0.0, population=parts.population
    )
    return ControlVariate(
        theta=together.theta,
        phi=Estimate(
            metric="phi",
            value=gain.phi,
            low=gain.phi_low,
            high=gain.phi_high,
            level=None if gain.phi is None else parts.confidence,
            n=parts.pair.n,
            method="Pearson's correlation over items, delta method on Fisher's scale",
            unit="correlation",
            status="all scores of a side are alike" if gain.phi is None else "ok",
        ),
        variance_left=gain.variance_left,
        items=parts.pair.n,
        population=parts.population,
        is_whole=parts.population >= baseline.info.available,
        worth_items=gain.worth,
        worth_low=gain.worth_low,
        worth_high=gain.worth_high,
        saved_items=None if gain.worth is None else gain.worth - parts.pair.n,
        paired_worth_items=gain.paired_worth,
        plain=_plain(parts),
        beyond=_beyond(parts, together.theta),
        is_worth_it=gain.phi is not None and abs(gain.phi) >= WORTH_IT,
    )


def _beyond(parts: Parts, theta: float) -> Estimate:
    """The difference of questions like these, of which the benchmark's are a sample: in clusters, of clusters."""
    plain = _difference(parts, beyond=True).difference
    if parts.clusters is None or plain.value is None:
        return plain
    y, x, mean = parts.pair.a, parts.pair.b, parts.of_baseline.mean()
    influences = (theta - 1) * (parts.of_baseline - mean) / parts.population
    influences[parts.is_shared] += (y - y.mean() - theta * (x - x.mean())) / parts.pair.n
    found, worth = by_influences(plain.value, influences, parts.clusters, parts.is_shared, confidence=parts.confidence)
    told = over_clusters(plain, found, worth)
    return msgspec.structs.replace(told, method=f"regression on the baseline's scores, {told.method}")


def _notes(parts: Parts, baseline: Side, candidate: Side) -> Iterator[str]:
    """What a reader must know of the items behind the estimate."""
    pair = parts.pair
    if parts.population < baseline.info.available:
        yield (
            f"the estimate is for the {parts.population:,} items that {baseline.name} was asked and has a score of, "
            f"of the benchmark's {baseline.info.available:,}"
        )
    if len(pair.only_a):
        yield f"{len(pair.only_a):,} items of run #{candidate.run} are left out: the baseline was not asked them"
    if lost := len(pair.lost_a):
        told = (
            f"{lost:,} items of run #{candidate.run} have no score; the others are taken for a random part without them"
        )
        yield told + (". Try: steelyard run --resume" if lost > MUCH_LOST * pair.n_common else "")
    asked = len(np.unique(candidate.columns.sample))
    if asked < candidate.info.items:
        yield (
            f"run #{candidate.run} ended at {asked:,} of {candidate.info.items:,} items: what was in flight then is "
            "missing, and quick answers are easier ones"
        )
