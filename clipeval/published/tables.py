"""Published numbers (data/published), joined onto measured tables.

Every row of every file names its `source` (paper, table). In what is loaded here races carry
FairFace's own names, so that published and measured rows join.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from clipeval.errors import DataError, ParameterError
from clipeval.paths import DATA

#: name of a race in the papers' tables -> name in FairFace's labels, where they differ
RACE_NAMES: Mapping[str, str] = {"Latino": "Latino_Hispanic"}

_FOLDER = DATA / "published"


def published_names() -> list[str]:
    """Names that `load_published` knows: the CSV files of data/published, without their suffix."""
    return sorted(path.stem for path in _FOLDER.glob("*.csv"))


def load_published(name: str) -> pd.DataFrame:
    """One file of published numbers.

    Parameters
    ----------
    name : str, one of `published_names()`, e.g. "denigration_by_race"

    Returns
    -------
    DataFrame with the file's columns: keys (str), values (percent, or `n` images), `source`. Races
    carry FairFace's names. A fresh copy.

    Raises
    ------
    ParameterError  if there is no such file
    DataError  if a row has no source
    """
    return _read(name).copy()


@functools.cache
def _read(name: str) -> pd.DataFrame:
    path = _FOLDER / f"{name}.csv"
    if name not in published_names():
        known = ", ".join(published_names())
        raise ParameterError(f'no published numbers are called "{name}"; choose one of {known}.')
    table = pd.read_csv(path, dtype={"padding": str})
    if "source" not in table or table["source"].isna().any():
        raise DataError(f"{path} has a row without a source; every published number needs one.")
    if "race" in table:
        table["race"] = table["race"].replace(RACE_NAMES)
    return table


def replications(
    study: str, *, dataset: str | None = None, padding: str = "", class_set: str = ""
) -> pd.DataFrame:
    """What others measured with other models, for one study.

    Without a data set: the rows that the tables of the study show beside the paper's whatever was
    run. With one: the rows of just this data set, padding and class set, so that no number stands
    beside one of other images or classes. What a source does not state is "not stated" and never
    the same as a run's.

    Parameters
    ----------
    study : str, "fairface" or "denigration"
    dataset : str
        "fairface", or "cfd" (Chicago Face Database) or "utkface", which the package does not load.
    padding : str, FairFace's "0.25" or "1.25"; "" for other data sets
    class_set : str, as in `load_class_set`; "" for what is told no words (probes)

    Returns
    -------
    DataFrame
        quantity (a metric, or a class), model, percent (0-100), source, method ("zero-shot",
        "linear probe", "trained classifier", "generative, 0 shots" or "not stated"), weights,
        grouping ("race", "gender", "age", "race*gender", or "" for all images), group (FairFace's
        names), n and count (images; NaN where they are not known), dataset, split, padding,
        class_set, prompts, shown, where_read, note.
    """
    table = load_published("replications")
    texts = [c for c in table if c not in ("percent", "n", "count")]
    table[texts] = table[texts].fillna("")
    if dataset is None:
        chosen = table["shown"] == "always"
    else:
        asked = {"dataset": dataset, "padding": padding, "class_set": class_set}
        chosen = (table[list(asked)] == pd.Series(asked)).all(axis=1)
    chosen &= table["study"] == study
    return table[chosen].drop(columns="study").reset_index(drop=True)


def fairface_groups() -> pd.DataFrame:
    """Images (`n`) of FairFace's validation set by `race` x `gender` (14 rows) and by `age` (9).

    The columns that a row sums over say "All". Source: FairFace's label_val.csv.
    """
    return load_published("fairface_val_groups")


def with_published(
    table: pd.DataFrame,
    published: pd.DataFrame,
    *,
    on: Sequence[str] | Mapping[str, str],
    value: str,
) -> pd.DataFrame:
    """A measured table with the published number and the difference beside each row.

    Parameters
    ----------
    table : DataFrame with `percent` (0-100); its rows, their order and their index are kept
    published : DataFrame, as from `load_published`
    on : key columns, by name in both; or a dict {column of `table`: column of `published`}
    value : str, column of `published` with the number (percent)

    Returns
    -------
    DataFrame: `table` with `published` and `difference` (`percent` - published, percentage points)
    as its last columns; NaN where nothing was published

    Raises
    ------
    DataError  if a column is absent or `published` has two rows for one key
    """
    keys = dict(on) if isinstance(on, Mapping) else {name: name for name in on}
    _need(table, keys, "measured table")
    _need(published, [*keys.values(), value], "published numbers")
    numbers = {}
    for key, number in zip(_row_keys(published, keys.values()), published[value], strict=True):
        if key in numbers:
            twice = key if len(key) > 1 else key[0]
            raise DataError(
                f"the published numbers hold two rows for {twice!r}; select the rows meant first."
            )
        numbers[key] = number
    found = np.array([numbers.get(key, np.nan) for key in _row_keys(table, keys)], dtype=float)
    result = table.drop(columns=["published", "difference"], errors="ignore")
    return result.assign(published=found, difference=result["percent"] - found)


def _need(table: pd.DataFrame, columns, what: str) -> None:
    for name in columns:
        if name not in table:
            raise DataError(
                f'the {what} have no column "{name}"; there are {", ".join(map(str, table))}.'
            )


def _row_keys(table: pd.DataFrame, columns: Iterable[str]) -> list[tuple]:
    return list(zip(*(table[name].tolist() for name in columns), strict=True))
