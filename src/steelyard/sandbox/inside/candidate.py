"""The process of the code that is judged: define it, then answer calls until nobody asks.

Nothing that this process says of itself counts, only the values it gives: the code may overwrite everything here.
"""

from __future__ import annotations

from typing import Any

from steelyard.sandbox.inside import frames
from steelyard.sandbox.inside.literals import MOST_BYTES, decode, encode

DEFINED, VALUE, RAISED, UNSENDABLE = b"D", b"V", b"E", b"X"
MOST_REASON_BYTES = 200


def serve(source: str, entry_point: str, calls: int, replies: int) -> None:
    """Run ``source``, then call its ``entry_point`` with whatever arrives on ``calls``."""
    namespace: dict[str, Any] = {}
    try:
        exec(compile(source, "<candidate>", "exec"), namespace)  # noqa: S102 - what this process is for
        function = namespace[entry_point]
    except BaseException as error:  # noqa: BLE001 - also SystemExit: code that ends itself has not passed
        frames.send(replies, RAISED + described(error))
        return
    frames.send(replies, DEFINED)
    while (call := frames.receive(calls, MOST_BYTES)) is not None:
        frames.send(replies, _answer(function, call))


def _answer(function: Any, call: bytes) -> bytes:
    try:
        positional, named = decode(call)
        value = function(*positional, **named)
    except BaseException as error:  # noqa: BLE001 - whatever the code raises is its answer
        return RAISED + described(error)
    try:
        return VALUE + encode(value)
    except BaseException as error:  # noqa: BLE001 - its own classes may raise anything
        return UNSENDABLE + described(error)


def described(error: BaseException) -> bytes:
    """``Type: message``, or the type alone, cut to a reason's length."""
    name = type(error).__name__
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 - an exception whose own words fail
        words = ""
    text = f"{name}: {words}" if words else name
    return text.encode("utf-8", "replace")[:MOST_REASON_BYTES]
