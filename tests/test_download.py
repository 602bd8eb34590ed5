"""Downloads against a local server that cuts, refuses, dawdles and lies."""

import errno
import hashlib
import random
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from clipeval import download as module
from clipeval.download import download
from clipeval.errors import DataError

BODY = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `body` with ranges; `script` holds what to do with the next requests instead."""

    def do_GET(self):
        server = self.server
        server.asked.append(dict(self.headers))
        act = server.script.pop(0) if server.script else {}
        if "status" in act:
            self.send_response(act["status"])
            for key, value in act.get("headers", {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body, start = act.get("body", server.body), 0
        tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
        if self.headers.get("Range") and self.headers.get("If-Range") == tag:
            start = int(self.headers["Range"][6:-1])
        if start >= len(body) > 0:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            first = act.get("wrong_start", start)
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        if server.tagged:
            self.send_header("ETag", tag)
        if not act.get("no_length"):
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        sent = body[start : act.get("cut", len(body))]
        self.wfile.write(sent)
        self.wfile.flush()
        for _ in range(act.get("dawdle", 0)):
            time.sleep(0.05)
            self.wfile.write(b"x")
            self.wfile.flush()
        time.sleep(act.get("sleep", 0))

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.script, server.asked, server.tagged = BODY, [], [], True
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # a client that has gone is no error here
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}/faces.zip"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def get(server, tmp_path):
    def fetch(**how):
        how = {"sha256": SHA256, "progress": False, "timeout": 2} | how
        return download(server.url, tmp_path / "data" / "faces.zip", **how)

    return fetch


def left(tmp_path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "data").iterdir())


def test_a_file_comes_whole_and_alone(server, get, tmp_path):
    assert get().read_bytes() == BODY and left(tmp_path) == ["faces.zip"]
    assert len(server.asked) == 1 and "Range" not in server.asked[0]
    get()
    assert len(server.asked) == 1  # it is there and right
    (tmp_path / "data" / "faces.zip").write_bytes(b"other")
    assert get().read_bytes() == BODY and len(server.asked) == 2


def test_it_goes_on_after_cuts(server, get, tmp_path):
    server.script = [{"cut": 100_000}, {"cut": 100_001}, {"status": 500}, {"cut": 250_000}]
    assert get().read_bytes() == BODY and left(tmp_path) == ["faces.zip"]
    ranges = [asked.get("Range") for asked in server.asked]
    assert ranges == [None, "bytes=100000-", "bytes=100001-", "bytes=100001-", "bytes=250000-"]


def test_a_second_call_goes_on_where_the_first_gave_up(server, get, tmp_path):
    server.script = [{"cut": 120_000}, *[{"cut": 120_000}] * 3]
    with pytest.raises(DataError, match="120,000 bytes are kept and will be continued") as caught:
        get(tries=2)
    assert "it ended after 120,000 of 300,000 bytes" in str(caught.value)
    assert left(tmp_path) == ["faces.zip.part", "faces.zip.part.etag"]
    server.script.clear()
    assert get().read_bytes() == BODY
    assert server.asked[-1]["Range"] == "bytes=120000-" and left(tmp_path) == ["faces.zip"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, get, tmp_path):
    other = BODY[::-1]
    server.script = [{"body": other, "cut": 100_000}]
    assert get().read_bytes() == BODY  # no first part of the other file


def test_without_a_tag_nothing_is_pieced_together(server, get):
    server.tagged, server.script = False, [{"cut": 100_000}]
    assert get().read_bytes() == BODY
    assert [asked.get("Range") for asked in server.asked] == [None, None]


def test_a_part_that_does_not_fit_is_thrown_away(server, get, tmp_path):
    (tmp_path / "data").mkdir()
    part = tmp_path / "data" / "faces.zip.part"
    part.write_bytes(b"x" * 400_000)
    tag = f'"{hashlib.sha256(BODY).hexdigest()[:8]}"'
    part.with_name("faces.zip.part.etag").write_text(tag)
    assert get().read_bytes() == BODY
    server.script = [{"cut": 1000}, {"wrong_start": 7}]
    (tmp_path / "data" / "faces.zip").unlink()
    assert get().read_bytes() == BODY


def test_a_length_that_is_not_told(server, get):
    server.script = [{"no_length": True}]
    assert get().read_bytes() == BODY


def test_a_wrong_checksum_leaves_nothing(server, get, tmp_path):
    server.body = BODY[:-1] + b"?"
    found = hashlib.sha256(server.body).hexdigest()
    with pytest.raises(DataError, match=f"has sha256 {found} and not {SHA256}") as caught:
        get()
    assert left(tmp_path) == [] and "\n" not in str(caught.value)


def test_a_failure_leaves_the_file_that_was_there(server, get, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "faces.zip").write_bytes(b"an older one")
    server.script = [{"status": 404}]
    with pytest.raises(DataError):
        get()
    assert (tmp_path / "data" / "faces.zip").read_bytes() == b"an older one"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "was refused by 127.0.0.1 (401); it needs a permission"),
        (403, "was refused by 127.0.0.1 (403)"),
        (404, "is not there (404); look for it on the data set's own page"),
        (451, "was answered with 451"),
    ],
)
def test_a_refusal_is_final_and_one_sentence(server, get, tmp_path, status, said):
    server.script = [{"status": status}] * 9
    with pytest.raises(DataError) as caught:
        get()
    assert said in str(caught.value) and str(caught.value).startswith(server.url)
    assert len(server.asked) == 1 and left(tmp_path) == []


def test_too_many_requests_are_waited_for(server, get):
    server.script = [{"status": 429, "headers": {"Retry-After": "1"}}]
    began = time.monotonic()
    assert get().read_bytes() == BODY
    assert 1 <= time.monotonic() - began < 4


def test_the_wait_is_bounded(server, get):
    began = time.monotonic()
    server.script = [{"status": 429, "headers": {"Retry-After": "86400"}}]
    with pytest.raises(
        DataError, match="answered with 429 by 127.0.0.1, which asks to wait 86,400"
    ):
        get()
    server.script = [{"status": 503, "headers": {"Retry-After": "0.4"}}] * 50
    with pytest.raises(DataError, match="asks to wait"):
        get(patience=1, tries=50)
    server.script = [
        {"status": 429, "headers": {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}},
    ]
    with pytest.raises(DataError, match="asks to wait"):
        get()
    assert time.monotonic() - began < 5


def test_a_server_that_fails_is_given_up(server, get):
    server.script = [{"status": 500}] * 50
    with pytest.raises(DataError, match="cannot be fetched .answered with 500.: try again later"):
        get(tries=2)
    assert len(server.asked) == 2


def test_a_server_that_falls_silent(server, get, tmp_path):
    server.script = [{"cut": 50_000, "sleep": 1.5}]
    assert get(timeout=0.4).read_bytes() == BODY
    assert server.asked[1]["Range"] == "bytes=50000-"
    (tmp_path / "data" / "faces.zip").unlink()
    server.script = [{"cut": 0, "sleep": 1.5}] * 5
    with pytest.raises(DataError, match="nothing came for 0.3 seconds"):
        get(timeout=0.3, tries=2)


def test_a_server_that_dawdles(server, get):
    server.script = [{"cut": 0, "dawdle": 60}] * 6
    began = time.monotonic()
    with pytest.raises(DataError, match="cannot be fetched|sha256"):
        get(timeout=0.5, tries=1)
    assert time.monotonic() - began < 3 and module.SLOWEST > 20


def test_no_server_and_no_address(server, tmp_path):
    target = tmp_path / "data" / "x"
    began = time.monotonic()
    with pytest.raises(DataError, match="127.0.0.1 cannot be reached: .*refused"):
        download("http://127.0.0.1:9/x", target, progress=False)
    assert time.monotonic() - began < 1
    with pytest.raises(DataError, match="is no address to fetch from"):
        download("faces.zip", target, progress=False)
    assert left(tmp_path) == []


def test_a_full_disk(server, get, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=100_000))
        with pytest.raises(DataError, match="it needs 0.3 MB and 0.1 MB are free.; free some"):
            get()
    # full while it is being written: what was written stays for the next call

    def full(answer, stream, timeout, bar):
        stream.write(answer.read(100_000))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_copy", full)
        with pytest.raises(DataError, match="No space left on device.; free some space and run"):
            get()
    assert "faces.zip" not in left(tmp_path)
    assert get().read_bytes() == BODY and server.asked[-1]["Range"] == "bytes=100000-"


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to .* name a folder that you may write"):
        download(server.url, tmp_path / "file" / "x", progress=False)


def test_a_proxy_of_the_environment_is_used(server, get, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(server, "url", "http://data.example/faces.zip")
    assert get().read_bytes() == BODY
    assert server.asked[0]["Host"] == "data.example"


def test_two_processes_do_not_write_into_one_file(server, tmp_path):
    """The second waits for the first and finds the file there; one request, not two, was made."""
    server.script = [{"cut": 150_000, "sleep": 1.0}]
    code = (
        "from clipeval.download import download\n"
        f"print(download({server.url!r}, {str(tmp_path / 'data' / 'faces.zip')!r}, "
        f"sha256={SHA256!r}, timeout=9, progress=False))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1) for _ in range(2)]
    assert [p.wait(timeout=30) for p in both] == [0, 0], [p.stderr.read() for p in both]
    assert (tmp_path / "data" / "faces.zip").read_bytes() == BODY
    assert left(tmp_path) == ["faces.zip"]
    assert [asked.get("Range") for asked in server.asked] == [None, "bytes=150000-"]


def test_a_token_is_for_the_named_host_alone(server, get):
    there = f"http://localhost:{server.server_port}/elsewhere"
    server.script = [{"status": 302, "headers": {"Location": there}}]
    assert get(headers={"Authorization": "Bearer secret"}).read_bytes() == BODY
    assert [asked.get("Authorization") for asked in server.asked] == ["Bearer secret", None]
