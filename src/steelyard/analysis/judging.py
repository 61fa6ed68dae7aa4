"""The judge weighed: what it took, how often it did not decide, how far it wavers and agrees with people.

Its money and tokens are its own and stand in no figure of the model under test.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from steelyard import stats
from steelyard.analysis.estimates import Context, counted, headline, is_answered, share, unknown
from steelyard.types import Columns, Estimate

SWAPPED, VARIANCE, RATED, HUMAN = "judge.swapped", "judge.variance", "judge.rated", "judge.human"


def judge_of(context: Context) -> dict[str, Any] | None:
    """The judge's settings as they were stored with the cell; ``None`` where no model judged."""
    judge: dict[str, Any] | None = context.info.settings.get("protocol", {}).get("judge")
    return judge


def calls(columns: Columns, context: Context) -> Estimate:
    """Requests sent to the judge, retries included."""
    return counted("judge.calls", "requests", columns.judging.calls if columns.judging else 0)


def cached(columns: Columns, context: Context) -> Estimate:
    """Replies of the judge that were given in earlier runs and used again, for nothing."""
    return counted("judge.cached", "requests", columns.judging.cached if columns.judging else 0)


def saved(columns: Columns, context: Context) -> Estimate:
    """What the replies that were used again had cost when the judge was asked."""
    judging = columns.judging
    if judging is None or not judging.cached:
        return unknown("judge.cost.saved", "USD", "nothing was used again")
    if judging.saved_usd is None:
        return unknown("judge.cost.saved", "USD", "price or tokens unknown", n=judging.cached)
    return counted("judge.cost.saved", "USD", judging.saved_usd, n=judging.cached)


def tokens(metric: str, field: str, columns: Columns, context: Context) -> Estimate:
    """The judge's tokens, as reported."""
    total = getattr(columns.judging, field, None)
    return unknown(metric, "tokens", "not reported") if total is None else counted(metric, "tokens", total)


def cost_total(columns: Columns, context: Context) -> Estimate:
    """What the judge cost."""
    total = columns.judging.cost_usd if columns.judging else None
    if total is None:
        return unknown("judge.cost.total", "USD", "price or tokens unknown")
    return counted("judge.cost.total", "USD", total)


def unscored(columns: Columns, context: Context) -> Estimate:
    """Answers that the judge failed on, or on which it did not decide."""
    scores = headline(columns)
    if not len(scores):
        return counted("judge.unscored", "requests", 0)
    return counted("judge.unscored", "requests", int((np.isnan(scores) & is_answered(columns)).sum()))


def swapped(columns: Columns, context: Context) -> Estimate:
    """The share of pairs whose verdict turned with their order; each of them counts as a tie."""
    turned = _known(columns, SWAPPED)
    if not len(turned):
        return unknown(SWAPPED, "share", "nothing was compared in both orders")
    return share(SWAPPED, float(turned.sum()), len(turned), context)


def noise(columns: Columns, context: Context) -> Estimate:
    """The standard deviation of the judge's value when asked about one answer again: root of the mean variance."""
    variances = _known(columns, VARIANCE)
    if not len(variances):
        return unknown("judge.noise", "score", "no answer was judged twice: --judge-repeats 3 asks three times")
    return counted("judge.noise", "score", math.sqrt(float(variances.mean())), n=len(variances))


def agreement(columns: Columns, context: Context) -> Estimate:
    """The share of answers rated by people on which the judge gives the same verdict."""
    judged, human, split = _pairs(columns, context)
    if not len(judged):
        return unknown("judge.agreement", "share", _none_rated(split))
    return share("judge.agreement", float((judged == human).sum()), len(judged), context, status=_left_out(split))


def kappa(columns: Columns, context: Context) -> Estimate:
    """Cohen's kappa between the judge and people; grades on a scale are weighted by the square of their distance."""
    judged, human, split = _pairs(columns, context)
    judge = judge_of(context) or {}
    weights = "quadratic" if judge.get("mode") == "rubric" else "none"
    method = f"Cohen's kappa{', quadratic weights' if weights == 'quadratic' else ''}, large-sample s.e."
    if not len(judged):
        return unknown("judge.kappa", "kappa", _none_rated(split), method=method)
    found = stats.cohen_kappa(
        first=judged.tolist(),
        second=human.tolist(),
        weights=weights,  # type: ignore[arg-type]
        categories=range(_steps(judge) + 1),
        confidence=context.confidence,
    )
    if found.kappa is None:
        status = "judge and people give one rating throughout: chance agreement is all there is"
        return unknown("judge.kappa", "kappa", status, n=found.n, method=method)
    return Estimate(
        metric="judge.kappa",
        value=found.kappa,
        low=found.low,
        high=found.high,
        level=None if found.low is None else context.confidence,
        n=found.n,
        method=method,
        unit="kappa",
        status=_left_out(split) if found.low is not None else "ratings without spread: no interval",
    )


class _Pairs(NamedTuple):
    """The judge's and people's ratings of the same answers, in whole steps of the scale.

    ``split`` counts the answers of which the judge said right as often as wrong, so that it has no verdict on them.
    """

    judged: np.ndarray
    human: np.ndarray
    split: int


def _pairs(columns: Columns, context: Context) -> _Pairs:
    """Each answer that both rated, once, by its first repeat."""
    judged, human = columns.scores.get(RATED), columns.scores.get(HUMAN)
    if judged is None or human is None:
        return _Pairs(np.array([], dtype=int), np.array([], dtype=int), 0)
    both = np.flatnonzero(~np.isnan(judged) & ~np.isnan(human))
    _, first = np.unique(columns.sample[both], return_index=True)
    steps = _steps(judge_of(context) or {})
    is_split = (judged[both[first]] == 0.5) & (steps == 1)
    chosen = both[first][~is_split]
    return _Pairs(
        np.rint(judged[chosen] * steps).astype(int), np.rint(human[chosen] * steps).astype(int), int(is_split.sum())
    )


def _left_out(split: int) -> str:
    return f"{split} rated answers left out: the judge said right as often as wrong" if split else "ok"


def _none_rated(split: int) -> str:
    return _left_out(split) if split else "no answer was rated by people and by the judge"


def _steps(judge: dict[str, Any]) -> int:
    low, high = judge.get("scale", (0, 1))
    return {"rubric": int(high) - int(low), "pairwise": 2}.get(str(judge.get("mode")), 1)


def _known(columns: Columns, metric: str) -> np.ndarray:
    values: np.ndarray = columns.scores.get(metric, np.array([]))
    known: np.ndarray = values[~np.isnan(values)]
    return known
