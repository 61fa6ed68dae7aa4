"""What a run shows, in sentences that each rest on a test of the records; what is not shown is said to be open.

A rule turns numbers into at most one sentence a benchmark. The rules stand in ``docs/findings.md``; none has a formula
of its own: differences are those of ``compare``, ties those of ``places``, ratios of intervals those of ``margins``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from steelyard.analysis.bench import Bench, Contender
from steelyard.analysis.compare import items_to_find
from steelyard.analysis.margins import Standing, standing
from steelyard.analysis.pairing import differing_fields
from steelyard.analysis.sentences import sentence
from steelyard.analysis.wording import dollars, thousandfold, written
from steelyard.types import Comparison, Estimate

Kind = Literal["told", "open", "beware"]

BESIDE = ("cost.per_request", "latency.p50")
RULES = ("baseline", "lead", "stopping", "floor", "cost", "speed", "dominated", "coarse", "doubts")
"""In the order in which they are told."""
COARSE = 0.10
"""A benchmark that shows only differences beyond so many points hardly tells models apart."""
NAMED = 3


class Finding(Struct, frozen=True, kw_only=True):
    """A sentence with what it rests on. ``told``: decided by a test; ``open``: not decided; ``beware``: a doubt.

    ``rule`` names its section in ``docs/findings.md``; ``numbers`` are the estimates that it is made from.
    ``says_open``: the sentence itself says that it is not decided.
    """

    rule: str
    kind: Kind
    sentence: str
    benchmark: str = ""
    method: str = ""
    numbers: tuple[Estimate, ...] = ()
    says_open: bool = False


def findings(benches: Sequence[Bench], changes: Sequence[Comparison] = (), doubts: Sequence[str] = ()) -> list[Finding]:
    """Every finding, benchmark by benchmark; ``changes`` are since a baseline, ``doubts`` what the run warns of."""
    rules = (lead, above_floor, cheapest_answer, fastest, dominated, too_coarse)
    found = [one for bench in benches for rule in rules for one in rule(bench)]
    found += since_baseline(changes)
    found += [Finding(rule="doubts", kind="beware", sentence=text) for text in doubts]
    return sorted(found, key=lambda one: (RULES.index(one.rule), one.kind != "told"))


def lead(bench: Bench) -> Iterator[Finding]:
    """Who answers best: told when the best one seen is told from every other, all judged together."""
    leader, second = bench.leader, bench.second()
    if leader is None:
        text = f"Nothing was scored on {bench.label}, so no model can be judged.{_first_failure(bench)}"
        yield Finding(rule="lead", kind="open", benchmark=bench.label, sentence=text)
        return
    if bench.settled:
        for one in bench.settled:
            yield Finding(rule="stopping", kind="told" if one.is_told else "open", benchmark=bench.label,
                          sentence=f"On {bench.label} {one.sentence}.", method=one.method)  # fmt: skip
        return
    yield from _apart(bench, leader)
    own = leader.estimates["accuracy"]
    if second is None:
        yield Finding(rule="lead", kind="told", benchmark=bench.label, method=own.method, numbers=(own,),
                      sentence=f"{leader.name} answers {written(own)} of {bench.label} right.")  # fmt: skip
        return
    compared = bench.compare(leader, second)
    others = [one.name for one in bench.tied() if one is not leader]
    numbers = (own, second.estimates["accuracy"], compared.difference)
    if others:
        level = [one for one in others if compared.difference.value == 0 and _same_score(bench, one, leader)]
        if level == others:
            seen = f"{listed([leader.name, *level])} {'both' if len(level) == 1 else 'all'} have {written(own)}."
        else:
            seen = f"The best one seen is {leader.name} with {written(own)}; {listed(others)} "
            seen += f"{'are' if len(others) > 1 else 'is'} not told apart from it."
        text = f"Who answers best on {bench.label} is not decided. {seen}{_to_settle(bench, compared)}"
        yield Finding(rule="lead", kind="open", benchmark=bench.label, sentence=text, method=_method(bench, compared),
                      numbers=numbers, says_open=True)  # fmt: skip
        return
    measures = [bench.compare(leader, second, name) for name in BESIDE]
    text = f"{leader.name} answers best on {bench.label}: {written(own)} right. {sentence(compared, measures)}"
    text += _from_all(bench.pairable[1:])
    yield Finding(rule="lead", kind="told", benchmark=bench.label, sentence=text, method=_method(bench, compared),
                  numbers=numbers)  # fmt: skip


def _first_failure(bench: Bench) -> str:
    """What kept the answers away, in the words of the first service that told."""
    failed = next((one for one in bench.models if one.failure), None)
    if failed is None or failed.failure is None:
        return ""
    return f" The first call of {failed.name} failed with: {failed.failure.rstrip('.')}."


def _apart(bench: Bench, leader: Contender) -> Iterator[Finding]:
    """The models that no test can set beside the leader, and why."""
    apart = [one for one in bench.scored if not bench.is_pairable(leader, one)]
    if not apart:
        return
    fields = dict.fromkeys(
        each.field.replace("_", " ") for one in apart for each in differing_fields(leader.side.info, one.side.info)
    )
    who, several = listed([one.name for one in apart]), len(apart) > 1
    text = f"{who} {'were' if several else 'was'} not asked the same on {bench.label} as {leader.name} (other "
    text += f"{listed(list(fields))}), so {'they are' if several else 'it is'} not compared with it."
    yield Finding(rule="lead", kind="open", benchmark=bench.label, sentence=text)


def above_floor(bench: Bench) -> Iterator[Finding]:
    """Whether models do better than what needs no model."""
    floor = next((one for one in bench.floors if one.value("accuracy") is not None), None)
    models = [] if floor is None else [one for one in bench.scored if bench.is_pairable(one, floor)]
    if floor is None or not models:
        return
    compared = {one.name: bench.compare(one, floor) for one in models}
    lost = [name for name, one in compared.items() if one.verdict != "improved"]
    first = compared[lost[0] if lost else models[-1].name]
    numbers = (first.of_candidate, first.of_baseline, first.difference)
    method = _method(bench, first, is_ranked=False)
    if lost:
        text = f"{listed(lost)} {'are' if len(lost) > 1 else 'is'} not shown to do better on {bench.label} than "
        text += f"{floor.name}, which needs no model. {sentence(first)}"
        yield Finding(rule="floor", kind="open", benchmark=bench.label, sentence=text, method=method, numbers=numbers)
        return
    who = models[0].name if len(models) == 1 else "Both models" if len(models) == 2 else f"All {len(models)} models"
    text = f"{who} {'does' if len(models) == 1 else 'do'} better on {bench.label} than {floor.name}. {sentence(first)}"
    yield Finding(rule="floor", kind="told", benchmark=bench.label, sentence=text, method=method, numbers=numbers)


def _dear(cost: Estimate) -> str:
    return written(thousandfold(cost))


def cheapest_answer(bench: Bench) -> Iterator[Finding]:
    """Which model's right answers cost least, wrong ones paid for."""
    known = sorted(_with(bench, "cost.per_correct"), key=lambda one: one.value("cost.per_correct") or 0.0)
    if not known:
        return
    best, others = known[0], known[1:]
    own = best.estimates["cost.per_correct"]
    unknown = [one.name for one in bench.scored if one not in known]
    rest = f" What {listed(unknown)} cost is not known." if unknown else ""
    if not others:
        text = f"1,000 right answers of {best.name} on {bench.label} cost {_dear(own)}.{rest}"
        yield Finding(rule="cost", kind="told", benchmark=bench.label, sentence=text, method=own.method, numbers=(own,))
        return
    ratios = {one.name: standing("cost.per_correct", one.cell, best.cell, "ratio") for one in others}
    near = [name for name, ratio in ratios.items() if ratio.high is None or ratio.high >= 1]
    found = ratios[near[0] if near else others[0].name]
    numbers = (own, next(one.estimates["cost.per_correct"] for one in others if not near or one.name == near[0]))
    is_told = not near
    if is_told:
        text = (
            f"Right answers on {bench.label} cost least with {best.name}: {_dear(own)} for 1,000, "
            f"{_times(found.value)} times that of {others[0].name}, the next.{_from_all(others)}{rest}"
        )
    else:
        text = (
            f"Whose right answers cost least on {bench.label} is not decided: {best.name} with {_dear(own)} for 1,000 "
            f"and {near[0]} with {_dear(numbers[1])} are not told apart{_nor(near[1:])}.{rest}"
        )
    yield Finding(rule="cost", kind="told" if is_told else "open", benchmark=bench.label, sentence=text,
                  method=_ratio_words(found), numbers=numbers, says_open=not is_told)  # fmt: skip


