"""What a run, its workers and its scribe say to one another: messages in msgpack, many to a frame, over sockets.

Only values cross: rows to be kept, items to be asked, money, limits, wishes to stop. The same messages would go over a
network; what a worker needs beside them is the plan and a store to read.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from typing import TypeVar, cast

import msgspec
from msgspec import Struct

from steelyard.benchmarks.readings import Reading
from steelyard.store import NewCall, NewScore
from steelyard.store.writing.codec import mended
from steelyard.types import Score

LENGTH_BYTES = 4

Errand = tuple[int, int, int]
"""A cell's number in the worker's share of the plan, the position of an item, and which repeat of it."""


class Said(Struct, frozen=True, kw_only=True, array_like=True, tag=True):
    """Something that one side tells the other."""


# From the run to a worker


class Earlier(Struct, frozen=True, kw_only=True, array_like=True):
    """Where to look up what other runs were answered, and since when (seconds since the epoch) it may be used again."""

    store: str
    since_s: float


class Begin(Said, frozen=True):
    """What to work on: the share of the plan as JSON, the cells' rows in the store, earlier answers, if any, and files
    that need no second reading.

    The shares of limits are in the plan already; ``workers`` is how many share a judge.
    """

    plan: bytes
    workers: int
    run_id: str
    session: int
    rows: tuple[int, ...]
    allows_unsafe_code: bool
    is_limited: bool
    earlier: Earlier | None
    readings: tuple[Reading, ...]
    policy: bytes


class Items(Said, frozen=True):
    """Items of one model to be asked; ``is_last``: there will be no more of them."""

    model: str
    errands: tuple[Errand, ...]
    is_last: bool


class Kept(Said, frozen=True):
    """Rows that are durable, each by the number it was sent under, with the id of its call."""

    rows: tuple[tuple[int, int], ...]


class Granted(Said, frozen=True):
    """The answer to ``Draw``: so much may be spent beyond what was granted before."""

    number: int
    usd: float


class Room(Said, frozen=True):
    """Whether what is paid for from now on can be kept."""

    is_there: bool


class Ahead(Said, frozen=True):
    """So many answers a slot may be on their way to the disk from now on."""

    uncommitted: int


class Stop(Said, frozen=True):
    """Send nothing more to a model, for a reason."""

    model: str
    reason: str


class Held(Said, frozen=True):
    """Another worker was told to ask a model for nothing for so long; of a system of several the ``gate``-th."""

    model: str
    seconds: float
    gate: int = 0


class End(Said, frozen=True):
    """There is nothing left to do."""


# From a worker to the run


class Wanted(Said, frozen=True):
    """There is room for so many more items of a model."""

    model: str
    most: int


class CallRow(Said, frozen=True):
    """A call to be kept, as the ``number``-th row of this worker; ``cell`` as in ``Errand``.

    ``scores``, where they are there already, are to be kept once the call is durable; nothing is said of them again.
    """

    number: int
    cell: int
    row: NewCall
    scores: dict[str, Score] | None = None


class ScoreRow(Said, frozen=True):
    """The scores of a call that is durable already."""

    number: int
    row: NewScore


class Draw(Said, frozen=True):
    """A wish for money, by a number of its own."""

    number: int
    usd: float


class Books(Said, frozen=True):
    """What this worker has spent, has in doubt and has cut off, in all; ``is_last``: from now on it spends nothing."""

    spent_usd: float
    doubtful_usd: float
    doubtful_tries: int
    cut_off_tries: int = 0
    is_last: bool = False


class HeldBack(Struct, frozen=True):
    """What waits before one model, and why."""

    waiting: int = 0
    held_for_s: float = 0.0
    is_closed: bool = False
    resting: int = 0
    is_short: bool = False


class Standing(Said, frozen=True):
    """How a model's lane stands: requests in flight by the row of their cell, what waits before it and its judge."""

    model: str
    in_flight: dict[int, int]
    own: HeldBack
    judge: HeldBack


class Refused(Said, frozen=True):
    """A model's service wants nothing for so long; of a system of several the ``gate``-th."""

    model: str
    seconds: float
    gate: int = 0


class Tell(Said, frozen=True):
    """Something that the user should hear."""

    text: str


class Learnt(Said, frozen=True):
    """By model: settings that turned out not to be taken, with what happens instead."""

    settings: dict[str, dict[str, str]]


class Stopped(Said, frozen=True):
    """A model was given up here, or its money has come to an end."""

    model: str
    reason: str


class LaneDone(Said, frozen=True):
    """Every item of a model that this worker was given has come to its end, or was left alone for a reason."""

    model: str
    reason: str | None


