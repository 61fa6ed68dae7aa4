"""One API as a value: where a request goes, what its body is, how its replies read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steelyard.providers.interface import Event
from steelyard.providers.reply import Reply
from steelyard.types import Kind, Request

CUT_HERE = "answers are cut here instead, after they were paid for"
"""What happens in place of stop strings that are not sent."""

Settings = frozenset[str]
"""Names of settings that a model does not accept."""

Streaming = Callable[[Reply], AsyncIterator[Event]]
"""Events from a reply whose first byte has come, as they come, ending with ``Done``.

That comes first as soon as the answer is complete, and again with what is told of it later: the last one counts.
"""

Reading = Callable[[bytes, int], Sequence[Event]]
"""Events from the body of a reply and the nanosecond its last byte came, ending with ``Done``."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one API is spoken.

    ``body`` leaves out the settings that it is told of. ``optional`` are those that a model may refuse, each with the
    words by which its errors name it; those that come first are looked for first. ``absent`` are settings that the API
    does not have, each with what happens instead. ``renamed`` says of a refused setting what is sent in its place.
    """

    name: str
    path: Callable[[Request], str]
    body: Callable[[Request, Settings], dict[str, Any]]
    streamed: Streaming
    whole: Reading
    kinds: tuple[Kind, ...] = ("chat",)
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