def fastest(bench: Bench) -> Iterator[Finding]:
    """Whose first token comes first; where nothing was streamed, whose answer is there first."""
    metric = "ttft.p50" if len(_with(bench, "ttft.p50")) > 1 else "latency.p50"
    timed = [one for one in _with(bench, metric) if bench.leader is None or bench.is_pairable(bench.leader, one)]
    if len(timed) < 2:
        return
    ordered = sorted(timed, key=lambda one: one.value(metric) or 0.0)
    first, *others = ordered
    each = {one.name: bench.compare(first, one, metric) for one in others}
    near = [name for name, one in each.items() if one.verdict != "improved" or one.ratio is None]
    nearest = next(one for one in others if not near or one.name == near[0])
    compared = each[nearest.name]
    ratio, own = compared.ratio, first.estimates[metric]
    what = "first token comes" if metric == "ttft.p50" else "answer is there"
    is_told = not near
    numbers = (own, nearest.estimates[metric], *([] if ratio is None else [ratio]))
    if is_told:
        assert ratio is not None
        text = (
            f"{first.name}'s {what} first on {bench.label}: at a median of {written(own)}, "
            f"{_times(ratio.value)} times ({_times(ratio.low)} to {_times(ratio.high)}) that of {nearest.name}."
            f"{_from_all(others)}"
        )
    else:
        text = (
            f"Whose {what} first on {bench.label} is not decided: {first.name} with {written(own)} and "
            f"{nearest.name} with {written(numbers[1])} are not told apart{_nor(near[1:])}."
        )
    yield Finding(rule="speed", kind="told" if is_told else "open", benchmark=bench.label, sentence=text,
                  method=_method(bench, compared, is_ranked=False), numbers=numbers,
                  says_open=not is_told)  # fmt: skip


