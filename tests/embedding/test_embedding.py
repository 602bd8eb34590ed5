"""The same unit vectors as a plain loop, whatever the batches, and each image opened once."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from stubs import Info, NumpyModel, OpenClipModel

from clipeval.embedding.embed import dataset_hash, embed_images, embed_texts, unit_rows
from clipeval.embedding.loading import split_preprocess
from clipeval.embedding.store import Store
from clipeval.errors import DataError, ParameterError

INFO = Info("c3" * 32)


def table_of(files, root):
    ids = [file.relative_to(root).as_posix() for file in files]
    return pd.DataFrame({"image_id": ids, "file": [str(file) for file in files]})


@pytest.fixture
def cards(tmp_path):
    """Forty small photos in a folder of their own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return table_of(sorted(folder.iterdir()), folder)


def embed(images, model=None, **options):
    model = model or NumpyModel()
    options = {"workers": 0, "progress": False, "batch_size": 4, "shard_size": 8} | options
    return embed_images(images, info=INFO, get_model=lambda: model, **options)


def never():
    raise AssertionError("the model was asked for")


@pytest.fixture(scope="session")
def faces(real):
    return table_of([real / "fairface" / "val" / f"{i}.jpg" for i in range(1, 61)], real)


@pytest.fixture(scope="session")
def face_model(tiny_face_clip):
    return OpenClipModel(tiny_face_clip)


@pytest.fixture(scope="session")
def plain(faces, face_model):
    """The loop everybody writes."""
    import torch

    with torch.inference_mode():
        pixels = [face_model.preprocess(Image.open(f).convert("RGB")) for f in faces["file"]]
        features = face_model.model.encode_image(torch.stack(pixels))
        return torch.nn.functional.normalize(features, dim=-1).numpy()


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_any_batches_and_workers_equal_a_plain_loop(faces, face_model, plain, batch_size, workers):
    found = embed(faces, face_model, batch_size=batch_size, workers=workers)
    assert np.abs(found.matrix - plain).max() < 1e-5
    assert found.image_id.tolist() == faces["image_id"].tolist()
    assert found.sha256[5] == hashlib.sha256(open(faces["file"][5], "rb").read()).hexdigest()
    assert (found.opened, found.encoded, len(found.unreadable)) == (60, 60, 0)
    assert found.matrix.dtype == np.float32


def test_splitting_the_preprocess_changes_no_bit(faces, face_model):
    import torch

    photos = [Image.open(file).convert("RGB") for file in faces["file"][:8]]
    each, batch = split_preprocess(face_model.preprocess)
    whole = torch.stack([face_model.preprocess(photo) for photo in photos])
    parts = torch.stack([each(photo) for photo in photos])
    assert parts.dtype == torch.uint8
    assert torch.equal(batch(parts), whole)
    function = NumpyModel.preprocess
    assert split_preprocess(function)[0] is function


def test_congress_photos_equal_a_plain_loop(real, face_model):
    import torch

    folder = real / "congress_2017" / "images"
    files = sorted(folder.iterdir())
    images = table_of(files, folder)
    found = embed(images, face_model, batch_size=64, workers=1)
    assert len(found) == 540 and len(found.unreadable) == 0
    assert (found.notes == "transparency dropped").sum() == 8
    png = [i for i, f in enumerate(files) if f.read_bytes()[:4] == b"\x89PNG"]
    assert len(png) == 11
    with torch.inference_mode():
        pixels = [face_model.preprocess(Image.open(files[i]).convert("RGB")) for i in png]
        features = face_model.model.encode_image(torch.stack(pixels))
    expected = torch.nn.functional.normalize(features, dim=-1).numpy()
    assert np.abs(found.matrix[png] - expected).max() < 1e-5


def test_unit_rows_equal_numpy_in_double_precision():
    matrix = np.random.default_rng(0).normal(size=(50, 9)) * 1e3
    expected = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    assert np.abs(unit_rows(matrix) - expected).max() < 1e-6
    odd = unit_rows([[0, 0], [np.inf, 1], [np.nan, 1], [3, 4]])
    assert np.isnan(odd[:3]).all()
    np.testing.assert_allclose(odd[3], [0.6, 0.8], rtol=1e-6)


def test_a_warm_store_opens_nothing_and_asks_for_no_model(cards, tmp_path):
    store = Store(tmp_path / "store")
    first = embed(cards, store=store)
    again = embed_images(cards, info=INFO, get_model=never, store=store)
    assert (again.opened, again.encoded) == (0, 0)
    np.testing.assert_array_equal(again.matrix, first.matrix)
    assert again.sha256.tolist() == first.sha256.tolist()


