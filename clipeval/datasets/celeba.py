"""CelebA (Liu et al. 2015): its official files or the hub's parquet, and a list of names."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.datasets import base, hub, labelfile, parquet
from clipeval.datasets.groups import refuse_spellings
from clipeval.errors import DataError, ParameterError

HUB_ID = "flwrlabs/celeba"
_CONFIG = "img_align+identity+attr"
_PARTITIONS = {"train": "0", "valid": "1", "test": "2"}
_FOLDERS = ("", "Anno", "Eval", "Img")
# of the official download and of its edition on Kaggle
_IDENTITY = ("identity_CelebA.txt", "identity_CelebA.csv")
_PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
_ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
_CITATION = (
    "Liu, Z., Luo, P., Wang, X. and Tang, X. (2015). Deep Learning Face Attributes in the Wild. "
    "ICCV 2015."
)
_TERMS = (
    "Non-commercial research only; no part may be copied on, published or distributed. Names are "
    "the user's own list."
)
_MEND = "give names=FILE with an image or identity and First_Last in each row"


def spaced(name: str) -> str:
    """A person's name as a model should read it: composed letters, spaces for underscores."""
    return " ".join(base.nfc(str(name)).replace("_", " ").split())


def refuse_numbers(names: Sequence[str], path) -> None:
    """Refuse names without a letter: a text encoder cannot name a number."""
    numbers = [name for name in names if not any(letter.isalpha() for letter in name)]
    if numbers:
        raise DataError(
            f"{path}: {labelfile.quoted(numbers[0])} is a number and not a name, and a model that reads names "
            f"cannot recognise it; {_MEND}."
        )


def is_official(root: Path) -> bool:
    """Whether `root` holds CelebA's own files."""
    wanted = ("identity_CelebA.txt", "list_identity_celeba.txt", "img_align_celeba")
    return any(_locate(root, name) for name in wanted)


def is_hub_layout(root: Path) -> bool:
    """Whether `root` holds parquet files, as the hub has CelebA."""
    return any(root.glob("*.parquet")) or any(root.glob("*/*.parquet"))


def from_files(
    root: Path, *, names: str = "", partition: str = "", groups: str = ""
) -> pd.DataFrame:
    """CelebA from `img_align_celeba/` and its text files; see `celebrities.load`."""
    wanted = _partition(partition)
    folder = _locate(root, "img_align_celeba")
    if folder is None:
        raise DataError(
            f"{root} has no folder img_align_celeba; unpack img_align_celeba.zip in it."
        )
    if (folder / "img_align_celeba").is_dir():
        folder = folder / "img_align_celeba"
    photos = _photos(root, folder, wanted)
    if not photos:
        raise DataError(f"{folder} holds no images; unpack img_align_celeba.zip completely.")
    table = pd.DataFrame({"image_id": photos})
    people, listed = _people(root, names)
    identity = _identities(root)
    table["person"] = [people.get(p) or people.get(identity.get(p, "")) for p in photos]
    files = base.find_images(folder, photos)
    if missing := [p for p, file in zip(photos, files, strict=True) if file is None]:
        raise DataError(
            f"{folder}: {len(missing):,} of {len(photos):,} images are missing: "
            f"{labelfile.few(missing)}; unpack img_align_celeba.zip completely."
        )
    table["file"] = files
    if identity:
        table["identity"] = [identity.get(photo, "") for photo in photos]
    named = table["image_id"][table["person"].notna()]
    attributes, read = _attributes(root, groups)
    for column, values in attributes.items():
        if without := [photo for photo in named if photo not in values]:
            raise DataError(
                f"{read} has no row for {len(without):,} of {len(named):,} images "
                f"({labelfile.few(without)}), so it is cut or of other images; use the whole file."
            )
        table[column] = pd.Categorical(
            [values.get(p) for p in photos], categories=_kinds(column), ordered=True
        )
    used = {listed, read, _locate(root, *_IDENTITY), _locate(root, *_PARTITION)}
    return _finish(table, list(attributes), listed, partition, _not_read(root, used))


def _not_read(root: Path, used: set[Path | None]) -> list[str]:
    """A note that names the files beside the images that were not read."""
    folders = [root / name for name in _FOLDERS if (root / name).is_dir()]
    files = [folder / name for folder in folders for name in base.sort_files(folder, deep=False)[1]]
    names = [path.name for path in files if path not in used]
    return [f"Not read: {labelfile.few(names, 9)}."] if names else []


