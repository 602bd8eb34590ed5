"""FairFace (Kärkkäinen & Joo 2021): from its folders with label CSVs, or the hub's parquet."""

import io
import json
import posixpath
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.datasets import base, hub, labelfile, parquet
from clipeval.errors import DataError, ParameterError, one_line
from clipeval.files import file_state, keep, kept, sha256
from clipeval.paths import cache_dir

AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
GENDERS = ("Male", "Female")
RACES = (
    "White",
    "Black",
    "Indian",
    "East Asian",
    "Southeast Asian",
    "Middle Eastern",
    "Latino_Hispanic",
)
HUB_ID = "HuggingFaceM4/FairFace"
_NAMES_FILE = "classes.yaml"  # beside parquet files that hold numbers and no names for them
# the hub's integers stand for these, in this order
_HUB_NAMES = {
    "age": list(AGES),
    "gender": list(GENDERS),
    "race": [
        "East Asian",
        "Indian",
        "Black",
        "White",
        "Middle Eastern",
        "Latino_Hispanic",
        "Southeast Asian",
    ],
}
_CLASSES = {"age": (AGES, "age bin"), "gender": (GENDERS, "gender"), "race": (RACES, "race")}
_COUNTS = {"train": 86_744, "val": 10_954}
_SIZES = {"0.25": (224, 224), "1.25": (448, 448)}
_HOLDS = (
    "the folder with fairface_label_val.csv or labels_val.csv beside val/ and train/, one such "
    f"CSV, a folder with the hub's parquet files, or hf:{HUB_ID}"
)
_CITATION = (
    "Kärkkäinen, K. and Joo, J. (2021). FairFace: Face Attribute Dataset for Balanced Race, "
    "Gender, and Age for Bias Measurement and Mitigation. WACV 2021."
)
_LABELS = (
    "Group labels are FairFace's annotations by crowd workers, not self-identification; they "
    "record how a face was read by others, in seven race and two gender categories."
)


def load(
    data: str = "", *, split: str = "val", padding: str = "0.25", strict: bool = False
) -> pd.DataFrame:
    """FairFace as an images table.

    Parameters
    ----------
    data : the folder with `fairface_label_val.csv` (official) or `labels_val.csv` beside the image
        folders (or beside the unpacked `fairface-img-margin025-trainval`), one such CSV, a folder
        in the hub's layout (`0.25/validation-*.parquet`), or "hf:HuggingFaceM4/FairFace"
    split : "val" (or "validation") or "train"
    padding : "0.25" (224 x 224 pixels) or "1.25" (448 x 448): two releases of different crops,
        never mixed
    strict : refuse images without labels and a split that is not the whole official one, instead of
        noting them

    Returns
    -------
    DataFrame: image_id ("val/1.jpg"), file, (row,) age (9 ordered bins), gender, race (7), white
    ("White" or "Non-White", derived from race), service_test (bool)

    Raises
    ------
    DataError  if labels were altered, columns or images are missing, or padding or split do not fit
    the files
    """
    split = {"validation": "val"}.get(split, split)
    if split not in _COUNTS:
        raise ParameterError(f'FairFace has no split "{split}"; use val or train.')
    if (padding := str(padding)) not in _SIZES:
        raise ParameterError(f"FairFace has no release with padding {padding}; use 0.25 or 1.25.")
    if repo := hub.hub_id(data, [HUB_ID]):
        root = hub.fetch(repo, [f"{padding}/{_hub_split(split)}-*.parquet"])
        table, notes = _from_parquet(root, split, padding, from_hub=repo == HUB_ID)
    else:
        path = base.need_folder(data, "fairface", _HOLDS)
        if path.is_dir() and _holds_parquet(path):
            table, notes = _from_parquet(path, split, padding)
        else:
            table, notes = _from_csv(path, split, padding)
    official = _COUNTS[split]
    whole = len(table) == official
    unlabelled = [note for note in notes if "have no label" in note]
    if strict and unlabelled:
        raise DataError(f"{data}: {unlabelled[0]} Remove them, or run without strict.")
    if strict and not whole:
        raise DataError(
            f"{data}: {len(table):,} images are not the whole {split} split of {official:,}; "
            "complete the data, or run without strict."
        )
    if not whole:
        notes.append(f"{len(table):,} of the {official:,} images of FairFace's {split} split.")
    white = np.where(table["race"] == "White", "White", "Non-White")
    table["white"] = pd.Categorical(white, categories=["White", "Non-White"], ordered=True)
    return base.finish(
        table,
        name="FairFace",
        version=f"padding {padding}, {split}, "
        + (f"all {official:,}" if whole else f"{len(table):,} of {official:,}"),
        licence="CC BY 4.0",
        citation=_CITATION,
        terms="May be shared and adapted with attribution; the people shown were not asked.",
        labels=_LABELS,
        groups=["age", "gender", "race", "white"],
        notes=notes,
    )


