"""Where Moestro keeps what it may delete: one cache directory and nothing else."""

import os
from pathlib import Path


def cache() -> Path:
    """The cache directory: ``$MOESTRO_CACHE``, else ``moestro`` under the user's cache directory."""
    chosen = os.environ.get("MOESTRO_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moestro"
