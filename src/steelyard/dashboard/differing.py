"""Two texts side by side, with the words marked that only one of them has.

Words are found by difflib. Texts that are too long, or have little in common, are shown as they are: to mark nearly
everything would show nothing, and a page must not take long.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_WORDS = 400
MOST_MEETINGS = 20_000
"""Pairs of equal words, which is what finding them takes: a reply that repeats itself has far more than prose."""
ALIKE = 0.3
"""From this share of common words on, the differing ones are worth marking."""
_WORDS = re.compile(r"\s*(?:\w+|[^\w\s]+)|\s+$")


class Marked(Struct, frozen=True, kw_only=True):
    """Both texts as markup; ``is_marked``: words that differ are marked, ``is_same``: there are none."""

    one: Markup
    other: Markup
    is_marked: bool
    is_same: bool


def side_by_side(one: str, other: str) -> Marked:
    """What only the first has within ``<del>``, what only the other has within ``<ins>``; all text escaped."""
    from markupsafe import escape

    words, others = _WORDS.findall(one), _WORDS.findall(other)
    found = SequenceMatcher(None, _keys(words), _keys(others), autojunk=False)
    if one == other or not _is_soon_found(words, others) or found.quick_ratio() < ALIKE or found.ratio() < ALIKE:
        return Marked(one=escape(one), other=escape(other), is_marked=False, is_same=one == other)
    steps = found.get_opcodes()
    return Marked(
        one=_joined(words, [(first, last, step != "equal") for step, first, last, _, _ in steps], "del"),
        other=_joined(others, [(first, last, step != "equal") for step, _, _, first, last in steps], "ins"),
        is_marked=True,
        is_same=False,
    )


def _keys(words: Sequence[str]) -> list[str]:
    return [word.strip() for word in words]


def _is_soon_found(words: Sequence[str], others: Sequence[str]) -> bool:
    if max(len(words), len(others)) > MOST_WORDS:
        return False
    counts, beside = Counter(_keys(words)), Counter(_keys(others))
    return sum(count * beside[word] for word, count in counts.items()) <= MOST_MEETINGS


def _joined(words: Sequence[str], parts: Sequence[tuple[int, int, bool]], tag: str) -> Markup:
    from markupsafe import Markup, escape

    shown = []
    for first, last, differs in parts:
        text = "".join(words[first:last])
        said = text.lstrip()
        mark = Markup(f"<{tag}>{{}}</{tag}>") if differs and said else Markup("{}")  # noqa: S704 - a tag of ours
        shown += [escape(text[: len(text) - len(said)]), mark.format(said)]
    return Markup("").join(shown)
