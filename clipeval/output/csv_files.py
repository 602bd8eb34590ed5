"""Tables as CSV whose texts stay texts in a spreadsheet.

A spreadsheet runs a cell that begins with =, +, -, @, a tab or a line break as a formula, whoever wrote it. Such a text
gets an apostrophe in front, which `read_csv` takes away again; numbers are written as they are.
"""

import re
from pathlib import Path

import pandas as pd

_RUN = re.compile(r"'*[=+\-@\t\r\n]")
_GUARDED = re.compile(r"''*[=+\-@\t\r\n]")


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV: one head, lines that end in a line feed.

    Parameters
    ----------
    table : its index is left out; texts and heads are guarded, numbers are not texts
    """
    safe = table.copy(deep=False)
    safe.attrs = {}
    for place in range(table.shape[1]):
        if not pd.api.types.is_numeric_dtype(table.iloc[:, place]):
            safe.isetitem(place, table.iloc[:, place].astype(object).map(_guarded))
    safe.columns = [_guarded(name) for name in table.columns]
    # with this line end any carriage return in a text is quoted too
    parts = safe.to_csv(index=False, lineterminator="\r\n").split('"')
    parts[::2] = [part.replace("\r\n", "\n") for part in parts[::2]]  # outside quotes
    return '"'.join(parts)


def read_csv(path: str | Path) -> pd.DataFrame:
    """The table that `to_csv` wrote, its texts as they were."""
    table = pd.read_csv(path)
    for place in range(table.shape[1]):
        if not pd.api.types.is_numeric_dtype(table.iloc[:, place]):
            table.isetitem(place, table.iloc[:, place].map(_plain))
    table.columns = [_plain(name) for name in table.columns]
    return table


def _guarded(value):
    return f"'{value}" if isinstance(value, str) and _RUN.match(value) else value


def _plain(value):
    return value[1:] if isinstance(value, str) and _GUARDED.match(value) else value
