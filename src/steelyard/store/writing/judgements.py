"""Scores as they are kept: beside the call that they judge, without the words that stand in its reply already.

A score's number holds the call's and how many the call had before. What it is a score of (a metric, by a grader in some
version) is interned as a measure. A long answer that stands in the reply to the letter is kept as its place there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, select

from steelyard.errors import StoreError
from steelyard.store.database import schema
from steelyard.store.database.dialect import insert_unless_there, spoken
from steelyard.store.nouns import NewScore, is_long
from steelyard.store.writing.codec import well_formed
from steelyard.store.writing.keys import keyless
from steelyard.types import Completion, Score, Spent

Measure = tuple[str, str, str]
"""Grader, its version, metric."""


class Measures:
    """The measures of a store whose numbers are known."""

    def __init__(self) -> None:
        self._numbers: dict[Measure, int] = {}

    def numbers(self, connection: Connection, rows: Sequence[NewScore]) -> dict[Measure, int]:
        """The number of each measure, new ones included; to be noted once they are durable."""
        wanted = {(row.grader, row.grader_version, metric) for row in rows for metric in row.scores}
        return {measure: self._numbers.get(measure) or _number(connection, measure) for measure in wanted}

    def note(self, numbers: Mapping[Measure, int]) -> None:
        """These are durable."""
        self._numbers.update(numbers)


def score_rows(rows: Sequence[NewScore], keys: Sequence[bytes]) -> list[dict[str, Any]]:
    """The rows of these scores, but for their numbers."""
    found = []
    for row in rows:
        reply = row.reply if row.reply is None or keyless(row.reply, keys) == row.reply else None
        found += [_score_row(keyless(score, keys), well_formed(reply)) for score in row.scores.values()]
    return found


def number_rows(
    connection: Connection, rows: Sequence[NewScore], values: Sequence[dict[str, Any]], numbers: Mapping[Measure, int]
) -> None:
    """Give each row its number, behind those that its call has, and its measure's."""
    last = _last_of_calls(connection, {row.call for row in rows})
    each = iter(values)
    for row in rows:
        number = last[row.call]
        for metric in row.scores:
            number += 1
            own = next(each)
            own["id"], own["measure"] = number, numbers[row.grader, row.grader_version, metric]
        last[row.call] = number
        if number >= (row.call + 1) * schema.JUDGEMENTS:
            raise StoreError(f"call {row.call} has {schema.JUDGEMENTS:,} scores, which is all that a store can hold")


def measures_of(
    connection: Connection, grader: str, grader_version: str | None, metrics: Sequence[str] | None = None
) -> dict[int, str]:
    """The metric of each measure of a grader, in one version or in all."""
    table = schema.measures
    chosen = select(table.c.id, table.c.metric).where(table.c.grader == grader)
    if grader_version is not None:
        chosen = chosen.where(table.c.grader_version == grader_version)
    if metrics is not None:
        chosen = chosen.where(table.c.metric.in_(metrics))
    return {row.id: row.metric for row in connection.execute(chosen)}


def scores_of(
    connection: Connection, calls: Mapping[int, Completion | None], grader: str, grader_version: str
) -> dict[int, dict[str, Score]]:
    """What a grader says of each of these calls; of several judgements by one metric the last one counts."""
    measures = measures_of(connection, grader, grader_version)
    table = schema.scores
    chosen = (
        select(table, schema.calls.c.id.label("of_call"))
        .join(table, schema.is_of_call(schema.calls.c.id))
        .where(schema.calls.c.id.in_(calls.keys()), table.c.measure.in_(measures.keys()))
        .order_by(table.c.id)
    )
    found: dict[int, dict[str, Score]] = {}
    for row in connection.execute(chosen):
        found.setdefault(row.of_call, {})[measures[row.measure]] = Score(
            value=row.value, answer=_answer(row, calls[row.of_call]), reason=row.reason, spent=_spent(row)
        )
    return found


def judgements_of(
    connection: Connection, calls: Mapping[int, Completion | None]
) -> dict[int, list[tuple[Measure, Score]]]:
    """What every grader said of each of these calls, in the order in which it was said."""
    table, measures = schema.scores, schema.measures
    named = [measures.c[name] for name in ("grader", "grader_version", "metric")]
    chosen = (
        select(table, *named, schema.calls.c.id.label("of_call"))
        .join(table, schema.is_of_call(schema.calls.c.id))
        .join(measures, measures.c.id == table.c.measure)
        .where(schema.calls.c.id.in_(calls.keys()))
        .order_by(table.c.id)
    )
    found: dict[int, list[tuple[Measure, Score]]] = {}
    for row in connection.execute(chosen):
        answer = _answer(row, calls[row.of_call])
        score = Score(value=row.value, answer=answer, reason=row.reason, spent=_spent(row))
        found.setdefault(row.of_call, []).append(((row.grader, row.grader_version, row.metric), score))
    return found


def delete_scores(connection: Connection, cells: Select[Any]) -> None:
    """Remove all scores of the calls of these cells."""
    calls, scores = schema.calls, schema.scores
    of_cells = select(scores.c.id).join(calls, schema.is_of_call(calls.c.id)).where(calls.c.cell.in_(cells))
    connection.execute(delete(scores).where(scores.c.id.in_(of_cells)))


def _number(connection: Connection, measure: Measure) -> int:
    table = schema.measures
    values = dict(zip(("grader", "grader_version", "metric"), measure, strict=True))
    connection.execute(insert_unless_there(table, spoken(connection)).values(**values))
    chosen = select(table.c.id).where(*(table.c[name] == value for name, value in values.items()))
    return int(connection.execute(chosen).scalar_one())


def _last_of_calls(connection: Connection, calls: set[int]) -> dict[int, int]:
    """The last number that each call's scores have, or the one before their first."""
    cursor = connection.connection.cursor()  # the driver's own: it is faster
    cursor.execute(spoken(connection).last_of_calls, (str(sorted(calls)),))
    found = {call: call * schema.JUDGEMENTS - 1 if last is None else last for call, last in cursor.fetchall()}
    if gone := sorted(calls - found.keys()):
        raise StoreError(f"call {gone[0]} is not in the store (any more). Was its run deleted meanwhile?")
    return found


def _score_row(score: Score, reply: str | None) -> dict[str, Any]:
    spent, answer = score.spent, well_formed(score.answer)
    place = reply.find(answer) if reply is not None and answer is not None and is_long(answer) else -1
    is_there = place >= 0
    return {
        "value": score.value,
        "parsed": answer is not None,
        "answer": None if is_there else answer,
        "reason": well_formed(score.reason),
        "calls": spent and spent.calls,
        "input_tokens": spent and spent.input_tokens,
        "output_tokens": spent and spent.output_tokens,
        "cost_usd": spent and spent.cost_usd,
        "cached": spent and spent.cached,
        "saved_usd": spent and spent.saved_usd,
        "answer_at": place if is_there else None,
        "answer_length": len(answer) if is_there and answer is not None else None,
    }


def _answer(row: Any, completion: Completion | None) -> str | None:
    answer: str | None = row.answer
    if row.answer_at is None or completion is None:
        return answer
    return completion.text[row.answer_at : row.answer_at + row.answer_length]


def _spent(row: Any) -> Spent | None:
    if row.calls is None:
        return None
    return Spent(
        calls=row.calls,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost_usd=row.cost_usd,
        cached=row.cached or 0,
        saved_usd=row.saved_usd if row.cached else 0.0,
    )