def from_hub(
    source: str | Path, *, names: str = "", partition: str = "", groups: str = ""
) -> pd.DataFrame:
    """CelebA from the parquet files of `flwrlabs/celeba`; see `celebrities.load`."""
    _partition(partition)
    if not names:
        raise DataError(f"{source} holds the identities of CelebA as numbers only; {_MEND}.")
    people, listed = _people(Path(names).parent, names)
    splits = [partition] if partition else list(_PARTITIONS)
    if isinstance(source, str):
        source = hub.fetch(source, [f"{_CONFIG}/{split}-*.parquet" for split in splits])
    elif not partition:
        splits = [s for s in splits if any(source.rglob(f"{s}-*.parquet"))] or splits
    chosen = [g.strip() for g in groups.split(",")] if groups else ["Male"]
    tables = []
    for split in splits:
        part = parquet.read_shards(parquet.shards(source, _CONFIG, split), ["celeb_id", *chosen])
        tables.append(part.assign(image_id=parquet.image_ids(part["path"], split)))
    rows = pd.concat(tables, ignore_index=True)
    base_names = [str(path).rpartition("/")[2] for path in rows["path"]]
    identity = rows["celeb_id"].astype(str)
    table = rows[["image_id", "file", "row"]].assign(
        person=[people.get(p) or people.get(i) for p, i in zip(base_names, identity, strict=True)],
        identity=identity,
    )
    for column in chosen:
        name, yes, no = _group(column)
        signs = rows[column].map(_sign)
        if (odd := signs.isna()).any():
            first = rows[odd].iloc[0]
            raise DataError(
                f"{first['file']}, row {first['row'] + 1}: {_no_sign(column, first[column])}."
            )
        table[name] = pd.Categorical(
            signs.map({True: yes, False: no}), categories=_kinds(name), ordered=True
        )
    return _finish(table, [_group(column)[0] for column in chosen], listed, partition)


def _finish(
    table: pd.DataFrame, groups: list[str], listed: Path, partition: str, notes: Sequence[str] = ()
) -> pd.DataFrame:
    notes = list(notes)
    unnamed = table["person"].isna()
    if unnamed.all():
        raise DataError(f"{listed} names none of these images; {_MEND}.")
    if unnamed.any():
        notes.append(f"{unnamed.sum():,} of {len(table):,} images have no name and are left out.")
        table = table[~unnamed].reset_index(drop=True)
    if "identity" in table:
        pairs = table[["identity", "person"]].drop_duplicates()
        if (twice := pairs["identity"].duplicated(keep=False) & (pairs["identity"] != "")).any():
            first = pairs[twice].iloc[0]["identity"]
            both = labelfile.few(pairs.loc[pairs["identity"] == first, "person"])
            raise DataError(f"{listed}: identity {first} has several names ({both}); keep one.")
        if (shared := pairs["person"].duplicated(keep=False)).any():
            notes.append(
                f"{shared.sum():,} identities share {pairs['person'][shared].nunique():,} names "
                f"({labelfile.few(pairs['person'][shared].unique())}); a name is one person here."
            )
    people = table["person"].nunique()
    table["person"] = table["person"].astype("str")
    return base.finish(
        table,
        name="CelebA",
        version=f"{partition or 'all partitions'}, {len(table):,} images of {people:,} people",
        licence="CelebA agreement: non-commercial research only",
        citation=_CITATION,
        terms=_TERMS,
        labels=f"Names are those of {listed.name}; attributes are CelebA's annotations.",
        groups=groups,
        notes=notes,
    )


def _partition(partition: str) -> str:
    if partition and partition not in _PARTITIONS:
        raise ParameterError(
            f'CelebA has no partition "{partition}"; use train, valid, test, or "" for all.'
        )
    return _PARTITIONS.get(partition, "")


def _locate(root: Path, *names: str) -> Path | None:
    """The first of `names` that is in `root` or in the folders of the official download."""
    places = (root / folder / name for name in names for folder in _FOLDERS)
    return next((path for path in places if path.exists()), None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as UTF-8 text ({error}); use the original file."
        ) from None


