"""Any images one has: a CSV, TSV or parquet file with one row an image and its group columns."""

import re
from pathlib import Path

import pandas as pd

from clipeval.datasets import base, labelfile, parquet
from clipeval.datasets.groups import group_columns, missing
from clipeval.datasets.labelfile import quoted
from clipeval.errors import DataError, ParameterError

_HOLDS = (
    "a CSV, TSV or parquet file with a column file (or path) and the group columns, or a folder of "
    "images"
)
# names of columns that say who is shown, without an ending such as _id
_WHO = {"person", "subject", "individual", "participant", "identity", "sitter", "actor"}


def load(
    data: str = "",
    *,
    file: str = "",
    columns: str = "",
    groups: str = "",
    person: str = "",
    title: str = "",
    licence: str = "",
    citation: str = "",
    labelled_by: str = "",
) -> pd.DataFrame:
    """An images table from a file with one row an image, or from a folder of images.

    Parameters
    ----------
    data : CSV, TSV or parquet with a column that says where each image is, relative to it or
        absolute, and optionally `image_id` (else that path is the id); a parquet file that holds the
        images themselves in a column `image`; or a folder, whose images (in its folders too) then
        have no groups
    file : name of the column that says where each image is; "" for `file` or `path`
    columns : what columns of one's own are, "image_id:nr,file:photo,Sex:m_f": what stands before a colon
        is what its column is called from there on, in `groups` and in every table
    groups : group columns ("race,gender"), see `groups.group_columns`; "" takes every column with 2
        to 20 different values, none missing and not all numbers, except captions and `person`
    person : column that says who is shown, which `load_dataset` draws one image of each by
    title, licence, citation, labelled_by : what reports say of these images and of their labels

    Returns
    -------
    DataFrame: image_id, file, (row,) the groups, then all other columns as they are;
    attrs["not_groups"] says of each other column why it is not a group

    Raises
    ------
    DataError  if a column, a value or an image is missing, an image stands twice, or values differ
        in spelling only or were changed by a spreadsheet
    """
    path = base.need_folder(data, "manifest", _HOLDS)
    about = {"title": title, "licence": licence, "citation": citation, "labelled_by": labelled_by}
    if path.is_dir():
        if groups or file or columns:
            raise DataError(
                f"{path} is a folder, which has no columns for groups or file; give the path of a table."
            )
        return _from_folder(path, about)
    rows = _named(parquet.read_rows(path), columns, path)
    rest, notes = _located(rows, file, path)
    skip = [person, *(c for c in rest.columns if "caption" in str(c).lower())]
    chosen, refused = group_columns(rest, groups, path=path, skip=skip)
    for group, values in chosen.items():
        rest[group] = values
    if not person:
        who = [c for c in rest.columns.drop(list(chosen)) if _says_who(rest[c])]
        notes += [f"Images of one {column} are counted as independent." for column in who]
    return _finish(rest, path, about, list(chosen), notes, refused)


def _says_who(values: pd.Series) -> bool:
    """Whether a column is called as one that says who is shown, and shows somebody more than once."""
    name = re.sub(r"[\W_]+(id|nr|no|number|code|name)$", "", str(values.name).lower())
    return name in _WHO and bool(values.dropna().duplicated().any())


def _named(rows: pd.DataFrame, columns: str, path: Path) -> pd.DataFrame:
    """`rows` with its columns under the names that `columns` gives them, "file:photo,Sex:m_f"."""
    own: dict[str, str] = {}
    for item in filter(None, map(str.strip, columns.split(","))):
        name, colon, column = (part.strip() for part in item.partition(":"))
        if not (name and column) or name in own or column in own.values():
            raise ParameterError(
                f"columns: {quoted(item)} does not say once what one column is; write NAME:COLUMN, for "
                "example file:photo,Sex:m_f."
            )
        own[name] = column
    for name, column in own.items():
        if column not in rows:
            turned = f"; did you mean {column}:{name}?" if name in rows else "; correct columns."
            raise DataError(
                f"{path} has no column {quoted(column)}, which columns calls {name} (it has "
                f"{labelfile.few(rows.columns, 12)}){turned}"
            )
        if name in rows and name != column and name not in own.values():
            raise DataError(
                f"{path} has a column {quoted(name)} already, and columns gives that name to "
                f"{quoted(column)}; choose another name."
            )
    held = rows.attrs
    rows = rows.rename(columns={column: name for name, column in own.items()})
    rows.attrs = held
    return rows


