"""Clips over HTTP, from a local server that cuts, refuses, falls silent and lies."""

import errno
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from clipeval.datasets import sources
from clipeval.errors import DataError

# the first box of an MP4 file, then anything
CLIP = b"\0\0\0\x10ftypisom\0\0\0\0" + bytes(range(256)) * 1000


class Handler(BaseHTTPRequestHandler):
    """Serves a clip; `script` holds what to do with the next requests instead."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        act = server.script.pop(0) if server.script else {}
        body = act.get("body", CLIP)
        self.send_response(act.get("status", 200))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: act.get("cut", len(body))])
        self.wfile.flush()
        time.sleep(act.get("sleep", 0))

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.script, server.asked, server.daemon_threads = [], [], True
    server.handle_error = lambda *args: None  # a client that has gone is no error here
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def get(server, tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("time.sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 1.5)))

    def fetch(url=f"http://127.0.0.1:{server.server_port}/gate.mp4", **how):
        source = replace(sources.SOURCES["cctv-clips"], urls={"gate.mp4": url})
        monkeypatch.setitem(sources.SOURCES, "cctv-clips", source)
        sources.get("cctv-clips", tmp_path / "clips", **how)
        return tmp_path / "clips" / "gate.mp4"

    return fetch


def left(tmp_path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "clips").iterdir())


def test_a_clip_comes_whole_and_alone_and_once(server, get, tmp_path):
    assert get().read_bytes() == CLIP and left(tmp_path) == ["gate.mp4"]
    assert get().read_bytes() == CLIP and len(server.asked) == 1


def test_a_cut_transfer_is_tried_again_and_leaves_a_whole_clip_or_none(server, get, tmp_path):
    server.script = [{"cut": 100_000}, {"cut": 7}]
    with pytest.raises(DataError, match="cannot be fetched .*IncompleteRead"):
        get(tries=2)
    assert left(tmp_path) == [] and len(server.asked) == 2
    server.script = [{"cut": 100_000}]
    assert get().read_bytes() == CLIP and left(tmp_path) == ["gate.mp4"]


def test_a_server_that_falls_silent(server, get, tmp_path):
    server.script = [{"cut": 50_000, "sleep": 1.5}]
    assert get(timeout=0.3).read_bytes() == CLIP


@pytest.mark.parametrize("status", [401, 403, 404, 451, 500])
def test_a_refusal_is_one_sentence(server, get, tmp_path, status):
    server.script = [{"status": status}]
    with pytest.raises(DataError, match=f"gate.mp4 was answered with {status}; look for") as caught:
        get(tries=1)
    assert "\n" not in str(caught.value) and left(tmp_path) == []


def test_no_server_and_no_address(get, tmp_path):
    with pytest.raises(DataError, match="cannot be fetched .*refused.*; check the network"):
        get("http://127.0.0.1:9/gate.mp4", tries=1)
    with pytest.raises(DataError, match="cannot be fetched .*gate.mp4"):
        get("gate.mp4", tries=1)
    assert left(tmp_path) == []


def test_what_is_no_clip_is_not_kept_and_a_file_of_the_user_is(server, get, tmp_path):
    server.script = [{"body": b"<html>log in</html>"}]
    with pytest.raises(DataError, match="gate.mp4 is not an MP4 video; delete it and fetch it"):
        get()
    assert left(tmp_path) == []
    (tmp_path / "clips" / "gate.mp4").write_bytes(b"something else")
    with pytest.raises(DataError, match="gate.mp4 is not an MP4 video"):
        get()
    assert (tmp_path / "clips" / "gate.mp4").read_bytes() == b"something else"
    with pytest.raises(DataError, match="gate.mp4 is not an MP4 video"):
        sources.check("cctv-clips", str(tmp_path / "clips"))


def test_a_full_disk(get, tmp_path, monkeypatch):
    def full(self, url, output_file, *args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", full)
    with pytest.raises(DataError, match="No space left on device.; free some space"):
        get()
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_made(get, tmp_path):
    (tmp_path / "clips").write_text("")
    with pytest.raises(DataError, match="cannot be written to .*; free some space, or name"):
        get()


def test_a_proxy_of_the_environment_is_used(server, get, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "")
    assert get("http://data.example/gate.mp4").read_bytes() == CLIP
    assert server.asked == ["http://data.example/gate.mp4"]


def test_two_processes_end_with_one_whole_clip(server, tmp_path):
    code = (
        "from dataclasses import replace\nfrom clipeval.datasets import sources\n"
        f"url = 'http://127.0.0.1:{server.server_port}/gate.mp4'\n"
        "clips = replace(sources.SOURCES['cctv-clips'], urls={'gate.mp4': url})\n"
        "sources.SOURCES['cctv-clips'] = clips\n"
        f"sources.get('cctv-clips', {str(tmp_path / 'clips')!r})"
    )
    server.script = [{"sleep": 0.5}, {"sleep": 0.5}]
    both = [subprocess.Popen([sys.executable, "-c", code], stderr=-1) for _ in range(2)]
    assert [p.wait(timeout=60) for p in both] == [0, 0], [p.stderr.read() for p in both]
    assert (tmp_path / "clips" / "gate.mp4").read_bytes() == CLIP
    assert left(tmp_path) == ["gate.mp4"]
