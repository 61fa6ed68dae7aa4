"""A plan file (YAML) to a ``Plan``: every fault is told with file, line, key and the nearest known name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from steelyard.benchmarks import FILE_SUFFIXES
from steelyard.criteria import parse_threshold
from steelyard.document import Document, Where
from steelyard.errors import PlanError, UsageError
from steelyard.plan.names import (
    CASCADE,
    cascade_of,
    check_provider,
    confidence_of,
    parse_benchmark,
    parse_model,
    seconds,
)
from steelyard.plan.plan import BenchmarkSpec, Order, Plan, distinct_ids
from steelyard.plan.stopping import Stop, cascade_rule, stop_rule
from steelyard.types import Confidence, ModelSpec, Price

ALSO_UNDERSTOOD = {"datasets": "benchmarks", "parallel_workers": "workers"}

Count = Annotated[int, Meta(ge=1)]


class ConfidenceEntry(Struct, kw_only=True, forbid_unknown_fields=True):
    """How a model's answers are given a confidence, spelled out; ``judge`` is a name or another entry's id."""

    by: str
    samples: Count | None = None
    temperature: Annotated[float, Meta(gt=0)] | None = None
    judge: str | None = None


class ModelEntry(Struct, kw_only=True, forbid_unknown_fields=True):
    """A model in a plan file, spelled out."""

    provider: str | None = None
    model: str
    id: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    system: str | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    max_tokens: Count | None = None
    reasoning_effort: str | None = None
    stop: tuple[str, ...] = ()
    extra: dict[str, Any] = {}
    timeout_s: Annotated[float, Meta(gt=0)] = 600.0
    concurrency: Count | None = None
    requests_per_minute: Annotated[float, Meta(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Meta(gt=0)] | None = None
    price: Price | None = None
    version: str | None = None
    batch: bool = False
    server_pid: Count | None = None
    confidence: str | ConfidenceEntry | None = None
    threshold: float | None = None


class BenchmarkEntry(Struct, kw_only=True, forbid_unknown_fields=True):
    """A benchmark in a plan file, spelled out: a known ``name`` or the ``path`` of a file."""

    name: str | None = None
    path: str | None = None
    part: str | None = None
    protocol: str | None = None
    shots: Annotated[int, Meta(ge=0)] | None = None
    grader: str | None = None


class BudgetEntry(Struct, kw_only=True, forbid_unknown_fields=True):
    """The money of a run in a plan file."""

    usd: Annotated[float, Meta(gt=0)]


class PlanFile(Struct, kw_only=True, forbid_unknown_fields=True):
    """The keys of a plan file."""

    models: list[str | ModelEntry]
    benchmarks: list[str | BenchmarkEntry]
    name: str | None = None
    metrics: tuple[str, ...] = ()
    limit: Count | None = None
    runs: Count = 1
    seed: int = 0
    order: Order = "shuffled"
    concurrency: Count | None = None
    workers: Count | None = None
    judge_repeats: Count | None = None
    budget: BudgetEntry | None = None
    fresh: bool = False
    cache_max_age: str | None = None
    accept_data: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    stop: dict[str, Any] | None = None
    cascade: dict[str, Any] | None = None
    success: tuple[str, ...] = ()
    baseline: str | None = None


def read_plan(path: Path) -> Plan:
    """The plan in ``path``; paths in it are relative to the file."""
    return _plan(PlanDocument.read(path), path)


def plan_of(text: str) -> Plan:
    """The plan that a text says; paths in it are relative to the working folder."""
    return _plan(PlanDocument("the plan", text), Path("plan.yaml"))


def _plan(document: PlanDocument, path: Path) -> Plan:
    entries = document.as_plan_file()
    models = _models(document, entries.models)
    benchmarks = [
        _located(document, ("benchmarks", i), lambda entry: benchmark_spec(entry, path.parent), entry)
        for i, entry in enumerate(entries.benchmarks)
    ]
    for key, values in (("models", models), ("benchmarks", benchmarks)):
        if not values:
            raise document.fault(f"{key} is empty", (key,))
    for i, criterion in enumerate(entries.success):
        _located(document, ("success", i), parse_threshold, criterion)
    return Plan(
        models=distinct_ids(models),
        benchmarks=tuple(benchmarks),
        name=entries.name or path.stem,
        metrics=entries.metrics,
        limit=entries.limit,
        runs=entries.runs,
        seed=entries.seed,
        order=entries.order,
        concurrency=entries.concurrency,
        workers=entries.workers,
        judge_repeats=entries.judge_repeats,
        budget_usd=entries.budget.usd if entries.budget else None,
        fresh=entries.fresh,
        cache_max_age_s=_located(document, ("cache_max_age",), seconds, entries.cache_max_age),
        accept_data=entries.accept_data,
        tags=entries.tags,
        stop=_stop(document, entries),
        success=entries.success,
        baseline=entries.baseline,
    )


def _models(document: Document, entries: Sequence[str | ModelEntry]) -> list[ModelSpec]:
    """Every entry as a model; those that name others by their ids come after them, wherever they stand."""
    found: dict[int, ModelSpec] = {}
    known: dict[str, ModelSpec] = {}
    for i, entry in sorted(enumerate(entries), key=lambda numbered: _rank(numbered[1])):
        found[i] = _located(document, ("models", i), lambda entry: model_spec(entry, known), entry)
        known[found[i].id] = found[i]
    return [found[i] for i in range(len(entries))]


def _rank(entry: str | ModelEntry) -> int:
    """Plain models, then those that a judge says how sure they are, then cascades."""
    if isinstance(entry, str):
        return 2 * entry.startswith(f"{CASCADE}/")
    if entry.provider == CASCADE or (entry.provider is None and entry.model.startswith(f"{CASCADE}/")):
        return 2
    return int(isinstance(entry.confidence, ConfidenceEntry) and entry.confidence.judge is not None)


def _stop(document: Document, entries: PlanFile) -> Stop | None:
    if entries.stop is not None and entries.cascade is not None:
        raise document.fault("a plan has either 'stop' or 'cascade'", ("cascade",))
    cascade = _located(document, ("cascade",), lambda entry: cascade_rule(entry, entries.success), entries.cascade)
    stop: Stop | None = cascade or _located(document, ("stop",), stop_rule, entries.stop)
    return stop


class PlanDocument(Document):
    """A plan's text under the plan's schema."""

    called = "the plan"
    expected = "a plan is a mapping with at least 'models' and 'benchmarks'"

    def as_plan_file(self) -> PlanFile:
        """The document under the plan's schema."""
        self._rename()
        self.check_keys((), PlanFile)
        for key, entry_type in (("models", ModelEntry), ("benchmarks", BenchmarkEntry)):
            if key not in self.value:
                raise self.fault(f"{key!r} is missing")
            entries = self.value[key]
            for i in range(len(entries) if isinstance(entries, list) else 0):
                self.check_keys((key, i), entry_type)
        if "budget" in self.value:
            self.check_keys(("budget",), BudgetEntry)
        return self.convert(PlanFile)

    def _rename(self) -> None:
        for alias, name in ALSO_UNDERSTOOD.items():
            if alias in self.value and name not in self.value:
                self.value[name] = self.value.pop(alias)
                for path in [path for path in self.lines if path[:1] == (alias,)]:
                    self.lines[(name, *path[1:])] = self.lines[path]


