"""Answers of earlier runs, used again or not."""
