"""Charts: from numbers to SVG."""
