"""No key is stored: a service may echo the one it was sent, and foreign code may answer with what it reads.

Looked for are the keys that this process knows, in every form; a text without one is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from steelyard.secrets import known_forms, scrub_known
from steelyard.store.codec import mended

Row = TypeVar("Row", bound=msgspec.Struct)


def without_keys(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows with every known key removed from their texts; the same rows where there is none."""
    forms = known_forms()
    if not forms:
        return rows
    return [mended(row, scrub_known) if _holds(row, forms) else row for row in rows]


def _holds(row: msgspec.Struct, forms: Sequence[bytes]) -> bool:
    try:
        encoded = msgspec.msgpack.encode(row)
    except UnicodeEncodeError:  # half a surrogate pair: to be mended anyway
        return True
    return any(form in encoded for form in forms)
