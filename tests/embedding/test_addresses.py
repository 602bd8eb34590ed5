"""Images, label files and the store at an address: in memory, and on a server that speaks S3."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from stubs import Info, NumpyModel

from clipeval.datasets import load_dataset
from clipeval.embedding import addresses
from clipeval.embedding.embed import embed_images, embed_texts
from clipeval.embedding.store import Store
from clipeval.embedding.store_pruning import delete, prunable
from clipeval.errors import DataError, ParameterError

INFO = Info("ad" * 32)
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


def photo(seed, size=(16, 12)):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "BMP")  # all of one size
    return buffer.getvalue()


FILES = {
    f"{folder}/{i}.bmp": photo(7 * i + len(folder)) for folder in ("a", "bb") for i in range(3)
}
TABLE = "file,kind\n" + "".join(f"{name},{name[0]}\n" for name in FILES)


@pytest.fixture(scope="module")
def s3():
    """Address of a server that speaks S3 as Amazon's does, started here."""
    pytest.importorskip("s3fs", reason='needs pip install "clipeval[s3]"')
    server = pytest.importorskip("moto.server", reason='needs pip install "moto[server,s3]"')
    running = server.ThreadedMotoServer(port=0)
    running.start()
    yield f"http://127.0.0.1:{running.get_host_and_port()[1]}"
    running.stop()