def _hub_split(split: str) -> str:
    return "validation" if split == "val" else split


_LABEL_FILES = ("fairface_label_{}.csv", "labels_{}.csv")


def _holds_parquet(path: Path) -> bool:
    labels = [name.format(split) for name in _LABEL_FILES for split in _COUNTS]
    return not any((path / name).is_file() for name in labels) and any(path.rglob("*.parquet"))


def _label_csv(path: Path, split: str) -> Path:
    """The label CSV of `split` in folder `path`, or `path` itself where it is a file."""
    if path.is_file():
        return path
    names = [pattern.format(split) for pattern in _LABEL_FILES]
    for name in names:
        if (path / name).is_file():
            return path / name
    other = "train" if split == "val" else "val"
    has_other = any((path / name.replace(split, other)).is_file() for name in names)
    raise DataError(
        f"{path} holds no {' or '.join(names)}; "
        + (
            f"it has the labels of {other} only: set split={other}."
            if has_other
            else f"data is {_HOLDS}."
        )
    )


def _image_root(folder: Path, split: str, padding: str) -> Path:
    """Folder that holds val/ and train/: beside the CSV, or this padding's unpacked archive."""
    if (folder / split).is_dir():
        return folder
    archive = folder / f"fairface-img-margin{padding.replace('.', '')}-trainval"
    return archive if (archive / split).is_dir() else folder


def _from_csv(path: Path, split: str, padding: str) -> tuple[pd.DataFrame, list[str]]:
    source = _label_csv(path, split)
    root = _image_root(source.parent, split, padding)
    labels = labelfile.read_table(source)
    labelfile.need_columns(labels, ["file", *_CLASSES], source)
    ids = labels["file"]
    wrong = ids[~ids.str.startswith(f"{split}/")]
    if len(wrong):
        line, value = wrong.index[0], wrong.iloc[0]
        other = value.split("/")[0]
        mend = f"set split={other}" if other in _COUNTS else "use the original file"
        raise DataError(
            f"{source}, row {line}: file {labelfile.quoted(value)} is not in the {split} split; {mend}."
        )
    labelfile.refuse_repeats(ids, source)
    odd = ids[ids.map(posixpath.normpath) != ids]
    if len(odd):
        raise DataError(
            f"{source}, row {odd.index[0]}: file {labelfile.quoted(odd.iloc[0])} is another way to "
            f"write {labelfile.quoted(posixpath.normpath(odd.iloc[0]))}; use the original file."
        )
    columns = {
        column: labelfile.categorise(
            labels[column], classes, path=source, dataset="FairFace", what=what
        )
        for column, (classes, what) in _CLASSES.items()
    }
    files = base.need_images(root, ids, source)
    table = pd.DataFrame({"image_id": ids.to_numpy(), "file": files, **columns})
    if "service_test" in labels:
        values = labels["service_test"].str.lower().rename("service_test")
        flags = labelfile.categorise(
            values, ["false", "true"], path=source, dataset="FairFace", what="truth value"
        )
        table["service_test"] = flags == "true"
    chosen = table.iloc[np.linspace(0, len(table) - 1, num=min(8, len(table)), dtype=int)]
    chosen = chosen[[Path(file).is_file() for file in chosen["file"]]]
    notes = _check_size(chosen, lambda: map(Path, chosen["file"]), padding, root)
    labelled = set(ids.tolist())
    extra = base.unlabelled(root, split, labelled)
    if extra:
        notes.append(
            f"{len(extra):,} images have no label and are left out: {labelfile.few(extra)}."
        )
    return table, notes + _oddities(labelled, root)


def _oddities(ids: set[str], root: Path) -> list[str]:
    """Known flaws of the release that are in these images."""
    notes = []
    if {"val/567.jpg", "val/4209.jpg"} <= ids:
        notes.append("val/567.jpg and val/4209.jpg are the same photograph with different labels.")
    if "val/529.jpg" in ids and (root / "train" / "22979.jpg").is_file():
        notes.append("val/529.jpg is also a training image, train/22979.jpg.")
    if "train/22979.jpg" in ids and (root / "val" / "529.jpg").is_file():
        notes.append("train/22979.jpg is also a validation image, val/529.jpg.")
    return notes


