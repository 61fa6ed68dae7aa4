"""Where records live."""

from steelyard.store.judgements import NewScore
from steelyard.store.store import NewCall, Store

__all__ = ["NewCall", "NewScore", "Store"]
