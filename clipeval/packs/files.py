"""Members of a pack as bytes: the same content gives the same bytes, and no path slips in."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval import __version__
from clipeval.errors import DataError
from clipeval.files import Folder, sha256
from clipeval.session.local_paths import LOCAL

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can say

_README = """\
This is a pack of clipeval {version}: what a run was computed from, without images and without a model.

    clipeval run --pack FILE --out FOLDER

computes its tables, figures and reports again. The sha256 of every member stands in manifest.json.
Embeddings of photographs of people can tell one person from another: treat them as personal data.
"""


#: files of a run folder that stay on one machine
OF_HERE = frozenset({LOCAL, ".gitignore"})


def altered(run: Path) -> list[tuple[Path, str]]:
    """Files of a run folder that are not as clipeval wrote them, and what is wrong with each."""
    return [(file, why) for file, why in Folder(run).altered() if file.as_posix() not in OF_HERE]


def short_hash(*parts: str | bytes) -> str:
    """First 12 hex digits of the sha256 of all parts."""
    return sha256(*parts)[:12]


def to_npy(matrix: np.ndarray) -> bytes:
    """A matrix in numpy's own format: float64 as it is, all else as float32."""
    stream = io.BytesIO()
    kind = np.float64 if matrix.dtype == np.float64 and matrix.size else np.float32
    np.save(stream, np.ascontiguousarray(matrix, dtype=kind), allow_pickle=False)
    return stream.getvalue()


def to_parquet(table: pd.DataFrame) -> bytes:
    """Uncompressed, so that whoever looks for a string in a pack finds it; without attrs."""
    table = table.copy(deep=False)
    table.attrs = {}
    stream = io.BytesIO()
    table.to_parquet(stream, index=False, compression=None)
    return stream.getvalue()


def refuse_paths(members: dict[str, bytes], secret: set[str]) -> None:
    """DataError if any of the folders in `secret` stands in a member."""
    needles = [f.rstrip("/").encode() for f in secret if len(f.rstrip("/")) > 1]
    for name, content in members.items():
        if name.endswith(".npy"):
            continue  # numbers only
        for needle in needles:
            if re.search(rb"(?<![\w.-])" + re.escape(needle) + rb"(?![\w.-])", content):
                raise DataError(
                    f"{name} would hold the path {needle.decode()} of this machine; give images "
                    "relative paths or an image_id, and leave paths out of titles and labels."
                )


def readme(studies: dict) -> bytes:
    """What the pack is, and whose data it holds on what terms."""
    lines = [_README.format(version=__version__)]
    for study, entry in studies.items():
        if data := entry.get("dataset"):
            parts = [data["name"], data["version"], f"licence: {data['licence']}", data["citation"]]
            lines.append(f"{study}: " + "; ".join(part for part in parts if part))
            lines.append(f"    {data['labels']}")
    return ("\n".join(lines) + "\n").encode()


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    """Write members, stored as they are, in this order and with one fixed date."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            about = zipfile.ZipInfo(name, _DATE)
            about.create_system, about.external_attr = 3, 0o644 << 16
            archive.writestr(about, content)
