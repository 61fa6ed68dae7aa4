"""API keys: read from the environment by name, carried in one type that does not print, scrubbed from every text."""

from __future__ import annotations

import os
import re

_known: set[str] = set()

_PATTERNS = re.compile(
    r"sk-[A-Za-z0-9_*\-]{6,}|AIza[A-Za-z0-9_\-]{10,}|hf_[A-Za-z0-9]{8,}|gsk_[A-Za-z0-9]{8,}"
    r"|(?<=Bearer )[A-Za-z0-9._~+/\-]{8,}=*|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)


class Secret:
    """A key that shows itself only to ``reveal``: not in ``repr``, ``str``, a pickle or an encoder's output."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= 6:
            _known.add(value)

    def reveal(self) -> str:
        """The key itself, for the header of a request."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not written anywhere")


def from_environment(name: str) -> Secret | None:
    """The key held by environment variable ``name``; ``None`` where it is unset or blank."""
    value = os.environ.get(name, "").strip()
    return Secret(value) if value else None


def scrub(text: str) -> str:
    """``text`` without any key that was read in this process, nor anything shaped like one."""
    for value in _known:
        text = text.replace(value, "[key removed]")
    return _PATTERNS.sub("[key removed]", text)
