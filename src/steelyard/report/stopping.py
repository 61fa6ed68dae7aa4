"""How a run ended that could end early, in sentences: the rule, what it watched, the look, what it found and saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from steelyard.analysis.stopped import HIGHER, Stopped, finding, has_dropped, mirrored
from steelyard.analysis.wording import amount
from steelyard.report.stands import CellResult
from steelyard.types import Look


def stopping_lines(plan: Mapping[str, Any], label: str, cells: Sequence[CellResult]) -> list[str]:
    """What stands under a benchmark's table; nothing where the plan has no rule, or where it had nothing to ask."""
    watched = [(cell.info.model, cell.stopped) for cell in cells if cell.stopped is not None]
    if not plan.get("stop"):
        return []
    before = [f"  {line}" for line in map(_unlooked_line, cells) if line]
    if not watched:
        return [f"Stopping rule {words_of(plan['stop'])}: no look took place", *before] if before else []
    ended = [stopped for _, stopped in watched]
    by_model = {cell.info.model: cell for cell in cells}
    lines = [rule_line(plan["stop"], ended)]
    told: set[frozenset[str]] = set()
    for model, stopped in watched:
        for look in _own_questions(stopped):
            pair = frozenset((model, look.against or model))
            if pair not in told:
                told.add(pair)
                lines.append(f"  {question_line(model, look)}{_generalised(by_model[model], look)}")
    lines += [f"  {model}: {saved_line(stopped)}" for model, stopped in watched]
    return [*lines, *before, *dict.fromkeys(f"  {stopped.note}" for stopped in ended if stopped.note)]


def _unlooked_line(cell: CellResult) -> str | None:
    """That a cell ended before a look was taken at it, as by its budget; ``None`` where it was looked at or is whole.

    What ended it was not its scores, so their intervals need allow for nothing.
    """
    attempted, planned = cell.value("attempted"), cell.info.items * cell.info.repeats
    is_own = not cell.info.is_floor and cell.info.asked_as is None
    if cell.stopped is not None or not is_own or attempted is None or attempted >= planned:
        return None
    what = "items" if cell.info.repeats == 1 else "answers"
    plain = "; its scores ended nothing, so their intervals are the plain ones" if attempted else ""
    return f"{cell.info.model}: {attempted:,.0f} of {planned:,} {what} asked, no look was taken{plain}"


def _own_questions(stopped: Stopped) -> list[Look]:
    """The questions to tell under this model; in a cascade who was dropped is told under who was."""
    told_elsewhere = ("skipped", "ahead") if stopped.rule == "cascade" else ()
    return [look for look in stopped.questions if look.verdict not in told_elsewhere]


def rule_line(rule: Mapping[str, Any], ended: Sequence[Stopped]) -> str:
    """The rule and what it was about: the looks, the items, whose question it answers."""
    first = ended[0]
    whole = "" if first.population is None else f" of the benchmark's {first.population:,}"
    items = f"{first.planned:,} items planned{whole}"
    looks = [look for stopped in ended for look in stopped.questions]
    pairs = max(round(rule["alpha"] / (1 - look.level)) for look in looks)
    return f"Stopping rule {words_of(rule)}: {items}, for {first.questions[0].estimand}{_shared(rule, pairs)}"


def _shared(rule: Mapping[str, Any], pairs: int) -> str:
    if rule["rule"] not in ("compare", "anytime") and rule.get("worse_by") is None:
        return ""
    return f"; error {100 * rule['alpha']:g} % over all looks" + (f" and {pairs} pairs" if pairs > 1 else "")


def words_of(rule: Mapping[str, Any]) -> str:
    """The rule as it is typed: its kind and the settings that decide when it ends."""
    kind, *settings = _words(rule)
    return f"{kind} ({', '.join(settings)})" if settings else kind


