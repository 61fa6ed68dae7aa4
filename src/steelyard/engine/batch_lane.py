"""The way of one model's requests through a batch API: gathered, handed in once, awaited, given back as calls.

Which requests stand in a batch is on disk before it is handed in, under a label that no other batch has. So a run that
goes on finds what it left standing by what it still lacks, however much of a batch's answers was written before.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from steelyard.engine.budget import SPENT, may_be_billed
from steelyard.engine.work import Work
from steelyard.errors import ProviderError, StoreError
from steelyard.providers.batches import Answered, BatchService, FolderJournal, Ticket, hand_in, label_of, wait_for
from steelyard.types import Failure

MOST_REQUESTS = 10_000
MOST_BYTES = 90_000_000
"""A batch's limits, below those of both services (50,000 and 200 MB; 100,000 and 256 MB)."""

MONEY_COMES_WITHIN_S = 1.0
"""How long a batch that has something to hand in waits for money that others may give back."""

NEVER_TAKEN = Failure(kind="rejected", message="the service lists no such batch: it was not taken")
LOOK_AGAIN_S = 30.0
NO_ANSWER = Failure(kind="provider", message="the batch is over and holds no answer to this request")


class Piece(Struct, frozen=True, kw_only=True):
    """One batch's requests, each by its digest and its place in the run, in the order in which they are handed in."""

    label: str
    run: str
    model: str
    keys: tuple[str, ...]


def key_of(work: Work) -> str:
    """What an item is found again by; its digest alone is not enough, for two items may read alike."""
    return f"{work.digest.hex()}-{work.cell.row}-{work.position}-{work.repeat}"


class Standings:
    """The pieces of one model in one run that are not collected yet, as files in a folder."""

    def __init__(self, folder: Path, run: str, model: str) -> None:
        self.journal = FolderJournal(folder)
        self._folder, self._run, self._model = folder, run, model

    def keep(self, works: Sequence[Work]) -> Piece:
        """Make a piece of these requests durable, under a label of its own."""
        digests = [work.digest for work in works]
        label = label_of(self._run, f"{self._model} {uuid.uuid4()}", digests)
        piece = Piece(label=label, run=self._run, model=self._model, keys=tuple(map(key_of, works)))
        self.journal.keep_beside(label, msgspec.json.encode(piece))
        return piece

    def left(self) -> list[Piece]:
        """What an earlier session handed in, or was about to, and did not collect."""
        return [piece for path in sorted(self._folder.glob("*.piece")) if (piece := self._read(path)) is not None]

    def collected(self, piece: Piece) -> None:
        """Every answer of the piece is durable."""
        (self._folder / f"{piece.label}.piece").unlink(missing_ok=True)

    def _read(self, path: Path) -> Piece | None:
        try:
            piece = msgspec.json.decode(path.read_bytes(), type=Piece)
        except msgspec.DecodeError as error:
            raise StoreError(f"cannot read {path}: {error}") from error
        if (piece.run, piece.model) != (self._run, self._model):
            return None
        if self.journal.ticket(piece.label) is None:  # the ticket is kept before anything is sent: nothing was
            path.unlink()
            return None
        return piece


