"""Answers and scores on their way in: packed, kept once, without keys."""
