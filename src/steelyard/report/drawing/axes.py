"""Scales, ticks and their words: how a value finds its place on a chart, and how it is written there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from steelyard.analysis.wording import A_MILLIONTH

Unit = Literal["share", "s", "USD", "count", "points", "change", ""]
"""``points`` are differences of shares, ``change`` is a share more or less: both with their sign."""

WIDE_RATIO = 20.0  # values further apart than this share a logarithmic scale
TICKS = 5


class Scale(Struct, frozen=True, kw_only=True):
    """Values from ``low`` to ``high`` over pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value, kept within the scale."""
        held = min(max(value, self.low), self.high)
        share = self._share(held) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)

    def _share(self, value: float) -> float:
        if not self.is_log:
            return (value - self.low) / (self.high - self.low)
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """Round values within the scale; of the whole from 0 to 1 quarters, so that the ends have their words."""
        if (self.low, self.high, self.is_log) == (0.0, 1.0, False):
            return [0.0, 0.25, 0.5, 0.75, 1.0]
        return _log_ticks(self.low, self.high) if self.is_log else _even_ticks(self.low, self.high)


def fitted(values: Iterable[float], start: float, end: float, *, may_be_log: bool = False) -> Scale:
    """A scale around the values, with room to spare: logarithmic where they are far apart, from zero if near it."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return Scale(low=0.0, high=1.0, start=start, end=end)
    low, high = min(known), max(known)
    positive = [value for value in known if value > 0]
    if may_be_log and positive and high / min(positive) > WIDE_RATIO:
        return Scale(low=min(positive) / 1.3, high=high * 1.3, start=start, end=end, is_log=True)
    if low >= 0 and low < 0.5 * high:
        return Scale(low=0.0, high=high * 1.06, start=start, end=end)
    span = 0.0 if math.isclose(low, high) else high - low  # the mean of equal prices differs by rounding
    room = 0.08 * span or 0.1 * abs(high) or 0.5
    return Scale(low=max(0.0, low - room) if low >= 0 else low - room, high=high + room, start=start, end=end)


def shares(values: Iterable[float], start: float, end: float) -> Scale:
    """A scale for shares: the whole from 0 to 1, or the part in use where that is narrow."""
    scale = fitted(values, start, end)
    if scale.high - scale.low > 0.5:
        return Scale(low=0.0, high=1.0, start=start, end=end)
    return Scale(low=max(0.0, scale.low), high=min(1.0, scale.high), start=start, end=end)


def _even_ticks(low: float, high: float) -> list[float]:
    if high <= low:
        return [low]
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = math.log10(high / low)
    digits = (1, 2, 5) if decades < 2.2 else (1, 3) if decades < 3.2 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for power in powers for digit in digits if low <= (tick := digit * 10.0**power) <= high]


def tick_text(value: float, unit: Unit) -> str:
    """A tick in words: ``40 %``, ``250 ms``, ``$0.002``."""
    if unit == "share":
        return f"{100 * value:g} %"
    if unit in ("points", "change"):
        return ("0" if value == 0 else f"{100 * value:+g}") + (" %" if unit == "change" else "")
    if unit == "s":
        return f"{1000 * value:.4g} ms" if 0 < abs(value) < 1 else f"{value:,.4g} s"
    if unit == "USD":
        return f"{'-' if value < 0 else ''}${plain(abs(value))}"
    return f"{value:,.6g}"


def value_text(value: float, unit: Unit) -> str:
    """A value with three digits, for a label or a hover text; of long times whole seconds."""
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "s":
        if value < 0.9995:
            return f"{1000 * value:.3g} ms"
        return f"{value:.3g} s" if value < 999.5 else f"{value:,.0f} s"
    if unit == "USD":
        return f"${plain(value)}"
    return f"{value:,.4g}"


def plain(value: float) -> str:
    """Three digits, with an exponent only below a millionth."""
    if value == 0:
        return "0"
    if abs(value) < A_MILLIONTH:
        return f"{value:.3g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def price_text(usd: float, form: str = "{} USD") -> str:
    """What one request took; where an exponent were needed, what a thousand like it take."""
    if 0 < usd < A_MILLIONTH:
        return f"{form.format(plain(1000 * usd))} for 1,000"
    return form.format(plain(usd))


def interval_text(value: float, low: float | None, high: float | None, unit: Unit) -> str:
    """A value with its interval, where it has one."""
    text = value_text(value, unit)
    if low is None or high is None:
        return text
    first, last = value_text(low, unit), value_text(high, unit)
    if unit == "share":
        return f"{text} ({first.removesuffix(' %')} to {last.removesuffix(' %')})"
    if first.partition(" ")[2] == last.partition(" ")[2]:
        first = first.partition(" ")[0]  # the unit stands once
    return f"{text} ({first} to {last})"


def shortened(text: str, most: int) -> str:
    """A long name without its middle: what tells models apart stands at either end."""
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 5
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def told_apart(names: Sequence[str], most: int) -> dict[str, str]:
    """Each name, cut to ``most`` characters where it is longer: what all of them share goes first."""
    plain = {name: shortened(name, most) for name in names}
    if len(set(plain.values())) == len(plain):
        return plain
    prefix = _shared_length(list(plain))
    suffix = _shared_length([name[prefix:][::-1] for name in plain])
    return {name: shortened(_without_shared(name, prefix, suffix, most), most) for name in plain}


def _shared_length(names: Sequence[str]) -> int:
    """How many characters all of them begin with."""
    first, last = min(names), max(names)
    return next(
        (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )


def _without_shared(name: str, prefix: int, suffix: int, most: int) -> str:
    """The part of a name that is its own, with as much of its surroundings as has room."""
    end = len(name) - suffix
    room = most - 2 - (end - prefix)
    before = min(prefix, max(0, room // 2))
    after = min(suffix, max(0, room - before))
    start, stop = prefix - before, end + after
    return ("…" if start else "") + name[start:stop] + ("…" if stop < len(name) else "")
