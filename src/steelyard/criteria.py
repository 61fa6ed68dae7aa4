"""What a verdict is held against, as it is written: margins to a baseline, and plain thresholds.

``accuracy=0.02``, ``latency.p95=10%``, ``latency.p95=10%,50ms``; ``accuracy >= 0.70``, ``cost.per_correct <= 0.01``.
"""

from __future__ import annotations

import math
import re
from typing import Literal

from msgspec import Struct

from steelyard.errors import UsageError

UNITS = {"ms": 1e-3, "s": 1.0, "points": 1e-2, "pt": 1e-2, "usd": 1.0, "": 1.0}
OF_SHARES = ("points", "pt")
AMOUNT = re.compile(r"\s*\$?(\d+(?:\.\d+)?|\.\d+)(?:e([+-]?\d+))?\s*(%|[A-Za-z]*)\s*")
THRESHOLD = re.compile(r"\s*([A-Za-z][\w.@/]*)\s*(>=|<=)\s*(.+)")
ALSO = {"cost_per_correct": "cost.per_correct"}
SHARES = ("accuracy", "pass@", "unparsed", "truncated", "refused", "empty", "reliability", "determinism")


class Margin(Struct, frozen=True, kw_only=True):
    """How much worse than a baseline is still borne: a share of it, an amount in the metric's unit, or either."""

    metric: str
    relative: float | None = None
    absolute: float | None = None
    text: str


class Threshold(Struct, frozen=True, kw_only=True):
    """A bound that a metric has to keep, whatever the baseline."""

    metric: str
    sign: Literal[">=", "<="]
    value: float
    text: str


def parse_margin(text: str) -> Margin:
    """``METRIC=AMOUNT``, ``METRIC=SHARE%`` or ``METRIC=SHARE%,AMOUNT``: with both, worse is what exceeds both."""
    metric, equals, amounts = text.partition("=")
    metric = ALSO.get(metric.strip(), metric.strip())
    if not equals or not metric:
        raise UsageError(f"{text!r} is no margin. Try: accuracy=0.02 or latency.p95=10%")
    found: dict[str, float] = {}
    for part in amounts.split(","):
        value, unit = _amount(part, text, metric)
        kind = "relative" if unit == "%" else "absolute"
        if kind in found or not value > 0:
            raise UsageError(f"{text!r} is no margin: it is above 0. Try: accuracy=0.02 or latency.p95=10%,50ms")
        found[kind] = value
    if "relative" in found and metric.startswith(SHARES):
        percent = 100 * found["relative"]
        raise UsageError(
            f"{text!r} could mean points or a share of the baseline. Try: {metric}={found['relative']:g} "
            f"for {percent:g} points"
        )
    if metric.startswith(SHARES) and found["absolute"] >= 1:
        raise UsageError(
            f"{text!r} would bear anything: a share is at most 1. Try: {metric}={found['absolute'] / 100:g}, or "
            f"{metric}={found['absolute']:g}points"
        )
    return Margin(metric=metric, relative=found.get("relative"), absolute=found.get("absolute"), text=text)


def parse_threshold(text: str) -> Threshold:
    """``METRIC >= VALUE`` or ``METRIC <= VALUE``; a time may be in ms, a share in %."""
    found = THRESHOLD.fullmatch(text)
    if found is None:
        raise UsageError(f'{text!r} is no criterion. Try: "accuracy >= 0.70" or "latency.p95 <= 2s"')
    metric, sign, amount = found.groups()
    metric = ALSO.get(metric, metric)
    value, _ = _amount(amount, text, metric)
    if metric.startswith(SHARES) and value > 1:
        raise UsageError(f"{text!r}: a share is at most 1. Try: {metric} {sign} {value:g}%")
    return Threshold(metric=metric, sign=">=" if sign == ">=" else "<=", value=value,
                     text=" ".join(text.split()))  # fmt: skip


def _amount(text: str, whole: str, metric: str) -> tuple[float, str]:
    found = AMOUNT.fullmatch(text)
    unit = found[3].lower() if found else "?"
    if found is None or (unit != "%" and unit not in UNITS):
        raise UsageError(f"{text.strip()!r} in {whole!r} is no amount. Try: 0.02, 2points, 10%, 200ms, 1.5s")
    if unit not in ("%", "") and (unit in OF_SHARES) != metric.startswith(SHARES):
        raise UsageError(f"{text.strip()!r} in {whole!r}: {metric} is not counted in {unit}. Try: 0.02, 2points, 200ms")
    value = float(found[1]) * 10.0 ** int(found[2] or 0)
    value = value / 100 if unit == "%" else value * UNITS[unit]
    if not math.isfinite(value):
        raise UsageError(f"{text.strip()!r} in {whole!r} is no amount")
    return value, unit
