"""Where records live.

What is handed to a store costs nothing to import; the store itself brings its database along when it is first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.store.nouns import NewCall, NewScore

if TYPE_CHECKING:
    from steelyard.store.store import Store as Store

__all__ = ["NewCall", "NewScore", "Store"]


def __getattr__(name: str) -> Any:
    if name != "Store":
        raise AttributeError(f"module 'steelyard.store' has no attribute {name!r}")
    from steelyard.store.store import Store

    globals()[name] = Store
    return Store
