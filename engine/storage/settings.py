"""What the environment says about storage."""

from __future__ import annotations

import os
import pathlib


def cache_dir() -> pathlib.Path:
    """The folder for fetched files: ``SAMESUM_CACHE_DIR``, else ``samesum`` under ``XDG_CACHE_HOME``, else under ``~/.cache``."""
    if own := os.environ.get("SAMESUM_CACHE_DIR"):
        return pathlib.Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(shared) if shared else pathlib.Path.home() / ".cache") / "samesum"
