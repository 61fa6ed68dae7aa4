"""What the run weighed: memory and processor time of the client, and what the models' own processes took."""

from __future__ import annotations

from steelyard.analysis.estimates import Context, counted, unknown
from steelyard.types import Columns, Estimate


def resource(metric: str, unit: str, key: str, scale: float, columns: Columns, context: Context) -> Estimate:
    """A figure of the whole run's process, or of the processes that answer for the cell's model."""
    value = _figure(key, context)
    return unknown(metric, unit, "not measured") if value is None else counted(metric, unit, value / scale)


def per_second(metric: str, unit: str, key: str, seconds: str, columns: Columns, context: Context) -> Estimate:
    """A figure that adds up over time, over the time for which it is known."""
    value, known_s = _figure(key, context), _figure(seconds, context)
    if value is None or not known_s:
        return unknown(metric, unit, "not measured")
    return counted(metric, unit, value / known_s)


def cpu(columns: Columns, context: Context) -> Estimate:
    """Processor seconds of the client per second of wall time, over the whole run."""
    return per_second("cpu", "cores", "cpu_s", "wall_s", columns, context)


def model_cpu(columns: Columns, context: Context) -> Estimate:
    """Processor seconds of the model's processes per second that they were watched."""
    watched = "model_watched_s" if _figure("model_watched_s", context) else "wall_s"
    return per_second("model_cpu", "cores", "model_cpu_s", watched, columns, context)


def _figure(key: str, context: Context) -> float | None:
    """The figure of this cell's model, where it is one of a model; of the run otherwise.

    Runs of before figures were kept by model have one for all local models together.
    """
    if not key.startswith("model_"):
        return context.resources.get(key)
    own = context.resources.get(f"{key}/{context.info.model}")
    is_local = context.info.origin.startswith("llama.cpp")
    return context.resources.get(key) if own is None and is_local else own
