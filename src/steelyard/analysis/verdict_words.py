"""A gate's verdict in words: what was seen, how sure that is, what would settle it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from steelyard.analysis.gate import Check, GateReport, unjudged_words
from steelyard.analysis.wording import change_written, factor, written

WORDS = {"pass": "PASS", "fail": "FAIL", "inconclusive": "INCONCLUSIVE"}


def told(verdict: GateReport) -> GateReport:
    """The verdict with its sentence and those of its criteria."""
    checks = tuple(msgspec.structs.replace(check, sentence=check_sentence(check)) for check in verdict.checks)
    return msgspec.structs.replace(verdict, checks=checks, sentence=_sentence(verdict, checks))


def headline(verdict: GateReport) -> str:
    """The word, and what is judged against what."""
    against = f" against {verdict.baseline}" if verdict.baseline else " by its criteria" if verdict.checks else ""
    judged = "nothing was asked" if verdict.run is None else f"run #{verdict.run}"
    return f"{WORDS[verdict.verdict]}: {judged}{against}"


def lead(verdict: GateReport) -> str:
    """The sentence beside a tag that is its word; where the criteria stand below it, how many are as it says."""
    text = verdict.sentence.partition(": ")[2]
    if verdict.verdict != "pass" and len(verdict.checks) > 1:
        decisive = sum(check.verdict == verdict.verdict for check in verdict.checks)
        words = ("fails", "fail") if verdict.verdict == "fail" else ("is inconclusive", "are inconclusive")
        text = f"{headline(verdict).partition(': ')[2]}: {decisive} of {len(verdict.checks)} criteria "
        text += " ".join([f"{words[decisive != 1]}.", *_of_no_check(verdict, verdict.checks)])
    return f"{text[:1].upper()}{text[1:]}"


def _sentence(verdict: GateReport, checks: Sequence[Check]) -> str:
    head = headline(verdict)
    if not checks and verdict.faults:
        return f"{head}: {'; '.join(verdict.faults)}."
    decisive = [check.sentence for check in checks if check.verdict == verdict.verdict]
    if verdict.verdict == "pass":
        count = f"all {len(checks)} criteria hold" if len(checks) > 1 else "the criterion holds"
        return f"{head}: {count}. {decisive[0] if len(decisive) == 1 else ''}".rstrip()
    if verdict.verdict == "inconclusive":
        decisive += _of_no_check(verdict, checks)
    return f"{head}: {' '.join(decisive)}"


def _of_no_check(verdict: GateReport, checks: Sequence[Check]) -> list[str]:
    """What keeps the run from being judged and is told by none of its criteria."""
    of_checks = {unjudged_words(check) for check in checks if check.fault}
    return [f"{text}." for text in verdict.faults if text not in of_checks]


def check_sentence(check: Check) -> str:
    """One criterion as it came out, and what would settle it where it is open."""
    is_open = check.verdict == "inconclusive" and not check.fault
    return f"{seen_sentence(check)} {settling(check) if is_open else ''}".rstrip()


def seen_sentence(check: Check) -> str:
    """One criterion as it came out."""
    where = f"{check.metric} of {check.model} on {check.benchmark}"
    if check.fault:
        return f"{where} cannot be judged: {check.fault}."
    if check.scale == "value":
        return _of_threshold(where, check)
    bound = check.low if check.better == "higher" else check.high
    other = check.high if check.better == "higher" else check.low
    assert check.value is not None
    assert check.margin is not None
    changed = f"{where}: {change_of(check, check.value)}"
    margin = f"margin {_size(check, check.margin)}, n = {check.n:,}"
    if check.verdict == "pass":
        return f"{changed}, with 95 % certainty no worse than {change_of(check, bound)} ({margin})."
    if check.verdict == "fail":
        return f"{changed}, with 95 % certainty worse than {change_of(check, other)} ({margin})."
    between = f"between {change_of(check, check.low)} and {change_of(check, check.high)}"
    return f"{changed}, {between} ({margin})."


def _of_threshold(where: str, check: Check) -> str:
    assert check.candidate is not None
    surely = "" if check.level is None else f", each bound with {100 * check.level:.3g} %"
    text = f"{where} is {written(check.candidate)}{surely}; asked for: {check.criterion}"
    if check.verdict == "inconclusive":
        return f"{text}."
    return f"{text}, which is {'kept' if check.verdict == 'pass' else 'not kept'}."


def settling(check: Check) -> str:
    """What would settle an inconclusive criterion."""
    needed = check.needed_items
    if check.adjusted_p is not None and check.p is not None and check.p < 0.05 <= check.adjusted_p:
        return f"It would be a fail alone (p = {check.p:.2g}), but not among so many criteria ({check.adjusted_p:.2g})."
    if needed is None or needed <= check.n:
        return ""
    more = needed - check.n
    if check.available is not None and needed > check.available:
        return (
            f"About {more:,} more items would settle it, and the benchmark has {check.available:,}: "
            f"ask each more often (--runs), or {'ask for less' if check.scale == 'value' else 'allow a larger margin'}."
        )
    return f"About {more:,} more items would settle it."


def cannot_see(check: Check) -> str | None:
    """What to know where even an unchanged model would hardly pass: the margin is below what so few items show."""
    if check.fault or check.scale == "value" or check.detectable is None or check.margin is None:
        return None
    if check.detectable <= check.margin:
        return None
    is_possible = check.unit != "share" or check.scale == "ratio" or check.detectable <= 1
    seen = f"only a change of {_size(check, check.detectable)}" if is_possible else "no change at all"
    return (
        f"{check.metric} of {check.model} on {check.benchmark}: with n = {check.n:,} {seen} is told from none "
        f"(power 80 %), and the margin is "
        f"{_size(check, check.margin)}: expect inconclusive verdicts. Try: more items, --runs, or a larger margin"
    )


def change_of(check: Check, value: float | None) -> str:
    """A value on the check's scale, with its sign; never written as the margin where it is not that."""
    margin = check.margin or 0.0
    if value is None:
        return "unknown"
    if check.scale == "ratio":
        change = factor(100 * (value - 1), apart_from=(0.0, 100 * margin, -100 * margin))
        return f"{'' if change.startswith('-') else '+'}{change} %"
    return change_written(value, check.unit, apart_from=(margin, -margin))


def _size(check: Check, value: float) -> str:
    if check.scale == "ratio":
        return f"{100 * value:.3g} %"
    return change_written(value, check.unit).lstrip("+")
