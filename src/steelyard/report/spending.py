"""What a run cost, in one line: calls, money, money per answer, what is left of the budgets, what was saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from steelyard.analysis.telling import first_few
from steelyard.analysis.wording import amount, counted
from steelyard.report.drawing.axes import plain
from steelyard.report.stands import CellResult
from steelyard.store import Store
from steelyard.store.rows.account import CUT_OFF_TRIES
from steelyard.types import RunInfo

NAMED = 4


class Spending(Struct, frozen=True, kw_only=True):
    """The money of one run in USD. ``spent_usd`` is what is known; ``unknown`` names who may have cost more.

    ``calls`` are requests sent, with those that were cut off; of the others ``judge_calls`` went to judges, who took
    ``judge_usd``; ``answers`` are those of the models that came back, ``retried`` of them only after a request had
    failed.
    ``per_answer_usd`` is over the answers that were asked for, without what judging them took; ``doubtful_usd`` may
    have been billed for tries that failed, ``cut_off_usd`` for the calls that kills cut off, of sessions that were gone
    on with: ``None`` where a price is unknown. ``imported`` answers were made elsewhere, and what was sent for them is
    not known. ``saved_usd`` is what is known of what answers used again and ``judge_cached`` replies of judges had
    cost; there ``is_all_saved_known`` is false where some had no known cost. What is left is ``None`` where there is
    no such budget.
    """

    calls: int
    judge_calls: int
    answers: int
    retried: int
    spent_usd: float
    judge_usd: float
    per_answer_usd: float | None
    unknown: tuple[str, ...]
    doubtful_usd: float
    doubtful_tries: int
    cut_off_calls: int
    cut_off_usd: float | None
    cached: int
    judge_cached: int
    imported: int
    saved_usd: float
    is_all_saved_known: bool
    budget_usd: float | None
    remaining_usd: float | None
    store_budget_usd: float | None
    store_remaining_usd: float | None


def spending(store: Store, run: RunInfo, cells: Sequence[CellResult]) -> Spending:
    """What the run took, over all its sessions and cells."""
    asked = [cell for cell in cells if not cell.info.is_floor and cell.info.asked_as is None]
    judged = list({_grading(cell): cell for cell in cells}.values())
    used_usd, doubt = store.budget.spent_of_run(run.id), store.budget.doubt_of_run(run.id)
    cached = _total(asked, "cached")
    answers = _total(asked, "answered") - cached
    cut_off_tries = int(sum(one.resources.get(CUT_OFF_TRIES, 0.0) for one in store.sessions(run.id)))
    unknown = tuple(dict.fromkeys(name for cell in asked for name in _of_unknown_cost(cell, cut_off_tries)))
    budget_usd, standing = run.plan.get("budget_usd"), store.budget.account()
    judge_calls, judge_usd = _total(judged, "judge.calls"), _total(judged, "judge.cost.total")
    spent_usd = used_usd - doubt.usd
    for_answers_usd = spent_usd - judge_usd
    return Spending(
        calls=int(_total(asked, "api_calls") + judge_calls) + cut_off_tries,
        judge_calls=int(judge_calls),
        answers=int(answers),
        retried=int(_total(asked, "retried")),
        spent_usd=spent_usd,
        judge_usd=judge_usd,
        per_answer_usd=max(0.0, for_answers_usd) / answers if answers and not unknown else None,
        unknown=unknown,
        doubtful_usd=doubt.failed_usd,
        doubtful_tries=doubt.failed_tries,
        cut_off_calls=doubt.cut_off_calls,
        cut_off_usd=None if doubt.is_unknown else doubt.cut_off_usd,
        cached=int(cached),
        judge_cached=int(_total(judged, "judge.cached")),
        imported=int(_total([cell for cell in asked if cell.info.is_imported], "answered")),
        saved_usd=_total(asked, "cost.saved") + _total(judged, "judge.cost.saved"),
        is_all_saved_known=all(is_all_saved_known(cell, "cached", "cost.saved") for cell in asked)
        and all(is_all_saved_known(cell, "judge.cached", "judge.cost.saved") for cell in judged),
        budget_usd=budget_usd,
        remaining_usd=None if budget_usd is None else max(0.0, budget_usd - used_usd),
        store_budget_usd=standing.limit_usd if standing else None,
        store_remaining_usd=standing.remaining_usd if standing else None,
    )


def _grading(cell: CellResult) -> tuple[int | None, str, str, str]:
    """What tells one judging of answers from another: who grades again by the run's own grader gets its verdicts."""
    info = cell.info
    return info.id, info.model, info.protocol, info.protocol_version


