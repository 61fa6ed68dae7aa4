"""How values become bytes in the store: msgpack for nouns, compressed with zstandard where they are large."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec
import zstandard

from steelyard.types import Completion

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


def fingerprint(completion: Completion | None) -> int:
    """64 bits that tell one answer from another: its text, or its likelihoods to six decimals; 0 for none."""
    if completion is None:
        return 0
    weighed = ",".join(f"{likelihood.logprob:.6f}" for likelihood in completion.likelihoods)
    text = f"{weighed}/{completion.text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


@overload
def well_formed(text: str) -> str: ...
@overload
def well_formed(text: None) -> None: ...
def well_formed(text: str | None) -> str | None:
    """The text with each lone surrogate, which no encoding can hold, replaced by U+FFFD."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def mended(value: T, mend: Callable[[str], str] = well_formed) -> T:
    """The noun with all its texts as ``mend`` makes them."""
    plain = msgspec.to_builtins(value, builtin_types=(bytes,))
    return msgspec.convert(_mended(plain, mend), type=type(value), builtin_types=(bytes,))


def _mended(value: Any, mend: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict):
        return {_mended(key, mend): _mended(inner, mend) for key, inner in value.items()}
    return [_mended(inner, mend) for inner in value] if isinstance(value, list | tuple) else value