def _from_parquet(
    root: Path, split: str, padding: str, from_hub: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    files = parquet.shards(root, padding, _hub_split(split))
    names = {file: _code_names(file, from_hub) for file in files}
    tested = all("service_test" in parquet.schema(file).names for file in files)
    rows = parquet.read_shards(files, [*_CLASSES, *(["service_test"] if tested else [])])
    ids = parquet.image_ids(rows["path"], _hub_split(split))
    # a bare "1.jpg" is the official CSV's "val/1.jpg"
    ids = [name if "/" in name else f"{split}/{name}" for name in ids]
    table = pd.DataFrame({"image_id": ids, "file": rows["file"], "row": rows["row"]})
    for column, (classes, _) in _CLASSES.items():
        parts = [
            _classes(part, column, names[Path(file)][column])
            for file, part in rows.groupby("file", sort=False)
        ]
        table[column] = pd.Categorical(np.concatenate(parts), categories=classes, ordered=True)
    if tested:
        flags = rows["service_test"].astype(str).str.lower().set_axis(rows["row"] + 1)
        flags = labelfile.categorise(
            flags, ["false", "true"], path=files[0].parent, dataset="FairFace", what="truth value"
        )
        table["service_test"] = flags == "true"
    first = table.head(1)
    return table, _check_size(first, lambda: parquet.first_images(files[0]), padding, files[0])


def _code_names(file: Path, from_hub: bool) -> dict[str, list[str]]:
    """Column -> what its numbers stand for; refused where nothing says it."""
    inside, beside = parquet.class_names(file), file.parent / _NAMES_FILE
    named = _read_names(beside) if beside.is_file() else {}
    schema = parquet.schema(file)
    for column, expected in _HUB_NAMES.items():
        if inside.get(column, expected) != expected:
            raise DataError(
                f"{file}: the classes of {column} are {labelfile.few(inside[column], 9)} and "
                f"not FairFace's in the hub's order ({labelfile.few(expected, 9)}); use {HUB_ID}."
            )
        coded = column in schema.names and str(schema.field(column).type).startswith(
            ("int", "uint")
        )
        if coded and not (column in inside or column in named or from_hub):
            raise DataError(
                f"{file}: {column} is written as numbers, and the file does not say what they stand "
                f"for; write the names, or list them from 0 in {beside.name} beside it, such as "
                f'"{column}: [{", ".join(_CLASSES[column][0][:2])}, ...]".'
            )
    return _HUB_NAMES | named


def _read_names(path: Path) -> dict[str, list[str]]:
    """Column -> names of its numbers from 0, as a user lists them in YAML."""
    import yaml

    try:
        listed = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as YAML ({one_line(error)}).") from None
    for column, names in (listed if isinstance(listed, dict) else {path.name: listed}).items():
        known = _CLASSES.get(column, ((),))[0]
        if not isinstance(names, list) or sorted(map(str, names)) != sorted(known):
            raise DataError(
                f"{path}: {column} must be one of {', '.join(_CLASSES)} and list each of its names "
                f"once ({labelfile.few(known, 9)}); correct it."
            )
    return {column: list(map(str, names)) for column, names in listed.items()}


def _classes(rows: pd.DataFrame, column: str, names: list[str]) -> np.ndarray:
    """One class column of one parquet file as names; `rows` has file and row."""
    file, values = rows["file"].iloc[0], rows[column]
    classes, what = _CLASSES[column]
    if values.isna().any():
        line = rows["row"][values.isna()].iloc[0] + 1
        raise DataError(f"{file}, row {line}: {column} is empty; use the original file.")
    if pd.api.types.is_integer_dtype(values):
        meaning = dict(enumerate(names))
        values = values.map(lambda code: meaning.get(code, str(code)))
    values = pd.Series(values.astype(str).to_numpy(), index=rows["row"] + 1, name=column)
    found = labelfile.categorise(values, classes, path=file, dataset="FairFace", what=what)
    return np.asarray(found)


def _sizes(images: pd.DataFrame, read: Callable) -> set[tuple[int, int]]:
    """Sizes in pixels of what `read` returns; remembered until a file of `images` changes."""
    from PIL import Image

    name = sha256(json.dumps([(file, *file_state(file)) for file in images["file"]]))
    memory, sizes = cache_dir() / "sizes" / f"{name}.kept", set()
    if (content := kept(memory)) is not None:
        return {tuple(size) for size in json.loads(content)}
    for image in read():
        # an unreadable image is reported when it is embedded
        with suppress(OSError, ValueError, Image.DecompressionBombError):
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
                sizes.add(opened.size)
    with suppress(OSError):
        keep(memory, json.dumps(sorted(sizes)).encode())
    return sizes


def _check_size(images: pd.DataFrame, read: Callable, padding: str, where: Path) -> list[str]:
    """Refuse images of the other padding's size; note sizes that no release has."""
    sizes = _sizes(images, read)
    for other, size in _SIZES.items():
        if other != padding and size in sizes:
            raise DataError(
                f"{where}: images are {size[0]} x {size[1]} pixels, the size of the release with "
                f"padding {other}, but padding is {padding}; set padding={other}, or give the "
                "other release."
            )
    strange = sorted(sizes - set(_SIZES.values()))
    if not strange:
        return []
    return [
        f"Images of {strange[0][0]} x {strange[0][1]} pixels are of neither FairFace release; "
        f"padding {padding} is taken from the parameter."
    ]
