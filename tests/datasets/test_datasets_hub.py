"""FairFace in the hub's layout: a folder, the hub's cache, a small server of its protocol."""

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipeval.datasets import load_dataset
from clipeval.embedding.images import read_bytes
from clipeval.errors import DataError

REPO = "HuggingFaceM4/FairFace"
AGES = ["0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"]
GENDERS = ["Male", "Female"]
# the order of the hub's dataset card, which is not the order of the paper
RACES = [
    "East Asian",
    "Indian",
    "Black",
    "White",
    "Middle Eastern",
    "Latino_Hispanic",
    "Southeast Asian",
]


def image(size=224):
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (size % 256, 0, 0)).save(stream, "JPEG")
    return stream.getvalue()


def write_shard(path, n, *, size=224, paths=None, races=RACES, metadata=True, start=0):
    """A shard as the hub's converter writes it; row i has class i modulo the number of classes."""
    rows = range(start, start + n)
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": image(size), "path": paths and paths(i)} for i in rows],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "age": pa.array([i % 9 for i in rows], pa.int64()),
            "gender": pa.array([i % 2 for i in rows], pa.int64()),
            "race": pa.array([i % 7 for i in rows], pa.int64()),
            "service_test": pa.array([i % 3 == 0 for i in rows]),
        }
    )
    if metadata:
        names = {"age": AGES, "gender": GENDERS, "race": races}
        features = {k: {"names": v, "_type": "ClassLabel"} for k, v in names.items()}
        info = {"info": {"features": {"image": {"_type": "Image"}, **features}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=4)


@pytest.fixture
def hub(tmp_path):
    """Both paddings; validation in one shard, train in two."""
    root = tmp_path / "hub"
    for padding, size in (("0.25", 224), ("1.25", 448)):
        write_shard(root / padding / "validation-00000-of-00001.parquet", 11, size=size)
        for k in (0, 1):
            # the hub's files of this data set carry a hash
            shard = root / padding / f"train-0000{k}-of-00002-d405faba4f4b9b8{k}.parquet"
            write_shard(shard, 10, size=size, start=10 * k)
    return root


def test_a_folder_in_the_hubs_layout(hub):
    images = load_dataset("fairface", str(hub))
    assert images["image_id"][3] == "validation/000003" and len(images) == 11
    assert images["age"].tolist() == [AGES[i % 9] for i in range(11)]
    assert images["race"].tolist() == [RACES[i % 7] for i in range(11)]
    assert images["gender"].tolist() == [GENDERS[i % 2] for i in range(11)]
    assert images["service_test"].tolist() == [i % 3 == 0 for i in range(11)]
    assert images["race"].cat.categories[0] == "White"
    assert images["row"].tolist() == list(range(11)) and images["row"].dtype == "Int64"


def test_file_and_row_lead_to_the_image(hub):
    images = load_dataset("fairface", str(hub), split="train")
    assert images["image_id"].tolist() == [f"train/{i:06d}" for i in range(20)]
    assert images["age"].tolist() == [AGES[i % 9] for i in range(20)]
    row = images.iloc[13]
    stored = pq.read_table(row["file"])["image"][int(row["row"])].as_py()
    assert row["row"] == 3 and row["file"].endswith("train-00001-of-00002-d405faba4f4b9b81.parquet")
    assert stored["bytes"] == image()


def test_the_paddings_are_not_mixed(hub):
    wide = load_dataset("fairface", str(hub), padding="1.25")
    assert all("/1.25/" in file for file in wide["file"])
    write_shard(hub / "0.25" / "validation-00000-of-00001.parquet", 5, size=448)
    with pytest.raises(
        DataError, match="448 x 448 pixels, the size of the release with padding 1.25"
    ):
        load_dataset("fairface", str(hub))


def test_the_folder_of_one_padding(hub):
    assert len(load_dataset("fairface", str(hub / "0.25"))) == 11
    with pytest.raises(DataError, match="but padding is 1.25; set padding=0.25"):
        load_dataset("fairface", str(hub / "0.25"), padding="1.25")


def test_the_shards_of_one_padding_alone(hub, tmp_path):
    """As downloaded by hand into a folder of another name; the size of the images tells the padding."""
    (hub / "0.25").rename(tmp_path / "flat")
    assert len(load_dataset("fairface", str(tmp_path / "flat"))) == 11
    with pytest.raises(DataError, match="but padding is 1.25; set padding=0.25"):
        load_dataset("fairface", str(tmp_path / "flat"), padding="1.25")


def test_an_empty_label_names_its_shard_and_row(hub):
    import pyarrow as pa
    import pyarrow.parquet as pq

    shard = hub / "0.25" / "validation-00000-of-00001.parquet"
    table = pq.read_table(shard)
    codes = table.column("race").to_pylist()
    codes[3] = None
    place = table.schema.get_field_index("race")
    pq.write_table(table.set_column(place, "race", pa.array(codes, pa.int64())), shard)
    with pytest.raises(DataError) as error:
        load_dataset("fairface", str(hub))
    assert str(error.value) == f"{shard}, row 4: race is empty; use the original file."


@pytest.mark.parametrize("prefix", ["", "val/"])
def test_names_in_the_parquet_become_ids(hub, prefix):
    shard = hub / "0.25" / "validation-00000-of-00001.parquet"
    write_shard(shard, 4, paths=lambda i: f"{prefix}{i + 1}.jpg")
    assert load_dataset("fairface", str(hub))["image_id"].tolist() == [
        f"val/{i}.jpg" for i in (1, 2, 3, 4)
    ]


def test_repeated_names_in_the_parquet_are_not_used(hub):
    write_shard(hub / "0.25" / "validation-00000-of-00001.parquet", 3, paths=lambda i: "image.jpg")
    assert load_dataset("fairface", str(hub))["image_id"][2] == "validation/000002"


def test_other_class_names_are_refused(hub):
    shard = hub / "0.25" / "validation-00000-of-00001.parquet"
    write_shard(shard, 3, races=sorted(RACES))
    with pytest.raises(DataError, match="the classes of race are Black, East Asian") as caught:
        load_dataset("fairface", str(hub))
    assert str(shard) in str(caught.value)


def test_numbers_without_names_are_refused_or_named_beside(hub):
    """Another tool may have written them in another order."""
    shard = hub / "0.25" / "validation-00000-of-00001.parquet"
    write_shard(shard, 8, metadata=False)
    with pytest.raises(DataError) as caught:
        load_dataset("fairface", str(hub))
    assert str(caught.value) == (
        f"{shard}: age is written as numbers, and the file does not say what they stand for; write the "
        'names, or list them from 0 in classes.yaml beside it, such as "age: [0-2, 3-9, ...]".'
    )
    names = {"gender": ["Female", "Male"], "race": RACES[::-1], "age": AGES}
    beside = shard.with_name("classes.yaml")
    beside.write_text("".join(f"{k}: [{', '.join(v)}]\n" for k, v in names.items()))
    images = load_dataset("fairface", str(hub))
    assert images["gender"].tolist() == ["Female", "Male"] * 4
    assert images["race"].tolist() == [RACES[6 - i % 7] for i in range(8)]
    assert images["age"].tolist() == [AGES[i % 9] for i in range(8)]
    table = pq.read_table(shard)
    column = table.schema.get_field_index("race")
    pq.write_table(table.set_column(column, "race", pa.array([7] + [0] * 7)), shard)
    with pytest.raises(DataError, match='parquet, row 1: race "7" is not a FairFace race'):
        load_dataset("fairface", str(hub))
    for text in ("gender: [Female]", "sex: [a, b]", "- a", "{", "gender: Female"):
        beside.write_text(text)
        with pytest.raises(DataError, match="classes.yaml.* (correct it|cannot be read as YAML)"):
            load_dataset("fairface", str(hub))


def test_names_instead_of_numbers(hub):
    shard = hub / "0.25" / "validation-00000-of-00001.parquet"
    table = pq.read_table(shard).replace_schema_metadata()
    for column, names in (("age", AGES), ("gender", GENDERS), ("race", RACES)):
        values = pa.array([names[code] for code in table[column].to_pylist()])
        table = table.set_column(table.schema.get_field_index(column), column, values)
    tested = pa.array([str(flag) for flag in table["service_test"].to_pylist()])
    pq.write_table(
        table.set_column(table.schema.get_field_index("service_test"), "service_test", tested),
        shard,
    )
    images = load_dataset("fairface", str(hub))
    assert images["race"].tolist() == [RACES[i % 7] for i in range(11)]
    assert images["service_test"].tolist() == [i % 3 == 0 for i in range(11)]


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.binary())])]
)
def test_images_without_a_name_of_their_own(hub, kind):
    """Raw bytes, as other tools write them."""
    shard = hub / "0.25" / "validation-00000-of-00001.parquet"
    table = pq.read_table(shard)
    raw = [item["bytes"] for item in table["image"].to_pylist()]
    values = pa.array([{"bytes": b} for b in raw] if pa.types.is_struct(kind) else raw, kind)
    pq.write_table(table.set_column(0, "image", values), shard)
    images = load_dataset("fairface", str(hub))
    assert images["image_id"][3] == "validation/000003"
    assert read_bytes(images["file"][3], int(images["row"][3])) == raw[3] == image()
    with pytest.raises(DataError, match="but padding is 1.25; set padding=0.25"):
        load_dataset("fairface", str(hub / "0.25"), padding="1.25")


