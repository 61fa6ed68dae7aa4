"""The findings of a run in a few sentences, for a terminal: the report's own, in the order in which it tells them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from steelyard.analysis.findings import Finding
from steelyard.analysis.recommendations import Recommendation
from steelyard.report.answers import plain
from steelyard.report.results import Results
from steelyard.store import Store

MOST = 6
WIDEST = 120
MOST_RECORDS = 50_000
"""Testing reads every record, some 20 microseconds each: with more than so many, a look in passing goes without."""


class Found(Struct, frozen=True, kw_only=True):
    """What was found in a run, and what it recommends; ``None`` where its ``records`` were too many to be tested."""

    records: int
    findings: tuple[Finding, ...] | None
    recommendations: tuple[Recommendation, ...] | None

    def document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "findings": msgspec.to_builtins(self.findings),
            "recommendations": msgspec.to_builtins(self.recommendations),
        }

    def lines(self, number: int, width: int) -> Iterator[str]:
        """The first few findings as lines that fit; doubts are left out, since they are printed as warnings."""
        at_length = f"steelyard report {number} --html report.html"
        if self.findings is None:
            yield from ("", f"What {self.records:,} records show is tested by: {at_length}")
            return
        told = [one for one in self.findings if one.rule != "doubts"]
        if told:
            yield from ("", "In short")
        for one in told[:MOST]:
            yield from hanging(f"- {plain(one.sentence)}", min(width, WIDEST))
        if len(told) > MOST:
            yield f"  and {len(told) - MOST} more: {at_length}"


def found_in_passing(store: Store, results: Results) -> Found:
    """What a run shows, where that can be told at once."""
    there = store.calls_by_cell(results.run.id)
    records = sum(there.get(cell.info.id or 0, 0) for cell in results.cells)
    if records > MOST_RECORDS:
        return Found(records=records, findings=None, recommendations=None)
    from steelyard.report.evidence import load_evidence  # it draws tables too, and a large run is shown without it

    evidence = load_evidence(store, [results.run])
    return Found(records=records, findings=evidence.findings, recommendations=evidence.recommendations)


def hanging(text: str, width: int) -> list[str]:
    """The text in lines that are broken between words, the further ones set in by two."""
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
