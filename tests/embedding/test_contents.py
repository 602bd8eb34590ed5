"""An embedding belongs to the bytes it was made of: nothing that is done to files gives one of others."""

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from stubs import Info, NumpyModel

from clipeval.embedding.contents import Contents, snapshot
from clipeval.embedding.embed import dataset_hash, embed_images
from clipeval.embedding.store import Store
from clipeval.errors import DataError, SetAside, StoreError

INFO = Info("c3" * 32)
N = 80


@pytest.fixture
def photos(tmp_path):
    """Eighty BMPs of one size in bytes and one time of change."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (N, 16, 16, 3), dtype=np.uint8)
    files = [folder / f"{i:02}.bmp" for i in range(N)]
    for file, pixels in zip(files, noise, strict=True):
        Image.fromarray(pixels).save(file)
        os.utime(file, ns=(10**18, 10**18))
    table = {"image_id": [file.name for file in files], "file": [str(file) for file in files]}
    return pd.DataFrame(table)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def embed(images, model=None, **options):
    model = model or NumpyModel()
    options = {"workers": 0, "progress": False, "batch_size": 4, "shard_size": 8} | options
    return embed_images(images, info=INFO, get_model=lambda: model, **options)


def never():
    raise AssertionError("the model was asked for")


def write_in_place(file, content):
    Path(file).write_bytes(content)
    os.utime(file, ns=(10**18, 10**18))


def put_in_place(file, content):
    """As `mv` does, so that neither time of the content's own file changes with its bytes."""
    beside = Path(file + ".new")
    write_in_place(beside, content)
    os.replace(beside, file)


def rotate(files, write, by=1):
    """Give each file the content of another."""
    contents = [Path(file).read_bytes() for file in files]
    for file, content in zip(files, contents[by:] + contents[:by], strict=True):
        write(file, content)


def by_hand(images):
    """Unit vectors of what lies in the files now, and their hashes, without the code under test."""
    rows = [NumpyModel.preprocess(Image.open(file).convert("RGB")) for file in images["file"]]
    rows = np.stack(rows).reshape(len(rows), -1).astype(np.float64)
    digests = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in images["file"]]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), digests


def assert_true(found, images):
    matrix, digests = by_hand(images)
    assert found.image_id.tolist() == images["image_id"].tolist()
    assert found.sha256.tolist() == digests
    assert np.abs(found.matrix - matrix).max() < 1e-6


# -- exchanged files -------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [write_in_place, put_in_place])
@pytest.mark.parametrize("workers", [0, 2])
def test_exchanged_images_are_never_taken_for_what_they_were(photos, store, write, workers):
    before = embed(photos, store=store)
    assert_true(before, photos)
    status = [os.stat(file) for file in photos["file"]]
    rotate(photos["file"], write)
    now = [os.stat(file) for file in photos["file"]]
    assert [(s.st_size, s.st_mtime_ns) for s in now] == [(s.st_size, s.st_mtime_ns) for s in status]
    after = embed(photos, store=store, workers=workers)
    assert_true(after, photos)
    assert (after.opened, after.encoded) == (N, 0)  # all contents are stored
    assert dataset_hash(photos, after) == dataset_hash(photos, embed(photos))
    assert dataset_hash(photos, after) != dataset_hash(photos, before)
    again = embed_images(photos, info=INFO, get_model=never, store=store)
    assert again.opened == 0 and again.sha256.tolist() == after.sha256.tolist()


def test_an_exchanged_parquet_file_is_read_anew_in_the_same_process(photos, store, tmp_path):
    contents = [open(file, "rb").read() for file in photos["file"]]
    rows = photos.assign(file=str(tmp_path / "a.parquet"), row=pd.array(range(N), "Int64"))

    def write(contents):
        column = [{"bytes": content, "path": None} for content in contents]
        table = pa.table({"image": column})
        pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
        os.utime(tmp_path / "a.parquet", ns=(10**18, 10**18))
        return os.stat(tmp_path / "a.parquet").st_size

    size = write(contents)
    assert embed(rows, store=store).encoded == N
    again = embed_images(rows, info=INFO, get_model=never, store=store)
    assert again.opened == 0
    assert write(contents[::-1]) == size
    after = embed(rows, store=store)
    digests = [hashlib.sha256(content).hexdigest() for content in contents[::-1]]
    assert after.sha256.tolist() == digests
    np.testing.assert_array_equal(after.matrix, again.matrix[::-1])


@pytest.mark.parametrize("write", [write_in_place, put_in_place])
@pytest.mark.parametrize("at", [0, 41, 76])
def test_images_exchanged_while_they_are_read_are_refused(photos, store, write, at):
    """What was read before the exchange and after it would be of no folder that ever was."""

    class Meddling(NumpyModel):
        def encode_images(self, pixels, features="projected"):
            if self.images <= at < self.images + len(pixels):
                rotate(photos["file"], write, by=40)
            return super().encode_images(pixels)

    with pytest.raises(
        DataError, match=r"\.bmp was changed, replaced or removed while images were"
    ):
        embed(photos, Meddling(), store=store)
    assert_true(embed(photos, store=store), photos)
    assert_true(embed_images(photos, info=INFO, get_model=never, store=store), photos)


