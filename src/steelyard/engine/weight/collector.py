"""The garbage collector while answers come in: what is on its way is not looked through over and over.

What is in flight at any moment are thousands of objects, all of which will be freed without the collector's help. With
Python's own threshold they set it off every few answers, which took 12 to 18 us of each.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NEW_OBJECTS = 5_000
"""Between two rounds of the collector: more than are in flight, and so few that a round makes no clock late."""


_turn = threading.Lock()
_holding = 0
_before = gc.get_threshold()


@contextmanager
def held_back() -> Iterator[None]:
    """Keep what exists so far out of the rounds, and make them seldom, until the last of several runs has ended."""
    _begin()
    try:
        yield
    finally:
        _end()


def _begin() -> None:
    global _holding, _before
    with _turn:
        _holding += 1
        if _holding == 1:
            _before = gc.get_threshold()
            gc.freeze()  # without a round before it, which would take seconds where much else is loaded
            gc.set_threshold(NEW_OBJECTS)


def _end() -> None:
    global _holding
    with _turn:
        _holding -= 1
        if _holding == 0:
            gc.set_threshold(*_before)
            gc.unfreeze()
