"""Requests and tokens per minute, as services count them: a bucket that starts full and fills evenly."""

from __future__ import annotations

import time
from collections.abc import Callable


class Bucket:
    """An allowance of ``limit`` a minute."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._left = float(limit)
        self._at_s = clock()

    def take(self, amount: int) -> float | None:
        """Take ``amount`` and return ``None``, or take nothing and return the seconds until it would be there."""
        now_s = self._clock()
        self._left = min(self.limit, self._left + (now_s - self._at_s) * self.limit / 60)
        self._at_s = now_s
        if self._left < min(amount, self.limit):
            return (min(amount, self.limit) - self._left) * 60 / self.limit
        self._left -= amount
        return None

    def state(self) -> tuple[int, int, float]:
        """The limit, what is left, and the seconds until all of it is back."""
        return self.limit, max(0, int(self._left)), (self.limit - self._left) * 60 / self.limit


class Limits:
    """The two buckets; either may be absent."""

    def __init__(self, requests: int | None, tokens: int | None) -> None:
        self._buckets = {
            name: Bucket(limit) for name, limit in (("requests", requests), ("tokens", tokens)) if limit is not None
        }

    def take(self, tokens: int) -> float | None:
        """Count a request of so many tokens; the seconds to wait where one of the buckets does not hold it."""
        waits = [bucket.take(1 if name == "requests" else tokens) for name, bucket in self._buckets.items()]
        return max((wait for wait in waits if wait is not None), default=None)

    def state(self) -> dict[str, tuple[int, int, float]]:
        """Each bucket's limit, rest and reset."""
        return {name: bucket.state() for name, bucket in self._buckets.items()}
