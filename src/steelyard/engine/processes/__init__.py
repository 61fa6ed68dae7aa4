"""Processes that a run starts beside itself: those that ask, and the one that writes."""
