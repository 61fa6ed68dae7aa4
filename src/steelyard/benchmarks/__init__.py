"""The benchmarks that ship with Steelyard, in one literal table; others come by entry point, file or object."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.errors import EnvironmentFault, UnknownName

if TYPE_CHECKING:
    from steelyard.benchmarks.benchmark import Benchmark

BUILT_IN = {
    "starter": ("steelyard.benchmarks.starter", "STARTER"),
    "mmlu": ("steelyard.benchmarks.mmlu", "MMLU"),
    "gsm8k": ("steelyard.benchmarks.gsm8k", "GSM8K"),
    "humaneval": ("steelyard.benchmarks.humaneval", "HUMANEVAL"),
    "gpqa": ("steelyard.benchmarks.gpqa", "GPQA"),
    "bbh": ("steelyard.benchmarks.bbh", "BBH"),
    "mmlu-pro": ("steelyard.benchmarks.wider", "MMLU_PRO"),
    "arc-challenge": ("steelyard.benchmarks.wider", "ARC_CHALLENGE"),
    "arc-easy": ("steelyard.benchmarks.wider", "ARC_EASY"),
    "hellaswag": ("steelyard.benchmarks.wider", "HELLASWAG"),
    "winogrande": ("steelyard.benchmarks.wider", "WINOGRANDE"),
    "truthfulqa": ("steelyard.benchmarks.wider", "TRUTHFULQA"),
    "aime-2024": ("steelyard.benchmarks.wider", "AIME_2024"),
    "aime-2025": ("steelyard.benchmarks.wider", "AIME_2025"),
    "math-500": ("steelyard.benchmarks.math_500", "MATH_500"),
    "ifeval": ("steelyard.benchmarks.ifeval", "IFEVAL"),
    "humaneval-plus": ("steelyard.benchmarks.humaneval_plus", "HUMANEVAL_PLUS"),
    "mbpp": ("steelyard.benchmarks.mbpp", "MBPP"),
    "reasoning-gym": ("steelyard.benchmarks.reasoning_gym", "REASONING_GYM"),
}
ENTRY_POINTS = "steelyard.benchmarks"
DESCRIPTION_SUFFIXES = (".yaml", ".yml")
FILE_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", *DESCRIPTION_SUFFIXES)


def benchmark_names() -> list[str]:
    """Every name that ``find_benchmark`` knows, built-in first."""
    return [*BUILT_IN, *(name for name in _plugins() if name not in BUILT_IN)]


def find_benchmark(name: str, grader: str | None = None) -> Benchmark:
    """The benchmark of that name, or one over the user's file or its description where the name ends like a file's."""
    if name.endswith(DESCRIPTION_SUFFIXES):
        from steelyard.benchmarks.described import described_benchmark

        return described_benchmark(Path(name), grader)
    if name.endswith(FILE_SUFFIXES):
        from steelyard.benchmarks.own import own_benchmark

        return own_benchmark(Path(name), grader)
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name]
        found: Benchmark = getattr(importlib.import_module(module), attribute)
        return found
    plugins = _plugins()
    if name not in plugins:
        raise UnknownName("benchmark", name, benchmark_names())
    return _load_plugin(name, plugins[name])


def _plugins() -> dict[str, importlib.metadata.EntryPoint]:
    import importlib.metadata

    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if entry.name in BUILT_IN or entry.name in found:
            raise EnvironmentFault(f"two benchmarks are called {entry.name!r}; one is from {entry.value}")
        found[entry.name] = entry
    return found


def _load_plugin(name: str, entry: importlib.metadata.EntryPoint) -> Benchmark:
    try:
        found: Benchmark = entry.load()
    except Exception as error:
        package = entry.dist.name if entry.dist else entry.value
        raise EnvironmentFault(f"benchmark {name!r} of package {package!r} cannot be loaded: {error}") from error
    return found
