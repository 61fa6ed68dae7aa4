"""What of a reply is the answer's: what stands behind the reasoning, and what stands inside the last box."""

from __future__ import annotations

import re

_CLOSING = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)
_OPENING = re.compile(r"<(?:think|thinking|reasoning)>", re.IGNORECASE)
BOX = "\\boxed{"


def visible(reply: str) -> str:
    """The reply behind its reasoning tags; nothing where the reasoning was never closed, since no answer came."""
    *_, behind = _CLOSING.split(reply)
    unclosed = _OPENING.search(behind)
    return behind[: unclosed.start()] if unclosed else behind


def last_box(reply: str) -> str | None:
    """What the last ``\\boxed{...}`` holds, with the braces in it; ``None`` where there is none, or it stays open."""
    start = reply.rfind(BOX)
    if start < 0:
        return None
    depth = 0
    for place in range(start + len(BOX) - 1, len(reply)):
        depth += {"{": 1, "}": -1}.get(reply[place], 0)
        if depth == 0:
            return reply[start + len(BOX) : place].strip()
    return None
