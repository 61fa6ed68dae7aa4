"""What a run shows, in sentences that each rest on a test of the records; what is not shown is said to be open.

A rule turns numbers into at most one sentence a benchmark, and benchmarks that show the same share one (``telling``).
The rules stand in ``docs/findings.md``; none has a formula of its own: differences are those of ``compare``, ties those
of ``places``, ratios of intervals those of ``margins``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steelyard.analysis.bench import Bench, Contender
from steelyard.analysis.compare import items_to_find
from steelyard.analysis.margins import Standing, standing
from steelyard.analysis.pairing import differing_fields
from steelyard.analysis.sentences import is_alike, lead_words, named, sentence
from steelyard.analysis.telling import NAMED, Finding, Said, listed, told
from steelyard.analysis.wording import change_written, dollars, thousandfold, written
from steelyard.types import Comparison, Estimate

BESIDE = ("cost.per_request", "latency.p50")
RULES = ("baseline", "lead", "stopping", "floor", "cost", "speed", "dominated", "coarse", "doubts")
"""In the order in which they are told."""
KINDS = ("told", "seen", "open", "beware")
"""In the order in which they are told, where they are of one rule."""
SEEN_BEST = "the best one seen"
IF_TRUE = (
    " If the difference seen is the true one, ",
    " So many items would do it if each difference seen is the true one.",
)
COARSE = 0.10
"""A benchmark that shows only differences beyond so many points hardly tells models apart."""


def findings(benches: Sequence[Bench], changes: Sequence[Comparison] = (), doubts: Sequence[str] = ()) -> list[Finding]:
    """Every finding, those that several benchmarks share once.

    ``changes`` are since a baseline, ``doubts`` what the run warns of.
    """
    rules = (lead, above_floor, cheapest_answer, fastest, dominated, too_coarse)
    found = told([one for bench in benches for rule in rules for one in rule(bench)])
    found += since_baseline(changes)
    found += [Finding(rule="doubts", kind="beware", sentence=text) for text in doubts]
    return sorted(found, key=lambda one: (RULES.index(one.rule), KINDS.index(one.kind)))


def lead(bench: Bench) -> Iterator[Said]:
    """Who answers best: told when the best one seen is told from every other, all judged together."""
    leader, second = bench.leader, bench.second()
    if leader is None:
        yield Said(rule="lead", kind="open", benchmark=bench.label, rest=_first_failure(bench.models),
                   head=("Nothing was scored on ", ", so no model can be judged."))  # fmt: skip
        return
    yield from _unscored(bench)
    if bench.settled:
        for one in bench.settled:
            yield Said(rule="stopping", kind="told" if one.is_told else "open", benchmark=bench.label,
                       head=("On ", f" {one.sentence}."), method=one.method)  # fmt: skip
        return
    yield from _apart(bench, leader)
    own = leader.estimates["accuracy"]
    if second is None:
        seen = f"{_counted(own)} of {bench.label}"
        yield Said(rule="lead", kind="seen", benchmark=bench.label, head=(f"{leader.name} answers ",), alone=seen,
                   among=seen, between=" and ", rest=" right.", method=own.method, numbers=(own,))  # fmt: skip
        return
    compared = bench.compare(leader, second)
    numbers = (own, second.estimates["accuracy"], compared.difference)
    method = _method(bench, compared)
    others = [one.name for one in bench.tied() if one is not leader]
    if others:
        needed = _to_settle(bench, compared)
        seen = _best_seen(bench, leader, others, compared)
        yield Said(rule="lead", kind="open", benchmark=bench.label, head=("Who answers best on ", " is not decided. "),
                   alone=f"{_begun(seen)}." + (needed and f"{IF_TRUE[0]}{needed}."),
                   among=f"On {bench.label}, {seen}" + (needed and f"; {needed}") + ".", between=" ",
                   once=needed and IF_TRUE[1], method=method, numbers=numbers, says_open=True)  # fmt: skip
        return
    words = lead_words(compared, [bench.compare(leader, second, name) for name in BESIDE])
    yield Said(rule="lead", kind="told", benchmark=bench.label, head=(f"{leader.name} answers best on ", ": "),
               alone=f"{written(own)} right, {words}", among=f"{written(own)} right on {bench.label}, {words}",
               rest=f".{_from_all(bench.pairable[1:])}", method=method, numbers=numbers)  # fmt: skip


def _counted(own: Estimate) -> str:
    """The value with its bounds and of how many items it is."""
    text = written(own)
    return f"{text[:-1]}, n = {own.n:,})" if text.endswith(")") else f"{text} (n = {own.n:,})"


def _best_seen(bench: Bench, leader: Contender, others: Sequence[str], compared: Comparison) -> str:
    own = written(leader.estimates["accuracy"])
    level = [one for one in others if compared.difference.value == 0 and _same_score(bench, one, leader)]
    if level == others:
        return f"{listed([leader.name, *level])} {'both' if len(level) == 1 else 'all'} have {own}"
    several = "are" if len(others) > 1 else "is"
    return f"{SEEN_BEST} is {leader.name} with {own}; {listed(others)} {several} not told apart from it"


def _begun(seen: str) -> str:
    """The words at the beginning of a sentence; a model's name stays as it is."""
    return f"T{seen[1:]}" if seen.startswith(SEEN_BEST) else seen


