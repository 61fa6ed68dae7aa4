"""Batches: requests handed in together, answered within a day at half the price, and never handed in twice.

What was meant is on disk before anything is sent, and the service's name for the batch is on disk before anybody asks
how far it is. A process that dies in between finds its batch again by its label: where the service lists it, that is
the batch; where it does not, though enough time has passed for it to be listed, none was taken.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from steelyard.errors import ProviderError, StoreError, StoreFull
from steelyard.types import Completion, Failure, Request
from steelyard.types.ready import ready

MOST_UNHEARD = 3
"""How often a batch is handed in without a reply, and without one in the service's list: each may be billed."""

LONGEST_SUBMIT_S = 1200.0
"""How long handing in may take: after that it was either done or given up."""

SETTLED_AFTER_S = 60.0
"""How long after it was handed in a batch may still be missing from a service's list."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FIRST_LOOK_S = 10.0
LONGEST_PAUSE_S = 300.0


class Ticket(Struct, frozen=True, kw_only=True):
    """One batch as it was meant: ``batch`` is the service's name for it, ``None`` until that is known.

    ``is_guessed``: it was found again by its size and its date alone, and only its answers will tell whether it is the
    one. ``not_these`` turned out to be others. ``unheard`` is how often it was handed in and no reply came.
    """

    label: str
    requests: int
    meant_at_s: float
    batch: str | None = None
    is_guessed: bool = False
    not_these: tuple[str, ...] = ()
    unheard: int = 0


class Found(Struct, frozen=True, kw_only=True):
    """A batch that a service lists; not ``is_sure`` where another one of the same size would look alike."""

    batch: str
    is_sure: bool


class Progress(Struct, frozen=True, kw_only=True):
    """How far a batch is; counts that the service does not tell are ``None``.

    ``failure`` is set where the service gave it up as a whole, before it began: nothing of it was answered or billed.
    """

    is_over: bool
    answered: int | None = None
    failed: int | None = None
    failure: Failure | None = None


class Answered(Struct, frozen=True, kw_only=True):
    """How one request of a batch ended; ``index`` is its place among those handed in.

    ``is_unbilled``: the service says that such a failure costs nothing.
    """

    index: int
    completion: Completion | None = None
    failure: Failure | None = None
    is_unbilled: bool = False


class AnothersBatch(ProviderError):
    """The batch that was taken for ours holds requests of another one."""


class Unsettled(ProviderError):
    """Whether the service took an earlier batch cannot be found out: to refuse to say so is not to refuse the batch."""


class NoReply(ProviderError):
    """The service was asked to make the batch, and its reply did not come or tells no name."""


class BatchService(Protocol):
    """A service that takes batches of one model. Every method raises ``ProviderError`` for a fault of the service."""

    @property
    def learnt(self) -> Mapping[str, str]:
        """Each setting that was asked for and is not sent as it was, with what happens instead."""
        ...

    async def submit(self, ticket: Ticket, requests: Sequence[Request]) -> str:
        """Hand in, once; return the service's name for the batch."""
        ...

    async def find(self, ticket: Ticket, taken: Collection[str]) -> Found | None:
        """The batch that was handed in under this ticket, if the service lists one; ``taken`` are known for others."""
        ...

    async def progress(self, batch: str) -> Progress:
        """How far it is."""
        ...

    def answers(self, ticket: Ticket) -> AsyncIterator[Answered]:
        """What came of it, in any order; each request at most once. ``AnothersBatch`` where it is not the ticket's."""
        ...

    def learn(self, failure: Failure, request: Request) -> bool:
        """Take in a setting that the model refuses; whether asking again without it may help."""
        ...


class Journal(Protocol):
    """Where tickets are kept: what ``keep`` returns from is durable, however long it waits for room."""

    def ticket(self, label: str) -> Ticket | None:
        """The ticket of this label as it was kept last."""
        ...

    async def keep(self, ticket: Ticket) -> None:
        """Keep a ticket in place of an earlier one of its label."""
        ...

    def taken(self, but_not: str) -> set[str]:
        """The batches that are known to belong to other labels."""
        ...


async def at_once(write: Callable[[], None]) -> None:
    """Write, and raise where that cannot be done."""
    write()


