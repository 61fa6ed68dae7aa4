"""Which address shows just the answers behind a number of a run's tables, or goes on and back in a list."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from steelyard.dashboard.board import LONGEST_PARAMETER
from steelyard.dashboard.rendering import address
from steelyard.report.matrix import DASH, Cell, Table

FLOOR = " (floor)"
STATES = {
    "unparsed": "unparsed",
    "truncated": "truncated",
    "refused": "refused",
    "errors": "failed",
    "reliability": "failed",
}
"""Figures that count answers of one state."""
SLOWEST = ("latency, mean", "latency P50", "latency P95", "latency P99", "median latency")
OF_ALL = ("accuracy", "n", "output tokens")


def with_links(table: Table, run: int, *, benchmark: str | None = None, strata: Collection[str] = ()) -> Table:
    """The table with an address in each cell whose answers can be listed; ``None``: benchmarks are its columns.

    ``strata`` are the subjects by which answers can be sought; groups of them are not.
    """
    lines = tuple(
        msgspec.structs.replace(
            line,
            cells=tuple(
                _linked(one, run, _wanted(table.first, line.name, heading, benchmark, strata))
                for heading, one in zip(table.headings, line.cells, strict=True)
            ),
        )
        for line in table.lines
    )
    return msgspec.structs.replace(table, lines=lines)


def _linked(one: Cell, run: int, wanted: dict[str, str] | None) -> Cell:
    if wanted is None or one.text in ("", DASH):
        return one
    return msgspec.structs.replace(one, link=address(f"/runs/{run}/answers", **wanted))


def _wanted(
    first: str, line: str, heading: str, benchmark: str | None, strata: Collection[str]
) -> dict[str, str] | None:
    if benchmark is None:
        return {"model": line, "benchmark": heading} if "@" in heading else None
    if first == "subject":
        return (
            {"model": heading, "benchmark": benchmark, "stratum": line} if line in strata and heading != "n" else None
        )
    figure, model = (line, heading) if first == "figure" else (heading, line)
    return _of_figure(figure, model.removesuffix(FLOOR), benchmark)


def _of_figure(figure: str, model: str, benchmark: str) -> dict[str, str] | None:
    whose = {"model": model, "benchmark": benchmark}
    if figure in STATES:
        return whose | {"state": STATES[figure]}
    if figure in SLOWEST:
        return whose | {"order": "slowest"}
    if figure.startswith("cost"):
        return whose | {"order": "dearest"}
    return whose if figure in OF_ALL else None


def around(after: str, trail: Sequence[str], following: str) -> dict[str, dict[str, str]]:
    """What the addresses of the next page and of the one before say of their place.

    A page knows where those before it began: the ``trail``, as far as an address holds it; before that is the first.
    """
    longer = [*trail, after] if after else []
    while len(",".join(longer)) > LONGEST_PARAMETER:
        longer.pop(0)
    return {
        "next": {"after": following, "trail": ",".join(longer)},
        "before": {"after": trail[-1] if trail else "", "trail": ",".join(trail[:-1])},
    }
