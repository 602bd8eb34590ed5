"""Where the package's own data, notebooks, docs and caches are, from a checkout or an installed wheel."""

import functools
import json
import os
from importlib import metadata
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


def built_from() -> dict:
    """What a wheel says of the checkout that it was built from: `commit` and `dirty`; nothing in a checkout."""
    path = _PACKAGE / "_bundled" / "commit.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


@functools.cache
def version_of(package: str) -> str:
    """Installed version of a package; "" where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
