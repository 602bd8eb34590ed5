"""Where the package's own data, notebooks, docs and caches are, from a checkout or an installed wheel."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _bundled(name: str) -> Path:
    """Folder `name` inside an installed wheel, or beside the package in a checkout."""
    inside = _PACKAGE / "_bundled" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


DATA = _bundled("data")
NOTEBOOKS = _bundled("notebooks")
DOCS = _bundled("docs")  # in a wheel the glossary alone


def cache_dir() -> Path:
    """Folder for stored embeddings and generated test cards: $CLIPEVAL_CACHE or ~/.cache/clipeval."""
    return Path(os.environ.get("CLIPEVAL_CACHE") or Path.home() / ".cache" / "clipeval")
