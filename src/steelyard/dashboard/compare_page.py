"""Runs or models against each other on the same items, with the items that turned side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from steelyard.analysis.compare_measures import MEASURES
from steelyard.analysis.sentences import descriptive, names, points, times
from steelyard.analysis.wording import written
from steelyard.dashboard.board import Board, board_of, number, word, words
from steelyard.dashboard.differing import Marked, side_by_side
from steelyard.dashboard.rendering import address
from steelyard.dashboard.shown import reply
from steelyard.errors import Incomparable, UsageError
from steelyard.report.answers import asked_line, gold, question
from steelyard.report.comparing.comparison import Compared, Comparisons, Reader, load_comparisons
from steelyard.report.comparing.comparison_text import family_words
from steelyard.report.comparing.flips import Flip, Flips, load_flips
from steelyard.report.comparing.pairs import Question
from steelyard.report.unseen import cut, visible
from steelyard.store.reading.pages import RunsWanted
from steelyard.types import Comparison, Record, RunInfo

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

FLIPS, MOST_FLIPS = 10, 200
MOST_TURNED = 6
"""So many pairs show the items that turned; of more each leads to a page of its own."""
LONGEST = 2_500
OFFERED = 60
MOST_RUNS = 12
MOST_OTHERS = 12
TIMES = "{} times"
RIGHT_ON = ("both", "baseline only", "candidate only", "neither")


class Turned(Struct, frozen=True, kw_only=True):
    """An item that turned: what it asks, what is right, and what either side replied."""

    flip: Flip
    line: str
    asked: str
    gold: str
    texts: Marked


class TurnedItems(Struct, frozen=True, kw_only=True):
    """A pair's items that turned, both ways."""

    flips: Flips
    won: tuple[Turned, ...]
    lost: tuple[Turned, ...]


def compare(request: Request) -> Response:
    """The page; without runs it offers the choice."""
    board = board_of(request)
    references = [part for text in words(request, "run") for part in text.replace(",", " ").split()]
    runs = [board.store.run(reference) for reference in dict.fromkeys(references)]
    if len(runs) > MOST_RUNS:
        raise UsageError(f"{len(runs)} runs on one page; at most {MOST_RUNS}")
    question = Question(
        metric=word(request, "metric", default="accuracy"),
        models=tuple(words(request, "model")),
        benchmark=word(request, "benchmark") or None,
        margin=_points(word(request, "margin")),
        across=("protocol",) if word(request, "across", ("protocol",)) else (),
    )
    most = min(MOST_FLIPS, max(1, number(request, "most", FLIPS)))
    found, problem = _found(board, runs, question, most) if runs else (None, None)
    is_making = bool(runs) and found is None and problem is None
    way_on = problem.needs if isinstance(problem, Incomparable) else None
    said = problem.what if isinstance(problem, Incomparable) and way_on else problem  # a page knows no options
    comparisons, turned = found or (None, [])
    return board.page(
        "compare.html.j2",
        request,
        status=400 if problem and way_on != "another run" else 200,
        title="Compare",
        problem=said,
        way_on=way_on,
        others=_others(board, runs[0]) if way_on == "another run" else [],
        is_making=is_making,
        kept=_kept(board, runs, question) if is_making else [],
        runs=runs,
        question=question,
        comparisons=comparisons,
        turned=turned,
        models=list(dict.fromkeys(cell.model for run in runs for cell in board.store.cells(run.id))),
        benchmarks=list(dict.fromkeys(cell.label for run in runs for cell in board.store.cells(run.id))),
        measures=["accuracy", *MEASURES],
        offered=[one.info for one in board.store.pages.runs(RunsWanted(), most=OFFERED).runs],
        rows=[] if comparisons is None else [_row(pair, question) for pair in comparisons.pairs],
        n_shown=len(turned),
        with_turns=[place for place, one in enumerate(turned, 1) if one.flips.n_won or one.flips.n_lost],
        alike=[] if comparisons is None else _alike(comparisons, turned),
        sides=[] if comparisons is None else _sides(comparisons),
        together=[] if comparisons is None else family_words(comparisons),
        most=most,
        more=min(MOST_FLIPS, 5 * most),
        is_more=most < MOST_FLIPS and any(max(one.flips.n_won, one.flips.n_lost) > most for one in turned),
    )


def _points(text: str) -> float | None:
    """A margin in points, as a share."""
    if not text:
        return None
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise UsageError(f"a margin is a number of points above 0, not {text[:40]!r}")
    return value


def _found(
    board: Board, runs: list[RunInfo], question: Question, most: int
) -> tuple[tuple[Comparisons, list[TurnedItems]] | None, UsageError | None]:
    """The comparisons, or why there are none: what was chosen stays in the form. Neither: they are on their way."""
    remember = board.remember_large if board.is_large(runs) else board.remember
    key = (tuple((run.id, run.name) for run in runs), question, most)
    try:
        return remember("comparisons", key, lambda: _load(board, runs, question, most)), None
    except UsageError as error:
        return None, error


def _others(board: Board, run: RunInfo) -> list[RunInfo]:
    """The newest other runs that asked what the run asked first, to be compared with it."""
    cells = board.store.cells(run.id)
    if not cells:
        return []
    found = board.store.pages.runs(RunsWanted(benchmark=cells[0].label), most=MOST_OTHERS + 1).runs
    return [one.info for one in found if one.info.id != run.id][:MOST_OTHERS]


