"""Where ``steelyard.secrets`` was first; the engine still looks here."""

from steelyard.secrets import Secret, from_environment, scrub

__all__ = ["Secret", "from_environment", "scrub"]
