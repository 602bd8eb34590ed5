"""Files at an address (s3://, gs://, hf://, memory:// and whatever else fsspec knows), copied to this disk once.

The copies lie under ``CACHE/remote/PROTOCOL/PATH``, so that a copy's path says its address. A file is fetched again
where its size or what the server tells of its content (an etag or hash; else its time) is another than that of the
copy, which bears it as its time of change. So nothing is kept beside the copies, and a kill loses one batch at most.
"""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from clipeval.errors import ClipevalError, DataError, ParameterError, one_line
from clipeval.files import sha256, whole_file
from clipeval.paths import cache_dir

__all__ = ["copy_of", "fetch", "fetch_named", "is_address", "push", "remove"]

#: files that are asked for together, and renamed together
BATCH = 128
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://(.+)", re.DOTALL)
_NEEDS = {"s3": 's3fs, which is not installed; pip install "clipeval[s3]"', "gs": "gcsfs"}
_NEEDS |= {"s3a": _NEEDS["s3"], "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
#: what file systems call that which changes with a file's content, the surest first
_SIGNS = ("ETag", "etag", "md5Hash", "blob_id", "sha256", "checksum")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
#: folders that were compared with their address as a whole in this process
_whole: set[Path] = set()


def is_address(text) -> bool:
    """Whether a text is an address and not a path."""
    return _ADDRESS.fullmatch(str(text)) is not None


def copy_of(address: str) -> Path:
    """Where the copy of an address lies, or of file:// the path itself; nothing is fetched.

    Raises
    ------
    ParameterError  if it is not the address of a file or folder
    """
    protocol, path = _ADDRESS.fullmatch(str(address)).groups()
    if protocol in ("file", "local"):
        return Path(unquote(path))
    parts = path.strip("/").split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\0" in path:
        raise ParameterError(f'{address} has an empty part or ".."; write it as PROTOCOL://PATH.')
    return cache_dir().absolute() / "remote" / protocol / Path(*parts)


def fetch(address: str, *, keep: bool = False, missing_ok: bool = False) -> Path:
    """The copy of a file or of all that a folder holds, brought up to date.

    Parameters
    ----------
    address : of a file or folder
    keep : leave in the copy what is not at the address; by default it is removed
    missing_ok : nothing need be at the address

    Raises
    ------
    DataError  if nothing is there, it cannot be read, or came otherwise than it was listed
    ParameterError  if it is no address, or the package for such addresses is not installed
    """
    here = copy_of(address)
    if not _is_copy(here):
        return here
    with _locked(here), _said(address):
        system, path = _opened(address)
        listed = system.find(path, detail=True)
        # what a console makes of an empty folder is no file
        listed = {
            n: about for n, about in listed.items() if n[-1:] != "/" and not _is_folder(about)
        }
        if not listed and missing_ok:
            return here
        if not listed:
            raise DataError(f"{address} does not exist or is empty; correct the address.")
        if set(listed) == {path}:
            listed = {path: listed[path] or system.info(path)}
        names = {name: here / name[len(path) :].strip("/") for name in listed}
        for name in names:
            if not {".", ".."}.isdisjoint(name.split("/")):
                raise DataError(f'{address} holds a file with the name "{name}"; rename it.')
        _update(system, listed, names)
        _whole.add(here)
        if here.is_file():  # what it names may have changed too
            _whole.difference_update(here.parents)
        if not keep and here.is_dir():
            wanted = set(map(str, names.values()))
            for folder, _, files in os.walk(here):
                for file in files:
                    if os.path.join(folder, file) not in wanted and not file.endswith(".tmp"):
                        os.unlink(os.path.join(folder, file))
    return here


def fetch_named(root: str | Path, names: Iterable[str]) -> None:
    """Bring files up to date that are named relative to a folder, where that is (in) a copy; others are left alone.

    Raises
    ------
    DataError  as `fetch`; a file that is not there is left to whoever needs it
    """
    root = Path(os.path.abspath(root))
    if not _is_copy(root) or any(folder in _whole for folder in (root, *root.parents)):
        return
    protocol, *parts = root.relative_to(_remote()).parts or ("",)
    if not parts:
        return
    address = f"{protocol}://{'/'.join(parts)}"
    with _locked(root), _said(address):
        system, path = _opened(address)
        wanted = {os.path.normpath(f"{path}/{name}") for name in names if name[:1] != "/"}
        wanted = {name for name in wanted if name.startswith(f"{path}/")}
        listed = {}
        for folder in {os.path.dirname(name) for name in wanted}:
            with suppress(FileNotFoundError):
                listed |= {f["name"]: f for f in system.ls(folder, detail=True)}
        wanted = {name for name in wanted & set(listed) if not _is_folder(listed[name])}
        listed = {name: listed[name] for name in wanted}
        _update(system, listed, {name: root / name[len(path) + 1 :] for name in listed})


def push(file: Path, address: str) -> None:
    """Put a file of this disk at an address; its copy has the same content already."""
    with _said(address):
        system, path = _opened(address)
        with suppress(
            Exception
        ):  # there are no folders, or it exists, or the file itself says what is wrong
            system.makedirs(os.path.dirname(path), exist_ok=True)
        system.put_file(str(file), path)
        system.invalidate_cache()
        _mark(file, system.info(path))


def remove(address: str, names: Iterable[str | Path]) -> None:
    """Delete files at an address, named relative to it; what is not there need not be deleted."""
    with _said(address):
        system, path = _opened(address)
        for name in names:
            with suppress(FileNotFoundError):
                system.rm_file(f"{path}/{Path(name).as_posix()}")


def _remote() -> Path:
    return cache_dir().absolute() / "remote"


def _is_copy(path: Path) -> bool:
    return path.is_relative_to(_remote())


def _opened(address: str):
    """The file system of an address, not remembering what it listed before, and the path in it."""
    import fsspec

    protocol = str(address).partition("://")[0]
    try:
        system, path = fsspec.core.url_to_fs(str(address))
    except ImportError as error:
        needs = _NEEDS.get(protocol, f"a package that is not installed ({one_line(error)})")
        raise ParameterError(f"{protocol}:// needs {needs}.") from None
    except ValueError as error:
        raise ParameterError(f"{address} cannot be opened ({one_line(error)}).") from None
    system.invalidate_cache()
    return system, path.rstrip("/")


def _update(system, listed: Mapping[str, Mapping], paths: Mapping[str, Path]) -> None:
    """Fetch what is not here as it is listed."""
    from tqdm.auto import tqdm

    todo = [name for name in listed if not _same(paths[name], listed[name])]
    with tqdm(total=len(todo), desc="fetching", unit=" files", disable=None) as bar:
        for start in range(0, len(todo), BATCH):
            part = todo[start : start + BATCH]
            with ExitStack() as stack:
                beside = []
                for name in part:
                    paths[name].parent.mkdir(parents=True, exist_ok=True)
                    beside.append(stack.enter_context(whole_file(paths[name])))
                system.get(part, [str(path) for path in beside])
                for name, path in zip(part, beside, strict=True):
                    came, said = path.stat().st_size, listed[name].get("size")
                    if said is not None and came != said:
                        raise DataError(
                            f"{name} came with {came:,} bytes and is listed with {said:,}, so it was changed or "
                            "cut on the way; nothing of it was kept: try again."
                        )
                    _mark(path, listed[name])
            bar.update(len(part))


def _is_folder(about: Mapping) -> bool:
    return about.get("type") == "directory"


def _mark(path: Path, about: Mapping) -> None:
    os.utime(path, (_sign(about), _sign(about)))


def _same(path: Path, about: Mapping) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return int(status.st_mtime) == _sign(about) and about.get("size") in (None, status.st_size)


def _sign(about: Mapping) -> int:
    """What the server tells of a file's content, as a time in whole seconds from 2001 to 2033."""
    told = [str(about[name]) for name in _SIGNS if about.get(name)]
    told = told or [str(about[name]) for name in _TIMES if about.get(name)]
    return 10**9 + int(sha256(*told[:1])[:15], 16) % 10**9


@contextmanager
def _locked(here: Path):
    """One process at a time brings a copy up to date: a file that others read is never exchanged for its like."""
    from filelock import FileLock

    lock = (
        _remote() / "locks" / f"{sha256('/'.join(here.relative_to(_remote()).parts[:2]))[:32]}.lock"
    )
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        yield


@contextmanager
def _said(address: str):
    """What a file system raises, as a sentence; each has errors of its own."""
    try:
        yield
    except ClipevalError:
        raise
    except FileNotFoundError:
        raise DataError(f"{address} does not exist; correct the address.") from None
    except Exception as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(
            f"{address} could not be reached ({one_line(error)}); check address, network and credentials."
        ) from None
