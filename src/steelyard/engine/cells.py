"""From a plan to cells: each model on each benchmark, with its items drawn, its provider connected, its doubts raised.

Everything that can be wrong is found here, for all models and benchmarks at once, before anything is sent.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from steelyard import prices
from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, Selection
from steelyard.benchmarks.floors import Floor
from steelyard.benchmarks.judged import under
from steelyard.engine.judging.judges import Seat, Seats
from steelyard.engine.schedule.order import draw_positions
from steelyard.engine.weight.served import check_server
from steelyard.errors import SteelyardError, UsageError
from steelyard.plan.names import BASELINE
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.providers import connect
from steelyard.providers.cascade import connected, members_of
from steelyard.providers.interface import LikelihoodProvider, Provider, origin_of
from steelyard.types import CellInfo, Message, ModelSpec, Prompt, Request, Sample

PROMPTS_DIGESTED = 32
MOST_COUNTED = 50_000


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark made ready: its items, the order in which they are asked, the protocol and the shots."""

    benchmark: Benchmark
    spec: BenchmarkSpec
    protocol: Protocol
    dataset: Dataset
    positions: Sequence[int]
    shots: int

    def prompt(self, position: int, sample: Sample | None = None) -> Prompt:
        """What the item at ``position`` looks like when it is asked; ``sample`` is that item, where it is at hand."""
        exemplars = worked_examples(self.protocol, self.dataset, position, self.shots)
        return self.protocol.prompt(sample or self.dataset.samples[position], exemplars)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model on one task. Either ``provider`` answers, or ``floor`` does; ``judge`` judges where a model judges."""

    info: CellInfo
    spec: ModelSpec
    task: Task
    provider: Provider | None
    floor: Floor | None
    judge: Seat | None = None

    def request(self, position: int, sample: Sample, repeat: int, seed: int) -> Request:
        """The request for one item: the protocol's settings, under the model's own where it has them."""
        protocol, spec = self.task.protocol, self.spec
        temperature = spec.temperature if spec.temperature is not None else protocol.temperature
        return Request(
            model=spec.model,
            prompt=with_system(self.task.prompt(position, sample), spec.system),
            temperature=temperature,
            max_tokens=spec.max_tokens or protocol.max_tokens,
            stop=spec.stop or protocol.stop,
            seed=_seed(seed, sample.id, repeat) if temperature else None,
            reasoning_effort=spec.reasoning_effort,
            repeat=repeat,
            extra=spec.extra,
        )


def prepare_tasks(plan: Plan, given: Mapping[str, Benchmark]) -> list[Task]:
    """Load every benchmark of the plan and draw its items. ``given`` holds benchmarks passed as objects."""
    tasks = [prepare_task(spec, plan, given.get(spec.name)) for spec in plan.benchmarks]
    if plan.judge_repeats is not None and all(task.protocol.judge is None for task in tasks):
        raise UsageError("judge_repeats is for a judge, and none of the benchmarks is graded by one")
    return tasks


def prepare_task(spec: BenchmarkSpec, plan: Plan, given: Benchmark | None = None) -> Task:
    """Load one benchmark and draw its items by the plan's limit, order and seed."""
    benchmark = given or find_benchmark(spec.name, spec.grader)
    protocol = benchmark.protocol(spec.protocol, spec.part)
    if protocol.judge is not None and plan.judge_repeats is not None:
        protocol = under(protocol, msgspec.structs.replace(protocol.judge, repeats=plan.judge_repeats))
    dataset = _load(benchmark, spec, plan)
    if protocol.needs_choices and not dataset.samples[0].choices:
        raise UsageError(f"{spec.label}: protocol {protocol.name!r} needs choices, which these items do not have")
    shots = protocol.shots if spec.shots is None else spec.shots
    _check_shots(spec, protocol, dataset, shots)
    positions = draw_positions(
        dataset.samples,
        limit=plan.limit,
        seed=plan.seed,
        shuffled=plan.order == "shuffled",
        strata=benchmark.stratified and spec.part is None,
    )
    return Task(benchmark=benchmark, spec=spec, protocol=protocol, dataset=dataset, positions=positions, shots=shots)


def drawn_by_seed(task: Task, limit: int, seed: int) -> list[int]:
    """The positions that a run with this limit and seed would ask."""
    is_stratified = task.benchmark.stratified and task.spec.part is None
    return draw_positions(task.dataset.samples, limit=limit, seed=seed, shuffled=True, strata=is_stratified)


