"""Group columns of a user's own table: which they are, and one spelling for each value."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from clipeval.datasets.labelfile import RESERVED, is_date, need_columns, quoted
from clipeval.errors import DataError, ParameterError
from clipeval.files import natural

#: a column of more different values is not taken for a group unless it is named
MAX_VALUES = 20
# how spreadsheets, pandas, R and databases write that a value is missing; None as Python writes it
_MISSING = set("na n/a n.a. #n/a #na nan -nan <na> null #null! . - -- ?".split()) | {""}
_NUMBER = r"[+-]?\d+(\.\d+)?"


def missing(values: pd.Series) -> pd.Series:
    """Whether each value stands for a missing one: empty, NA, N/A, NaN, NULL, None ...

    Returns
    -------
    Series of bool with the index of `values`
    """
    text = values.astype(str).str.strip()
    return values.isna() | text.str.lower().isin(_MISSING) | (text == "None")


def group_columns(
    table: pd.DataFrame,
    groups: str | Sequence[str] = "",
    *,
    path,
    skip: Iterable[str] = (),
    of: str = "row",
) -> tuple[dict[str, pd.Categorical], dict[str, str]]:
    """The group columns of a table, and why the others are not.

    Parameters
    ----------
    table : label file, indexed by line
    groups : names of columns, "race,gender" or a list; "race*gender" stands for both, and
        "age:18:40:65" cuts a column of numbers into under 18, 18-39, 40-64, 65 and over. "" takes
        every column with 2 to 20 different values, none missing and not all numbers
    skip : columns that are not groups unless they are named
    of : what the index of `table` counts, for errors

    Returns
    -------
    (chosen, refused) : column -> ordered categorical as in `as_group`; column -> sentence that says
        why it is not one, without the folder of the file

    Raises
    ------
    DataError  if a column is missing, a value is missing in a column that is named, or values
        differ in spelling only
    """
    if groups:
        asked = _asked(groups, list(table.columns))
        _refuse_other_separators(asked, table.columns)
        need_columns(table, asked, path)
        return {n: as_group(table[n], path, edges=e, of=of) for n, e in asked.items()}, {}
    name = getattr(path, "name", path)
    chosen, refused = {}, {}
    for column in table.columns:
        if column in {"image_id", "file", "row", *skip}:
            continue
        if column in RESERVED:
            refused[column] = (
                f"{name}: {column} is the name of a column of predictions or tables; rename it"
            )
        elif why := _why_not(table[column], name):
            refused[column] = why
        else:
            chosen[column] = as_group(table[column], path, of=of)
    return chosen, refused


def _refuse_other_separators(asked: Iterable[str], columns: pd.Index) -> None:
    """Refuse what names several columns, and joins them otherwise than the parameter does."""
    for name in asked:
        parts = re.split(r"\s*[;|+&/:]\s*|\s+x\s+|\s+", name)
        if name not in columns and len(parts) > 1 and set(parts) <= set(columns):
            raise ParameterError(
                f"groups: {quoted(name)} joins the columns {' and '.join(parts)} otherwise than by a comma or *; "
                f"write {','.join(parts)} to report by each, or {'*'.join(parts)} to cross them."
            )


def keep_labels(table: pd.DataFrame, *, text: bool) -> pd.DataFrame:
    """An images table whose named groups are joined by its other labels, which tasks are held against.

    Parameters
    ----------
    table : as a data set returns it for `groups` that were named
    text : also take columns of text that would be groups if none were named

    Returns
    -------
    the same table; attrs["groups"] holds the named groups first
    """
    for column in table.columns.drop([*table.attrs["groups"]]):
        if not isinstance(table[column].dtype, pd.CategoricalDtype):
            odd = column in RESERVED or "caption" in str(column).lower()
            if not text or odd or _why_not(table[column], ""):
                continue
            try:
                table[column] = as_group(table[column], table.attrs["name"])
            except DataError:  # nobody asked for it
                continue
        table.attrs["groups"].append(column)
    return table


def _asked(groups: str | Sequence[str], columns: list[str]) -> dict[str, list[float]]:
    """Column -> where its numbers are cut."""
    items = [
        item.strip()
        for item in (groups.split(",") if isinstance(groups, str) else map(str, groups))
    ]
    asked: dict[str, list[float]] = {}
    for item in items:
        for part in [item] if item in columns else item.split("*"):
            name, *edges = [part.strip()] if part.strip() in columns else part.split(":")
            try:
                cuts = [float(edge) for edge in edges]
            except ValueError:
                cuts = [np.nan]
            if cuts != sorted(set(cuts)) or not np.isfinite(cuts).all():
                raise ParameterError(
                    f"groups: {part} does not cut {name} into ranges; write rising numbers, for "
                    "example age:18:40:65."
                )
            asked[name.strip()] = cuts
    return asked


def _why_not(values: pd.Series, name: str) -> str:
    """Why a column is not a group unless it is named; "" where it is one."""
    if not values.astype(object).map(pd.api.types.is_scalar).all():
        return f"{name}: {values.name} holds lists and not single values"
    absent = missing(values)
    known = values[~absent].astype(str).str.strip()
    if known.empty:
        return f"{name}: {values.name} is empty in every row; fill it in"
    kinds = known.nunique()
    if pd.api.types.is_float_dtype(values) or known.str.fullmatch(_NUMBER).all():
        mend = f"write names for codes, or take them as they are with groups={values.name}"
        if kinds > MAX_VALUES:
            mend = f"cut it into ranges of your own, such as groups={values.name}:18:40:65"
        return (
            f"{name}, row {known.index[0]}: {values.name} is {quoted(known.iloc[0])} and holds numbers "
            f"only; {mend}"
        )
    if kinds > min(MAX_VALUES, max(2, len(values) // 2)):
        return (
            f"{name}: {values.name} has {kinds:,} different values in {len(values):,} rows, too many "
            f"for a group that is not named; name it with groups={values.name}{_shown(values, kinds)}"
        )
    if absent.any():
        return _empty(values, absent, name)
    return "" if kinds > 1 else f"{name}: {values.name} is {quoted(known.iloc[0])} in every row"


def _shown(values: pd.Series, kinds: int) -> str:
    """What to do where a column that is not a group says who is shown; "" where it hardly says so."""
    if 3 * kinds > 2 * len(values):
        return ""
    return f", or with person={values.name} if it says who is shown, to draw one image of each"


def _empty(values: pd.Series, absent: pd.Series, name, of: str = "row") -> str:
    line, value = values.index[absent][0], values[absent].iloc[0]
    text = "" if pd.isna(value) else str(value).strip()
    mark = f"{quoted(text)}, which stands for a missing value" if text else "empty"
    such = f"{absent.sum():,} such {of}s"
    return f"{name}, {of} {line}: {values.name} is {mark} ({such}); fill it in, or leave these {of}s out"


def as_group(
    values: pd.Series, path, *, edges: Sequence[float] = (), of: str = "row"
) -> pd.Categorical:
    """A column as an ordered categorical: no value missing, one spelling each, no dates.

    Parameters
    ----------
    values : Series indexed by line in `path`; a categorical keeps the order it has, other values
        are put in natural order ("3-9" before "10-19")
    edges : rising numbers at which a column of numbers is cut into ranges
    of : what the index counts, for errors

    Raises
    ------
    DataError  with the row
    """
    if (absent := missing(values)).any():
        raise DataError(f"{_empty(values, absent, path, of)}.")
    if edges:
        return _ranges(values, edges, path, of)
    ordered = isinstance(values.dtype, pd.CategoricalDtype)
    text = values.astype(str).str.strip()
    if pd.api.types.is_float_dtype(values) and (values == values.round()).all():
        text = values.astype(int).astype(str)  # what pandas makes of whole numbers beside a gap
    _refuse_dates(text, path, of)
    refuse_spellings(text, path, of)
    kinds = [str(kind).strip() for kind in values.cat.categories] if ordered else None
    return pd.Categorical(
        text, categories=kinds or sorted(text.unique(), key=natural), ordered=True
    )


def refuse_spellings(text: pd.Series, path, of: str = "row") -> None:
    """Refuse values that differ in spelling only ("Male", "male"), naming both; indexed by line."""
    seen: dict[str, tuple] = {}
    for line, value in text.drop_duplicates().items():
        first, other = seen.setdefault(spelling(value), (line, value))
        if other != value:
            raise DataError(
                f"{path}, {of} {line}: {text.name} {quoted(value)} and {quoted(other)} ({of} {first}) "
                "differ in spelling only; write them in one way."
            )


def spelling(value: str) -> str:
    """Equal for values that differ in case, accents' form, spaces, dashes or decimals alone."""
    text = unicodedata.normalize("NFKC", value).casefold()
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")  # marks without a width
    text = re.sub(r"(?<=\w)[\s_\u2010-\u2015-]+(?=\w)", " ", text).strip()
    return f"{float(text):.12g}" if re.fullmatch(_NUMBER, text) else text