def test_an_image_that_vanishes_while_images_are_read_is_no_unreadable_one(photos, store):
    class Meddling(NumpyModel):
        def encode_images(self, pixels, features="projected"):
            Path(photos["file"][70]).unlink(missing_ok=True)
            return super().encode_images(pixels)

    with pytest.raises(DataError, match=r"70\.bmp was changed, replaced or removed"):
        embed(photos, Meddling(), store=store)
    assert embed(photos, store=store).unreadable["reason"].tolist() == ["no such file"]


def test_one_look_serves_several_calls_or_none(photos, store):
    files = snapshot(photos)
    embed(photos, store=store, files=files)
    rotate(photos["file"], write_in_place)
    with pytest.raises(DataError, match="was changed"):
        embed(photos, store=store, files=files, features="pre_projection")
    assert embed(photos, files=files, store=store).opened == 0  # of that moment, as it was read


def test_what_a_file_system_hides_is_refused(photos, store):
    """Other bytes in the same state: no times of change, say."""
    embed(photos[:8], store=store)
    states = snapshot(photos).states
    store.contents.note(states[40:41], ["0" * 64])
    with pytest.raises(
        StoreError, match=r"40\.bmp holds something else .*; delete .*contents and r"
    ):
        embed(photos, store=store)
    shutil.rmtree(store.root / "contents")
    assert_true(embed(photos, store=store), photos)


# -- known again by their content ------------------------------------------------------------------


def test_moved_and_touched_images_are_hashed_and_not_embedded(photos, store, tmp_path):
    first = embed(photos, store=store)
    os.rename(tmp_path / "photos", tmp_path / "moved")
    moved = photos.assign(file=photos["file"].str.replace("photos", "moved"))
    for workers in (0, 2):
        for file in moved["file"]:
            os.utime(file)
        found = embed_images(
            moved, info=INFO, get_model=never, store=store, workers=workers, progress=False
        )
        assert (found.opened, found.encoded) == (N, 0)
        np.testing.assert_array_equal(found.matrix, first.matrix)
    found = embed_images(moved, info=INFO, get_model=never, store=store)
    assert found.opened == 0


def test_a_mixture_of_known_moved_and_new_images(photos, store):
    """No file is hashed by what `opened` does not count."""
    embed(photos[:20], store=store)
    for file in photos["file"][4:12]:
        os.utime(file)
    found = embed(photos, store=store)
    assert (found.opened, found.encoded) == (8 + 60, 60)
    assert_true(found, photos)


def test_one_content_under_several_names_has_one_row(photos, store):
    for i, j in ((5, 9), (9, 6), (5, 33), (41, 40), (79, 0)):
        shutil.copy(photos["file"][j], photos["file"][i])
    stored, model = embed(photos, store=store), NumpyModel()
    alone = embed(photos, model)
    assert_true(stored, photos)
    different = len(set(by_hand(photos)[1]))
    assert stored.encoded == alone.encoded == model.images == different < N
    np.testing.assert_array_equal(stored.matrix, alone.matrix)
    shards = [pd.read_parquet(path) for path in store.root.rglob("*.parquet")]
    assert sorted(pd.concat(shards)["key"]) == sorted(set(by_hand(photos)[1]))


def test_an_interruption_changes_no_bit_where_contents_repeat(photos, store):
    class Batchy(NumpyModel):
        """Its vectors depend on the size of the batch, as those of a matrix product may."""

        def encode_images(self, pixels, features="projected"):
            vectors = super().encode_images(pixels).copy()
            vectors[:, 0] += 0.01 * len(pixels)
            if stop and self.images > 30:
                raise KeyboardInterrupt
            return vectors

    for i, j in ((9, 5), (20, 3), (50, 2), (51, 50)):
        shutil.copy(photos["file"][j], photos["file"][i])
    stop = False
    undisturbed = embed(photos, Batchy(), store=Store(store.root / "other"))
    stop = True
    with pytest.raises(KeyboardInterrupt):
        embed(photos, Batchy(), store=store)
    stop = False
    for path in (store.root / "contents").iterdir():  # as if killed between the two files
        path.unlink()
    found = embed(photos, Batchy(), store=store)
    assert 0 < found.encoded < undisturbed.encoded
    np.testing.assert_array_equal(found.matrix, undisturbed.matrix)


# -- stores written before -------------------------------------------------------------------------


def old_key(file, row=None):
    """Of stores before: path, row, size and time, as they were written then."""
    folder, name = os.path.split(file)
    status = os.stat(file)
    parts = [os.path.realpath(folder), name, row, status.st_size, status.st_mtime_ns]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@pytest.fixture
