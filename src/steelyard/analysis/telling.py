"""What was found, told: benchmarks that show the same share a sentence, in which each has its own numbers.

A rule says something of one benchmark. What two of them say is the same where it is decided alike and in the same words
but for the benchmark and what was seen on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

from msgspec import Struct

from steelyard.types import Estimate

Kind = Literal["told", "seen", "open", "beware"]

NAMED = 3
ROOM_FOR_A_NAME = 35
"""Letters that a name may take, on the mean, where some are left out."""
MOST_TOLD = 6
"""Of so many benchmarks a sentence has the numbers; those of more are in its parts alone."""


class Finding(Struct, frozen=True, kw_only=True):
    """A sentence with what it rests on.

    ``told``: decided by a test; ``seen``: an estimate that nothing was held against; ``open``: not decided;
    ``beware``: a doubt. ``rule`` names its section in ``docs/findings.md``; ``numbers`` are the estimates that it is
    made from. ``says_open``: the sentence itself says that it is not decided. ``parts``: the same of each benchmark,
    with its method and numbers, where the sentence is of several; it has none of its own then.
    """

    rule: str
    kind: Kind
    sentence: str
    benchmark: str = ""
    method: str = ""
    numbers: tuple[Estimate, ...] = ()
    says_open: bool = False
    parts: tuple[Finding, ...] = ()


class Said(Struct, frozen=True, kw_only=True):
    """What a rule says of one benchmark, in pieces: ``head``, what was seen, ``rest``.

    Between two parts of the head the benchmark is named. What was seen is ``alone``, or ``among`` what was seen on
    other benchmarks, where it names its own; ``between`` stands between these, and ``once`` after all of them.
    """

    rule: str
    kind: Kind
    benchmark: str
    head: tuple[str] | tuple[str, str]
    alone: str = ""
    among: str = ""
    between: str = "; "
    rest: str = ""
    once: str = ""
    method: str = ""
    numbers: tuple[Estimate, ...] = ()
    says_open: bool = False


def told(said: Sequence[Said]) -> list[Finding]:
    """One finding for all that say the same."""
    alike: dict[tuple[object, ...], list[Said]] = {}
    for one in said:
        alike.setdefault((one.rule, one.kind, one.head, one.rest), []).append(one)
    return [_together(group) for group in alike.values()]


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Names in a sentence, the first few of many; of long ones fewer, since nobody reads on past two lines of them.

    One name alone is not left out: its place would say no less than "and 1 more".
    """
    lengths = list(accumulate(map(len, names[: most + 1])))
    room = ROOM_FOR_A_NAME * most
    if len(names) <= most or (len(names) == most + 1 and lengths[-1] <= room):
        return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    shown = names[: max(1, sum(length <= room for length in lengths[:most]))]
    return f"{', '.join(shown)} and {len(names) - len(shown)} more"


def first_few(names: Sequence[str], most: int) -> str:
    """Names in a row, the first few of many; one alone is not left out here either."""
    shown = names if len(names) <= most + 1 else names[:most]
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return ", ".join(shown) + more


def _together(group: Sequence[Said]) -> Finding:
    first, *others = group
    if not others:
        return _alone(first)
    return Finding(rule=first.rule, kind=first.kind, sentence=_sentence(group), says_open=first.says_open,
                   parts=tuple(map(_alone, group)))  # fmt: skip


def _alone(one: Said) -> Finding:
    return Finding(rule=one.rule, kind=one.kind, sentence=f"{one.benchmark.join(one.head)}{one.alone}{one.rest}",
                   benchmark=one.benchmark, method=one.method, numbers=one.numbers,
                   says_open=one.says_open)  # fmt: skip


def _sentence(group: Sequence[Said]) -> str:
    first, shown = group[0], group[:MOST_TOLD]
    seen = [one.among for one in shown]
    head = listed([one.benchmark for one in group], MOST_TOLD).join(first.head)
    said = listed(seen, MOST_TOLD) if first.between == " and " else first.between.join(filter(None, seen))
    once = next((one.once for one in shown if one.once), "")
    return f"{head}{said}{first.rest}{once}{_not_shown(len(group) - len(shown))}"


def _not_shown(more: int) -> str:
    if not more:
        return ""
    return f" The numbers of {more} more {'benchmarks are' if more > 1 else 'benchmark are'} left out here."