def _finish(table, path: Path, about: dict, groups: list[str], notes, refused) -> pd.DataFrame:
    labels = f"Group labels are those of {path.name}; who gave them is not stated."
    return base.finish(
        table,
        name=about["title"] or path.stem,
        version=f"{len(table):,} images of {path.name}",
        licence=about["licence"] or "not stated",
        citation=about["citation"],
        labels=about["labelled_by"] or (labels if groups else "There are no group labels."),
        groups=groups,
        notes=notes,
        not_groups=refused,
    )


def _from_folder(folder: Path, about: dict) -> pd.DataFrame:
    images, others = base.sort_files(folder)
    if not images:
        raise DataError(f"{folder} holds no images; for manifest, data is {_HOLDS}.")
    root = folder.absolute()
    table = pd.DataFrame({"image_id": images, "file": [str(root / name) for name in images]})
    return _finish(table, folder, about, [], base.left_out(others, "not images"), {})


def _located(rows: pd.DataFrame, file: str, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """`rows` with image_id, file (and row) in place of the column that says where the images are."""
    held = rows.attrs.pop("images", [])
    if not file and held and not {"file", "path"} & set(rows.columns):
        parquet.need_images(parquet.schema(path), path)
        rest = rows.drop(columns="image_id", errors="ignore")
        ids = rows.get("image_id")
        numbered = pd.Series([f"{path.stem}/{i:06d}" for i in range(len(rows))], index=rows.index)
        rest["file"], rest["row"] = str(path.absolute()), range(len(rows))
        rest["image_id"] = numbered if ids is None else need_ids(ids, path)
        return rest, []
    if not (base.photographs_needed() or file or {"file", "path"} & set(rows.columns)):
        labelfile.need_columns(rows, ["image_id"], path)
        ids = need_ids(rows["image_id"], path)
        return rows.drop(columns="image_id").assign(image_id=ids, file=ids), []
    column = image_column(rows, path, file)
    names = base.tidy(base.copied(rows[column], path))
    files = pd.Series(base.need_images(path.parent, names, path), index=rows.index)
    rest = rows.drop(columns=[column, "image_id", "file"], errors="ignore")
    notes = []
    if "image_id" in rows:
        ids = need_ids(rows["image_id"], path)
        if twice := int(files.duplicated().sum()):
            notes.append(
                f"{twice:,} of {len(files):,} rows show an image again under another image_id."
            )
    else:
        refuse_twins(files, names, path)
        ids = base.relative(names, path.parent)
    rest["file"], rest["image_id"] = files, ids
    return rest, notes


def need_ids(column: pd.Series, path: Path) -> pd.Series:
    """A column of ids as text, refused where one is empty or stands twice."""
    ids = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    if (empty := ids == "").any():
        raise DataError(
            f"{path}, row {ids.index[empty][0]}: image_id is empty; give every image one."
        )
    labelfile.refuse_repeats(ids, path)
    return ids


def refuse_twins(files: pd.Series, names: pd.Series, path: Path) -> None:
    """Refuse two rows for one image, however its path is written; both indexed by line."""
    labelfile.refuse_repeats(names, path)
    if (twice := files.duplicated()).any():
        first = files == files[twice].iloc[0]
        raise DataError(
            f"{path}, row {files.index[twice][0]}: {quoted(names[twice].iloc[0])} is the image of row "
            f"{files.index[first][0]} ({quoted(names[first].iloc[0])}); keep one row an image."
        )


def image_column(rows: pd.DataFrame, path: Path, file: str = "") -> str:
    """The column that says where an image is, filled in every row: `file`, or "file" or "path"."""
    column = file or next((c for c in ("file", "path") if c in rows), None)
    if column not in rows:
        wanted = quoted(file) if file else '"file" or "path"'
        raise DataError(
            f"{path} has no column {wanted} (it has "
            f"{labelfile.few(rows.columns, 12)}); add one that says where each image is, or name it "
            "with file=COLUMN."
        )
    if (empty := missing(rows[column])).any():
        raise DataError(
            f"{path}, row {rows.index[empty][0]}: {column} is empty; give the image's path."
        )
    return column