def test_images_in_a_column_of_another_name(hub):
    shard = hub / "0.25" / "validation-00000-of-00001.parquet"
    table = pq.read_table(shard)
    names = ["img_bytes" if name == "image" else name for name in table.column_names]
    metadata = table.schema.metadata
    pq.write_table(table.rename_columns(names).replace_schema_metadata(metadata), shard)
    with pytest.raises(DataError, match='holds its images in column "img_bytes"; call that column'):
        load_dataset("fairface", str(hub))
    pq.write_table(table.drop_columns(["image"]), shard)
    with pytest.raises(DataError, match='has no column "image" with the bytes of images'):
        load_dataset("fairface", str(hub))


def test_parquet_in_folders_or_under_names_of_another_kind(hub, tmp_path):
    root = tmp_path / "faces"
    root.mkdir()
    (hub / "0.25").rename(root / "data")
    with pytest.raises(DataError, match=f"it is in {root}/data: give that folder as data"):
        load_dataset("fairface", str(root))
    assert len(load_dataset("fairface", str(root / "data"))) == 11
    for shard in (root / "data").glob("*.parquet"):
        shard.rename(shard.with_name(shard.name.replace("validation", "test")))
    with pytest.raises(
        DataError, match="data/test-.* is there: call the files of this split valid"
    ):
        load_dataset("fairface", str(root))


