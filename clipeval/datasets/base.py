"""What all data sets share: finding images without opening them, and one images table."""

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.datasets.groups import as_group, missing, refuse_spellings
from clipeval.datasets.labelfile import RESERVED, few, quoted
from clipeval.embedding import addresses
from clipeval.errors import DataError, ParameterError
from clipeval.files import LIST, natural

# a file with another name is an image by its first bytes
IMAGE_SUFFIXES = tuple(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .avif .jp2 .heic .heif".split()
)
_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*"
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51|....ftyp(?:avi[fs]|hei[cfx]|hevc|mif1)"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    re.DOTALL,
)
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}


def need_folder(data: str | Path, dataset: str, holds: str) -> Path:
    """`data` as a path that exists, that of the copy of an address; `holds` says in the error what should be there."""
    if not str(data):
        raise ParameterError(f"data set {dataset} needs data=PATH: {holds}.")
    path = addresses.fetch(data) if addresses.is_address(data) else Path(data).expanduser()
    if not path.exists():
        # `papermill -p data 007` hands on the number 7
        digits = f" (write a name of digits as ./{data})" if str(data).isdigit() else ""
        raise DataError(f"{data} does not exist{digits}; for {dataset}, data is {holds}.")
    return path


_needed: ContextVar[bool] = ContextVar("photographs_needed", default=True)


@contextmanager
def without_photographs():
    """In this block label files are read though their photographs are not here.

    The `file` of an image that is not here is its name in the label file.
    """
    token = _needed.set(False)
    try:
        yield
    finally:
        _needed.reset(token)


def photographs_needed() -> bool:
    """Whether every labelled image must be here; see `without_photographs`."""
    return _needed.get()


def find_images(root: str | Path, names: Iterable[str]) -> list[str | None]:
    """Absolute path of each of `names` (relative to `root`, or absolute); None where there is none.

    Each folder is listed once and no image is opened; of images at an address the copies are made
    first. Names that differ only in how accented letters are composed (NFC on most systems, NFD on
    some file systems) are the same name; the path returned is the file system's.
    """
    root, names = os.path.abspath(root), list(names)
    if photographs_needed():
        addresses.fetch_named(root, names)
    folders: dict[str, tuple[str, dict[str, str]]] = {}
    found = []
    for name in names:
        parent, _, base = name.rpartition("/")
        if parent not in folders:
            folder = os.path.normpath(
                os.path.join(root, parent or (os.sep if name[:1] == "/" else ""))
            )
            # the prefix ends in a separator
            folders[parent] = (
                os.path.join(folder, ""),
                {nfc(entry): entry for entry in _listing(folder)},
            )
        prefix, entries = folders[parent]
        entry = entries.get(nfc(base))
        found.append(None if entry is None else prefix + entry)
    return found


def nfc(text: str) -> str:
    """`text` with composed accents, so that equal names compare equal."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _listing(folder: str) -> dict[str, bool]:
    """Name of each entry -> whether it is a folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_dir() for entry in entries}
    except (OSError, ValueError):  # or a name with a zero byte
        return {}


def list_images(folder: str | Path) -> list[str]:
    """Names of the images in `folder`, by `sort_files`, in natural order (2 before 10)."""
    return sort_files(folder, deep=False)[0]


def sort_files(folder: str | Path, *, deep: bool = True) -> tuple[list[str], list[str]]:
    """What a folder holds: images, and other files.

    A file is an image by its suffix (then no file is opened, and one that cannot be read is
    reported when it is embedded) or else by its first bytes. Hidden files and those that operating
    systems put into folders of pictures are neither, nor is what a run wrote into a folder in it.

    Parameters
    ----------
    deep : look into its folders too

    Returns
    -------
    (images, others) : names relative to `folder`, with "/", each in natural order
    """
    images, others = [], []
    for name in _files(str(folder), deep):
        (images if _is_image(os.path.join(folder, name)) else others).append(name)
    return sorted(images, key=natural), sorted(others, key=natural)


def _files(folder: str, deep: bool, inside: str = "", above: frozenset[str] = frozenset()):
    place = os.path.realpath(os.path.join(folder, inside))
    if place in above:  # a link to it would lead round and round
        return
    entries = _listing(place)
    if inside and LIST in entries:  # results, whose figures are pictures too
        return
    for name, is_folder in entries.items():
        path = f"{inside}/{name}" if inside else name
        if name[0] == "." or name.lower() in _SYSTEM_FILES:
            continue
        if not is_folder:
            yield path
        elif deep:
            yield from _files(folder, deep, path, above | {place})


