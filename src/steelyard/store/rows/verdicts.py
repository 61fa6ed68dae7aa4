"""What judges said, kept so that a later run need not ask them the same again.

A reply stands with the call that it judges, and goes with it when the run is deleted; scores keep their own values. It
is written in one transaction with the scores that were made of it. A reply that was used again is not kept anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, func, select

from steelyard.store.database import schema
from steelyard.store.nouns import Known, NewVerdict, Remembered
from steelyard.store.rows.answers import Cleared, Open
from steelyard.store.writing.codec import mended, pack, unpack
from steelyard.store.writing.keys import keyless
from steelyard.types import CellInfo, Completion
from steelyard.types.ready import ready

TABLE = schema.verdicts
INSERT = TABLE.insert()
MOST_LOOKED_AT = 500
"""So many of the replies to one question are looked through for the newest, the last ones."""


class KeptVerdicts(Struct, frozen=True, kw_only=True):
    """What the store holds of one judge, with what was used of it."""

    judge: str
    replies: int
    size_bytes: int
    oldest_s: float
    newest_s: float
    used_again: int
    saved_usd: float


class VerdictStore:
    """The judges' replies of a store's runs that may be used again."""

    def __init__(self, open_to_read: Open) -> None:
        self._reading = open_to_read

    def known(self, judge: str, *, but_not_run: str | None, since_s: float, before_s: float) -> Known:
        """Everything the judge was asked outside the run, between these moments."""
        with self._reading() as connection:
            columns = [TABLE.c.digest, TABLE.c.id]
            rows = connection.execute(self._usable(connection, columns, judge, but_not_run, since_s, before_s))
            return Known((row.digest, row.id) for row in rows)

    def find(
        self, known: Known, digest: bytes, judge: str, *, but_not_run: str | None, since_s: float, before_s: float
    ) -> Remembered | None:
        """Of what is known the newest reply to this question."""
        with self._reading() as connection:
            columns = [TABLE.c.payload, TABLE.c.cost_usd]
            chosen = self._usable(connection, columns, judge, but_not_run, since_s, before_s)
            asked_so = chosen.where(TABLE.c.id.in_(known.rows_of(digest)[-MOST_LOOKED_AT:]), TABLE.c.digest == digest)
            newest = asked_so.order_by(TABLE.c.started_s.desc(), TABLE.c.id.desc())
            row = connection.execute(newest.limit(1)).first()
            return (
                None if row is None else Remembered(completion=unpack(row.payload, Completion), cost_usd=row.cost_usd)
            )

    def kept(self) -> list[KeptVerdicts]:
        """What every judge said that may be used again, and how often it was."""
        with self._reading() as connection:
            used = _used(connection)
            chosen = select(
                TABLE.c.judge,
                func.count().label("replies"),
                func.sum(func.length(TABLE.c.payload)).label("size_bytes"),
                func.min(TABLE.c.started_s).label("oldest_s"),
                func.max(TABLE.c.started_s).label("newest_s"),
            ).group_by(TABLE.c.judge)
            return [_kept(row, *used.get(row.judge, (0, 0.0))) for row in connection.execute(chosen)]

    @staticmethod
    def _usable(
        connection: Connection, columns: list[Any], judge: str, but_not_run: str | None, since_s: float, before_s: float
    ) -> Any:
        after_s = max(since_s, Cleared(connection).at_s(judge))
        chosen = select(*columns).where(TABLE.c.judge == judge, TABLE.c.started_s > after_s)
        chosen = chosen.where(TABLE.c.started_s < before_s)
        if but_not_run is None:
            return chosen
        calls, cells, runs = schema.calls, schema.cells, schema.runs
        of_run = select(calls.c.id).join(cells, cells.c.id == calls.c.cell).join(runs, runs.c.id == cells.c.run)
        return chosen.where(TABLE.c.call.not_in(of_run.where(runs.c.uid == but_not_run)))


def row_of(call: int, new: NewVerdict, keys: Sequence[bytes]) -> dict[str, Any]:
    """The row of a reply."""
    words = msgspec.structs.replace(new.completion, timing=None)
    completion = keyless(words, keys)
    try:
        payload = pack(completion)
    except UnicodeEncodeError:  # half a surrogate pair: kept with a replacement character, not lost
        payload = pack(mended(completion))
    return {
        "call": call,
        "digest": new.digest,
        "judge": new.judge,
        "started_s": new.started_s,
        "cost_usd": new.cost_usd,
        "payload": payload,
    }


def is_kept(connection: Connection, call: int, said: NewVerdict) -> bool:
    """Whether that very reply stands with the call."""
    same = (TABLE.c.call == call, TABLE.c.digest == said.digest, TABLE.c.started_s == said.started_s)
    return connection.execute(select(TABLE.c.id).where(*same)).first() is not None


def _used(connection: Connection) -> dict[str, tuple[int, float]]:
    """By judge: how many replies were used again, and what they had cost."""
    scores, calls, cells = schema.scores, schema.calls, schema.cells
    counts = (func.sum(scores.c.cached), func.coalesce(func.sum(scores.c.saved_usd), 0.0))
    chosen = (
        select(cells.c.info, *counts)
        .join(calls, calls.c.cell == cells.c.id)
        .join(scores, scores.c.call == calls.c.id)
        .where(scores.c.calls.is_not(None), scores.c.cached > 0)
        .group_by(cells.c.id)
    )
    found: dict[str, tuple[int, float]] = {}
    for encoded, times, saved_usd in connection.execute(chosen):
        settings = msgspec.json.decode(encoded, type=ready(CellInfo)).settings
        judge = str((settings.get("protocol", {}).get("judge") or {}).get("model"))
        before, saved_before = found.get(judge, (0, 0.0))
        found[judge] = (before + times, saved_before + saved_usd)
    return found


def _kept(row: Any, used_again: int, saved_usd: float) -> KeptVerdicts:
    return KeptVerdicts(
        judge=row.judge,
        replies=row.replies,
        size_bytes=row.size_bytes,
        oldest_s=row.oldest_s,
        newest_s=row.newest_s,
        used_again=used_again,
        saved_usd=saved_usd,
    )
