"""A study table as figures read it: the values of each cell, their span, and what to say of them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from clipeval.errors import ParameterError
from clipeval.output.numbers import decimals_of, number
from clipeval.output.sentences import tied
from clipeval.output.style import dot_style

#: how a published value is drawn
PUBLISHED = {"marker": "D", "mfc": "none", "mec": "0.1", "mew": 0.8, "ms": 5.5, "ls": "none"}


def unique(table: pd.DataFrame, column: str | None) -> list:
    """Values of a column in the order of the table; one None where there is no column."""
    return [None] if column is None else list(pd.unique(table[column]))


_VALUES = ("percent", "ci_low", "ci_high", "published", "n")


def numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    """A column as floats, NaN where it is absent."""
    if name not in table:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[name]).to_numpy(dtype=float, na_value=np.nan)


def cells_of(table: pd.DataFrame, *columns: str | None) -> dict[tuple, dict[str, float]]:
    """Values of each combination of the columns' values; a column of None stands for all."""
    keys = [[None] * len(table) if c is None else list(table[c]) for c in columns]
    values = zip(*(numbers(table, name) for name in _VALUES), strict=True)
    cells = {}
    for key, row in zip(zip(*keys, strict=True), values, strict=True):
        if key in cells:
            where = ", ".join(str(k) for k in key if k is not None)
            raise ParameterError(
                f"the figure's table has several rows for {where}; keep one metric or name the "
                "column that tells them apart."
            )
        cells[key] = dict(zip(_VALUES, row, strict=True))
    return cells


def errors(cells: list[dict]) -> np.ndarray:
    """Distances from the percents to the ends of their intervals, as matplotlib wants them."""
    percent, low, high = (np.array([c[k] for c in cells]) for k in _VALUES[:3])
    return np.vstack([np.maximum(percent - low, 0), np.maximum(high - percent, 0)])


def span(table: pd.DataFrame, *, zero: bool = False) -> tuple[float, float]:
    """Least and largest of every percent, interval and published value.

    It starts at zero for bars, and for dots unless that would squeeze them into a small part.
    """
    values = np.concatenate([numbers(table, name) for name in _VALUES[:4]])
    values = values[~np.isnan(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 100.0)
    if low >= 0 and (zero or low < 0.4 * high):
        low = 0.0
    return low, high


def limits(table: pd.DataFrame) -> tuple[float, float]:
    """Limits that hold all that is drawn, within what a percent can be."""
    low, high = span(table, zero=True)
    margin = 0.04 * (high - low) or 1.0
    return (0.0 if low == 0 else low - margin), min(high + margin, 100 + margin / 2)


def has_published(table: pd.DataFrame) -> bool:
    return "published" in table and bool(table["published"].notna().any())


def dot_legend(table: pd.DataFrame, hues: list) -> tuple[list, list]:
    published = has_published(table)
    handles = [
        Line2D([], [], **dot_style(i), ls="-", lw=1.2)
        for i, h in enumerate(hues)
        if h is not None or published
    ]
    labels = ["measured" if h is None else str(h) for h in hues][: len(handles)]
    if published:
        handles.append(Line2D([], [], **PUBLISHED))
        labels.append("published")
    return handles, labels


def alt_text(
    table: pd.DataFrame,
    *,
    y: str,
    hue: str | None = None,
    panel: str | None = None,
    what: str = "percent of images",
    names: Mapping[str, str] | None = None,
) -> str:
    """One or two sentences that say what a figure shows: largest, smallest, published gap.

    Plain text, not escaped for HTML. Parameters as in `interval_plot`; `what` names the percents,
    `names` the columns where their own names do not read well.
    """
    keys = [k for k in (panel, y, hue) if k is not None]
    *first, last = [(names or {}).get(k, k.replace("_", " ")) for k in keys]
    by = f"{', '.join(first)} and {last}" if first else last
    start = f"{what[:1].upper()}{what[1:]} by {by}"
    cells = cells_of(table, *keys)
    measured = {key: c for key, c in cells.items() if not np.isnan(c["percent"])}
    if not measured:
        return f"{start}: nothing measured."

    digits = max(map(decimals_of, table["metric"] if "metric" in table else [""]))

    keys = list(measured)
    called = [", ".join(map(str, key)) for key in keys]

    def say(at: int) -> str:
        cell = measured[keys[at]]
        percent, low, high = (number(cell[name], digits) for name in _VALUES[:3])
        ends = "" if np.isnan(cell["ci_low"]) else f" (interval {low} to {high})"
        return f"{tied(at, percents, called)}, {percent}{ends}"

    percents = [cell["percent"] for cell in measured.values()]
    largest, smallest = (say(int(find(percents))) for find in (np.argmax, np.argmin))
    text = f"{start}: largest for {largest}; smallest for {smallest}."
    if len(set(percents)) == 1:
        text = f"{start}: {largest}."
    gaps = {k: abs(c["percent"] - c["published"]) for k, c in measured.items()}
    gaps = {k: gap for k, gap in gaps.items() if not np.isnan(gap)}
    if gaps:
        key = max(gaps, key=gaps.get)
        found, known = (number(measured[key][name], digits) for name in ("percent", "published"))
        if found != known:
            text += (
                f" Farthest from its published value: {', '.join(map(str, key))}, "
                f"{found} measured, {known} published."
            )
    return text
