"""Where Steelyard keeps what it brings to this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder for downloads: ``STEELYARD_CACHE``, or the user's own cache folder."""
    if value := os.environ.get("STEELYARD_CACHE", "").strip():
        return Path(value).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("steelyard"))
