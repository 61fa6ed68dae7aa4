"""Runs, sessions and cells as rows: found by what a user calls them, read, and checked before they go on."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from steelyard.errors import UnknownName, UsageError
from steelyard.store import schema
from steelyard.store.dialect import insert_unless_there, spoken
from steelyard.types import CellInfo, RunInfo, RunStatus, SessionInfo

SHORTEST_PREFIX = 4
LARGEST_NUMBER = 2**63 - 1
CLOCK_SLACK_S = 60.0  # a clock that was set meanwhile must not make a living run look dead
SAME_ON_RESUME = (
    "protocol_version",
    "benchmark_version",
    "dataset_digest",
    "prompt_digest",
    "origin",
    "order",
    "shots",
)


def find_run(connection: Connection, reference: str) -> Any:
    """The run called so: ``last``, a number, a name, a tag or the beginning of an id; ``None`` where there is none."""
    table = schema.runs
    newest = select(table).order_by(table.c.id.desc())
    if reference == "last":
        return connection.execute(newest.limit(1)).first()
    if (number := _as_number(reference)) and (row := connection.execute(newest.where(table.c.id == number)).first()):
        return row
    if row := connection.execute(newest.where(table.c.name == reference).limit(1)).first():
        return row
    tagged = select(schema.run_tags.c.run).where(schema.run_tags.c.tag == reference)
    if row := connection.execute(newest.where(table.c.id.in_(tagged)).limit(1)).first():
        return row
    if len(reference) < SHORTEST_PREFIX:
        return None
    found = connection.execute(newest.where(table.c.uid.startswith(reference, autoescape=True))).all()
    if len(found) > 1:
        raise UsageError(f"run {reference!r} is ambiguous: {', '.join(row.uid for row in found)}")
    return found[0] if found else None


def _as_number(reference: str) -> int | None:
    if not reference.isdecimal() or len(reference) > len(str(LARGEST_NUMBER)):
        return None
    number = int(reference)
    return number if number <= LARGEST_NUMBER else None


def number_of(connection: Connection, run_id: str) -> int:
    """The number of the run with that id."""
    number = connection.execute(select(schema.runs.c.id).where(schema.runs.c.uid == run_id)).scalar()
    if number is None:
        raise UnknownName("run", run_id, ["last"])
    return int(number)


def run_info(connection: Connection, row: Any) -> RunInfo:
    """The run in a row."""
    tags = connection.execute(select(schema.run_tags.c.tag).where(schema.run_tags.c.run == row.id)).scalars().all()
    return RunInfo(
        id=row.uid,
        number=row.id,
        name=row.name,
        tags=tuple(sorted(tags)),
        status=_true_status(connection, row),
        created_at=row.created_at,
        finished_at=row.finished_at,
        plan=msgspec.json.decode(row.plan),
        plan_digest=row.plan_digest,
    )


def _true_status(connection: Connection, row: Any) -> RunStatus:
    """A run whose process was killed cannot say so itself: it is interrupted if that process is gone."""
    status: RunStatus = row.status
    if status != "running":
        return status
    table = schema.sessions
    last = connection.execute(select(table).where(table.c.run == row.id).order_by(table.c.id.desc()).limit(1)).first()
    return "interrupted" if last is not None and lives(connection, last) is False else status


def check_free(connection: Connection, number: int) -> None:
    """Refuse a run that another process works on."""
    table = schema.sessions
    for row in connection.execute(select(table).where(table.c.run == number, table.c.ended_at.is_(None))).all():
        is_here = row.host == socket.gethostname()
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
    if session.host == socket.gethostname():
        return is_alive(session.pid, session.started_at)
    return spoken(connection).is_held(connection, session.id)


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


def session_info(row: Any) -> SessionInfo:
    """The session in a row."""
    return SessionInfo(
        id=row.id,
        started_at=row.started_at,
        ended_at=row.ended_at,
        pid=row.pid,
        host=row.host,
        provenance=msgspec.json.decode(row.provenance),
        resources=msgspec.json.decode(row.resources) if row.resources else {},
    )


def set_of(connection: Connection, info: CellInfo) -> int:
    """The number of the set of items that a cell asks, new or known."""
    table = schema.sets
    key = {
        "benchmark": info.benchmark,
        "version": info.benchmark_version,
        "part": info.part or "",
        "digest": info.dataset_digest,
    }
    connection.execute(insert_unless_there(table, spoken(connection)).values(**key))
    chosen = select(table.c.id).where(*(table.c[name] == value for name, value in key.items()))
    return int(connection.execute(chosen).scalar_one())


def check_same_cell(before: CellInfo, now: CellInfo) -> None:
    """Answers to other words, or of another model, are not mixed into one cell."""
    for name in SAME_ON_RESUME:
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            raise UsageError(
                f"{now.model} on {now.label}: {name.replace('_', ' ')} was {old} and is {new} now; a run does not mix "
                "them. Try: a new run"
            )
