"""The Python interface: ``run`` and its parts, each with an async twin.

The synchronous forms also work inside a running event loop (a notebook): they then use a loop on a thread of their
own.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.benchmark import Benchmark, Selection, scores_of
from steelyard.engine.attempts import RetryPolicy, ask
from steelyard.engine.loops import loop_factory
from steelyard.engine.progress import Progress
from steelyard.engine.run import Ended, Given, execute
from steelyard.engine.stage import opened
from steelyard.errors import ProviderError, UnknownName, UsageError
from steelyard.plan.names import confidence_of, parse_benchmark, parse_model
from steelyard.plan.plan import BenchmarkSpec, Order, Plan, distinct_ids
from steelyard.plan.stopping import Stop, cascade_rule, stop_rule
from steelyard.providers import connect
from steelyard.providers.function import Function
from steelyard.report.answers import plain
from steelyard.secrets import scrub
from steelyard.store import Store
from steelyard.types import (
    CellInfo,
    Comparison,
    Completion,
    ConfidenceBy,
    Escalation,
    Estimate,
    Failure,
    Message,
    ModelSpec,
    Prompt,
    Record,
    Request,
    RunInfo,
    Sample,
)

if TYPE_CHECKING:
    from steelyard.analysis.gate import Allowance, Blocking, GateReport, Mode
    from steelyard.grading.stored import Regraded
    from steelyard.report.spending import Spending

T = TypeVar("T")

Model = str | ModelSpec | Callable[..., Any] | Any
BenchmarkLike = str | BenchmarkSpec | Benchmark


def print_message(text: str) -> None:
    """Say something on standard error, without keys and without what a terminal would obey."""
    print(plain(scrub(text)), file=sys.stderr)


class Run:
    """A finished or interrupted run in its store: what was measured, and every answer behind it."""

    def __init__(self, info: RunInfo, location: str) -> None:
        self.info = info
        self._location = location

    @property
    def number(self) -> int:
        """The run's number in its store."""
        return self.info.number

    @property
    def status(self) -> str:
        """``done``, ``interrupted``, ``budget`` (the money ended) or ``failed`` (a model was given up)."""
        return self.info.status

    @property
    def cells(self) -> tuple[CellInfo, ...]:
        """Every model on every benchmark."""
        with Store.open(self._location) as store:
            return tuple(store.cells(self.info.id))

    def estimate(self, metric: str = "accuracy", *, model: str | None = None, benchmark: str | None = None) -> Estimate:
        """One number with its interval. ``model`` and ``benchmark`` may be left out where there is only one.

        Of a run that was cut off, also by a kill, it is of the answers that are durable.
        """
        from steelyard.report.stands import estimates_of

        with Store.open(self._location) as store:
            cells = [
                cell
                for cell in store.cells(self.info.id)
                if model in (None, cell.model) and benchmark in (None, cell.benchmark, cell.label)
            ]
            if not store.cells(self.info.id):
                raise UsageError(f"run #{self.number} has no answers yet. Try: steelyard run --resume {self.number}")
            if len(cells) != 1:
                names = [f"{cell.model} on {cell.label}" for cell in cells]
                raise UsageError(f"name one cell by model= and benchmark=; {len(cells)} fit: {', '.join(names)}")
            estimates = {estimate.metric: estimate for estimate in estimates_of(store, self.info, cells[0])}
        if metric not in estimates:
            raise UnknownName("metric", metric, estimates)
        return estimates[metric]

    @property
    def spending(self) -> Spending:
        """What the run took and what is left: calls, money, money per answer, budgets, what was saved."""
        from steelyard.report.results import load_results
        from steelyard.report.spending import spending

        with Store.open(self._location) as store:
            return spending(store, self.info, load_results(store, self.info).cells)

    def records(self, *, model: str | None = None, wrong_only: bool = False, reveal: bool = False) -> Iterator[Record]:
        """Every answer, streamed: what was asked, what came back, how it scored, what it cost.

        Texts of a confidential benchmark are left out unless ``reveal``.
        """
        with Store.open(self._location) as store:
            yield from store.records(self.info.id, model=model, wrong_only=wrong_only, reveal=reveal)

    def table(self) -> str:
        """The results as plain text, as ``steelyard show`` prints them."""
        from steelyard.report.results import load_results
        from steelyard.report.terminal import results_text

        with Store.open(self._location) as store:
            return results_text(load_results(store, self.info))

    def __repr__(self) -> str:
        return f"<Run #{self.number} {self.info.name!r} {self.status}>"


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """Two models as one system under test: ``dear`` is asked wherever the confidence in ``cheap`` is ``below``.

    Each is a name, a ``ModelSpec``, a callable or a provider object. ``confidence``: ``logprob`` (a callable may state
    the ``confidence`` of the ``Completion`` it returns), ``agreement`` of so many ``samples``, or ``judge``, by the
    model ``judge``. See docs/cascade.md.
    """

    cheap: Model
    dear: Model
    below: float
    confidence: ConfidenceBy = "logprob"
    samples: int | None = None
    judge: Model | None = None


