"""Files that no reader meets half written, folders that know which files are clipeval's, what is kept, and sha256.

Whatever clipeval writes to read it back itself, `keep` writes and `kept` reads: under a checksum, so
that a damaged file is never believed. It is set aside, said once (`SetAside`), and made again.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipeval.errors import ParameterError, SetAside

#: the list, in every folder that clipeval writes results into, of what it wrote there
LIST = ".clipeval.sha256"
CHANGED = "it was changed since clipeval wrote it"
#: what other programs leave in any folder: not clipeval's, and in nobody's way
PASSED_OVER = frozenset({".DS_Store", ".ipynb_checkpoints"})
_LISTED = re.compile(r"([0-9a-f]{64})  (.+)")
_BESIDE = re.compile(r"\..+-[0-9a-f]{8}\.[^.]*\.\d+\.tmp")  # as `whole_file` names them


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


def natural(text: str) -> list:
    """Sort key that puts 2 before 10, and "3-9" before "10-19"."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", text) if p]


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
    if (content := _unsealed(path, whole)) is not None:
        return content
    set_aside(path, "it does not have the checksum it was written with")
    return None


def is_kept(path: str | Path) -> bool:
    """Whether a file that can be read is one that `keep` wrote, whole and under this name."""
    return _unsealed(Path(path), Path(path).read_bytes()) is not None


def _unsealed(path: Path, whole: bytes) -> bytes | None:
    content = whole[len(_seal(path, b"")) :]
    if whole == _seal(path, content) + content:
        return content
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


def as_json(content) -> str:
    """JSON, indented; what JSON does not know is written as its text."""
    return json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"


class Folder:
    """A folder in which clipeval replaces and removes what it wrote itself, and nothing else.

    A list in the folder says what that is, a line a file with its sha256, as `sha256sum` prints
    them. The line is added before the file gets its name, so that after a kill at any moment every
    file of clipeval's is on the list. A file that is not on it, or has other content, is the user's.

    Parameters
    ----------
    path : made when something is written
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a whole file; a text as UTF-8.

        Raises
        ------
        ParameterError  if there is a file of that name that clipeval did not write
        OSError  as `whole_file`
        """
        with self.writing(name) as beside:
            beside.write_bytes(content.encode() if isinstance(content, str) else content)
        return self.path / name

    @contextmanager
    def writing(self, name: str):
        """A path beside NAME to write to, which is renamed to NAME once it is written; see `write`."""
        self.path.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path / name) as beside:
            yield beside
            self._refuse(name)
            self._list(name, file_sha256(beside))

    def remove(self, name: str) -> None:
        """Remove a file, if there is one.

        Raises
        ------
        ParameterError  if clipeval did not write it
        """
        self._refuse(name)
        (self.path / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove, here and in the folders below, what clipeval wrote, and the folders that are empty then."""
        for folder in self._folders():
            for name in folder._owned():
                (folder.path / name).unlink()
        self._leave()

    def move_to(self, target: str | Path) -> None:
        """Move what clipeval wrote, here and in the folders below, to another folder."""
        for folder in self._folders():
            there = Folder(Path(target) / folder.path.relative_to(self.path))
            for name in folder._owned():
                there.path.mkdir(parents=True, exist_ok=True)
                there._list(name, file_sha256(folder.path / name))
                os.replace(folder.path / name, there.path / name)
        self._leave()

    def tidy(self) -> None:
        """Rewrite the lists, here and below, sorted and without what has been replaced or removed."""
        for folder in self._folders():
            lines = [f"{file_sha256(folder.path / name)}  {name}\n" for name in folder._owned()]
            if lines:
                with whole_file(folder.path / LIST) as beside:
                    beside.write_text("".join(sorted(lines, key=lambda line: line[66:])), "utf-8")

    def foreign(self) -> Iterator[tuple[Path, bool]]:
        """Files, here and in the folders below, that are not clipeval's, and whether they once were."""
        for folder in self._folders():
            known, owned = folder._known(), set(folder._owned())
            for path in sorted(folder.path.iterdir()):
                name = path.name
                if name in PASSED_OVER or name == LIST or _BESIDE.fullmatch(name):
                    continue
                if name not in owned and (path.is_symlink() or not path.is_dir()):
                    yield path.relative_to(self.path), name in known

    def owned(self) -> list[Path]:
        """Files, here and in the folders below, that are as clipeval wrote them, in the order of their paths."""
        return sorted(f.path / name for f in self._folders() for name in f._owned())

    def altered(self) -> Iterator[tuple[Path, str]]:
        """Files, here and below, that are not what the lists say, each with what is wrong with it."""
        for name, changed in self.foreign():
            yield name, CHANGED if changed else "clipeval did not write it"
        for folder in self._folders():
            for name in folder._known():
                if not os.path.lexists(folder.path / name):
                    yield (folder.path / name).relative_to(self.path), "it is missing"

    def refuse_foreign(self) -> None:
        """ParameterError if a file, here or in the folders below, is not clipeval's, naming one."""
        for name, changed in self.foreign():
            raise ParameterError(
                f"{self.path} holds files that "
                + (
                    "were changed since clipeval wrote them"
                    if changed
                    else "clipeval did not write"
                )
                + f" ({name.as_posix()}); choose an empty folder."
            )

    def _refuse(self, name: str) -> None:
        path = self.path / name
        if os.path.lexists(path) and name not in self._owned([name]):
            raise ParameterError(
                f"{path} is a file that clipeval did not write, or that was changed since; move it "
                "away, or choose an empty folder."
            )

    def _known(self) -> dict[str, set[str]]:
        """Name -> every sha256 that clipeval gave it."""
        known: dict[str, set[str]] = {}
        with suppress(FileNotFoundError, NotADirectoryError):
            for line in (self.path / LIST).read_text("utf-8", "replace").splitlines():
                if found := _LISTED.search(line):  # a line may follow one that a full disk cut off
                    known.setdefault(found[2], set()).add(found[1])
        return known

    def _owned(self, names=None) -> list[str]:
        """Those of the names, by default all that are listed, whose files are as clipeval wrote them."""
        known = self._known()
        paths = {name: self.path / name for name in (known if names is None else names)}
        return [
            name
            for name, path in paths.items()
            if path.is_file() and not path.is_symlink() and file_sha256(path) in known.get(name, ())
        ]

    def _list(self, name: str, digest: str) -> None:
        line = f"{digest}  {name}\n".encode()
        handle = os.open(self.path / LIST, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)  # in one piece, as other processes may add lines too
        finally:
            os.close(handle)

    def _folders(self) -> Iterator["Folder"]:
        """This folder and those below, but not what is passed over."""
        for path, below, _ in os.walk(self.path):
            below[:] = sorted(name for name in below if name not in PASSED_OVER)
            yield Folder(path)

    def _leave(self) -> None:
        """Remove lists, and folders that hold nothing then; whatever else is there stays."""
        for folder in reversed(list(self._folders())):
            remove_abandoned(folder.path)
            (folder.path / LIST).unlink(missing_ok=True)
            with suppress(OSError):
                folder.path.rmdir()


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
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(folder)  # a full disk does not say what did not fit
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