@pytest.fixture(params=["memory", "s3"])
def bucket(request, tmp_path, monkeypatch):
    """(address of an empty folder, its file system); the cache is empty too."""
    import fsspec

    monkeypatch.setenv("CLIPEVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(addresses, "_whole", set())
    name = f"b{os.urandom(4).hex()}"
    if request.param == "s3":
        for key, value in KEYS.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
        fsspec.filesystem("s3", skip_instance_cache=True)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    system = fsspec.filesystem(request.param)
    system.mkdir(f"/{name}" if request.param == "memory" else name)
    return f"{request.param}://{name}", system


def fill(bucket, files):
    address, system = bucket
    for name, content in files.items():
        system.pipe_file(f"{address}/{name}", content)


def states(folder):
    return {p.relative_to(folder).as_posix(): os.stat(p).st_ino for p in folder.rglob("*.*")}


def test_a_folder_is_read_as_on_this_disk(bucket, tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    fill(bucket, {f"photos/{name}": content for name, content in FILES.items()})
    if bucket[0].startswith("s3"):  # what Amazon's console makes of a folder
        bucket[1].call_s3("put_object", Bucket=bucket[0][5:], Key="photos/", Body=b"")
    there = load_dataset("manifest", f"{bucket[0]}/photos")
    here = load_dataset("manifest", str(tmp_path / "here"))
    assert there["image_id"].tolist() == here["image_id"].tolist() == list(FILES)
    assert [Path(file).read_bytes() for file in there["file"]] == list(FILES.values())


def test_only_what_has_changed_is_fetched_again(bucket):
    address, system = bucket
    fill(bucket, {f"photos/{name}": content for name, content in FILES.items()})
    copy = addresses.fetch(f"{address}/photos")
    first = states(copy)
    assert states(addresses.fetch(f"{address}/photos")) == first
    other = photo(99)
    assert len(other) == len(FILES["a/1.bmp"])  # of the same size
    fill(bucket, {"photos/a/1.bmp": other})
    system.rm_file(f"{address}/photos/bb/0.bmp")
    (copy / "a" / "2.bmp").write_bytes(b"scribbled over")
    again = states(addresses.fetch(f"{address}/photos"))
    assert {n for n in first if again.get(n) != first[n]} == {"a/1.bmp", "bb/0.bmp", "a/2.bmp"}
    assert (copy / "a/1.bmp").read_bytes() == other and "bb/0.bmp" not in again
    assert (copy / "a/2.bmp").read_bytes() == FILES["a/2.bmp"]


def test_of_a_csv_the_images_that_it_names_are_fetched(bucket):
    fill(bucket, FILES | {"spare.bmp": photo(5), "faces.csv": TABLE.encode()})
    images = load_dataset("manifest", f"{bucket[0]}/faces.csv")
    assert images["image_id"].tolist() == list(FILES) and images.attrs["groups"] == ["kind"]
    assert [Path(file).read_bytes() for file in images["file"]] == list(FILES.values())
    assert "spare.bmp" not in states(Path(images["file"][0]).parents[1])
    addresses.fetch(bucket[0])  # the whole of it, before more is added
    fill(bucket, {"a/8.bmp": photo(8), "faces.csv": (TABLE + "a/8.bmp,a\n").encode()})
    assert len(load_dataset("manifest", f"{bucket[0]}/faces.csv")) == 7
    fill(bucket, {"faces.csv": (TABLE + "a/9.bmp,a\n").encode()})
    with pytest.raises(DataError, match="1 of 7 labelled images are not under .*a/9.bmp"):
        load_dataset("manifest", f"{bucket[0]}/faces.csv")


def test_of_a_csv_on_this_disk_the_addresses_are_fetched(bucket, tmp_path):
    fill(bucket, FILES | {"spare.bmp": photo(5)})
    path = tmp_path / "own" / "faces.csv"
    path.parent.mkdir()
    path.with_name("here.bmp").write_bytes(photo(9))
    path.write_text("".join(["file\nhere.bmp\n", *(f"{bucket[0]}/{name}\n" for name in FILES)]))
    images = load_dataset("manifest", path)
    assert images["image_id"].tolist() == ["here.bmp", *FILES]
    assert [Path(file).read_bytes() for file in images["file"][1:]] == list(FILES.values())
    assert not list((tmp_path / "cache").rglob("spare.bmp"))
    path.write_text(f"file\n{bucket[0]}/none.bmp\n")
    with pytest.raises(
        DataError, match=f"nothing is at 1 of 1 addresses, such as {bucket[0]}/none"
    ):
        load_dataset("manifest", path)


def test_a_parquet_file_of_images(bucket):
    held = io.BytesIO()
    images = [{"bytes": content, "path": None} for content in FILES.values()]
    pd.DataFrame({"image": images, "kind": [name[0] for name in FILES]}).to_parquet(held)
    fill(bucket, {"faces.parquet": held.getvalue()})
    table = load_dataset("manifest", f"{bucket[0]}/faces.parquet")
    how = {"info": INFO, "progress": False, "workers": 0}
    found = embed_images(table, get_model=NumpyModel, **how)
    pixels = [
        np.asarray(Image.open(io.BytesIO(x)).resize((8, 8)), "f4") / 255 + 0.01
        for x in FILES.values()
    ]
    plain = np.array([p.ravel() / np.linalg.norm(p) for p in pixels])
    np.testing.assert_allclose(found.matrix, plain, atol=1e-6)


def test_a_store_at_an_address_is_shared_by_machines(bucket, tmp_path, monkeypatch):
    fill(bucket, {f"photos/{name}": content for name, content in FILES.items()})
    how = {"info": INFO, "progress": False, "workers": 0, "batch_size": 2, "shard_size": 2}
    first = None
    for machine in ("one", "two"):
        monkeypatch.setenv("CLIPEVAL_CACHE", str(tmp_path / machine))
        store = Store(f"{bucket[0]}/store")
        table = load_dataset("manifest", f"{bucket[0]}/photos")
        found = embed_images(table, get_model=NumpyModel, store=store, **how) if not first else None
        if first:
            found = embed_images(table, get_model=None, store=store, **how)  # no model is here
            np.testing.assert_array_equal(found.matrix, first.matrix)
            embed_texts(["cat"], info=INFO, get_model=NumpyModel, store=store)
        first = first or found
        assert found.encoded == (6 if machine == "one" else 0)
    held = Store(f"{bucket[0]}/store").summary().set_index("kind")
    assert held["rows"].to_dict() == {"images-projected-float32": 6, "texts-float32": 1}
    assert set(held["model"]) == {"stub"} and (held["written"].str[:2] == "20").all()
    assert {p.name for p in Path(store.root).rglob("*.parquet")} == {
        Path(name).name for name in bucket[1].find(f"{bucket[0]}/store") if name.endswith("parquet")
    }
    asked = prunable(store, kind="texts-float32")
    assert len(asked) == 1
    delete(store, asked)
    assert Store(f"{bucket[0]}/store").summary()["kind"].tolist() == ["images-projected-float32"]
    assert not bucket[1].exists(
        f"{bucket[0]}/store/{Path(asked['file'][0]).relative_to(store.root)}"
    )


def test_a_file_that_comes_short_is_refused(bucket, monkeypatch):
    address, system = bucket
    fill(bucket, {"photos/a.bmp": photo(1)})
    get = system.get

    def short(remote, local, **more):
        get(remote, local, **more)
        Path(local[0]).write_bytes(Path(local[0]).read_bytes()[:-9])

    monkeypatch.setattr(system, "get", short)
    with pytest.raises(DataError, match="came with .* bytes and is listed with"):
        addresses.fetch(f"{address}/photos")
    assert states(addresses.copy_of(f"{address}/photos")) == {}


def test_what_is_not_there(bucket):
    with pytest.raises(DataError, match="does not exist"):
        load_dataset("manifest", f"{bucket[0]}/nowhere")


def test_what_is_no_address(tmp_path, monkeypatch):
    assert not addresses.is_address("/data/photos") and not addresses.is_address("C:\\photos")
    assert not addresses.is_address("hf:owner/name") and addresses.is_address("hf://datasets/a/b")
    with pytest.raises(ParameterError, match="has an empty part"):
        addresses.fetch("memory://bucket/../../etc")
    assert addresses.fetch(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    monkeypatch.setenv("CLIPEVAL_CACHE", str(tmp_path))

    def absent(address):
        raise ImportError(f"install what reads {address}")

    monkeypatch.setattr("fsspec.core.url_to_fs", absent)
    with pytest.raises(
        ParameterError, match=r"s3:// needs s3fs, which is not installed; pip insta"
    ):
        addresses.fetch("s3://bucket/photos")
