"""What lies in which file: told without opening it where it was read before, and refused where it changes.

A stored embedding belongs to an image's content, wherever that lies. Which content a file holds is
noted under the file's state (path, row, size, times of change, inode), and only spares reading again
what has not changed: a file in another state is read and hashed, whatever its size and time say.
"""

import errno
import json
import os
import stat
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.errors import DataError
from clipeval.files import file_state, keep, kept, sha256, state_of

__all__ = ["Contents", "Snapshot", "snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """The files of an images table as they were at one moment, none of them opened.

    Attributes
    ----------
    files : (n,) array of str, as the table names them
    states : (n,) array, sha256 of path, row, size, times of change and inode; None where there is no file
    reasons : (n,) array of str, why there is none; else None
    times : (n, 3) int64, size, mtime and ctime (ns)
    """

    files: np.ndarray
    states: np.ndarray
    reasons: np.ndarray
    times: np.ndarray

    def part(self, positions) -> "Snapshot":
        """The same of some of the rows."""
        columns = (self.files, self.states, self.reasons, self.times)
        return Snapshot(*(column[positions] for column in columns))

    def check(self, positions) -> None:
        """Refuse files that have changed since.

        What was read of the others is what lay there when all were looked at, so that no result mixes
        images from before an exchange with images from after it. Inodes do not count, as some network
        file systems give new ones at any time, and none exchanges files without a trace in the times.

        Raises
        ------
        DataError  naming the first that has
        """
        last, now = None, None
        for position in positions:
            if self.files[position] != last:
                last, now = self.files[position], None
                with suppress(OSError):
                    now = file_state(last)[:3]
            if now != tuple(self.times[position].tolist()):
                raise DataError(
                    f"{last} was changed, replaced or removed while images were being read; leave "
                    "them alone and run again: what is stored is kept."
                )


def snapshot(images: pd.DataFrame) -> Snapshot:
    """Look at the files of an images table.

    Parameters
    ----------
    images : images table with `file` and, for rows of parquet files, `row`

    Returns
    -------
    Snapshot
    """
    n, newest = len(images), 0
    rows = [None] * n
    if "row" in images:
        rows = [None if pd.isna(row) else int(row) for row in images["row"]]
    states, reasons = np.full(n, None, object), np.full(n, None, object)
    times, folders, last = np.zeros((n, 3), np.int64), {}, None
    files = images["file"].to_numpy(object)
    for position, (file, row) in enumerate(zip(files, rows, strict=True)):
        if file != last:  # rows of one parquet file follow each other
            last, (state, reason) = file, _look_at(file)
            folder, name = os.path.split(file)
            if folder not in folders:
                folders[folder] = json.dumps(os.path.realpath(folder))
        if reason:
            reasons[position] = reason
            continue
        times[position] = state[:3]
        newest = max(newest, state[2])
        # a JSON list, put together by hand: a table may have a million rows
        place = f"{folders[folder]}, {json.dumps(name)}, {'null' if row is None else row}"
        states[position] = sha256(f"[{place}, {', '.join(map(str, state))}]")
    _settle(newest)
    return Snapshot(files, states, reasons, times)


def _look_at(file: str) -> tuple[tuple | None, str | None]:
    """State of a file, or why there is none."""
    try:
        status = os.stat(file)
    except OSError as error:
        return None, "no such file" if error.errno == errno.ENOENT else error.strerror
    if not stat.S_ISREG(status.st_mode):
        return None, "not a file"
    return state_of(status), None


def _settle(newest: int) -> None:
    """Wait until a file that is changed from now on gets a later time than the newest there is (ns).

    File systems count in steps: of some milliseconds, older ones of one or two seconds.
    """
    step = 20_000_000 if newest % 1_000_000_000 else 2_000_000_000
    time.sleep(max(0, min(step, newest + step - time.time_ns())) / 1e9)


class Contents:
    """Which content was read from a file in which state: small files of lines "state sha256".

    Parameters
    ----------
    folder : made when something is first noted
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, states) -> np.ndarray:
        """sha256 of the content of files in these states (unique); None where it was never read."""
        wanted, found = pd.Index(states), np.full(len(states), None, object)
        for path in sorted(self.folder.glob("*.kept")):
            lines = (kept(path) or b"").decode().split()
            positions = wanted.get_indexer(lines[::2])
            found[positions[positions >= 0]] = np.array(lines[1::2], object)[positions >= 0]
        return found

    def note(self, states, digests) -> None:
        """Note contents for later runs; where nothing can be written, these read the files again."""
        lines = "".join(
            f"{state} {digest}\n" for state, digest in zip(states, digests, strict=True)
        )
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
        if lines:
            with suppress(OSError):
                keep(self.folder / f"{name}.kept", lines.encode())
