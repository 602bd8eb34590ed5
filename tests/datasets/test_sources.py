"""Getting data sets, and saying of each where it comes from and what is here."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pyarrow.parquet as pq
import pytest
from test_datasets_hub import REPO, Hub, hub, server  # noqa: F401 (fixtures)

from clipeval.datasets import list_datasets, sources
from clipeval.errors import DataError, ParameterError


def clipeval(tmp_path, *arguments, endpoint="", **more) -> subprocess.CompletedProcess:
    """The command line in a fresh process: the hub's client reads its environment once."""
    ours = ("hf_", "http_proxy", "https_proxy", "all_proxy")
    kept = {k: v for k, v in os.environ.items() if not k.lower().startswith(ours)}
    kept |= {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", **more}
    kept |= {"HF_ENDPOINT": endpoint} if endpoint else {}
    command = [sys.executable, "-m", "clipeval", *map(str, arguments)]
    return subprocess.run(command, env=kept, capture_output=True, text=True, timeout=120)


def address(server) -> str:  # noqa: F811
    return f"http://127.0.0.1:{server.server_port}"


def test_every_data_set_has_a_source():
    known = set(list_datasets()["dataset"]) - {"testcards", "manifest"}
    assert known <= set(sources.SOURCES)
    for name, source in sources.SOURCES.items():
        assert source.licence and source.terms.endswith(".") and source.layout, name
        ways = [bool(source.by_hand), bool(source.urls), bool(source.hub)]
        assert sum(ways) == 1, name
        assert all("/master/" not in url for url in (source.urls or {}).values())


def test_the_overview_says_what_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPEVAL_CACHE", str(tmp_path))
    assert sources.describe().count("not in the cache") == len(sources.SOURCES)
    (tmp_path / "data" / "cctv-clips").mkdir(parents=True)
    assert sources.describe().count("not in the cache") == len(sources.SOURCES)
    (tmp_path / "data" / "cctv-clips" / "car-detection.mp4").write_bytes(b"x")
    said = sources.describe()
    assert f"here     {tmp_path / 'data' / 'cctv-clips'}\n" in said
    assert "CelebA: non-commercial research only" in said and "563 MB" in said


@pytest.mark.parametrize("name", ["congress", "cctv", "celebrities"])
def test_what_may_not_be_downloaded_is_explained(name, tmp_path):
    with pytest.raises(DataError, match=f"^{name} cannot be downloaded from here") as caught:
        sources.get(name, tmp_path / "there")
    said = str(caught.value)
    assert f"put it into {tmp_path / 'there'}" in said and f"clipeval data check {name}" in said
    assert not (tmp_path / "there").exists()


def test_unknown_names_and_options(tmp_path, real):
    with pytest.raises(ParameterError, match='"imagenet" has no source'):
        sources.get("imagenet")
    with pytest.raises(ParameterError, match="padding 0.25 and 1.25"):
        sources.get("fairface", padding="2")
    with pytest.raises(
        ParameterError, match='data set congress has no option "padding"; it has groups'
    ):
        sources.check("congress", str(real / "congress_2017"), padding="0.25")


def test_clips_have_pinned_addresses(tmp_path):
    urls = sources.SOURCES["cctv-clips"].urls
    assert list(urls) == [url.rpartition("/")[2] for url in urls.values()]
    assert all(len(url.split("/")[5]) == 40 for url in urls.values())  # a commit, not a branch
    with pytest.raises(DataError, match=f"{tmp_path} lacks car-detection.mp4; run"):
        sources.check("cctv-clips", str(tmp_path))
    for name in urls:
        (tmp_path / name).write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0")
    said = sources.check("cctv-clips", str(tmp_path))
    assert said.startswith("cctv-clips: 2 clips\n  car-detection.mp4: 16 bytes")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "fairface",
            {"foo": "1"},
            '`data get fairface` has no option "foo"; it has padding, split',
        ),
        ("cctv-clips", {"split": "val"}, '`data get cctv-clips` has no option "split"; it has tim'),
        ("congress", {"timeout": "1"}, '`data get congress` has no option "timeout"; it has none'),
        ("cctv-clips", {"tries": "many"}, "tries=many is not a number above 0"),
        ("cctv-clips", {"timeout": "-1"}, "timeout=-1 is not a number above 0"),
    ],
)
def test_options_of_get_are_known_and_numbers(tmp_path, name, options, said):
    with pytest.raises(ParameterError, match=said):
        sources.get(name, tmp_path, **options)


# -- checking what is there ------------------------------------------------------------------------


