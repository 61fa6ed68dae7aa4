"""What the mock served, and how punctual it was: the other side of every figure that a client reports."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from typing import Any

from msgspec import Struct

from steelyard.instrument.answer import Counts
from steelyard.types import Price

MOST_LATENESSES = 200_000
PERCENTILES = (50, 95, 99)


class Served(Struct, frozen=True, kw_only=True):
    """One reply: for each chunk of text, nanoseconds after the request was there: when it was due, when it went out.

    ``began_ns`` is when the request was there, on the server's clock (on one machine also the client's).
    """

    label: str | None
    api: str
    began_ns: int
    due_ns: tuple[int, ...]
    written_ns: tuple[int, ...]


class Ledger:
    """Counts of one server since it began."""

    def __init__(self, price: Price | None, keep_timings: int) -> None:
        self._price = price
        self._began_s = time.monotonic()
        self.requests: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.connections = 0
        self.open_connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.left_early = 0
        self.input = self.cached = self.output = self.reasoning = 0
        self.lateness_ns: deque[int] = deque(maxlen=MOST_LATENESSES)
        self.timings: deque[Served] = deque(maxlen=keep_timings)

    def begin(self, api: str, *, is_streamed: bool) -> None:
        """A request is there."""
        self.requests[api] += 1
        self.kinds["streamed" if is_streamed else "whole"] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def bill(self, counts: Counts) -> None:
        """Its tokens are paid for."""
        self.input += counts.input
        self.cached += counts.cached
        self.output += counts.output
        self.reasoning += counts.reasoning

    def end(self, *, was_complete: bool) -> None:
        """The reply has gone out, or the client has gone."""
        self.in_flight -= 1
        self.left_early += not was_complete

    def billed_usd(self) -> float | None:
        """What all of it costs; unknown where no price was set."""
        if self._price is None:
            return None
        cached_price = self._price.input if self._price.cached_input is None else self._price.cached_input
        inputs = (self.input - self.cached) * self._price.input + self.cached * cached_price
        return (inputs + self.output * self._price.output) / 1e6

    def stats(self) -> dict[str, Any]:
        """Everything, as JSON-ready values."""
        return {
            "uptime_s": round(time.monotonic() - self._began_s, 3),
            "cpu_s": time.process_time(),
            "requests": sum(self.requests.values()),
            "by_api": dict(self.requests),
            "streamed": self.kinds["streamed"],
            "whole": self.kinds["whole"],
            "statuses": dict(self.statuses),
            "faults": dict(self.faults),
            "connections": self.connections,
            "open_connections": self.open_connections,
            "in_flight": self.in_flight,
            "peak_in_flight": self.most_in_flight,
            "left_early": self.left_early,
            "tokens": {
                "input": self.input,
                "cached_input": self.cached,
                "output": self.output,
                "reasoning": self.reasoning,
            },
            "billed_usd": self.billed_usd(),
            "lateness_ms": _summary_ms(sorted(self.lateness_ns)),
        }


def _summary_ms(ordered: list[int]) -> dict[str, float | int | None]:
    """Nearest-rank percentiles of how late chunks of text went out; ``None`` of none."""
    summary: dict[str, float | int | None] = {"n": len(ordered)}
    for percentile in PERCENTILES:
        rank = max(1, math.ceil(len(ordered) * percentile / 100))
        summary[f"p{percentile}"] = round(ordered[rank - 1] / 1e6, 4) if ordered else None
    summary["max"] = round(ordered[-1] / 1e6, 4) if ordered else None
    return summary
