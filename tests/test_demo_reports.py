"""The committed tables and figures of the demo run are what the code gives today, byte for byte."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMITTED = Path(__file__).resolve().parents[1] / "reports" / "demo"


def kept(run: Path) -> dict[str, bytes]:
    """Files of a run that are kept under version control: name within the run -> content."""
    parts = ("tables", "figures")
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted(run.glob("*/*/*"))
        if path.parent.name in parts and path.is_file()
    }


@pytest.mark.slow
def test_the_demo_run_gives_the_committed_tables_and_figures(tmp_path):
    if not COMMITTED.is_dir():
        pytest.skip("an installed package has no committed reports; run this in a checkout")
    environment = os.environ | {"CLIPEVAL_CACHE": str(tmp_path / "cache")}
    command = [
        sys.executable,
        "-m",
        "clipeval",
        "run",
        "--profile",
        "demo",
        "--out",
        str(tmp_path / "demo"),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    before, now = kept(COMMITTED), kept(tmp_path / "demo")
    assert sorted(before) == sorted(now)
    assert len(before) > 100
    changed = [name for name in before if before[name] != now[name]]
    assert not changed, (
        f"changed: {changed}; if that is meant, run make report and commit reports/demo"
    )