class Weighed(Said, frozen=True):
    """The last word of a process that has done all it was given: what it took."""

    figures: dict[str, float]


class Broken(Said, frozen=True):
    """What was asked for cannot be done, and why."""

    text: str


# From the run to its scribe, and back


class Open(Said, frozen=True):
    """The store to write to."""

    store: str


class Rows(Said, frozen=True):
    """What is to be written in one transaction; ``keys`` are those that have become known since the last one.

    ``is_new``: no try to write it can have succeeded without anybody hearing of it.
    """

    keys: tuple[str, ...]
    calls: tuple[NewCall, ...]
    scores: tuple[NewScore, ...]
    is_new: bool


class Ready(Said, frozen=True):
    """The store is open."""


class Durable(Said, frozen=True):
    """The rows are written: the ids of the calls."""

    ids: tuple[int, ...]


class HeldUp(Said, frozen=True):
    """It cannot be written at present: ``is_full``, there is no room."""

    text: str
    is_full: bool


ToScribe = Open | Rows | End
FromScribe = Ready | Durable | HeldUp | Broken | Weighed
ToWorker = Begin | Items | Kept | Granted | Room | Ahead | Stop | Held | End
ToRun = (
    Wanted
    | CallRow
    | ScoreRow
    | Draw
    | Books
    | Standing
    | Refused
    | Tell
    | Learnt
    | Stopped
    | LaneDone
    | Weighed
    | Broken
)

M = TypeVar("M")


class Wire(asyncio.Protocol):
    """One end of the wire. What is said within one turn of the event loop goes as one frame.

    Frames are cut where the event loop hands bytes over: a stream between them and who listens took longer than both.
    What has come and is not heard yet is bounded by what the other side may have under way, not here.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._encode = msgspec.msgpack.Encoder().encode
        self._unsent: list[Said] = []
        self._bytes = bytearray()
        self._frames: deque[bytearray] = deque()
        self._listener: asyncio.Future[None] | None = None
        self._is_gone = False
        self._may_write, self._is_closed = asyncio.Event(), asyncio.Event()
        self._may_write.set()

    @classmethod
    async def over(cls, end: socket.socket) -> Wire:
        """The wire, from one end of a pair of sockets."""
        end.setblocking(False)
        _, wire = await asyncio.get_running_loop().create_connection(cls, sock=end)
        return wire

    def say(self, message: Said) -> None:
        """Tell the other side, soon and in order. What it cannot hear any more is dropped."""
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(message)

    async def hear(self, decoder: msgspec.msgpack.Decoder[list[M]]) -> Sequence[M]:
        """The next frame's messages; none where the other side has gone. One listens at a time."""
        while not self._frames:
            if self._is_gone:
                return []
            self._listener = self._loop.create_future()
            await self._listener
        return decoder.decode(self._frames.popleft())

    async def flush(self) -> None:
        """Send what was said; return once hardly any of it waits to be taken, and raise where nobody is there."""
        self._send()
        if self._transport.is_closing():
            await asyncio.sleep(0)  # what was found out in writing is said in the next turn
        await self._may_write.wait()
        if self._is_gone:
            raise ConnectionResetError("the other side is gone")

    async def leave(self) -> None:
        """Return when the other side has been sent everything, and say no more."""
        await self.flush()
        self.close()
        await self._is_closed.wait()

    def close(self) -> None:
        """Say no more, hear no more."""
        self._transport.close()

    def _send(self) -> None:
        messages, self._unsent = self._unsent, []
        if messages and not self._transport.is_closing():
            try:
                frame = self._encode(messages)
            except UnicodeEncodeError:  # half a surrogate pair in an answer: sent as the store would keep it
                frame = self._encode([mended(message) for message in messages])
            self._transport.write(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)

    def _wake(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None and not listener.done():  # who listened may have been called off
            listener.set_result(None)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The wire stands."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Cut out the frames that are complete."""
        self._bytes += data
        while len(self._bytes) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._bytes[:LENGTH_BYTES], "big")
            if len(self._bytes) < end:
                break
            self._frames.append(self._bytes[LENGTH_BYTES:end])
            del self._bytes[:end]
        if self._frames:
            self._wake()

    def eof_received(self) -> None:
        """The other side says no more."""
        self._is_gone = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """The other side is gone, or this one has left."""
        self._is_gone = True
        self._wake()
        self._may_write.set()
        self._is_closed.set()

    def pause_writing(self) -> None:
        """More was said than the other side has taken so far."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._may_write.set()
