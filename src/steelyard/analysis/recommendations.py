"""Which model for which use: each a stated rule over the tests that a gate takes, withheld where they leave it open.

The rules stand in ``docs/findings.md``. A bar is passed when the bound of a 95 % interval is beyond it; a model that
only might pass is not recommended, and what would settle it is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from msgspec import Struct

from steelyard.analysis.bench import Bench, Contender
from steelyard.analysis.findings import cost_of_items
from steelyard.analysis.gate import PARTLY_MEASURED, Check, Policy, check_margin, check_threshold
from steelyard.analysis.telling import MOST_TOLD, NAMED, listed
from steelyard.analysis.verdict_words import change_of, seen_sentence
from steelyard.analysis.wording import dollars, written
from steelyard.criteria import Margin, Threshold, parse_margin, parse_threshold

SURE = parse_threshold("accuracy >= 0.90")
ANSWERED = parse_threshold("reliability >= 0.99")
PROMPT = parse_threshold("ttft.p95 <= 1s")
WHOLE = parse_threshold("latency.p95 <= 1s")
CLOSE = parse_margin("accuracy=0.05")
OF_TOKENS = "the first token of 95 % of"
SEEN = {
    "accuracy": ("{model} answers ", "{seen} of {benchmark}", " right"),
    "reliability": ("{model} answers ", "{seen} of its requests on {benchmark}", ""),
    "ttft.p95": (f"{OF_TOKENS} {{model}}'s answers comes within ", "{seen} on {benchmark}", ""),
    "latency.p95": ("95 % of {model}'s answers come within ", "{seen} on {benchmark}", ""),
}
"""What is said of a model, of each benchmark, and after the last."""
SURELY = "Each bound holds with 95 % certainty."
ASKED = {"accuracy": "at least 90 %", "reliability": "at least 99 %", "ttft.p95": "1 s", "latency.p95": "1 s"}
KEPT = {
    "pass": "which meets the bar of {bar}",
    "fail": "which misses the bar of {bar}",
    "inconclusive": "which leaves the bar of {bar} open",
}
WHETHER = {
    "accuracy": "Whether 90 % are answered right",
    "reliability": "Whether 99 % of requests are answered",
    "ttft.p95": "Whether 95 % of first tokens come within 1 s",
    "latency.p95": "Whether 95 % of answers come within 1 s",
}
"""The bars as people say them; what a gate is given stands in its own words."""
PRICES = "a price for each model (--price, or price: in the plan)."
NOT_KNOWN = "that is not known"
OTHERS = "Other models, or a bar of your own (steelyard gate --require): more items would not change that."
BORNE = Policy(allowed=("cached", "machine"))
"""An answer used again says as much of quality as a new one; times are taken over new ones only."""


class Recommendation(Struct, frozen=True, kw_only=True):
    """For one use: the models that the rule gives, none where it is withheld; why; and what would settle it."""

    use: str
    rule: str
    models: tuple[str, ...]
    why: str
    settle: str = ""

    @property
    def is_given(self) -> bool:
        """Whether there is a model to recommend."""
        return bool(self.models)


def recommendations(benches: Sequence[Bench]) -> list[Recommendation]:
    """One for each use, over all benchmarks of the report together."""
    found = [high_stakes(benches), general(benches), real_time(benches)]
    for why, settle in _in_the_way_of_all(benches):
        return [Recommendation(use=one.use, rule=one.rule, models=(), why=why, settle=settle) for one in found]
    return found


def together(found: Sequence[Recommendation]) -> list[list[Recommendation]]:
    """The recommendations in groups: those that are withheld for the same reason, each other one alone."""
    groups: dict[tuple[str, ...], list[Recommendation]] = {}
    for one in found:
        groups.setdefault((one.use,) if one.is_given else ("", one.why, one.settle), []).append(one)
    return list(groups.values())


def _in_the_way_of_all(benches: Sequence[Bench]) -> Iterator[tuple[str, str]]:
    """Why no use can have a recommendation, whatever the answers, and what would settle it."""
    if any(bench.settled for bench in benches):
        yield (
            "The run could end by a difference between models, and these tests do not allow for that.",
            "The same models on a number of items that is fixed before, by a plan that has no stopping rule.",
        )
    runs = {one.cell.run: one.cell.status for bench in benches for one in bench.scored}
    if runs and all(status in PARTLY_MEASURED for status in runs.values()):
        which = " and ".join(f"run #{run} is {status}" for run, status in runs.items())
        go_on = ", ".join(f"steelyard run --resume {run}" for run, status in runs.items() if status != "running")
        yield f"{which[0].upper()}{which[1:]}: only a part was measured.", f"The rest: {go_on}" if go_on else ""


def high_stakes(benches: Sequence[Bench]) -> Recommendation:
    """Who is right nine times in ten, answers 99 of 100 requests, and is not told to be worse than another."""
    use, rule = "High-stakes decisions", (
        "On every benchmark: at least 90 % right and at least 99 % of requests answered, both with 95 % certainty, and "
        "not told to be less accurate than another model."
    )  # fmt: skip
    return _given(use, rule, benches, [SURE, ANSWERED], _best, which="the one that no other is told to beat")


def real_time(benches: Sequence[Bench]) -> Recommendation:
    """Who is there within a second 19 times in 20; of those not told less accurate than the best, the fastest."""
    use, rule = "Real time", (
        "On every benchmark: better than the floor, and the first token (where nothing is streamed, the whole answer) "
        "within 1 s for 95 % of requests, with 95 % certainty. Of these, those not told to be less accurate than the "
        "best; of those, the fastest. Time lost by the client only makes this harder to pass."
    )  # fmt: skip
    streams = all(_has(bench, "ttft.p95", "ttft.p50") for bench in benches)
    which = "the fastest of those not told to be less accurate than the best"
    return _given(use, rule, benches, [PROMPT if streams else WHOLE], _fastest_of_best, which=which, needs_floor=True)


def general(benches: Sequence[Bench]) -> Recommendation:
    """The cheapest of those that are at most 5 points worse than the best one seen."""
    use, rule = "General tasks", (
        "On every benchmark: better than the floor, and at most 5 points less accurate than the best one seen, with "
        "95 % certainty. Of these, the cheapest a request."
    )  # fmt: skip
    common = _common(benches)
    if len(common) < 2:
        return Recommendation(use=use, rule=rule, models=(), why=_too_few(benches, common))
    judged = {name: _close(name, benches) for name in common}
    passed = [name for name in common if all(check.verdict == "pass" for check in judged[name])]
    passed, chance = _above_floor(passed, benches)
    if not passed:
        why = (
            "No model is shown to do better than the floor."
            if chance
            else "No one model stays within 5 points of the best everywhere."
        )
        return Recommendation(use=use, rule=rule, models=(), why=why)
    unpriced = [name for name in passed if not _has_price(name, benches)]
    if unpriced and len(passed) > 1:
        costs = "cost" if len(unpriced) > 1 else "costs"
        why = f"{listed(passed)} are close enough, but what {listed(unpriced)} {costs} is not known."
        return Recommendation(use=use, rule=rule, models=(), why=why, settle=f"{PRICES[0].upper()}{PRICES[1:]}")
    cheapest = _least(passed, benches, "cost.per_request")
    rivals = [name for name in common if name not in (*passed, *chance) and _might_pass(judged[name])]
    open_ones = [name for name in rivals if not _is_told_more(name, cheapest[0], benches)]
    if open_ones:
        checks = [check for name in open_ones for check in judged[name]]
        why, settle = _open_rivals(open_ones, cheapest, benches, checks)
        settle = " ".join(filter(None, [_settling(checks, benches, told=why), settle]))
        return Recommendation(use=use, rule=rule, models=(), why=why, settle=settle)
    why = _why_general(cheapest, benches, is_alone=len(passed) == 1 and not rivals, chance=chance)
    return Recommendation(use=use, rule=rule, models=tuple(cheapest), why=why)


def _open_rivals(
    open_ones: Sequence[str], cheapest: Sequence[str], benches: Sequence[Bench], checks: Sequence[Check]
) -> tuple[str, str]:
    """What keeps rivals in the race, and what but items it takes to end it."""
    fault = next((check for check in checks if check.fault), None)
    if fault is not None and len(open_ones) == 1:
        why = f"Whether {open_ones[0]} is within 5 points of the best cannot be judged on {fault.benchmark}: "
        return f"{why}{_short_fault(fault)}.", ""
    unpriced = [name for name in (*open_ones, *cheapest) if not _has_price(name, benches)]
    if not unpriced:
        why = f"{listed(open_ones)} might be within 5 points of the best and cheaper than {listed(cheapest)}"
        return f"{why}: that is not decided.", ""
    why = f"{listed(open_ones)} might be within 5 points of the best, which is not decided, and what "
    return f"{why}{listed(unpriced)} {'cost' if len(unpriced) > 1 else 'costs'} is not known.", f"Then: {PRICES}"


def _given(
    use: str,
    rule: str,
    benches: Sequence[Bench],
    bars: Sequence[Threshold],
    choose: Callable[[Sequence[str], Sequence[Bench]], list[str]],
    *,
    which: str,
    needs_floor: bool = False,
) -> Recommendation:
    """The models that pass all bars on all benchmarks, and of these those that ``choose`` takes: ``which`` they are."""
    common = _common(benches)
    if not common:
        return Recommendation(use=use, rule=rule, models=(), why=_too_few(benches, common))
    judged = {name: _bars(name, bars, benches) for name in common}
    passed = [name for name in common if all(check.verdict == "pass" for check in judged[name])]
    if needs_floor:
        passed, chance = _above_floor(passed, benches)
        if not passed and chance:
            several = "are" if len(chance) > 1 else "is"
            why = f"{listed(chance)} would pass, but {several} not shown to do better than the floor."
            return Recommendation(use=use, rule=rule, models=(), why=why)
    if passed:
        chosen = choose(passed, benches)
        why = _why(chosen, passed, judged, which)
        return Recommendation(use=use, rule=rule, models=tuple(chosen), why=why)
    nearest = [name for name in common if _might_pass(judged[name])]
    if not nearest:
        failed = judged[common[0]]
        told = next(check for check in failed if check.verdict == "fail")
        why = f"No model passes: {_seen_alone(told)}"
        return Recommendation(use=use, rule=rule, models=(), why=why, settle=OTHERS)
    checks = [check for check in judged[nearest[0]] if check.verdict == "inconclusive"]
    if any(check.fault for check in checks):
        checks += [check for name in nearest[1:] for check in judged[name] if check.fault]
    why = _why_open(nearest, judged, checks[0])
    return Recommendation(use=use, rule=rule, models=(), why=why, settle=_settling(checks, benches, told=why))


def _common(benches: Sequence[Bench]) -> list[str]:
    """The models that every benchmark has scored in one pairable group, best of the first benchmark first."""
    if not benches:
        return []
    first, *others = benches
    return [
        one.name for one in first.pairable if all(any(m.name == one.name for m in bench.pairable) for bench in others)
    ]


def _too_few(benches: Sequence[Bench], common: Sequence[str]) -> str:
    if not any(bench.scored for bench in benches):
        return "Nothing was scored."
    return (
        "No model was scored on every benchmark." if not common else f"There is nothing to choose from but {common[0]}."
    )


def _on(bench: Bench, name: str) -> Contender:
    return next(one for one in bench.models if one.name == name)


def _has(bench: Bench, *metrics: str) -> bool:
    return any(one.value(metric) is not None for one in bench.models for metric in metrics)


def _has_price(name: str, benches: Sequence[Bench]) -> bool:
    return all(_on(bench, name).value("cost.per_request") is not None for bench in benches)


def _bars(name: str, bars: Sequence[Threshold], benches: Sequence[Bench]) -> list[Check]:
    return [_bar(bar, _on(bench, name)) for bench in benches for bar in bars]


def _bar(bar: Threshold, one: Contender) -> Check:
    """The bar as a gate takes it; what a report leaves out, such as the reliability of imported answers, is unknown."""
    if bar.metric in one.estimates:
        return check_threshold(bar, one.cell, BORNE)
    info = one.side.info
    return Check(metric=bar.metric, criterion=bar.text, model=one.name, benchmark=info.label, verdict="inconclusive",
                 fault=NOT_KNOWN)  # fmt: skip


def _close(name: str, benches: Sequence[Bench]) -> list[Check]:
    """Against the best one seen of each benchmark; that one is as good as itself."""
    return [_margin(CLOSE, _on(bench, name), bench) for bench in benches]


def _margin(margin: Margin, one: Contender, bench: Bench) -> Check:
    leader = bench.pairable[0]
    if one is leader:
        return Check(metric=margin.metric, criterion=margin.text, model=one.name, benchmark=bench.label, verdict="pass")
    return check_margin(margin, leader.cell, one.cell, BORNE, called=f"{leader.name}, the best one seen")


def _might_pass(checks: Iterable[Check]) -> bool:
    return all(check.verdict != "fail" for check in checks)


def _above_floor(names: Sequence[str], benches: Sequence[Bench]) -> tuple[list[str], list[str]]:
    """Those that are told to do better than each benchmark's floor, and those that are not.

    To get nothing right is no better than any floor, also where none was asked.
    """

    def is_above(name: str) -> bool:
        if not all(_on(bench, name).value("accuracy") for bench in benches):
            return False
        pairs = [(bench, floor) for bench in benches for floor in bench.floors[:1]]
        return all(
            bench.compare(_on(bench, name), floor).verdict == "improved"
            for bench, floor in pairs
            if bench.is_pairable(_on(bench, name), floor)
        )

    return [name for name in names if is_above(name)], [name for name in names if not is_above(name)]


def _best(names: Sequence[str], benches: Sequence[Bench]) -> list[str]:
    """Those that no other of them is told to beat on any benchmark."""

    def is_beaten(name: str) -> bool:
        return any(
            bench.compare(_on(bench, name), _on(bench, other)).verdict == "regressed"
            for bench in benches
            for other in names
            if other != name
        )

    return [name for name in names if not is_beaten(name)] or list(names)


def _fastest_of_best(names: Sequence[str], benches: Sequence[Bench]) -> list[str]:
    metric = "ttft.p50" if all(_has(bench, "ttft.p50") for bench in benches) else "latency.p50"
    return _least(_best(names, benches), benches, metric)


def _least(names: Sequence[str], benches: Sequence[Bench], metric: str) -> list[str]:
    """Those that no other is told to undercut on every benchmark."""

    def is_undercut(name: str) -> bool:
        return any(
            all(bench.compare(_on(bench, other), _on(bench, name), metric).verdict == "improved" for bench in benches)
            for other in names
            if other != name
        )

    return [name for name in names if not is_undercut(name)] or list(names)


def _is_told_more(name: str, other: str, benches: Sequence[Bench]) -> bool:
    """Whether a model is told to cost more than another, on every benchmark."""
    return all(
        bench.compare(_on(bench, name), _on(bench, other), "cost.per_request").verdict == "regressed"
        for bench in benches
    )


def _why(chosen: Sequence[str], passed: Sequence[str], judged: dict[str, list[Check]], which: str) -> str:
    parts = []
    if len(chosen) > 1:
        parts.append(f"{listed(chosen)} are not told apart.")
    elif len(passed) > 1:
        parts.append(f"Of the {len(passed)} that pass ({listed(passed)}) it is {which}.")
    bars: dict[str, list[Check]] = {}
    for check in judged[chosen[0]]:
        bars.setdefault(check.metric, []).append(check)
    seen = [_seen(group) for group in bars.values()]
    parts += [f"{'T' if text.startswith(OF_TOKENS) else text[0]}{text[1:]}" for text in seen]
    return f"{' '.join(parts)} {SURELY}"


def _seen(checks: Sequence[Check]) -> str:
    """One bar as it came out alike on each benchmark, in a sentence without the names that a gate is given."""
    first = checks[0]
    before, each, after = (piece.replace("{model}", first.model) for piece in SEEN[first.metric])
    seen = [
        each.replace("{seen}", written(check.candidate)).replace("{benchmark}", check.benchmark) for check in checks
    ]
    every = "each of " if len(checks) > 1 else ""
    return f"{before}{listed(seen, MOST_TOLD)}{after}, {every}{KEPT[first.verdict].format(bar=ASKED[first.metric])}."


def _seen_alone(check: Check) -> str:
    """One bar of one benchmark; of what cannot be judged, why."""
    is_plain = not check.fault and check.candidate is not None and check.metric in SEEN and check.scale == "value"
    return f"{_seen([check])} {SURELY}" if is_plain else seen_sentence(check)


def _why_general(chosen: Sequence[str], benches: Sequence[Bench], *, is_alone: bool, chance: Sequence[str] = ()) -> str:
    """Why the cheapest ones are these; ``is_alone``: no other model is, or might be, close enough and above the floor.

    ``chance``: those that are close enough, and not shown to be above it.
    """
    rest = "no cheaper model is shown to come close"
    if chance:
        rest += " and to do better than the floor"
    elif is_alone:
        is_all = len(_common(benches)) == len({one.name for bench in benches for one in bench.models})
        which = "" if is_all else " that could be compared"
        somewhere = " on some benchmark" if len(benches) > 1 else ""
        rest = f"every other model{which} is shown to be more than 5 points worse{somewhere}"
    name = chosen[0]
    best_on = [bench.label for bench in benches if bench.pairable[0].name == name]
    close = [_close_words(name, bench) for bench in benches if bench.label not in best_on]
    parts = []
    if best_on:
        parts.append(f"No model was seen to be better than {name} on {listed(best_on, MOST_TOLD)}, and {rest}.")
    if close:
        parts.append(f"{name} is within 5 points of the best one seen, with 95 % certainty: {'; '.join(close)}.")
    alone = "" if len(chosen) == 1 else f"{listed(chosen)} are not told apart in cost. "
    if chance:
        several = "are" if len(chance) > 1 else "is"
        parts.append(f"{listed(chance)} {several} close enough, but not shown to do better than the floor.")
    return alone + " ".join(parts)


def _close_words(name: str, bench: Bench) -> str:
    """How near a model comes to the best one seen: what was seen, and the worst that it may be."""
    check = _margin(CLOSE, _on(bench, name), bench)
    seen, worst = change_of(check, check.value), change_of(check, check.low)
    return f"{seen} against {bench.pairable[0].name} on {bench.label}, no worse than {worst} (n = {check.n:,})"


def _why_open(nearest: Sequence[str], judged: dict[str, list[Check]], first: Check) -> str:
    """What is open for the nearest ones; where nothing can be judged, who else it stands in the way of."""
    if not first.fault:
        return f"Not decided for {listed(nearest)}: {_seen_alone(first)}"
    alike = [name for name in nearest if any(check.fault == first.fault for check in judged[name])]
    what, why = WHETHER.get(first.metric, first.metric), _short_fault(first)
    return f"{what} cannot be judged for {listed(alike)} on {first.benchmark}: {why}."


def _on_label(benches: Sequence[Bench], check: Check) -> Contender:
    return _on(next(bench for bench in benches if bench.label == check.benchmark), check.model)


def _is_unknown(check: Check) -> bool:
    """Whether it is the metric itself that is not known, and not a doubt about a known one."""
    return check.fault == NOT_KNOWN or _short_fault(check) != (check.fault or "")


def _in_the_way(checks: Sequence[Check], told: str) -> str:
    """Each fault with the models that have it, in brackets, where it was not ``told`` already."""
    faults = {check.model: _short_fault(check) for check in checks if _short_fault(check) not in told}
    models: dict[str, list[str]] = {}
    for model, fault in faults.items():
        models.setdefault(fault, []).append(model)
    said = [f"{listed(names)}: {fault}" for fault, names in models.items()]
    return f" ({'; '.join(said[:NAMED])})" if said else ""


def _short_fault(check: Check) -> str:
    return (
        (check.fault or "")
        .removeprefix(f"{check.metric} is not known: ")
        .removeprefix(f"{check.metric} has no interval: ")
    )


def _more_of(check: Check, benches: Sequence[Bench]) -> str:
    """The items without which there is no bound."""
    more, side = check.missing or 0, _on_label(benches, check).side
    text, available = f"At least {more:,} more items of {check.benchmark}.", side.info.available
    if len(np.unique(side.columns.sample)) + more <= available:
        return text
    return f"{text} It has {available:,} in all: ask each more often (--runs)."


def _more_clusters(check: Check) -> str:
    """The clusters without which there is no bound, of which more items of those that were asked are none."""
    return (
        f"Items of {check.benchmark} in at least {check.clusters_needed or 0:,} clusters of one size; more items of "
        "the same clusters do not help."
    )


def _settling(checks: Sequence[Check], benches: Sequence[Bench], *, told: str = "") -> str:
    """The items, and where prices are known the dollars, that would settle what is open; or what stands in the way.

    What was ``told`` already is not said again.
    """
    elsewhere = [check for check in checks if _is_unknown(check) and _on_label(benches, check).side.info.is_imported]
    steps = []
    if elsewhere:
        who = listed(list(dict.fromkeys(check.model for check in elsewhere)))
        steps.append(f"Ask {who} from here (steelyard run): of answers made elsewhere that is not known.")
    weighed = [
        check for check in checks if _is_unknown(check) and _on_label(benches, check).side.info.kind == "likelihood"
    ]
    if weighed and not elsewhere:
        steps.append(
            "The same items under a protocol that generates text (steelyard list): this one only weighs choices."
        )
    few = [check for check in checks if check not in (*elsewhere, *weighed) and check.missing]
    if few:
        steps.append(_more_of(few[0], benches))
    if clustered := [check for check in checks if check.clusters_needed]:
        steps.append(_more_clusters(clustered[0]))
    of_their_own = (*elsewhere, *weighed, *few, *clustered)
    if faulty := [check for check in checks if check.fault and check not in of_their_own]:
        steps.append(f"Mending what keeps it from being judged{_in_the_way(faulty, told)}; no number of items does.")
    if steps:
        return " ".join(steps)
    needed = [check for check in checks if check.verdict == "inconclusive" and check.needed_items]
    if not needed:
        return "Perhaps nothing: the truth may lie at the bar itself, and no number of items is sure to tell."
    most = max(needed, key=lambda check: check.needed_items or 0)
    bench = next(bench for bench in benches if bench.label == most.benchmark)
    more = max(0, (most.needed_items or 0) - most.n)
    sides = [_on(bench, most.model), *([] if most.scale == "value" else bench.pairable[:1])]
    price = cost_of_items(sides, more)
    money = "" if price is None else f", about {dollars(price)}"
    text = f"About {more:,} more items of {bench.label} would settle it{money}, if the truth is what was seen."
    if most.available is None or more + most.n <= most.available:
        return text
    return f"{text} It has {most.available:,} in all: ask each more often (--runs)."
