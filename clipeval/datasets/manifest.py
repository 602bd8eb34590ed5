"""Any images one has: a CSV, TSV or parquet file with one row an image and its group columns."""

from pathlib import Path

import pandas as pd

from clipeval.datasets import base, labelfile
from clipeval.errors import DataError

__all__ = ["load"]

_HOLDS = "a CSV, TSV or parquet file with a column file (or path) and the group columns"


def load(
    data: str = "",
    *,
    groups: str = "",
    title: str = "",
    licence: str = "",
    citation: str = "",
    labelled_by: str = "",
) -> pd.DataFrame:
    """An images table from a file with one row an image.

    Parameters
    ----------
    data : CSV, TSV or parquet with a column `file` (or `path`), relative to it or absolute, and
        optionally `image_id` (else `file` is the id)
    groups : group columns ("race,gender"); "" takes every column with 2 to 20 different values,
        none missing and not all numbers, except captions
    title, licence, citation, labelled_by : what reports say of these images and of their labels

    Returns
    -------
    DataFrame: image_id, file, the groups, then all other columns as they are

    Raises
    ------
    DataError  if a column, a value or an image is missing, an image stands twice, or a spreadsheet
        has changed values
    """
    path = base.need_folder(data, "manifest", _HOLDS)
    if path.is_dir():
        raise DataError(f"{path} is a folder; for manifest, data is {_HOLDS}.")
    rows = labelfile.read_table(path)
    column = image_column(rows, path)
    names = rows[column].astype(str)
    files = base.need_images(path.parent, names, path)
    ids = rows["image_id"].astype(str) if "image_id" in rows else names
    if (empty := ids == "").any():
        raise DataError(
            f"{path}, row {ids.index[empty][0]}: image_id is empty; give every image one."
        )
    labelfile.refuse_repeats(ids, path)
    rest = rows.drop(columns=[column, "image_id"], errors="ignore")
    captions = [c for c in rest.columns if "caption" in str(c).lower()]
    chosen = labelfile.choose_groups(rows, groups, path=path, skip=[column, *captions])
    for group in chosen:
        rest[group] = labelfile.as_group(rest[group], path)
    rest.insert(0, "file", files)
    rest.insert(0, "image_id", ids)
    return base.finish(
        rest,
        name=title or path.stem,
        version=f"{len(rest):,} images of {path.name}",
        licence=licence or "not stated",
        citation=citation,
        labels=labelled_by
        or f"Group labels are those of {path.name}; who gave them is not stated.",
        groups=chosen,
    )


def image_column(rows: pd.DataFrame, path: Path) -> str:
    """The column that says where an image is: `file` or `path`, filled in every row."""
    column = next((c for c in ("file", "path") if c in rows), None)
    if column is None:
        raise DataError(
            f'{path} has no column "file" or "path" (it has {labelfile.few(rows.columns, 12)}); '
            "add one that says where each image is."
        )
    empty = rows[column].isna() | (rows[column] == "")
    if empty.any():
        raise DataError(
            f"{path}, row {rows.index[empty][0]}: {column} is empty; give the image's path."
        )
    return column
