"""How many answers of some cells are in each state, as a list of them would count.

Every call and its last judgement are looked at once, as they lie in the file: a page over many does not wait for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, select

from steelyard.store.database import schema
from steelyard.store.reading.answer_pages import AnswersWanted, answers_like
from steelyard.store.reading.cell_calls import extent_of, lies_in
from steelyard.store.reading.states import ANSWER_STATES, counts, last_judgement, said_by_calls, said_by_scores
from steelyard.store.writing.judgements import measures_of
from steelyard.types import CellInfo

ALL = "all"
OWN = ("failure", "stop_reason", "cached", "tries")
"""The columns by which a call says its state."""


def tally(connection: Connection, cells: Sequence[CellInfo]) -> dict[str, int]:
    """By state, and of ``ALL``; an answer may be in several of them."""
    found: Counter[str] = Counter()
    for info in cells:
        own = lies_in(info.id or 0, extent_of(connection, info.id or 0))
        found.update(_counted(connection, info, own))
        found.subtract(_counted(connection, info, [schema.calls.c.id.in_(_superseded(info))]))
    return {name: found[name] for name in (ALL, *ANSWER_STATES)}


def tally_part(connection: Connection, cells: Sequence[CellInfo], wanted: AnswersWanted) -> dict[str, int]:
    """The same of the answers that are wanted, in whichever state; no text is looked for."""
    found: Counter[str] = Counter()
    part = msgspec.structs.replace(wanted, state="", text="")
    for info in cells:
        last = last_judgement(connection, info)
        judged = (last.scalar_subquery(), last.with_only_columns(schema.scores.c.parsed).scalar_subquery())
        own = [schema.calls.c[name] for name in OWN]
        rows = answers_like(connection, info, part).with_only_columns(
            *own, judged[0].label("value"), judged[1].label("parsed"), maintain_column_froms=True
        )
        once = rows.cte().prefix_with("MATERIALIZED")  # else each state looks for the judgement again
        each = [func.count().filter(_is_in(state, once.c, once.c)).label(state) for state in ANSWER_STATES]
        found.update(dict(connection.execute(select(func.count().label(ALL), *each).select_from(once)).one()._mapping))
    return {name: found[name] for name in (ALL, *ANSWER_STATES)}


def tally_strata(connection: Connection, info: CellInfo, wanted: AnswersWanted) -> dict[str, int]:
    """How many answers of each subject are wanted, whichever subject is; no text is looked for."""
    stratum = schema.samples.c.stratum
    part = msgspec.structs.replace(wanted, stratum="", text="")
    like = answers_like(connection, info, part).where(stratum.is_not(None))
    counted = like.with_only_columns(stratum, func.count(), maintain_column_froms=True)
    rows = connection.execute(counted.group_by(stratum).order_by(stratum))
    return {row[0]: row[1] for row in rows}


def _counted(connection: Connection, info: CellInfo, among: Sequence[ColumnElement[bool]]) -> dict[str, int]:
    calls, scores = schema.calls, schema.scores
    headline = list(measures_of(connection, info.protocol, info.protocol_version, info.scored[:1]))
    later = scores.alias()
    is_later = (later.c.id > scores.c.id, later.c.id < (calls.c.id + 1) * schema.JUDGEMENTS)
    is_last = ~exists().where(*is_later, later.c.measure.in_(headline)).correlate(calls, scores)
    by_headline = (scores.c.measure + 0).in_(headline)  # + 0: by the call, not by an index that SQLite would make
    judged = calls.outerjoin(scores, and_(schema.is_of_call(calls.c.id), by_headline, is_last))
    each = [func.count().filter(_is_in(state, calls.c, scores.c)).label(state) for state in ANSWER_STATES]
    row = connection.execute(select(func.count().label(ALL), *each).select_from(judged).where(*among)).one()
    return dict(row._mapping)


def _is_in(state: str, calls: Any, scores: Any) -> ColumnElement[bool]:
    """Whether a call beside its last score, if it has one, is in the state, by the columns of both."""
    for said in (said_by_calls(state, calls), said_by_scores(state, scores)):
        if said is not None:
            return said
    return and_(calls.failure.is_(None), scores.value.is_(None))


def _superseded(info: CellInfo) -> Select[tuple[int]]:
    """The calls of the cell that were asked again, found among those that stand for one item and repeat."""
    calls, place = schema.calls, (schema.calls.c.position, schema.calls.c.repeat)
    several = select(*place).where(calls.c.cell == info.id).group_by(*place).having(func.count() > 1).subquery()
    same = (several.c.position == calls.c.position) & (several.c.repeat == calls.c.repeat)
    return select(calls.c.id).join(several, same).where(calls.c.cell == info.id, ~counts())