def run(
    models: Sequence[Model],
    benchmarks: Sequence[BenchmarkLike],
    *,
    limit: int | None = None,
    runs: int = 1,
    seed: int = 0,
    order: Order = "shuffled",
    concurrency: int | None = None,
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
    """Ask every model every benchmark's items; keep every answer; return the run.

    ``models``: names (``"local/smollm2-135m"``), ``ModelSpec`` values, Python callables, provider objects, or a
    ``Cascade`` of two of them.
    ``benchmarks``: names (``"gsm8k@lm-eval"``, ``"my_cases.csv"``, ``"support.yaml"``) or ``Benchmark`` values.
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
    return _complete(
        run_async(
            models,
            benchmarks,
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
            stop=stop,
            cascade=cascade,
            success=success,
            name=name,
            tags=tags,
            accept_data=accept_data,
            store=store,
            on_message=on_message,
        )
    )


async def run_async(
    models: Sequence[Model],
    benchmarks: Sequence[BenchmarkLike],
    *,
    limit: int | None = None,
    runs: int = 1,
    seed: int = 0,
    order: Order = "shuffled",
    concurrency: int | None = None,
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
    """The async twin of ``run``."""
    given = Given()
    plan = Plan(
        models=distinct_ids([_model_spec(model, given) for model in models]),
        benchmarks=tuple(_benchmark_spec(benchmark, given) for benchmark in benchmarks),
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


def run_plan(
    plan: Plan,
    store: Store,
    *,
    progress: Progress,
    resume: RunInfo | None = None,
    on_start: Callable[[RunInfo], None] = lambda run: None,
) -> Ended:
    """Carry out a plan that names everything by words; what the command line calls."""
    ended = _complete(execute(plan, store, given=Given(), progress=progress, resume=resume, on_start=on_start))
    if store.found.is_for(ended.run.id):
        progress.tell("all is asked; what so many records show is being tested (Ctrl-C goes without)")
    with suppress(KeyboardInterrupt):
        _keep_findings(store, ended.run)
    return ended


def _keep_findings(store: Store, run: RunInfo) -> None:
    """Of a large run, keep what it shows; without, a look at the run says how to."""
    if store.found.is_for(run.id):
        from steelyard.report.keeping import keep_by_a_process

        keep_by_a_process(store, run)


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
    run = _complete(import_answers(store, file, spec, model, name=name, shots=shots, limit=limit, seed=seed))
    _keep_findings(store, run)
    return run


def rescore_run(
    store: Store, run: RunInfo, protocol: str, *, benchmark: str | None = None, model: str | None = None
) -> list[Regraded]:
    """Grade a run's answers again under another protocol; what the command line calls."""
    from steelyard.grading.stored import rescore

    store.found.forget(run.id)
    regraded = _complete(rescore(store, run, protocol, benchmark=benchmark, model=model))
    _keep_findings(store, run)
    return regraded


def compare(
    run: Run,
    *others: Run | str,
    metric: str = "accuracy",
    benchmark: str | None = None,
    margin: float | None = None,
    across: Sequence[str] = (),
    control_variate: bool = False,
) -> Comparison:
    """A candidate against a baseline on the same items; the difference is candidate - baseline.

    ``compare(run, "a", "b")``: model b against model a, in one run. ``compare(old, new)``: a run against an earlier
    one, model by model; models may be named too. ``metric`` is a score, or one such as ``latency.p95``. ``benchmark``
    may be left out where there is one. ``margin``: what does not matter, as a share; within it is ``equivalent``.
    ``across=["protocol"]`` lets protocols differ. What cannot be paired raises ``UsageError`` with the differing field.
    ``control_variate``: the candidate was asked a random part of the baseline's items, and is estimated on all of them;
    what that saved is the result's ``control_variate``.
    """
    from steelyard.report.comparison import Question, load_comparisons

    runs = [run, *(other for other in others if isinstance(other, Run))]
    question = Question(
        metric=metric,
        models=tuple(other for other in others if isinstance(other, str)),
        benchmark=benchmark,
        margin=margin,
        across=tuple(across),
        control_variate=control_variate,
    )
    if len({one._location for one in runs}) > 1:
        raise UsageError("the runs are in different stores. Try: steelyard export, and import into one of them")
    with Store.open(run._location) as store:
        found = load_comparisons(store, [one.info for one in runs], question).pairs
    if len(found) != 1:
        pairs = (f"{pair.comparison.candidate} on {pair.comparison.benchmark}" for pair in found)
        raise UsageError(f"name one pair by models and benchmark=; {len(found)} fit: {', '.join(pairs)}")
    return found[0].comparison


def set_baseline(name: str, run: Run, *, note: str | None = None) -> str:
    """Bless a run as the next version of a baseline, kept apart from the run; returns ``NAME@VERSION``."""
    from steelyard.store.snapshots import snapshot

    with Store.open(run._location) as store:
        return store.baselines.set(name, snapshot(store, store.run(run.info.id)), note=note).label


def gate(
    run: Run,
    *,
    baseline: str | None = None,
    margins: Mapping[str, float | str] | None = None,
    require: Sequence[str] = (),
    mode: Mode = "regression",
    inconclusive: Blocking | None = None,
    allow: Sequence[Allowance] = (),
    model: str | None = None,
    benchmark: str | None = None,
) -> GateReport:
    """Hold a run against a baseline, or to plain criteria: pass, fail or inconclusive, with a sentence.

    ``margins={"accuracy": 0.02, "latency.p95": "10%"}``: how much worse is borne. ``require=["accuracy >= 0.70"]``,
    beside the ``success`` criteria that the run was made with.
    ``baseline``: a name, ``NAME@VERSION``, or the path of an exported one. ``exit_code`` is what the command line ends
    with: 1 for a fail, 3 for an inconclusive that blocks.
    """
    from steelyard.analysis.gate import Policy
    from steelyard.report.verdict import asked_of
    from steelyard.report.verdict import gate as judge

    asked = asked_of(
        run.info.plan,
        baseline=baseline,
        margins=[f"{metric}={margin}" for metric, margin in (margins or {}).items()],
        requirements=require,
        policy=Policy(mode=mode, inconclusive=inconclusive, allowed=tuple(allow)),
        model=model,
        benchmark=benchmark,
    )
    with Store.open(run._location) as store:
        return judge(store, store.run(run.info.id), asked)


def load_dataset(name: str, *, limit: int | None = None, seed: int = 0) -> list[Sample]:
    """The items of a benchmark in file order; the first ``limit`` of them."""
    spec = parse_benchmark(name)
    benchmark = find_benchmark(spec.name)
    samples = benchmark.dataset(Selection(part=spec.part, seed=seed, limit=limit)).samples
    return list(samples[: len(samples) if limit is None else limit])


def run_model(model: Model, prompt: str | Sequence[Message], **settings: Any) -> Completion:
    """Ask one model one thing and return what came back, with its timing and usage.

    ``settings`` are those of a ``ModelSpec`` (``temperature``, ``max_tokens``, ``system``, ``base_url``, ...).
    Raises ``ProviderError`` where the call failed.
    """
    return _complete(run_model_async(model, prompt, **settings))


async def run_model_async(model: Model, prompt: str | Sequence[Message], **settings: Any) -> Completion:
    """The async twin of ``run_model``."""
    given = Given()
    spec = msgspec.structs.replace(_model_spec(model, given), **settings)
    if spec.cascade is not None:
        raise UsageError(f"{spec.id} is two models, which are asked in a run. Try: steelyard.run")
    provider = given.providers.get(spec.id) or connect(spec)
    turns = (Message(role="user", content=prompt),) if isinstance(prompt, str) else tuple(prompt)
    if spec.system:
        turns = (Message(role="system", content=spec.system), *turns)
    request = Request(
        model=spec.model,
        prompt=Prompt(kind="chat", messages=turns),
        temperature=spec.temperature,
        max_tokens=spec.max_tokens,
        stop=spec.stop,
        reasoning_effort=spec.reasoning_effort,
        extra=spec.extra,
    )
    async with opened([provider]):
        outcome = await ask(
            provider, request, timeout_s=spec.timeout_s, policy=RetryPolicy(), generator=random.Random()
        )
    if outcome.completion is None:
        raise ProviderError(outcome.failure or Failure(kind="provider", message="no answer"))
    return outcome.completion


def calculate_metrics(
    predictions: Sequence[str], truth: Sequence[str], *, grader: str = "exact"
) -> dict[str, Estimate]:
    """Grade answers that are already there: accuracy with its interval, and the share without an answer.

    ``grader`` is one of those of a JSON Lines file: ``exact``, ``contains``, ``number``, ``regex``.
    """
    from steelyard.benchmarks.own import GRADERS
    from steelyard.stats import wilson_interval

    if len(predictions) != len(truth):
        raise UsageError(f"{len(predictions)} predictions for {len(truth)} answers")
    of_texts = [name for name, known in GRADERS.items() if not known.needs_choices and name != "code"]
    if grader not in of_texts:
        raise UnknownName("grader", grader, of_texts)
    protocol = GRADERS[grader]
    judged = [
        scores_of(protocol, protocol.grade(Sample(id=str(i), input="", target=gold), Completion(text=text)))
        for i, (text, gold) in enumerate(zip(predictions, truth, strict=True))
    ]
    shares = {metric: sum(bool(scores[metric].value) for scores in judged) for metric in protocol.metrics} | {
        "unparsed": sum(scores[protocol.metrics[0]].answer is None for scores in judged)
    }
    return {metric: _share(metric, count, len(judged), wilson_interval) for metric, count in shares.items()}


def _share(metric: str, count: int, n: int, interval_of: Callable[..., Any]) -> Estimate:
    if n == 0:
        return Estimate(metric=metric, value=None, n=0, method="wilson", unit="share", status="no items")
    interval = interval_of(successes=count, n=n, confidence=0.95)
    return Estimate(
        metric=metric,
        value=count / n,
        low=interval.low,
        high=interval.high,
        level=0.95,
        n=n,
        method="wilson",
        unit="share",
    )


def _ending(
    stop: Stop | Mapping[str, Any] | None, cascade: Mapping[str, Any] | None, success: Sequence[str]
) -> Stop | None:
    if cascade is not None and stop is not None:
        raise UsageError("a run has either stop= or cascade=")
    if cascade is not None:
        return cascade_rule(cascade, success)
    return stop_rule(stop) if isinstance(stop, Mapping) else stop


def _model_spec(model: Model, given: Given) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    if isinstance(model, Cascade):
        return _together(model, given)
    if isinstance(model, str):
        return parse_model(model)
    provider = model if hasattr(model, "generate") else Function(model) if callable(model) else None
    if provider is None:
        raise UsageError(f"{model!r} is no model: give a name, a ModelSpec, a callable or a provider object")
    name = str(getattr(provider, "name", type(provider).__name__))
    given.providers[name] = provider
    return ModelSpec(id=name, provider="object", model=name)


def _together(cascade: Cascade, given: Given) -> ModelSpec:
    """The two models as one system; objects go by their names, as they do alone."""
    cheap, dear = (_model_spec(model, given) for model in (cascade.cheap, cascade.dear))
    judge = None if cascade.judge is None else _model_spec(cascade.judge, given)
    how = confidence_of(cascade.confidence, samples=cascade.samples, judge=judge)
    cheap = msgspec.structs.replace(cheap, confidence=how)
    names = f"{cheap.id}>{dear.id}"
    escalation = Escalation(cheap=cheap, dear=dear, threshold=cascade.below)
    return ModelSpec(id=f"cascade/{names}", provider="cascade", model=names, cascade=escalation)


def _benchmark_spec(benchmark: BenchmarkLike, given: Given) -> BenchmarkSpec:
    if isinstance(benchmark, BenchmarkSpec):
        return benchmark
    if isinstance(benchmark, str):
        return parse_benchmark(benchmark)
    given.benchmarks[benchmark.name] = benchmark
    return BenchmarkSpec(name=benchmark.name)


def _complete(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end from synchronous code, on a thread of its own where a loop is running already."""
    try:
        asyncio.get_running_loop()
        is_within = True
    except RuntimeError:
        is_within = False
    if not is_within:  # outside the clause above, or whatever fails in the run would seem to follow from it
        return _in_new_loop(work)
    result: list[T] = []
    errors: list[BaseException] = []

    def complete() -> None:
        try:
            result.append(_in_new_loop(work))
        except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
            errors.append(error)

    thread = threading.Thread(target=complete, name="steelyard-run")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]


def _in_new_loop(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work)
