"""HTTP/1.1 over one connection, as an asyncio Protocol: bytes are stamped where the event loop hands them over.

No task and no stream stands between the socket and the stamp, which is why this reads a first token some milliseconds
earlier than a general client under load, at a fraction of its processor time. Parsing is httptools' (the parser of
Node.js). One request at a time, no redirects, no retries; what goes wrong is an ``OSError``.
"""

from __future__ import annotations

import asyncio
import re
import select
import ssl
import time
import zlib
from collections import deque
from collections.abc import Mapping
from typing import cast

import httptools

MOST_HEAD_BYTES = 1 << 20
MOST_UNREAD_BYTES = 4 << 20
MOST_UNPACKED_BYTES = 64 << 20  # of one piece: beyond it a small reply unpacks into one that fills the memory
BEGINS_GZIP = b"\x1f"
ANNOUNCED_S = re.compile(r"(?i)\btimeout\s*=\s*(\d{1,6})")
MARGIN_S = 1.0
"""A server closes a connection so much before we would no longer use it, by its clock and the way there."""
AUTO_DETECT = 47  # zlib's wbits for gzip and zlib headers alike


class Malformed(OSError):
    """What came is not HTTP, or not in an encoding that was asked for."""


class Barred(OSError):
    """A proxy leads nobody to the server, or not whoever asks: no further request will change that."""


class Unsent(OSError):
    """A fault that came before any of the request was sent; ``beneath`` is what it was."""

    def __init__(self, beneath: OSError) -> None:
        super().__init__(str(beneath))
        self.beneath = beneath


