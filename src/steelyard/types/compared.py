"""A candidate against a baseline: how their items met, how far apart they are, and the word for it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from steelyard.types.estimated import Estimate

Verdict = Literal["improved", "regressed", "equivalent", "inconclusive"]


class Agreement(Struct, frozen=True, kw_only=True):
    """Items by who got them right: both, one of the two, neither."""

    both: int
    only_baseline: int
    only_candidate: int
    neither: int


class Pairing(Struct, frozen=True, kw_only=True):
    """How two cells' items met: ``n`` are compared, of ``n_common`` that both were asked.

    ``only_*`` were asked on that side alone. ``lost_*`` were asked on both and have no value on that side, for a failed
    call or a failed grader; ``unscored_repeats_*`` are answers lost so to items that their other repeats stand for.
    ``low`` and ``high`` are the difference had every lost answer of the candidate been wrong
    and every one of the baseline right, and the other way round; ``None`` where values have no such range.
    """

    n: int
    n_common: int
    only_baseline: int = 0
    only_candidate: int = 0
    lost_baseline: int = 0
    lost_candidate: int = 0
    unscored_repeats_baseline: int = 0
    unscored_repeats_candidate: int = 0
    low: float | None = None
    high: float | None = None


class ControlVariate(Struct, frozen=True, kw_only=True):
    """What a baseline's answers to more items made of a candidate that was asked ``items`` of those ``population``.

    ``theta`` is the slope of the candidate's scores on the baseline's, ``phi`` their correlation over the items both
    were asked, with its interval. ``variance_left`` is the share of a plain mean's variance that is left, and
    ``worth_items`` how many items a plain mean takes for the same error; its bounds are those of phi. Pairing alone,
    the plain difference on the same items, is worth ``paired_worth_items``. Where all scores of a side are alike,
    nothing goes together: these figures are ``None``, and ``theta`` is 0. ``plain`` is the candidate's mean over its
    items without the baseline's help. ``beyond`` is the same difference for questions like these, ``None`` where items
    come in clusters. All but ``beyond`` are of the ``population`` items, which are the whole benchmark if ``is_whole``.
    """

    theta: float
    phi: Estimate
    variance_left: float | None
    items: int
    population: int
    is_whole: bool
    worth_items: float | None
    worth_low: float | None
    worth_high: float | None
    saved_items: float | None
    paired_worth_items: float | None
    plain: Estimate
    beyond: Estimate | None = None
    is_worth_it: bool


class Comparison(Struct, frozen=True, kw_only=True):
    """A candidate against a baseline on the same items: how far apart, how sure, and the word for it.

    ``difference`` is candidate - baseline and ``ratio`` candidate / baseline. ``improved`` means that the candidate is
    better (of a time or a cost: lower) by an interval that leaves no room for none; ``equivalent`` that the interval
    lies within ``margin`` either way. ``adjusted_p`` is ``p_value`` in its family of comparisons (``adjustment``).
    ``detectable`` is the smallest true difference that as many items find with a power of 80 %, of a time or an amount
    the smallest increase as a share. With a
    ``control_variate`` difference and sides are over all the baseline's items, by the regression estimator.
    ``odds_ratio`` is only_candidate / only_baseline, ``None`` where the latter is 0, and ``cohens_h`` the difference on
    the arcsine scale, of single answers that are right or wrong: no verdict is taken on either.
    """

    metric: str
    benchmark: str
    baseline: str
    candidate: str
    baseline_run: int
    candidate_run: int
    of_baseline: Estimate
    of_candidate: Estimate
    difference: Estimate
    ratio: Estimate | None = None
    test: str = "none"
    p_value: float | None = None
    adjusted_p: float | None = None
    adjustment: Literal["none", "holm", "bh"] = "none"
    margin: float | None = None
    verdict: Verdict
    pairing: Pairing
    agreement: Agreement | None = None
    detectable: float | None = None
    control_variate: ControlVariate | None = None
    odds_ratio: float | None = None
    cohens_h: float | None = None
    sentence: str = ""
    notes: tuple[str, ...] = ()