def test_a_check_counts_as_the_labels_do(real):
    said = sources.check("fairface", str(real / "fairface"))
    labels = pd.read_csv(real / "fairface" / "labels_val.csv")
    counts = labels["gender"].value_counts()
    assert "val, 5,000 of 10,954: 5,000 images" in said and "train, 5,000 of 86,744" in said
    assert f"gender: Male {counts['Male']:,}, Female {counts['Female']:,}" in said
    assert said.count("20 images, drawn at random, could be read") == 2


def test_a_check_of_one_split_and_of_spoilt_images(real, tmp_path):
    (tmp_path / "val").mkdir()
    labels = pd.read_csv(real / "fairface" / "labels_val.csv").head(5)
    for file in labels["file"]:
        shutil.copy(real / "fairface" / file, tmp_path / file)
    labels.to_csv(tmp_path / "labels_val.csv", index=False)
    said = sources.check("fairface", str(tmp_path))
    assert "val, 5 of 10,954" in said and "not there: " in said.splitlines()[-1]
    (tmp_path / labels["file"][2]).write_bytes(b"")
    with pytest.raises(DataError, match=f"{labels['file'][2]} cannot be read .* fetch it again"):
        sources.check("fairface", str(tmp_path), split="val")
    (tmp_path / labels["file"][1]).unlink()
    with pytest.raises(DataError, match="1 of 5 labelled images are not under"):
        sources.check("fairface", str(tmp_path), split="val")


# -- the hub's own protocol ------------------------------------------------------------------------


def test_get_from_the_hub_then_check_then_offline(server, tmp_path):  # noqa: F811
    done = clipeval(
        tmp_path, "data", "get", "fairface", "-p", "split=val", endpoint=address(server)
    )
    assert done.returncode == 0, done.stderr
    assert f"-p dataset=fairface -p data={REPO} -p padding=0.25" in done.stdout
    offline = {"HF_HUB_OFFLINE": "1"}
    done = clipeval(tmp_path, "data", "check", "fairface", REPO, **offline)
    assert done.returncode == 0 and "11 images" in done.stdout and "not there: " in done.stdout
    done = clipeval(tmp_path, "data", **offline)
    assert f"the hub's cache (data={REPO})" in done.stdout


def test_get_into_a_folder(server, hub, tmp_path):  # noqa: F811
    to = tmp_path / "faces"
    done = clipeval(tmp_path, "data", "get", "fairface", "--to", to, endpoint=address(server))
    assert done.returncode == 0 and f"-p data={to}" in done.stdout, done.stderr
    for shard in (hub / "0.25").glob("*.parquet"):
        assert (to / "0.25" / shard.name).read_bytes() == shard.read_bytes()
    assert not (to / "1.25").exists()
    assert len(sources.check("fairface", str(to)).splitlines()) > 4


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "was refused by the hub (401)"), (404, "does not exist on the hub"), (429, "with 429")],
)
def test_what_the_hub_refuses_is_one_sentence(server, tmp_path, status, said):  # noqa: F811
    server.handler.status = status
    to = tmp_path / "faces"
    done = clipeval(tmp_path, "data", "get", "fairface", "--to", to, endpoint=address(server))
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not list(to.rglob("*.parquet")) and not list((tmp_path / "hf").rglob("*.parquet"))


class WrongHub(Hub):
    """Sends as many bytes as it promises, four of them others; no client but ours looks."""

    def sent(self, data):
        return data[:1000] + b"ZZZZ" + data[1004:]


def test_other_bytes_than_the_hub_promises_are_refused(server, hub, tmp_path):  # noqa: F811
    server.RequestHandlerClass = type("Wrong", (WrongHub,), {"root": hub})
    shard = next((hub / "0.25").glob("validation-*"))
    sha256 = hashlib.sha256(shard.read_bytes()).hexdigest()
    for to in ([], ["--to", tmp_path / "faces"]):
        arguments = ("data", "get", "fairface", "-p", "split=val", *to)
        done = clipeval(tmp_path, *arguments, endpoint=address(server))
        assert done.returncode == 2 and f"and not {sha256}" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and "is here" not in done.stdout
        kept = [p for p in tmp_path.rglob("*") if p.is_file() and hub not in p.parents]
        assert not [p for p in kept if p.suffix == ".parquet" or p.stat().st_size > 1000]


