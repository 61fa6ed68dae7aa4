"""One item on its way through a run, and the cell of the store that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from msgspec import Struct

from steelyard.engine.cells import Cell
from steelyard.engine.money.budget import Bill
from steelyard.engine.progress import CellProgress
from steelyard.engine.reuse.cache import Identity
from steelyard.engine.schedule.horizon import Horizon, Place, Stretch
from steelyard.engine.schedule.order import grouped
from steelyard.store.nouns import NewCall, NewScore, NewVerdict, Reusable, reply_to_keep_by
from steelyard.types import Call, Completion, Request, Sample, Score


def _nothing() -> None:
    """Nobody waits for it."""


class Work(Struct, kw_only=True, eq=False):
    """One item on its way: what is to be asked, then the call, then the scores."""

    cell: OpenCell
    position: int
    repeat: int
    sample: Sample
    request: Request
    digest: bytes = b""
    reused: Reusable | None = None
    bill: Bill | None = None
    call: Call | None = None
    call_id: int | None = None
    answered_before: bool = False
    when_durable: Callable[[], None] = _nothing
    started_at_s: float = 0.0
    ended_at_s: float = 0.0
    scores: dict[str, Score] = {}
    verdicts: tuple[NewVerdict, ...] = ()

    @property
    def place(self) -> Place:
        """What its cell's horizon knows it by; one of an earlier session goes by its call."""
        return (self.position, self.repeat) if self.position >= 0 else (-1, self.call_id or 0)

    def new_call(self) -> NewCall:
        """The call as it is to be kept."""
        assert self.call is not None
        return NewCall(
            cell=self.cell.row,
            session=self.cell.session,
            position=self.position,
            sample=self.sample,
            call=self.call,
            started_at_s=self.started_at_s,
            ended_at_s=self.ended_at_s,
            reused_from=self.reused.id if self.reused else None,
            saved_usd=self.reused.cost_usd if self.reused else None,
        )

    def new_score(self) -> NewScore:
        """The scores of the call, which is kept already."""
        assert self.call_id is not None
        completion = self.call.completion if self.call else None
        return self.cell.new_score(self.call_id, completion, self.scores, self.verdicts)


@dataclass(kw_only=True)
class OpenCell:
    """A cell with its row in the store: what is done already, and what was answered but never scored."""

    cell: Cell
    row: int
    session: int
    done: set[tuple[int, int]]
    progress: CellProgress
    identity: Identity
    horizon: Horizon = field(default_factory=Horizon)

    def new_score(
        self,
        call_id: int,
        completion: Completion | None,
        scores: dict[str, Score],
        verdicts: tuple[NewVerdict, ...] = (),
    ) -> NewScore:
        """The scores of a call as they are to be kept."""
        protocol = self.cell.task.protocol
        return NewScore(
            call=call_id,
            grader=protocol.name,
            grader_version=protocol.version,
            scores=scores,
            reply=reply_to_keep_by(completion, scores),
            verdicts=verdicts,
        )

    def remaining(self, stretch: Stretch) -> Iterator[tuple[int, int]]:
        """(position, repeat) of the stretch that are still to be asked: every item once, then again."""
        task, info = self.cell.task, self.cell.info
        shares_prefixes = info.kind == "likelihood" and info.shots > 0
        positions = task.positions[stretch.first : stretch.last]
        if shares_prefixes:
            positions = grouped(positions, task.dataset.samples)
        for repeat in range(info.repeats):
            for position in positions:
                if (position, repeat) not in self.done:
                    yield position, repeat
