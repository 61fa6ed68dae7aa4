"""Metrics over runs: what was observed, the series that it makes, and what changed in them."""

from steelyard.analysis.trend.changes import Change
from steelyard.analysis.trend.observed import Observed, weighed_items
from steelyard.analysis.trend.points import Point
from steelyard.analysis.trend.series import Series, State, trends

__all__ = ["Change", "Observed", "Point", "Series", "State", "trends", "weighed_items"]
