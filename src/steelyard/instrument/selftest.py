"""Calibrates this machine as a measuring instrument: the same path as a run's, against a server that knows the truth.

The mock runs in a process of its own and notes when the request was there and when each chunk went out. A request's
error is what the client measured minus what the server did; how late the server was stands apart. All streams begin
at once and ask again as soon as they have an answer, as a run does.
"""

from __future__ import annotations

import asyncio
import http.client
import math
import random
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import numpy as np
from msgspec import Struct

from steelyard.engine.asking.attempts import Asker, RetryPolicy
from steelyard.engine.provenance import provenance
from steelyard.engine.stage import measuring, opened, watched
from steelyard.engine.weight.calibration import Bias, Calibration, Level, setup
from steelyard.engine.weight.loops import loop_factory, loop_name
from steelyard.engine.weight.resources import Resources, machine_cpu_s
from steelyard.errors import EnvironmentFault, UsageError
from steelyard.instrument.ledger import Served
from steelyard.instrument.process import spawned
from steelyard.instrument.settings import Settings
from steelyard.providers.openai import OpenAI
from steelyard.stats import clustered_quantile_interval, quantile_interval
from steelyard.types import Message, Prompt, Request, Timing
from steelyard.types.ready import ready

STREAMS = (1, 16, 64, 256)
BOUND_MS = 1.0
LEAST_REQUESTS = 40
LEAST_ROUNDS = 8
TIMEOUT_S = 60.0
SERVER = Settings(ttft_ms=50.0, itl_ms=10.0, tokens=32)


class Read(Struct, frozen=True, kw_only=True):
    """One request from both sides."""

    timing: Timing
    served: Served


class Errors(Struct, frozen=True, kw_only=True):
    """What a client's figures are off by, and how late the server was."""

    ttft: Bias
    itl: Bias
    total: Bias
    server_late: Bias


def selftest(
    streams: Sequence[int] = STREAMS,
    *,
    bound_ms: float = BOUND_MS,
    server: Settings | None = None,
    least_requests: int | None = None,
    least_rounds: int | None = None,
    on_level: Callable[[Level], None] = lambda level: None,
) -> Calibration:
    """Measure each number of streams; nothing is kept."""
    if not streams or min(streams) < 1:
        raise UsageError("numbers of streams are whole numbers of at least 1. Try: --streams 1,16,64,256")
    server = server or SERVER
    levels = []
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        for number in sorted(set(streams)):
            rounds = max(least_rounds or LEAST_ROUNDS, math.ceil((least_requests or LEAST_REQUESTS) / number))
            kept = msgspec.structs.replace(server, keep_timings=number * (rounds + 1))
            with spawned(kept) as base_url:
                levels.append(runner.run(_level(base_url, number, rounds, bound_ms)))
            on_level(levels[-1])
        held = runner.run(_setup())
    return Calibration(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        bound_ms=bound_ms,
        clean_streams=clean_streams(levels),
        levels=tuple(levels),
        server={name: getattr(server, name) for name in ("ttft_ms", "itl_ms", "tokens", "tokens_per_chunk")},
        setup=held,
    )


def clean_streams(levels: Sequence[Level]) -> int:
    """The largest number of streams that was clean, as was every smaller one; 0 where the first was not."""
    clean = 0
    for level in sorted(levels, key=lambda level: level.streams):
        if not level.is_clean:
            break
        clean = level.streams
    return clean


