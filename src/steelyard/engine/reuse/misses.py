"""Why a run asked what it asked: for each answer that was not used again, the field that stood in the way.

Of all that other runs asked about the same item, the call that differs least is the one to compare with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.engine.reuse.cache import identity, oldest_used_s, why_never
from steelyard.plan.plan import plan_from_document
from steelyard.store import Store
from steelyard.store.rows.answers import Earlier
from steelyard.types import Call, CellInfo, Record, RunInfo

MOST_ITEMS = 200
MOST_EARLIER = 50
LONGEST_VALUE = 60


class Reason(Struct, frozen=True, kw_only=True):
    """Why so many questions were asked; ``field`` where one differs, with what it was in ``run`` and what it is now."""

    text: str
    items: int
    example: str
    field: str | None = None
    before: str | None = None
    now: str | None = None
    run: int | None = None


class Explained(Struct, frozen=True, kw_only=True):
    """One cell: how many answers it used again and how many it asked for, and why; ``looked_at`` of the asked ones."""

    model: str
    benchmark: str
    used_again: int
    asked: int
    looked_at: int
    reasons: tuple[Reason, ...]


def explain(store: Store, run: RunInfo, *, sample_id: str | None = None, model: str | None = None) -> list[Explained]:
    """Each cell of the run, or what it asked about one item."""
    return [_explained(store, run, info, sample_id) for info in store.cells(run.id) if model in (None, info.model)]


def _explained(store: Store, run: RunInfo, info: CellInfo, sample_id: str | None) -> Explained:
    counts: Counter[bool] = Counter()
    reasons: list[Reason] = []
    general = _general(run, info)
    records = store.records(run.id, cell=info.id, sample_id=sample_id, reveal=True)
    for record in records:
        is_reused = record.call.completion is not None and record.call.completion.cached
        counts[is_reused] += 1
        if not is_reused and counts[False] <= MOST_ITEMS:
            reasons += _as_reason(general, record) if general else _reasons(store, run, info, record)
    return Explained(
        model=info.model,
        benchmark=info.label,
        used_again=counts[True],
        asked=counts[False],
        looked_at=min(counts[False], MOST_ITEMS),
        reasons=_summed_up(reasons),
    )


def _general(run: RunInfo, info: CellInfo) -> str | None:
    never = why_never(info)
    if never is None and run.plan.get("fresh"):
        return "the run was told to ask anew (--fresh)"
    return never


def _as_reason(text: str, record: Record) -> list[Reason]:
    return [Reason(text=text, items=1, example=record.sample.id)]


def _reasons(store: Store, run: RunInfo, info: CellInfo, record: Record) -> list[Reason]:
    """Every field in which the nearest earlier question differs, or why even the same one was of no use."""
    asked_s = datetime.fromisoformat(record.call.started_at).timestamp()
    found = store.answers.earlier(record.sample.id, run_id=run.id, before_s=asked_s, most=MOST_EARLIER)
    before = [each for each in found if why_never(each.info) is None]
    if not before:
        return _as_reason("it was not asked before", record)
    now = fields_of(info, record.call)
    nearest = min(before, key=lambda each: _distance(now, each))
    changed = differences(fields_of(nearest.info, nearest.call), now)
    if not changed:
        return _as_reason(_of_no_use(store, run, info, nearest), record)
    return [
        Reason(
            text=f"{field} differs",
            items=1,
            example=record.sample.id,
            field=field,
            before=_shown(field, old, info),
            now=_shown(field, new, info),
            run=nearest.run,
        )
        for field, (old, new) in changed.items()
    ]


def _distance(now: Mapping[str, Any], each: Earlier) -> tuple[int, bool]:
    return len(differences(fields_of(each.info, each.call), now)), each.call.failure is not None


def fields_of(info: CellInfo, call: Call) -> dict[str, Any]:
    """Everything that the key covers, by name."""
    return {**msgspec.to_builtins(identity(info)), **msgspec.to_builtins(call.request)}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields whose values differ, each with both."""
    return {name: (before.get(name), value) for name, value in now.items() if before.get(name) != value}


def _of_no_use(store: Store, run: RunInfo, info: CellInfo, nearest: Earlier) -> str:
    if nearest.call.failure is not None:
        return f"it was asked before, but that failed ({nearest.call.failure.kind})"
    if nearest.started_s <= store.answers.cleared_at_s(nearest.info.model):
        return "the answer was given before the cache was cleared"
    began_s = datetime.fromisoformat(run.created_at).timestamp()
    if nearest.started_s <= (oldest_used_s(plan_from_document(run.plan), began_s) or 0.0):
        return "the answer is older than --cache-max-age"
    return "the answer was not there yet when this run began"


def _shown(field: str, value: Any, info: CellInfo) -> str:
    if field == "prompt":
        return "[not shown: a confidential benchmark]" if info.is_confidential else _shortened(_words(value))
    return _shortened(str(value))


def _words(prompt: Mapping[str, Any]) -> str:
    return str(prompt.get("text") or " | ".join(turn["content"] for turn in prompt.get("messages", ())))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _summed_up(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Equal reasons counted; where prompts or seeds differ from item to item, one example stands for all."""
    groups: dict[tuple[Any, ...], list[Reason]] = {}
    for reason in reasons:
        groups.setdefault((reason.text, reason.run), []).append(reason)
    counted = (msgspec.structs.replace(group[0], items=len(group)) for group in groups.values())
    return tuple(sorted(counted, key=lambda reason: -reason.items))


def explain_lines(found: Sequence[Explained]) -> Iterator[str]:
    """The same as lines of text."""
    for cell in found:
        yield f"{cell.model} on {cell.benchmark}: {cell.used_again:,} used again, {cell.asked:,} asked"
        for reason in islice(cell.reasons, MOST_ITEMS):
            yield f"  {reason.items:,} x {reason.text} (such as {reason.example})"
            if reason.field is not None:
                yield f"      in run #{reason.run}: {reason.before}"
                yield f"      now: {reason.now}"
        if cell.looked_at < cell.asked:
            yield f"  ({cell.looked_at:,} of the {cell.asked:,} asked were looked at)"
