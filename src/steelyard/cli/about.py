"""What the benchmarks on a page ask, which reports and the dashboard are told, since neither knows benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.report.evidence import Evidence


def about_benchmarks(evidence: Evidence) -> dict[str, str]:
    """What each benchmark that ships with us asks, and how its protocol does, by the label on the page."""
    from steelyard.benchmarks import BUILT_IN, find_benchmark

    found: dict[str, str] = {}
    for bench in evidence.benches:
        info = next(iter((*bench.models, *bench.floors))).side.info
        if info.benchmark in BUILT_IN:
            known = find_benchmark(info.benchmark)
            asked = [one.description for one in known.protocols if one.name == info.protocol]
            said = "; ".join(filter(None, [known.description, *asked]))
            found[bench.label] = f"{said[:1].upper()}{said[1:]}." if said else ""
    return found
