"""How values become bytes in the store: msgpack for nouns, compressed with zstandard where they are large."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec
import zstandard

T = TypeVar("T")

LEVEL = 3
_local = threading.local()


def pack(value: Any) -> bytes:
    """The value as compressed msgpack."""
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=LEVEL)
    compressed: bytes = _local.compressor.compress(msgspec.msgpack.encode(value))
    return compressed


def unpack(data: bytes, kind: type[T]) -> T:
    """The value that ``pack`` was given."""
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    return msgspec.msgpack.decode(_local.decompressor.decompress(data), type=kind)
