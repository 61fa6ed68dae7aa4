"""Connections to a PostgreSQL server that is reached and may never answer: behind a proxy, say, that swallows all.

TCP finds out about a network that swallows everything, and not about a peer that takes what is said and is silent.
A statement may well take long, so silence alone proves nothing: after some of it another connection asks the server
whether it is at work on the statement. Who is not, or does not answer that either, is not waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import psycopg

SILENT_AFTER_S = 20.0
IS_AT_WORK = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s"


class Heard(psycopg.Connection[Any]):
    """A connection whose server is asked elsewhere, where it is silent for long, whether it is at work."""

    backend: int | None = None
    is_at_work: Callable[[int], bool] | None = None
    """Asks the server; ``None`` where silence is the end."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """As long as the server is at work."""
        return super().wait(self._heard_out(gen), *arguments, **options)

    def _heard_out(self, gen: Any) -> Generator[Any, Any, Any]:
        """The steps of ``gen``, ended where the server is silent and not at work; each step says what it waits for."""
        try:
            wanted = next(gen)
            silent_since_s, is_given_up = time.monotonic(), False
            while True:
                ready = yield wanted
                if ready:
                    silent_since_s, is_given_up = time.monotonic(), False
                elif is_given_up:  # and what it may have said while it was asked has not come either
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server is reached, and does not answer")
                elif time.monotonic() - silent_since_s >= SILENT_AFTER_S:
                    is_given_up = not self._is_at_work()
                    silent_since_s = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value

    def _is_at_work(self) -> bool:
        if self.is_at_work is None or self.backend is None:
            return False
        return self.is_at_work(self.backend)


def connected(*arguments: Any, **parameters: Any) -> Heard:
    """A connection that is heard out so long as its server is at work."""

    def is_at_work(backend: int) -> bool:
        with suppress(psycopg.Error), Heard.connect(*arguments, **parameters) as other:
            row = other.execute(IS_AT_WORK, (backend,)).fetchone()
            return row is not None and bool(row[0])
        return False

    connection = Heard.connect(*arguments, **parameters)
    connection.is_at_work = is_at_work
    (connection.backend,) = connection.execute("SELECT pg_backend_pid()").fetchall()[0]  # a pooler gives another number
    connection.rollback()
    return connection
