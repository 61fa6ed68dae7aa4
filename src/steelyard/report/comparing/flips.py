"""The items that turned: right on one side and wrong on the other, both ways, with what either side said."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from steelyard.analysis.pairing import pair_scores
from steelyard.analysis.sentences import names
from steelyard.analysis.wording import counted
from steelyard.report.answers import plain
from steelyard.report.comparing.comparison import Compared, Comparisons, Reader
from steelyard.report.unseen import on_one_line
from steelyard.store import Store
from steelyard.types import CellInfo, Columns, RunInfo

LONGEST = 60
NAMED_AT_ONCE = 1_000
"""Items whose names are asked for by their places: a question to a database does not take a whole run's."""


class Flip(Struct, frozen=True, kw_only=True):
    """One item with both scores (means over repeats) and what was read as each side's answer.

    ``repeats`` are the ones that show the turn: on either side the first that scored as its side is told to.
    """

    item: str
    baseline: float
    candidate: float
    baseline_answer: str | None = None
    candidate_answer: str | None = None
    repeats: tuple[int, int] = (0, 0)


class Flips(Struct, frozen=True, kw_only=True):
    """One pair's items that turned, the largest turns first; ``n_won`` and ``n_lost`` count those not shown too.

    ``runs`` are where the answers stand; ``model`` is the candidate by its own name.
    """

    benchmark: str
    model: str
    baseline: str
    candidate: str
    runs: tuple[int, ...]
    n_won: int
    n_lost: int
    won: tuple[Flip, ...]
    lost: tuple[Flip, ...]


def load_flips(
    store: Store, comparisons: Comparisons, *, most: int | None = None, reader: Reader | None = None
) -> list[Flips]:
    """The turned items of every pair, ``most`` of them each way with their answers; all of them without.

    ``reader`` is the one that the comparisons were made with, if it is still there.
    """
    reader = reader or Reader(store, comparisons.question)
    return [_flips(store, reader, pair, comparisons.question.metric, most) for pair in comparisons.pairs]


def print_flips(flips: Flips) -> None:
    """Both lists, each with what either side said; what got worse comes first, as that is what is looked for."""
    print(on_one_line(f"{flips.candidate} against {flips.baseline} on {flips.benchmark}"))
    for words, count, shown in (
        (f"better with {on_one_line(flips.baseline)}", flips.n_lost, flips.lost),
        (f"better with {on_one_line(flips.candidate)}", flips.n_won, flips.won),
    ):
        print(
            f"\n{counted(count, 'item', ('is', 'are'))} {words}"
            + (f"; {len(shown):,} of them:" if len(shown) < count else ":")
        )
        for flip in shown:
            print(f"  {on_one_line(flip.item)}: {_said(flips.baseline, flip.baseline, flip.baseline_answer)}; ", end="")
            print(_said(flips.candidate, flip.candidate, flip.candidate_answer))
    first = next(iter((*flips.lost, *flips.won)), None)
    if first is not None:
        commands = (f"steelyard show {run} --item {on_one_line(first.item)}" for run in flips.runs)
        print(f"\nRead one in full: {'; '.join(commands)}")


def flips_document(found: list[Flips]) -> list[dict[str, Any]]:
    """The same as JSON-ready values."""
    document: list[dict[str, Any]] = msgspec.to_builtins(found)
    return document


def _flips(store: Store, reader: Reader, compared: Compared, metric: str, most: int | None) -> Flips:
    baseline, candidate = (reader.side(*side) for side in compared.sides)
    pair = pair_scores(candidate.columns, baseline.columns, metric)
    gaps = pair.differences
    order = np.argsort(-np.abs(gaps), kind="stable")
    won, lost = order[gaps[order] > 0][:most], order[gaps[order] < 0][:most]
    shown = pair.items[np.concatenate([won, lost])].tolist()
    called = reader.names(compared.sides[1][1], shown if len(shown) <= NAMED_AT_ONCE else None)

    def flip(at: int) -> Flip:
        position = int(pair.items[at])
        name = called[position]
        places = [_repeats(side.columns, position, metric) for side in (baseline, candidate)]
        said = [
            _answer(store, run, info, name, metric, found.first)
            for (run, info), found in zip(compared.sides, places, strict=True)
        ]
        is_won = bool(gaps[at] > 0)
        return Flip(
            item=name,
            baseline=float(pair.b[at]),
            candidate=float(pair.a[at]),
            baseline_answer=said[0],
            candidate_answer=said[1],
            repeats=(places[0].worst if is_won else places[0].best, places[1].best if is_won else places[1].worst),
        )

    who, other = names(compared.comparison)
    return Flips(
        benchmark=compared.where,
        model=compared.sides[1][1].model,
        baseline=other,
        candidate=who,
        runs=tuple(dict.fromkeys(run.number for run, _ in compared.sides)),
        n_won=int((gaps > 0).sum()),
        n_lost=int((gaps < 0).sum()),
        won=tuple(map(flip, won)),
        lost=tuple(map(flip, lost)),
    )


class _Repeats(NamedTuple):
    """Of an item's repeats the first, the first of the best score, and the first of the worst."""

    first: int
    best: int
    worst: int


def _repeats(columns: Columns, position: int, metric: str) -> _Repeats:
    """An answer without a score is the worst."""
    start, end = np.searchsorted(columns.sample, [position, position + 1]).tolist()
    repeats, scores = columns.repeat[start:end].tolist(), np.nan_to_num(columns.scores[metric][start:end], nan=-1.0)
    return _Repeats(repeats[0], repeats[int(scores.argmax())], repeats[int(scores.argmin())])


def _answer(store: Store, run: RunInfo, info: CellInfo, item: str, metric: str, repeat: int) -> str | None:
    """What was read as the answer of the item's first repeat; ``None`` where nothing could be read."""
    if info.asked_as is not None:  # graded again: the answer as that grader read it is not among the records
        return None
    record = next(store.records(run.id, cell=info.id, sample_id=item, repeat=repeat), None)
    score = None if record is None else record.scores.get(metric)
    return None if score is None else score.answer


def _said(name: str, score: float, answer: str | None) -> str:
    word = {1.0: "right", 0.0: "wrong"}.get(score, f"{score:.2g}")
    text = "" if not answer else f", {plain(' '.join(answer.split()))[:LONGEST]!r}"
    return f"{on_one_line(name)} {word}{text}"
