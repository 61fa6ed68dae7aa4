"""Which items are asked, how far, and in whose turn."""
