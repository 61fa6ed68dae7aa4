"""Where a new series begins: what was asked, how it was judged, or for times the machine changed."""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.analysis.pairing import differing_judges
from steelyard.analysis.trend.observed import UNITS_OF_HARDWARE, Observed

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
    words += ["the judge"] if differing_judges(before.info, now.info) else []
    if now.estimate.unit in UNITS_OF_HARDWARE:
        words += [f"the machine's {name}" for name in MACHINE if before.machine.get(name) != now.machine.get(name)]
    return " and ".join(dict.fromkeys(words)) or None