def test_a_warm_store_opens_no_image_and_imports_no_torch(cards, tmp_path):
    """Seen from outside: an audit hook watches every file that a fresh process opens."""
    embed(cards, store=Store(tmp_path / "store"))
    embed_texts(["a", "b"], info=INFO, get_model=NumpyModel, store=Store(tmp_path / "store"))
    cards.to_parquet(tmp_path / "cards.parquet")
    code = f"""
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import pandas as pd
from stubs import Info
from clipeval.embedding.embed import embed_images, embed_texts
from clipeval.embedding.store import Store
images = pd.read_parquet({str(tmp_path / "cards.parquet")!r})
store = Store({str(tmp_path / "store")!r})
found = embed_images(images, info=Info({INFO.fingerprint!r}), get_model=None, store=store)
texts = embed_texts(["b"], info=Info({INFO.fingerprint!r}), get_model=None, store=store)
assert found.matrix.shape == (40, 192) and texts.shape == (1, 3)
assert opened and not [name for name in opened if name.endswith(".png")]
assert not {{"torch", "open_clip", "torchvision", "PIL"}} & set(sys.modules)
"""
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": path})


@pytest.mark.parametrize("part", [slice(0, 10), slice(7, 31), slice(None, None, -1)])
def test_a_subset_in_any_order_reuses_what_is_there(cards, tmp_path, part):
    store = Store(tmp_path / "store")
    whole = embed(cards, store=store)
    images = cards[part].reset_index(drop=True)
    some = embed_images(images, info=INFO, get_model=never, store=store)
    np.testing.assert_array_equal(some.matrix, whole.matrix[part])


def test_a_superset_opens_only_what_is_new(cards, tmp_path):
    store = Store(tmp_path / "store")
    embed(cards[3:20].reset_index(drop=True), store=store)
    whole = embed(cards, store=store)
    assert (whole.opened, whole.encoded) == (23, 23)
    assert np.abs(whole.matrix - embed(cards).matrix).max() < 1e-5


def test_a_changed_image_is_embedded_anew(cards, tmp_path):
    store = Store(tmp_path / "store")
    before = embed(cards, store=store)
    Image.new("RGB", (16, 16), "red").save(cards["file"][5])
    after = embed(cards, store=store)
    assert after.opened == 1
    assert np.flatnonzero((before.matrix != after.matrix).any(axis=1)).tolist() == [5]
    assert np.flatnonzero(before.sha256 != after.sha256).tolist() == [5]


@pytest.mark.parametrize("change", [{"features": "pre_projection"}, {"dtype": "float16"}])
def test_other_features_and_types_are_not_mixed(cards, tmp_path, change):
    store = Store(tmp_path / "store")
    embed(cards, store=store)
    assert embed(cards, store=store, **change).encoded == 40


def test_another_fingerprint_is_not_reused(cards, tmp_path):
    store, model = Store(tmp_path / "store"), NumpyModel()
    embed(cards, store=store)
    other = Info("d4" * 32)
    found = embed_images(
        cards, info=other, get_model=lambda: model, store=store, workers=0, progress=False
    )
    assert found.encoded == model.images == 40


def test_float16_gives_the_same_with_and_without_a_store(cards, tmp_path):
    whole = embed(cards)
    stored = embed(cards, store=Store(tmp_path / "s"), dtype="float16")
    read = embed(cards, store=Store(tmp_path / "s"), dtype="float16")
    np.testing.assert_array_equal(stored.matrix, embed(cards, dtype="float16").matrix)
    np.testing.assert_array_equal(stored.matrix, read.matrix)
    assert read.matrix.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(read.matrix, axis=1), 1, atol=1e-6)
    assert 0 < np.abs(read.matrix - whole.matrix).max() < 1e-3


def test_the_same_file_twice_is_encoded_once(cards):
    twice = pd.concat([cards, cards.assign(image_id="again/" + cards["image_id"])])
    model = NumpyModel()
    found = embed(twice.reset_index(drop=True), model)
    assert len(found) == 80 and model.images == found.opened == 40
    np.testing.assert_array_equal(found.matrix[:40], found.matrix[40:])


def test_rows_of_parquet_files(cards, tmp_path):
    column = [{"bytes": open(f, "rb").read(), "path": None} for f in cards["file"]]
    file = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": column}), file, row_group_size=7)
    rows = cards.assign(file=file, row=pd.array(range(40), "Int64"))
    for workers in (0, 2):
        np.testing.assert_array_equal(
            embed(rows, workers=workers, store=Store(tmp_path / f"{workers}")).matrix,
            embed(cards).matrix,
        )
    assert embed(rows, store=Store(tmp_path / "2")).opened == 0


