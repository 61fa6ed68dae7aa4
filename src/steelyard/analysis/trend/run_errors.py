"""The errors of runs by which a change is judged, and what those of runs that share items have in common.

Runs on the same items are held against one another by how their answers vary: what a sample of questions does to a
share is the same for all of them, and would hide a drift. Runs on random parts of one benchmark estimate the same
share; what the items that two of them share do to both is no difference between them, and no second opinion either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from steelyard.analysis.compare import standard_error
from steelyard.analysis.trend.observed import FEWEST_SCORED, MOSTLY, Observed


class Errors(Struct, frozen=True, kw_only=True):
    """The errors of figures: the variance of each that is its ``own``, NaN where it has no interval, and the covariance
    of what is ``shared``.
    """

    own: np.ndarray
    shared: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """Both together."""
        return np.asarray(np.diag(self.own) + self.shared)

    @property
    def each(self) -> np.ndarray:
        """The standard error of each figure."""
        return np.asarray(np.sqrt(self.own + self.shared.diagonal()))

    @property
    def are_shared(self) -> bool:
        """Whether any two go together."""
        return bool((self.shared != 0).any())

    def gathered(self, weights: np.ndarray) -> Errors:
        """Those of weighed means of the figures, a row of weights each; no figure is in two of them."""
        own = np.where(weights > 0, weights**2 * self.own, 0.0).sum(axis=1)
        return Errors(own=own, shared=weights @ self.shared @ weights.T)

    def only(self, part: slice) -> Errors:
        """Those of some of the figures."""
        return Errors(own=self.own[part], shared=self.shared[part, part])

    def widened(self, tau2: float) -> Errors:
        """The same where figures vary by so much more, each on its own."""
        return Errors(own=self.own + tau2, shared=self.shared)


class Figures(Struct, frozen=True, kw_only=True):
    """What is held against what: figures, of the same ``n`` items where they can be, their errors, what these are."""

    values: np.ndarray
    errors: Errors
    method: str
    n: int | None = None

    def gathered(self, weights: np.ndarray) -> Figures:
        """Those of weighed means of the figures, a row of weights each; no figure is in two of them."""
        return replace(self, values=weights @ self.values, errors=self.errors.gathered(weights))


def run_errors(known: Sequence[Observed]) -> Figures:
    """The figures of the runs by which a change is judged, and their errors.

    Runs on the same items are compared on those that all have a score of: a run that lost hard ones to failed calls has
    a better mean, and answers as before.
    """
    same = _on_same_items(known)
    if same is not None:
        n = same.shape[1]
        method = f"the same {n:,} items, by how their answers vary"
        return Figures(values=same.mean(axis=1), errors=_unshared(_noise(same)), method=method, n=n)
    values = np.array([one.estimate.value for one in known], dtype=float)
    errors = [standard_error(one.estimate) for one in known]
    whole = np.array([math.nan if error is None else error**2 for error in errors])
    in_part = _over_parts(known, whole)
    if in_part is not None:
        method = "each run's own interval, less what the items they share do to both"
        return Figures(values=values, errors=in_part, method=method)
    return Figures(values=values, errors=_unshared(whole), method="each run's own interval")


def _unshared(variances: np.ndarray) -> Errors:
    return Errors(own=variances, shared=np.zeros((len(variances), len(variances))))


def _on_same_items(known: Sequence[Observed]) -> np.ndarray | None:
    """Item scores, one row a run, over the items that every run has scored, which weigh in all of them alike.

    They weigh as in the run that lost least. ``None`` where runs were asked other items, or lost most of the same.
    """
    asked = [one.asked for one in known if one.asked is not None]
    if len(known) < 2 or len(asked) < len(known):
        return None
    by_all = _in_all(asked)
    common = _in_all([one.items for one in known if one.items is not None])
    if len(by_all) < MOSTLY * max(map(len, asked)) or len(common) < max(2, FEWEST_SCORED * len(by_all)):
        return None
    whole = max(known, key=lambda one: 0 if one.items is None else len(one.items))
    weights = _at(common, whole, whole.weights)
    own = np.stack([_at(common, one, one.scores) / _at(common, one, one.weights) for one in known])
    return np.asarray(own * weights / weights.mean())


def _in_all(items: Sequence[np.ndarray]) -> np.ndarray:
    return reduce(np.intersect1d, items)


def _at(items: np.ndarray, one: Observed, values: np.ndarray | None) -> np.ndarray:
    """A run's values of some of its items; ones where it has none, as of weights that are alike."""
    assert one.items is not None
    if values is None:
        return np.ones(len(items))
    order = np.argsort(one.items)
    return np.asarray(values[order][np.searchsorted(one.items, items, sorter=order)])


def _noise(scores: np.ndarray) -> np.ndarray:
    """The variance of each run's mean over fixed items: half the variance of an item's change from run to run.

    A run that changed more than usual has its own error.
    """
    n = scores.shape[1]
    steps = np.diff(scores, axis=0)
    usual = float(steps.var(axis=1).mean())
    own = [_of_changes(each) for each in steps]
    return np.array([max(usual, one) / 2 / n for one in (min(own), *own)])


def _of_changes(steps: np.ndarray) -> float:
    """The variance of an item's change between two runs.

    Two pairs that disagree are added, as Bonett & Price 2012 do, or one flipped answer in a few hundred would look
    exact.
    """
    return float(((steps**2).sum() + 2) / (len(steps) + 2) - steps.mean() ** 2)


def _over_parts(known: Sequence[Observed], whole: np.ndarray) -> Errors | None:
    """Of runs on random parts that overlap: what answers vary, and items that nobody else asked, are a run's own.

    The rest of a run's variance is that of items that others were asked too: between two runs as much of it is shared
    as they share items, n_both / sqrt(n n'). ``None`` where no item was asked twice, or it is not known which were.
    """
    asked = [one.items for one in known if one.items is not None]
    if len(known) < 2 or len(asked) < len(known) or not np.isfinite(whole).all():
        return None
    every, times = np.unique(np.concatenate(asked), return_counts=True)
    twice = every[times > 1]
    if not len(twice):
        return None
    scores = np.full((len(known), len(twice)), np.nan)
    for row, items, one in zip(scores, asked, known, strict=True):
        at = np.minimum(np.searchsorted(twice, items), len(twice) - 1)
        is_there = twice[at] == items
        row[at[is_there]] = np.asarray(one.scores)[is_there]
    has = (~np.isnan(scores)).astype(float)
    both, n = has @ has.T, np.array([len(items) for items in asked])
    noise = np.minimum(whole, _noise_over_parts(scores, both) / 2 / n)
    by_items = np.sqrt((whole - noise) / n)
    shared = np.outer(by_items, by_items) * both
    return Errors(own=whole - shared.diagonal(), shared=shared)


def _noise_over_parts(scores: np.ndarray, both: np.ndarray) -> np.ndarray:
    """The variance of an item's change, of each run against the earlier one that it shares most items with."""
    own: dict[int, float] = {}
    total, items = 0.0, 0
    for run in range(1, len(scores)):
        other = run - 1 - int(both[run, :run][::-1].argmax())
        steps = scores[run] - scores[other]
        steps = steps[~np.isnan(steps)]
        if len(steps):
            own[run] = _of_changes(steps)
            total, items = total + len(steps) * float(steps.var()), items + len(steps)
    usual = max(total / items, min(own.values()) if len(own) < len(scores) else 0.0)
    return np.array([max(total / items, own.get(run, usual)) for run in range(len(scores))])
