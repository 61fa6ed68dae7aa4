"""Two cells on the same items: their answers side by side, or a refusal that names what differs.

Only what was asked in the same words, of the same data, under the same grader can be paired. What the infrastructure
lost on one side is not dropped in silence: it is counted by side, and bounds say what it could have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from steelyard.analysis.clusters import clusters_of
from steelyard.analysis.estimates import distinct, item_means
from steelyard.errors import Incomparable
from steelyard.types import CellInfo, Columns

OF_DATA = ("benchmark", "part", "benchmark_version", "dataset", "revision", "dataset_digest")
OF_PROTOCOL = ("protocol", "protocol_version", "asked_as", "kind", "shots", "prompt_digest")
JUDGE = "judge_origin"
PROTOCOL = "protocol"
ACROSS = (PROTOCOL,)
"""What may be the very thing that is compared, and is then not asked to be the same."""
OF_SYSTEM = ("system", "temperature", "max_tokens", "stop", "reasoning_effort", "extra", "version", "batch")
"""Settings that make two systems of one model; they may differ, and are said."""
OF_THE_PROTOCOL = ("system", "temperature", "max_tokens", "stop")
"""Settings that a protocol gives where a model has none of its own."""


class Differing(Struct, frozen=True, kw_only=True):
    """One field in which two cells differ, with both values as they are stored."""

    field: str
    a: Any
    b: Any

    def __str__(self) -> str:
        return f"{self.field.replace('_', ' ')} is {_shown(self.a)} in one and {_shown(self.b)} in the other"


class Paired(Struct, frozen=True, kw_only=True):
    """What two cells made of the items that both have: ``a[i]`` and ``b[i]`` belong to item ``items[i]``.

    Values are item means over repeats. ``items`` are positions in the benchmark's file. ``only_a`` and ``only_b`` were
    asked on that side alone; ``lost_a`` and ``lost_b`` were asked on both and have no value there, so they are not
    among ``items``. ``clusters`` is ``None`` where items are independent; ``strata`` are codes into the first cell's
    ``Columns.strata``. ``is_single``: every item was asked once on each side.
    """

    items: np.ndarray
    a: np.ndarray
    b: np.ndarray
    clusters: np.ndarray | None
    strata: np.ndarray
    only_a: np.ndarray
    only_b: np.ndarray
    lost_a: np.ndarray
    lost_b: np.ndarray
    is_single: bool

    @property
    def n(self) -> int:
        """How many items are paired."""
        return len(self.items)

    @property
    def n_common(self) -> int:
        """How many items were asked on both sides, lost ones included."""
        return self.n + len(np.union1d(self.lost_a, self.lost_b))

    @property
    def differences(self) -> np.ndarray:
        """a - b, item by item."""
        return np.asarray(self.a - self.b)


class Range(Struct, frozen=True, kw_only=True):
    """What a difference a - b would be at worst and at best for a, had the lost answers scored 0 and 1."""

    low: float
    high: float


def differing_fields(a: CellInfo, b: CellInfo, *, across: Sequence[str] = ()) -> list[Differing]:
    """The fields that must be equal for answers to be paired, and are not. ``across`` names what is allowed to differ.

    Across protocols the words, the shots and the grader may differ; the items must still be the same rows.
    """
    if a.benchmark != b.benchmark:
        return [Differing(field="benchmark", a=a.benchmark, b=b.benchmark)]
    names = OF_DATA if PROTOCOL in across else (*OF_DATA, *OF_PROTOCOL)
    judges = [] if PROTOCOL in across else differing_judges(a, b)
    found = [*judges, *(_differing(name, getattr(a, name), getattr(b, name)) for name in names)]
    return [one for one in found if one is not None]


def differing_judges(a: CellInfo, b: CellInfo) -> list[Differing]:
    """Another judge, or the same one asked otherwise, is another grader; told before the digest that it changes."""
    of_a, of_b = (info.settings.get("protocol", {}).get("judge") or {} for info in (a, b))
    names = dict.fromkeys((*of_a, *of_b))
    found = [_differing(f"judge's {name}", of_a.get(name), of_b.get(name)) for name in names]
    found.append(_differing("judge", a.settings.get(JUDGE), b.settings.get(JUDGE)))
    return [one for one in found if one is not None]


def differing_settings(a: CellInfo, b: CellInfo) -> list[Differing]:
    """The generation settings in which two systems differ: part of what is compared, so allowed, and to be said."""
    of_a, of_b = (info.settings.get("model", {}) for info in (a, b))
    found = [_differing(name, of_a.get(name), of_b.get(name)) for name in OF_SYSTEM]
    return [one for one in found if one is not None]


def settings_apart(a: CellInfo, b: CellInfo) -> str:
    """The settings in which two systems differ, in words; empty where they are the same."""

    def told(field: str, value: object) -> str:
        unset = "the protocol's" if field in OF_THE_PROTOCOL else "none"
        return unset if value is None else repr(value)

    return ", ".join(
        f"{one.field.replace('_', ' ')} {told(one.field, one.a)} against {told(one.field, one.b)}"
        for one in differing_settings(a, b)
    )


def check_pairable(a: CellInfo, b: CellInfo, *, across: Sequence[str] = ()) -> None:
    """Refuse to pair answers to different questions, naming the fields and both values."""
    differing = differing_fields(a, b, across=across)
    if not differing:
        return
    told = "; ".join(map(str, differing))
    is_of_protocol = all(one.field not in OF_DATA for one in differing)
    what = f"{a.model} on {a.label} and {b.model} on {b.label} cannot be paired: {told}."
    if is_of_protocol and a.protocol != b.protocol:
        raise Incomparable(what, "--across protocol, if the protocol is what you compare", needs="protocols")
    if is_of_protocol:
        raise Incomparable(what, "run both anew with this version of steelyard, with the same --seed and --shots")
    raise Incomparable(what, "run both on the same data")


def pair_scores(a: Columns, b: Columns, metric: str) -> Paired:
    """The item means of one of the grader's metrics; what was not scored has no value."""
    return pair_values(a, a.scores[metric], b, b.scores[metric])


