"""Which answers fit a condition, as the database is asked: all of it, or the part that a row tells of itself.

Every value goes to the database as a parameter, and every name is a column chosen here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, func, not_, or_, true

from steelyard.store.database import schema
from steelyard.store.reading.conditions import AllOf, AnyOf, Compared, Condition, Not, Unknown, told
from steelyard.store.reading.states import is_in_state, last_judgement, said_by_calls, said_by_scores
from steelyard.types import CellInfo


def contains(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Whether the text stands in the column, whatever its case; no sign of it is a wildcard."""
    return column.icontains(text, autoescape=True)


Leaf = Callable[[Compared | Unknown], ColumnElement[bool]]
SIGNS: Mapping[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "~": contains,
}
CALLS = schema.calls.c
OF_CALLS: Mapping[str, ColumnElement[Any]] = {
    "latency_s": CALLS.total_s,
    "first_answer_s": CALLS.ttft_s + CALLS.reasoned_s,
    "cost_usd": CALLS.cost_usd + 0.0,  # by number, not by the index of costs, which is in another order
    **{
        name: CALLS[name]
        for name in (
            "ttft_s",
            "queued_s",
            "input_tokens",
            "output_tokens",
            "reasoning_tokens",
            "tries",
            "repeat",
            "failure",
            "stop_reason",
        )
    },
}
OF_ITEMS: Mapping[str, ColumnElement[Any]] = {"subject": schema.samples.c.stratum, "item": schema.samples.c.name}
OF_CELLS: Mapping[str, Callable[[CellInfo], str]] = {
    "model": lambda info: info.model,
    "benchmark": lambda info: info.label,
}


def fits_condition(connection: Connection, info: CellInfo, condition: Condition) -> ColumnElement[bool]:
    """Whether a call of the cell, joined with its item, fits. What is unknown fits no comparison and no contrary."""
    return _put(condition, partial(_of_answer, connection, info))


def told_by_calls(cells: Sequence[CellInfo], condition: Condition) -> ColumnElement[bool] | None:
    """What calls of these cells tell of it by themselves: whoever fits it all fits this. ``None``: nothing."""
    return _told(condition, partial(_of_call, cells))


def told_by_scores(condition: Condition) -> ColumnElement[bool] | None:
    """What a score of the headline tells of it by itself; no contrary, which an answer without a score fits too."""
    parts = condition.parts if isinstance(condition, AllOf) else (condition,)
    certain = tuple(part for part in parts if not _denies(part))
    return _told(AllOf(parts=certain), _of_score)


def _denies(condition: Condition) -> bool:
    if isinstance(condition, AllOf | AnyOf):
        return any(map(_denies, condition.parts))
    return isinstance(condition, Not)


def _put(condition: Condition, leaf: Leaf) -> ColumnElement[bool]:
    if isinstance(condition, AllOf):
        return and_(*(_put(part, leaf) for part in condition.parts))
    if isinstance(condition, AnyOf):
        return or_(*(_put(part, leaf) for part in condition.parts))
    return not_(_put(condition.one, leaf)) if isinstance(condition, Not) else leaf(condition)


def _told(
    condition: Condition, leaf: Callable[[Compared | Unknown], ColumnElement[bool] | None]
) -> ColumnElement[bool] | None:
    """Those of the parts, all of which must hold, that ``leaf`` knows every comparison of."""
    parts = condition.parts if isinstance(condition, AllOf) else (condition,)
    known = [part for part in parts if all(leaf(one) is not None for one in told(part))]
    if not known:
        return None

    def certain(one: Compared | Unknown) -> ColumnElement[bool]:
        found = leaf(one)
        assert found is not None
        return found

    return and_(*(_put(part, certain) for part in known))


def _of_answer(connection: Connection, info: CellInfo, one: Compared | Unknown) -> ColumnElement[bool]:
    if one.name in OF_CELLS:
        assert isinstance(one, Compared)
        return true() if _is_so(one, info) else false()
    if one.name == "outcome":
        assert isinstance(one, Compared)
        return _outcome(is_in_state(connection, info, str(one.value)), one.sign)
    columns = {**OF_CALLS, **OF_ITEMS}
    column = columns[one.name] if one.name in columns else last_judgement(connection, info).scalar_subquery()
    return _compared(column, one)


def _of_call(cells: Sequence[CellInfo], one: Compared | Unknown) -> ColumnElement[bool] | None:
    if one.name in OF_CELLS:
        assert isinstance(one, Compared)
        return (CALLS.cell + 0).in_([info.id for info in cells if _is_so(one, info)])
    if one.name == "outcome":
        assert isinstance(one, Compared)
        said = said_by_calls(str(one.value))
        return None if said is None else _outcome(said, one.sign)
    return _compared(OF_CALLS[one.name], one) if one.name in OF_CALLS else None


def _of_score(one: Compared | Unknown) -> ColumnElement[bool] | None:
    """An answer without a score has none that would tell so."""
    if isinstance(one, Unknown):
        return None
    if one.name == "outcome":
        return said_by_scores(str(one.value)) if one.sign == "=" else None
    return _compared(schema.scores.c.value, one) if one.name == "score" else None


def _compared(column: ColumnElement[Any], one: Compared | Unknown) -> ColumnElement[bool]:
    return column.is_(None) if isinstance(one, Unknown) else SIGNS[one.sign](column, one.value)


def _outcome(said: ColumnElement[bool], sign: str) -> ColumnElement[bool]:
    """An answer is in a state or it is not: of a state that nothing tells it is not."""
    known = func.coalesce(said, false())
    return known if sign == "=" else not_(known)


def _is_so(one: Compared, info: CellInfo) -> bool:
    said, word = OF_CELLS[one.name](info), str(one.value)
    if one.sign == "~":
        return word.casefold() in said.casefold()
    return (said == word) is (one.sign == "=")
