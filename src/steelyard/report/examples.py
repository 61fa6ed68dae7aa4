"""What many prompts of a report begin with, worked examples mostly, shown once and not with every question.

And how many items a page carries: what they say is most of its size, so it is their texts that are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from steelyard.report.samples import LONGEST_PROMPT, Item
from steelyard.report.unseen import cut

SHORTEST = 400
"""A beginning that is shorter is shown where it stands."""
LONGEST = 12_000
ITEMS = 3
MOST_TEXT = 230_000
"""So many characters of prompts, right answers, answers and what prompts begin with come along in all."""


class Examples(Struct, frozen=True, kw_only=True):
    """The beginning that all shown prompts of a part of a benchmark have in common."""

    benchmark: str
    stratum: str
    text: str
    items: int


def examples_apart(items: Sequence[Item]) -> tuple[list[Item], list[Examples]]:
    """The items with prompts that go without their common beginning, cut to a length, and these beginnings.

    A beginning ends with a paragraph, so that no question is torn.
    """
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.benchmark, item.stratum), []).append(item)
    found: list[Examples] = []
    places: dict[tuple[str, str], tuple[int | None, int]] = {}
    for (benchmark, stratum), group in groups.items():
        text = _common([item.prompt for item in group])
        if len(group) < ITEMS or len(text) < SHORTEST:
            continue
        places[benchmark, stratum] = (len(found), len(text))
        shown = cut(text.rstrip(), LONGEST)
        found.append(Examples(benchmark=benchmark, stratum=stratum, text=shown, items=len(group)))
    apart = [places.get((item.benchmark, item.stratum), (None, 0)) for item in items]
    shortened = [
        msgspec.structs.replace(item, prompt=cut(item.prompt[begins:], LONGEST_PROMPT), examples=place)
        for item, (place, begins) in zip(items, apart, strict=True)
    ]
    return shortened, found


def fitting(items: Sequence[Item], examples: Sequence[Examples]) -> tuple[list[Item], list[Examples]]:
    """As many of the items as may come along, each so many-th from all over, and the beginnings of these."""
    room = max(MOST_TEXT - sum(len(one.text) for one in examples), MOST_TEXT // 2)
    share = min(1.0, room / max(1, sum(map(_length, items))))
    kept = [item for place, item in enumerate(items) if int((place + 1) * share) > int(place * share)]
    counts = Counter(item.examples for item in kept if item.examples is not None)
    places = {old: new for new, old in enumerate(sorted(counts))}
    return (
        [
            item if item.examples is None else msgspec.structs.replace(item, examples=places[item.examples])
            for item in kept
        ],
        [msgspec.structs.replace(examples[old], items=counts[old]) for old in places],
    )


def _length(item: Item) -> int:
    said = sum(len(one.text) + len(one.extracted or "") + len(one.reason) for one in item.answers)
    return len(item.prompt) + len(item.gold) + said


def _common(prompts: Sequence[str]) -> str:
    """What all begin with, up to the end of a paragraph."""
    first, last = min(prompts), max(prompts)  # all others lie between these two in order, and begin as both do
    n = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    start = first[:n]
    return start[: start.rfind("\n\n") + 2] if "\n\n" in start else ""
