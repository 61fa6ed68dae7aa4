"""No key is stored: a service may echo the one it was sent, and foreign code may answer with what it reads.

Looked for are the keys that this process knows, in every form; a text without one is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from steelyard.secrets import scrub_known
from steelyard.store.writing.codec import mended

if TYPE_CHECKING:
    from steelyard.types import Call

T = TypeVar("T")


def keyless_call(call: Call, forms: Sequence[bytes]) -> Call:
    """The call with every known key removed from its texts, where what came back holds one."""
    return mended(call, scrub_known) if _holds((call.completion, call.failure, call.attempts), forms) else call


def keyless(value: T, forms: Sequence[bytes]) -> T:
    """The value with every known key removed from its texts."""
    return mended(value, scrub_known) if _holds(value, forms) else value


def _holds(value: Any, forms: Sequence[bytes]) -> bool:
    if not forms:
        return False
    try:
        encoded = msgspec.msgpack.encode(value)
    except UnicodeEncodeError:  # half a surrogate pair: to be mended anyway
        return True
    return any(form in encoded for form in forms)
