"""A finding as a page lays it out: what it claims, then what was seen, a line a benchmark where it is of several."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from steelyard.analysis.telling import MOST_TOLD, Finding
from steelyard.report.unseen import visible

if TYPE_CHECKING:
    from markupsafe import Markup

LONG_NAME = 28
"""Letters of a name that stand on one line of a row."""
SHORT_NAME = 12
"""Letters of a name that stand on one line wherever a row has least room."""
BETWEEN_PARTS = re.compile(r"([/_])(?=\w)")
ENDS = (". ", ": ", "; ")
UNITS = r"(?:%|(?:ms|s|min|h|USD|kB|MB|GB|points?|times)\b)"
UNBROKEN = re.compile(rf"(?<![\w-])--[a-z][a-z-]*|[\d.,]+ {UNITS}|\bn = \d[\d,]*\d|\bn = \d")
"""What a line does not break: an option of ours, a number with its unit."""


class LaidOut(Struct, frozen=True, kw_only=True):
    """The claim and what follows it; of several benchmarks each with its own, where these differ."""

    claim: str
    seen: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    more: int = 0


def laid_out(finding: Finding) -> LaidOut:
    """Three benchmarks in one paragraph are not read: each gets a line, up to as many as the sentence tells of."""
    claim, seen = _split(finding.sentence)
    each = [(part.benchmark, _split(part.sentence)[1]) for part in finding.parts]
    if all(words == seen for _, words in each):  # said once, it holds of all
        return LaidOut(claim=claim, seen=seen)
    return LaidOut(claim=claim, lines=tuple(each[:MOST_TOLD]), more=len(each[MOST_TOLD:]))


def _split(sentence: str) -> tuple[str, str]:
    """The claim, which is what comes before the first stop, and the rest."""
    end = min((place for stop in ENDS if (place := sentence.find(stop)) >= 0), default=len(sentence)) + 1
    return sentence[:end], sentence[end:].strip()


def prose(text: str) -> Markup:
    """A sentence as markup, in which no number parts from its unit, and no option is broken after its hyphens."""
    from markupsafe import Markup, escape

    return Markup(unbroken(str(escape(visible(text)))))  # noqa: S704 - escaped before


def parted(name: str) -> Markup:
    """A name for a row: a line breaks after a stroke or an underscore of it, and last at a hyphen of its last part."""
    from markupsafe import Markup

    path, slash, own = visible(name).rpartition("/")
    if not slash or len(name) <= LONG_NAME:
        return _breaking(visible(name))
    return Markup('{}<wbr><span class="own">{}</span>').format(_breaking(path) + slash, _breaking(own))


def _breaking(text: str) -> Markup:
    from markupsafe import Markup, escape

    if len(text) <= SHORT_NAME:
        return escape(text)
    return Markup(BETWEEN_PARTS.sub(r"\1<wbr>", str(escape(text))))  # noqa: S704 - escaped before


def unbroken(markup: str) -> str:
    """Markup in which an option, or a number with its unit, stays on one line; the text is what it was."""
    return UNBROKEN.sub(lambda found: f'<span class="unbroken">{found[0]}</span>', markup)