def _total(cells: Sequence[CellResult], metric: str) -> float:
    return sum(cell.value(metric) or 0.0 for cell in cells)


def _of_unknown_cost(cell: CellResult, cut_off_tries: int) -> Iterator[str]:
    """Whose calls have no known cost: the model's, or those of who judged its answers."""
    if _is_unknown(cell, "cost.total") or (cut_off_tries and _has_no_price(cell)):
        yield cell.info.model
    if _is_unknown(cell, "judge.cost.total"):
        yield f"the judge of {cell.info.model}"


def _is_unknown(cell: CellResult, metric: str) -> bool:
    """Whether there are answers, and what they took, or judging them, is not known."""
    cost = cell.estimates.get(metric)
    return cost is not None and cost.value is None and bool(cell.value("answered"))


def is_all_saved_known(cell: CellResult, reused: str, saved: str) -> bool:
    """Whether everything that the metric ``reused`` counts had a known cost."""
    n, worth = cell.value(reused), cell.estimates.get(saved)
    return not n or (worth is not None and worth.value is not None and worth.n == n)


def _has_no_price(cell: CellResult) -> bool:
    """Whether nobody knows what a request that was cut off may have cost."""
    return "unknown" in str(cell.info.settings.get("price"))


def _saved(spent: Spending) -> str:
    """What was saved, in the words that follow what was used again."""
    least = "" if spent.is_all_saved_known else "at least "
    return f", which saved {least}{amount(spent.saved_usd)} USD" if spent.saved_usd else ""


def spending_line(number: int, spent: Spending) -> str:
    """The same as a line of text."""
    return f"Run #{number}: {', '.join(_parts(spent))}"


def _parts(spent: Spending) -> Iterator[str]:
    if spent.imported:
        yield f"{counted(spent.imported, 'answer')} made elsewhere"
    if spent.calls or not spent.imported:
        judges = f" ({spent.judge_calls:,} of them to judges)" if spent.judge_calls else ""
        yield f"{counted(spent.calls, 'request')} sent{judges}"
    if spent.retried:
        yield f"{counted(spent.retried, 'answer')} only after a request had failed"
    if not spent.unknown:
        judging = f" ({amount(spent.judge_usd)} of it on judging)" if spent.judge_usd else ""
        yield f"{amount(spent.spent_usd)} USD spent{judging}"
    elif spent.spent_usd:
        yield f"at least {amount(spent.spent_usd)} USD spent (unknown: {first_few(spent.unknown, NAMED)})"
    else:
        yield f"cost unknown ({first_few(spent.unknown, NAMED)})"
    if spent.per_answer_usd is not None:
        new = "new " if spent.cached else ""
        yield f"{plain(1000 * spent.per_answer_usd)} USD for 1,000 {new}answers"
    if spent.doubtful_tries:
        replies = "reply" if spent.doubtful_tries == 1 else "replies"
        why = f"{spent.doubtful_tries:,} {replies} cut off or without token counts"
        yield f"up to {amount(spent.doubtful_usd)} USD more in doubt ({why})"
    if spent.cut_off_calls:
        most = "an unknown price" if spent.cut_off_usd is None else f"up to {amount(spent.cut_off_usd)} USD more"
        yield f"{most} in doubt for up to {spent.cut_off_calls:,} calls that a kill cut off"
    reused = [
        *([counted(spent.cached, "answer")] if spent.cached else []),
        *([f"{spent.judge_cached:,} of the judges' replies"] if spent.judge_cached else []),
    ]
    if reused:
        yield f"{' and '.join(reused)} used again{_saved(spent)}"
    if spent.budget_usd is not None and spent.remaining_usd is not None:
        yield f"{amount(spent.remaining_usd)} of {plain(spent.budget_usd)} USD left"
    if spent.store_budget_usd is not None and spent.store_remaining_usd is not None:
        yield f"{amount(spent.store_remaining_usd)} of the store's {plain(spent.store_budget_usd)} USD left"
