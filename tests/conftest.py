"""Fixtures shared by all tests: seeds, an isolated cache, and real photographs where a machine has them."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("CLIPEVAL_TEST_DATA", Path(__file__).resolve().parents[2] / "shared"))


def pytest_configure(config):
    """One cache for all workers of a parallel run, as `decks.shared_cache` gives it."""
    if not hasattr(config, "workerinput"):
        os.environ["CLIPEVAL_TEST_CACHE"] = tempfile.mkdtemp(prefix="clipeval-tests-")


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop("CLIPEVAL_TEST_CACHE", ""), ignore_errors=True)


def pytest_collection_modifyitems(items):
    """The longest file first, so that no process is left with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_demo_reports.py")


def _need(path: Path) -> Path:
    if not path.exists():
        pytest.skip(
            f"{path.name} is not on this machine (set CLIPEVAL_TEST_DATA to the folder that holds it)"
        )
    return path


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of real photographs with labels; the test is skipped where it is absent."""
    return _need(SHARED / "real")


@pytest.fixture(scope="session")
def tiny_face_clip() -> Path:
    """Folder of a small open_clip checkpoint trained on faces; the test is skipped where it is absent."""
    return _need(SHARED / "models" / "tiny-face-clip")


@pytest.fixture(autouse=True)
def isolated_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's own cache."""
    monkeypatch.setenv("CLIPEVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def demo_cache(monkeypatch) -> Path:
    """The cache that all tests of this run share: decks are drawn and embedded once."""
    from decks import shared_cache

    monkeypatch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
    return shared_cache()


@pytest.fixture(autouse=True)
def seed():
    import numpy as np

    np.random.seed(0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import sys

    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