class Connection(asyncio.Protocol):
    """One connection to one server, for one request after another."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._lost: OSError | None = None
        self._is_closed = False
        self._polled: select.poll | None = None
        self._pieces: deque[tuple[bytes, int]] = deque()
        self.is_busy = False
        self.last_active_s = time.monotonic()
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces.clear()
        self._unread = 0
        self._is_paused = False
        self._has_headers = self._has_ended = self._keeps_open = False
        self._unzip: zlib._Decompress | None = None
        self._fault: Malformed | None = None
        self._head_bytes = 0  # what came since the last of the body: headers, what frames its chunks, trailers
        self._at_ns = 0
        self.first_byte_ns = 0
        self.status = 0
        self.reason = ""
        self.headers: dict[str, str] = {}

    @property
    def is_reusable(self) -> bool:
        """Whether the next request may go over it: the last reply was read to its end and the server keeps it open."""
        return not self._is_closed and (not self.is_busy or self._keeps_open)

    def has_news(self) -> bool:
        """Whether something has come that the event loop has not handed over yet: between two replies, the end.

        A busy loop may take its time, and what is sent meanwhile may have been paid for or not.
        """
        return self._polled is not None and bool(self._polled.poll(0))

    def idle_s(self, most_s: float) -> float:
        """How long it may rest before the next request: well below what the server announced, ``most_s`` at most."""
        found = ANNOUNCED_S.search(self.headers.get("keep-alive", ""))
        if found is None:
            return most_s
        announced_s = float(found[1])
        return min(most_s, announced_s - min(MARGIN_S, announced_s / 2))

    async def send(self, request: bytes) -> None:
        """Send a request and return when the headers of its reply are there."""
        self._begin()
        self.is_busy = True
        self.last_active_s = time.monotonic()
        if self._transport is None or self._is_closed:
            raise self._lost or ConnectionResetError("the connection was closed before the request")
        self._transport.write(request)
        while not self._has_headers:
            if self._lost is not None:
                raise self._lost
            await self._news()

    async def piece(self) -> tuple[bytes, int] | None:
        """The next bytes of the body with the nanosecond they came; ``None`` at its end."""
        while not self._pieces:
            if self._has_ended:
                return None
            if self._lost is not None:
                raise self._lost
            await self._news()
        piece = self._pieces.popleft()
        self._unread -= len(piece[0])
        if self._is_paused and self._unread < MOST_UNREAD_BYTES:
            self._is_paused = False
            cast(asyncio.Transport, self._transport).resume_reading()
        return piece

    def release(self) -> None:
        """The reply is done with; another request may follow."""
        self.is_busy = False
        self.last_active_s = time.monotonic()

    def close(self) -> None:
        """End the connection now."""
        self._is_closed = True
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: OSError) -> None:
        """Give the reply up: who waits for it is told why."""
        self._lost = self._lost or error
        self._wake()
        self.close()

    def _news(self) -> asyncio.Future[None]:
        """Done when something has come, or will not."""
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():  # who waited may have been called off
            waiter.set_result(None)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast(asyncio.Transport, transport)
        if hasattr(select, "poll"):
            self._polled = select.poll()
            self._polled.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Stamp, then parse."""
        self._at_ns = time.perf_counter_ns()
        self.last_active_s = time.monotonic()
        if not self.is_busy or self._has_ended:
            self.close()  # nobody asked: whatever it is, it would be taken for the next reply
            return
        self.first_byte_ns = self.first_byte_ns or self._at_ns
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(self._fault or Malformed(f"the reply is not well-formed HTTP ({error})"))
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES and not self._has_ended:
            self.fail(Malformed(f"the reply's headers exceed {MOST_HEAD_BYTES} bytes"))
            return
        if self._unread > MOST_UNREAD_BYTES and not self._is_paused:
            self._is_paused = True
            cast(asyncio.Transport, self._transport).pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The server has said all; a body without a length ends here."""
        if self._has_headers and self._lost is None and self._ends_with_connection():
            self._has_ended = True
        self._is_closed = True

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, in the midst of a reply or between two."""
        if isinstance(error, OSError):
            self._lost = self._lost or error
        self.eof_received()
        self._lost = self._lost or ConnectionResetError("the server closed the connection")
        self._wake()

    def _ends_with_connection(self) -> bool:
        return "content-length" not in self.headers and "transfer-encoding" not in self.headers

    # What the parser calls

    def on_status(self, reason: bytes) -> None:
        """The words behind the status."""
        self.reason = reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; of several by one name the last counts. What comes behind the body says nothing that is read."""
        if not self._has_headers:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The body comes next; interim replies are passed over."""
        if self._has_ended:
            raise self._malformed("a second reply came to one request")
        self.status = self._parser.get_status_code()
        if self.status < 200 and self.status != 101:
            self.headers.clear()
            self.first_byte_ns = 0
            return
        self.first_byte_ns = self.first_byte_ns or self._at_ns  # behind an interim reply, in the same bytes
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            self._unzip = zlib.decompressobj(AUTO_DETECT)
        elif encoding not in ("identity", ""):
            raise self._malformed(f"the reply is encoded as {encoding!r}, which was not asked for")
        self._has_headers = True

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._head_bytes = 0
        if self._unzip is None:
            self._keep(data)
        else:
            self._unpack(data)

    def _unpack(self, data: bytes) -> None:
        """Keep what the piece unpacks to. A packed body may be several, one after the other (RFC 1952, 2.2)."""
        assert self._unzip is not None
        while data:
            if self._unzip.eof:
                if not data.startswith(BEGINS_GZIP):
                    return  # padding
                self._unzip = zlib.decompressobj(AUTO_DETECT)
            try:
                self._keep(self._unzip.decompress(data, MOST_UNREAD_BYTES))
            except zlib.error as error:
                raise self._malformed(f"the reply cannot be unpacked ({error})") from error
            data = self._unzip.unused_data if self._unzip.eof else self._unzip.unconsumed_tail

    def _keep(self, data: bytes) -> None:
        if data:
            self._pieces.append((data, self._at_ns))
            self._unread += len(data)
        if self._unread > MOST_UNPACKED_BYTES:
            raise self._malformed(f"the reply unpacks to more than {MOST_UNPACKED_BYTES} bytes")

    def _malformed(self, why: str) -> Malformed:
        """Kept beside the parser, whose own error does not say what was raised within it."""
        self._fault = Malformed(why)
        return self._fault

    def on_message_complete(self) -> None:
        """The reply is complete."""
        if self._has_headers:
            self._has_ended = True
            self._keeps_open = self._parser.should_keep_alive()


async def connect(host: str, port: int, context: ssl.SSLContext | None, timeout_s: float) -> Connection:
    """A new connection; ``context`` where it is to be encrypted."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        _, connection = await loop.create_connection(Connection, host, port, ssl=context)
    return connection


def head_bytes(target: str, host: str, headers: Mapping[str, str]) -> bytes:
    """How every POST of JSON to an endpoint begins, up to its body's length; a line break in a header is refused."""
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Accept: */*",
        "Accept-Encoding: gzip",  # deflate is sent in two ways, one of which cannot be told from damage
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header must not hold a line break")
    return "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")


def request_bytes(head: bytes, body: bytes) -> bytes:
    """The request as it goes over the wire."""
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)
