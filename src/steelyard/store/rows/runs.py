"""Runs as rows: made, found by what a user calls them, read, changed, and removed with all that is theirs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select, update

from steelyard.errors import UnknownName, UsageError
from steelyard.store.database import schema
from steelyard.store.database.dialect import insert_unless_there, spoken
from steelyard.store.rows.answers import hand_over
from steelyard.store.rows.sessions import lives
from steelyard.store.writing.judgements import delete_scores
from steelyard.types import RunInfo, RunStatus

SHORTEST_PREFIX = 4
LARGEST_NUMBER = 2**63 - 1


def new_uid() -> str:
    """An id that no other run has."""
    return secrets.token_hex(8)


def add_run(
    connection: Connection,
    *,
    uid: str | None = None,
    name: str | None,
    plan: dict[str, Any],
    plan_digest: str,
    tags: Sequence[str],
) -> RunInfo:
    """A new run with the next number, which it is called after without a name; the one with ``uid`` is no other."""
    known = select(schema.runs).where(schema.runs.c.uid == uid)
    if uid is not None and (there := connection.execute(known).first()) is not None:
        return run_info(connection, there)
    row = connection.execute(
        schema.runs.insert().values(
            uid=uid or new_uid(),
            name=name or "",
            status="running",
            created_at=schema.now(),
            plan=msgspec.json.encode(plan),
            plan_digest=plan_digest,
        )
    )
    assert row.inserted_primary_key is not None
    number = int(row.inserted_primary_key[0])
    if not name:
        _change(connection, number, name=f"run-{number}")
    for tag in dict.fromkeys(tags):
        connection.execute(schema.run_tags.insert().values(run=number, tag=tag))
    return run_called(connection, str(number))


def run_called(connection: Connection, reference: str) -> RunInfo:
    """The run that is called so; where there is none, the error lists the nearest names."""
    row = find_run(connection, reference.removeprefix("#"))
    if row is None:
        known = [str(name) for (name,) in connection.execute(select(schema.runs.c.name)).all()]
        if not known:
            raise UsageError("no runs yet in this store. Try: steelyard run starter -m local/smollm2-135m")
        raise UnknownName("run", reference, ["last", *known])
    return run_info(connection, row)


def newest_runs(connection: Connection, limit: int | None) -> list[RunInfo]:
    """The runs, newest first."""
    rows = connection.execute(select(schema.runs).order_by(schema.runs.c.id.desc()).limit(limit)).all()
    return [run_info(connection, row) for row in rows]


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
    """A run whose process was killed cannot say so itself: it is interrupted if that process is gone, or never came."""
    status: RunStatus = row.status
    if status != "running":
        return status
    table = schema.sessions
    last = connection.execute(select(table).where(table.c.run == row.id).order_by(table.c.id.desc()).limit(1)).first()
    return "interrupted" if last is None or lives(connection, last) is False else status


def set_status(connection: Connection, number: int, status: RunStatus) -> None:
    """How the run stands; anything but ``running`` also notes when."""
    _change(connection, number, status=status, finished_at=None if status == "running" else schema.now())


def set_plan(connection: Connection, number: int, plan: dict[str, Any], plan_digest: str) -> None:
    """The plan of a run that was extended."""
    _change(connection, number, plan=msgspec.json.encode(plan), plan_digest=plan_digest)


def rename(connection: Connection, number: int, name: str) -> None:
    """Give the run another name."""
    _change(connection, number, name=name)


def add_tag(connection: Connection, number: int, tag: str) -> None:
    """Add a tag; having it already is no fault."""
    row = insert_unless_there(schema.run_tags, spoken(connection))
    connection.execute(row.values(run=number, tag=tag))


def take_tag(connection: Connection, number: int, tag: str) -> None:
    """Take a tag away."""
    tags = schema.run_tags
    connection.execute(delete(tags).where(tags.c.run == number, tags.c.tag == tag))


def delete_run(connection: Connection, number: int) -> None:
    """Remove the run with its answers and scores. Items stay: other runs may have asked them."""
    of_run = select(schema.cells.c.id).where(schema.cells.c.run == number)
    of_cells = select(schema.calls.c.id).where(schema.calls.c.cell.in_(of_run))
    hand_over(connection, of_run)
    delete_scores(connection, of_run)
    connection.execute(delete(schema.verdicts).where(schema.verdicts.c.call.in_(of_cells)))
    connection.execute(delete(schema.calls).where(schema.calls.c.cell.in_(of_run)))
    for of_cell in (schema.gradings, schema.looks):
        connection.execute(delete(of_cell).where(of_cell.c.cell.in_(of_run)))
    for table in (schema.findings, schema.cells, schema.sessions, schema.run_tags):
        connection.execute(delete(table).where(table.c.run == number))
    connection.execute(delete(schema.runs).where(schema.runs.c.id == number))


def _change(connection: Connection, number: int, **values: Any) -> None:
    connection.execute(update(schema.runs).where(schema.runs.c.id == number).values(**values))