class BatchLane(Struct, frozen=True, kw_only=True):
    """What a lane needs to ask by batches. ``afford`` holds the money, ``answered`` takes what came of a request.

    ``ready`` returns when answers can be kept: a batch is not handed in while the disk is full.
    """

    service: BatchService
    standings: Standings
    ready: Callable[[], Awaitable[None]]
    afford: Callable[[Work], Awaitable[bool]]
    owe: Callable[[Work], None]
    leave: Callable[[Work], None]
    answered: Callable[[Work, Answered], None]
    drain: Callable[[], Awaitable[None]]
    stopped: Callable[[], str | None]
    tell: Callable[[str], None]

    async def serve(self, loaded: asyncio.Queue[Work | None]) -> None:
        """Collect what stands from an earlier session, hand in the rest piece by piece, until nothing is left."""
        left = {key: piece for piece in self.standings.left() for key in piece.keys}
        standing: dict[str, list[Work]] = {}
        works: list[Work] = []
        size = 0
        while (work := await loaded.get()) is not None:
            if (piece := left.get(key_of(work))) is not None:
                self.owe(work)
                standing.setdefault(piece.label, []).append(work)
                if sum(map(len, standing.values())) >= MOST_REQUESTS:
                    await self._collect_standing(left, standing)
                continue
            bytes_asked = len(msgspec.json.encode(work.request))
            if works and (len(works) == MOST_REQUESTS or size + bytes_asked > MOST_BYTES):
                await self._hand_in(works)
                works, size = [], 0
            if works and not await self._has_money_soon(work):
                await self._hand_in(works)
                works, size = [], 0
            if self.stopped() or not (work.bill or await self.afford(work)):
                self.leave(work)
                continue
            works.append(work)
            size += bytes_asked
        await self._collect_standing(left, standing)
        if works:
            await self._hand_in(works)

    async def _has_money_soon(self, work: Work) -> bool:
        """Hold money for one more request; who waits must not wait for what its own batch holds."""
        try:
            async with asyncio.timeout(MONEY_COMES_WITHIN_S):
                await self.afford(work)
        except TimeoutError:
            return False
        return True

    async def _collect_standing(self, left: dict[str, Piece], standing: dict[str, list[Work]]) -> None:
        pieces = {piece.label: piece for piece in left.values()}
        for label, works in standing.items():
            await self._carry_out(pieces[label], works)
        standing.clear()

    async def _hand_in(self, works: Sequence[Work]) -> None:
        await self.ready()
        if self.stopped() not in (None, SPENT):
            for work in works:
                if work.bill is not None:
                    work.bill.unsend()
                self.leave(work)
            return
        await self._carry_out(self.standings.keep(works), works)

    async def _carry_out(self, piece: Piece, works: Sequence[Work]) -> None:
        """Hand in or find again, wait, and give every request its answer or its failure."""
        by_key = {key_of(work): work for work in works}
        started_s = time.time()
        for work in works:
            work.started_at_s = started_s
        try:
            found = await self._answers(piece, works)
        except ProviderError as error:
            for work in works:
                self.answered(work, Answered(index=0, failure=error.failure))
            if not may_be_billed(error.failure):  # elsewhere it may stand at the service, to be found again
                await self._end(piece)
            return
        for index, key in enumerate(piece.keys):
            if key in by_key:
                self.answered(by_key[key], found.get(index, Answered(index=index, failure=NO_ANSWER)))
        await self._end(piece)

    async def _end(self, piece: Piece) -> None:
        await self.drain()
        self.standings.collected(piece)

    async def _answers(self, piece: Piece, works: Sequence[Work]) -> dict[int, Answered]:
        kept = self.standings.journal.ticket(piece.label)
        if kept is not None and kept.batch is None and len(works) < len(piece.keys):
            name = await self.service.find(kept)
            if name is None:
                raise ProviderError(NEVER_TAKEN)
            self.standings.journal.keep(msgspec.structs.replace(kept, batch=name))
        elif kept is None:
            self.tell(f"handing in a batch of {len(piece.keys):,} requests")
        ticket = await hand_in(self.service, self.standings.journal, piece.label, [work.request for work in works])
        while True:
            try:
                return await self._awaited(ticket)
            except ProviderError as error:
                if not error.failure.is_transient:
                    raise
                self.tell(f"batch {ticket.batch}: {error.failure.message}; looking again")
                await asyncio.sleep(LOOK_AGAIN_S)

    async def _awaited(self, ticket: Ticket) -> dict[int, Answered]:
        self.tell(f"waiting for batch {ticket.batch} of {ticket.requests:,} requests; Ctrl-C leaves it standing")
        ended = await wait_for(self.service, ticket)
        if ended.failure is not None:
            return {n: Answered(index=n, failure=ended.failure) for n in range(ticket.requests)}
        return {answered.index: answered async for answered in self.service.answers(ticket)}
