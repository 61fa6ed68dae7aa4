"""What has become of an answer, as conditions on its rows: right, wrong, failed, cut off, and which call counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, false, or_, select

from steelyard.store.database import schema
from steelyard.store.writing.judgements import measures_of
from steelyard.types import REFUSED, TRUNCATED, CellInfo

ANSWER_STATES = ("right", "wrong", "unparsed", "failed", "unscored", "refused", "truncated", "reused", "resent")


def counts() -> ColumnElement[bool]:
    """Whether a call is the one that counts for its item and repeat: the last answer, else the last failure."""
    calls = schema.calls
    other = calls.alias()
    takes_over = or_(
        and_(other.c.failure.is_(None), or_(calls.c.failure.is_not(None), other.c.id > calls.c.id)),
        and_(calls.c.failure.is_not(None), other.c.id > calls.c.id),
    )
    same = (other.c.cell == calls.c.cell, other.c.position == calls.c.position, other.c.repeat == calls.c.repeat)
    return ~exists().where(*same, other.c.id != calls.c.id, takes_over).correlate(calls)


def last_judgement(connection: Connection, info: CellInfo) -> Select[tuple[float | None]]:
    """The value of the last score of a call of the cell by the cell's headline."""
    calls, scores = schema.calls, schema.scores
    headline = list(measures_of(connection, info.protocol, info.protocol_version, info.scored[:1]))
    return (
        select(scores.c.value)
        .where(schema.is_of_call(calls.c.id), scores.c.measure.in_(headline))
        .order_by(scores.c.id.desc())
        .limit(1)
    )


def is_in_state(connection: Connection, info: CellInfo, state: str) -> ColumnElement[bool]:
    """Whether a call of the cell is in the state; a judgement is the last one by the cell's headline."""
    calls, scores = schema.calls, schema.scores
    last = last_judgement(connection, info)
    value = last.scalar_subquery()
    is_parsed = last.with_only_columns(scores.c.parsed).scalar_subquery()
    return {
        "right": value >= 1.0,
        "wrong": value < 1.0,
        "unparsed": and_(value.is_not(None), is_parsed.is_(False)),
        "failed": calls.c.failure.is_not(None),
        "unscored": and_(calls.c.failure.is_(None), value.is_(None)),
        "refused": calls.c.stop_reason.in_(REFUSED),
        "truncated": calls.c.stop_reason.in_(TRUNCATED),
        "reused": calls.c.cached.is_(True),
        "resent": calls.c.tries > 1,
    }[state]


def said_by_calls(state: str, calls: Any = schema.calls.c) -> ColumnElement[bool] | None:
    """The state, where a call says it of itself; its columns may be those of a query."""
    known: Mapping[str, ColumnElement[bool]] = {
        "failed": calls.failure.is_not(None),
        "refused": calls.stop_reason.in_(REFUSED),
        "truncated": calls.stop_reason.in_(TRUNCATED),
        "reused": calls.cached.is_(True),
        "resent": calls.tries > 1,
    }
    return known.get(state)


def said_by_scores(state: str, scores: Any = schema.scores.c) -> ColumnElement[bool] | None:
    """The state, where a score of the headline tells it; likewise."""
    known: Mapping[str, ColumnElement[bool]] = {
        "right": scores.value >= 1.0,
        "wrong": scores.value < 1.0,
        "unparsed": and_(scores.value.is_not(None), scores.parsed.is_(False)),
    }
    return known.get(state)


def is_by_headline(connection: Connection, cells: Sequence[CellInfo]) -> ColumnElement[bool]:
    """Whether a score is one by the headline of the cell whose call it judges, which is one of these."""
    scores, calls = schema.scores, schema.calls
    headlines: dict[tuple[str, str, str], list[int]] = {}
    for info in cells:
        headlines.setdefault((info.protocol, info.protocol_version, info.scored[0]), []).append(info.id or 0)
    ours = []
    for (protocol, version, metric), numbers in headlines.items():
        by_it = scores.c.measure.in_(list(measures_of(connection, protocol, version, (metric,))))
        ours.append(by_it if len(headlines) == 1 else and_(by_it, (calls.c.cell + 0).in_(numbers)))
    return or_(false(), *ours)
