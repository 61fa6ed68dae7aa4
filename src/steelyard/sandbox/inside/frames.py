"""Messages through a pipe: four bytes of length, then the message. Never one byte more is read than belongs to it."""

from __future__ import annotations

import os


class TooLong(Exception):
    """The other side announced a message above the limit."""


def send(descriptor: int, message: bytes) -> None:
    """Write one message."""
    rest = memoryview(len(message).to_bytes(4, "big") + message)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int, most_bytes: int) -> bytes | None:
    """Read one message; ``None`` where the other side is gone."""
    head = _exactly(descriptor, 4)
    if head is None:
        return None
    length = int.from_bytes(head, "big")
    if length > most_bytes:
        raise TooLong(f"{length} bytes announced, at most {most_bytes} are taken")
    return _exactly(descriptor, length)


def _exactly(descriptor: int, length: int) -> bytes | None:
    parts = []
    while length:
        part = os.read(descriptor, min(length, 1 << 16))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