def _first_failure(models: Sequence[Contender]) -> str:
    """What kept the answers away, in the words of the first service that told."""
    failed = next((one for one in models if one.failure), None)
    if failed is None or failed.failure is None:
        return ""
    return f" The first call of {failed.name} failed with: {failed.failure.rstrip('.')}."


def _unscored(bench: Bench) -> Iterator[Said]:
    """The models of which there is no score where others have one."""
    unscored = [one for one in bench.models if one not in bench.scored]
    if unscored:
        yield Said(rule="lead", kind="open", benchmark=bench.label, rest=_first_failure(unscored),
                   head=(f"Nothing of {listed([one.name for one in unscored])} was scored on ",
                         f", so {'they are' if len(unscored) > 1 else 'it is'} not judged."))  # fmt: skip


def _apart(bench: Bench, leader: Contender) -> Iterator[Said]:
    """The models that no test can set beside the leader, and why."""
    apart = [one for one in bench.scored if not bench.is_pairable(leader, one)]
    if not apart:
        return
    fields = dict.fromkeys(
        each.field.replace("_", " ") for one in apart for each in differing_fields(leader.side.info, one.side.info)
    )
    who, several = listed([one.name for one in apart]), len(apart) > 1
    why = f" as {leader.name} (other {listed(list(fields))}), so "
    why += f"{'they are' if several else 'it is'} not compared with it."
    yield Said(rule="lead", kind="open", benchmark=bench.label,
               head=(f"{who} {'were' if several else 'was'} not asked the same on ", why))  # fmt: skip


def above_floor(bench: Bench) -> Iterator[Said]:
    """Whether models do better than what needs no model."""
    floor = next((one for one in bench.floors if one.value("accuracy") is not None), None)
    models = [] if floor is None else [one for one in bench.scored if bench.is_pairable(one, floor)]
    if floor is None or not models:
        return
    compared = {one.name: bench.compare(one, floor) for one in models}
    lost = [name for name, one in compared.items() if one.verdict != "improved"]
    first = compared[lost[0] if lost else models[-1].name]
    if lost:
        several = "are" if len(lost) > 1 else "is"
        head = (f"{listed(lost)} {several} not shown to do better on ", f" than {floor.name}, which needs no model. ")
    else:
        head = (f"{_all_of(models, bench)} {'does' if len(models) == 1 else 'do'} better on ", f" than {floor.name}. ")
    yield Said(rule="floor", kind="open" if lost else "told", benchmark=bench.label, head=head, between=" ",
               alone=sentence(first), among=sentence(first, where=bench.label),
               method=_method(bench, first, is_ranked=False),
               numbers=(first.of_candidate, first.of_baseline, first.difference))  # fmt: skip


def _all_of(models: Sequence[Contender], bench: Bench) -> str:
    """The models by their number, where they are all that were asked; else by their names."""
    if len(models) < len(bench.models) or len(models) == 1:
        return listed([one.name for one in models])
    return "Both models" if len(models) == 2 else f"All {len(models)} models"


def _dear(cost: Estimate) -> str:
    return written(thousandfold(cost))


