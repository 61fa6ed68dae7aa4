"""A reply on its way: its body piece by piece with the time each came, whole or as server-sent events.

Whoever brings it says how the next piece is had; what the bytes mean is read after they are stamped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from steelyard.errors import ProviderError
from steelyard.providers.refusals import reason_of, reported
from steelyard.types import Failure

LONGEST_REPLY_BYTES = 64 << 20
FINISH_TIMEOUT_S = 0.25
FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""How a line of an event stream begins."""
BOM = b"\xef\xbb\xbf"

Piece = tuple[bytes, int]
"""Bytes, and the nanosecond they came at."""


@dataclass(kw_only=True, slots=True)
class Reply:
    """A reply whose headers have arrived; its body is still to come, piece by piece.

    ``begun`` is the first piece, once it was looked at; then comes ``next_piece``.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    first_byte_ns: int
    next_piece: Callable[[], Awaitable[Piece | None]]
    begun: Piece | None = None

    @property
    def content_type(self) -> str:
        """The media type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def events(self) -> AsyncIterator[Piece]:
        """The ``data`` of each server-sent event with the nanosecond its last byte was read at.

        One that is named an error is one, also where whoever reads its data knows none of its shape.
        """
        stream = EventStream()
        size, at_ns = 0, self.first_byte_ns
        piece = self.begun or await self.next_piece()
        while piece is not None:
            data, at_ns = piece
            size += len(data)
            if size > LONGEST_REPLY_BYTES:
                raise _too_long()
            for event in stream.feed(data):
                if event:  # one without data keeps the way open
                    yield event, at_ns
                    if event is stream.error:
                        raise reported(reason_of(event.decode("utf-8", "replace")))
            piece = await self.next_piece()
        for event in stream.end():
            if event:
                yield event, at_ns

    async def read(self) -> Piece:
        """The whole body and when its last byte was read."""
        pieces: list[bytes] = []
        size, at_ns = 0, self.first_byte_ns
        piece = self.begun or await self.next_piece()
        while piece is not None:
            data, at_ns = piece
            pieces.append(data)
            size += len(data)
            if size > LONGEST_REPLY_BYTES:
                raise _too_long()
            piece = await self.next_piece()
        return b"".join(pieces), at_ns

    async def is_stream(self) -> bool:
        """Whether events follow.

        How the body begins says it, for some services forget to, or call an error in JSON a stream: no line of a stream
        begins with a brace.
        """
        first = await self.next_piece()
        while first is not None and (not first[0] or first[0].isspace()):
            first = await self.next_piece()
        self.begun = first
        start = b"" if first is None else first[0].removeprefix(BOM).lstrip()
        if start.startswith((b"{", b"[")):
            return False
        return start.startswith(FIELDS) or self.content_type == "text/event-stream"

    async def finish(self) -> None:
        """Read past the last event to the end of the body, so that the connection can serve the next request.

        The answer is complete: a connection that breaks now costs nothing but itself.
        """
        with suppress(OSError):
            async with asyncio.timeout(FINISH_TIMEOUT_S):
                while await self.next_piece() is not None:
                    pass


class EventStream:
    """The ``data`` of server-sent events from the bytes they come in (WHATWG HTML, section 9.2).

    Works on bytes, so a character cut in two by a chunk boundary stays whole; comments and other fields are skipped.
    ``error`` is the data of the last event that was named so.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._data: list[bytes] = []
        self._has_begun = self._ends_in_cr = self._is_error = False
        self.error: bytes | None = None

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that this piece completes."""
        if not (self._pending or self._data or self._is_error) and _is_one_event(piece):
            self._ends_in_cr = False
            return [piece[6:-2].rstrip(b"\r")]
        if self._has_begun and b"\n" not in piece and b"\r" not in piece:
            self._pending += piece  # in place: a long line that is joined anew with each piece costs its square
            self._ends_in_cr = False
            return []
        *lines, rest = self._readable(piece).split(b"\n")
        self._pending = bytearray(rest)
        found = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                self._is_error = line[6:].strip() == b"error"
            elif not line and len(self._data) == 1 and not self._is_error:  # as good as every event, so at once
                found.append(self._data.pop())
            elif not line:
                found += self._event()
        return found

    def _readable(self, piece: bytes) -> bytes:
        """What is pending with the piece, without a byte order mark at the beginning, and with one kind of line end.

        A CR at the end of a piece ends its line at once; a LF that follows is its other half.
        """
        if self._ends_in_cr:
            piece = piece.removeprefix(b"\n")
        self._ends_in_cr = piece.endswith(b"\r")
        text = bytes(self._pending) + (piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in piece else piece)
        if not self._has_begun and not (text[:1] == BOM[:1] and len(text) < len(BOM)):
            self._has_begun = True
            text = text.removeprefix(BOM)
        return text

    def end(self) -> list[bytes]:
        """The event that was never closed by an empty line, if there is one."""
        if self._pending.startswith(b"data:"):
            self._data.append(bytes(self._pending[5:]).strip())
        return self._event()

    def _event(self) -> list[bytes]:
        """The event that ends here, if it has any data."""
        event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        has_data, is_error = bool(self._data), self._is_error
        self._data, self._is_error = [], False
        if has_data and is_error:
            self.error = event
        return [event] if has_data else []


def _is_one_event(piece: bytes) -> bool:
    """Whether it is one event of one line and nothing else, as most services send them."""
    return piece.startswith(b"data: ") and piece.endswith(b"\n\n") and piece.count(b"\n") == 2


def _too_long() -> ProviderError:
    return ProviderError(Failure(kind="malformed", message=f"the reply exceeds {LONGEST_REPLY_BYTES} bytes"))
