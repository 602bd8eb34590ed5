"""The table every study ends in: its schema, and the same rows as CSV, LaTeX and HTML.

A study table is tidy: the grouping columns, then `n`, then `metric`, `percent`, `ci_low`,
`ci_high`, `published`, `difference`. Columns before `n` are the groups; further columns after `n`
(a count, a p value) travel with the CSV and are shown elsewhere only when asked for; `planted`, the
known truth of test cards in percent, is always shown. Of the metrics MaxSkew and NDKL, which are no
percent, the same columns hold nats.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipeval.errors import DataError
from clipeval.files import Folder
from clipeval.output.csv_files import to_csv
from clipeval.output.latex import booktabs
from clipeval.output.markup import Grid, Shown, render
from clipeval.output.numbers import (
    MISSING,
    count,
    decimals_of,
    interval,
    is_nats,
    number,
    plain,
    unit_of,
)
from clipeval.stats import LEAST_EXPECTED, doubtful

TABLE_COLUMNS = ("n", "metric", "percent", "ci_low", "ci_high", "published", "difference")
SHOWN = 120  # rows that are printed; the CSV holds all
DOUBT = "†"  # beside intervals that a rule on the expected count puts in doubt
_PERCENTS = TABLE_COLUMNS[2:]
#: of a percent in a file: enough to check it by, far above what another machine's sums change
_DECIMALS = 8
_SIGNED = re.compile(r"\b(change|difference|gap)\b")  # metrics that may be negative
_GAP = re.compile(r"\bgap\b")  # between two groups, whose images are counted together
_TOLERANCE = 1e-6


def group_columns(table: pd.DataFrame) -> list[str]:
    """Names of the grouping columns: those before `n`."""
    return list(table.columns[: table.columns.get_loc("n")])


def check_table(table: pd.DataFrame) -> pd.DataFrame:
    """The same table if it keeps the schema.

    Every column of `TABLE_COLUMNS` exists; a group and metric have one row; n is a whole number or
    missing (a published value alone); percents lie in 0-100 (-100 to 100 where the metric is a
    change, difference or gap; without a limit where it is in nats); ci_low <= percent <= ci_high;
    difference = percent - published.

    Raises
    ------
    DataError  naming the row and the rule
    """
    missing = [name for name in TABLE_COLUMNS if name not in table.columns]
    if missing:
        raise DataError(f"a study table lacks the columns {', '.join(missing)}; add them.")
    keys = [*group_columns(table), "metric"]
    value = {name: _numbers(table, name) for name in ("n", *_PERCENTS)}
    percent, low, high = value["percent"], value["ci_low"], value["ci_high"]
    nats = np.array([is_nats(m) for m in table["metric"]], bool)
    most = np.where(nats, np.inf, 100.0)
    least = np.where([bool(_SIGNED.search(str(m))) for m in table["metric"]], -most, 0.0)
    rules = {
        f"has a {name} that is not a percentage": (value[name] < least - _TOLERANCE)
        | (value[name] > most + _TOLERANCE)
        for name in _PERCENTS[:4]
    }
    rules |= {
        "has a second row": table.duplicated(keys).to_numpy(),
        "has an n that is not a count of images": (value["n"] < 0) | (value["n"] % 1 > 0),
        "has an interval but no percent": np.isnan(percent) & ~(np.isnan(low) & np.isnan(high)),
        "has only one end of an interval": np.isnan(low) != np.isnan(high),
        "has a percent outside its interval": (percent < low - _TOLERANCE)
        | (percent > high + _TOLERANCE),
        "has a difference that is not percent - published": ~np.isclose(
            value["difference"], percent - value["published"], atol=1e-4, equal_nan=True
        ),
    }
    for rule, broken in rules.items():
        if broken.any():
            row = table.iloc[int(np.argmax(broken))]
            where = ", ".join(f"{key} {row[key]}" for key in keys)
            raise DataError(f"table row ({where}) {rule}; fix the study that made it.")
    return table


def _numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    values = table[name]
    try:
        if not pd.api.types.is_numeric_dtype(values):
            values = pd.to_numeric(values)
        return values.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"table column {name} holds something that is not a number: {error}"
        ) from None


def doubts(table: pd.DataFrame) -> np.ndarray:
    """Rows whose interval may be too narrow, as so few images had the outcome, or had it not (bool).

    Among changes and differences those whose interval is of one rate: not a gap between two groups, and not a change
    in either direction, which has a p value.
    """
    if "count" not in table:
        return np.zeros(len(table), bool)
    of_two = np.array([bool(_GAP.search(str(m))) for m in table["metric"]], bool)
    if "p_adjusted" in table:
        signed = np.array([bool(_SIGNED.search(str(m))) for m in table["metric"]], bool)
        of_two |= signed & ~np.isnan(_numbers(table, "p_adjusted"))
    with_ends = ~np.isnan(_numbers(table, "ci_low"))
    return ~of_two & with_ends & doubtful(_numbers(table, "count"), _numbers(table, "n"))


def notes_of(table: pd.DataFrame, id: str) -> str:
    """Sentences for the caption of a table: which rows are printed, and which intervals to doubt."""
    note = ""
    if len(table) > SHOWN:
        note += f" The first {SHOWN} of {len(table):,} rows; all of them are in {id}.csv."
    if doubts(table[:SHOWN]).any():
        few = f"Fewer than {LEAST_EXPECTED} images with or without the outcome"
        note += f" {DOUBT} {few}: the interval may be too narrow."
    return note


def write_table(
    table: pd.DataFrame,
    folder: str | Path,
    id: str,
    caption: str,
    *,
    label: str = "",
    extra: Sequence[str] = (),
) -> dict[str, Path]:
    """Write a study table as ID.csv and ID.tex; the same table gives the same bytes.

    Parameters
    ----------
    table : study table, percents 0-100
    folder : made if it does not exist
    id : file name without suffix
    caption : plain text, as from `provenance.caption(..., kind="table")`
    label : of the LaTeX table, such as tab:denigration-by_race; tab:ID where none is given
    extra : further columns after n to show in the LaTeX table

    Returns
    -------
    dict of "csv" and "tex" to path. The CSV holds all columns, percents to 8 decimals, other
    numbers to 11 digits and p values to 6 (`csv_files.read_csv` reads it); the LaTeX floats hold
    the first `SHOWN` rows, fit a two-column page and need the package booktabs alone.

    Raises
    ------
    DataError  if the table breaks the schema
    ParameterError  if there is such a file that clipeval did not write
    """
    check_table(table)
    text = to_csv(_rounded(table))
    columns = _shown(table[:SHOWN], extra)
    caption += notes_of(table, id)
    short = {"published": "publ.", "difference": "diff."}  # so that more tables fit one column
    header = [short.get(column.head, column.head) for column in columns]
    numeric = {i for i, column in enumerate(columns) if column.numbers is not None}
    rows = list(zip(*(column.texts for column in columns), strict=True))
    tex = booktabs(header, rows, numeric=numeric, caption=caption, label=label or f"tab:{id}")
    files = {"csv": text, "tex": tex}
    return {end: Folder(folder).write(f"{id}.{end}", content) for end, content in files.items()}


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    out = table.copy()
    for name in out.columns:
        if name in ("n", "count"):
            out[name] = pd.array(_numbers(table, name), dtype="Float64").round().astype("Int64")
        elif name in (*_PERCENTS, "planted"):
            out[name] = _numbers(table, name).round(_DECIMALS) + 0.0  # no -0.0
        elif pd.api.types.is_float_dtype(out[name]):
            digits = 6 if name == "p" or name.startswith("p_") else 11
            out[name] = [float(f"{x:.{digits}g}") + 0.0 for x in _numbers(table, name)]
    return out


class _Column(NamedTuple):
    """A column as it is printed."""

    head: str
    texts: list[str]
    numbers: np.ndarray | None = None
    """Its values where they are numbers."""
    group: bool = False
    """Whether it says what a row is of."""


def _columns(table: pd.DataFrame, extra: Sequence[str]) -> Iterator[_Column]:
    """The columns in their order; a metric that is the same throughout becomes the head of the percents."""
    metrics = table["metric"].astype(str).unique()
    for name in group_columns(table) + (["metric"] if len(metrics) != 1 else []):
        numeric = name != "metric" and pd.api.types.is_numeric_dtype(table[name])
        values = _numbers(table, name) if numeric else None
        yield _Column(_head(name), [plain(v) for v in table[name]], values, group=True)
    value = {name: _numbers(table, name) for name in ("n", *_PERCENTS)}
    yield _Column("n", [count(v) for v in value["n"]], value["n"])
    digits = [decimals_of(metric) for metric in table["metric"]]
    bounds = zip(*(value[name] for name in ("percent", "ci_low", "ci_high")), strict=True)
    head = _percents(metrics)
    texts = [interval(*row, decimals=d) for row, d in zip(bounds, digits, strict=True)]
    texts = [t + DOUBT if d else t for t, d in zip(texts, doubts(table), strict=True)]
    yield _Column(head, texts, value["percent"])
    texts = list(map(number, value["published"], digits))
    yield _Column("published", texts, value["published"])
    texts = [number(v, d, sign=True) for v, d in zip(value["difference"], digits, strict=True)]
    yield _Column("difference", texts, value["difference"])
    if "planted" in table and "planted" not in extra:
        extra = ["planted", *extra]
    for name in extra:
        numeric = name == "planted" or pd.api.types.is_numeric_dtype(table[name])
        values = _numbers(table, name) if numeric else None
        texts = map(number, values, digits) if name == "planted" else map(plain, table[name])
        yield _Column(_head(name), list(texts), values)


_SHORT = {"percent": "%", "percentage points": "points"}


def _percents(metrics: Sequence[str]) -> str:
    """Head of the percents: the metric and its unit where there is one alone, else the units."""
    units = list(dict.fromkeys(map(unit_of, metrics)))
    if "nats" in units:
        return str(metrics[0]) if len(metrics) == 1 else "value"
    if len(metrics) == 1:
        return f"{metrics[0]}, {_SHORT[units[0]]}"
    return " or ".join(unit.removeprefix("percentage ") for unit in sorted(units)) or "percent"


def _shown(table: pd.DataFrame, extra: Sequence[str]) -> list[_Column]:
    """The columns that are printed: those without any value are left out."""
    empty = {MISSING} if len(table) else set()
    return [c for c in _columns(table, extra) if c.group or set(c.texts) != empty]


def _head(name: object) -> str:
    return str(name).replace("_", " ")


def grid(table: pd.DataFrame, extra: Sequence[str] = ()) -> Grid:
    """A study table as a page shows it, its numbers beside their texts; columns without any value are left out.

    Parameters
    ----------
    table : study table, percents 0-100
    extra : further columns after n to show

    Raises
    ------
    DataError  if the table breaks the schema
    """
    check_table(table)
    shown = _shown(table, extra)
    numbers = {
        i: ["" if np.isnan(v) else f"{v:.6g}" for v in column.numbers]
        for i, column in enumerate(shown)
        if column.numbers is not None
    }
    rows = list(zip(*(column.texts for column in shown), strict=True))
    groups = sum(column.group for column in shown)
    return Grid([column.head for column in shown], rows, numbers, groups)


def show_table(
    table: pd.DataFrame,
    id: str,
    caption: str,
    legend: str = "",
    *,
    extra: Sequence[str] = (),
    code: str = "",
) -> Shown:
    """What a cell shows of a study table: its first `SHOWN` rows under a caption, everything escaped.

    Numbers are right-aligned by an inline style, so that it reads well in a notebook without a
    style sheet. For a script that sorts: the table carries `data-sortable`, each head `data-type`
    ("number" or "text") and each number its unrounded value in `data-value`.

    Parameters
    ----------
    table, extra : as in `grid`
    id : the table's id, such as "by_race"; in HTML it is "table-by_race"
    caption : plain text
    legend : the caption that a page shows, which says once what holds for all its tables; by default
        `caption`
    code : the lines of Python that made it, folded away below it; "" for none

    Raises
    ------
    DataError  if the table breaks the schema
    """
    rows = grid(table[:SHOWN], extra).about()
    html = render("table", table=rows, caption=caption, id=f"table-{id}", code=code)
    about = {"kind": "table", "id": id, "caption": legend or caption, "table": rows}
    return Shown(html, caption, about | ({"code": code} if code else {}))


def show_frame(frame: pd.DataFrame, *, decimals: int | None = None) -> Shown | None:
    """What a cell shows of any DataFrame: its first `SHOWN` rows, everything escaped.

    Parameters
    ----------
    frame : its index is shown where it has a name
    decimals : digits after the point of numbers that are not whole; by default three digits in all

    Returns
    -------
    Shown, or None where the frame has no rows
    """
    if any(frame.index.names):
        frame = frame.reset_index()
    if frame.empty:
        return None
    numbers, cells, kind = {}, [], pd.api.types
    for i in range(frame.shape[1]):
        column = frame.iloc[:SHOWN, i]
        if not kind.is_numeric_dtype(column) or kind.is_bool_dtype(column):
            cells.append([plain(value) for value in column])
            continue
        values = column.to_numpy(dtype=float, na_value=np.nan)
        digits = 0 if kind.is_integer_dtype(column) else decimals
        cells.append([plain(v) if digits is None else number(v, digits) for v in values])
        numbers[i] = ["" if np.isnan(v) else f"{v:.6g}" for v in values]
    head = list(map(_head, frame.columns))
    about = Grid(head, list(zip(*cells, strict=True)), numbers).about()
    note = f"The first {SHOWN} of {len(frame):,} rows." if len(frame) > SHOWN else ""
    html = render("table", table=about, caption=note, id="")
    return Shown(html, repr(frame), {"kind": "frame", "caption": note, "table": about})
