"""Which items the store holds, and with which texts: an item is written once, however often it is asked.

What is known is eight bytes an item. It is learnt from what this process wrote, and from the store where it did not.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, select

from steelyard.store.database import schema
from steelyard.store.writing.codec import unpack
from steelyard.store.writing.payload import texts_of
from steelyard.types import Sample

Key = tuple[int, int]
"""An item's set and its place there."""

AT_ONCE = 500
ABSENT, UNREAD = 0, 1


class Items:
    """The items of one store as far as this process knows them; another process may have added some."""

    def __init__(self) -> None:
        self._of_set: dict[int, array[int]] = {}

    def know(self, keys: Iterable[Key]) -> bool:
        """Whether nothing about these items is to be learnt."""
        return all(item_set in self._of_set and self.print_at((item_set, at)) != UNREAD for item_set, at in keys)

    def learn(self, connection: Connection, keys: Iterable[Key]) -> None:
        """Look for these items in the store, and read those that are there and were not read yet."""
        wanted = list(keys)
        for item_set in {item_set for item_set, _ in wanted} - self._of_set.keys():
            self._of_set[item_set] = _positions_here(connection, item_set)
        unread = [key for key in wanted if self.print_at(key) == UNREAD]
        if unread:
            self.note(prints_here(connection, unread))

    def print_at(self, key: Key) -> int:
        """The print of the item there, 0 where there is none."""
        states = self._of_set[key[0]]
        return states[key[1]] if key[1] < len(states) else ABSENT

    def note(self, prints: Mapping[Key, int]) -> None:
        """These items are durable, with these prints."""
        for (item_set, position), found in prints.items():
            states = self._of_set[item_set]
            if position >= len(states):
                states.frombytes(bytes(states.itemsize * (position + 1 - len(states))))
            states[position] = found


def prints_here(connection: Connection, keys: Iterable[Key]) -> dict[Key, int]:
    """The prints of those of these items that are in the store, as they are there."""
    table = schema.samples
    prints: dict[Key, int] = {}
    for item_set, of_set in groupby(sorted(keys), key=itemgetter(0)):
        positions = [position for _, position in of_set]
        for start in range(0, len(positions), AT_ONCE):
            here = (table.c.set == item_set) & table.c.position.in_(positions[start : start + AT_ONCE])
            for position, content in connection.execute(select(table.c.position, table.c.content).where(here)):
                prints[item_set, position] = print_of(unpack(content, Sample))
    return prints


def print_of(sample: Sample) -> int:
    """64 bits, in this process, that tell the texts of one item from those of another; never 0 or 1."""
    found = hash(texts_of(sample))
    return found if found not in (ABSENT, UNREAD) else UNREAD + 1


def _positions_here(connection: Connection, item_set: int) -> array[int]:
    """A figure for each position of the set up to the last one that is stored."""
    table = schema.samples
    positions = connection.execute(select(table.c.position).where(table.c.set == item_set)).scalars().all()
    states = array("q", bytes(8 * (max(positions, default=-1) + 1)))
    for position in positions:
        states[position] = UNREAD
    return states
