"""The APIs that the mock speaks, in one literal table, found by the end of the path."""

from __future__ import annotations

from steelyard.instrument.dialects.anthropic import MESSAGES
from steelyard.instrument.dialects.dialect import Dialect
from steelyard.instrument.dialects.google import GENERATE
from steelyard.instrument.dialects.openai import CHAT, TEXT
from steelyard.instrument.dialects.responses import RESPONSES

BY_ENDING = {
    "/chat/completions": CHAT,
    "/completions": TEXT,
    "/responses": RESPONSES,
    "/messages": MESSAGES,
    ":generateContent": GENERATE,
    ":streamGenerateContent": GENERATE,
}


def dialect_of(path: str) -> Dialect | None:
    """The API a path belongs to, whatever it begins with; ``None`` where it is none of them."""
    return next((dialect for ending, dialect in BY_ENDING.items() if path.endswith(ending)), None)
