"""Reading answers made elsewhere: a CSV or parquet file with one row an image.

A row names its image (`image_id` or `file`) and holds either the class that was given (`label`, perhaps
`prob`, and `rank` where an image has several rows), or a number for each class or prompt, a column each.
Columns `model` and `pretrained` tell apart the runs of a file that holds several.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.errors import DataError, ParameterError
from clipeval.files import file_sha256

_IDS = ("image_id", "file", "path")
_RUN = ("model", "pretrained")
_NOT_CLASSES = {*_IDS, *_RUN, "label", "prob"}
_HOLDS = "a CSV, TSV or parquet file with one row an image"


@dataclass(frozen=True)
class ScoreFile:
    """The answers of one run, as `read_scores` returns them."""

    path: Path
    """The file."""
    sha256: str
    """Of its bytes."""
    model: str
    """What the file, or the user, calls the model; "" where neither does."""
    pretrained: str
    """The same of its weights."""
    labels: pd.Series | None
    """Image id -> class given, "" where there is none; None for a file of scores."""
    prob: pd.Series | None
    """Image id -> probability of that class (fraction); None where the file does not say."""
    scores: pd.DataFrame | None
    """Image id x class or prompt: numbers as text or number, as they stand; None for a file of labels."""
    doubles: tuple[str, ...]
    """Images that stand twice with the same answer; they count once."""
    unread: tuple[str, ...]
    """Further columns of a file of labels, which are not read."""
    further: int = 0
    """Answers of rank 2 and beyond, which are left out."""

    @property
    def name(self) -> str:
        """File name, without its folder."""
        return self.path.name

    @property
    def columns(self) -> list[str]:
        """Every answer that it may hold: its score columns, or the labels that were given."""
        if self.scores is not None:
            return list(self.scores)
        return sorted(set(self.labels) - {""})

    @property
    def image_ids(self) -> pd.Index:
        """Ids of the images that it answers for."""
        return (self.labels if self.scores is None else self.scores).index

    def numbers(self, column: str) -> np.ndarray:
        """One column of scores, (n,) float64; nan where a whole row is empty.

        Raises
        ------
        DataError  if a cell of a row that holds other numbers is not a finite number
        """
        return _numbers(self.scores[column], self._answered, self)

    @functools.cached_property
    def _answered(self) -> np.ndarray:
        """Rows that are not empty throughout."""
        said = [_is_said(self.scores[name]) for name in self.scores]
        return np.any(said, axis=0)


def _is_said(column: pd.Series) -> np.ndarray:
    """Cells that are not empty, (n,) bool."""
    if pd.api.types.is_numeric_dtype(column):
        return column.notna().to_numpy()
    said = column.astype(object).where(column.notna(), "").astype(str)
    return (said.str.strip() != "").to_numpy()


def _numbers(column: pd.Series, needed: np.ndarray, file: ScoreFile | Path) -> np.ndarray:
    """Cells as numbers; those that are `needed`, (n,) bool, must be finite."""
    found = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = ~np.isfinite(found) & needed
    if bad.any():
        raise DataError(
            f'{file.name}: {column.name} of image "{column.index[bad][0]}" is '
            f'"{column[bad].iloc[0]}", which is not a finite number; correct it, or leave the row out.'
        )
    return found


def read_scores(path: str | Path, model: str = "", pretrained: str = "") -> ScoreFile:
    """Read the answers of one run.

    Parameters
    ----------
    path : CSV, TSV or parquet file; ids and labels are kept as text (000 stays 000)
    model, pretrained : which run, where the file has columns of these names; "" takes the only one

    Raises
    ------
    DataError  if it cannot be read, names no images or holds no answers, or an image has two
    ParameterError  if it holds several runs, or none of that name
    """
    from clipeval.datasets import base
    from clipeval.datasets.labelfile import few, quoted
    from clipeval.datasets.parquet import read_rows

    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist; scores is {_HOLDS}.")
    rows = read_rows(path)
    rows.columns = [str(name) for name in rows.columns]
    column = next((name for name in _IDS if name in rows), None)
    if column is None:
        raise DataError(
            f"{path} has no column image_id or file that says which image a row is of (it has "
            f"{few(rows.columns, 12)}); add one."
        )
    rows, model, pretrained = _run(rows, model, pretrained, path)
    ids = rows[column].astype(str).str.strip()
    if (empty := rows[column].isna() | (ids == "")).any():
        raise DataError(f"{path}, row {ids.index[empty][0]}: {column} is empty; name the image.")
    ids = ids if column == "image_id" else base.tidy(ids)
    further = 0
    if ranked := {"label", "rank"} <= set(rows):
        top = _is_top(rows, ids, path)
        rows, ids, further = rows[top], ids[top], int((~top).sum())
    classes = [name for name in rows if name not in _NOT_CLASSES]
    has_labels = "label" in rows
    if not has_labels and not classes:
        raise DataError(
            f"{path} holds no answers (its columns are {few(rows.columns, 12)}); add a column label, or "
            "one a class."
        )
    kept = ["label", *(["prob"] if "prob" in rows else [])] if has_labels else classes
    table = rows[kept].set_axis(pd.Index(ids.to_numpy(object), name="image_id"))
    again = table.index.duplicated()
    doubles = list(dict.fromkeys(table.index[again]))
    if doubles:
        known = pd.Series(table.index, index=table.index).astype(str)
        same = table.astype(object).assign(_id=known).duplicated()
        if (other := again & ~same.to_numpy()).any():
            at = int(np.flatnonzero(other)[0])
            first = int(np.flatnonzero(table.index == table.index[at])[0])
            mend = "or of rank 1" if ranked else "or say which is the top (1) in a column rank"
            raise DataError(
                f"{path}, row {rows.index[at]}: {quoted(table.index[at])} already stands in row "
                f"{rows.index[first]} with another answer; keep one row an image, {mend}."
            )
        table = table[~again]
    about = {"path": path, "sha256": file_sha256(path), "model": model, "pretrained": pretrained}
    unread = tuple(name for name in classes if name != "rank") if has_labels else ()
    about |= {"doubles": tuple(doubles), "unread": unread, "further": further}
    if not has_labels:
        return ScoreFile(**about, labels=None, prob=None, scores=table)
    labels = table["label"].astype(object).where(table["label"].notna(), "").astype(str).str.strip()
    prob = None
    if "prob" in table:
        found = _numbers(table["prob"], (labels != "").to_numpy(), path)
        if (odd := (found <= 0) | (found > 1)).any():
            raise DataError(
                f"{path}: prob of image {quoted(labels.index[odd][0])} is {found[odd][0]:g}, and a "
                "probability is a fraction above 0 and at most 1; write fractions, not percents."
            )
        prob = pd.Series(found, index=labels.index)
    return ScoreFile(**about, labels=labels, prob=prob, scores=None)


def _is_top(rows: pd.DataFrame, ids: pd.Series, path: Path) -> pd.Series:
    """Which rows hold the top answer of their image, by the column `rank`: bool.

    Raises
    ------
    DataError  if a rank is no whole number from 1, an image has none of rank 1, or a more probable answer
    """

    def refuse(bad: pd.Series, why: str) -> None:
        if bad.any():
            row = bad.idxmax()
            said = {"id": ids[row], "rank": rows["rank"][row], "path": path, "row": row}
            raise DataError(why.format(**said))

    there = "{path}, row {row}: "
    empty = ~_is_said(rows["label"])
    rank = pd.to_numeric(rows["rank"], errors="coerce").astype(float).mask(empty, 1.0)
    odd = ~(rank >= 1) | (rank % 1 != 0)
    refuse(
        odd, there + 'rank is "{rank}", and ranks are whole numbers from 1, the top; correct it.'
    )
    top = rank == 1
    none = ~ids.isin(ids[top])
    refuse(
        none,
        there + 'image "{id}" has no answer of rank 1, the top; add it, or leave the image out.',
    )
    if "prob" in rows:
        prob = pd.to_numeric(rows["prob"], errors="coerce")
        less = top & (prob < prob.groupby(ids).transform("max"))
        mend = "an answer of rank 1, and another with a larger prob; correct rank or prob."
        refuse(less, there + 'image "{id}" has ' + mend)
    return top


def _run(rows: pd.DataFrame, model: str, pretrained: str, path: Path):
    """Rows of the run that is asked for, and what it is called."""
    named = [name for name in _RUN if name in rows]
    asked = {"model": model, "pretrained": pretrained}
    if not named:
        return rows, model, pretrained
    said = rows[named].astype(str).apply(lambda column: column.str.strip())
    runs = said.drop_duplicates()
    listed = "; ".join(
        " ".join(filter(None, run)) for run in runs.itertuples(index=False, name=None)
    )
    wanted = {name: value for name, value in asked.items() if value and name in named}
    chosen = (
        (said[list(wanted)] == pd.Series(wanted)).all(axis=1)
        if wanted
        else said.notna().all(axis=1)
    )
    of = " ".join(wanted.values())
    if not chosen.any():
        raise ParameterError(f"{path} holds no answers of {of}; it holds those of {listed}.")
    found = said[chosen].drop_duplicates()
    if len(found) > 1:
        raise ParameterError(
            f"{path} holds answers of {listed}{f', several of them of {of}' if of else ''}; name one "
            f"with {' and '.join(named)}."
        )
    asked |= found.iloc[0].to_dict()
    return rows[chosen.to_numpy()], asked["model"], asked["pretrained"]
