"""The store accepts only what it wrote whole, and says what it does with the rest."""

import dataclasses
import errno
import hashlib
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from stubs import Info

from clipeval.embedding.store import COLUMNS, Store
from clipeval.errors import StoreError

INFO = Info("a1" * 32)


def rows(*keys, unreadable=()):
    return pd.DataFrame(
        {
            "key": keys,
            "image_id": [f"val/{key}.jpg" for key in keys],
            "sha256": [hashlib.sha256(key.encode()).hexdigest() for key in keys],
            "notes": "",
            "reason": ["empty file" if key in unreadable else None for key in keys],
        }
    )


def vectors(n, dtype=np.float32, d=5):
    return np.random.default_rng(n).normal(size=(n, d)).astype(dtype)


@pytest.fixture
def shelf(tmp_path):
    return Store(tmp_path / "store").shelf(INFO, "texts-float32")


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_is_written_is_read_bit_for_bit(shelf, dtype):
    written, matrix = rows("a", "b", "c", "d", unreadable=["b"]), vectors(3, dtype)
    shelf.write(written, matrix)
    [(positions, found, stored)] = shelf.read(["d", "x", "b", "a"])
    assert positions.tolist() == [3, 2, 0]  # rows a, b, d of the shard
    assert found["key"].tolist() == ["a", "b", "d"]
    assert found["reason"].tolist() == [None, "empty file", None]
    assert found["sha256"].tolist() == written["sha256"][[0, 1, 3]].tolist()
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored, matrix[[0, 2]])


def test_a_shard_of_unreadable_images_only(shelf):
    shelf.write(rows("a", "b", unreadable=["a", "b"]), np.zeros((0, 1), np.float32))
    [(positions, found, stored)] = shelf.read(["a", "b"])
    assert positions.tolist() == [0, 1] and len(stored) == 0
    assert found["reason"].tolist() == ["empty file"] * 2


def test_any_tool_can_read_a_shard(shelf):
    matrix = vectors(2)
    path = shelf.write(rows("a", "b", "c", unreadable=["b"]), matrix)
    table = pd.read_parquet(path)
    assert table.columns.tolist() == [*COLUMNS, "embedding"]
    assert table["embedding"][1] is None
    np.testing.assert_array_equal(np.stack(table["embedding"][[0, 2]]), matrix)


def test_the_older_of_two_shards_wins(shelf):
    first, second = vectors(2), vectors(3)
    shelf.write(rows("a", "b"), first)
    shelf.write(rows("b", "c", "a"), second)
    parts = list(shelf.read(["a", "b", "c"]))
    np.testing.assert_array_equal(parts[0][2], first)
    assert parts[1][0].tolist() == [2]
    np.testing.assert_array_equal(parts[1][2], second[[1]])


def test_a_flipped_bit_is_never_accepted(shelf):
    written, matrix = rows("a", "b", "c"), vectors(3)
    path = shelf.write(written, matrix)
    whole, aside = path.read_bytes(), path.with_name(path.name + ".damaged")
    refused = 0
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = list(shelf.read(["a", "b", "c"]))
        assert len(said) == (not found)
        if found:  # a byte that means nothing: statistics, names of the writer
            [(positions, table, stored)] = found
            assert positions.tolist() == [0, 1, 2]
            assert table["sha256"].tolist() == written["sha256"].tolist()
            np.testing.assert_array_equal(stored, matrix)
        else:
            refused += 1
            assert aside.read_bytes() == damaged and not path.exists()
            aside.unlink()
    assert refused > 100


def test_a_shard_cut_short_is_set_aside(shelf):
    path = shelf.write(rows("a"), vectors(1))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="set aside"):
        assert list(shelf.read(["a"])) == []
    assert not path.exists() and path.with_name(path.name + ".damaged").exists()


def test_a_shard_of_another_model_is_set_aside(tmp_path):
    store = Store(tmp_path)
    other = store.shelf(dataclasses.replace(INFO, fingerprint="b2" * 32), "texts-float32")
    mine = store.shelf(INFO, "texts-float32")
    path = other.write(rows("a"), vectors(1))
    mine.folder.mkdir(parents=True)
    path.rename(mine.folder / path.name)
    with pytest.warns(UserWarning, match="another model"):
        assert list(mine.read(["a"])) == []
    assert (mine.folder / (path.name + ".damaged")).exists()