def test_a_damaged_file_in_the_cache_is_fetched_anew(server, hub, tmp_path):  # noqa: F811
    arguments = ("data", "get", "fairface", "-p", "split=val")
    assert clipeval(tmp_path, *arguments, endpoint=address(server)).returncode == 0
    shard = next((hub / "0.25").glob("validation-*")).read_bytes()
    link = next((tmp_path / "hf").rglob("validation-*.parquet"))
    assert link.is_symlink() and link.resolve().name == hashlib.sha256(shard).hexdigest()
    link.resolve().write_bytes(shard[:-1] + b"?")
    assert clipeval(tmp_path, *arguments, endpoint=address(server)).returncode == 0
    assert link.read_bytes() == shard


def test_the_cache_is_laid_out_as_the_hubs_client_does(server, tmp_path):  # noqa: F811
    """What was fetched here, the hub's own client finds without a network."""
    assert clipeval(tmp_path, "data", "get", "fairface", endpoint=address(server)).returncode == 0
    code = (
        "from huggingface_hub import hf_hub_download\n"
        f"print(hf_hub_download({REPO!r}, '0.25/validation-00000-of-00001.parquet', "
        "repo_type='dataset', local_files_only=True))"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert pq.read_table(done.stdout.strip()).num_rows == 11, done.stderr


def test_a_hub_that_always_cuts_is_one_sentence(server, hub, tmp_path):  # noqa: F811
    handler = type("Cut", (CutHub,), {"root": hub, "ranges": [], "cuts": 99, "part": 0})
    server.RequestHandlerClass = handler
    arguments = ("data", "get", "fairface", "-p", "split=val")
    done = clipeval(tmp_path, *arguments, endpoint=address(server))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "could not be downloaded" in done.stderr and "check network and disk" in done.stderr
    assert not list((tmp_path / "hf").rglob("*.parquet"))


class SlowHub(Hub):
    """Sends a few bytes, then nothing for long."""

    def reply(self, status, data, body, headers):
        if not (body and self.path.endswith(".parquet")):
            return super().reply(status, data, body, headers)
        self.send_response(200)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data[:2000])
        self.wfile.flush()
        time.sleep(30)


def test_ctrl_c_stops_a_download_at_once(server, hub, tmp_path):  # noqa: F811
    server.RequestHandlerClass = type("Slow", (SlowHub,), {"root": hub})
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    process = subprocess.Popen(
        [sys.executable, "-m", "clipeval", "data", "get", "fairface", "-p", "split=val"],
        env=kept | {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": address(server)},
        stderr=subprocess.PIPE,
        text=True,
        # a job in the background would ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    began = time.monotonic()
    while time.monotonic() < began + 30:
        if list((tmp_path / "hf").rglob("*.incomplete")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    said = process.communicate(timeout=20)[1]
    assert time.monotonic() - began < 5 and process.returncode == 130
    assert "stopped; what was embedded or fetched is kept" in said and "Traceback" not in said
    assert not list((tmp_path / "hf").rglob("*.parquet"))  # half a file is no file


class CutHub(Hub):
    """Ends the first transfer of every file in the middle; goes on where it is asked to."""

    cuts = 1
    part = None
    ranges: list

    def reply(self, status, data, body, headers):
        name = self.path.rpartition("/")[2]
        start = 0
        if body and name.endswith(".parquet"):
            self.ranges.append(self.headers.get("Range"))
            if self.headers.get("Range"):
                start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
                headers = {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
                status = 206
            if len(self.ranges) <= self.cuts:
                self.send_response(status)
                for key, value in {"Content-Length": str(len(data) - start), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                part = len(data) * 9 // 10 if self.part is None else self.part
                self.wfile.write(data[start : start + part])
                self.close_connection = True
                return
        super().reply(status, data[start:], body, headers)


@pytest.mark.parametrize("folder", [True, False])
def test_a_cut_transfer_is_continued(server, hub, tmp_path, folder):  # noqa: F811
    handler = type("Cut", (CutHub,), {"root": hub, "ranges": []})
    server.RequestHandlerClass = handler
    to, shard = tmp_path / "faces", next((hub / "0.25").glob("validation-*"))
    shard.write_bytes(random.Random(0).randbytes(12_000_000))  # the client's chunks are of 10 MB
    arguments = ["data", "get", "fairface", "-p", "split=val", *(["--to", to] if folder else [])]
    done = clipeval(tmp_path, *arguments, endpoint=address(server))
    assert done.returncode == 0, done.stderr
    first, second = handler.ranges
    assert first is None and second.startswith("bytes=") and int(second[6:-1]) > 10_000_000
    there = next((to if folder else tmp_path / "hf").rglob(shard.name))
    assert there.read_bytes() == shard.read_bytes()
