"""Where records live."""

from steelyard.store.appending import NewCall
from steelyard.store.judgements import NewScore
from steelyard.store.store import Store

__all__ = ["NewCall", "NewScore", "Store"]
