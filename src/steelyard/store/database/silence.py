"""Connections to a PostgreSQL server that is reached and may never answer: behind a proxy, say, that swallows all.

TCP finds out about a network that swallows everything, and not about a peer that takes what is said and is silent.
A statement may well take long, so silence alone proves nothing: after some of it another connection asks the server
whether it is at work on the statement. Who is not, or does not answer that either, is not waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg

SILENT_AFTER_S = 20.0
"""Then the server is asked elsewhere."""
LOST_AFTER_S = 10.0
"""Then who is asked elsewhere, or cannot be, is not waited for."""
IS_AT_WORK = "SELECT state IN ('active', 'disabled') FROM pg_stat_activity WHERE pid = %s"
"""Where a server keeps no account of what it does (``track_activities``) it is believed to do something."""


class Heard(psycopg.Connection[Any]):
    """A connection whose server is asked elsewhere, where it is silent for long, whether it is at work."""

    is_at_work: Callable[[], bool] | None = None
    """Asks the server; ``None`` where silence is the end."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """As long as the server is at work."""
        return super().wait(self._heard_out(gen), *arguments, **options)

    def _heard_out(self, gen: Any) -> Generator[Any, Any, Any]:
        """The steps of ``gen``, ended where the server is silent and not at work; each step says what it waits for."""
        longest_s = LOST_AFTER_S if self.is_at_work is None else SILENT_AFTER_S
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
                elif time.monotonic() - silent_since_s >= longest_s:
                    is_given_up = self.is_at_work is None or not self.is_at_work()
                    silent_since_s = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value


def connected(*arguments: Any, **parameters: Any) -> Heard:
    """A connection that is heard out so long as its server is at work."""

    def is_at_work(backend: int) -> bool:
        with suppress(psycopg.Error), Heard.connect(*arguments, **parameters) as other:
            row = other.execute(IS_AT_WORK, (backend,)).fetchone()
            return row is not None and bool(row[0])
        return False

    connection = Heard.connect(*arguments, **parameters)
    try:  # a pooler gives a number of its own
        (backend,) = connection.execute("SELECT pg_backend_pid()").fetchall()[0]
        connection.rollback()
    except BaseException:
        connection.close()
        raise
    connection.is_at_work = partial(is_at_work, backend)
    return connection