def _is_image(path: str) -> bool:
    if path.lower().endswith(IMAGE_SUFFIXES):
        return True
    try:
        with open(path, "rb") as stream:
            return _SIGNATURES.match(stream.read(32)) is not None
    except OSError:
        return False


def left_out(names: Sequence[str], why: str) -> list[str]:
    """A note that counts and names files; none where there are none. `why`: "not images"."""
    if not names:
        return []
    files = "1 file is" if len(names) == 1 else f"{len(names):,} files are"
    return [f"{files} left out ({why}): {few(names)}."]


def unlabelled(root: str | Path, folder: str, labelled: set[str]) -> list[str]:
    """Images in `folder` of `root`, as "folder/name", that are not among the `labelled`."""
    # what is labelled is not opened to see whether it is an image
    names = (f"{folder}/{name}" for name in _files(str(Path(root) / folder), False))
    left = (name for name in names if name not in labelled)
    return sorted((n for n in left if _is_image(os.path.join(root, n))), key=natural)


def tidy(names: pd.Series) -> pd.Series:
    """Paths of images in one way of writing: composed accents, no "./", "//" or "a/../"."""
    return names.astype(str).str.strip().map(lambda name: posixpath.normpath(nfc(name)))


def copied(names: pd.Series, path) -> pd.Series:
    """Names of images, that of its copy for each that is an address; the copies are made where images are needed.

    A web address is left: a web server lists no folder, so nothing would tell when an image has changed.
    """
    far = names.astype(str).str.strip()
    far = far[far.str.contains("://", regex=False) & ~far.str.startswith("http")]
    far = far[far.map(addresses.is_address)]
    here = far.map(addresses.copy_of)
    if photographs_needed():
        for folder, files in here.groupby(here.map(lambda file: file.parent)):
            addresses.fetch_named(folder, [file.name for file in files])
        if len(absent := far[~here.map(Path.is_file).astype(bool)]):
            raise DataError(
                f"{path}: nothing is at {len(absent):,} of {len(far):,} addresses, such as "
                f"{absent.iloc[0]} (row {absent.index[0]}); correct them, or leave their rows out."
            )
    return names.astype(object).where(~names.index.isin(here.index), here.astype(str))


def relative(names: pd.Series, root: Path) -> pd.Series:
    """Paths of images as names that tell nothing of this machine; relative ones stay as they are.

    Absolute ones become relative to `root`, and those outside it to the deepest folder that holds
    all of them.
    """
    root, away = root.absolute(), names[names.map(os.path.isabs)]
    inside = away.map(lambda name: Path(name).is_relative_to(root))
    outside = set(away[~inside.astype(bool)])
    top = os.path.commonpath([os.path.dirname(name) for name in outside]) if outside else root
    short = {name: Path(name).relative_to(top if name in outside else root) for name in away}
    return names.map(lambda name: short[name].as_posix() if name in short else name)


def need_images(root: str | Path, names: pd.Series, path) -> list[str]:
    """`find_images`, refused where any of the labelled images is missing.

    Parameters
    ----------
    names : Series of str, relative to `root`, indexed by line in `path`
    """
    files = find_images(root, names.tolist())
    if not photographs_needed():
        return [file or name for file, name in zip(files, names, strict=True)]
    if None in files:
        absent = names[[file is None for file in files]]
        for line, name in absent.items():
            if why := odd_path(name):
                raise DataError(f"{path}, row {line}: {quoted(name)} {why}.")
        missing = [f"{name} (row {line})" for line, name in absent.items()]
        raise DataError(
            f"{path}: {len(missing):,} of {len(files):,} labelled images are not under {root}: "
            f"{few(missing)}; complete the images, or leave their rows out."
        )
    return files


