"""What was asked of whom, a row a cell, as both the report and the dashboard show it."""

from __future__ import annotations

from msgspec import Struct

from steelyard.types import CellInfo

SHORT = 16


class Asked(Struct, frozen=True, kw_only=True):
    """What tells one cell from another, short enough for a row."""

    model: str
    benchmark: str
    asked: str
    data: str
    digests: tuple[str, str]
    origin: str


def asked_row(cell: CellInfo, name: str = "") -> Asked:
    """The row of a cell, whose model goes by ``name`` where the page calls it by another one."""
    times = f", {cell.repeats} times" if cell.repeats > 1 else ""
    return Asked(
        model=name or cell.model,
        benchmark=cell.label,
        asked=f"{cell.items:,} of {cell.available:,}{times}",
        data=f"{cell.dataset}, {cell.revision}" if cell.revision else cell.dataset,
        digests=(cell.dataset_digest[:SHORT], cell.prompt_digest[:SHORT]),
        origin=cell.origin,
    )
