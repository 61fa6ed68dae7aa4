"""How an estimate is written: as many digits as its interval supports, and words where there is no number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from steelyard.types import CellInfo, Estimate

A_MILLIONTH = 1e-6
ROUNDING = 1e-7
"""What is nearer than this differs by the rounding of a computation."""
PER_THOUSAND = {"cost.per_request": "cost of 1,000", "cost.per_correct": "cost of 1,000 right"}
"""What people read of a thousand, since one costs next to nothing; the store and JSON have it of one."""


def written(estimate: Estimate | None, *, bounds: bool = True) -> str:
    """``61.3 % (58.6 to 63.9)``; what is unknown is a dash, and its reason stands in ``estimate.status``."""
    if estimate is None or estimate.value is None:
        return "–"  # noqa: RUF001 - a dash for what is not known
    scale, suffix = _scale(estimate.unit, estimate.value)
    digits = _digits(estimate, scale)
    text = f"{_number(estimate.value * scale, digits)}{suffix}"
    if not bounds or estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({_number(estimate.low * scale, digits)} to {_number(estimate.high * scale, digits)})"


def counted(n: int, noun: str, verbs: tuple[str, str] | None = None) -> str:
    """``1 item``, ``1,319 items``; with ``verbs`` the one of one or of many behind it: ``1 item has``."""
    text = f"{n:,} {noun}{'' if n == 1 else 's'}"
    return text if verbs is None else f"{text} {verbs[n != 1]}"


def drawn(info: CellInfo) -> str:
    """How many of the benchmark's items were asked, and how these were chosen where they are not all."""
    words = f"{info.items:,} of {info.available:,} items"
    if info.items >= info.available:
        return words
    elsewhere = "chosen elsewhere" if info.is_imported else "the first in file order"
    return f"{words}, {'drawn by seed' if info.order == 'shuffled' else elsewhere}"


def dollars(value: float) -> str:
    """An amount that is about right: two digits."""
    return f"{_tiny(value) or _number(value, _decimals(value, 2))} USD"


def amount(usd: float) -> str:
    """Money that was counted: four decimals, more where it is so little that these would make nothing of it."""
    return (_tiny(usd) or _number(usd, max(4, _decimals(usd, 2)))) if usd else "0"


def _tiny(usd: float) -> str:
    """What is below a millionth, with an exponent, for nobody counts its zeros; else nothing."""
    return f"{usd:.2g}" if 0 < abs(usd) < A_MILLIONTH else ""


def priced(estimate: Estimate) -> Estimate:
    """The cost of a thousand where it is that of one, and any other estimate as it is."""
    return thousandfold(estimate) if estimate.metric in PER_THOUSAND else estimate


def thousandfold(estimate: Estimate) -> Estimate:
    """The same for a thousand: one request costs next to nothing."""
    ends = (None if end is None else 1000 * end for end in (estimate.value, estimate.low, estimate.high))
    value, low, high = ends
    return msgspec.structs.replace(estimate, value=value, low=low, high=high)


def change_written(value: float, unit: str, *, apart_from: Sequence[float] = ()) -> str:
    """A difference with its sign; of shares in points: ``-4.2 points``."""
    if unit == "share":
        return f"{signed_points(value, apart_from=apart_from)} points"
    scale, suffix = _scale(unit, value)
    digits = 0 if unit in ("requests", "tokens") else _decimals(value * scale, 3)
    return f"{value * scale:+,.{digits}f}{suffix}"


def signed_points(share: float, decimals: int = 1, *, apart_from: Sequence[float] = ()) -> str:
    """A difference of shares in points, with its sign: ``-4.2``.

    More decimals where so few would show none for some, or put it on one of those it is ``apart_from``: a bound is
    never written on the wrong side of what is said of it.
    """
    places = _decimals_apart(100 * share, decimals, [0.0, *(100 * one for one in apart_from)])
    return f"{round(100 * share, places) + 0.0:+.{places}f}"


def factor(ratio: float, *, apart_from: Sequence[float] = (1.0,)) -> str:
    """A ratio to three digits, or to as many as keep it from those it is ``apart_from``."""
    short = f"{ratio:.3g}"
    near = [one for one in apart_from if float(short) == float(f"{one:.3g}")]
    places = _decimals_apart(ratio, 0, near) if near else 0
    return f"{ratio:.{places}f}" if places else short


def point_decimals(difference: Estimate) -> int:
    """One decimal of a point, or more where bounds lie so near each other that one would make them all alike."""
    if difference.low is None or difference.high is None:
        return 1
    return decimals_of_points((difference.high - difference.low) / 2)


def decimals_of_points(size: float) -> int:
    """One, or as many as show a smaller size to be one."""
    return max(1, _decimals(100 * size, 1))


def _decimals_apart(value: float, decimals: int, others: Sequence[float]) -> int:
    """At least so many decimals, and more where the value would be written as another one that it is not."""
    for other in others:
        gap = abs(value - other)
        if gap > ROUNDING and round(value, decimals) == round(other, decimals):
            decimals = max(decimals, _decimals(gap, 1))
    return decimals


def _scale(unit: str, value: float) -> tuple[float, str]:
    if unit == "share":
        return 100.0, " %"
    if unit == "s":
        return (1000.0, " ms") if abs(value) < 1 else (1.0, " s")
    if unit == "USD":
        return 1.0, " USD"
    return 1.0, {"MB": " MB", "tokens/s": "/s", "requests/s": "/s"}.get(unit, "")


def _digits(estimate: Estimate, scale: float) -> int:
    """Decimals so that the half width shows two significant digits; without bounds, three of the value."""
    assert estimate.value is not None
    if estimate.unit == "share":
        return 1
    if estimate.unit in ("requests", "tokens") and _is_whole(estimate):
        return 0
    if estimate.low is not None and estimate.high is not None and estimate.high > estimate.low:
        return _decimals((estimate.high - estimate.low) / 2 * scale, 2)
    return _decimals(estimate.value * scale, 3)


def _is_whole(estimate: Estimate) -> bool:
    """A count, or a percentile of counts; a mean of counts, and a difference of such, is not."""
    ends = (estimate.value, estimate.low, estimate.high)
    return estimate.low is None or all(end is not None and float(end).is_integer() for end in ends)


def _decimals(size: float, significant: int) -> int:
    if size == 0 or not math.isfinite(size):
        return 0
    return max(0, significant - 1 - math.floor(math.log10(abs(size))))


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"
