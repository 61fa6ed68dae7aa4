"""The Python interface: ``run`` and its parts, each with an async twin."""

from steelyard.api.comparing import compare, gate, set_baseline
from steelyard.api.finished import Run
from steelyard.api.given import Cascade
from steelyard.api.parts import calculate_metrics, load_dataset, run_model, run_model_async
from steelyard.api.running import import_file, rescore_run, run, run_async, run_plan

__all__ = [
    "Cascade",
    "Run",
    "calculate_metrics",
    "compare",
    "gate",
    "import_file",
    "load_dataset",
    "rescore_run",
    "run",
    "run_async",
    "run_model",
    "run_model_async",
    "run_plan",
    "set_baseline",
]
