"""Sessions: the stretches in which a process works on a run, what each took, and whether that process still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from steelyard.errors import UsageError
from steelyard.store.database import schema
from steelyard.store.database.dialect import spoken
from steelyard.types import SessionInfo

CLOCK_SLACK_S = 60.0  # a clock that was set meanwhile must not make a living run look dead


def add_session(connection: Connection, run: int, provenance: dict[str, Any]) -> int:
    """This process begins to work on the run, unless another one does."""
    check_free(connection, run)
    row = connection.execute(
        schema.sessions.insert().values(
            run=run,
            started_at=schema.now(),
            pid=os.getpid(),
            host=_here(),
            provenance=msgspec.json.encode(provenance),
        )
    )
    assert row.inserted_primary_key is not None
    return int(row.inserted_primary_key[0])


def remove_sessions(connection: Connection, numbers: Iterable[int]) -> None:
    """Take away what this process began and never worked on, as far as there are such sessions."""
    for session in numbers:
        connection.execute(delete(schema.sessions).where(is_ours(session)))


def add_provenance(connection: Connection, session: int, found: dict[str, Any]) -> None:
    """What was found out of the session's origin since; it takes the place of what was there by its name."""
    column = schema.sessions.c.provenance
    known = connection.execute(select(column).where(schema.sessions.c.id == session)).scalar_one()
    _change(connection, session, provenance=msgspec.json.encode(msgspec.json.decode(known) | found))


def end_session(connection: Connection, session: int, resources: dict[str, float]) -> None:
    """The process is done with the run, and this is what it took."""
    _change(connection, session, ended_at=schema.now(), resources=msgspec.json.encode(resources), sign=None)


def note_figures(connection: Connection, session: int, figures: dict[str, float]) -> None:
    """What is known of a session that was killed; of one of which something is known already nothing changes."""
    table = schema.sessions
    killed = update(table).where(table.c.id == session, table.c.ended_at.is_(None), table.c.resources.is_(None))
    connection.execute(killed.values(resources=msgspec.json.encode(figures)))


def sessions_of(connection: Connection, run: int) -> list[SessionInfo]:
    """The stretches of the run, oldest first."""
    table = schema.sessions
    chosen = select(table).where(table.c.run == run).order_by(table.c.id)
    return [_session_info(row) for row in connection.execute(chosen)]


def check_free(connection: Connection, number: int) -> None:
    """Refuse a run that another process works on."""
    table = schema.sessions
    for row in connection.execute(select(table).where(table.c.run == number, table.c.ended_at.is_(None))).all():
        is_here = row.host == _here()
        if not (is_here and row.pid == os.getpid()) and lives(connection, row):
            raise UsageError(
                f"run #{number} is being worked on by process {row.pid}{'' if is_here else f' on {row.host}'} since "
                f"{row.started_at[:19]}: two at once would pay twice. Try: wait for it, or end it with Ctrl-C or: "
                f"kill {row.pid}"
            )


def lives(connection: Connection, session: Any) -> bool | None:
    """Whether the process of a session lives; ``None`` where nobody here can tell."""
    if session.pid is None:
        return None
    if session.host == _here():
        return is_alive(session.pid, session.started_at)
    return spoken(connection).is_held(connection, session.id)


def is_ours(session: int) -> ColumnElement[bool]:
    """Whether a row is the session that this process began: after its run was deleted another's may have the number."""
    table = schema.sessions
    return and_(table.c.id == session, table.c.pid == os.getpid(), table.c.host == _here())


def is_alive(pid: int, session_started_at: str) -> bool:
    """Whether that very process lives: a process that is younger than the session only got the same number."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # it ended, and nobody has asked how
            return False
        born_s = process.create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return born_s <= datetime.fromisoformat(session_started_at).timestamp() + CLOCK_SLACK_S


@cache
def _here() -> str:
    """This host's name: one for as long as the process lives, as a laptop's changes with the network it is in."""
    return socket.gethostname()


def _session_info(row: Any) -> SessionInfo:
    return SessionInfo(
        id=row.id,
        started_at=row.started_at,
        ended_at=row.ended_at,
        pid=row.pid,
        host=row.host,
        provenance=msgspec.json.decode(row.provenance),
        resources=msgspec.json.decode(row.resources) if row.resources else {},
    )


def _change(connection: Connection, session: int, **values: Any) -> None:
    connection.execute(update(schema.sessions).where(is_ours(session)).values(**values))
