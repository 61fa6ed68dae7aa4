"""Where records live."""

from steelyard.store.store import Store
from steelyard.store.writing.appending import NewCall
from steelyard.store.writing.judgements import NewScore

__all__ = ["NewCall", "NewScore", "Store"]
