"""A wire format: how a question is read, and how an answer, a stream and an error are written.

Shapes are the services' own; their official clients read every one of them in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from steelyard.instrument.answer import Answer, Asked

encode = msgspec.json.encode


class Events(NamedTuple):
    """A stream: what comes before the first token, one entry for each chunk of tokens, what comes after the last.

    ``pieces`` may be written down one by one, when they are needed: many requests that come at once are then all noted
    before the time goes into their replies. ``farewell`` is the event that says the stream is complete; a stream
    without it was cut.
    """

    opening: bytes
    pieces: Iterable[bytes]
    closing: bytes
    farewell: bytes


class Dialect(NamedTuple):
    """One API. ``read`` gets the path and the decoded body; ``error`` the status, a kind and a message."""

    name: str
    read: Callable[[str, Mapping[str, Any]], Asked]
    whole: Callable[[Answer], bytes]
    stream: Callable[[Answer], Events]
    error: Callable[[int, str, str], bytes]
    failed: Callable[[str], bytes]  # the event that tells of an error in the midst of a stream
    limit_headers: Callable[[Mapping[str, tuple[int, int, float]]], dict[str, str]]


def event(document: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + encode(document) + b"\n\n"


def named_event(name: str, document: Any) -> bytes:
    """One server-sent event with its name."""
    return b"event: " + name.encode() + b"\ndata: " + encode(document) + b"\n\n"
