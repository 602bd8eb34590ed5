"""Processes on one store that are killed at random moments: what is left gives the same bytes, or a refusal.

A few kills with the other tests, a hundred by `make fuzz`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from stubs import Info, NumpyModel

from clipeval.embedding.embed import embed_images
from clipeval.embedding.store import Store

KILLS = 100 if os.environ.get("CLIPEVAL_FUZZ") else 8
INFO = Info("e5" * 32)
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    "OMP_NUM_THREADS": "1",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_four_processes_on_one_store_are_killed_and_the_next_gives_the_same_bytes(tmp_path):
    photos, store = tmp_path / "photos", tmp_path / "store"
    photos.mkdir()
    store.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (32 * KILLS, 8, 8, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).save(photos / f"{i:05}.png")
    files = sorted(map(str, photos.iterdir()))
    images = pd.DataFrame({"image_id": files, "file": files})
    images.to_parquet(tmp_path / "images.parquet")
    script = Path(__file__).with_name("kill_runs.py")
    given = [tmp_path / "images.parquet", store, "numpy", "0", KILLS, 4]
    said = subprocess.run(
        [sys.executable, script, *map(str, given)],
        check=True,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        timeout=900,
    ).stdout
    report = json.loads(said.splitlines()[-1])
    print(report["kills"], "kills")
    assert report["kills"] >= KILLS
    undisturbed = embed_images(
        images,
        info=INFO,
        get_model=NumpyModel,
        store=Store(tmp_path / "fresh"),
        workers=0,
        progress=False,
    )
    np.testing.assert_array_equal(np.load(store / "matrix.npy"), undisturbed.matrix)
    again = embed_images(images, info=INFO, get_model=None, store=Store(store), progress=False)
    np.testing.assert_array_equal(again.matrix, undisturbed.matrix)
    assert again.image_id.tolist() == files
