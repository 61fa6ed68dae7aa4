"""What a plan could tell apart before it is run: the smallest difference, the items for a given one, and their price.

How often two models disagree is not known beforehand. One item in four is assumed, which is common between models of
different makers; two versions of one model disagree less, and are told apart with fewer items. A mean over strata takes
more items than a plain one where few items weigh much. Several comparisons are at the level that ``compare`` has for so
many, which takes more items than one does.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from steelyard.analysis.wording import amount
from steelyard.cli.earlier_clusters import DesignEffects
from steelyard.cli.forecast_cell import CellForecast

DISAGREE = 0.25
POWER = 0.8
FIND = 0.05


class PowerForecast(Struct, frozen=True, kw_only=True):
    """What two models' difference on one benchmark would have to be, as a share, and what finding ``find`` takes.

    ``level`` is that of each of the plan's ``comparisons``; in a grid that of one difference told apart, since of more
    it is lower. ``most_usd_needed`` is what all models of the plan cost at most with ``items_needed``; ``None`` where a
    price is unknown.
    """

    benchmark: str
    models: int
    comparisons: int
    level: float
    items: int
    available: int
    disagree: float
    power: float
    detectable: float | None
    find: float
    items_needed: int | None
    most_usd_needed: float | None
    clusters: int | None = None
    design_effects: DesignEffects | None = None


def power_forecast(cells: Sequence[CellForecast], floors: Sequence[bool], find: float = FIND) -> list[PowerForecast]:
    """One for each benchmark that a model would be asked; ``floors`` says which cells are none of a model."""
    from steelyard.analysis.compare import claim_level, grid_level

    groups: dict[str, list[CellForecast]] = {}
    for cell, is_floor in zip(cells, floors, strict=True):
        if not is_floor:
            groups.setdefault(cell.benchmark, []).append(cell)
    candidates = [max(1, len(group) - 1) for group in groups.values()]
    comparisons = sum(candidates)
    is_grid = len(groups) > 1 and max(candidates) > 1
    level = grid_level([None] * comparisons) if is_grid else claim_level(comparisons)
    return [_of_benchmark(label, group, find, comparisons, level) for label, group in groups.items()]


def power_words(expected: PowerForecast) -> str:
    """The same as a sentence."""
    if expected.detectable is None:
        return ""
    if expected.detectable <= 1:
        found = f"tell two models apart that differ by {100 * expected.detectable:.1f} points or more"
    else:
        found = "are too few to tell two models apart"
    text = f"{expected.benchmark}: {expected.items:,} items {found}"
    if expected.items_needed is not None and expected.items < expected.items_needed:
        whose = "in all" if expected.models > 1 else "for the one model of this plan"
        known_usd = expected.most_usd_needed
        cost = "price unknown" if known_usd is None else f"at most {amount(known_usd)} USD {whose}"
        text += f"; {100 * expected.find:g} points would take {expected.items_needed:,} items ({cost})"
        if expected.items_needed > expected.available:
            text += f", and the benchmark has {expected.available:,}"
    assumed = f"if they disagree on one item in {1 / expected.disagree:.0f}; power {100 * expected.power:.0f} %"
    if expected.comparisons > 1:
        assumed += f"; each of {expected.comparisons} comparisons at {100 * expected.level:.4g} %"
    text += f" ({assumed}; of questions like these)."
    return text if expected.clusters is None else f"{text} {_cluster_words(expected.clusters, expected.design_effects)}"


def _cluster_words(clusters: int, effects: DesignEffects | None) -> str:
    """What is made of clusters, by what earlier answers tell of them."""
    lie = f"The items lie in {clusters:,} clusters"
    if effects is None:
        return (
            f"{lie}, of which neither this nor the width takes account: where items of one cluster are alike, both are "
            "wider."
        )
    if effects.difference is None:
        return (
            f"{lie}: the width counts a design effect of {effects.score:.1f}, as answers of run #{effects.run} had it; "
            "this counts none, since no two models were asked there."
        )
    return (
        f"{lie}: this counts a design effect of {effects.difference:.1f} and the width one of {effects.score:.1f}, as "
        f"answers of run #{effects.run} had them."
    )


def _of_benchmark(label: str, cells: list[CellForecast], find: float, comparisons: int, level: float) -> PowerForecast:
    from steelyard import stats

    items = cells[0].items
    effects = cells[0].design_effects
    in_clusters = 1.0 if effects is None or effects.difference is None else effects.difference
    variance = DISAGREE * cells[0].variance_factor * in_clusters
    needed = stats.sample_size_paired(delta=find, omega2=variance, alpha=1 - level, power=POWER).n
    return PowerForecast(
        benchmark=label,
        models=len(cells),
        items=items,
        available=cells[0].available,
        disagree=DISAGREE,
        power=POWER,
        detectable=stats.minimum_detectable_effect(n=items, omega2=variance, alpha=1 - level, power=POWER).mde,
        level=level,
        comparisons=comparisons,
        clusters=cells[0].clusters,
        design_effects=effects,
        find=find,
        items_needed=None if needed is None else int(needed),
        most_usd_needed=None if needed is None else _price(cells, int(needed)),
    )


def _price(cells: Sequence[CellForecast], items: int) -> float | None:
    """What that many items of every cell cost at most; answers that are known already cost nothing."""
    total = 0.0
    for cell in cells:
        if cell.most_request_usd is None:
            return None
        total += cell.most_request_usd * max(0, items * cell.repeats - cell.known)
    return total
