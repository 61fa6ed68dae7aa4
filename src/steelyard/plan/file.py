"""A plan file (YAML) to a ``Plan``: every fault is told with file, line, key and the nearest known name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta, Struct

from steelyard.benchmarks import FILE_SUFFIXES
from steelyard.errors import PlanError, UsageError, nearest
from steelyard.plan.names import check_provider, parse_benchmark, parse_model
from steelyard.plan.plan import BenchmarkSpec, Order, Plan
from steelyard.types import ModelSpec, Price

Where = tuple[str | int, ...]
ALSO_UNDERSTOOD = {"datasets": "benchmarks"}
KEY_WORDS = ("api_key", "key", "token", "secret", "password")
MOST_NODES = 20_000

Count = Annotated[int, Meta(ge=1)]


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
    price: Price | None = None
    version: str | None = None


class BenchmarkEntry(Struct, kw_only=True, forbid_unknown_fields=True):
    """A benchmark in a plan file, spelled out: a known ``name`` or the ``path`` of a file."""

    name: str | None = None
    path: str | None = None
    part: str | None = None
    protocol: str | None = None
    shots: Annotated[int, Meta(ge=0)] | None = None
    grader: str | None = None


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
    accept_data: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def read_plan(path: Path) -> Plan:
    """The plan in ``path``; paths in it are relative to the file."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the plan {path}: {error}") from error
    document = Document(str(path), text)
    entries = document.as_plan_file()
    models = [_located(document, ("models", i), model_spec, entry) for i, entry in enumerate(entries.models)]
    benchmarks = [
        _located(document, ("benchmarks", i), lambda entry: benchmark_spec(entry, path.parent), entry)
        for i, entry in enumerate(entries.benchmarks)
    ]
    for key, values in (("models", models), ("benchmarks", benchmarks)):
        if not values:
            raise document.fault(f"{key} is empty", (key,))
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
        accept_data=entries.accept_data,
        tags=entries.tags,
    )


class Document:
    """A YAML text as plain values, with the line of every key."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._lines: dict[Where, int] = {}
        self._nodes = 0
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            raise PlanError(f"not YAML: {error.problem}", file=file, line=line) from error
        except yaml.YAMLError as error:
            raise PlanError(f"not YAML: {error}", file=file) from error
        if not isinstance(node, yaml.MappingNode):
            raise PlanError("a plan is a mapping with at least 'models' and 'benchmarks'", file=file, line=1)
        self.value: dict[str, Any] = self._plain(node, ())

    def as_plan_file(self) -> PlanFile:
        """The document under the plan's schema."""
        self._rename()
        self._check_keys((), self.value, PlanFile)
        for key, entry_type in (("models", ModelEntry), ("benchmarks", BenchmarkEntry)):
            if key not in self.value:
                raise self.fault(f"{key!r} is missing")
            entries = self.value[key]
            for i, entry in enumerate(entries if isinstance(entries, list) else ()):
                if isinstance(entry, dict):
                    self._check_keys((key, i), entry, entry_type)
        try:
            return msgspec.convert(self.value, type=PlanFile)
        except msgspec.ValidationError as error:
            raise self._misfit(str(error)) from error

    def fault(self, message: str, path: Where = ()) -> PlanError:
        """An error that points at ``path`` or the nearest enclosing key with a known line."""
        while path and path not in self._lines:
            path = path[:-1]
        return PlanError(message, file=self.file, line=self._lines.get(path))

    def _rename(self) -> None:
        for alias, name in ALSO_UNDERSTOOD.items():
            if alias in self.value and name not in self.value:
                self.value[name] = self.value.pop(alias)
                for path in [path for path in self._lines if path[:1] == (alias,)]:
                    self._lines[(name, *path[1:])] = self._lines[path]

    def _check_keys(self, path: Where, mapping: dict[str, Any], schema: type[Struct]) -> None:
        known = schema.__struct_fields__
        for key in mapping:
            if key in known:
                continue
            if any(word in str(key).lower() for word in KEY_WORDS):
                raise self.fault(
                    f"{key!r}: keys do not belong in a plan. Name the environment variable that holds it: "
                    "api_key_env: NAME",
                    (*path, key),
                )
            raise self.fault(f"unknown key {key!r}. {nearest(str(key), known)}", (*path, key))

    def _misfit(self, message: str) -> PlanError:
        words, _, where = message.partition(" - at `$")
        path = _path_of(where.rstrip("`"))
        named = f"{'.'.join(map(str, path))}: " if path else ""
        return self.fault(f"{named}{words[:1].lower()}{words[1:]}", path)

    def _plain(self, node: yaml.Node, path: Where) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise self.fault(f"the plan has more than {MOST_NODES} values", path)
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*path, i)) for i, item in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Where) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else str(key_node)
            here = (*path, key)
            if key in mapping:
                raise PlanError(
                    f"key {key!r} stands twice (first in line {self._lines[here]})",
                    file=self.file,
                    line=key_node.start_mark.line + 1,
                )
            self._lines[here] = key_node.start_mark.line + 1
            mapping[key] = self._plain(value_node, here)
        return mapping