def worked_examples(protocol: Protocol, dataset: Dataset, position: int, shots: int) -> tuple[Sample, ...]:
    """The examples before the item at ``position``: the protocol's own, else those that the dataset draws."""
    if protocol.exemplars:
        return protocol.exemplars[:shots]
    return dataset.exemplars(position, shots) if shots and dataset.exemplars else ()


def _check_shots(spec: BenchmarkSpec, protocol: Protocol, dataset: Dataset, shots: int) -> None:
    available = len(worked_examples(protocol, dataset, 0, shots))
    if available < shots:
        raise UsageError(f"{spec.label}: {shots} shots asked for, but there are {available or 'no'} worked examples")


def _load(benchmark: Benchmark, spec: BenchmarkSpec, plan: Plan) -> Dataset:
    accepted: list[str | None] = [*plan.accept_data] or [None]
    for last, digest in enumerate(accepted, 1):
        selection = Selection(part=spec.part, seed=plan.seed, limit=plan.limit, accept_digest=digest)
        try:
            return benchmark.dataset(selection)
        except SteelyardError:
            if last == len(accepted):
                raise
    raise AssertionError("unreachable")


def prepare_cells(plan: Plan, tasks: Sequence[Task], given: Mapping[str, Provider]) -> list[Cell]:
    """Every model on every task; all faults are told together. ``given`` holds providers passed as objects."""
    faults: list[SteelyardError] = []
    cells: list[Cell] = []
    seats = Seats()
    for task in tasks:
        task.protocol.ready()
        seats.of(task.protocol)
    for spec in plan.models:
        try:
            cells.extend(_cells_of(spec, plan, tasks, given, seats))
        except SteelyardError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise UsageError("\n".join(str(fault) for fault in faults))
    return cells


def _cells_of(
    spec: ModelSpec, plan: Plan, tasks: Sequence[Task], given: Mapping[str, Provider], seats: Seats
) -> Iterator[Cell]:
    if spec.provider == BASELINE:
        check_server(spec, None)
        for task in tasks:
            floor = Floor(spec.model, task.protocol, task.dataset.samples, plan.seed)
            info = cell_info(spec, plan, task, f"floor:{spec.model}", is_floor=True)
            judge = seats.of(task.protocol)
            yield Cell(info=_judged_by(judge, info), spec=spec, task=task, provider=None, floor=floor, judge=judge)
        return
    provider = connected(spec, lambda asked: given.get(asked.id) or connect(asked))
    for member in members_of(spec, provider):
        check_server(member.spec, member.provider)
    for task in tasks:
        if task.protocol.kind == "likelihood" and not isinstance(provider, LikelihoodProvider):
            raise UsageError(
                f"{spec.id} gives no log-likelihoods, which {_label(task)} needs. "
                f"Try: a protocol that generates, such as {_generating(task)}"
            )
        if spec.confidence is not None or spec.cascade is not None:
            check_sure(spec, task)
        info = cell_info(_versioned(spec, provider), plan, task, _origin(spec, provider, task.protocol), is_floor=False)
        info = _timed_by(provider, info)
        judge = seats.of(task.protocol)
        yield Cell(info=_judged_by(judge, info), spec=spec, task=task, provider=provider, floor=None, judge=judge)


def _versioned(spec: ModelSpec, provider: Provider) -> ModelSpec:
    """The model with the version that an object of the user's states for what it does."""
    version = getattr(provider, "version", None)
    return spec if version is None else msgspec.structs.replace(spec, version=str(version))


def _origin(spec: ModelSpec, provider: Provider, protocol: Protocol) -> str:
    """Who answers, and how it is found how sure that is: of a model asked otherwise nothing is used again.

    Which of several answers most of them agree with depends on how the protocol reads them, so it is named there.
    """
    how = spec.confidence or (spec.cascade.cheap.confidence if spec.cascade else None)
    if how is None:
        return origin_of(provider)
    below = f" below {spec.cascade.threshold:g}" if spec.cascade and spec.cascade.threshold else ""
    samples = ""
    if how.by == "agreement":
        samples = f" of {how.samples} at {how.temperature:g} as {protocol.name}/{protocol.version} reads them"
    return f"{origin_of(provider)}, {how.by}{samples}{below}"


