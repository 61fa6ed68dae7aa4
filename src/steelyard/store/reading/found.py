"""What a run was found to show, kept beside it with a digest of what that was made from.

Testing a million answers takes far longer than a look at them should. What is kept counts as long as nothing that it
was made from has changed: the run was gone on with, graded again, or answered by another version of Steelyard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, delete, func, select

from steelyard.store.database import schema
from steelyard.store.database.dialect import put
from steelyard.store.rows.answers import Open

MOST_IN_PASSING = 50_000
"""Testing reads every record, some 20 microseconds each: of more than so many, a look in passing tells what is kept."""


class Basis(Struct, frozen=True, kw_only=True):
    """What findings of a run are made from: so many calls, and a digest of all that says how they were judged."""

    calls: int
    digest: bytes


class FoundStore:
    """The findings that are kept with runs."""

    def __init__(
        self,
        open_to_read: Open,
        open_to_write: Open,
        number_of: Callable[[Connection, str], int],
        holds_more_than: Callable[[str, int], bool],
    ) -> None:
        self._reading, self._writing, self._number_of = open_to_read, open_to_write, number_of
        self._holds_more_than = holds_more_than

    def is_for(self, run_id: str) -> bool:
        """Whether the run is so large that its findings are kept."""
        return self._holds_more_than(run_id, MOST_IN_PASSING)

    def basis(self, run_id: str, version: str) -> Basis:
        """As the run stands now, for the rules of this version. Its answers are counted, and not read."""
        with self._reading() as connection:
            run, calls = self._number_of(connection, run_id), 0
            digest = blake2b(f"{version} {run}".encode(), digest_size=16)
            for row in _stands(connection, run):
                digest.update(repr(tuple(row)).encode())
            of_run = select(schema.cells.c.id).where(schema.cells.c.run == run).order_by(schema.cells.c.id)
            for cell in connection.execute(of_run).scalars().all():
                held = select(func.count(), func.max(schema.calls.c.id)).where(schema.calls.c.cell == cell)
                n, newest = connection.execute(held).one()
                digest.update(f"{cell} {n} {newest}".encode())
                calls += int(n)
        return Basis(calls=calls, digest=digest.digest())

    def keep(self, run_id: str, basis: Basis, content: bytes) -> None:
        """Keep what was found, in place of what was kept before."""
        with self._writing() as connection:
            made = {"made_of": basis.digest, "content": content}
            put(connection, schema.findings, {"run": self._number_of(connection, run_id)}, made)

    def forget(self, run_id: str) -> None:
        """Its answers are about to be judged again."""
        with self._writing() as connection:
            own = schema.findings.c.run == self._number_of(connection, run_id)
            connection.execute(delete(schema.findings).where(own))

    def get(self, run_id: str, basis: Basis) -> bytes | None:
        """What is kept; empty where it was made from something else, ``None`` where there never was anything."""
        with self._reading() as connection:
            own = schema.findings.c.run == self._number_of(connection, run_id)
            row = connection.execute(select(schema.findings).where(own)).first()
        if row is None:
            return None
        return bytes(row.content) if row.made_of == basis.digest else b""


def _stands(connection: Connection, run: int) -> Iterator[Sequence[Any]]:
    """The rows that say how the run's answers came about and were judged."""
    runs, cells, sessions = schema.runs, schema.cells, schema.sessions
    own = select(cells.c.id).where(cells.c.run == run)
    yield from connection.execute(select(runs.c.uid, runs.c.status, runs.c.plan_digest).where(runs.c.id == run))
    yield from connection.execute(select(cells).where(cells.c.run == run).order_by(cells.c.id))
    told = [column for column in sessions.columns if column is not sessions.c.sign]  # which goes when it ends
    yield from connection.execute(select(*told).where(sessions.c.run == run).order_by(sessions.c.id))
    for of_cell in (schema.gradings, schema.looks):
        yield from connection.execute(select(of_cell).where(of_cell.c.cell.in_(own)).order_by(*of_cell.primary_key))
