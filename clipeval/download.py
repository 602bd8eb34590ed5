"""One file over HTTP: resumed after a cut, checked, and under its name only when it is whole.

Proxies (http_proxy, https_proxy, no_proxy) and certificates (SSL_CERT_FILE) are those of the
environment.
"""

import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from clipeval.errors import DataError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

__all__ = ["Refused", "download"]

_CHUNK = 1 << 18
_BUSY = (429, 500, 502, 503, 504)
#: a connection that gives less is as good as none, bytes per second over `timeout`
SLOWEST = 512


class Refused(DataError):
    """The server does not give the file to this user; `status` is 401 or 403."""

    def __init__(self, sentence: str, status: int):
        super().__init__(sentence)
        self.status = status


class _Cut(Exception):
    """The connection ended before the file did."""


class _Unreachable(_Cut):
    """There is no connection at all."""


class _Busy(Exception):
    """The server asks to come back later; `seconds` is None where it does not say when."""

    def __init__(self, status: int, seconds: float | None):
        super().__init__(f"answered with {status}")
        self.status, self.seconds = status, seconds


def download(
    url: str,
    target: str | Path,
    *,
    sha256: str = "",
    headers: Mapping[str, str] | None = None,
    timeout: float = 20.0,
    tries: int = 4,
    patience: float = 60.0,
    progress: bool = True,
) -> Path:
    """Fetch `url` into the file `target`; what an interrupted call left in TARGET.part is continued.

    Where another process fetches the same file, it is waited for.

    Parameters
    ----------
    url : http or https
    target : file; made with its folders. Where it is there with the right sha256, nothing is done
    sha256 : of the whole file, hex; "" where it is not known
    headers : sent to the host of `url` alone, and to none that it redirects to (a token, say)
    timeout : seconds without an answer, or with hardly a byte, after which a connection is given up
    tries : attempts in a row that bring hardly anything before it is given up; where the server
        cannot be reached at all, there is one
    patience : longest time in seconds to wait where the server asks for it (Retry-After)
    progress : show a progress bar

    Raises
    ------
    DataError  in one sentence, if it cannot be had; `target` is then as it was before
    """
    target = Path(target).expanduser().absolute()
    if _is_whole(target, sha256):
        return target
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            if not _is_whole(target, sha256):  # else another process was at it
                _attempts(url, part, headers or {}, timeout, tries, patience, progress)
                if sha256 and (found := _sha256(part)) != sha256:
                    _forget(part)
                    raise DataError(
                        f"{url} has sha256 {found} and not {sha256}, so it was changed or damaged; "
                        "nothing of it was kept: try again, or get the file elsewhere."
                    )
                os.replace(part, target)
            _forget(part)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            mend = "free some space and run again: what is there is continued."
        else:
            mend = "name a folder that you may write to."
        reason = error.strerror or error
        raise DataError(f"{url} cannot be written to {target} ({reason}); {mend}") from None
    return target


def _is_whole(target: Path, sha256: str) -> bool:
    return target.is_file() and (not sha256 or _sha256(target) == sha256)


@contextmanager
def _alone(part: Path):
    """Hold the lock of `part`, so that no other process appends to it; leave no empty one behind."""
    held = None
    try:
        while fcntl and held is None:
            held = open(part, "ab")
            with suppress(OSError):  # some network file systems know no locks
                fcntl.flock(held, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(held.fileno()), part.stat()):
                    break
            held.close()  # it was finished meanwhile, under another name
            held = None
        yield
    finally:
        if not _size(part):
            _forget(part)
        if held:
            held.close()


def _attempts(url, part: Path, headers, timeout, tries, patience, progress) -> None:
    from tqdm.auto import tqdm

    failed, waited, reached = 0, 0.0, False
    bar = tqdm(unit="B", unit_scale=True, unit_divisor=1000, disable=not progress)
    bar.set_description(part.stem)
    with bar:
        while True:
            before = _size(part)
            try:
                return _fetch(url, part, headers, timeout, bar)
            except _Busy as busy:
                reached = True
                pause = busy.seconds if busy.seconds is not None else min(2.0**failed, patience)
                reason, failed = str(busy), failed + 1
                if busy.seconds is not None and waited + pause > patience:
                    raise DataError(
                        f"{url} was {reason} by {urlsplit(url).hostname}, which asks to wait "
                        f"{pause:,.0f} seconds; run again after that."
                    ) from None
            except _Cut as cut:
                reached = reached or not isinstance(cut, _Unreachable)
                failed = 0 if _size(part) > before + SLOWEST * timeout else failed + 1
                reason, pause = str(cut), min(0.2 * 2**failed, 5.0)
            if failed >= tries or not reached:  # without a network, say so at once
                kept = f"; {_size(part):,} bytes are kept and will be continued" * bool(_size(part))
                raise DataError(f"{url} cannot be fetched ({reason}){kept}: try again later.")
            waited += pause
            time.sleep(pause)