def check_sure(spec: ModelSpec, task: Task) -> None:
    """Raise where no confidence can be had in answers to this task."""
    how = spec.confidence or (spec.cascade.cheap.confidence if spec.cascade else None)
    if task.protocol.kind == "likelihood":
        raise UsageError(f"{spec.id}: {_label(task)} weighs likelihoods, and gives no answer to be sure of")
    if how is not None and how.by == "agreement" and task.protocol.deliberate is not None:
        raise UsageError(
            f"{spec.id}: {_label(task)} has no short answers that several could agree on. Try: --confidence logprob"
        )


def _timed_by(provider: Provider, info: CellInfo) -> CellInfo:
    """The cell with the word for its times, where they are not the model's alone."""
    timing = getattr(provider, "timing", None)
    return info if timing is None else msgspec.structs.replace(info, settings=info.settings | {"timing": timing})


def _judged_by(judge: Seat | None, info: CellInfo) -> CellInfo:
    """The cell with who answers for its judge, down to the weights or the address."""
    if judge is None:
        return info
    return msgspec.structs.replace(info, settings=info.settings | {"judge_origin": judge.provider.origin})


def _label(task: Task) -> str:
    return f"{task.benchmark.name}@{task.protocol.name}"


def _generating(task: Task) -> str:
    names = [protocol.name for protocol in task.benchmark.protocols if protocol.kind != "likelihood"]
    return f"{task.benchmark.name}@{names[0]}" if names else "another benchmark"


def cell_info(spec: ModelSpec, plan: Plan, task: Task, origin: str, *, is_floor: bool) -> CellInfo:
    """What is stored of a cell: what was asked of whom, under which protocol, from which data."""
    protocol, dataset = task.protocol, task.dataset
    return CellInfo(
        model=spec.id,
        benchmark=task.benchmark.name,
        part=task.spec.part,
        protocol=protocol.name,
        protocol_version=protocol.version,
        benchmark_version=task.benchmark.version,
        kind=protocol.kind,
        dataset=dataset.id,
        revision=dataset.revision,
        dataset_digest=dataset.digest,
        prompt_digest=prompt_digest(task),
        origin=origin,
        items=len(task.positions),
        available=len(dataset.samples),
        repeats=plan.runs,
        order=plan.order,
        shots=task.shots,
        is_floor=is_floor,
        scored=protocol.metrics,
        aggregate=protocol.aggregate,
        groups=task.benchmark.groups,
        families=task.benchmark.families,
        stratum_sizes=_stratum_sizes(task),
        is_confidential=task.benchmark.confidential,
        settings=_settings(spec, protocol, origin),
    )


def _stratum_sizes(task: Task) -> dict[str, int]:
    """How many items each stratum has; not counted where all are asked, or so many that reading them takes time."""
    available = len(task.dataset.samples)
    is_whole = len(task.positions) == available and not task.benchmark.stratified
    if is_whole or task.benchmark.is_endless(task.spec.part) or available > MOST_COUNTED:
        return {}
    sizes = Counter(sample.stratum for sample in task.dataset.samples if sample.stratum is not None)
    return dict(sizes) if len(sizes) > 1 else {}


def _settings(spec: ModelSpec, protocol: Protocol, origin: str) -> dict[str, Any]:
    own = {key: value for key, value in msgspec.to_builtins(spec).items() if value not in (None, {}, [])}
    own.pop("server_pid", None)  # the same answers come from another process
    return {"protocol": protocol.settings(), "model": own, "price": prices.price_source(spec)}


def prompt_digest(task: Task) -> str:
    """sha256 over the protocol's settings and the prompts of the first items in file order.

    Two cells with one digest put the same words to the model.
    """
    total = hashlib.sha256(msgspec.json.encode([task.protocol.name, task.protocol.version, task.protocol.settings()]))
    for position in range(min(PROMPTS_DIGESTED, len(task.dataset.samples))):
        total.update(msgspec.json.encode(task.prompt(position)))
    return total.hexdigest()


def with_system(prompt: Prompt, system: str | None) -> Prompt:
    """The prompt under another system message; a text has none."""
    if system is None or prompt.kind != "chat":
        return prompt
    rest = itertools.dropwhile(lambda turn: turn.role == "system", prompt.messages)
    return msgspec.structs.replace(prompt, messages=(Message(role="system", content=system), *rest))


def _seed(seed: int, sample_id: str, repeat: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{sample_id}/{repeat}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
