"""Runs: asked from Python, or carried out for the command line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from steelyard.api.finished import Run
from steelyard.api.given import BenchmarkLike, Model, benchmark_spec, model_spec, several
from steelyard.api.synchronous import complete, synchronous
from steelyard.engine.progress import Progress
from steelyard.engine.run import Ended, Given, execute
from steelyard.errors import UsageError
from steelyard.plan.names import parse_benchmark
from steelyard.plan.plan import Order, Plan, distinct_ids
from steelyard.plan.stopping import Stop, cascade_rule, stop_rule
from steelyard.report.answers import plain
from steelyard.secrets import scrub
from steelyard.store import Store
from steelyard.types import ModelSpec, RunInfo

if TYPE_CHECKING:
    from steelyard.grading.stored import Regraded


def print_message(text: str) -> None:
    """Say something on standard error, without keys and without what a terminal would obey."""
    print(plain(scrub(text)), file=sys.stderr)


async def run_async(
    models: Model | Sequence[Model],
    benchmarks: BenchmarkLike | Sequence[BenchmarkLike],
    *,
    limit: int | None = None,
    runs: int = 1,
    seed: int = 0,
    order: Order = "shuffled",
    concurrency: int | None = None,
    max_tokens: int | None = None,
    workers: int | None = None,
    judge_repeats: int | None = None,
    budget_usd: float | None = None,
    fresh: bool = False,
    cache_max_age_s: float | None = None,
    stop: Stop | Mapping[str, Any] | None = None,
    cascade: Mapping[str, Any] | None = None,
    success: Sequence[str] = (),
    name: str | None = None,
    tags: Sequence[str] = (),
    accept_data: Sequence[str] = (),
    store: str | Path | None = None,
    on_message: Callable[[str], None] = print_message,
) -> Run:
    """Ask every model every benchmark's items; keep every answer; return the run. One alone needs no list.

    ``models``: names (``"local/smollm2-135m"``), ``ModelSpec`` values, Python callables, provider objects, or a
    ``Cascade`` of two of them.
    ``benchmarks``: names (``"gsm8k@lm-eval"``, ``"my_cases.csv"``, ``"support.yaml"``) or ``Benchmark`` values.
    ``max_tokens``: the longest answer of every model that has no limit of its own.
    ``workers``: processes that share the items; models and benchmarks given as objects stay in this one.
    ``judge_repeats``: how often a judge is asked about each answer, in place of its own setting.
    ``budget_usd``: end before more is spent; the status is then ``budget``, and what was answered is a valid sample.
    What an earlier run in the store was answered is not asked again, unless ``fresh``, or if that was longer than
    ``cache_max_age_s`` ago.
    ``stop``: end early by a rule: ``{"half_width": 0.03}``, ``{"compare": True}``, ``{"anytime": True}`` or
    ``{"variance": 0.0004}``; see docs/stopping.md.
    ``cascade``: one model after another, cheapest first: ``{"drop_when": "worse_by 0.05", "skip_when": "success"}``,
    where ``success`` are criteria such as ``"accuracy >= 0.70"``, to which ``gate`` holds the run too.
    ``store``: a file, or the URL of a PostgreSQL database; default ``STEELYARD_STORE`` or ``.steelyard/steelyard.db``.
    """
    _check_counts(limit=limit, runs=runs, concurrency=concurrency, max_tokens=max_tokens, workers=workers,
                  judge_repeats=judge_repeats)  # fmt: skip
    given = Given()
    plan = Plan(
        models=distinct_ids([_limited(model_spec(model, given), max_tokens) for model in several(models)]),
        benchmarks=tuple(benchmark_spec(benchmark, given) for benchmark in several(benchmarks)),
        limit=limit,
        runs=runs,
        seed=seed,
        order=order,
        concurrency=concurrency,
        workers=workers,
        judge_repeats=judge_repeats,
        budget_usd=budget_usd,
        fresh=fresh,
        cache_max_age_s=cache_max_age_s,
        stop=_ending(stop, cascade, success),
        success=tuple(success),
        name=name,
        tags=tuple(tags),
        accept_data=tuple(accept_data),
    )
    with Store.open(store) as opened:
        ended = await execute(plan, opened, given=given, progress=Progress(say=on_message))
        await asyncio.to_thread(_keep_findings, opened, ended.run)
        return Run(ended.run, opened.address)


run = synchronous("run", run_async)


def _check_counts(**counts: int | None) -> None:
    """Refuse what the command line and a plan file refuse: a limit of tokens below 0 would hold less than no money."""
    for name, count in counts.items():
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise UsageError(f"{name}={count!r} is not a whole number of at least 1")


def _limited(spec: ModelSpec, max_tokens: int | None) -> ModelSpec:
    return spec if spec.max_tokens is not None else msgspec.structs.replace(spec, max_tokens=max_tokens)


def _ending(
    stop: Stop | Mapping[str, Any] | None, cascade: Mapping[str, Any] | None, success: Sequence[str]
) -> Stop | None:
    if cascade is not None and stop is not None:
        raise UsageError("a run has either stop= or cascade=")
    if cascade is not None:
        return cascade_rule(cascade, success)
    return stop_rule(stop) if isinstance(stop, Mapping) else stop


def run_plan(
    plan: Plan,
    store: Store,
    *,
    progress: Progress,
    resume: RunInfo | None = None,
    on_start: Callable[[RunInfo], None] = lambda run: None,
) -> Ended:
    """Carry out a plan that names everything by words; what the command line calls."""
    ended = complete(execute(plan, store, given=Given(), progress=progress, resume=resume, on_start=on_start))
    if store.found.is_for(ended.run.id):
        progress.tell("all is asked; what so many records show is being tested (Ctrl-C goes without)")
    with suppress(KeyboardInterrupt):
        _keep_findings(store, ended.run)
    return ended


def import_file(
    store: Store,
    file: Path,
    benchmark: str,
    model: str,
    *,
    name: str | None = None,
    shots: int | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> RunInfo:
    """Grade answers made elsewhere and keep them as a run; what the command line calls."""
    from steelyard.grading.imported import import_answers

    spec = parse_benchmark(benchmark)
    run = complete(import_answers(store, file, spec, model, name=name, shots=shots, limit=limit, seed=seed))
    _keep_findings(store, run)
    return run


def rescore_run(
    store: Store, run: RunInfo, protocol: str, *, benchmark: str | None = None, model: str | None = None
) -> list[Regraded]:
    """Grade a run's answers again under another protocol; what the command line calls."""
    from steelyard.grading.stored import rescore

    store.found.forget(run.id)
    regraded = complete(rescore(store, run, protocol, benchmark=benchmark, model=model))
    _keep_findings(store, run)
    return regraded


def _keep_findings(store: Store, run: RunInfo) -> None:
    """Of a large run, keep what it shows; without, a look at the run says how to."""
    if store.found.is_for(run.id):
        from steelyard.report.keeping import keep_by_a_process

        keep_by_a_process(store, run)
