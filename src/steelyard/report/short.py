"""The findings of a run in a few sentences, for a terminal: the report's own, in the order in which it tells them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from steelyard.analysis.findings import Finding
from steelyard.report.answers import plain

MOST = 6
WIDEST = 120


def short_lines(findings: Sequence[Finding], number: int, width: int) -> Iterator[str]:
    """The first few findings as lines that fit; doubts are left out, since they are printed as warnings."""
    told = [one for one in findings if one.rule != "doubts"]
    if not told:
        return
    yield ""
    yield "In short"
    for one in told[:MOST]:
        yield from hanging(f"- {plain(one.sentence)}", min(width, WIDEST))
    if len(told) > MOST:
        yield f"  and {len(told) - MOST} more: steelyard report {number} --html report.html"


def hanging(text: str, width: int) -> list[str]:
    """The text in lines that are broken between words, the further ones set in by two."""
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