def dominated(bench: Bench) -> Iterator[Finding]:
    """Models that another one equals or beats in all that was seen, and is told to beat in something."""
    by_name = {one.name: one for one in bench.models}
    found = []
    if bench.settled:
        return
    for point in bench.standings():
        if point.beaten_by is None:
            continue
        loser, winner = by_name[point.model], by_name[point.beaten_by]
        if bench.is_pairable(loser, winner) and (better := _told_better(bench, winner, loser)):
            found.append((loser, winner, better))
    if found:
        yield _no_word_for(bench, found)


Beaten = tuple[Contender, Contender, list[Comparison]]
"""A model, the one that beats it, and what it is told to be beaten in."""


def _no_word_for(bench: Bench, found: Sequence[Beaten]) -> Finding:
    """One sentence a benchmark: of one model alone with what it is beaten in, of several with who beats whom."""
    loser, winner, better = found[0]
    if len(found) == 1:
        text = (
            f"Nothing speaks for {loser.name} on {bench.label}: {winner.name} is as good or better in all that is "
            f"known of both, and is told better in {' and '.join(map(_gain, better))}."
        )
    else:
        pairs = listed([f"{one.name} by {by.name}" for one, by, _ in found])
        text = (
            f"Nothing speaks for {len(found)} of {len(bench.models)} models on {bench.label}: another one is as good "
            f"or better in all that is known, and told better in accuracy, median latency or cost: {pairs}."
        )
    return Finding(
        rule="dominated",
        kind="told",
        benchmark=bench.label,
        sentence=text,
        method=_method(bench, better[0], is_ranked=False),
        numbers=tuple(one.ratio or one.difference for _, _, each in found[:NAMED] for one in each),
    )


def too_coarse(bench: Bench) -> Iterator[Finding]:
    """That so few items tell only great differences."""
    leader, second = bench.leader, bench.second()
    if leader is None:
        return
    own = leader.estimates["accuracy"]
    if second is not None:
        least = bench.compare(leader, second).detectable
        if least is not None and least > COARSE:
            text = f"With {bench.compare(leader, second).pairing.n:,} items on {bench.label} differences below "
            text += f"{100 * least:.0f} points are likely to go unseen (power 80 %)."
            yield Finding(rule="coarse", kind="beware", benchmark=bench.label, sentence=text, numbers=(own,))
    elif own.low is not None and own.high is not None and own.high - own.low > 2 * COARSE:
        text = (
            f"{own.n:,} items leave {leader.name}'s accuracy on {bench.label} anywhere from {100 * own.low:.0f} % to "
        )
        text += f"{100 * own.high:.0f} %."
        yield Finding(rule="coarse", kind="beware", benchmark=bench.label, sentence=text, numbers=(own,))