def cheapest_answer(bench: Bench) -> Iterator[Said]:
    """Which model's right answers cost least, wrong ones paid for."""
    known = sorted(_with(bench, "cost.per_correct"), key=lambda one: one.value("cost.per_correct") or 0.0)
    if not known:
        return
    best, others = known[0], known[1:]
    own = best.estimates["cost.per_correct"]
    rest = _without_a_price([one for one in bench.scored if one not in known])
    if not others:
        seen = f"{_dear(own)} on {bench.label}"
        yield Said(rule="cost", kind="seen", benchmark=bench.label, head=(f"1,000 right answers of {best.name} cost ",),
                   alone=seen, among=seen, between=" and ", rest=f".{rest}", method=own.method,
                   numbers=(own,))  # fmt: skip
        return
    ratios = {one.name: standing("cost.per_correct", one.cell, best.cell, "ratio") for one in others}
    near = [name for name, ratio in ratios.items() if ratio.high is None or ratio.high >= 1]
    found = ratios[near[0] if near else others[0].name]
    numbers = (own, next(one.estimates["cost.per_correct"] for one in others if not near or one.name == near[0]))
    if near:
        seen = f"{best.name} with {_dear(own)} for 1,000 and {near[0]} with {_dear(numbers[1])} are not told apart"
        seen += _nor(near[1:])
        yield Said(rule="cost", kind="open", benchmark=bench.label, alone=seen, among=f"on {bench.label} {seen}",
                   head=("Whose right answers cost least on ", " is not decided: "), rest=f".{rest}",
                   method=_ratio_words(found), numbers=numbers, says_open=True)  # fmt: skip
        return
    price, share = f"{_dear(own)} for 1,000", f"{_times(found.value)} times that of {others[0].name}, the next"
    yield Said(rule="cost", kind="told", benchmark=bench.label, alone=f"{price}, {share}",
               among=f"{price} on {bench.label}, {share}", rest=f".{_from_all(others)}{rest}",
               head=("Right answers on ", f" cost least with {best.name}: "), method=_ratio_words(found),
               numbers=numbers)  # fmt: skip


def _without_a_price(models: Sequence[Contender]) -> str:
    """Of whom it is not known what a right answer costs, and who has none, whatever it cost."""
    useless = [one.name for one in models if one.value("accuracy") == 0 and one.value("cost.per_request") is not None]
    unpriced = [one.name for one in models if one.name not in useless]
    text = f" What {listed(unpriced)} cost{'' if len(unpriced) > 1 else 's'} is not known." if unpriced else ""
    return f"{text} {listed(useless)} got nothing right." if useless else text


def fastest(bench: Bench) -> Iterator[Said]:
    """Whose first token comes first; where nothing was streamed, whose answer does."""
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
    what = "first token" if metric == "ttft.p50" else "answer"
    method = _method(bench, compared, is_ranked=False)
    numbers = (own, nearest.estimates[metric], *([] if ratio is None else [ratio]))
    if near:
        seen = f"{first.name} with {written(own)} and {nearest.name} with {written(numbers[1])} are not told apart"
        seen += _nor(near[1:])
        yield Said(rule="speed", kind="open", benchmark=bench.label, alone=seen, among=f"on {bench.label} {seen}",
                   head=(f"Whose {what} comes first on ", " is not decided: "), rest=".", method=method,
                   numbers=numbers, says_open=True)  # fmt: skip
        return
    assert ratio is not None
    share = f"{_times(ratio.value)} times ({_times(ratio.low)} to {_times(ratio.high)}) that of {nearest.name}"
    yield Said(rule="speed", kind="told", benchmark=bench.label, alone=f"{written(own)}, {share}",
               head=(f"{first.name}'s {what} comes first on ", ": at a median of "),
               among=f"{written(own)} on {bench.label}, {share}", rest=f".{_from_all(others)}", method=method,
               numbers=numbers)  # fmt: skip


def dominated(bench: Bench) -> Iterator[Said]:
    """Models that another one equals or beats in all that was seen, and is told to beat in something."""
    by_name = {one.name: one for one in bench.models}
    found = []
    if bench.settled:
        return
    for point in bench.standings():
        if point.beaten_by is None:
            continue
        loser, winner = by_name[point.model], by_name[point.beaten_by]
        if winner.failure and not loser.failure:
            continue  # answers that came speak for whoever gave them
        if bench.is_pairable(loser, winner) and (better := _told_better(bench, winner, loser)):
            found.append((loser, winner, better))
    if found:
        yield _no_word_for(bench, found)


Beaten = tuple[Contender, Contender, list[Comparison]]
"""A model, the one that beats it, and what it is told to be beaten in."""


