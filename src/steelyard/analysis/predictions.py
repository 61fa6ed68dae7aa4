"""A judge's scores of everything, put right by people's on a few: prediction-powered inference.

People's ratings say how far the judge is off; the judge says what people were not asked. The estimate is of what people
would say, whatever the judge is like, as long as the answers that people rated were drawn at random.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from steelyard import stats
from steelyard.analysis.accuracy import is_binary
from steelyard.analysis.clusters import by_influences, cluster_warning, clustered_t, over_clusters, worth_of
from steelyard.analysis.compare import CONFIDENCE, verdict
from steelyard.analysis.estimates import Context, share, unknown
from steelyard.stats.control_variates import ControlVariateGain
from steelyard.stats.intervals import ClusteredMean
from steelyard.stats.paired import TTest
from steelyard.stats.post_strata import are_few, are_shares
from steelyard.types import CellInfo, Estimate, Verdict

FEWEST_RATED = 30
ROUGH_BELOW = 100
FEWEST_FOR_PHI = 4
WORTH_IT = 0.3
METHODS = {
    "t": ", t",
    "shares": ", Jeffreys on either side of the judge's word",
    "few": ", Jeffreys of people's word",
    "normal": ", normal",
    "none": "",
}

Rated = Literal["the model's answers", "the replies in the file"]


class Ratings(Struct, frozen=True, kw_only=True):
    """A cell's items as judge and people see them: parallel arrays, NaN where the one or the other gave no word.

    ``clusters`` is each item's, ``None`` where no cluster holds two.
    """

    items: np.ndarray
    judged: np.ndarray
    human: np.ndarray
    clusters: np.ndarray | None = None


class Corrected(Struct, frozen=True, kw_only=True):
    """What people would say of ``rated``, from the judge's word on ``n_judged`` and people's on ``n_rated`` of them.

    ``judge`` is the judge's own mean and ``people`` that of the rated ones alone. ``corrected`` is for questions like
    these, leaning on the judge by ``lam``; ``of_benchmark`` for just these items, by regression. ``phi`` is the
    correlation of the two. ``worth_items`` ratings without a judge would be as good; ``n_undecided`` are those on which
    the judge gave no verdict, taken at its mean. Of a difference all are differences, and ``verdict`` is its word.
    """

    model: str
    benchmark: str
    rated: Rated
    against: str | None = None
    n_judged: int
    n_rated: int
    n_undecided: int
    judge: Estimate
    people: Estimate
    corrected: Estimate
    of_benchmark: Estimate
    lam: float | None = None
    phi: Estimate
    worth_items: float | None = None
    saved_items: float | None = None
    is_worth_it: bool = False
    verdict: Verdict | None = None


def correct_by_people(ratings: Ratings, info: CellInfo, rated: Rated) -> Corrected:
    """One model's mean as people would rate it."""
    judged, undecided = _at_the_mean(ratings.judged)
    return _corrected(judged, ratings.human, undecided, ratings.clusters, info, rated, against=None)


def correct_difference(baseline: Ratings, candidate: Ratings, infos: tuple[CellInfo, CellInfo]) -> Corrected:
    """Candidate - baseline as people would rate them, over the items that both have; people's word must be on both."""
    _, at_a, at_b = np.intersect1d(baseline.items, candidate.items, assume_unique=True, return_indices=True)
    (of_a, lost_a), (of_b, lost_b) = _at_the_mean(baseline.judged[at_a]), _at_the_mean(candidate.judged[at_b])
    human = candidate.human[at_b] - baseline.human[at_a]
    clusters = None if baseline.clusters is None else baseline.clusters[at_a]
    who: Rated = "the model's answers"
    return _corrected(of_b - of_a, human, lost_a | lost_b, clusters, infos[1], who, against=infos[0].model)


