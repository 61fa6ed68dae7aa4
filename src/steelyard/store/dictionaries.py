"""Dictionaries: what the texts of one item set have in common is kept once, and each payload is the smaller for it.

One is trained on the first payloads of a set, and a larger one on later payloads of a set that has grown large. A frame
names the dictionary that it was compressed with, so payloads with and without one stand side by side, and reading needs
nothing but the store's table of them.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any

import zstandard
from sqlalchemy import Connection, func, select

from steelyard.errors import StoreError
from steelyard.store import codec, schema

ENOUGH = 1_000
ENOUGH_BYTES = 4_000_000
LEAST = 100
SIZE_BYTES = 64 * 1024
BEFORE_SECOND, ENOUGH_FOR_SECOND, SIZE_OF_SECOND_BYTES = 6_000, 2_000, 256 * 1024
"""The second saves some 30 to 70 bytes an item more: worth its weight where as many items follow as went before."""
PATTERN_BYTES = 2 * 1024
FIRST_FREE_ID = 32_768  # below are those that the format's authors reserve
LAST_ID = 2**31 - 1

Transaction = Callable[[], AbstractContextManager[Connection]]


class Packing:
    """How payloads of one item set are written; they are gathered meanwhile to train the next dictionary on.

    ``trained`` is how many dictionaries the set has had, of at most two.
    """

    def __init__(self, item_set: int, dictionary: zstandard.ZstdCompressionDict | None, trained: int = 0) -> None:
        self.item_set = item_set
        self._dictionary = dictionary
        self._trained = trained
        self._gathered: list[bytes | bytearray | memoryview[int]] = []
        self._gathered_bytes = 0
        self._passed = 0
        self._patterns: dict[type, bytes] = {}

    def pack(self, value: Any) -> bytes:
        """The value as compressed msgpack."""
        encoded = codec.encode(value)
        if self._trained < 2 and not self.is_ripe:  # a write that is tried again gathers the same again
            self._gather(type(value), encoded)
        return codec.compress(encoded, self._dictionary)

    def _gather(self, kind: type, encoded: bytes) -> None:
        if self._trained and self._passed < BEFORE_SECOND:
            self._passed += 1
            return
        self._gathered.append(encoded)
        self._gathered_bytes += len(encoded)
        self._patterns[kind] = encoded

    @property
    def is_ripe(self) -> bool:
        """Whether enough has been gathered."""
        gathered = len(self._gathered)
        enough = ENOUGH_FOR_SECOND if self._trained else ENOUGH
        return gathered >= enough or (gathered >= LEAST and self._gathered_bytes >= ENOUGH_BYTES)

    def train(self) -> zstandard.ZstdCompressionDict | None:
        """A dictionary for what was gathered, or ``None`` where there is nothing in common; begins to gather anew.

        It ends with a payload of each kind: training picks what recurs, and at times tears what all have in common.
        """
        gathered, patterns = self._gathered, b"".join(map(_shortened, self._patterns.values()))
        size = (SIZE_OF_SECOND_BYTES if self._trained else SIZE_BYTES) - len(patterns)
        number = FIRST_FREE_ID + secrets.randbelow(LAST_ID - FIRST_FREE_ID)
        self._gathered, self._gathered_bytes, self._patterns = [], 0, {}
        self._trained += 1
        try:
            trained = zstandard.train_dictionary(size, gathered, level=codec.LEVEL, dict_id=number)
        except zstandard.ZstdError:
            return None
        return zstandard.ZstdCompressionDict(trained.as_bytes() + patterns)

    def use(self, dictionary: zstandard.ZstdCompressionDict) -> None:
        """Compress with it from now on."""
        self._dictionary = dictionary


def _shortened(pattern: bytes) -> bytes:
    """Both ends of it: what recurs in every payload stands around its text."""
    half = PATTERN_BYTES // 2
    return pattern if len(pattern) <= PATTERN_BYTES else pattern[:half] + pattern[-half:]


class Dictionaries:
    """The dictionaries of one store."""

    def __init__(self, reading: Transaction, writing: Transaction) -> None:
        self._reading, self._writing = reading, writing
        self._of_cell: dict[int, Packing] = {}
        self._of_set: dict[int, Packing] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """Let payloads find their dictionaries here, from whatever thread they are read."""
        codec.sources.add(self)

    def close(self) -> None:
        """Be asked no more."""
        codec.sources.discard(self)

    def of(self, cells: Iterable[int]) -> dict[int, Packing]:
        """How payloads of these cells are written. A cell that is not in the store any more has no dictionary."""
        with self._lock:
            missing = set(cells) - self._of_cell.keys()
            if missing:
                self._read(missing)
            return {cell: self._of_cell.get(cell) or Packing(0, None) for cell in cells}

    def learn(self, packings: Iterable[Packing]) -> None:
        """Train dictionaries where enough has been gathered, and keep them before anything is compressed with them.

        Where one cannot be kept the set goes without: what it would have been for is durable already.
        """
        for packing in packings:
            if packing.is_ripe and (trained := packing.train()) is not None:
                with suppress(StoreError):
                    self._keep(packing.item_set, trained)
                    packing.use(codec.prepared(trained.as_bytes()))

    def find(self, number: int) -> bytes | None:
        """The dictionary that a frame names, or ``None`` where this store does not have it."""
        table = schema.dictionaries
        with self._reading() as connection:
            return connection.execute(select(table.c.content).where(table.c.id == number)).scalar()

    def _keep(self, item_set: int, trained: zstandard.ZstdCompressionDict) -> None:
        row = {"id": trained.dict_id(), "set": item_set, "content": trained.as_bytes()}
        with self._writing() as connection:
            connection.execute(schema.dictionaries.insert().values(**row))

    def _read(self, cells: set[int]) -> None:
        table, dictionaries = schema.cells, schema.dictionaries
        with self._reading() as connection:
            rows = connection.execute(select(table.c.id, table.c.set).where(table.c.id.in_(cells))).all()
            for cell, item_set in rows:
                if item_set not in self._of_set:
                    largest = func.length(dictionaries.c.content).desc()
                    chosen = select(dictionaries.c.content).where(dictionaries.c.set == item_set).order_by(largest)
                    contents = connection.execute(chosen).scalars().all()
                    known = codec.prepared(contents[0]) if contents else None
                    self._of_set[item_set] = Packing(item_set, known, len(contents))
                self._of_cell[cell] = self._of_set[item_set]
