"""Kills, other processes, odd photos: embedding ends with the same numbers or with a clear list."""

import errno
import io
import json
import multiprocessing
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from stubs import Info, NumpyModel, OpenClipModel

from clipeval.embedding.embed import embed_images, embed_texts
from clipeval.embedding.store import Store
from clipeval.errors import StoreError

INFO = Info("e5" * 32)
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    "OMP_NUM_THREADS": "1",
}


def embed(images, model=None, **options):
    model = model or NumpyModel()
    options = {"workers": 0, "progress": False, "batch_size": 4, "shard_size": 8} | options
    return embed_images(images, info=INFO, get_model=lambda: model, **options)


@pytest.fixture
def cards(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    files = sorted(folder.iterdir())
    return pd.DataFrame({"image_id": [f.name for f in files], "file": list(map(str, files))})


# -- kills -----------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.slow
def test_ten_kills_and_a_rerun_give_the_same_matrix_bit_for_bit(real, tiny_face_clip, tmp_path):
    files = [str(real / "fairface" / "val" / f"{i}.jpg") for i in range(1, 301)]
    images = pd.DataFrame({"image_id": files, "file": files})
    images.to_parquet(tmp_path / "images.parquet")
    store = tmp_path / "store"
    store.mkdir()
    script = Path(__file__).with_name("kill_runs.py")
    arguments = [tmp_path / "images.parquet", store, tiny_face_clip, "0"]
    said = subprocess.run(
        [sys.executable, script, *arguments],
        check=True,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        timeout=600,
    ).stdout
    report = json.loads(said.splitlines()[-1])
    assert report["kills"] == 10
    assert report["shards"] == sorted(report["shards"]) and 0 < report["shards"][-1] < 38
    assert report["opened"] == 300 - 8 * report["shards"][-1]  # only the shard in flight is lost

    shards = sorted(store.rglob("*.parquet"))
    keys = [key for shard in shards for key in pd.read_parquet(shard)["key"]]
    assert len(keys) == len(set(keys)) == 300  # no image twice, none missing
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = OpenClipModel(tiny_face_clip)
        undisturbed = embed(images, model, workers=1)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(np.load(store / "matrix.npy"), undisturbed.matrix)
    again = embed_images(images, info=INFO, get_model=None, store=Store(store))
    np.testing.assert_array_equal(again.matrix, undisturbed.matrix)


class Slow(NumpyModel):
    def encode_images(self, pixels, features="projected"):
        time.sleep(0.05)
        return super().encode_images(pixels)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_four_processes_share_a_store_one_shard_of_which_is_damaged(cards, tmp_path):
    store, expected = Store(tmp_path / "store"), embed(cards).matrix
    embed(cards[:8], store=store)
    (shard,) = store.root.rglob("*.parquet")
    whole = bytearray(shard.read_bytes())
    whole[whole.index(expected[3].tobytes())] ^= 1
    shard.write_bytes(whole)

    def run(name):
        warnings.simplefilter("ignore")
        np.save(tmp_path / name, embed(cards, Slow(), store=store).matrix)

    names = ["one.npy", "two.npy", "three.npy", "four.npy"]
    fork = multiprocessing.get_context("fork")
    runs = [fork.Process(target=run, args=(name,)) for name in names]
    for process in runs:
        process.start()
    for process in runs:
        process.join(120)
    assert [process.exitcode for process in runs] == [0] * 4
    for name in names:
        np.testing.assert_array_equal(np.load(tmp_path / name), expected)
    found = embed_images(cards, info=INFO, get_model=None, store=store)
    np.testing.assert_array_equal(found.matrix, expected)
    assert found.opened == 0
    assert not list(store.root.rglob("*.tmp"))
    assert [path.name for path in store.root.rglob("*.damaged*")] == [shard.name + ".damaged"]


# -- disks -----------------------------------------------------------------------------------------


def test_full_disk_keeps_the_finished_shards(cards, tmp_path, monkeypatch):
    store, sync, calls = Store(tmp_path / "store"), os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 2:  # a shard and its folder are two calls
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="free some space"):
            embed(cards, store=store)
    assert not list((tmp_path / "store").rglob("*.tmp"))
    rest = embed(cards, store=store)
    assert rest.encoded == 16
    np.testing.assert_array_equal(rest.matrix, embed(cards).matrix)


def test_a_damaged_shard_is_reported_and_embedded_again(cards, tmp_path):
    store = Store(tmp_path / "store")
    first = embed(cards, store=store)
    shard = sorted((tmp_path / "store").rglob("*.parquet"))[1]
    data = bytearray(shard.read_bytes())
    at = data.index(first.matrix[9].tobytes())
    data[at] ^= 1
    shard.write_bytes(data)
    with pytest.warns(UserWarning, match=f"{shard.name}.* is damaged"):
        again = embed(cards, store=store)
    assert again.encoded == 8
    np.testing.assert_array_equal(again.matrix, first.matrix)
    assert embed(cards, store=store).encoded == 0


