"""Where a new series begins: what was asked, how it was judged, or for times the machine changed.

Random parts of one benchmark estimate the same figure. The first items in file order, or items that were chosen
elsewhere, are no sample of the others: how two such parts differ is no change of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steelyard.analysis.pairing import differing_judges
from steelyard.analysis.trend.observed import MOSTLY, UNITS_OF_HARDWARE, Observed

SAME_SERIES = (
    "dataset_digest",
    "benchmark_version",
    "protocol",
    "protocol_version",
    "prompt_digest",
    "shots",
    "kind",
    "asked_as",
)
OF_A_CHANGE = {"dataset_digest": "data", "benchmark_version": "data", "prompt_digest": "the words asked"}
MACHINE = ("processor", "cores", "architecture", "system")


def stretches(observed: Sequence[Observed]) -> list[tuple[str | None, list[Observed]]]:
    """The runs cut where something changed that makes them another measurement."""
    found: list[tuple[str | None, list[Observed]]] = []
    for one in observed:
        change = _changed(found[-1][1][-1], one) if found else None
        if not found or change:
            found.append((change, []))
        found[-1][1].append(one)
    return found


def _changed(before: Observed, now: Observed) -> str | None:
    names = [name for name in SAME_SERIES if getattr(before.info, name) != getattr(now.info, name)]
    words = [OF_A_CHANGE.get(name, name.replace("_", " ")) for name in names]
    words += ["which items were asked (nobody drew them at random)"] if _are_other_parts(before, now) else []
    words += ["the judge"] if differing_judges(before.info, now.info) else []
    if now.estimate.unit in UNITS_OF_HARDWARE:
        words += [f"the machine's {name}" for name in MACHINE if before.machine.get(name) != now.machine.get(name)]
    return " and ".join(dict.fromkeys(words)) or None


def _are_other_parts(before: Observed, now: Observed) -> bool:
    """Whether the items are other ones, and at random on one side at most."""
    if before.info.is_drawn and now.info.is_drawn:
        return False
    if before.asked is None or now.asked is None:
        return before.info.items != now.info.items
    return len(np.intersect1d(before.asked, now.asked)) < MOSTLY * max(len(before.asked), len(now.asked))
