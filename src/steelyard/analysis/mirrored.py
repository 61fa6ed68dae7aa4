"""A comparison seen from the other side: B against A from A against B, without comparing twice."""

from __future__ import annotations

import msgspec

from steelyard.analysis.compare import Side, notes_on, odds_ratio
from steelyard.analysis.compare_measures import notes_on_measure
from steelyard.types import Agreement, Comparison, Estimate, Pairing, Verdict

TURNED: dict[Verdict, Verdict] = {"improved": "regressed", "regressed": "improved"}


def mirrored(found: Comparison, baseline: Side, candidate: Side) -> Comparison | None:
    """The comparison of ``candidate`` with ``baseline`` from that of ``baseline`` with ``candidate``.

    Intervals, tests and words are alike on both sides (a p by drawn sign flips is that of the same draws). ``None``
    where a ratio has no bounds above 0: its inverse, and why there is none, are another matter.
    """
    ratio = None
    if found.ratio is not None:
        ratio = _inverse(found.ratio)
        if ratio is None:
            return None
    seen = None if found.agreement is None else _agreement_turned(found.agreement)
    met = _pairing_turned(found.pairing)
    return msgspec.structs.replace(
        found,
        baseline=baseline.name,
        candidate=candidate.name,
        baseline_run=baseline.run,
        candidate_run=candidate.run,
        of_baseline=found.of_candidate,
        of_candidate=found.of_baseline,
        difference=_negative(found.difference),
        ratio=ratio,
        verdict=TURNED.get(found.verdict, found.verdict),
        pairing=met,
        agreement=seen,
        odds_ratio=odds_ratio(seen),
        cohens_h=None if found.cohens_h is None else 0.0 - found.cohens_h,
        notes=notes_on(met, baseline, candidate)
        if ratio is None
        else notes_on_measure(found.metric, met, baseline, candidate),
    )


def _negative(estimate: Estimate) -> Estimate:
    value, low, high = (None if one is None else 0.0 - one for one in (estimate.value, estimate.high, estimate.low))
    return msgspec.structs.replace(estimate, value=value, low=low, high=high)


def _inverse(ratio: Estimate) -> Estimate | None:
    if ratio.value is None or ratio.low is None or ratio.high is None or ratio.low <= 0:
        return None
    return msgspec.structs.replace(ratio, value=1 / ratio.value, low=1 / ratio.high, high=1 / ratio.low)


def _agreement_turned(seen: Agreement) -> Agreement:
    return msgspec.structs.replace(seen, only_baseline=seen.only_candidate, only_candidate=seen.only_baseline)


def _pairing_turned(met: Pairing) -> Pairing:
    return msgspec.structs.replace(
        met,
        only_baseline=met.only_candidate,
        only_candidate=met.only_baseline,
        lost_baseline=met.lost_candidate,
        lost_candidate=met.lost_baseline,
        unscored_repeats_baseline=met.unscored_repeats_candidate,
        unscored_repeats_candidate=met.unscored_repeats_baseline,
        low=None if met.high is None else 0.0 - met.high,
        high=None if met.low is None else 0.0 - met.low,
    )
