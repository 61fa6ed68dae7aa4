"""What stands at a batch service and is not collected yet, as files beside the store.

Which requests stand in a batch is on disk before it is handed in, under a label that no other batch has. So a run that
goes on finds what it left standing by what it still lacks, however much of a batch's answers was written before.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from steelyard.engine.work import Work
from steelyard.engine.writer import patiently
from steelyard.errors import StoreError
from steelyard.providers.batches import FolderJournal, label_of
from steelyard.types.ready import ready


class Piece(Struct, frozen=True, kw_only=True):
    """One batch's requests, each by its digest and its place in the run, in the order in which they are handed in.

    ``share`` is that of the store's budget by which they are paid, where there is one. Those of ``doubted`` were
    written down as failed when the session ended without their answers, and count as in doubt until these come.
    """

    label: str
    run: str
    model: str
    keys: tuple[str, ...]
    share: int | None = None
    doubted: tuple[str, ...] = ()


def key_of(work: Work) -> str:
    """What an item is found again by; its digest alone is not enough, for two items may read alike."""
    return f"{work.digest.hex()}-{work.cell.row}-{work.position}-{work.repeat}"


class Standings:
    """The pieces of one model in one run that are not collected yet, as files in a folder.

    What is to be kept waits for room on a full disk, and ``tell`` says so.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        model: str,
        *,
        share: int | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.journal = FolderJournal(folder, functools.partial(patiently, tell=tell))
        self._folder, self._run, self._model, self._share = folder, run, model, share

    async def keep(self, works: Sequence[Work], doubted: Collection[str] = ()) -> Piece:
        """Make a piece of these requests durable, under a label of its own; those of ``doubted`` stay in doubt."""
        digests = [work.digest for work in works]
        label = label_of(self._run, f"{self._model} {uuid.uuid4()}", digests)
        keys = tuple(map(key_of, works))
        piece = Piece(
            label=label,
            run=self._run,
            model=self._model,
            keys=keys,
            share=self._share,
            doubted=tuple(key for key in keys if key in doubted),
        )
        await self._write(piece)
        return piece

    async def doubt(self, piece: Piece, keys: Collection[str]) -> None:
        """These of what stays at the service were written down as failed, with what they may cost, and no others."""
        if set(keys) != set(piece.doubted):
            await self._write(msgspec.structs.replace(piece, doubted=tuple(sorted(keys))))

    def left(self) -> list[Piece]:
        """What an earlier session handed in, or was about to, and did not collect: the latest last."""
        found = [piece for path in self._folder.glob("*.piece") if (piece := self._read(path)) is not None]
        return sorted(found, key=self._meant_at_s)

    def collected(self, piece: Piece) -> None:
        """Every answer of the piece is durable, or another piece asks for it."""
        self.path(piece).unlink(missing_ok=True)

    def path(self, piece: Piece) -> Path:
        """Where the piece is kept."""
        return self._folder / f"{piece.label}.piece"

    async def _write(self, piece: Piece) -> None:
        await self.journal.keep_beside(piece.label, msgspec.json.encode(piece))

    def _meant_at_s(self, piece: Piece) -> float:
        ticket = self.journal.ticket(piece.label)
        return 0.0 if ticket is None else ticket.meant_at_s

    def _read(self, path: Path) -> Piece | None:
        try:
            piece = msgspec.json.decode(path.read_bytes(), type=ready(Piece))
        except msgspec.DecodeError as error:
            raise StoreError(f"cannot read {path}: {error}") from error
        if (piece.run, piece.model) != (self._run, self._model):
            return None
        if self.journal.ticket(piece.label) is None:  # the ticket is kept before anything is sent: nothing was
            path.unlink()
            return None
        return piece