def _kept(board: Board, runs: list[RunInfo], question: Question) -> list[tuple[str, str]]:
    """What is kept of each side by itself, until the comparisons have come."""
    found = []
    for run in runs:
        for info in board.store.cells(run.id):
            is_asked = info.model in (question.models or (info.model,))
            if is_asked and question.benchmark in (None, info.label, info.benchmark):
                own = next(
                    (one for one in board.store.summary(info.id or 0) or () if one.metric == question.metric), None
                )
                found.append((f"#{run.number} {info.model} on {info.label}", "" if own is None else written(own)))
    return found


def _load(board: Board, runs: list[RunInfo], question: Question, most: int) -> tuple[Comparisons, list[TurnedItems]]:
    reader = Reader(board.store, question)
    found = load_comparisons(board.store, runs, question, reader)
    if question.metric in MEASURES:
        return found, []
    first = msgspec.structs.replace(found, pairs=found.pairs[:MOST_TURNED])
    flips = load_flips(board.store, first, most=most, reader=reader)
    return found, [_turned(board, *both) for both in zip(first.pairs, flips, strict=True)]


def _turned(board: Board, pair: Compared, flips: Flips) -> TurnedItems:
    def side(flip: Flip, place: int) -> Record | None:
        run, info = pair.sides[place]
        repeat = flip.repeats[place]
        own = board.store.records(run.id, cell=info.id, sample_id=flip.item, repeat=repeat, reveal=board.reveal)
        return next(own, None)

    def both(some: tuple[Flip, ...]) -> tuple[Turned, ...]:
        return tuple(_side_by_side(one, side(one, 0), side(one, 1)) for one in some)

    return TurnedItems(flips=flips, won=both(flips.won), lost=both(flips.lost))


def _side_by_side(flip: Flip, baseline: Record | None, candidate: Record | None) -> Turned:
    def text(record: Record | None) -> str:
        return "" if record is None else cut(visible(reply(record.call, record.sample)), LONGEST)

    sample = next((one.sample for one in (candidate, baseline) if one is not None), None)
    return Turned(
        flip=flip,
        line="" if sample is None else asked_line(sample),
        asked="" if sample is None else cut(visible(question(sample)), LONGEST),
        gold="" if sample is None else cut(visible(gold(sample)), LONGEST),
        texts=side_by_side(text(baseline), text(candidate)),
    )


def _alike(comparisons: Comparisons, turned: list[TurnedItems]) -> list[TurnedItems]:
    """The pairs in which nothing turned, of those with any item that both sides have a score for."""
    both = zip(comparisons.pairs, turned, strict=False)
    return [
        one
        for pair, one in both
        if pair.comparison.difference.value is not None and not one.flips.n_won and not one.flips.n_lost
    ]


def _sides(comparisons: Comparisons) -> list[str]:
    """Each side as people expect it, once."""
    found: dict[str, str] = {}
    for pair in comparisons.pairs:
        one = pair.comparison
        who, other = names(one)
        (_, baseline), (_, candidate) = pair.sides
        for name, info, estimate in ((other, baseline, one.of_baseline), (who, candidate, one.of_candidate)):
            found.setdefault(f"{name} on {info.label}", descriptive(estimate))
    return [f"{name}: {text}" for name, text in found.items()]


class _Row(Struct, frozen=True, kw_only=True):
    benchmark: str
    who: str
    against: str
    difference: str
    p: str
    agreement: tuple[tuple[str, int], ...]
    """How many items were right on both sides, on either alone, and on neither."""
    beside: tuple[tuple[str, str], ...]
    """Each time and cost: its metric, and how many times the baseline's it is."""
    verdict: str
    sentence: str
    notes: tuple[str, ...]
    link: str


def _row(pair: Compared, question: Question) -> _Row:
    one = pair.comparison
    who, other = names(one)
    seen = one.agreement
    counts = (seen.both, seen.only_baseline, seen.only_candidate, seen.neither) if seen else ()
    return _Row(
        benchmark=pair.where,
        who=who,
        against=other,
        difference=f"{times(one.ratio, TIMES)}; {written(one.difference)}"
        if one.ratio
        else f"{points(one.difference)} points",
        p=_p(one),
        agreement=tuple(zip(RIGHT_ON, counts, strict=False)),
        beside=tuple((each.metric, times(each.ratio, TIMES)) for each in pair.beside),
        verdict=one.verdict,
        sentence=one.sentence,
        notes=one.notes,
        link=_alone(pair, question),
    )


def _alone(pair: Compared, question: Question) -> str:
    """The page of this pair and no other."""
    sides = [(run.number, info.model) for run, info in pair.sides]
    return address(
        "/compare",
        run=list(dict.fromkeys(number for number, _ in sides)),
        metric=question.metric,
        model=list(dict.fromkeys(model for _, model in sides)),
        benchmark=pair.comparison.benchmark if "@" in pair.comparison.benchmark else "",
        margin=100 * question.margin if question.margin else "",
        across=list(question.across),
    )


def _p(one: Comparison) -> str:
    if one.p_value is None:
        return ""
    p = one.p_value if one.adjusted_p is None else one.adjusted_p
    adjusted = {"none": "", "holm": ", Holm", "bh": ", Benjamini-Hochberg"}[one.adjustment]
    return f"{'< 0.0001' if p < 0.0001 else f'{p:.2g}'} ({one.test}{adjusted})"
