"""What people would say: a run's judged answers with people's ratings of some, put right and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from steelyard.analysis.clusters import clusters_of
from steelyard.analysis.estimates import is_answered, item_means
from steelyard.analysis.judging import HUMAN, RATED
from steelyard.analysis.predictions import Corrected, Ratings, correct_by_people, correct_difference
from steelyard.analysis.sentences import descriptive, points
from steelyard.errors import DataError, UsageError
from steelyard.report.comparing.comparison import Reader
from steelyard.report.comparing.pairs import Question
from steelyard.report.console import PlainConsole, console
from steelyard.store import Store
from steelyard.types import CellInfo, Columns, RunInfo

ValueOf = Callable[[Mapping[str, Any], str], float]
"""What a person's label is worth to a judge with these settings; ``ValueError`` where it is none of its words."""


class Rating(Struct, frozen=True, kw_only=True):
    """What a person said of a model's answer to an item; of every model's, where none is named."""

    sample_id: str
    label: str
    model: str | None = None


class Predictions(Struct, frozen=True, kw_only=True):
    """The corrected scores of a run's models, and each one's difference to the first."""

    run: int
    corrected: tuple[Corrected, ...]
    differences: tuple[Corrected, ...] = ()


def load_predictions(
    store: Store, run: RunInfo, question: Question, ratings: Sequence[Rating] | None, value_of: ValueOf
) -> Predictions:
    """Correct the judged cells of a run: by ``ratings`` of their answers, else by those that the benchmark's file has.

    The replies in a file are the same for every model, so one cell of a benchmark speaks for them.
    """
    reader = Reader(store, question)
    cells = [cell for cell in _judged_cells(store, run) if _is_asked(cell, question)]
    if not cells:
        raise UsageError(
            f"run #{run.number} has nothing that a model judged, so there is no judge to put right. "
            "Try: a benchmark with a judge (docs/judge.md)"
        )
    if ratings is None:
        return Predictions(run=run.number, corrected=tuple(_of_replies(reader, run, cells)))
    _check_known(reader, cells, ratings)
    rated = [(cell, _of_answers(reader, run, cell, ratings, value_of)) for cell in cells]
    return Predictions(
        run=run.number,
        corrected=tuple(correct_by_people(each, cell, "the model's answers") for cell, each in rated),
        differences=tuple(_differences(rated)),
    )


def _judged_cells(store: Store, run: RunInfo) -> list[CellInfo]:
    found = [*store.cells(run.id), *(info for info, _ in store.gradings(run.id))]
    return [cell for cell in found if cell.settings.get("protocol", {}).get("judge") and not cell.is_floor]


def _is_asked(cell: CellInfo, question: Question) -> bool:
    return question.benchmark in (None, cell.benchmark, cell.label) and (
        not question.models or cell.model in question.models
    )


def _of_replies(reader: Reader, run: RunInfo, cells: Sequence[CellInfo]) -> list[Corrected]:
    found = []
    for label in dict.fromkeys(cell.label for cell in cells):
        cell = next(one for one in cells if one.label == label)
        columns = reader.side(run, cell).columns
        if RATED in columns.scores and HUMAN in columns.scores:
            judged, human = (_by_item(columns, columns.scores[name]) for name in (RATED, HUMAN))
            items = np.unique(columns.sample)
            has_reply = np.isin(items, reader.judged_items(cell, RATED))
            ratings = Ratings(
                items=items[has_reply],
                judged=judged[has_reply],
                human=human[has_reply],
                clusters=_clusters(columns, has_reply),
            )
            found.append(correct_by_people(ratings, cell, "the replies in the file"))
    if not found:
        raise UsageError(
            f"nobody rated anything in run #{run.number}. Try: columns.human and columns.response in the benchmark "
            "(docs/judge.md), or --ppi ratings.csv with people's ratings of the run's own answers"
        )
    return found


def _of_answers(reader: Reader, run: RunInfo, cell: CellInfo, ratings: Sequence[Rating], value_of: ValueOf) -> Ratings:
    """The cell's answers as its judge scored them, and as people did where they rated this model's."""
    columns = reader.side(run, cell).columns
    position = {name: place for place, name in reader.names(cell).items()}
    settings = cell.settings["protocol"]["judge"]
    values: dict[int, list[float]] = {}
    for one in ratings:
        if one.model in (None, cell.model) and one.sample_id in position:
            try:
                values.setdefault(position[one.sample_id], []).append(value_of(settings, one.label))
            except ValueError as error:
                raise DataError(f"{one.sample_id}: {error}") from error
    items = np.unique(columns.sample[is_answered(columns)])
    human = np.array([np.mean(values[item]) if item in values else np.nan for item in items.tolist()])
    was_answered = np.isin(np.unique(columns.sample), items)
    judged = _by_item(columns, columns.scores[cell.scored[0]])[was_answered]
    return Ratings(items=items, judged=judged, human=human, clusters=_clusters(columns, was_answered))