class FolderJournal:
    """Tickets as files in a folder, readable by the user alone.

    ``patiently`` carries a write out: it may try again what raised ``StoreHeldUp``.
    """

    def __init__(self, folder: Path, patiently: Callable[[Callable[[], None]], Awaitable[None]] = at_once) -> None:
        self._folder, self._patiently = folder, patiently

    def ticket(self, label: str) -> Ticket | None:
        """The ticket of this label as it was kept last."""
        try:
            return msgspec.json.decode(self._path(label).read_bytes(), type=ready(Ticket))
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise StoreError(f"cannot read {self._path(label)}: {error}") from error

    async def keep(self, ticket: Ticket) -> None:
        """Keep a ticket in place of an earlier one of its label."""
        await self._write(self._path(ticket.label), msgspec.json.encode(ticket))

    def taken(self, but_not: str) -> set[str]:
        """The batches that are known to belong to other labels."""
        labels = [path.stem for path in self._folder.glob("*.json") if path.stem != but_not]
        tickets = [ticket for label in labels if (ticket := self.ticket(label)) is not None]
        return {ticket.batch for ticket in tickets if ticket.batch is not None and not ticket.is_guessed}

    async def keep_beside(self, label: str, data: bytes) -> None:
        """Keep what a batch of this label is to hold, as ``LABEL.piece``."""
        await self._write(self._path(label).with_suffix(".piece"), data)

    async def _write(self, path: Path, data: bytes) -> None:
        await self._patiently(functools.partial(self._try_to_write, path, data))

    def _try_to_write(self, path: Path, data: bytes) -> None:
        try:
            self._write_durably(path, data)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise StoreFull(f"the disk with {path} is full") from error
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error

    def _write_durably(self, path: Path, data: bytes) -> None:
        """Written beside, made durable, renamed over, made durable again: no moment has half a file."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except OSError:
            unfinished.unlink()
            raise
        finally:
            os.close(descriptor)
        unfinished.replace(path)
        self._make_the_name_durable()

    def _make_the_name_durable(self) -> None:
        try:
            folder = os.open(self._folder, os.O_RDONLY)
        except PermissionError:  # Windows opens no folder, and keeps a name with its file
            return
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, label: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]+", label):
            raise ValueError(f"not a label: {label!r}")
        return self._folder / f"{label}.json"


def label_of(run: str, origin: str, digests: Sequence[bytes]) -> str:
    """32 hexadecimal digits that are the same for the same requests of the same run to the same service."""
    total = hashlib.sha256(msgspec.json.encode([run, origin]))
    for digest in digests:
        total.update(digest)
    return total.hexdigest()[:32]


async def hand_in(
    service: BatchService,
    journal: Journal,
    label: str,
    requests: Sequence[Request],
    *,
    settled_after_s: float | None = None,
    now_s: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Ticket:
    """The batch of these requests: the one that was handed in before, by this process or one that died, or a new one.

    Where it cannot be known whether the service took an earlier one, it waits until that can be known. A service that
    never replies, and lists nothing, is not asked for ever: it may bill what it does not tell of.
    """
    ticket = journal.ticket(label)
    if ticket is not None and ticket.batch is not None:
        return ticket
    if ticket is not None:
        found = await find_settled(service, journal, ticket, settled_after_s=settled_after_s, now_s=now_s, sleep=sleep)
        if found is not None:
            return found
    unheard = 0 if ticket is None else ticket.unheard
    if unheard >= MOST_UNHEARD:
        told = f"the batch was handed in {unheard} times, no reply came, and the service lists none of them"
        raise Unsettled(Failure(kind="provider", message=told))
    ticket = Ticket(label=label, requests=len(requests), meant_at_s=now_s(), unheard=unheard)
    await journal.keep(ticket)
    try:
        ticket = msgspec.structs.replace(ticket, batch=await service.submit(ticket, requests))
    except NoReply:
        await journal.keep(msgspec.structs.replace(ticket, unheard=unheard + 1))
        raise
    await journal.keep(ticket)
    return ticket


async def find_settled(
    service: BatchService,
    journal: Journal,
    ticket: Ticket,
    *,
    settled_after_s: float | None = None,
    now_s: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Ticket | None:
    """The ticket with the batch that the service has for it; ``None`` where it never took one, which takes a while."""
    settled_after_s = SETTLED_AFTER_S if settled_after_s is None else settled_after_s
    found = await _find(service, journal, ticket)
    may_be_late_s = ticket.meant_at_s + LONGEST_SUBMIT_S + settled_after_s - now_s()
    if found is None and may_be_late_s > 0:
        await sleep(min(may_be_late_s, settled_after_s))  # whoever handed in is dead: nothing comes after now
        found = await _find(service, journal, ticket)
    return found


async def _find(service: BatchService, journal: Journal, ticket: Ticket) -> Ticket | None:
    try:
        found = await service.find(ticket, journal.taken(ticket.label))
    except ProviderError as error:
        raise Unsettled(error.failure) from error
    if found is None:
        return None
    ticket = msgspec.structs.replace(ticket, batch=found.batch, is_guessed=not found.is_sure)
    await journal.keep(ticket)
    return ticket


async def wait_for(
    service: BatchService,
    ticket: Ticket,
    *,
    tell: Callable[[Progress], None] = lambda progress: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Progress:
    """Look at longer and longer intervals until the batch is over."""
    assert ticket.batch is not None
    pause_s = FIRST_LOOK_S
    while not (progress := await service.progress(ticket.batch)).is_over:
        tell(progress)
        await sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)
    return progress


def custom_id(ticket: Ticket, index: int) -> str:
    """What a request is called within its batch: it names the batch too, so that no other one's answer is taken."""
    return f"{ticket.label}-{index}"


def index_of(ticket: Ticket, name: str) -> int | None:
    """The place of a request by what ``custom_id`` called it; ``None`` for one of another batch."""
    label, _, number = name.rpartition("-")
    return int(number) if label == ticket.label and number.isdecimal() and int(number) < ticket.requests else None
