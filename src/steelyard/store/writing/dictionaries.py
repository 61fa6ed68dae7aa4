"""Dictionaries: what the texts of one item set have in common is kept once, and each payload is the smaller for it.

A small one is trained on the first payloads of a set, since most sets are small, and larger ones on later payloads of
a set that grows. A frame names the dictionary that it was compressed with, so payloads with and without one stand side
by side, and reading needs nothing but the store's table of them.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import zstandard
from msgspec import Struct
from sqlalchemy import Connection, func, select

from steelyard.errors import StoreError
from steelyard.store.database import schema
from steelyard.store.writing import codec


class Training(Struct, frozen=True, kw_only=True):
    """When a dictionary is trained: on ``enough`` payloads that follow ``after`` others, and how large it may be."""

    after: int = 0
    enough: int
    size_bytes: int


TRAININGS = (
    Training(enough=40, size_bytes=16 * 1024),
    Training(enough=1_000, size_bytes=112 * 1024),
    Training(after=5_000, enough=2_000, size_bytes=256 * 1024),
)
"""The first halves an item's bytes. Each later one saves 20 to 70 of them, and weighs 40 and 90 kB in the store: it is
worth that where as many items follow as went before."""
ENOUGH_BYTES = 4_000_000
LEAST = 100
BYTES_AT_ONCE = 100_000
"""Of more than so much it takes up to 0.3 s to train, too long for answers to wait."""
PATTERN_BYTES = 2 * 1024
FIRST_FREE_ID = 32_768  # below are those that the format's authors reserve
LAST_ID = 2**31 - 1

Transaction = Callable[[], AbstractContextManager[Connection]]
Encoded = bytes | bytearray | memoryview


class Trained(Struct, frozen=True, kw_only=True):
    """A dictionary, as it is kept."""

    number: int
    content: bytes


class Packing:
    """How payloads of one item set are written; they are gathered meanwhile to train the next dictionary on.

    ``trained`` is how many dictionaries the set has had.
    """

    def __init__(self, item_set: int, dictionary: zstandard.ZstdCompressionDict | None, trained: int = 0) -> None:
        self.item_set = item_set
        self._dictionary = dictionary
        self._trained = trained
        self._gathered: list[Encoded] = []
        self._gathered_bytes = 0
        self._passed = 0
        self._patterns: dict[type, bytes] = {}
        self._in_training: Future[Trained | None] | None = None

    def pack(self, value: Any) -> bytes:
        """The value as compressed msgpack."""
        encoded = codec.encode(value)
        if self._next is not None and not self.is_ripe:  # a write that is tried again gathers the same again
            self._gather(self._next, type(value), encoded)
        return codec.compress(encoded, self._dictionary)

    @property
    def _next(self) -> Training | None:
        """The training that is still to come."""
        return TRAININGS[self._trained] if self._trained < len(TRAININGS) else None

    def _gather(self, training: Training, kind: type, encoded: bytes) -> None:
        if self._passed < training.after:
            self._passed += 1
            return
        self._gathered.append(encoded)
        self._gathered_bytes += len(encoded)
        self._patterns[kind] = encoded

    @property
    def is_ripe(self) -> bool:
        """Whether enough has been gathered."""
        gathered = len(self._gathered)
        if self._next is None:
            return False
        return gathered >= self._next.enough or (gathered >= LEAST and self._gathered_bytes >= ENOUGH_BYTES)

    @property
    def is_in_training(self) -> bool:
        """Whether an earlier dictionary is not taken up yet."""
        return self._in_training is not None

    def train(self, elsewhere: Callable[[], Executor]) -> None:
        """Have a dictionary made of what was gathered, ``elsewhere`` if it is much; begin to gather anew."""
        assert self._next is not None
        patterns = b"".join(map(_shortened, self._patterns.values()))
        make = partial(_made, self._gathered, patterns, self._next.size_bytes)
        if self._gathered_bytes > BYTES_AT_ONCE:
            self._in_training = elsewhere().submit(make)
        else:
            self._in_training = Future()
            self._in_training.set_result(make())
        self._gathered, self._gathered_bytes, self._passed, self._patterns = [], 0, 0, {}
        self._trained += 1

    def take_trained(self) -> Trained | None:
        """What has been trained meanwhile, once."""
        if self._in_training is None or not self._in_training.done():
            return None
        ended, self._in_training = self._in_training, None
        return ended.result()

    def use(self, dictionary: zstandard.ZstdCompressionDict) -> None:
        """Compress with it from now on."""
        self._dictionary = dictionary


def _made(gathered: list[Encoded], patterns: bytes, size_bytes: int) -> Trained | None:
    """A dictionary for these, or ``None`` where they have nothing in common.

    It ends with a payload of each kind: training picks what recurs, and at times tears what all have in common.
    """
    number = FIRST_FREE_ID + secrets.randbelow(LAST_ID - FIRST_FREE_ID)
    try:
        trained = zstandard.train_dictionary(size_bytes - len(patterns), gathered, level=codec.LEVEL, dict_id=number)
    except (zstandard.ZstdError, MemoryError):
        return None
    return Trained(number=number, content=codec.squeezed(trained.as_bytes() + patterns))


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
        self._trainer: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Let payloads find their dictionaries here, from whatever thread they are read."""
        codec.ask(self)

    def close(self) -> None:
        """Be asked no more; what is still in training is for nobody."""
        codec.ask_no_more(self)
        if self._trainer is not None:
            self._trainer.shutdown(wait=False, cancel_futures=True)

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
            if packing.is_ripe and not packing.is_in_training:
                with suppress(RuntimeError):  # no thread is to be had at present: it stays ripe
                    packing.train(self._elsewhere)
            if (trained := packing.take_trained()) is not None:
                with suppress(StoreError):
                    packing.use(self._kept(packing.item_set, trained))

    def _elsewhere(self) -> Executor:
        """The thread that trains."""
        if self._trainer is None:
            self._trainer = ThreadPoolExecutor(1, thread_name_prefix="steelyard-dictionaries")
        return self._trainer

    def find(self, number: int) -> bytes | None:
        """The dictionary that a frame names, or ``None`` where this store does not have it."""
        table = schema.dictionaries
        with self._reading() as connection:
            return connection.execute(select(table.c.content).where(table.c.id == number)).scalar()

    def _kept(self, item_set: int, trained: Trained) -> zstandard.ZstdCompressionDict:
        row = {"id": trained.number, "set": item_set, "content": trained.content}
        with self._writing() as connection:
            connection.execute(schema.dictionaries.insert().values(**row))
        return codec.prepared(trained.content)

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
