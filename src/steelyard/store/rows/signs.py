"""The sign of life of a process that works on a run: why its models wait, and what went wrong so far.

A session keeps its last one, and none once it has ended: what stays of a run are its answers. Where the disk is full
no sign can be kept either, so one that is old tells something too.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, select, update

from steelyard.store.database import schema
from steelyard.store.database.dialect import spoken
from steelyard.store.rows.answers import Open
from steelyard.store.rows.sessions import is_ours
from steelyard.types import Sign
from steelyard.types.ready import ready

TOLD_EVERY_S = 2.0
"""How often a process looks whether there is something new to tell."""
TOLD_AT_LEAST_EVERY_S = 6.0
"""It tells so often also where nothing is new, so that its silence can be told from its waiting."""


class Signs:
    """The signs of the sessions that go on."""

    def __init__(self, open_to_write: Open) -> None:
        self._writing = open_to_write

    def keep(self, session: int, sign: Sign) -> None:
        """Keep it in place of the last one, unless the session has ended."""
        table = schema.sessions
        changed = update(table).where(is_ours(session), table.c.ended_at.is_(None))
        with self._writing() as connection:
            kept = replace(sign, ahead_s=spoken(connection).ahead_s(connection))
            connection.execute(changed.values(sign=msgspec.json.encode(kept)))


def last_sign(connection: Connection, run: int) -> Sign | None:
    """What the process that works on the run told last; ``None`` where none does, or none ever told anything
    that can be read: the answers can be without it.
    """
    table = schema.sessions
    newest = select(table.c.sign).where(table.c.run == run).order_by(table.c.id.desc()).limit(1)
    sign = readable(connection.execute(newest).scalar())
    return None if sign is None else replace(sign, ahead_s=sign.ahead_s - spoken(connection).ahead_s(connection))


def readable(encoded: bytes | None) -> Sign | None:
    """The sign as it was kept, where there is one that can be read."""
    if encoded is None:
        return None
    try:
        return msgspec.json.decode(encoded, type=ready(Sign))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
