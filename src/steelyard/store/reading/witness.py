"""One of the calls that were looked through, by which it is told later whether they are still the same.

The numbers of calls are given again once those with the highest were deleted with their run. As long as a call stands
where it stood, so do all before it: new ones come after the last.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, select

from steelyard.store.database import schema


class Witness(NamedTuple):
    """What tells a call from any other one that may get its number."""

    call: int
    cell: int
    session: int
    position: int
    repeat: int
    started_s: float

    def still_stands(self, connection: Connection) -> bool:
        """Whether its number is still that call's."""
        return _found(connection, _calls().where(schema.calls.c.id == self.call)) == self


def last_before(connection: Connection, number: int) -> Witness | None:
    """The last call with a lower number."""
    calls = schema.calls
    return _found(connection, _calls().where(calls.c.id < number).order_by(calls.c.id.desc()).limit(1))


def _calls() -> Select[Any]:
    calls = schema.calls
    return select(calls.c.id, *(calls.c[name] for name in Witness._fields[1:]))


def _found(connection: Connection, chosen: Select[Any]) -> Witness | None:
    row = connection.execute(chosen).one_or_none()
    return None if row is None else Witness(*row)
