"""Files that no reader meets half written, what is kept for later runs, and the sha256 of what files hold.

Whatever clipeval writes to read it back itself, `keep` writes and `kept` reads: under a checksum, so
that a damaged file is never believed. It is set aside, said once (`SetAside`), and made again.
"""

import hashlib
import json
import os
import shutil
import socket
import time
import warnings
from collections.abc import Callable
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


def file_state(path: str | Path) -> tuple[int, int, int, int]:
    """What changes when a file (or the listing of a folder) changes: size, mtime, ctime (ns), inode.

    Whoever exchanges a file can give it the old size and mtime again, but not the old ctime.
    """
    return state_of(os.stat(path))


def state_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """`file_state` of a file that was looked at already."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


class SetAside(UserWarning):
    """A file that clipeval kept is damaged; one sentence says where it went, and that it is made again."""


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file to NAME.damaged, and say so in one sentence (`SetAside`)."""
    aside, n = path.with_name(f"{path.name}.damaged"), 1
    while aside.exists():
        n += 1
        aside = path.with_name(f"{path.name}.damaged{n}")
    what = f"it is set aside as {aside.name}, and what it held is made again."
    try:
        os.rename(path, aside)
    except FileNotFoundError:  # another process was faster, and says it
        return
    except OSError:  # a store without write permission
        what = "it is not used, and what it held is made again."
    warnings.warn(f"{path} is damaged or foreign ({reason}); {what}", SetAside, stacklevel=3)


def listen(tell: Callable[[str], None]) -> None:
    """Have this process tell what is set aside to `tell`, and show other warnings as before."""
    before = warnings.showwarning

    def show(message, category, *where, **how):
        if issubclass(category, SetAside):
            tell(str(message))
        else:
            before(message, category, *where, **how)

    warnings.showwarning = show


def keep(path: str | Path, content: bytes) -> None:
    """Write a whole file for `kept`, with the sha256 of its name and content as its first line.

    Raises
    ------
    OSError  if it cannot be written
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        beside.write_bytes(_seal(path, content) + content)


def kept(path: str | Path) -> bytes | None:
    """What `keep` wrote under this name; None where there is nothing, or it was damaged and is set aside."""
    path = Path(path)
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    content = whole[len(_seal(path, b"")) :]
    if whole == _seal(path, content) + content:
        return content
    set_aside(path, "it does not have the checksum it was written with")
    return None


def _seal(path: Path, content: bytes) -> bytes:
    """The name counts too: one file in another's place is as wrong as a flipped bit."""
    return f"{sha256(path.name, chr(10), content)}\n".encode()


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
    except OSError as error:
        if error.errno and error.filename in (None, str(beside), beside):
            error.filename = str(path)  # a full disk does not say what did not fit
        raise
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