def _scalar(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    finally:
        loader.dispose()


def _path_of(where: str) -> Where:
    parts: list[str | int] = []
    for piece in where.replace("[", ".").replace("]", "").split("."):
        if piece and piece != "...":
            parts.append(int(piece) if piece.isdigit() else piece)
    return tuple(parts)


def _located(document: Document, path: Where, build: Any, entry: Any) -> Any:
    try:
        return build(entry)
    except PlanError:
        raise
    except UsageError as error:
        raise document.fault(str(error), path) from error


def model_spec(entry: str | ModelEntry) -> ModelSpec:
    """The model that an entry names, with its own settings."""
    if isinstance(entry, str):
        return parse_model(entry)
    if entry.provider is None:
        named = parse_model(entry.model)
        provider, model, label = named.provider, named.model, named.id
    else:
        check_provider(entry.provider)
        provider, model, label = entry.provider, entry.model, f"{entry.provider}/{entry.model}"
    settings = {name: getattr(entry, name) for name in ModelEntry.__struct_fields__ if name not in _IDENTITY}
    return ModelSpec(id=entry.id or label, provider=provider, model=model, **settings)


_IDENTITY = ("provider", "model", "id")


def benchmark_spec(entry: str | BenchmarkEntry, folder: Path = Path()) -> BenchmarkSpec:
    """The benchmark that an entry names; a file's path is taken from ``folder``."""
    if isinstance(entry, str):
        return _in_folder(parse_benchmark(entry), folder)
    if (entry.name is None) == (entry.path is None):
        raise UsageError("a benchmark has either a 'name' or a 'path'")
    spec = parse_benchmark(str(entry.name or entry.path))
    given = {"part": entry.part, "protocol": entry.protocol, "shots": entry.shots, "grader": entry.grader}
    changed = {name: value for name, value in given.items() if value is not None}
    return _in_folder(msgspec.structs.replace(spec, **changed), folder)


def _in_folder(spec: BenchmarkSpec, folder: Path) -> BenchmarkSpec:
    if not spec.name.endswith(FILE_SUFFIXES):
        return spec
    return msgspec.structs.replace(spec, name=str(folder / spec.name))


def distinct_ids(models: Iterable[ModelSpec]) -> tuple[ModelSpec, ...]:
    """The models with ids that differ: the same model with other settings is another system and gets a number."""
    seen: dict[str, list[ModelSpec]] = {}
    distinct = []
    for spec in models:
        same = seen.setdefault(spec.id, [])
        if spec in same:
            raise UsageError(f"model {spec.id!r} is listed twice with the same settings")
        same.append(spec)
        distinct.append(spec if len(same) == 1 else msgspec.structs.replace(spec, id=f"{spec.id}#{len(same)}"))
    return tuple(distinct)
