"""One connection to the mock, as an asyncio Protocol: requests in, replies out at their due times.

Bytes go to the socket at once and are stamped then; an event loop that gathers what is written would send a chunk
after all others of its round, and the mock would not know how late it was.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, cast

import httptools

from steelyard.instrument.alarm import Alarm
from steelyard.instrument.ledger import Ledger, Served
from steelyard.instrument.reply import Reply, Step

MOST_UNSENT_BYTES = 1 << 20
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: drop what is unsent and send RST


class HttpRequest(NamedTuple):
    """A request as it came, and when its last byte was there."""

    method: str
    path: str
    query: str
    body: bytes
    at_ns: int
    keeps_open: bool


class Play(NamedTuple):
    """A reply and what is to be noted about it."""

    reply: Reply
    api: str
    label: str | None = None
    is_counted: bool = True


class Exchange(asyncio.Protocol):
    """One request at a time; what a client sends ahead waits."""

    def __init__(
        self, answer: Callable[[HttpRequest], Play], alarm: Alarm, ledger: Ledger, connections: set[Exchange]
    ) -> None:
        self._answer, self._alarm, self._ledger, self._connections = answer, alarm, ledger, connections
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[HttpRequest] = deque()
        self._request: HttpRequest | None = None
        self._play: Play | None = None
        self._next: Step | None = None
        self._is_full = False
        self._due: list[int] = []
        self._written: list[int] = []
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        self._transport = cast(asyncio.Transport, transport)
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._fileno = self._socket.fileno()
        self._connections.add(self)
        self._ledger.connections += 1
        self._ledger.open_connections += 1

    def data_received(self, data: bytes) -> None:
        """Stamp, then parse."""
        self._at_ns = time.perf_counter_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._transport.close()

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self._is_full = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._is_full = False
        if self._play is not None:
            self._go_on(time.perf_counter_ns())
            self._take_next()

    def connection_lost(self, error: Exception | None) -> None:
        """The client has gone."""
        self._connections.discard(self)
        self._ledger.open_connections -= 1
        self._waiting.clear()
        if self._play is not None:
            self._finish(was_complete=False)

    def close(self) -> None:
        """End the connection now."""
        self._transport.abort()

    # What the parser calls

    def on_url(self, url: bytes) -> None:
        """The target, or a part of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; only one matters here."""
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The request is there."""
        path, _, query = self._url.decode("latin-1").partition("?")
        request = HttpRequest(
            method=self._parser.get_method().decode("latin-1"),
            path=path,
            query=query,
            body=b"".join(self._body),
            at_ns=self._at_ns,
            keeps_open=self._parser.should_keep_alive(),
        )
        self._url, self._body = b"", []
        self._waiting.append(request)
        if len(self._waiting) == 1 and self._play is None:
            self._loop.call_soon(self._take_next)  # what came with it to other connections is stamped first

    # The reply

    def _take_next(self) -> None:
        while self._waiting and self._play is None:
            self._request = self._waiting.popleft()
            self._due.clear()
            self._written.clear()
            self._play = self._answer(self._request)
            self._next = next(self._play.reply.steps, None)
            self._go_on(time.perf_counter_ns())

    def _go_on(self, now_ns: int) -> None:
        """Write what is due; be called again for the rest."""
        if self._play is None or self._request is None:
            return
        began_ns, steps = self._request.at_ns, self._play.reply.steps
        while (step := self._next) is not None:
            if self._is_full:
                return
            if step.due_ns and began_ns + step.due_ns > now_ns:
                self._alarm.at(began_ns + step.due_ns, self._ring)
                return
            following = next(steps, None)
            data = step.data
            while following is not None and not following.due_ns and len(data) < MOST_UNSENT_BYTES and not step.due_ns:
                data += following.data
                step, following = following, next(steps, None)
            self._next = following
            if step.is_token:
                now_ns = time.perf_counter_ns()
                self._note(step.due_ns, now_ns - began_ns)
            self._write(data)
        self._finish(was_complete=True)

    def _ring(self, now_ns: int) -> None:
        if self._next is not None and self._request is not None and self._request.at_ns + self._next.due_ns <= now_ns:
            self._go_on(now_ns)
            self._take_next()

    def _note(self, due_ns: int, written_ns: int) -> None:
        self._ledger.lateness_ns.append(written_ns - due_ns)
        self._due.append(due_ns)
        self._written.append(written_ns)

    def _write(self, data: bytes) -> None:
        sent = 0
        if sys.platform != "win32" and not self._transport.get_write_buffer_size():
            with suppress(OSError):  # a broken connection is told by the loop
                sent = os.write(self._fileno, data)
        if sent < len(data):
            self._transport.write(data[sent:])

    def _finish(self, *, was_complete: bool) -> None:
        assert self._play is not None
        assert self._request is not None
        play, request = self._play, self._request
        if was_complete and play.reply.ending == "hold":
            self._next = None
            return  # the connection stays open until the client has had enough
        self._play = self._next = None
        if play.is_counted:
            self._ledger.end(was_complete=was_complete)
            if self._ledger.timings.maxlen:
                served = Served(
                    label=play.label,
                    api=play.api,
                    began_ns=request.at_ns,
                    due_ns=tuple(self._due),
                    written_ns=tuple(self._written),
                )
                self._ledger.timings.append(served)
        if not was_complete:
            return
        if play.reply.ending == "reset":
            self._waiting.clear()
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._transport.abort()
        elif play.reply.ending == "close" or not request.keeps_open:
            self._waiting.clear()
            self._transport.close()