def old_store(photos, tmp_path):
    """Written as before, contents twice among them: keys by path, no notes of contents."""
    shutil.copy(photos["file"][3], photos["file"][17])
    shelf = Store(tmp_path / "old").shelf(INFO, "images-projected-float32")
    matrix, digests = by_hand(photos)
    for start in range(0, N, 16):
        part = slice(start, start + 16)
        rows = {"key": [old_key(file) for file in photos["file"][part]], "notes": ""}
        rows |= {"image_id": photos["image_id"][part], "sha256": digests[part], "reason": None}
        shelf.write(pd.DataFrame(rows), matrix[part].astype(np.float32))
    return Store(tmp_path / "old")


def test_rows_of_an_older_store_are_matched_once_and_kept(photos, old_store):
    shards = {path: path.read_bytes() for path in old_store.root.rglob("*.parquet")}
    matrix, digests = by_hand(photos)
    for opened in (N, 0):
        found = embed_images(
            photos, info=INFO, get_model=never, store=old_store, progress=False, workers=0
        )
        assert (found.opened, found.encoded) == (opened, 0)
        np.testing.assert_array_equal(found.matrix, matrix.astype(np.float32))
        assert found.sha256.tolist() == digests
    assert {path: path.read_bytes() for path in shards} == shards


def test_rows_of_an_older_store_are_not_believed_by_their_path(photos, old_store):
    """The exchange that older stores could not see, and new pictures among them."""
    rotate(photos["file"][:40], write_in_place)
    pixels = np.random.default_rng(7).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photos["file"][60])
    os.utime(photos["file"][60], ns=(10**18, 10**18))
    found = embed(photos, store=old_store)
    assert found.encoded == 1
    assert_true(found, photos)


def test_an_older_store_that_may_only_be_read_is_read(photos, old_store, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("clipeval.embedding.contents.keep", refuse)
    for _ in range(2):
        found = embed_images(
            photos, info=INFO, get_model=never, store=old_store, progress=False, workers=0
        )
        assert found.opened == N and found.encoded == 0
    assert not (old_store.root / "contents").exists()


# -- damage ----------------------------------------------------------------------------------------


def test_one_flipped_bit_in_any_file_of_a_store_changes_no_number(photos, store):
    shutil.copy(photos["file"][3], photos["file"][17])
    first, rng = embed(photos, store=store), np.random.default_rng(0)
    files = sorted(path for path in store.root.rglob("*") if path.is_file())
    kinds = {path.parent.name for path in files}
    assert kinds == {"contents", "images-projected-float32", INFO.fingerprint[:32]}
    for path in files:
        for at in rng.integers(0, 8 * path.stat().st_size, 12):
            whole = bytearray(path.read_bytes())
            whole[at // 8] ^= 1 << int(at) % 8
            path.write_bytes(whole)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                found = embed(photos, store=store)
                store.summary()
            assert all(issubclass(warning.category, SetAside) for warning in said)
            np.testing.assert_array_equal(found.matrix, first.matrix)
            assert found.sha256.tolist() == first.sha256.tolist()
            if not path.exists():
                assert len(said) == 1 and path.with_name(path.name + ".damaged").exists()
                break


def test_a_shard_found_damaged_only_when_it_is_read_is_embedded_again(photos, store):
    first = embed(photos, store=store)
    shard = sorted(store.root.rglob("*.parquet"))[2]
    whole = bytearray(shard.read_bytes())
    whole[whole.index(first.matrix[18].tobytes())] ^= 1
    shard.write_bytes(whole)
    shutil.rmtree(store.root / "contents")  # so that files are matched by the shards' keys alone
    with pytest.warns(SetAside, match=f"{shard.name} is damaged"):
        again = embed(photos, store=store)
    assert again.encoded == 8
    np.testing.assert_array_equal(again.matrix, first.matrix)


def test_contents_are_read_as_they_were_noted(tmp_path):
    contents = Contents(tmp_path / "contents")
    states = [hashlib.sha256(bytes([i])).hexdigest() for i in range(5)]
    contents.note(states[:2], ["a" * 64, "b" * 64])
    contents.note(states[3:4], ["c" * 64])
    contents.note([], [])
    assert len(list((tmp_path / "contents").iterdir())) == 2
    assert contents.read(states[::-1]).tolist() == [None, "c" * 64, None, "b" * 64, "a" * 64]
    assert str(tmp_path).encode() not in b"".join(p.read_bytes() for p in contents.folder.iterdir())


def test_a_look_tells_files_and_rows_apart_and_says_why_there_is_none(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        (tmp_path / "photos" / name).write_bytes(b"12345")
    files = [str(tmp_path / "photos" / name) for name in ("a", "b", "missing", ".")]
    found = snapshot(pd.DataFrame({"file": files}))
    assert len(set(found.states[:2])) == 2 and found.states[2:].tolist() == [None, None]
    assert found.reasons.tolist() == [None, None, "no such file", "not a file"]
    os.symlink(tmp_path / "photos", tmp_path / "link")
    linked = pd.DataFrame(
        {"file": [str(tmp_path / "link" / "b")], "row": pd.array([pd.NA], "Int64")}
    )
    assert snapshot(linked).states.tolist() == [found.states[1]]
    rows = pd.DataFrame({"file": files[:1] * 2, "row": pd.array([0, 1], "Int64")})
    assert len({found.states[0], *snapshot(rows).states}) == 3
