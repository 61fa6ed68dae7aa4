"""A clock that only looks move, for what ends a page when its time is up.

Where others are at work, a page of a few rows may take longer than the part of a second that it is given. By this clock
it never does, and one that is given no time at all still ends after its first look.
"""

from itertools import count
from types import SimpleNamespace

from steelyard.store.reading import answer_pages, cases, history, neighbours, ranks, rare

LOOK_S = 1e-6


def read_unhurried(monkeypatch):
    """Pages of answers, of cases and of what is found take a microsecond for each look at the clock."""
    looks = count()
    clock = SimpleNamespace(monotonic=lambda: next(looks) * LOOK_S)
    for module in (answer_pages, cases, history, neighbours, ranks, rare):
        monkeypatch.setattr(module, "time", clock)