def test_a_shard_of_prompts_damaged_since_it_was_read_is_reported(tmp_path):
    how = {"info": INFO, "get_model": NumpyModel, "store": Store(tmp_path)}
    first = embed_texts(["a cat", "a dog"], **how)
    np.testing.assert_array_equal(embed_texts(["a dog"], **how | {"get_model": None}), first[1:])
    (shard,) = tmp_path.rglob("*.parquet")
    shard.write_bytes(shard.read_bytes().replace(b"a dog", b"a fog"))
    with pytest.warns(UserWarning, match=f"{shard.name}.* is damaged"):
        np.testing.assert_array_equal(embed_texts(["a dog"], **how), first[1:])


# -- photos ----------------------------------------------------------------------------------------


def encoded(image, format, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def zoo(tmp_path):
    """Every kind of file that calls itself a photo."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    photo = Image.fromarray(noise)
    clear = photo.copy()
    clear.putalpha(128)
    turned = Image.Exif()
    turned[0x0112] = 6
    grey = np.arange(1200, dtype=np.uint16).reshape(40, 30) * 54
    jpeg = encoded(photo, "JPEG")
    files = {
        "good.jpg": jpeg,
        "png inside.jpg": encoded(photo, "PNG"),
        "rgba.jpg": encoded(clear, "PNG"),
        "palette.png": encoded(photo.quantize(8), "PNG"),
        "grey16.png": encoded(Image.fromarray(grey), "PNG"),
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(photo, "JPEG", exif=turned),
        "one.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
        "wide.jpg": encoded(Image.new("RGB", (10_000, 50), "blue"), "JPEG"),
        "Jürgen (R) [3].jpg": jpeg,
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "empty.jpg": b"",
        "text.jpg": b"<html>404 not found</html>",
    }
    folder = tmp_path / "zoo"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "folder.jpg").mkdir()
    names = [*files, "folder.jpg", "missing.jpg"]
    return pd.DataFrame({"image_id": names, "file": [str(folder / name) for name in names]})


REASONS = {
    "truncated.jpg": "truncated",
    "empty.jpg": "empty file",
    "text.jpg": "not an image",
    "folder.jpg": "not a file",
    "missing.jpg": "no such file",
}


@pytest.mark.parametrize("workers", [0, 2])
def test_the_zoo_is_read_or_listed_and_never_dropped(zoo, tiny_face_clip, tmp_path, workers):
    import torch

    model, store = OpenClipModel(tiny_face_clip), Store(tmp_path / "store")
    found = embed(zoo, model, store=store, workers=workers)
    listed = found.unreadable.set_index("image_id")["reason"]
    assert list(listed.index) == list(REASONS)
    assert all(part in listed[name] for name, part in REASONS.items())
    assert [*found.image_id, *listed.index] == zoo["image_id"].tolist()
    assert (found.opened, found.encoded) == (13, 9)  # two are one photo under two names
    assert Counter(found.notes) == {
        "": 7,
        "transparency dropped": 1,
        "16-bit": 1,
        "exif-rotated": 1,
    }

    for i, file in enumerate(zoo["file"][:10]):
        image = Image.open(file)
        if found.notes[i] == "16-bit":
            image = Image.fromarray(np.round(np.asarray(image) / 257.0).astype(np.uint8))
        if found.notes[i] == "exif-rotated":
            image = image.transpose(Image.Transpose.ROTATE_270)
        with torch.inference_mode():
            feature = model.model.encode_image(model.preprocess(image.convert("RGB"))[None])[0]
        expected = (feature / feature.norm()).numpy()
        assert np.abs(found.matrix[i] - expected).max() < 1e-5, zoo["image_id"][i]

    again = embed_images(zoo, info=INFO, get_model=None, store=store)
    pd.testing.assert_frame_equal(again.unreadable, found.unreadable)
    assert again.opened == 0 and again.notes.tolist() == found.notes.tolist()


def test_an_image_that_a_disk_did_not_give_is_tried_again(cards, tmp_path, monkeypatch):
    import clipeval.embedding.loading as loading

    store, read = Store(tmp_path / "store"), loading.read_bytes

    def flaky(file, row):
        if file.endswith("03.png"):
            raise OSError(errno.EIO, "Input/output error")
        return read(file, row)

    with monkeypatch.context() as patch:
        patch.setattr(loading, "read_bytes", flaky)
        found = embed(cards, store=store)
    assert found.unreadable["reason"].tolist() == ["Input/output error"]
    better = embed(cards, store=store)
    assert better.opened == 1 and len(better.unreadable) == 0
    assert np.abs(better.matrix - embed(cards).matrix).max() < 1e-6