def _at_the_mean(judged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The judge's word, its mean where it gave none: any prediction will do, as long as it looks at no person's."""
    undecided = np.isnan(judged)
    mean = float(judged[~undecided].mean()) if (~undecided).any() else 0.0
    return np.where(undecided, mean, judged), undecided


def _corrected(
    judged: np.ndarray,
    human: np.ndarray,
    undecided: np.ndarray,
    clusters: np.ndarray | None,
    info: CellInfo,
    rated: Rated,
    against: str | None,
) -> Corrected:
    labelled = ~np.isnan(human)
    y, f = human[labelled], judged[labelled]
    metric, lowest = ("accuracy", 0.0) if against is None else ("difference", -1.0)
    found = stats.ppi_mean(
        labeled=y,
        predictions_labeled=f,
        predictions_unlabeled=judged[~labelled],
        are_differences=against is not None,
    )
    gain = stats.control_variate_gain(new=y, baseline_same_items=f, population=max(1, len(judged)))
    if len(y) < FEWEST_RATED:
        few = f"{len(y)} are rated by people, and it takes {FEWEST_RATED}"
        corrected = of_benchmark = unknown(metric, "share", few, n=len(y))
    else:
        how = f"PPI++ at lambda {found.lam:.2f}{METHODS[found.method]}"
        corrected = _estimate(metric, found.estimate, (found.low, found.high), lowest, len(y), how)
        of_benchmark = _of_benchmark(metric, y, f, judged, lowest)
    worth = float(y.var()) / found.se**2 if found.se else None
    if clusters is not None:
        among = _over_clusters(judged, human, clusters, found.lam)
        worth = _worth(y, clusters[labelled], among.se)
        if len(y) >= FEWEST_RATED:
            corrected = among.estimate(metric, lowest)
    return Corrected(
        model=info.model,
        benchmark=info.label,
        rated=rated,
        against=against,
        n_judged=len(judged),
        n_rated=len(y),
        n_undecided=int(undecided.sum()),
        judge=_plain(metric, judged[~undecided], _of(clusters, ~undecided), info, lowest),
        people=_plain(metric, y, _of(clusters, labelled), info, lowest),
        corrected=corrected,
        of_benchmark=of_benchmark,
        lam=found.lam if len(y) else None,
        phi=_phi(gain, len(y)),
        worth_items=worth,
        saved_items=None if worth is None else worth - len(y),
        is_worth_it=gain.phi is not None and gain.phi >= WORTH_IT,
        verdict=None if against is None else verdict(corrected, margin=None, better="higher"),
    )


Bounds = tuple[float | None, float | None]


def _of_benchmark(metric: str, y: np.ndarray, f: np.ndarray, judged: np.ndarray, lowest: float) -> Estimate:
    """People's mean over just these items: the rated ones are a part of them, so the judge is a control variate."""
    are_differences = lowest < 0
    found = stats.control_variate_mean(
        new=y,
        baseline_same_items=f,
        baseline_full_mean=float(judged.mean()),
        population=len(judged),
        are_differences=are_differences,
    )
    how = "none" if found.low is None or len(y) >= len(judged) else "t" if are_differences else _how_bounded(y, f)
    estimate = _estimate(
        metric,
        found.estimate,
        (found.low, found.high),
        lowest,
        len(y),
        f"regression on the judge's scores{METHODS[how]}",
    )
    return replace(estimate, estimand="this benchmark")


def _how_bounded(y: np.ndarray, f: np.ndarray) -> str:
    """Which of the methods bounds a regression of people's word on the judge's."""
    if are_shares(y, f):
        return "shares"
    return "few" if are_few(y) else "t"


def _estimate(
    metric: str,
    value: float | None,
    bounds: Bounds,
    lowest: float,
    n: int,
    method: str,
) -> Estimate:
    low, high = bounds
    status = "no spread to build an interval on" if low is None else _rough("ok", n)
    return Estimate(
        metric=metric,
        value=None if value is None else min(1.0, max(lowest, value)),
        low=None if low is None else min(1.0, max(lowest, low)),
        high=None if high is None else min(1.0, max(lowest, high)),
        level=None if low is None else CONFIDENCE,
        n=n,
        method=method,
        unit="share",
        status=status,
    )


class _OverClusters(Struct, frozen=True):
    """PPI++ of items in clusters: what it says, with which error, from how many ratings."""

    found: TTest
    worth: ClusteredMean
    lam: float

    @property
    def se(self) -> float | None:
        return self.found.se

    def estimate(self, metric: str, lowest: float) -> Estimate:
        found = self.found
        plain = _estimate(metric, found.mean_diff, (found.low, found.high), lowest, found.n, "PPI++")
        told = over_clusters(plain, found, self.worth)
        low, method = plain.low if told.low is not None else None, f"PPI++ at lambda {self.lam:.2f}, {told.method}"
        return replace(told, value=plain.value, low=low, method=method, status=_rough(told.status, told.n))


def _rough(status: str, n: int) -> str:
    return f"only {n} are rated by people: the interval is rough" if status == "ok" and n < ROUGH_BELOW else status


def _over_clusters(judged: np.ndarray, human: np.ndarray, clusters: np.ndarray, lam: float) -> _OverClusters:
    """Each item's influence on what is rated and predicted, summed by cluster: ratings of one document go together."""
    rated = ~np.isnan(human)
    rest = human[rated] - lam * judged[rated]
    others = judged[~rated]
    value = float(rest.mean()) if len(rest) else 0.0
    influences = np.zeros(len(judged))
    influences[rated] = (rest - value) / max(1, len(rest))
    if len(others):
        influences[~rated] = lam * (others - others.mean()) / len(others)
        value += lam * float(others.mean())
    return _OverClusters(*by_influences(value, influences, clusters, rated, confidence=CONFIDENCE), lam)


def _worth(y: np.ndarray, clusters: np.ndarray, se: float | None) -> float | None:
    """How many ratings without a judge, in such clusters, have that error."""
    alone = stats.cluster_se(scores=y, clusters=clusters).se
    return len(y) * (alone / se) ** 2 if alone and se else None


def _of(clusters: np.ndarray | None, chosen: np.ndarray) -> np.ndarray | None:
    """The clusters of some items; ``None`` where none of them share one."""
    found = None if clusters is None else clusters[chosen]
    return None if found is None or len(np.unique(found)) == len(found) else found


def _plain(metric: str, values: np.ndarray, clusters: np.ndarray | None, info: CellInfo, lowest: float) -> Estimate:
    """The mean of one side alone."""
    if not len(values):
        return unknown(metric, "share", "none")
    if clusters is not None:
        worth, alone = worth_of(clusters), clustered_t(values, clusters, confidence=CONFIDENCE)
        how = f"{worth.clusters} clusters, CR1, t"
        estimate = _estimate(metric, float(values.mean()), (alone.low, alone.high), lowest, len(values), how)
        return replace(estimate, status=cluster_warning(worth) or estimate.status)
    if lowest == 0 and is_binary(values):
        return share(metric, float(values.sum()), len(values), Context(info=info))
    found = stats.mean_interval(values=values)
    return _estimate(metric, float(values.mean()), (found.low, found.high), lowest, len(values), "t")


def _phi(gain: ControlVariateGain, n: int) -> Estimate:
    return Estimate(
        metric="phi",
        value=gain.phi,
        low=gain.phi_low,
        high=gain.phi_high,
        level=None if gain.phi_low is None else CONFIDENCE,
        n=n,
        method="Pearson's correlation of judge and people, delta method on Fisher's scale",
        unit="correlation",
        status="ok" if gain.phi is not None else _why_no_phi(n),
    )


def _why_no_phi(n: int) -> str:
    if not n:
        return "people rated none of it"
    return "judge or people say the same of everything" if n >= FEWEST_FOR_PHI else f"only {n} are rated by people"
