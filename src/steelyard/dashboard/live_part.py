"""What a run's page says while the run goes on: each model's way, what it has spent, what failed, why it waits."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import Struct

from steelyard.dashboard.rendering import ago, lasting
from steelyard.store import Store
from steelyard.store.reading.progress import CellProgress, Progress, Trouble
from steelyard.types import Sign

FULL_BELOW_BYTES = 1_000_000


class Line(Struct, frozen=True, kw_only=True):
    """A line of the table: a cell, or all cells of a model where it has several: then ``cell`` is ``None``, and each of
    them ``is_part``.
    """

    model: str
    label: str
    done: int
    planned: int
    is_floor: bool = False
    is_part: bool = False
    cell: int | None = None
    rate: float | None = None
    remaining_s: float | None = None
    spent_usd: float | None = None
    failed: int = 0
    kinds: str = ""
    in_flight: int = 0
    waits: tuple[str, ...] = ()
    stopped: str | None = None


class FailedLast(Struct, frozen=True, kw_only=True):
    """One of the newest failures: a call, what it failed of, and how long ago that was."""

    call: int
    kind: str
    since: str


def lines(progress: Progress) -> list[Line]:
    """The table, model by model; of a model with several cells first what they come to together."""
    by_model: dict[str, list[CellProgress]] = {}
    for one in progress.cells:
        by_model.setdefault(one.cell.model, []).append(one)
    found: list[Line] = []
    for model, cells in by_model.items():
        if len(cells) > 1:
            found.append(_together(model, cells, progress))
        found += [_line(one, progress, is_alone=len(cells) == 1) for one in cells]
    return found


def _line(one: CellProgress, progress: Progress, *, is_alone: bool) -> Line:
    return Line(
        model=one.cell.model,
        label=one.cell.label,
        is_floor=one.cell.is_floor,
        is_part=not is_alone,
        cell=one.cell.id,
        done=one.done,
        planned=one.planned,
        rate=None if one.is_held_up else one.rate,
        remaining_s=one.remaining_s,
        spent_usd=one.spent_usd,
        failed=one.failed,
        kinds=_kinds([one], progress),
        in_flight=one.sign.in_flight if one.sign else 0,
        waits=tuple(_waits([one], progress.sign)) if is_alone else (),
        stopped=one.sign.stopped if one.sign and is_alone else None,
    )


def _together(model: str, cells: Sequence[CellProgress], progress: Progress) -> Line:
    left = sum(one.planned - one.done for one in cells if not one.is_over)
    rate = None if any(one.is_held_up for one in cells) else progress.rates.get(model)
    known = [one.spent_usd for one in cells if one.spent_usd is not None]
    return Line(
        model=model,
        label=f"all {len(cells)} benchmarks",
        is_floor=all(one.cell.is_floor for one in cells),
        done=sum(one.done for one in cells),
        planned=sum(one.planned for one in cells),
        rate=rate,
        remaining_s=left / rate if rate else None,
        spent_usd=sum(known) if known else None,
        failed=sum(one.failed for one in cells),
        kinds=_kinds(cells, progress),
        in_flight=sum(one.sign.in_flight for one in cells if one.sign),
        waits=tuple(_waits(cells, progress.sign)),
        stopped=next((one.sign.stopped for one in cells if one.sign and one.sign.stopped), None),
    )


def _kinds(cells: Sequence[CellProgress], progress: Progress) -> str:
    """What failed, and how many were tried again: the kinds are those of the newest calls."""
    kinds: Counter[str] = Counter()
    for one in cells:
        kinds.update(one.failures)
    retries = sum(one.sign.retries if one.sign else one.retried for one in cells)
    parts = [f"{n:,} {kind.replace('_', ' ')}" for kind, n in kinds.most_common()]
    if parts and progress.done > progress.looked_at:
        parts[-1] += ", of the newest"
    return "; ".join([*parts, *([f"{retries:,} {'retry' if retries == 1 else 'retries'}"] if retries else [])])


def _waits(cells: Sequence[CellProgress], sign: Sign | None) -> Iterator[str]:
    """Why a model waits, each reason once: its cells go through the same gate. An old sign tells nothing of now."""
    if sign is None or sign.is_silent:
        return
    told = (wait.words(since_s=sign.age_s) for one in cells if one.sign for wait in one.sign.waits)
    yield from dict.fromkeys(told)


def failed_last(troubles: Sequence[Trouble]) -> list[FailedLast]:
    """The newest failures, once of those that would be told alike."""
    found: dict[tuple[str, str], FailedLast] = {}
    for one in troubles:
        kind, since = one.kind.replace("_", " "), ago(one.ended_s)
        found.setdefault((kind, since), FailedLast(call=one.call, kind=kind, since=since))
    return list(found.values())


def silence(store: Store, sign: Sign | None) -> str | None:
    """What to say where the process of a run that goes on has told nothing for a while."""
    if sign is None or not sign.is_silent:
        return None
    since = f"Its process has told nothing for {lasting(sign.age_s)}"
    if store.file is not None and shutil.disk_usage(store.folder).free < FULL_BELOW_BYTES:
        return f"{since}: the disk that the store lies on is full. Free some space; the run waits for it."
    return f"{since}: it is held up or stopped, its machine is gone, or the disk it writes to is full."
