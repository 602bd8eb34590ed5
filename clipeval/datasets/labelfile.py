"""Label files as users have them: read as text, checked, and refused with the file and the row."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.errors import DataError

# columns of predictions and tables, and what studies add to answers; a group may not be called so
RESERVED = frozenset(
    "image_id file row task method class_set templates rank label prob n count metric percent ci_low "
    "ci_high published difference planted quantity hit correct asked offered before after "
    "true_rank protocol names top counted probability".split()
)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

# "9-Mar", "03-Sep", "Oct-19", "3/9/2024", "2019-10-01 00:00:00": what spreadsheets write for "3-9"
# and "10-19"
_MONTH = (
    "(january|february|march|april|june|july|august|september|sept|october|november|december"
    "|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
    "|mär|mrz|mai|okt|dez|janv|févr|mars|avr|juin|juil|août|déc|ene|abr|ago|dic)"
)
_DATE = re.compile(
    rf"(\d{{1,4}}[-. /]+)?{_MONTH}\.?([-. /]+\d{{1,4}})?"
    r"|\d{1,2}[/.]\d{1,2}([/.]\d{2,4})?|\d{4}-\d{2}-\d{2}([ T][\d:.]+)?",
    re.IGNORECASE,
)


def quoted(value) -> str:
    """A value in quotation marks, on one line and not longer than a line."""
    return f'"{_short(str(value))}"'


def _short(text: str) -> str:
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 120 else f"{text[:117]}..."


def few(items: Iterable, n: int = 3) -> str:
    """`items` as a phrase: the first `n`, then how many more there are."""
    items = [_short(str(item)) for item in items]
    more = f" and {len(items) - n:,} more" if len(items) > n else ""
    return ", ".join(items[:n]) + more


def read_table(path: str | Path, *, header_only: bool = False) -> pd.DataFrame:
    """Read a label file as text, keeping for every row the line it stands in.

    Parameters
    ----------
    path : CSV or TSV (by its suffix) file; UTF-8, a byte-order mark is tolerated
    header_only : accept a file without rows

    Returns
    -------
    DataFrame of stripped str ("" where empty) without columns that have no name; the index, named
    `line`, is the line in the file, header = 1

    Raises
    ------
    DataError  if the file is not a UTF-8 table, has another separator, no rows, or rows of unequal
    length
    """
    path = Path(path)
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    rows, lines = [], []
    try:
        _refuse_other_kinds(path)
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            for row in reader:
                if any(row):
                    rows.append(row)
                    lines.append(reader.line_num)
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is not UTF-8 text; save it as UTF-8, or use the original file."
        ) from None
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table ({error}); {_AS_CSV}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path.") from None
    if not any(header):
        raise DataError(f"{path} is empty; name a file with a header and rows.")
    if len(header) == 1:
        refuse_separators(header[0], path, delimiter)
    if repeated := [name for name in dict.fromkeys(header) if name and header.count(name) > 1]:
        raise DataError(f"{path} has more than one column {quoted(repeated[0])}; keep one.")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            mend = "quote values that hold a comma" if delimiter == "," else "complete the row"
            if len(row) < len(header):
                mend = "complete the row, or use the original file"
            elif not any(row[len(header) :]):
                mend = "remove the separators at its end"
            raise DataError(
                f"{path}, row {line}: {len(row)} values for {len(header)} columns; {mend}."
            )
    if not rows and not header_only:
        raise DataError(f"{path} has a header and no rows; name a file with rows.")
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    index = pd.Index(lines, name="line", dtype="int64")
    return pd.DataFrame(
        {
            name: [value.strip() for value in column]
            for name, column in zip(header, columns, strict=True)
            if name
        },
        index=index,
        dtype="str",
    )


_AS_CSV = "save the sheet as CSV (UTF-8), and look whether ranges such as 3-9 have become dates"
# first bytes -> what a file is, and the fix
_KINDS = {
    b"PK\x03\x04": ("a spreadsheet (xlsx, ods) or another zip archive", _AS_CSV),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet of an old Excel", _AS_CSV),
    b"PAR1": ("a parquet file", "call it .parquet, or give the folder that holds it"),
    b"\x1f\x8b": ("compressed", "unpack it"),
    b"\xff\xfe": ("UTF-16 text", "save it as CSV (UTF-8)"),
    b"\xfe\xff": ("UTF-16 text", "save it as CSV (UTF-8)"),
    b"version https://git-lfs": (
        "a Git LFS pointer and not the file",
        "fetch it with git lfs pull",
    ),
    b"<!doctype html": (
        "a web page",
        "download the file itself, after logging in where its site asks",
    ),
    b"<html": ("a web page", "download the file itself, after logging in where its site asks"),
    b"{": ("JSON", "write it as a table with a header row"),
    b"[": ("JSON", "write it as a table with a header row"),
}


def _refuse_other_kinds(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the path of the file in it.")
    with open(path, "rb") as stream:
        head = stream.read(64).lstrip()
    for start, (kind, mend) in _KINDS.items():
        if head.startswith(start) or head.lower().startswith(start):
            raise DataError(f"{path} is {kind}, where a CSV or TSV file is needed; {mend}.")


_BY_COMMAS = "save it again, separated by commas (.csv) or tabs (.tsv)"
# separator -> what it is called, and the fix where another one is read
_SEPARATORS = {
    ";": (
        "semicolons",
        f"{_BY_COMMAS}, and look whether a spreadsheet has turned ranges such as 3-9 into dates",
    ),
    "\t": ("tabs", "call it .tsv"),
    ",": ("commas", "call it .csv"),
    "|": ("vertical bars", _BY_COMMAS),
}


def refuse_separators(header: str, path, delimiter: str = ",") -> None:
    """Refuse a label file whose header, which should have several columns, has another separator."""
    for separator, (name, mend) in _SEPARATORS.items():
        if separator != delimiter and separator in header:
            raise DataError(
                f"{path} is separated by {name}, where {_SEPARATORS[delimiter][0]} are read; {mend}."
            )


def need_columns(table: pd.DataFrame, columns: Sequence[str], path) -> None:
    """Refuse a label file that lacks any of `columns`."""
    if missing := [quoted(name) for name in columns if name not in table.columns]:
        plural = "columns" if len(missing) > 1 else "column"
        spelled = {name.casefold() for name in columns if name not in table.columns}
        near = [name for name in table.columns if name.casefold() in spelled]
        mend = (
            f"did you mean {near[0]}?" if near else "add what is missing, or use the original file."
        )
        raise DataError(
            f"{path} has no {plural} {few(missing, 9)} (it has {few(table.columns, 12)}); {mend}"
        )


def is_date(value: str) -> bool:
    """Whether `value` is written as spreadsheets write dates: "9-Mar", "3/9/2024", "2019-10-01"."""
    return _DATE.fullmatch(value.strip()) is not None and any(c.isdigit() for c in value)


def date_origin(value: str, categories: Iterable[str]) -> str | None:
    """The range of `categories` ("3-9") a spreadsheet has turned into the date `value`, if any.

    >>> date_origin("9-Mar", ["3-9", "10-19"]), date_origin("Oct-19", ["3-9", "10-19"])
    ('3-9', '10-19')
    """
    if not is_date(value):
        return None
    numbers = {int(digits) % 100 for digits in re.findall(r"\d+", value)}
    months = [m[:3].lower() for m in re.findall(r"[^\W\d]{3,}", value)]
    numbers |= {_MONTHS.index(month) + 1 for month in months if month in _MONTHS}
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
    refusal = f"{where}: {values.name} {quoted(value)} is not a {dataset} {what}"
    if origin := date_origin(str(value), categories):
        raise DataError(
            f'{refusal}; a spreadsheet has turned "{origin}" into a date. Use the original file.'
        )
    raise DataError(f"{refusal} ({few(categories, 9)}); use the original file.")


def refuse_repeats(ids: pd.Series, path) -> None:
    """Refuse two rows for one image; `ids` is indexed by line."""
    repeated = ids.duplicated()
    if repeated.any():
        line, value = ids.index[repeated][0], ids[repeated].iloc[0]
        first = ids.index[ids == value][0]
        raise DataError(
            f"{path}, row {line}: {quoted(value)} already stands in row {first}; keep one row an image."
        )