def _refuse_dates(text: pd.Series, path, of: str) -> None:
    """Refuse a column in which a spreadsheet has turned ranges ("3-9") into dates ("9-Mar")."""
    kinds = text.drop_duplicates()
    dates = kinds.map(is_date) & ~kinds.str.fullmatch(_NUMBER)
    # "more than 70" beside "9-Mar"; where all are dates, dates may be meant
    others = kinds[~dates].str.contains(r"\d")
    if dates.any() and others.any():
        line, value = kinds.index[dates][0], kinds[dates].iloc[0]
        raise DataError(
            f"{path}, {of} {line}: {text.name} {quoted(value)} stands among ranges of numbers; "
            "a spreadsheet has turned a range into a date. Use the original file."
        )


def _ranges(values: pd.Series, edges: Sequence[float], path, of: str) -> pd.Categorical:
    numbers = pd.to_numeric(values.astype(str).str.strip(), errors="coerce")
    if (odd := ~np.isfinite(numbers)).any():
        raise DataError(
            f"{path}, {of} {values.index[odd][0]}: {values.name} {quoted(values[odd].iloc[0])} is not "
            "a number, so it is in none of the ranges; correct it, or leave the row out."
        )
    whole = (numbers == numbers.round()).all() and all(edge == round(edge) for edge in edges)
    names = [f"under {edges[0]:g}"]
    for low, high in zip(edges, edges[1:], strict=False):
        one = whole and high - 1 == low
        names.append(
            f"{low:g}"
            if one
            else f"{low:g}-{high - 1:g}"
            if whole
            else f"{low:g} to under {high:g}"
        )
    names.append(f"{edges[-1]:g} and over")
    at = np.searchsorted(np.asarray(edges), numbers, side="right")
    used = [names[i] for i in sorted(set(at))]
    return pd.Categorical([names[i] for i in at], categories=used, ordered=True)
