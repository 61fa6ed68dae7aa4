"""Values as text: what may pass between the code that is judged and the code that judges it.

Only plain built-in values cross, and what arrives is made anew from its text, so that no object with a will of its own
(an ``__eq__`` that is always true, an ``int`` that lies about itself) reaches the test. A subclass crosses as the plain
value it holds; an iterator as something that can be walked once and equals nothing.
"""

from __future__ import annotations

import ast
import collections
import itertools
import types
from collections.abc import Iterable, Iterator
from typing import Any

MOST_BYTES = 1 << 20
MOST_ITERATED = 100_000
LONGEST_DECIMAL = 10**18  # longer whole numbers cross in base 16, which has no limit of digits and takes linear time
ITERATORS: tuple[type[Any], ...] = (
    range,
    map,
    filter,
    zip,
    enumerate,
    reversed,
    type(iter([0])),
    types.GeneratorType,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
    collections.deque,
)


class CannotCross(Exception):
    """A value that is not plain, or too large."""


class Iterated:
    """What an iterator held. It is no list and equals none, just as the iterator did not."""

    def __init__(self, values: list[Any]) -> None:
        self._values = iter(values)

    def __iter__(self) -> Iterator[Any]:
        return self._values


def encode(value: object) -> bytes:
    """The text of a plain value."""
    try:
        text = _text(value)
    except RecursionError:
        raise CannotCross("nested too deeply, or contains itself") from None
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MOST_BYTES:
        raise CannotCross(f"larger than {MOST_BYTES >> 20} MiB as text")
    return data


def decode(data: bytes) -> Any:
    """The value that a text stands for; ``CannotCross`` for any other text."""
    if len(data) > MOST_BYTES:
        raise CannotCross(f"larger than {MOST_BYTES >> 20} MiB as text")
    try:
        return _value(ast.parse(data.decode("utf-8", "surrogatepass"), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise CannotCross(f"not a plain value ({type(error).__name__})") from None


def _text(value: Any) -> str:
    if value is None or value is True or value is False:
        return repr(value)
    if isinstance(value, int):
        whole = int.__index__(value)
        return repr(whole) if -LONGEST_DECIMAL < whole < LONGEST_DECIMAL else hex(whole)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, complex):
        return f"complex({float.__repr__(value.real)}, {float.__repr__(value.imag)})"
    if isinstance(value, str):
        return str.__repr__(value)
    if isinstance(value, bytes):
        return bytes.__repr__(value)
    if isinstance(value, bytearray):
        return f"bytearray({bytes(value)!r})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {_text(item)}" for key, item in dict.items(value)) + "}"
    return _collection(value)


def _collection(value: Any) -> str:
    if isinstance(value, list):
        return f"[{_listed(list.__iter__(value))}]"
    if isinstance(value, tuple):
        return "(" + "".join(f"{_text(item)}, " for item in tuple.__iter__(value)) + ")"
    if isinstance(value, set):
        return f"set([{_listed(set.__iter__(value))}])"
    if isinstance(value, frozenset):
        return f"frozenset([{_listed(frozenset.__iter__(value))}])"
    if isinstance(value, ITERATORS):
        walked: Iterable[Any] = value
        held = list(itertools.islice(walked, MOST_ITERATED + 1))
        if len(held) > MOST_ITERATED:
            raise CannotCross("an iterator without an end")
        return f"iterated([{_listed(held)}])"
    raise CannotCross(f"a value of type {type(value).__name__[:60]}")


def _listed(items: Iterable[Any]) -> str:
    return ", ".join(map(_text, items))


_MAKERS = {
    "set": set,
    "frozenset": frozenset,
    "bytearray": bytearray,
    "complex": complex,
    "iterated": Iterated,
}
_NAMES = {"inf": float("inf"), "nan": float("nan")}


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value) if value is not ...:
            return value
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Dict(keys=keys, values=values):
            return {_value(_present(key)): _value(value) for key, value in zip(keys, values, strict=True)}
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id=name)) if name in _NAMES:
            return -_NAMES[name]
        case ast.Call(func=ast.Name(id=maker), args=arguments, keywords=[]) if maker in _MAKERS:
            return _made(maker, [_value(argument) for argument in arguments])
    raise ValueError(f"{type(node).__name__} is no plain value")


def _made(maker: str, arguments: list[Any]) -> Any:
    takes: tuple[type, ...] = {"complex": (float, float), "bytearray": (bytes,)}.get(maker, (list,))
    if tuple(map(type, arguments)) != takes:
        raise ValueError(f"{maker} of something else")
    return _MAKERS[maker](*arguments)


def _present(key: ast.expr | None) -> ast.expr:
    if key is None:
        raise ValueError("a dict unpacked into a dict")
    return key
