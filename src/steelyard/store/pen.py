"""The part of a store that writes answers and scores, for a process that does nothing else.

It is ready in two thirds of the time that a whole store takes, which reads with numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from steelyard.errors import StoreError
from steelyard.store.database.connections import Connections
from steelyard.store.database.opening import Database
from steelyard.store.nouns import NewCall, NewScore
from steelyard.store.writing.appending import Appending
from steelyard.store.writing.dictionaries import Dictionaries


class Pen:
    """The database of a store and the way into it; use it as a context manager once it is open."""

    def __init__(self, database: Database) -> None:
        self._database, self.connections = database, Connections(database)
        self._dictionaries = Dictionaries(self.connections.reading, self.connections.writing)
        self._appending = Appending(self.connections.reading, self.connections.writing, self._dictionaries)

    def open(self, *, create: bool = True) -> None:
        """Create or migrate the store; raises ``StoreError`` where that cannot be, or there is none to open."""
        database = self._database
        try:
            if not create and not database.is_there():
                raise StoreError(
                    f"no runs yet: {database.location} does not exist. Try: steelyard run starter -m local/smollm2-135m"
                )
            database.make_place()
            self.connections.bring_up_to_date()
            self._dictionaries.open()
        except BaseException as error:
            self.close()
            if isinstance(error, SQLAlchemyError | OSError | UnicodeDecodeError):
                reason = database.reason_of(error)
                raise StoreError(f"cannot open the store {database.location}: {reason}") from error
            raise

    def append(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """Write calls, and judgements of earlier ones, in one transaction; return the calls' ids when it is durable."""
        return self._appending.append(calls, scores)

    def append_once(self, calls: Sequence[NewCall], scores: Sequence[NewScore]) -> list[int]:
        """``append``, where that very transaction may have been made before nobody heard of it: whole or not at all."""
        return self._appending.append_once(calls, scores)

    def close(self) -> None:
        """Close every connection."""
        self._dictionaries.close()
        self._database.close()

    def __enter__(self) -> Pen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
