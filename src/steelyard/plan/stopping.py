"""When a run may end before all its items are asked: the rules that a plan may name.

A rule fixes its looks, its error and its method beforehand, and all of it is in the plan's digest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from steelyard.criteria import parse_threshold
from steelyard.errors import UsageError, nearest
from steelyard.types.ready import ready

Share = Annotated[float, Meta(gt=0, le=1)]
Error = Annotated[float, Meta(gt=0, le=0.5)]
Width = Annotated[float, Meta(gt=0, lt=1)]
Asked = Literal["benchmark", "questions"]

LOOKS = (0.10, 0.25, 0.50, 1.0)


class HalfWidth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="half_width", tag_field="rule"):
    """Ask as many as the score needs to be known to ``half_width``: a pilot, then straight to that number.

    The score is that of the whole benchmark, of which a part is known already.
    """

    half_width: Width
    pilot: Share = 0.10
    alpha: Error = 0.05


class Compare(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="compare", tag_field="rule"):
    """Ask until two models can be told apart: group sequential looks at shares of the items.

    Every model is compared with every other, or with ``against`` only. ``alpha`` is the error of all looks and all
    pairs of a benchmark together. With ``margin`` a pair also ends where the models differ by less than that.
    ``estimand``: who scores higher on this ``benchmark``, or on ``questions`` like these.
    ``bounds``: one for all looks (``pocock``), one that falls (``obrien_fleming``), or Pocock's error spent as
    information comes in (``spending``).
    """

    looks: tuple[Share, ...] = LOOKS
    alpha: Error = 0.05
    bounds: Literal["pocock", "obrien_fleming", "spending"] = "pocock"
    estimand: Asked = "benchmark"
    against: str | None = None
    margin: Width | None = None


class Anytime(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="anytime", tag_field="rule"):
    """The same with bounds that hold at every moment: a look after every ``every`` items, by default each hundredth."""

    every: Annotated[int, Meta(ge=1)] | None = None
    alpha: Error = 0.05
    estimand: Asked = "benchmark"
    against: str | None = None
    margin: Width | None = None


class Ladder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="ladder", tag_field="rule"):
    """Ask up to the first share of the items at which the variance of the score is at most ``variance``."""

    variance: Annotated[float, Meta(gt=0)]
    ladder: tuple[Share, ...] = LOOKS
    alpha: Error = 0.05


class Cascade(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cascade", tag_field="rule"):
    """Ask one model after another, cheapest first.

    ``worse_by``: drop a model at a look once it is worse than a cheaper one by more than this. ``success``: skip all
    dearer models once one meets these criteria on every benchmark, by bounds whose error of 5 % all models share.
    """

    worse_by: Width | None = None
    success: tuple[str, ...] = ()
    looks: tuple[Share, ...] = LOOKS
    alpha: Error = 0.05


Stop = HalfWidth | Compare | Anytime | Ladder | Cascade

NAMED_BY: dict[str, type[HalfWidth] | type[Compare] | type[Anytime] | type[Ladder]] = {
    "half_width": HalfWidth,
    "anytime": Anytime,
    "compare": Compare,
    "ladder": Ladder,
    "variance": Ladder,
}
SWITCHES = ("anytime", "compare")
LISTS = ("looks", "ladder")
EXAMPLES = "half_width: 0.03, or compare: true, or anytime: true, or variance: 0.0004"


def stop_rule(entry: Mapping[str, Any] | None) -> Stop | None:
    """The rule that the keys of ``stop:`` describe, every default filled in."""
    if entry is None:
        return None
    kind = next((kind for name, kind in NAMED_BY.items() if name in entry), None)
    if kind is None:
        raise UsageError(f"stop names no rule: {', '.join(entry) or 'nothing'}. Try: {EXAMPLES}")
    settings = {key: value for key, value in entry.items() if key not in SWITCHES}
    for key in settings:
        if key not in kind.__struct_fields__:
            raise UsageError(f"stop: unknown key {key!r}. {nearest(str(key), kind.__struct_fields__)}")
    if off := [name for name in SWITCHES if entry.get(name, True) is not True]:
        raise UsageError(f"stop: {off[0]} is either true or left out")
    try:
        found = msgspec.convert(settings | {"rule": kind.__struct_config__.tag}, type=ready(kind))
    except msgspec.ValidationError as error:
        raise UsageError(f"stop: {str(error).replace(' - at `$.', ' in `')}") from error
    return _in_order(found)


def parse_stop(text: str) -> Stop:
    """``half_width=0.03``, ``compare``, ``anytime,every=20``, ``ladder=0.1/0.5/1,variance=0.0004``."""
    entry: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if key in entry:
            raise UsageError(f"stop: {key!r} stands twice")
        entry[key] = _value(key, value) if equals else True
    found = stop_rule(entry)
    assert found is not None
    return found


def cascade_rule(entry: Mapping[str, Any] | None, success: Sequence[str]) -> Cascade | None:
    """The cascade that the keys of ``cascade:`` describe, with the plan's criteria where it skips by them."""
    if entry is None:
        return None
    known = ("order", "drop_when", "skip_when", "looks", "alpha")
    if unknown := [key for key in entry if key not in known]:
        raise UsageError(f"cascade: unknown key {unknown[0]!r}. {nearest(str(unknown[0]), known)}")
    if entry.get("order", "price") != "price":
        raise UsageError(f"cascade: the order is by price, not by {entry['order']!r}")
    skips = entry.get("skip_when")
    if skips not in (None, "success"):
        raise UsageError(f"cascade: skip_when {skips!r} is unknown. Try: skip_when: success")
    if skips and not success:
        raise UsageError('cascade skips by success, and there are no criteria. Try: success: ["accuracy >= 0.70"]')
    if not skips and "drop_when" not in entry:
        raise UsageError("cascade says neither drop_when nor skip_when. Try: drop_when: worse_by 0.05")
    settings: dict[str, Any] = {key: entry[key] for key in ("looks", "alpha") if key in entry}
    settings |= {"worse_by": _worse_by(entry.get("drop_when")), "success": list(success) if skips else []}
    try:
        found = msgspec.convert(settings | {"rule": "cascade"}, type=ready(Cascade))
    except msgspec.ValidationError as error:
        raise UsageError(f"cascade: {str(error).replace(' - at `$.', ' in `')}") from error
    _in_order(found)
    for criterion in found.success:
        parse_threshold(criterion)
    return found


def _worse_by(text: Any) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"worse_by\s+(\d*\.?\d+)", str(text).strip())
    if found is None:
        raise UsageError(f"cascade: drop_when {text!r} is unknown. Try: drop_when: worse_by 0.05")
    return float(found[1])


def _value(key: str, text: str) -> Any:
    if key in LISTS:
        return [_value("", part) for part in text.split("/")]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _in_order(stop: Stop) -> Stop:
    """Looks must rise, and the last one is at all the items."""
    shares = stop.looks if isinstance(stop, (Compare, Cascade)) else stop.ladder if isinstance(stop, Ladder) else LOOKS
    if not shares or list(shares) != sorted(set(shares)) or shares[-1] != 1.0:
        name = "ladder" if isinstance(stop, Ladder) else "looks"
        raise UsageError(f"stop: {name} are shares of the items that rise to 1. Try: {name}: {list(LOOKS)}")
    return stop
