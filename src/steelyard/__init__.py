"""Steelyard weighs language models: how good, how fast, how heavy and how dear, with the uncertainty of every number.

Names are loaded when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.api import Cascade as Cascade
    from steelyard.api import Run as Run
    from steelyard.api import calculate_metrics as calculate_metrics
    from steelyard.api import compare as compare
    from steelyard.api import gate as gate
    from steelyard.api import load_dataset as load_dataset
    from steelyard.api import run as run
    from steelyard.api import run_async as run_async
    from steelyard.api import run_model as run_model
    from steelyard.api import run_model_async as run_model_async
    from steelyard.api import set_baseline as set_baseline
    from steelyard.benchmarks.benchmark import Benchmark as Benchmark
    from steelyard.benchmarks.benchmark import Dataset as Dataset
    from steelyard.benchmarks.benchmark import Protocol as Protocol
    from steelyard.benchmarks.benchmark import Selection as Selection
    from steelyard.errors import ProviderError as ProviderError
    from steelyard.errors import SteelyardError as SteelyardError
    from steelyard.errors import UsageError as UsageError
    from steelyard.providers.function import Function as Function
    from steelyard.providers.interface import Done as Done
    from steelyard.providers.interface import Text as Text
    from steelyard.providers.scripted import Scripted as Scripted
    from steelyard.scoring.judge import Judge as Judge
    from steelyard.types import Comparison as Comparison
    from steelyard.types import Completion as Completion
    from steelyard.types import Confidence as Confidence
    from steelyard.types import Estimate as Estimate
    from steelyard.types import Failure as Failure
    from steelyard.types import Message as Message
    from steelyard.types import ModelSpec as ModelSpec
    from steelyard.types import Price as Price
    from steelyard.types import Prompt as Prompt
    from steelyard.types import Record as Record
    from steelyard.types import Request as Request
    from steelyard.types import Sample as Sample
    from steelyard.types import Score as Score
    from steelyard.types import Spent as Spent
    from steelyard.types import Usage as Usage

_HOMES = {
    "api": (
        "Cascade",
        "Run",
        "calculate_metrics",
        "compare",
        "gate",
        "load_dataset",
        "run",
        "run_async",
        "run_model",
        "run_model_async",
        "set_baseline",
    ),
    "benchmarks.benchmark": ("Benchmark", "Dataset", "Protocol", "Selection"),
    "errors": ("ProviderError", "SteelyardError", "UsageError"),
    "providers.function": ("Function",),
    "providers.interface": ("Done", "Text"),
    "providers.scripted": ("Scripted",),
    "scoring.judge": ("Judge",),
    "types": (
        "Comparison",
        "Completion",
        "Confidence",
        "Estimate",
        "Failure",
        "Message",
        "ModelSpec",
        "Price",
        "Prompt",
        "Record",
        "Request",
        "Sample",
        "Score",
        "Spent",
        "Usage",
    ),
}
_HOME_OF = {name: f"steelyard.{module}" for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("steelyard")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'steelyard' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