def _no_word_for(bench: Bench, found: Sequence[Beaten]) -> Said:
    """One sentence a benchmark: of one model alone with what it is beaten in, of several with who beats whom."""
    loser, winner, better = found[0]
    if len(found) == 1:
        seen = " and ".join(map(_gain, better))
        among = f"{seen} on {bench.label}"
        head = (
            f"Nothing speaks for {loser.name} on ",
            f": {winner.name} is as good or better in all that is known of both, and is told better in ",
        )
    else:
        seen = listed([f"{one.name} by {by.name}" for one, by, _ in found])
        among = f"on {bench.label} {seen}"
        head = (
            f"Nothing speaks for {len(found)} of {len(bench.models)} models on ",
            ": another one is as good or better in all that is known, and told better in accuracy, median latency or "
            "cost: ",
        )
    return Said(
        rule="dominated",
        kind="told",
        benchmark=bench.label,
        head=head,
        alone=seen,
        among=among,
        rest=".",
        method=_method(bench, better[0], is_ranked=False),
        numbers=tuple(one.ratio or one.difference for _, _, each in found[:NAMED] for one in each),
    )


def too_coarse(bench: Bench) -> Iterator[Said]:
    """That so few items tell only great differences; not where a look has told what the run was for."""
    leader, second = bench.leader, bench.second()
    if leader is None or any(one.is_told for one in bench.settled):
        return
    own = leader.estimates["accuracy"]
    if second is not None:
        compared = bench.compare(leader, second)
        if compared.detectable is not None and compared.detectable > COARSE:
            seen = f"below {100 * compared.detectable:.0f} points ({compared.pairing.n:,} items of {bench.label})"
            yield Said(rule="coarse", kind="beware", benchmark=bench.label, head=("Differences ",), alone=seen,
                       among=seen, between=" and ", rest=" are found in fewer than 80 of 100 such runs.",
                       method=_method(bench, compared, is_ranked=False),
                       numbers=(own, compared.difference))  # fmt: skip
    elif own.low is not None and own.high is not None and own.high - own.low > 2 * COARSE:
        seen = f"from {100 * own.low:.0f} % to {100 * own.high:.0f} % ({own.n:,} items of {bench.label})"
        yield Said(rule="coarse", kind="beware", benchmark=bench.label, alone=seen, among=seen, between=" or ",
                   head=(f"What was asked leaves {leader.name}'s accuracy anywhere ",), rest=".",
                   method=own.method, numbers=(own,))  # fmt: skip


def since_baseline(changes: Sequence[Comparison]) -> Iterator[Finding]:
    """What changed against a baseline, model by model and metric by metric; what is not told, together."""
    still = [change for change in changes if change.verdict == "inconclusive" and not is_alike(change)]
    decided = [change for change in changes if change not in still]
    yield from (_change(change) for change in decided)
    if len(still) <= NAMED:
        yield from (_change(change) for change in still)
        return
    metrics = listed(list(dict.fromkeys(named(change.metric) for change in still)))
    models = len({(change.candidate, change.benchmark) for change in still})
    text = (
        f"Since the baseline (run #{still[0].baseline_run}) no change is told in {len(still)} comparisons of {metrics} "
    )
    text += f"over {models} models and benchmarks. That is not the same as none."
    yield Finding(rule="baseline", kind="open", sentence=text, method="each as steelyard compare makes it",
                  numbers=tuple(change.ratio or change.difference for change in still))  # fmt: skip


def _change(change: Comparison) -> Finding:
    return Finding(
        rule="baseline",
        kind="seen" if is_alike(change) else "open" if change.verdict == "inconclusive" else "told",
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
    """Whether what is written of one is true of the other: the score and, of as many items, its bounds."""
    own = leader.estimates["accuracy"]
    return any(
        one.name == name and one.value("accuracy") == own.value and written(one.estimates["accuracy"]) == written(own)
        for one in bench.models
    )


def _from_all(others: Sequence[Contender]) -> str:
    count = "both" if len(others) == 2 else f"all {len(others)}"
    return f" It is told apart from {count} others." if len(others) > 1 else ""


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
        return f"accuracy ({change_written(compared.difference.value or 0.0, 'share')})"
    return f"{named(compared.metric)} ({100 * (compared.ratio.value or 0.0):.0f} % of it)"


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
    short = f" (it has {has:,})" if needed > has else ""
    other = compared.baseline if bench.leader is None or compared.candidate == bench.leader.name else compared.candidate
    return f"{needed:,} items of {bench.label} in all{short} would tell {other} from it{money}"


def cost_of_items(sides: Sequence[Contender], items: int) -> float | None:
    """What asking each model that many items more costs, at the mean cost seen; ``None`` where a price is unknown."""
    each = [one.value("cost.per_request") for one in sides]
    if not sides or any(value is None for value in each):
        return None
    return sum((value or 0.0) * items * one.side.info.repeats for value, one in zip(each, sides, strict=True))


def _with(bench: Bench, metric: str) -> list[Contender]:
    return [one for one in bench.models if one.value(metric) is not None and not one.is_dropped]
