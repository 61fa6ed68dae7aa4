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
SAID_OF_A_CUT = 50
"""So many characters say how much was left out."""
CLOSER = 0.995
"""By how much fewer items are tried where a share of them turns out not to fit."""


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
    """As many of the items as may come along, the first one and each so many-th, and the beginnings of these.

    Where not even one fits, its answers are cut; beginnings are cut to what the items leave.
    """
    room = max(MOST_TEXT - sum(len(one.text) for one in examples), MOST_TEXT // 2)
    kept = [_within(item, room) for item in _from_all_over(items, room)]
    counts = Counter(item.examples for item in kept if item.examples is not None)
    places = {old: new for new, old in enumerate(sorted(counts))}
    most = _longest([len(examples[old].text) for old in places], MOST_TEXT - sum(map(_length, kept)))
    return (
        [
            item if item.examples is None else msgspec.structs.replace(item, examples=places[item.examples])
            for item in kept
        ],
        [
            msgspec.structs.replace(examples[old], items=counts[old], text=cut(examples[old].text, most))
            for old in places
        ],
    )


def _from_all_over(items: Sequence[Item], room: int) -> list[Item]:
    """The first item, which tells most, and each so many-th after it, as many as fit."""
    lengths = [_length(item) for item in items]
    share = 1.0
    while True:
        places = [at for at in range(len(items)) if at == 0 or int(at * share) > int((at - 1) * share)]
        text = sum(lengths[at] for at in places)
        if text <= room or len(places) == 1:
            return [items[at] for at in places]
        share *= min(CLOSER, room / text)


def _within(item: Item, room: int) -> Item:
    """The item with its answers cut to what its question leaves them."""
    if _length(item) <= room:
        return item
    texts = [len(one.text) for one in item.answers]
    most = _longest(texts, room - _length(item) + sum(texts))
    answers = tuple(msgspec.structs.replace(one, text=cut(one.text, most)) for one in item.answers)
    return msgspec.structs.replace(item, answers=answers)


def _longest(lengths: Sequence[int], room: int) -> int:
    """To which length the longest are cut, so that all fit, with what is said of each cut."""
    left = room
    for place, length in enumerate(sorted(lengths)):
        even = left // (len(lengths) - place)
        if length > even:
            return max(even - SAID_OF_A_CUT, 1)
        left -= length
    return max(lengths, default=0)


def _length(item: Item) -> int:
    said = sum(len(one.text) + len(one.extracted or "") + len(one.reason) for one in item.answers)
    return len(item.prompt) + len(item.gold) + said


def _common(prompts: Sequence[str]) -> str:
    """What all begin with, up to the end of a paragraph."""
    first, last = min(prompts), max(prompts)  # all others lie between these two in order, and begin as both do
    n = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    start = first[:n]
    return start[: start.rfind("\n\n") + 2] if "\n\n" in start else ""