def odd_path(name: str) -> str:
    """What is unusual about the path of an image that is not there, and the fix; "" if nothing."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", name):
        return "is an address and not a file; download the images and give their paths"
    if re.match(r"[A-Za-z]:[\\/]", name):
        return "is a path of another machine's drive; write it relative to the label file, with /"
    if "\\" in name:
        return "has backslashes; write / between folders"
    if name.startswith("~"):
        return (
            "begins with ~, which is not followed here; write the path relative to the label file"
        )
    if name.startswith("/"):
        return "is not there; write the path relative to the label file, or correct it"
    return ""


def sample(table: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """A seeded random sample of `limit` images in their original order (0: all), noted in attrs.

    With one seed, a smaller sample is contained in every larger one, so stored embeddings are
    reused.
    """
    if limit < 0:
        raise ParameterError(f"limit={limit} is negative; give the number of images, or 0 for all.")
    if not limit or limit >= len(table):
        return table
    rows = np.sort(np.random.default_rng(seed).permutation(len(table))[:limit])
    return _rows(
        table, rows, f"A random sample of {limit:,} of {len(table):,} images (seed {seed})."
    )


def _rows(table: pd.DataFrame, rows: np.ndarray, note: str) -> pd.DataFrame:
    """Rows of an images table by position, and a note on how they were chosen."""
    chosen = table.iloc[rows].reset_index(drop=True)
    chosen.attrs = table.attrs | {"notes": [*table.attrs.get("notes", []), note]}
    return chosen


def one_of_each(table: pd.DataFrame, person: str, seed: int) -> pd.DataFrame:
    """One image of each person, drawn at random, in their original order, noted in attrs.

    Images of one person are recognised or missed together, and every interval and test over images takes them
    to be independent.

    Parameters
    ----------
    person : column that says who is shown; "" for every image

    Raises
    ------
    DataError  if there is no such column, or a value is missing or differs from another in spelling only
    """
    if not person:
        return table
    name = table.attrs["name"]
    if person not in table:
        raise DataError(
            f"{name} has no column {quoted(person)} (it has {few(table.columns, 12)}); name the one that says "
            "who is shown, or leave person out."
        )
    who = table[person].set_axis(table["image_id"])
    if (absent := missing(who)).any():
        raise DataError(
            f"{name}: {person} is missing for {absent.sum():,} images: {few(who.index[absent])}; fill it "
            "in, or leave these rows out."
        )
    who = who.astype(str).str.strip()
    refuse_spellings(who, name, "image")
    drawn = pd.Series(who.to_numpy()).sample(frac=1, random_state=seed).drop_duplicates()
    note = f"One image of each of {len(drawn):,} people (column {person}), drawn at random from "
    note += f"{len(table):,} (seed {seed})."
    return _rows(table, np.sort(drawn.index), note)


def finish(
    table: pd.DataFrame,
    *,
    name: str,
    groups: Sequence[str],
    version: str = "",
    licence: str = "",
    citation: str = "",
    terms: str = "",
    labels: str = "",
    notes: Sequence[str] = (),
    not_groups: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Check an images table and put what is known of it into its attrs.

    Parameters
    ----------
    table : one row an image: `image_id` and `file` (str), optional `row` (row in a parquet file),
        then group columns
    groups : names of the group columns; text becomes a categorical by `groups.as_group`
    not_groups : other column -> why it is not a group, without a full stop

    Returns
    -------
    DataFrame with a RangeIndex, `image_id`, `file`, (`row`,) the groups, then all other columns;
    attrs name, version, licence, citation, terms, labels, groups, notes, and not_groups where there are any

    Raises
    ------
    DataError  if there is no image, an image id stands twice, a group value is missing, or two
        differ in spelling only
    """
    if table.empty:
        raise DataError(f"{name}: no image is left; check the label file and the options.")
    if (repeated := table["image_id"].duplicated()).any():
        raise DataError(
            f"{name}: image id {quoted(table['image_id'][repeated].iloc[0])} stands twice; ids must be "
            "unique."
        )
    if clash := sorted(RESERVED & set(groups)):
        raise DataError(
            f'{name}: a group column is called "{clash[0]}", the name of a column of predictions or tables; rename it.'
        )
    first = ["image_id", "file", *(["row"] if "row" in table else []), *groups]
    table = table[[*first, *(c for c in table.columns if c not in first)]].reset_index(drop=True)
    if "row" in table:
        table["row"] = table["row"].astype("Int64")
    for group in groups:
        if (empty := table[group].isna()).any():
            raise DataError(
                f"{name}: {group} is missing for {empty.sum():,} images: "
                f"{few(table['image_id'][empty])}; fill it in, or leave these rows out."
            )
        if not isinstance(table[group].dtype, pd.CategoricalDtype):
            values = table.set_index("image_id")[group]
            table[group] = as_group(values, name, of="image")
    table.attrs = {
        "name": name,
        "version": version,
        "licence": licence,
        "citation": citation,
        "terms": terms,
        "labels": labels,
        "groups": list(groups),
        "notes": list(notes),
        **({"not_groups": dict(not_groups)} if not_groups else {}),
    }
    return table
