"""Label files as users have them: read as text, checked, and refused with the file and the row."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.errors import DataError

__all__ = [
    "RESERVED",
    "as_group",
    "categorise",
    "choose_groups",
    "date_origin",
    "few",
    "natural",
    "need_columns",
    "read_table",
    "refuse_dates",
    "refuse_repeats",
]

# columns of predictions and tables, which a group may not be called
RESERVED = frozenset(
    "image_id file row task method class_set templates rank label prob n count metric percent "
    "ci_low "
    "ci_high published difference".split()
)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

# "9-Mar", "03-Sep", "Oct-19", "3/9/2024", "2019-10-01 00:00:00": what spreadsheets write for "3-9"
# and "10-19"
_DATE = re.compile(
    r"(\d{1,4}[-. /]+)?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?([-. /]+\d{1,4})?"
    r"|\d{1,2}[/.]\d{1,2}([/.]\d{2,4})?|\d{4}-\d{2}-\d{2}([ T][\d:.]+)?",
    re.IGNORECASE,
)


def few(items: Iterable, n: int = 3) -> str:
    """`items` as a phrase: the first `n`, then how many more there are."""
    items = [str(item) for item in items]
    more = f" and {len(items) - n:,} more" if len(items) > n else ""
    return ", ".join(items[:n]) + more


def read_table(path: str | Path, *, delimiter: str | None = None) -> pd.DataFrame:
    """Read a label file as text, keeping for every row the line it stands in.

    Parameters
    ----------
    path : CSV, TSV (by its suffix) or parquet file; UTF-8, a byte-order mark is tolerated
    delimiter : the separator, where the suffix does not tell it

    Returns
    -------
    DataFrame of stripped str ("" where empty); the index, named `line`, is the line in the file,
    header = 1 (for parquet: the row, first = 1). Parquet columns keep their own types.

    Raises
    ------
    DataError  if the file is no UTF-8 table, is separated by semicolons, or has rows of unequal
    length
    """
    path = Path(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path)
    delimiter = delimiter or ("\t" if path.suffix.lower() in (".tsv", ".tab") else ",")
    rows, lines = [], []
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            for row in reader:
                if any(row):
                    rows.append(row)
                    lines.append(reader.line_num)
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is not UTF-8 text; use the original file, or save it as UTF-8."
        ) from None
    except csv.Error as error:
        raise DataError(
            f"{path} cannot be read as a table ({error}); use the original file."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path.") from None
    if not any(header):
        raise DataError(f"{path} is empty; use the original file.")
    if delimiter == "," and len(header) == 1 and ";" in header[0]:
        raise DataError(
            f"{path} is separated by semicolons, as some spreadsheets save a CSV, which may also "
            "have changed its values; use the original CSV."
        )
    if repeated := [name for name in dict.fromkeys(header) if header.count(name) > 1]:
        raise DataError(f'{path} has more than one column "{repeated[0]}"; keep one.')
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise DataError(
                f"{path}, row {line}: {len(row)} values for {len(header)} columns; quote values "
                "that hold a comma."
            )
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    index = pd.Index(lines, name="line", dtype="int64")
    return pd.DataFrame(
        {
            name: [value.strip() for value in column]
            for name, column in zip(header, columns, strict=True)
        },
        index=index,
        dtype="str",
    )


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as parquet ({str(error).splitlines()[0]})."
        ) from None
    table.index = pd.RangeIndex(1, len(table) + 1, name="line")
    return table


def need_columns(table: pd.DataFrame, columns: Sequence[str], path) -> None:
    """Refuse a label file that lacks any of `columns`."""
    if missing := [f'"{name}"' for name in columns if name not in table.columns]:
        plural = "columns" if len(missing) > 1 else "column"
        raise DataError(
            f"{path} has no {plural} {few(missing, 9)} (it has {few(table.columns, 12)}); use the "
            "original file."
        )


def date_origin(value: str, categories: Iterable[str]) -> str | None:
    """The range of `categories` ("3-9") a spreadsheet has turned into the date `value`, if any.

    >>> date_origin("9-Mar", ["3-9", "10-19"]), date_origin("Oct-19", ["3-9", "10-19"])
    ('3-9', '10-19')
    """
    if not _DATE.fullmatch(value.strip()):
        return None
    numbers = {int(digits) % 100 for digits in re.findall(r"\d+", value)}
    numbers |= {_MONTHS.index(m[:3].lower()) + 1 for m in re.findall(r"[a-zA-Z]{3,}", value)}
    for category in categories:
        ends = re.fullmatch(r"(\d+)-(\d+)", category)
        if ends and {int(ends[1]), int(ends[2])} <= numbers:
            return category
    return None


def categorise(
    values: pd.Series, categories: Sequence[str], *, path, dataset: str, what: str = "class"
) -> pd.Categorical:
    """`values` as an ordered categorical; any other value is refused with its file and row.

    Parameters
    ----------
    values : Series of str, indexed by line in `path` and named after its column
    what : what a category is called in the error ("age bin")
    """
    known = values.isin(list(categories)).to_numpy()
    if known.all():
        return pd.Categorical(values, categories=list(categories), ordered=True)
    at = int(np.flatnonzero(~known)[0])
    value, where = values.iloc[at], f"{path}, row {values.index[at]}"
    if value == "":
        raise DataError(
            f"{where}: {values.name} is empty; use the original file, or leave the row out."
        )
    refusal = f'{where}: {values.name} "{value}" is not a {dataset} {what}'
    if origin := date_origin(str(value), categories):
        raise DataError(
            f'{refusal}; a spreadsheet has turned "{origin}" into a date. Use the original CSV.'
        )
    raise DataError(f"{refusal} ({few(categories, 9)}); use the original CSV.")


def refuse_dates(values: pd.Series, path) -> None:
    """Refuse a column in which a spreadsheet has turned ranges ("3-9") into dates ("9-Mar")."""
    kinds = values.drop_duplicates()
    if not kinds.str.fullmatch(r"\d+ ?[-–] ?\d+").any():
        return
    for line, value in kinds.items():
        if re.search("[a-zA-Z]{3}", value) and _DATE.fullmatch(value):
            raise DataError(
                f'{path}, row {line}: {values.name} "{value}" stands among ranges of numbers; a '
                "spreadsheet has turned "
                "a range into a date. Use the original file."
            )


def refuse_repeats(ids: pd.Series, path) -> None:
    """Refuse two rows for one image; `ids` is indexed by line."""
    repeated = ids.duplicated()
    if repeated.any():
        line, value = ids.index[repeated][0], ids[repeated].iloc[0]
        first = ids.index[ids == value][0]
        raise DataError(
            f'{path}, row {line}: "{value}" already stands in row {first}; keep one row an image.'
        )


def natural(text: str) -> list:
    """Sort key that puts 2 before 10, and "3-9" before "10-19"."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", text) if p]


