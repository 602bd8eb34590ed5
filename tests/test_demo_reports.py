"""The demo run gives the committed tables and figures byte for byte, and the numbers of the reference."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from decks import shared_cache
from demo_reference import REFERENCE, numbers_of, predictions_of
from statsmodels.stats.proportion import proportion_confint

COMMITTED = Path(__file__).resolve().parents[1] / "reports" / "demo"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a demo run."""
    folder = tmp_path_factory.mktemp("demo")
    environment = os.environ | {"CLIPEVAL_CACHE": str(shared_cache())}
    command = [sys.executable, "-m", "clipeval", "run", "--profile", "demo", "--out", "demo"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "demo"


def kept(run: Path) -> dict[str, bytes]:
    """Files of a run that are kept under version control: name within the run -> content."""
    parts = ("tables", "figures")
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted(run.glob("*/*/*"))
        if path.parent.name in parts and path.is_file()
    }


def test_the_demo_run_gives_the_committed_tables_and_figures(run):
    if not COMMITTED.is_dir():
        pytest.skip("an installed package has no committed reports; run this in a checkout")
    before, now = kept(COMMITTED), kept(run)
    assert sorted(before) == sorted(now)
    assert len(before) > 100
    changed = [name for name in before if before[name] != now[name]]
    assert not changed, (
        f"changed: {changed}; if that is meant, run make report and commit reports/demo"
    )


def test_the_demo_run_gives_the_numbers_of_the_reference(run):
    now = numbers_of(run)
    names = [p.relative_to(REFERENCE).with_suffix("").as_posix() for p in REFERENCE.glob("*/*.csv")]
    assert len(names) > 30
    for name in names:
        before = pd.read_csv(REFERENCE / f"{name}.csv")
        assert len(before) == len(now[name]), name
        for column in before:
            known = before[column].to_numpy(float)
            np.testing.assert_allclose(
                now[name][column].to_numpy(float), known, rtol=1e-7, atol=1e-7, err_msg=name
            )


def test_the_demo_run_gives_the_predictions_of_the_reference(run):
    before = pd.read_csv(REFERENCE / "predictions.csv", keep_default_na=False)
    now = predictions_of(run).fillna("")
    assert len(before) > 10
    texts = [name for name in before if name != "prob"]
    pd.testing.assert_frame_equal(now[texts].astype(str), before[texts].astype(str))
    np.testing.assert_allclose(now["prob"], before["prob"], rtol=1e-5)


def test_intervals_that_a_caption_calls_wilsons_are(run):
    checked = 0
    for path in run.glob("*/tables/*.csv"):
        table = pd.read_csv(path)
        caption = path.with_suffix(".tex").read_text("utf-8")
        if "count" in table and re.search(r"95 \\% Wilson intervals(\.|; published)", caption):
            rows = table.dropna(subset=["ci_low"])
            ends = proportion_confint(rows["count"], rows["n"], method="wilson")
            found = rows[["ci_low", "ci_high"]].to_numpy(float)
            np.testing.assert_allclose(found, 100 * np.column_stack(ends), atol=1e-6, err_msg=path)
            checked += 1
    assert checked > 20