def _check_known(reader: Reader, cells: Sequence[CellInfo], ratings: Sequence[Rating]) -> None:
    """Refuse ratings of what the run does not have, and unnamed ones where it has several models."""
    models = {cell.model for cell in cells}
    names = {name for cell in cells for name in reader.names(cell).values()}
    for one in ratings:
        if one.model is not None and one.model not in models:
            raise DataError(f"{one.sample_id} is rated for {one.model!r}, and the run has {', '.join(sorted(models))}")
        if one.model is None and len(models) > 1:
            raise DataError(f"{one.sample_id}: whose answer? The run has {len(models)} models. Try: a column 'model'")
        if one.sample_id not in names:
            raise DataError(f"{one.sample_id!r} is rated, and it is no item of this run")


def _differences(rated: Sequence[tuple[CellInfo, Ratings]]) -> list[Corrected]:
    found = []
    for label in dict.fromkeys(cell.label for cell, _ in rated):
        first, *others = [(cell, each) for cell, each in rated if cell.label == label]
        found += [correct_difference(first[1], each, (first[0], cell)) for cell, each in others]
    return found


def _clusters(columns: Columns, chosen: np.ndarray) -> np.ndarray | None:
    """The cluster of each of the chosen items."""
    found = clusters_of(columns.sample, columns.cluster)
    return None if found is None else found[chosen]


def _by_item(columns: Columns, scores: np.ndarray) -> np.ndarray:
    """The mean of each item's scores, NaN where it has none."""
    items = np.unique(columns.sample)
    known = ~np.isnan(scores)
    means = np.full(len(items), np.nan)
    if known.any():
        means[np.isin(items, columns.sample[known])] = item_means(scores[known], columns.sample[known])
    return means


def predictions_document(found: Predictions) -> dict[str, Any]:
    """The same as JSON-ready values."""
    document: dict[str, Any] = msgspec.to_builtins(found)
    return document


def print_predictions(found: Predictions) -> None:
    """Some lines for each model, and for each difference."""
    out = console()
    for one in (*found.corrected, *found.differences):
        _print(one, out)
    out.print("This holds if the rated answers were drawn at random, which cannot be seen from here.")


def _print(one: Corrected, out: PlainConsole) -> None:
    told = descriptive if one.against is None else _difference
    who = one.model if one.rated == "the model's answers" else "the replies in the file"
    against = "" if one.against is None else f" - {one.against}"
    undecided = f" ({one.n_undecided:,} without a verdict, taken at its mean)" if one.n_undecided else ""
    lines = [
        f"{who}{against} on {one.benchmark}: judged {one.n_judged:,}{undecided}, rated by people {one.n_rated:,}",
        f"  by the judge alone:    {told(one.judge)}",
        f"  by people alone:       {told(one.people)}",
        f"  judge put right:       {told(one.corrected)}",
        f"  of this benchmark:     {told(one.of_benchmark)}",
        f"  {_gain(one)}",
    ]
    for line in lines:
        out.say(line)
    if one.corrected.value is not None and one.corrected.status != "ok":
        out.say(f"! {one.corrected.status}")
    out.print()


def _difference(estimate: Any) -> str:
    if estimate.value is None:
        return f"unknown: {estimate.status}"
    return f"{points(estimate)} points ({estimate.method}, n = {estimate.n:,})"


def _gain(one: Corrected) -> str:
    phi = one.phi
    if phi.value is None or phi.low is None or phi.high is None or one.lam is None:
        return f"phi unknown: {phi.status}"
    text = f"lambda {one.lam:.2f}, phi {phi.value:.2f} ({phi.low:.2f} to {phi.high:.2f})"
    if one.worth_items is None or one.saved_items is None or one.corrected.value is None:
        return text
    if not one.is_worth_it:
        return f"{text}: the judge says too little to be worth leaning on"
    return f"{text}: as good as {one.worth_items:,.0f} ratings without a judge, {one.saved_items:,.0f} saved"