def since_baseline(changes: Sequence[Comparison]) -> Iterator[Finding]:
    """What changed against a baseline, model by model and metric by metric; what is not told, together."""
    told = [change for change in changes if change.verdict != "inconclusive"]
    still = [change for change in changes if change.verdict == "inconclusive"]
    yield from (_change(change) for change in told)
    if len(still) <= NAMED:
        yield from (_change(change) for change in still)
        return
    metrics = listed(list(dict.fromkeys(change.metric for change in still)))
    models = len({(change.candidate, change.benchmark) for change in still})
    text = (
        f"Since the baseline (run #{still[0].baseline_run}) no change is told in {len(still)} comparisons of {metrics} "
    )
    text += f"over {models} models and benchmarks. That is not the same as none: the intervals stand below."
    yield Finding(rule="baseline", kind="open", sentence=text, method="each as steelyard compare makes it",
                  numbers=tuple(change.ratio or change.difference for change in still))  # fmt: skip


def _change(change: Comparison) -> Finding:
    return Finding(
        rule="baseline",
        kind="open" if change.verdict == "inconclusive" else "told",
        benchmark=change.benchmark,
        sentence=f"Since the baseline (run #{change.baseline_run}): {sentence(change, where=change.benchmark)}",
        method=method_of(change),
        numbers=(change.of_baseline, change.of_candidate, change.ratio or change.difference),
    )


def method_of(compared: Comparison) -> str:
    """How a comparison was made: estimator, level, test."""
    found = compared.ratio or compared.difference
    parts = [found.method]
    if found.level is not None:
        parts.append(f"{100 * found.level:.3g} % interval")
    parts.append(f"n = {found.n:,}")
    if compared.p_value is not None:
        parts.append(f"{compared.test}, p = {compared.p_value:.2g}")
    return ", ".join(parts)


def _same_score(bench: Bench, name: str, leader: Contender) -> bool:
    return any(one.name == name and one.value("accuracy") == leader.value("accuracy") for one in bench.models)


def _from_all(others: Sequence[Contender]) -> str:
    return f" It is told apart from all {len(others)} others." if len(others) > 1 else ""


def _nor(names: Sequence[str]) -> str:
    """The others that are not told from the first one either."""
    return f", nor is {listed(names)}" if len(names) == 1 else f", nor are {listed(names)}" if names else ""


def _ratio_words(found: Standing) -> str:
    if found.fault is not None:
        return f"no ratio: {found.fault}"
    return f"ratio {_times(found.low)} to {_times(found.high)}, each bound with 95 % certainty, from {found.method}"


def _times(ratio: float | None) -> str:
    if ratio is None:
        return "unknown"
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def _method(bench: Bench, compared: Comparison, *, is_ranked: bool = True) -> str:
    ranked = "; ties by a paired bootstrap over all models together" if is_ranked and bench.ranking is not None else ""
    return method_of(compared) + ranked


def _told_better(bench: Bench, winner: Contender, loser: Contender) -> list[Comparison]:
    """The comparisons that the winner is told to win."""
    compared = [bench.compare(winner, loser, name) for name in ("accuracy", "latency.p50", "cost.per_request")]
    return [one for one in compared if one.verdict == "improved"]


def _gain(compared: Comparison) -> str:
    if compared.ratio is None:
        return f"accuracy ({100 * (compared.difference.value or 0.0):+.1f} points)"
    name = {"latency.p50": "median latency", "cost.per_request": "cost a request"}[compared.metric]
    return f"{name} ({100 * (compared.ratio.value or 0.0):.0f} % of it)"


def _to_settle(bench: Bench, compared: Comparison) -> str:
    """How many items would tell the best two apart, were the difference the one seen, and for how much."""
    seen = compared.difference.value
    needed = items_to_find(compared, seen) if seen else None
    if needed is None:
        return ""
    sides = [one for one in bench.models if one.name in (compared.candidate, compared.baseline)]
    more = max(0, needed - compared.pairing.n)
    price = cost_of_items(sides, more)
    money = "" if price is None else f", for about {dollars(price)}"
    has = min(one.side.info.available for one in sides)
    short = f"; {bench.label} has {has:,}" if needed > has else ""
    other = compared.baseline if bench.leader is None or compared.candidate == bench.leader.name else compared.candidate
    return f" If the difference seen is the true one, {needed:,} items in all would tell {other} from it{money}{short}."


def cost_of_items(sides: Sequence[Contender], items: int) -> float | None:
    """What asking each model that many items more costs, at the mean cost seen; ``None`` where a price is unknown."""
    each = [one.value("cost.per_request") for one in sides]
    if not sides or any(value is None for value in each):
        return None
    return sum((value or 0.0) * items * one.side.info.repeats for value, one in zip(each, sides, strict=True))


def _with(bench: Bench, metric: str) -> list[Contender]:
    return [one for one in bench.models if one.value(metric) is not None]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first few of many."""
    shown = list(names[:NAMED])
    if len(names) > NAMED:
        return f"{', '.join(shown)} and {len(names) - NAMED} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