def _fetch(url: str, part: Path, own: Mapping, timeout: float, bar) -> None:
    """One attempt: append to `part` what is missing, or begin anew where it cannot be continued."""
    have, tag = _size(part), _tag(part)
    headers = {"User-Agent": "clipeval", "Accept-Encoding": "identity"}
    if have and tag:  # without a tag it is not known whether the file is still the same
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    try:
        request = urllib.request.Request(url, headers=headers)
        for name, value in own.items():
            request.add_unredirected_header(name, value)
        opener = urllib.request.build_opener()  # with the proxies of now
        with opener.open(request, timeout=timeout) as answer:
            resumed = answer.status == 206 and _start(answer) == have
            if answer.status == 206 and not resumed:
                raise _Cut("the server sent another part than was asked for")
            have = have if resumed else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            _note_tag(part, answer.headers.get("ETag"))
            _need_space(part, (total or 0) - have)
            bar.total, bar.n = total, have
            bar.refresh()
            with open(part, "ab" if resumed else "wb") as stream:
                _copy(answer, stream, timeout, bar)
            if total is not None and _size(part) != total:
                raise _Cut(f"it ended after {_size(part):,} of {total:,} bytes")
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(url, error, part) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError) and error.reason.errno in (errno.ENOSPC, errno.EDQUOT):
            raise error.reason from None
        raise _Unreachable(f"{urlsplit(url).hostname} cannot be reached: {error.reason}") from None
    except ValueError as error:
        raise DataError(f"{url} is no address to fetch from ({error}); check it.") from None
    except TimeoutError:
        raise _Cut(f"nothing came for {timeout:g} seconds") from None
    except (http.client.HTTPException, ConnectionError) as error:
        raise _Cut(f"the connection broke: {error or type(error).__name__}") from None


def _copy(answer, stream, timeout: float, bar) -> None:
    """Copy the body; give up where less than SLOWEST bytes a second come."""
    since, got = time.monotonic(), 0
    while chunk := answer.read1(_CHUNK):
        stream.write(chunk)
        bar.update(len(chunk))
        got += len(chunk)
        if (passed := time.monotonic() - since) > timeout:
            if got < SLOWEST * passed:
                raise TimeoutError
            since, got = time.monotonic(), 0


def _refused(url: str, error: urllib.error.HTTPError, part: Path) -> Exception:
    """What an answer other than success means."""
    host, status = urlsplit(url).hostname, error.code
    if status in (401, 403):
        return Refused(
            f"{url} was refused by {host} ({status}); it needs a permission that you may have to "
            "ask its owner for, so fetch it in a browser.",
            status,
        )
    if status in (404, 410):
        return DataError(f"{url} is not there ({status}); look for it on the data set's own page.")
    if status == 416:  # the part is as long as the file or longer
        _forget(part)
        return _Cut("what was there did not fit the file")
    if status in _BUSY:
        return _Busy(status, _retry_after(error.headers.get("Retry-After")))
    return DataError(f"{url} was answered with {status} by {host}; look at the data set's page.")


def _retry_after(text: str | None) -> float | None:
    """Seconds to wait, from a number or a date; None for neither."""
    with suppress(TypeError, ValueError):
        return max(0.0, float(text))
    with suppress(TypeError, ValueError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _start(answer) -> int:
    """First byte of a partial answer, from "bytes 100-199/200"; -1 where it does not say."""
    with suppress(AttributeError, IndexError, ValueError):
        return int(answer.headers.get("Content-Range").split()[1].split("-")[0])
    return -1


def _need_space(part: Path, missing: int) -> None:
    if missing > (free := shutil.disk_usage(part.parent).free):
        raise OSError(
            errno.ENOSPC, f"it needs {missing / 1e6:,.1f} MB and {free / 1e6:,.1f} MB are free"
        )


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _tag(part: Path) -> str:
    """The version of the file that a part is of; "" where the server told none."""
    with suppress(OSError):
        return _tag_file(part).read_text("utf-8")
    return ""


def _note_tag(part: Path, tag: str | None) -> None:
    if tag and not tag.startswith("W/"):  # a weak tag does not promise the same bytes
        _tag_file(part).write_text(tag, "utf-8")
    else:
        _tag_file(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
