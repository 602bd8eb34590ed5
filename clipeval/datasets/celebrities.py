"""People by name: a folder a person, a CSV, or (see celeba.py) CelebA and a list of names."""

from pathlib import Path

import pandas as pd

from clipeval.datasets import base, celeba, hub, labelfile, parquet
from clipeval.datasets.groups import group_columns, missing, refuse_spellings, spelling
from clipeval.datasets.manifest import image_column, refuse_twins
from clipeval.errors import DataError
from clipeval.files import LIST

_HOLDS = (
    "a folder with one folder of photographs a person, a CSV with columns name and file, the "
    f"folder of CelebA's files, or hf:{celeba.HUB_ID}"
)


def load(
    data: str = "", *, names: str = "", files: str = "", partition: str = "", groups: str = ""
) -> pd.DataFrame:
    """Photographs of people whose names are known.

    Parameters
    ----------
    data : a folder with one folder a person (`First_Last/1.jpg`), a CSV with columns `name` (or
        `person`) and `file` (or `path`), the folder of CelebA's official files, or
        "hf:flwrlabs/celeba" (also as a local folder)
    names : for CelebA, the list of names, which is not officially public: image or identity, then
        First_Last (commonly `list_identity_celeba.txt`)
    files : for a CSV with several photographs in a row, their columns ("file_2017,file_portrait");
        default every column that starts with `file_`
    partition : for CelebA, "train", "valid" or "test" ("" for all)
    groups : group columns of the CSV ("" for all that look like groups); attributes of CelebA (""
        for gender, from Male)

    Returns
    -------
    DataFrame: image_id, file, (row,) the groups, person (name with spaces, str), then other columns

    Raises
    ------
    DataError  if names or photographs are missing, or one name stands for two people
    """
    if repo := hub.hub_id(data, [celeba.HUB_ID]):
        return celeba.from_hub(repo, names=names, partition=partition, groups=groups)
    path = base.need_folder(data, "celebrities", _HOLDS)
    if path.is_file():
        return _from_csv(path, files, groups)
    if celeba.is_official(path):
        return celeba.from_files(path, names=names, partition=partition, groups=groups)
    if celeba.is_hub_layout(path):
        return celeba.from_hub(path, names=names, partition=partition, groups=groups)
    return _from_folders(path)


def _finish(
    table: pd.DataFrame, path: Path, groups: list[str], notes: list[str], not_groups=None
) -> pd.DataFrame:
    people = table["person"].nunique()
    if people < 2:
        raise DataError(f"{path} names {people} person; identification needs at least two names.")
    return base.finish(
        table,
        name=path.stem.replace("_", " "),
        version=f"{len(table):,} images of {people:,} people",
        licence="not stated",
        terms="Photographs of people: use them only as their licence and the law allow.",
        labels=f"Names are those of {path.name}.",
        groups=groups,
        notes=notes,
        not_groups=not_groups,
    )


def _from_folders(root: Path) -> pd.DataFrame:
    rows, owners, notes, others = [], {}, [], []
    folders = (p for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
    for folder in sorted(p for p in folders if not (p / LIST).is_file()):
        person = celeba.spaced(folder.name)
        if (first := owners.setdefault(spelling(person), folder.name)) != folder.name:
            raise DataError(
                f"{root}: folders {labelfile.quoted(first)} and {labelfile.quoted(folder.name)} both "
                f"name {labelfile.few([person])}; join them, or "
                "tell the two people apart in the name."
            )
        photos, rest = base.sort_files(folder)
        if not photos:
            notes.append(f"{folder.name} holds no image and is left out.")
        others += [f"{folder.name}/{name}" for name in rest]
        rows += [
            (f"{folder.name}/{photo}", str(folder.absolute() / photo), person) for photo in photos
        ]
    if not rows:
        raise DataError(f"{root} holds no images in folders; for celebrities, data is {_HOLDS}.")
    loose, beside = base.sort_files(root, deep=False)
    notes += base.left_out(loose, "in no person's folder")
    notes += base.left_out(others + beside, "not images")
    return _finish(pd.DataFrame(rows, columns=["image_id", "file", "person"]), root, [], notes)


def _from_csv(path: Path, files: str, groups: str) -> pd.DataFrame:
    rows = parquet.read_rows(path)
    named = next((c for c in ("person", "name") if c in rows), None)
    if named is None:
        raise DataError(
            f'{path} has no column "name" or "person" (it has {labelfile.few(rows.columns, 12)}); '
            "add the person's name to each row."
        )
    names = rows[named].map(celeba.spaced)
    if (empty := missing(rows[named])).any():
        raise DataError(f"{path}, row {names.index[empty][0]}: {named} is empty; name the person.")
    celeba.refuse_numbers(names, path)
    columns = [c.strip() for c in files.split(",")] if files else _photo_columns(rows)
    if columns:
        labelfile.need_columns(rows, columns, path)
        if (twice := names.str.casefold().duplicated()).any():
            line, name = names.index[twice][0], names[twice].iloc[0]
            raise DataError(
                f"{path}, row {line}: {labelfile.few([name])} stands in two rows, and one row is one person here; "
                "tell the two people apart in the name."
            )
        photos = rows[columns].stack()
        photos = photos[~missing(photos)]
        lines = photos.index.get_level_values(0)
        rest = rows.loc[lines].drop(columns=[named, *columns])
        rest["photo"] = photos.index.get_level_values(1)
        photos.index = lines
        names = names.loc[lines]
    else:
        known = "image_id" if _ids_alone(rows) else ""
        column = image_column(rows, path, known)
        photos, rest = rows[column], rows.drop(columns=[named, column, "image_id"], errors="ignore")
        refuse_spellings(names, path)
    photos = base.tidy(photos)
    chosen, refused = group_columns(rest, groups, path=path, skip=["photo"])
    files = base.need_images(_root(path, photos), photos, path)
    refuse_twins(pd.Series(files, index=photos.index), photos, path)
    for group, values in chosen.items():
        rest[group] = values
    rest.insert(0, "image_id", base.relative(photos, _root(path, photos)).to_numpy())
    rest.insert(1, "file", files)
    rest["person"] = names.to_numpy()
    return _finish(rest, path, list(chosen), [], refused)


def _ids_alone(rows: pd.DataFrame) -> bool:
    """Whether rows say what their images are called, and not where they are, which need not be known."""
    return not base.photographs_needed() and not {"file", "path"} & {*rows} and "image_id" in rows


def _photo_columns(rows: pd.DataFrame) -> list[str]:
    if "file" in rows or "path" in rows:
        return []
    return [c for c in rows.columns if c.startswith("file_")]


def _root(path: Path, photos: pd.Series) -> Path:
    """Folder that the paths are relative to: the CSV's own, or the one above it."""
    first = [photos.iloc[0]] if len(photos) else []
    return next(
        (r for r in (path.parent, path.parent.parent) if any(base.find_images(r, first))),
        path.parent,
    )
