"""Scores for answers that are already there: made elsewhere and imported, or stored and graded again."""

from __future__ import annotations