def choose_groups(table: pd.DataFrame, groups: str | Sequence[str], *, path, skip=()) -> list[str]:
    """The group columns of a user's own table: those named, or all that look like groups.

    Parameters
    ----------
    groups : "race,gender" or a list; "" for all with 2 to 20 values, none missing, not all numbers
    skip : columns that are never groups
    """
    if groups:
        named = groups.split(",") if isinstance(groups, str) else groups
        chosen = list(dict.fromkeys(str(name).strip() for name in named))
        need_columns(table, chosen, path)
        return chosen
    columns = [c for c in table.columns if c not in skip and c not in RESERVED]
    return [c for c in columns if _is_group(table[c], len(table))]


def _is_group(values: pd.Series, rows: int) -> bool:
    if pd.api.types.is_float_dtype(values) or not values.map(pd.api.types.is_scalar).all():
        return False
    text = values.astype(str)
    missing = values.isna().any() or (text == "").any()
    # widths, counts and years are measurements; a number that is a group can be named
    measured = text.str.fullmatch(r"-?\d+(\.\d+)?").all()
    return not missing and not measured and 2 <= values.nunique() <= min(20, max(2, rows // 2))


def as_group(values: pd.Series, path) -> pd.Categorical:
    """A column of a user's own table as an ordered categorical, categories in natural order.

    Parameters
    ----------
    values : Series indexed by line in `path`; a categorical keeps the order it has
    """
    missing = values.isna() | (values.astype(str).str.strip() == "")
    if missing.any():
        raise DataError(
            f"{path}, row {values.index[missing][0]}: {values.name} is empty ({missing.sum():,} "
            "such rows); fill it in, or leave these rows out."
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        order = [str(category) for category in values.cat.categories]
    else:
        order = sorted(values.astype(str).unique(), key=natural)
        refuse_dates(values.astype(str), path)
    return pd.Categorical(values.astype(str), categories=order, ordered=True)