class Beside:
    """What other programs take of this machine while a client is held against the mock at ``base_url``."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._began_s = time.monotonic()
        self._before_s = self._other_s()

    def cores(self) -> float:
        """Processor seconds per second since the beginning, of all but this process and the mock."""
        return max(0.0, self._other_s() - self._before_s) / (time.monotonic() - self._began_s)

    def _other_s(self) -> float:
        return machine_cpu_s() - time.process_time() - _cpu_s(self._base_url)


async def _setup() -> dict[str, object]:
    return setup(provenance(loop_name()))


async def _level(base_url: str, streams: int, rounds: int, bound_ms: float) -> Level:
    resources = Resources()
    beside = Beside(base_url)
    timings = await _ask_all(base_url, streams, rounds, resources)
    figures = resources.figures()
    others_cpu = beside.cores()
    errors = errors_of(timings, base_url)
    lag_s = figures.get("loop_lag_p99_s")
    return Level(
        streams=streams,
        ttft=errors.ttft,
        itl=errors.itl,
        total=errors.total,
        server_late=errors.server_late,
        loop_lag_p99_ms=None if lag_s is None else 1000 * lag_s,
        cpu=figures["cpu_s"] / figures["wall_s"],
        others_cpu=others_cpu,
        is_clean=max(abs(errors.ttft.median_ms), abs(errors.itl.median_ms)) < bound_ms,
    )


def errors_of(timings: Mapping[str, Timing], base_url: str) -> Errors:
    """Hold what a client measured, by the label it sent, against what the mock at ``base_url`` noted."""
    served = {reply.label: reply for reply in _served(base_url)}
    reads = [Read(timing=timing, served=served[label]) for label, timing in timings.items()]
    return Errors(ttft=_ttft(reads), itl=_itl(reads), total=_total(reads), server_late=_server_late(reads))


async def _ask_all(base_url: str, streams: int, rounds: int, resources: Resources) -> dict[str, Timing]:
    """The stamps of every request after each stream's first, which pays for the connection."""
    provider = OpenAI(base_url=base_url)
    policy = RetryPolicy(tries=1, refusals=1)
    asker = Asker(
        provider,
        timeout_s=TIMEOUT_S,
        policy=policy,
        generator=random.Random(0),
        throttle=policy.throttle(streams),
    )
    timings: dict[str, Timing] = {}

    async def stream(number: int) -> None:
        for turn in range(rounds + 1):
            label = f"{number}/{turn}"
            outcome = await asker.ask(_request(label))
            if outcome.completion is None or outcome.completion.timing is None:
                raise EnvironmentFault(f"the mock gave no answer: {outcome.failure and outcome.failure.message}")
            if turn:
                timings[label] = outcome.completion.timing

    async with opened([provider]), watched(resources), measuring():
        await asyncio.gather(*(stream(number) for number in range(streams)))
    return timings


def _request(label: str) -> Request:
    turns = (Message(role="user", content=f"Weigh {label}"),)
    return Request(model="mock", prompt=Prompt(kind="chat", messages=turns), extra={"user": label})


def _served(base_url: str) -> list[Served]:
    return msgspec.json.decode(_page(base_url, "/timings"), type=ready(list[Served]))


def _cpu_s(base_url: str) -> float:
    return float(msgspec.json.decode(_page(base_url, "/stats"))["cpu_s"])


def _page(base_url: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(base_url).netloc, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _ttft(reads: Sequence[Read]) -> Bias:
    return _bias([(_since_dispatch(read, read.timing.first_token_ns) - read.served.written_ns[0],) for read in reads])


def _total(reads: Sequence[Read]) -> Bias:
    return _bias([(_since_dispatch(read, read.timing.last_token_ns) - read.served.written_ns[-1],) for read in reads])


def _itl(reads: Sequence[Read]) -> Bias:
    """The error of every gap between two chunks; those of one request resemble each other."""
    errors = []
    for read in reads:
        written = [after - before for before, after in pairwise(read.served.written_ns)]
        if len(written) != len(read.timing.gaps_ns):
            raise EnvironmentFault(f"{len(written)} gaps were written, {len(read.timing.gaps_ns)} were read")
        errors.append(tuple(gap - true for gap, true in zip(read.timing.gaps_ns, written, strict=True)))
    return _bias(errors)


def _server_late(reads: Sequence[Read]) -> Bias:
    return _bias([
        tuple(wrote - due for wrote, due in zip(read.served.written_ns, read.served.due_ns, strict=True))
        for read in reads
    ])  # fmt: skip


def _since_dispatch(read: Read, at_ns: int | None) -> int:
    if at_ns is None:
        raise EnvironmentFault("an answer of the mock came without a token")
    return at_ns - read.timing.dispatched_ns


def _bias(errors_ns: Sequence[tuple[int, ...]]) -> Bias:
    """One entry a request, of one error or several."""
    errors = np.array([error for group in errors_ns for error in group], dtype=float) / 1e6
    owners = np.repeat(np.arange(len(errors_ns)), [len(group) for group in errors_ns])
    if len(errors) == len(errors_ns):
        bounds = quantile_interval(values=errors, p=0.5)
    else:
        bounds = clustered_quantile_interval(values=errors, clusters=owners, p=0.5)
    return Bias(
        median_ms=float(np.median(errors)),
        low_ms=bounds.low,
        high_ms=bounds.high,
        p95_ms=float(np.percentile(np.abs(errors), 95)),
        n=len(errors),
    )
