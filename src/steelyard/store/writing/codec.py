"""How values become bytes in the store: msgpack for nouns, compressed with zstandard where they are large."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar, overload

import msgspec
import zstandard

from steelyard.errors import StoreError
from steelyard.types import Completion
from steelyard.types.ready import ready

T = TypeVar("T")

LEVEL = 3
LEVEL_OF_DICTIONARIES = 12

DAMAGED = "Try: an earlier copy of the store, or steelyard runs salvage"


class Source(Protocol):
    """Where dictionaries are kept."""

    def find(self, number: int) -> bytes | None:
        """The dictionary of that id, or ``None``."""


_sources: weakref.WeakSet[Source] = weakref.WeakSet()
"""The open stores: a frame names its dictionary, and one of them has it."""
_opening = threading.Lock()  # a set that grows while it is gone through is an error


def ask(source: Source) -> None:
    """Look for dictionaries there too, from whatever thread a payload is read."""
    with _opening:
        _sources.add(source)


def ask_no_more(source: Source) -> None:
    """Look for none there."""
    with _opening:
        _sources.discard(source)


class _OfThread(threading.local):
    """Each thread's own compressors and decompressors: they must not be shared."""

    def __init__(self) -> None:
        self.compressors: dict[zstandard.ZstdCompressionDict | None, zstandard.ZstdCompressor] = {}
        self.decompressors: dict[int, zstandard.ZstdDecompressor] = {}


_local = _OfThread()
_dictionaries: dict[int, zstandard.ZstdCompressionDict] = {}


def encode(value: Any) -> bytes:
    """The value as msgpack."""
    return msgspec.msgpack.encode(value)


def compress(encoded: bytes, dictionary: zstandard.ZstdCompressionDict | None = None) -> bytes:
    """The bytes as a frame that names its dictionary, where it has one."""
    compressor = _local.compressors.get(dictionary)
    if compressor is None:
        compressor = _local.compressors[dictionary] = zstandard.ZstdCompressor(
            level=LEVEL, dict_data=dictionary, write_checksum=True
        )
    return compressor.compress(encoded)


def pack(value: Any) -> bytes:
    """The value as compressed msgpack."""
    return compress(encode(value))


def pack_as(frame: bytes, value: Any) -> bytes:
    """The value as compressed msgpack, with the dictionary that another frame has, if any."""
    number = zstandard.get_frame_parameters(frame).dict_id
    return compress(encode(value), _dictionary(number) if number else None)


def unpack(data: bytes, kind: type[T]) -> T:
    """The value that was packed; damage is found by the checksum that stands in every frame of today's."""
    found: T = unpack_any(data, kind, kind.__name__.lower())
    return found


def unpack_any(data: bytes, kind: Any, name: str) -> Any:
    """The same of whatever msgspec calls a type; ``name`` is what the user knows it by."""
    try:
        decompressor = _decompressor(zstandard.get_frame_parameters(data).dict_id)
        return msgspec.msgpack.decode(decompressor.decompress(data), type=ready(kind))
    except (zstandard.ZstdError, msgspec.DecodeError, MemoryError) as error:  # a damaged head states any size
        reason = str(error) or "there is no memory for it"
        raise StoreError(f"a stored {name} is damaged ({reason}). {DAMAGED}") from error


def _decompressor(number: int) -> zstandard.ZstdDecompressor:
    if number not in _local.decompressors:
        dictionary = _dictionary(number) if number else None
        _local.decompressors[number] = zstandard.ZstdDecompressor(dict_data=dictionary)
    return _local.decompressors[number]


def squeezed(dictionary: bytes) -> bytes:
    """A dictionary as it is kept, which is a third of it: it holds texts too. One that is so already stays."""
    if dictionary.startswith(zstandard.FRAME_HEADER):
        return dictionary
    return zstandard.ZstdCompressor(level=LEVEL_OF_DICTIONARIES, write_checksum=True).compress(dictionary)


def prepared(content: bytes) -> zstandard.ZstdCompressionDict:
    """The dictionary that is kept so, ready for use and known to ``unpack``."""
    try:
        dictionary = zstandard.ZstdCompressionDict(zstandard.ZstdDecompressor().decompress(content))
    except zstandard.ZstdError as error:
        raise StoreError(f"a stored dictionary is damaged ({error})") from error
    dictionary.precompute_compress(level=LEVEL)
    return _dictionaries.setdefault(dictionary.dict_id(), dictionary)


def _dictionary(number: int) -> zstandard.ZstdCompressionDict:
    if number not in _dictionaries:
        with _opening:
            sources = list(_sources)
        content = next(filter(None, (_found(source, number) for source in sources)), None)
        if content is None:
            raise StoreError(
                f"a stored payload is damaged (the store does not hold its dictionary {number}). {DAMAGED}"
            )
        return prepared(content)
    return _dictionaries[number]


def _found(source: Source, number: int) -> bytes | None:
    with suppress(StoreError):  # another store's trouble is not this one's
        return source.find(number)
    return None


def fingerprint(completion: Completion | None) -> int:
    """64 bits that tell one answer from another: its text, or its likelihoods to six decimals; 0 for none."""
    if completion is None:
        return 0
    likelihoods = completion.likelihoods
    weighed = ",".join([f"{likelihood.logprob:.6f}" for likelihood in likelihoods]) if likelihoods else ""
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
    return msgspec.convert(_mended(plain, mend), type=ready(type(value)), builtin_types=(bytes,))


def _mended(value: Any, mend: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict):
        return {_mended(key, mend): _mended(inner, mend) for key, inner in value.items()}
    return [_mended(inner, mend) for inner in value] if isinstance(value, list | tuple) else value