def _words(rule: Mapping[str, Any]) -> Iterator[str]:
    kind = rule["rule"]
    if kind == "half_width":
        yield f"half_width={rule['half_width']:g}"
        yield f"pilot of {100 * rule['pilot']:g} %, then what is needed"
        return
    yield f"variance={rule['variance']:g}" if kind == "ladder" else str(kind)
    if kind == "cascade":
        yield "cheapest first"
        yield from (f"skip dearer ones where {criterion}" for criterion in rule["success"])
        if rule["worse_by"] is not None:
            yield f"drop what is worse by {100 * rule['worse_by']:g} points"
    shares = rule.get("looks") or rule.get("ladder")
    if shares and (kind != "cascade" or rule["worse_by"] is not None):
        yield f"looks at {'/'.join(f'{100 * share:g}' for share in shares)} %"
    for key in ("bounds", "against", "margin"):
        if rule.get(key) is not None:
            yield f"{key} {rule[key]}"


def question_line(model: str, look: Look) -> str:
    """One question and how it was settled; in a cascade from the side of the model that is ahead, if one is."""
    if look.against is not None and not has_dropped(look) and _is_ahead_in_cascade(mirrored(look, model)):
        model, look = look.against, mirrored(look, model)
    at = f"look {look.number}{f' of {look.looks}' if look.looks else ''}, {look.n:,} of {look.planned:,} items"
    missing = f", {look.n - look.scored:,} of them not scored" if look.scored < look.n else ""
    return f"{_settled(model, look)}: {finding(look)}; {at}{missing}"


def is_decided(look: Look) -> bool:
    """Whether it is known who is ahead, or that nobody is by more than the margin.

    A cascade only asks who is to be dropped; that one of the two is ahead shows in the bounds of the same look.
    """
    sides = (look, mirrored(look, ""))
    return any(map(_is_ahead_in_cascade, sides)) or look.verdict in ("ahead", "behind", "equivalent")


def _is_ahead_in_cascade(look: Look) -> bool:
    return look.rule == "cascade" and look.low is not None and look.low > 0


def _generalised(cell: CellResult, look: Look) -> str:
    """The half width for other questions, which a rule that counts on the benchmark's end does not narrow."""
    score = cell.estimates.get("accuracy")
    if look.rule != "half_width" or score is None or score.low is None or score.high is None:
        return ""
    return f"; ±{50 * (score.high - score.low):.1f} points for {score.estimand}"


def _settled(model: str, look: Look) -> str:
    if look.rule == "cascade":
        if has_dropped(look):
            return f"{model} was dropped, worse than {look.against} by more than the margin"
        if _is_ahead_in_cascade(look):
            return f"{model} {'scored higher than' if look.low == look.high else 'is ahead of'} {look.against}"
        return f"{model} and {look.against} are not told apart, so neither was dropped for the other"
    if not look.is_settled:
        return f"{model}{f' against {look.against}' if look.against else ''} is undecided so far"
    if look.against is None:
        return (
            f"{model} is known well enough" if look.verdict == "precise" else f"{model} is not known as well as asked"
        )
    if look.low == look.high and look.verdict in HIGHER:
        return f"{model} scored {HIGHER[look.verdict]} than {look.against}"
    return {
        "ahead": f"{model} is ahead of {look.against}",
        "behind": f"{look.against} is ahead of {model}",
        "equivalent": f"{model} and {look.against} differ by less than the margin",
    }.get(look.verdict, f"{model} and {look.against} are not told apart")


def saved_line(stopped: Stopped) -> str:
    """What was asked of one model, and what was not."""
    if stopped.is_skipped:
        return f"skipped, {stopped.questions[0].against} meets the criteria; {_saved(stopped)}"
    if not stopped.is_settled and stopped.items < stopped.planned:
        return f"{stopped.items:,} of {stopped.planned:,} items asked so far"
    if not stopped.is_early:
        return f"{stopped.items:,} of {stopped.planned:,} items asked, nothing saved"
    return f"{stopped.items:,} of {stopped.planned:,} items asked, {_saved(stopped)}"


def _saved(stopped: Stopped) -> str:
    money = "their cost is unknown" if stopped.saved_usd is None else f"about {amount(stopped.saved_usd)} USD"
    if stopped.is_forecast:
        money += f", a forecast: its price at the tokens that {stopped.questions[0].against} took"
    return f"{stopped.saved_items:,} items saved ({money})"