def test_root_that_is_a_file_or_lies_in_one_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(StoreError, match="is a file; give a folder"):
        Store(file)
    with pytest.raises(StoreError, match="choose a store in a folder you may write to"):
        Store(file / "below").shelf(INFO, "texts-float32").write(rows("a"), vectors(1))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_leaves_nothing_behind(shelf, monkeypatch, call):
    shelf.write(rows("a"), vectors(1))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StoreError, match="No space left on device.*free some space"):
            shelf.write(rows("b"), vectors(1))
    assert [path.suffix for path in shelf.folder.iterdir()] == [".parquet"]
    assert [found["key"].tolist() for _, found, _ in shelf.read(["a", "b"])] == [["a"]]


def test_temporary_files_of_the_dead_alone_are_removed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    shelf = Store(tmp_path).shelf(INFO, "texts-float32")
    shelf.write(rows("a"), vectors(1))
    from clipeval.files import _host

    old = time.time() - 3600
    names = {
        f"1-x.{_host()}.{process.pid}.tmp": (old, False),
        f"2-x.{_host()}.{process.pid}.tmp": (time.time(), True),  # perhaps in another container
        f"3-x.{_host()}.{os.getpid()}.tmp": (old, True),
        f"4-x.elsewhere.{process.pid}.tmp": (old, True),
        f"5-x.elsewhere.{process.pid}.tmp": (old - 86_400, False),
    }
    for name, (when, _) in names.items():
        (shelf.folder / name).touch()
        os.utime(shelf.folder / name, (when, when))
    Store(tmp_path).shelf(INFO, "texts-float32").write(rows("b"), vectors(1))
    assert {path.name for path in shelf.folder.glob("*.tmp")} == {
        name for name, (_, stays) in names.items() if stays
    }


def test_summary_counts_rows(tmp_path):
    store = Store(tmp_path)
    assert store.summary().empty
    store.shelf(INFO, "texts-float32").write(rows("a", "b"), vectors(2))
    store.shelf(INFO, "images-projected-float32").write(rows("a", "b", "c"), vectors(3))
    store.shelf(INFO, "images-projected-float32").write(rows("d"), vectors(1))
    table = store.summary().set_index("kind")
    assert table["rows"].to_dict() == {"images-projected-float32": 4, "texts-float32": 2}
    assert table["shards"].to_dict() == {"images-projected-float32": 2, "texts-float32": 1}
    assert set(table["model"]) == {"stub"}
    sizes = [path.stat().st_size for path in (tmp_path).rglob("*.parquet")]
    assert table["megabytes"].sum() == pytest.approx(sum(sizes) / 1e6, abs=0.001)


def test_a_store_is_read_without_torch(tmp_path):
    Store(tmp_path).shelf(INFO, "texts-float32").write(rows("a"), vectors(1))
    code = (
        "import sys; from stubs import Info; from clipeval.embedding.store import Store\n"
        f"shelf = Store({str(tmp_path)!r}).shelf(Info('a1' * 32), 'texts-float32')\n"
        "parts = list(shelf.read(['a']))\n"
        "assert len(parts) == 1 and 'torch' not in sys.modules"
    )
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": path})


def test_shards_name_no_local_path(shelf, tmp_path):
    path = shelf.write(rows("a"), vectors(1))
    assert str(tmp_path).encode() not in path.read_bytes()
    assert b"checksum" in pq.read_schema(path).metadata[b"clipeval"]


def test_blocks_hold_every_key_once_and_are_checked(tmp_path):
    store = Store(tmp_path)
    shelf = store.shelf(INFO, "texts-float32")
    first, second, third = vectors(2), vectors(3), vectors(4)
    shelf.write(rows("a", "b", "x", unreadable=["x"]), first)
    shelf.write(rows("b", "c", "a"), second)
    damaged = shelf.write(rows("d", "e", "f", "g"), third)
    shelf.write(rows("h"), vectors(1))
    got = list(shelf.blocks())
    assert [found["key"].tolist() for found, _ in got] == [
        ["a", "b", "x"],
        ["c"],
        ["d", "e", "f", "g"],
        ["h"],
    ]
    np.testing.assert_array_equal(got[0][1], first)
    np.testing.assert_array_equal(got[1][1], second[[1]])
    [(found, matrix)] = shelf.blocks(size=100)
    assert found["key"].tolist() == list("abxcdefgh") and len(matrix) == 8
    np.testing.assert_array_equal(matrix, np.concatenate([first, second[[1]], third, vectors(1)]))

    whole = bytearray(damaged.read_bytes())
    at = whole.index(third.tobytes()[:16])
    whole[at] ^= 1
    damaged.write_bytes(whole)
    with pytest.warns(UserWarning, match="set aside"):
        [(found, _)] = shelf.blocks(size=100)
    assert found["key"].tolist() == list("abxch")
    assert [shelf.folder.name for shelf in store.shelves()] == ["texts-float32"]


def test_blocks_of_an_empty_shelf(shelf):
    assert list(shelf.blocks()) == []
