"""A reply as a schedule: which bytes go out how long after the request, and how the connection ends."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from msgspec import Struct

from steelyard.instrument.answer import Answer
from steelyard.instrument.dialects.dialect import Dialect, Events
from steelyard.instrument.settings import Settings

Ending = Literal["keep", "close", "reset", "hold"]

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
    529: "Overloaded",
}
LAST_CHUNK = b"0\r\n\r\n"


class Step(NamedTuple):
    """Bytes and when they are due, in nanoseconds after the request was there; ``is_token``: they carry text."""

    due_ns: int
    data: bytes
    is_token: bool = False


class Reply(Struct, frozen=True, kw_only=True):
    """What goes out. ``billed`` is whether the service would ask money for it."""

    status: int
    steps: Iterator[Step]
    ending: Ending = "keep"
    billed: bool = True


def head(status: int, content_type: str, length: int | None, headers: Mapping[str, str]) -> bytes:
    """Status line and headers; without a length the body comes in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\nContent-Type: {content_type}\r\n{size}\r\n{more}\r\n"
    ).encode("latin-1")


def framed(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def complete(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    content_type: str = "application/json",
    due_ns: int = 0,
    is_token: bool = False,
) -> Reply:
    """A reply in one piece."""
    data = head(status, content_type, len(body), headers) + body
    return Reply(status=status, steps=iter((Step(due_ns, data, is_token),)), billed=status == 200)


def token_times(pieces: int, settings: Settings, generator: random.Random | None) -> list[int]:
    """When each of so many chunks is due. A chunk after the first waits for each of its tokens."""
    due = settings.ttft_ms * 1e6
    gap = settings.itl_ms * 1e6 * settings.tokens_per_chunk
    if not gap:
        return [round(due)] * pieces
    if generator is None:
        return [round(due + number * gap) for number in range(pieces)]
    times = []
    for number in range(pieces):
        due += (gap if number else 0.0) * generator.uniform(1 - settings.jitter, 1 + settings.jitter)
        times.append(round(due))
    return times


def whole(
    dialect: Dialect, answer: Answer, settings: Settings, headers: Mapping[str, str], generator: random.Random | None
) -> Reply:
    """The answer in one piece, when its last token is due."""
    times = token_times(answer.pieces, settings, generator)
    due_ns = times[-1] if times else round(settings.ttft_ms * 1e6)
    return complete(200, dialect.whole(answer), headers, due_ns=due_ns, is_token=True)


def streamed(
    dialect: Dialect, answer: Answer, settings: Settings, headers: Mapping[str, str], generator: random.Random | None
) -> Reply:
    """The answer chunk by chunk; what closes the stream goes out with the last one."""
    events = dialect.stream(answer)
    steps = event_steps(events, answer.pieces, settings, headers, generator)
    return Reply(status=200, steps=_ended(steps, framed(events.closing + events.farewell) + LAST_CHUNK))


def _ended(steps: Iterator[Step], ending: bytes) -> Iterator[Step]:
    last = next(steps)
    for step in steps:
        yield last
        last = step
    yield Step(last.due_ns, last.data + ending, last.is_token)


def event_steps(
    events: Events, pieces: int, settings: Settings, headers: Mapping[str, str], generator: random.Random | None
) -> Iterator[Step]:
    """Head and opening at the first byte's time, then each of so many chunks at its own."""
    start = head(200, "text/event-stream", None, headers) + framed(events.opening)
    first_ns = round(settings.first_byte_ms * 1e6)
    yield Step(first_ns, start)
    times = token_times(pieces, settings, generator)
    for due_ns, piece in zip(times, events.pieces, strict=True):
        yield Step(max(first_ns, due_ns), framed(piece), True)