def test_a_missing_shard_is_refused(hub):
    next((hub / "0.25").glob("train-00001*")).unlink()
    with pytest.raises(
        DataError, match="train has 1 of 2 parquet files, without train-00001-of-00002"
    ):
        load_dataset("fairface", str(hub), split="train")


def test_two_versions_of_a_shard_are_not_mixed(hub):
    write_shard(hub / "0.25" / "train-00001-of-00002-0000000000000000.parquet", 10)
    with pytest.raises(DataError, match="train has 3 parquet files where 2 belong"):
        load_dataset("fairface", str(hub), split="train")


def test_a_cut_shard_is_refused(hub):
    shard = hub / "0.25" / "validation-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot be read as parquet"):
        load_dataset("fairface", str(hub))


def test_a_missing_column_is_refused(hub):
    shard = hub / "0.25" / "validation-00000-of-00001.parquet"
    pq.write_table(pq.read_table(shard).drop_columns(["race"]), shard)
    with pytest.raises(DataError, match="has no column race"):
        load_dataset("fairface", str(hub))


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's protocol that a download of a snapshot uses."""

    root: Path
    status = 200
    commit = "0123456789abcdef0123456789abcdef01234567"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = self.path.split("?")[0]
        files = {p.relative_to(self.root).as_posix(): p for p in self.root.rglob("*.parquet")}
        error = {"X-Error-Code": "RepoNotFound"} if self.status == 404 else {}
        if self.status != 200:
            return self.reply(self.status, b"{}", body, error)
        if path.startswith(f"/api/datasets/{REPO}"):
            tree = [self.entry(name, p.read_bytes()) for name, p in files.items()]
            siblings = [{"rfilename": name} for name in files]
            info = {
                "id": REPO,
                "sha": self.commit,
                "siblings": siblings,
                "tags": [],
                "private": False,
            }
            reply = tree if "/tree/" in path else info
            return self.reply(200, json.dumps(reply).encode(), body, {})
        name = path.split(f"/{self.commit}/")[-1]
        data = files[name].read_bytes()
        head = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": self.commit}
        return self.reply(200, self.sent(data), body, head)

    @staticmethod
    def entry(name, data):
        lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return {"type": "file", "path": name, "size": len(data), "oid": "0" * 40, "lfs": lfs}

    def sent(self, data):
        return data

    def reply(self, status, data, body, headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(hub):
    handler = type("Handler", (Hub,), {"root": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.handler = handler
    yield server
    server.shutdown()
    server.server_close()


def run(tmp_path, data, *, endpoint=None, offline=False):
    """Load in a fresh process, as the hub's client reads its environment when it is imported."""
    code = (
        "from clipeval.datasets import load_dataset\nfrom clipeval.errors import DataError\n"
        f"try: images = load_dataset('fairface', {data!r}, split='train')\n"
        "except DataError as error: print('refused:', error)\n"
        "else: print(len(images), images['age'].tolist()[9], images['file'][0])"
    )
    ours = ("hf_", "http_proxy", "https_proxy", "all_proxy")
    kept = {k: v for k, v in os.environ.items() if not k.lower().startswith(ours)}
    environment = kept | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_ENDPOINT": endpoint} if endpoint else {}
    environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_download_then_offline_from_the_cache(server, tmp_path):
    endpoint = f"http://127.0.0.1:{server.server_port}"
    said = run(tmp_path, f"hf:{REPO}", endpoint=endpoint)
    assert said.startswith("20 0-2 ") and str(tmp_path / "hf") in said
    cached = [p.name for p in (tmp_path / "hf").rglob("*.parquet")]
    assert sorted(name[:20] for name in cached) == ["train-00000-of-00002", "train-00001-of-00002"]
    assert run(tmp_path, REPO, offline=True) == said


def test_offline_without_a_cache(tmp_path):
    said = run(tmp_path, REPO, offline=True)
    assert said.startswith(f"refused: Data set {REPO} is not in the local cache and the hub cannot")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "does not exist on the hub or is private"),
        (401, "was refused by the hub (401); set HF_TOKEN"),
        (429, "answered with 429"),
    ],
)
def test_what_the_hub_refuses(server, tmp_path, status, said):
    server.handler.status = status
    answer = run(tmp_path, f"hf:{REPO}", endpoint=f"http://127.0.0.1:{server.server_port}")
    assert answer.startswith(f"refused: Data set {REPO}") and said in answer