def test_a_vector_that_is_zero_or_not_finite_is_listed_and_not_stored(cards, tmp_path):
    class Broken(NumpyModel):
        def encode_images(self, pixels, features="projected"):
            matrix = super().encode_images(pixels).copy()
            matrix[0], matrix[1, 3] = 0, np.nan
            return matrix

    store = Store(tmp_path / "store")
    found = embed(cards[:4], Broken(), store=store)
    assert found.unreadable["image_id"].tolist() == ["00.png", "01.png"]
    assert found.unreadable["reason"].str.contains("no finite vector").all()
    np.testing.assert_array_equal(found.matrix, embed(cards).matrix[2:4])
    mended = embed(cards[:4], store=store)
    assert mended.encoded == 2 and len(mended.unreadable) == 0


def test_nothing_readable_is_an_error(cards, tmp_path):
    with pytest.raises(DataError, match="there are no images"):
        embed(cards[:0])
    gone = cards.assign(file=[f"{tmp_path}/gone/{i}.png" for i in range(40)])
    with pytest.raises(DataError, match="none of 40 images could be read.*no such file"):
        embed(gone)


@pytest.mark.parametrize("bad", [{"dtype": "int8"}, {"batch_size": -1}, {"workers": -1}])
def test_parameters_are_checked_first(cards, bad):
    with pytest.raises(ParameterError):
        embed(cards, **bad)


def test_an_interruption_says_what_is_kept(cards, tmp_path):
    class Interrupted(NumpyModel):
        def encode_images(self, pixels, features="projected"):
            if self.images == 20:
                raise KeyboardInterrupt
            return super().encode_images(pixels)

    store = Store(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt, match="after 16 of 40 images, which are stored"):
        embed(cards, Interrupted(), store=store)
    assert embed(cards, store=store).encoded == 24
    with pytest.raises(KeyboardInterrupt, match="without a store, none are kept"):
        embed(cards, Interrupted())


def test_progress_is_shown_only_when_asked_for(cards, capsys):
    embed(cards)
    assert capsys.readouterr() == ("", "")
    embed(cards, progress=True)
    assert "40/40" in capsys.readouterr().err


# -- prompts ---------------------------------------------------------------------------------------


def test_prompts_are_encoded_once_and_checked_first(tmp_path):
    store, model = Store(tmp_path / "store"), NumpyModel()
    prompts = ["a photo of a man", "ein Foto: Jürgen", "a photo of a man", "A photo of a man"]
    found = embed_texts(prompts, info=INFO, get_model=lambda: model, store=store)
    raw = NumpyModel().encode_texts(prompts)
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 1e-6 and found.dtype == np.float32
    assert model.texts == model.checked == ["a photo of a man", "ein Foto: Jürgen", prompts[3]]
    again = embed_texts(prompts[::-1], info=INFO, get_model=never, store=store)
    np.testing.assert_array_equal(again, found[::-1])
    embed_texts([*prompts, "new"], info=INFO, get_model=lambda: model, store=store)
    assert model.texts[3:] == ["new"]


def test_a_prompt_that_fails_its_check_stops_all_before_encoding():
    class Strict(NumpyModel):
        def check_texts(self, texts):
            raise DataError("too long")

    model = Strict()
    with pytest.raises(DataError, match="too long"):
        embed_texts(["a"] * 3, info=INFO, get_model=lambda: model)
    assert model.texts == []


def test_prompts_do_not_depend_on_which_were_missing(face_model, tmp_path):
    prompts = [f"a photo of a person {i} years old" for i in range(300)]
    whole = embed_texts(prompts, info=INFO, get_model=lambda: face_model)
    store = Store(tmp_path / "store")
    embed_texts(prompts[5:50], info=INFO, get_model=lambda: face_model, store=store)
    later = embed_texts(prompts, info=INFO, get_model=lambda: face_model, store=store)
    assert np.abs(whole - later).max() < 1e-6


# -- identity of what was studied ------------------------------------------------------------------


def test_dataset_hash_follows_content_and_labels_only(cards, tmp_path):
    cards = cards.assign(gender=pd.Categorical(["Male", "Female"] * 20))
    cards.attrs["groups"] = ["gender"]
    found = embed(cards)
    digest = dataset_hash(cards, found)
    moved = tmp_path / "moved"
    os.rename(tmp_path / "photos", moved)
    shuffled = cards.sample(frac=1, random_state=0).reset_index(drop=True)
    shuffled["file"] = [str(moved / name) for name in shuffled["image_id"]]
    shuffled.attrs = dict(cards.attrs)
    assert dataset_hash(shuffled, embed(shuffled)) == digest
    relabelled = cards.assign(gender=cards["gender"].cat.rename_categories({"Male": "M"}))
    relabelled.attrs = dict(cards.attrs)
    assert dataset_hash(relabelled, found) != digest
    Image.new("RGB", (16, 16)).save(shuffled["file"][0])
    assert dataset_hash(shuffled, embed(shuffled)) != digest
    (moved / "00.png").write_bytes(b"broken")
    assert dataset_hash(shuffled, embed(shuffled)) != digest
