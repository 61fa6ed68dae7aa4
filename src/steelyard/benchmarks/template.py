"""A question put together from a row's columns: ``{name}`` stands for a column, ``{{`` and ``}}`` for braces."""

from __future__ import annotations

import re
from collections.abc import Callable

from steelyard.errors import UsageError

_PIECE = re.compile(r"(?P<double>\{\{|\}\})|\{(?P<name>[^{}]*)\}|(?P<single>[{}])")


class Template:
    """A template, read once. Strict: a brace that stands alone is an error, and a name is a column and nothing more."""

    def __init__(self, text: str) -> None:
        self._pieces: list[tuple[bool, str]] = []
        end = 0
        for piece in _PIECE.finditer(text):
            self._pieces.append((False, text[end : piece.start()]))
            end = piece.end()
            if piece["single"]:
                raise UsageError(
                    f"template: a single {piece['single']!r}; a brace itself is written {piece['single'] * 2!r}"
                )
            if piece["name"] is not None and not piece["name"].strip():
                raise UsageError("template: '{}' names no column")
            self._pieces.append((True, piece["name"]) if piece["name"] is not None else (False, piece["double"][0]))
        self._pieces.append((False, text[end:]))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it needs."""
        return tuple(dict.fromkeys(text for is_name, text in self._pieces if is_name))

    def filled(self, value: Callable[[str], str]) -> str:
        """The text with ``value(name)`` for each name; what a value holds is never read as a template."""
        return "".join(value(text) if is_name else text for is_name, text in self._pieces)
