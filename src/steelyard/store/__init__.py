"""Where records live."""

from steelyard.store.store import NewCall, NewScore, Store

__all__ = ["NewCall", "NewScore", "Store"]