def pair_values(a: Columns, of_a: np.ndarray, b: Columns, of_b: np.ndarray) -> Paired:
    """Any figure of each request, NaN where there is none, as item means side by side."""
    asked_a, asked_b = distinct(a.sample), distinct(b.sample)
    items_a, means_a = _means(a.sample, of_a)
    items_b, means_b = _means(b.sample, of_b)
    items, common = _in_both(items_a, items_b), _in_both(asked_a, asked_b)
    clusters, strata = _kinds(a, items)
    return Paired(
        items=items,
        a=means_a[np.searchsorted(items_a, items)],
        b=means_b[np.searchsorted(items_b, items)],
        clusters=clusters,
        strata=strata,
        only_a=_without(asked_a, common),
        only_b=_without(asked_b, common),
        lost_a=_without(common, items_a),
        lost_b=_without(common, items_b),
        is_single=len(asked_a) == len(a.sample) and len(asked_b) == len(b.sample),
    )


def _in_both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The items of both, in order, of sorted ones; two models are mostly asked the same, which is soon seen."""
    return one if np.array_equal(one, other) else np.intersect1d(one, other, assume_unique=True)


def _without(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    return some[:0] if np.array_equal(some, others) else np.setdiff1d(some, others, assume_unique=True)


def mean_difference(pair: Paired) -> float:
    """The mean of a - b over items; 0 of none."""
    return float(pair.differences.mean()) if pair.n else 0.0


def lost_range(a: Columns, b: Columns, metric: str, mean: Callable[[Paired], float] = mean_difference) -> Range:
    """The mean difference over the common items if every answer lost on one side were wrong and on the other right.

    Without losses both ends are the difference itself. ``mean`` says how items make up a difference.
    """

    def filled(fill_a: float, fill_b: float) -> float:
        return mean(pair_values(a, _filled(a.scores[metric], fill_a), b, _filled(b.scores[metric], fill_b)))

    return Range(low=filled(0.0, 1.0), high=filled(1.0, 0.0))


def _means(samples: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = ~np.isnan(values)
    return distinct(samples[known]), item_means(values[known], samples[known])


def _kinds(columns: Columns, items: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Cluster and stratum of each item: both cells hold the same rows, so either tells."""
    known, first = np.unique(columns.sample, return_index=True)
    rows = first[np.searchsorted(known, items)]
    return clusters_of(items, columns.cluster[rows]), columns.stratum[rows]


def _filled(scores: np.ndarray, fill: float) -> np.ndarray:
    return np.asarray(np.where(np.isnan(scores), fill, scores))


def _differing(field: str, a: Any, b: Any) -> Differing | None:
    return None if a == b else Differing(field=field, a=a, b=b)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    text = str(value)
    is_digest = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:12] if is_digest else repr(value) if isinstance(value, str) else text
