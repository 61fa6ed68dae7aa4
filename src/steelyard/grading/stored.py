"""Grade what is in the store: answers without a judgement yet, or all of them again by another protocol.

No model is called: the questions and answers come from the store, and only scores are added.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import msgspec
import numpy as np
from msgspec import Struct

from steelyard.analysis.estimates import Context
from steelyard.analysis.summary import summarise
from steelyard.benchmarks import DESCRIPTION_SUFFIXES, benchmark_names, find_benchmark
from steelyard.benchmarks.benchmark import Protocol
from steelyard.benchmarks.own import GRADERS
from steelyard.engine.judging.grade import grade
from steelyard.engine.judging.judges import Seat, Seats
from steelyard.engine.judging.verdicts import Verdicts
from steelyard.engine.money.budget import Till, costs_nothing
from steelyard.engine.money.purse import Purse, check_store_budget
from steelyard.engine.stage import opened
from steelyard.errors import SteelyardError, UnknownName, UsageError
from steelyard.store import NewScore, Store
from steelyard.store.nouns import NewVerdict, reply_to_keep_by
from steelyard.types import Call, CellInfo, RunInfo, Sample, Score

AT_ONCE = 256
IN_FLIGHT = 32


class Regraded(Struct, frozen=True, kw_only=True):
    """One cell before and after: means of the headline score, and how many verdicts changed which way."""

    model: str
    benchmark: str
    graded_as: str
    n: int
    before: float | None
    after: float | None
    became_right: int
    became_wrong: int


async def grade_missing(store: Store, cell: int, protocol: Protocol) -> int:
    """Judge every answer of the cell that this protocol has not judged; return how many there were."""
    seat = Seats().of(protocol)
    if seat is not None:
        seat.memory = Verdicts(store)
    async with opened([seat.provider] if seat else []):
        with _paid_for(store, seat):
            return await _grade_missing(store, cell, protocol, seat)


@contextmanager
def _paid_for(store: Store, seat: Seat | None) -> Iterator[None]:
    """Let a judge spend what the store's budget allows, where there is one."""
    if seat is None or costs_nothing(seat.spec) or store.budget.account() is None:
        yield
        return
    check_store_budget([seat.spec], lambda text: None)
    purse = Purse(store)
    seat.till = Till(purse.ledger, seat.spec)
    try:
        yield
    finally:
        purse.close()


async def _grade_missing(store: Store, cell: int, protocol: Protocol, seat: Seat | None) -> int:
    total = 0
    answers = store.unscored(cell, protocol.name, protocol.version)
    while batch := list(islice(answers, AT_ONCE)):
        judged = await _grade_all(protocol, batch, seat)
        store.append_scores(
            [
                NewScore(
                    call=call_id,
                    grader=protocol.name,
                    grader_version=protocol.version,
                    scores=scores,
                    verdicts=tuple(replies),
                    reply=reply_to_keep_by(call.completion, scores),
                )
                for (call_id, _, call), (scores, replies) in zip(batch, judged, strict=True)
            ]
        )
        total += len(batch)
    return total


async def _grade_all(
    protocol: Protocol, batch: Sequence[tuple[int, Sample, Call]], seat: Seat | None
) -> list[tuple[dict[str, Score], list[NewVerdict]]]:
    free = asyncio.Semaphore(IN_FLIGHT)

    async def one(sample: Sample, call: Call) -> tuple[dict[str, Score], list[NewVerdict]]:
        assert call.completion is not None
        async with free:
            hearing = seat.hearing(sample.id, call.repeat) if seat is not None else None
            scores = await grade(protocol, sample, call.completion, hearing)
            return scores, hearing.replies if hearing is not None else []

    return await asyncio.gather(*(one(sample, call) for _, sample, call in batch))


async def rescore(
    store: Store, run: RunInfo, protocol_name: str, *, benchmark: str | None = None, model: str | None = None
) -> list[Regraded]:
    """Grade a run's answers again under another protocol; the scores it had stay beside the new ones."""
    chosen = list(_chosen(store.cells(run.id), protocol_name, benchmark, model))
    if not chosen:
        raise UsageError(f"run #{run.number} has no answers that {protocol_name!r} could grade")
    for _, protocol in chosen:
        protocol.ready()
    return [await _regrade(store, info, protocol) for info, protocol in chosen]


def _chosen(
    cells: Sequence[CellInfo], protocol_name: str, benchmark: str | None, model: str | None
) -> Iterator[tuple[CellInfo, Protocol]]:
    faults: list[SteelyardError] = []
    found = False
    for info in cells:
        if benchmark not in (None, info.benchmark, info.label) or model not in (None, info.model):
            continue
        try:
            protocol = _protocol(info, protocol_name)
        except SteelyardError as fault:
            faults.append(fault)
            continue
        found = True
        yield info, protocol
    if faults and not found:
        raise faults[0]


def _protocol(info: CellInfo, name: str) -> Protocol:
    """The protocol that is to grade the cell's answers, if it can read them; a description's where a file is named."""
    if name.endswith(DESCRIPTION_SUFFIXES):
        benchmark = find_benchmark(name)
        if benchmark.name != info.benchmark:
            raise UsageError(f"{name} describes {benchmark.name!r}, and these are answers to {info.benchmark!r}")
        protocol = benchmark.protocol(None)
    elif info.benchmark in benchmark_names():
        protocol = find_benchmark(info.benchmark).protocol(name, info.part)
    elif name in GRADERS:
        protocol = GRADERS[name]
    else:
        raise UnknownName("grader", name, GRADERS)
    if (protocol.kind == "likelihood") != (info.kind == "likelihood"):
        raise UsageError(f"{info.label}: {name!r} reads {protocol.kind} answers, and these are {info.kind} ones")
    return protocol


async def _regrade(store: Store, info: CellInfo, protocol: Protocol) -> Regraded:
    assert info.id is not None
    await grade_missing(store, info.id, protocol)
    graded = msgspec.structs.replace(
        info,
        asked_as=info.protocol,
        protocol=protocol.name,
        protocol_version=protocol.version,
        scored=protocol.metrics,
        aggregate=protocol.aggregate,
        settings=info.settings | {"protocol": protocol.settings()},
    )
    before = store.columns(info.id)
    after = store.columns(info.id, grader=protocol.name, grader_version=protocol.version)
    store.set_grading(graded, summarise(after, Context(info=graded)))
    old, new = before.scores[info.scored[0]], after.scores[protocol.metrics[0]]
    both = ~np.isnan(old) & ~np.isnan(new)
    return Regraded(
        model=info.model,
        benchmark=info.label,
        graded_as=protocol.name,
        n=int(both.sum()),
        before=float(old[both].mean()) if both.any() else None,
        after=float(new[both].mean()) if both.any() else None,
        became_right=int((new[both] > old[both]).sum()),
        became_wrong=int((new[both] < old[both]).sum()),
    )
