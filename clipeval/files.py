"""Files that no reader meets half written, and the sha256 of what files hold."""

import hashlib
import json
import os
import shutil
import socket
import time
from contextlib import contextmanager, suppress
from pathlib import Path


def sha256(*parts: str | bytes) -> str:
    """sha256 in hex of all parts, one after the other; of a text its UTF-8."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's bytes in hex, read as a stream."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def whole_file(path: str | Path, *, durable: bool = False):
    """A path beside `path` to write to, which is renamed to `path` once it is written.

    A reader meets the old file or the new one, and never half of one. Where writing fails, nothing
    is left and the old file stays.

    Parameters
    ----------
    path : in a folder that exists
    durable : also wait until the disk holds the file, so that it outlasts a power cut

    Raises
    ------
    OSError  as writing and renaming do: a full disk, a folder that may only be read
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}-{os.urandom(4).hex()}.{_host()}.{os.getpid()}.tmp")
    try:
        yield beside
        if durable:
            _sync(beside, os.O_RDWR)
        os.replace(beside, path)
        if durable and os.name == "posix":
            _sync(path.parent, os.O_RDONLY)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_json(path: str | Path, content) -> None:
    """Write JSON as a whole file, indented; what JSON does not know is written as its text."""
    text = json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"
    with whole_file(path) as beside:
        beside.write_text(text, "utf-8")


@contextmanager
def whole_folder(folder: str | Path):
    """A new folder beside `folder` to fill, which gets that name once it is full.

    Where another process was first, its folder stays and this one is removed.

    Raises
    ------
    OSError  if it cannot be written
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}-{os.urandom(4).hex()}")
    beside.mkdir()
    try:
        yield beside
        try:
            os.rename(beside, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what writers that are gone left half written in a folder; when in doubt, it stays."""
    for path in folder.glob("*.tmp"):
        if _is_abandoned(path):
            path.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
        host, pid = path.name.split(".")[-3:-1]
    except (OSError, ValueError):
        return False
    if host != _host():
        return age > 86_400
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return age > 60  # another container may share the host's name, but not its processes
    except (OSError, ValueError):
        pass
    return age > 86_400


def _host() -> str:
    return socket.gethostname().replace(".", "-").replace("/", "-")


def _sync(path: Path, how: int) -> None:
    handle = os.open(path, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
