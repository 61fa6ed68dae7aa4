"""What the run weighed: memory and processor time of the client and of local models."""

from __future__ import annotations

from steelyard.analysis.estimates import Context, counted, unknown
from steelyard.types import Columns, Estimate


def resource(metric: str, unit: str, key: str, scale: float, columns: Columns, context: Context) -> Estimate:
    """A figure of the whole run's process, or of the local models beside it."""
    value = context.resources.get(key)
    if value is None or (key.startswith("model_") and not _is_local(context)):
        return unknown(metric, unit, "not measured")
    return counted(metric, unit, value / scale)


def cpu(columns: Columns, context: Context) -> Estimate:
    """Processor seconds of the client per second of wall time, over the whole run."""
    return _cores("cpu", "cpu_s", context)


def model_cpu(columns: Columns, context: Context) -> Estimate:
    """Processor seconds of the local models' processes per second of wall time, over the whole run."""
    if not _is_local(context):
        return unknown("model_cpu", "cores", "not measured")
    return _cores("model_cpu", "model_cpu_s", context)


def _cores(metric: str, key: str, context: Context) -> Estimate:
    used_s, wall_s = context.resources.get(key), context.resources.get("wall_s")
    if used_s is None or not wall_s:
        return unknown(metric, "cores", "not measured")
    return counted(metric, "cores", used_s / wall_s)


def _is_local(context: Context) -> bool:
    return context.info.origin.startswith("llama.cpp")
