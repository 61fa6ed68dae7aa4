"""Types are made ready before they are read into, so that any number of threads may read at once.

msgspec looks a type's fields up when it is first read into. The table of them can be seen before it is full, and a
thread that reads the same type meanwhile ends the whole process with a segmentation fault. So each type of ours is
looked up by one thread at a time, beforehand.
"""

from __future__ import annotations

import threading
from typing import TypeVar

import msgspec

T = TypeVar("T")

_ready: set[object] = set()
_looking_up = threading.Lock()


def ready(kind: type[T]) -> type[T]:
    """The same type, which may be read into from now on: ``msgspec.json.decode(data, type=ready(Look))``."""
    if kind not in _ready:
        with _looking_up:
            msgspec.msgpack.Decoder(kind)
            _ready.add(kind)
    return kind