def _pairs(path: Path) -> dict[str, str]:
    """First word -> rest of every row, without the one or two header lines."""
    pairs: dict[str, str] = {}
    for line, row in enumerate(_lines(path), start=1):
        key, _, value = row.strip().replace(",", " ").partition(" ")
        if not re.fullmatch(r"\d+(\.\w+)?", key) or not value.strip():
            if line > 2 and row.strip():
                labelfile.refuse_separators(key, path)
                raise DataError(
                    f"{path}, row {line}: {labelfile.quoted(row.strip())} is not an image or identity "
                    "and its value; use the original file."
                )
            continue
        if pairs.setdefault(key, value.strip()) != value.strip():
            raise DataError(f"{path}, row {line}: {key} already has another value; keep one row.")
    if not pairs:
        raise DataError(f"{path} holds no rows of an image or identity and its value.")
    return pairs


def _people(root: Path, names: str) -> tuple[dict[str, str], Path]:
    """Image or identity -> person, and the list it is from."""
    path = Path(names).expanduser() if names else _locate(root, "list_identity_celeba.txt")
    if path is None:
        raise DataError(
            f"{root} holds identities as numbers only, as CelebA's names are not officially "
            f"public; {_MEND}."
        )
    if not path.is_file():
        raise DataError(f"{path} does not exist; {_MEND}.")
    people = {key: spaced(value) for key, value in _pairs(path).items()}
    refuse_numbers(people.values(), path)
    refuse_spellings(pd.Series(people, name="name"), path, of="image or identity")
    return people, path


def _identities(root: Path) -> dict[str, str]:
    path = _locate(root, *_IDENTITY)
    return _pairs(path) if path else {}


def _photos(root: Path, folder: Path, wanted: str) -> list[str]:
    if not wanted:
        return base.list_images(folder)
    path = _locate(root, *_PARTITION)
    if path is None:
        raise DataError(
            f"{root} has no {' or '.join(_PARTITION)}; add it, or leave partition empty."
        )
    return [photo for photo, part in _pairs(path).items() if part == wanted]


def _group(attribute: str) -> tuple[str, str, str]:
    """Column name and the words for 1 and -1."""
    return ("gender", "Male", "Female") if attribute == "Male" else (attribute, "yes", "no")


def _kinds(column: str) -> list[str]:
    return ["Male", "Female"] if column == "gender" else ["yes", "no"]


def _sign(value) -> bool | None:
    """What an attribute's value says: 1 or -1, or true or false in parquet; None for all others."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    try:
        return {1.0: True, -1.0: False}.get(float(value))
    except (TypeError, ValueError):
        return None


def _no_sign(column: str, value) -> str:
    return f"{column} {labelfile.quoted(value)} is not 1 or -1, as CelebA writes it; use the original file"


def _attributes(root: Path, groups: str) -> tuple[dict[str, dict[str, str]], Path | None]:
    """Group column -> image -> value, and the file they are from.

    The official file has the number of images, the names, then rows that are separated by spaces;
    the edition on Kaggle is a CSV with image_id and the names.
    """
    path = _locate(root, *_ATTRIBUTES)
    if path is None:
        if groups:
            raise DataError(
                f"{root} has no {' or '.join(_ATTRIBUTES)} for groups={groups}; add it."
            )
        return {}, None
    rows = [(line, re.split(r"[,\s]+", row.strip())) for line, row in enumerate(_lines(path), 1)]
    rows = [(line, values) for line, values in rows if values != [""]]
    if rows and len(rows[0][1]) == 1 and rows[0][1][0].isdigit():
        rows = rows[1:]
    columns = rows[0][1] if rows else []
    columns = columns[1:] if columns[:1] == ["image_id"] else columns
    if len(columns) == 1:
        labelfile.refuse_separators(columns[0], path)
    wanted = [g.strip() for g in groups.split(",")] if groups else ["Male"]
    if unknown := [g for g in wanted if g not in columns]:
        raise DataError(
            f"{path} has no attribute {labelfile.quoted(unknown[0])} (it has {labelfile.few(columns, 12)})."
        )
    at = [columns.index(g) + 1 for g in wanted]
    found: list[dict[str, str]] = [{} for _ in wanted]
    for line, values in rows[1:]:
        if len(values) != len(columns) + 1:
            raise DataError(
                f"{path}, row {line}: {len(values)} values for an image and {len(columns)} "
                "attributes, so the file is cut or damaged; use the original file."
            )
        for group, column, k in zip(wanted, found, at, strict=True):
            if (sign := _sign(values[k])) is None:
                raise DataError(f"{path}, row {line}: {_no_sign(group, values[k])}.")
            column[values[0]] = _group(group)[1 if sign else 2]
    return {_group(g)[0]: column for g, column in zip(wanted, found, strict=True)}, path