def is_plan(path: Path) -> bool:
    """Whether the file is a plan, and not the description of a benchmark; one that is neither is an error."""
    keys = PlanDocument.read(path).value
    plan = [key for key in ("models", *ALSO_UNDERSTOOD, "benchmarks") if key in keys]
    described = [key for key in ("benchmark", "data") if key in keys]
    if bool(plan) == bool(described):
        found = " and ".join(map(repr, [*plan, *described])) if plan else ", ".join(map(repr, keys)) or "nothing"
        raise PlanError(
            f"neither a plan nor a benchmark: a plan has 'models' and 'benchmarks', a benchmark 'benchmark' and "
            f"'data'; found {found}",
            file=str(path),
        )
    return bool(plan)


def _located(document: Document, path: Where, build: Any, entry: Any) -> Any:
    try:
        return build(entry)
    except PlanError:
        raise
    except UsageError as error:
        raise document.fault(str(error), path) from error


def model_spec(entry: str | ModelEntry, known: Mapping[str, ModelSpec] | None = None) -> ModelSpec:
    """The model that an entry names, with its own settings; ``known`` are other entries by their ids."""
    if isinstance(entry, str):
        provider, _, names = entry.partition("/")
        return cascade_of(names, known) if provider == CASCADE else parse_model(entry)
    settings = {name: getattr(entry, name) for name in ModelEntry.__struct_fields__ if name not in _IDENTITY}
    confidence = _confidence(entry.confidence, known or {})
    is_named = entry.provider is None and entry.model.startswith(f"{CASCADE}/")
    if is_named or entry.provider == CASCADE:
        spec = cascade_of(entry.model.removeprefix(f"{CASCADE}/"), known, threshold=entry.threshold)
        assert spec.cascade is not None
        if confidence is not None:
            cheap = msgspec.structs.replace(spec.cascade.cheap, confidence=confidence)
            spec = msgspec.structs.replace(spec, cascade=msgspec.structs.replace(spec.cascade, cheap=cheap))
        return msgspec.structs.replace(spec, id=entry.id or spec.id, **settings)
    if entry.threshold is not None:
        raise UsageError(f"{entry.model}: a threshold is for a cascade. Try: provider: cascade, model: 'CHEAP>DEAR'")
    if entry.provider is None:
        named = parse_model(entry.model)
        provider, model, label = named.provider, named.model, named.id
    else:
        check_provider(entry.provider)
        provider, model, label = entry.provider, entry.model, f"{entry.provider}/{entry.model}"
    return ModelSpec(id=entry.id or label, provider=provider, model=model, confidence=confidence, **settings)


_IDENTITY = ("provider", "model", "id", "confidence", "threshold")


def _confidence(entry: str | ConfidenceEntry | None, known: Mapping[str, ModelSpec]) -> Confidence | None:
    if entry is None:
        return None
    if isinstance(entry, str):
        return confidence_of(entry)
    judge = known.get(entry.judge, entry.judge) if entry.judge is not None else None
    return confidence_of(entry.by, samples=entry.samples, temperature=entry.temperature, judge=judge)


def benchmark_spec(entry: str | BenchmarkEntry, folder: Path = Path()) -> BenchmarkSpec:
    """The benchmark that an entry names; a file's path is taken from ``folder``."""
    if isinstance(entry, str):
        return in_folder(parse_benchmark(entry), folder)
    if (entry.name is None) == (entry.path is None):
        raise UsageError("a benchmark has either a 'name' or a 'path'")
    spec = parse_benchmark(str(entry.name or entry.path))
    given = {"part": entry.part, "protocol": entry.protocol, "shots": entry.shots, "grader": entry.grader}
    changed = {name: value for name, value in given.items() if value is not None}
    return in_folder(msgspec.structs.replace(spec, **changed), folder)


def in_folder(spec: BenchmarkSpec, folder: Path) -> BenchmarkSpec:
    """The benchmark with its file, if it is one, taken from ``folder``."""
    if not spec.name.endswith(FILE_SUFFIXES):
        return spec
    return msgspec.structs.replace(spec, name=str(folder / spec.name))
