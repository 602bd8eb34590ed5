"""Figures at a journal's column width, from tidy study tables; nothing here computes a rate.

Every function takes a table, keyword-only column names after it, and returns a figure that is
shown in a notebook with its alt text. Rows and groups are drawn in the order of the table. Colours
can be told apart by the colour-blind and come with marker shapes or hatches for grey print;
intervals are bars, published values open diamonds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from clipeval.canvas import (
    MARKERS,
    PAD,
    WIDTHS,
    Legend,
    Picture,
    Rows,
    add_axes,
    color,
    dot_style,
    new_picture,
    percent_axis,
    rows_picture,
    styled,
    text_inches,
    wrapped,
)
from clipeval.errors import ParameterError
from clipeval.pairs import confusion, flow
from clipeval.saving import save_figure

__all__ = [
    "alt_text",
    "confusion",
    "flow",
    "grouped_bars",
    "interval_plot",
    "line_by",
    "save_figure",
]

_HATCHES = ("", "/////", ".....", "xxxxx", "-----", "+++++", "ooooo")
_PUBLISHED = {"marker": "D", "mfc": "none", "mec": "0.1", "mew": 0.8, "ms": 5.5, "ls": "none"}


def _unique(table: pd.DataFrame, column: str | None) -> list:
    return [None] if column is None else list(pd.unique(table[column]))


_VALUES = ("percent", "ci_low", "ci_high", "published", "n")


def _numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    if name not in table:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[name]).to_numpy(dtype=float, na_value=np.nan)


def _cells(table: pd.DataFrame, *columns: str | None) -> dict[tuple, dict[str, float]]:
    """Values of each combination of the columns' values; a column of None stands for all."""
    keys = [[None] * len(table) if c is None else list(table[c]) for c in columns]
    values = zip(*(_numbers(table, name) for name in _VALUES), strict=True)
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


def _errors(cells: list[dict]) -> np.ndarray:
    """Distances from the percents to the ends of their intervals, as matplotlib wants them."""
    percent, low, high = (np.array([c[k] for c in cells]) for k in _VALUES[:3])
    return np.vstack([np.maximum(percent - low, 0), np.maximum(high - percent, 0)])


def _span(table: pd.DataFrame, *, zero: bool = False) -> tuple[float, float]:
    """Least and largest of every percent, interval and published value.

    It starts at zero for bars, and for dots unless that would squeeze them into a small part.
    """
    values = np.concatenate([_numbers(table, name) for name in _VALUES[:4]])
    values = values[~np.isnan(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 100.0)
    if low >= 0 and (zero or low < 0.4 * high):
        low = 0.0
    return low, high


def _range(table: pd.DataFrame) -> tuple[float, float]:
    """Limits that hold all that is drawn, within what a percent can be."""
    low, high = _span(table, zero=True)
    margin = 0.04 * (high - low) or 1.0
    return (0.0 if low == 0 else low - margin), min(high + margin, 100 + margin / 2)


def _count(value) -> str:
    return "–" if pd.isna(value) else f"{int(value):,}"


def _notes(cells: dict, name, labels: list, hues: list) -> list[list[str]]:
    """Number of images of each row; one text where all hues agree."""
    notes = []
    for label in labels:
        found = [cells.get((name, label, hue)) for hue in hues]
        texts = ["" if cell is None else _count(cell["n"]) for cell in found]
        agreed = sorted({t for t in texts if t})
        notes.append(texts if len(agreed) > 1 else agreed or [""])
    return notes


def _panels(table: pd.DataFrame, y: str, hue, panel) -> tuple[list[Rows], list, list, dict]:
    hues, names, cells = _unique(table, hue), _unique(table, panel), _cells(table, panel, y, hue)
    rows = []
    for name in names:
        labels = _unique(table if panel is None else table[table[panel] == name], y)
        notes = _notes(cells, name, labels, hues) if "n" in table else []
        title = "" if name is None else str(name)
        rows.append(Rows(labels, title, slots=len(hues), notes=notes))
    return rows, hues, names, cells


def _has_published(table: pd.DataFrame) -> bool:
    return "published" in table and bool(table["published"].notna().any())


def _dot_legend(table: pd.DataFrame, hues: list) -> tuple[list, list]:
    published = _has_published(table)
    handles = [
        Line2D([], [], **dot_style(i), ls="-", lw=1.2)
        for i, h in enumerate(hues)
        if h is not None or published
    ]
    labels = ["measured" if h is None else str(h) for h in hues][: len(handles)]
    if published:
        handles.append(Line2D([], [], **_PUBLISHED))
        labels.append("published")
    return handles, labels


def _draw(rows: list[Rows], names: list, hues: list, cells: dict, mark) -> None:
    """Call `mark(axes, cells, positions, slot)` for each panel and hue; add published values."""
    for p, name in zip(rows, names, strict=True):
        for slot, hue in enumerate(hues):
            found = [
                (cells.get((name, label, hue)), p.y(i, slot)) for i, label in enumerate(p.labels)
            ]
            measured = [(c, at) for c, at in found if c and not np.isnan(c["percent"])]
            if measured:
                mark(p.axes, [c for c, _ in measured], [at for _, at in measured], slot)
            known = [(c["published"], at) for c, at in found if c and not np.isnan(c["published"])]
            if known:
                p.axes.plot(*zip(*known, strict=True), **_PUBLISHED, zorder=4, clip_on=False)


@styled
def interval_plot(
    table: pd.DataFrame,
    *,
    y: str,
    hue: str | None = None,
    panel: str | None = None,
    xlabel: str = "percent of images",
    width: str = "single",
    xlim: tuple[float, float] | None = None,
) -> Picture:
    """Dots with intervals, published values as open diamonds, n of every row at the right.

    Parameters
    ----------
    table : study table, percents 0-100; one row for each y x hue x panel
    y : column of the rows
    hue : column of the colours, drawn one under the other within a row
    panel : column of the panels, side by side
    xlabel : what the percents are of
    width : "single" (3.35 in) or "double" (6.9 in)
    xlim : limits of the percent axis; by default what holds all values

    Returns
    -------
    Picture, a matplotlib figure; its height follows from the number of rows
    """
    rows, hues, names, cells = _panels(table, y, hue, panel)
    legend = _dot_legend(table, hues)
    fig = rows_picture(rows, width=width, xlabel=xlabel, legend=legend)
    limits = xlim or _span(table)
    for p in rows:
        percent_axis(p.axes, *limits, fig.get_figwidth() * p.axes.get_position().width)
        if np.nanmin(_numbers(table, "percent"), initial=0.0) < 0:
            p.axes.axvline(0, color="0.4", lw=0.6, zorder=1)

    def dot(ax: Axes, found: list[dict], at: list[float], slot: int) -> None:
        percents = [c["percent"] for c in found]
        # an interval narrower than its marker is seen on it
        style = dot_style(slot) | {"ls": "none", "elinewidth": 1.2, "barsabove": True}
        ax.errorbar(percents, at, xerr=_errors(found), **style, zorder=3, clip_on=False)

    _draw(rows, names, hues, cells, dot)
    fig.alt = alt_text(table, y=y, hue=hue, panel=panel, what=xlabel)
    return fig


@styled
def grouped_bars(
    table: pd.DataFrame,
    *,
    y: str,
    hue: str,
    panel: str | None = None,
    xlabel: str = "percent of images",
    width: str = "double",
) -> Picture:
    """Horizontal bars with intervals, one for each hue within a row; each panel has its own rows.

    Figure 1 of arXiv 2108.02818 is `y="label", hue="gender", panel="most gendered for"`.

    Parameters
    ----------
    table : study table, percents 0-100; one row for each y x hue x panel
    y, hue, panel : columns of the rows, the bars within a row, and the panels side by side
    xlabel : what the percents are of
    width : "single" (3.35 in) or "double" (6.9 in)
    """
    rows, hues, names, cells = _panels(table, y, hue, panel)
    counts = {h: table[table[hue] == h]["n"].dropna().unique() for h in hues}
    if all(len(n) == 1 for n in counts.values()):  # n depends on the hue alone: say it once
        labels = [f"{h} (n = {_count(counts[h][0])})" for h in hues]
        for p in rows:
            p.notes = []
    else:
        labels = [str(h) for h in hues]
    style = [{"fc": color(i), "ec": "white", "hatch": _HATCHES[i % 7]} for i in range(len(hues))]
    handles = [Patch(lw=0, **s) for s in style]
    if _has_published(table):
        handles.append(Line2D([], [], **_PUBLISHED))
        labels.append("published")
    fig = rows_picture(rows, width=width, xlabel=xlabel, legend=(handles, labels))
    for p in rows:
        inches = fig.get_figwidth() * p.axes.get_position().width
        percent_axis(p.axes, *_span(table, zero=True), inches)
        p.axes.axvline(0, color="black", lw=0.6)

    def bar(ax: Axes, found: list[dict], at: list[float], slot: int) -> None:
        percents = [c["percent"] for c in found]
        ax.barh(at, percents, height=0.11, lw=0, zorder=2, **style[slot])
        error = {"fmt": "none", "ecolor": "black", "elinewidth": 0.7, "zorder": 3}
        ax.errorbar(percents, at, xerr=_errors(found), **error)

    _draw(rows, names, hues, cells, bar)
    fig.alt = alt_text(table, y=y, hue=hue, panel=panel, what=xlabel)
    return fig


def _ticks(ax: Axes, values: Sequence[float], log: bool, inches: float) -> None:
    """Ticks at the values themselves while their labels fit, else at round numbers."""
    ax.set_xscale("log" if log else "linear")
    values = sorted(set(map(float, values)))
    places = np.log10(values) if log else np.array(values)
    low, high = places[0], places[-1]
    span = (high - low) or 1.0
    shown, end = [], -np.inf  # labels that do not touch the one before
    for value, at in zip(values, (places - low) / span * inches, strict=True):
        half = text_inches(f"{value:,g}") / 2
        if at - half > end + 0.06:
            shown.append(value)
            end = at + half
    if log or len(values) <= 8:
        ax.set_xticks(shown, [f"{v:,g}".replace("-", "−") for v in shown])
        ax.set_xticks([], minor=True)
    margin = 0.04 * span
    limits = np.array([low - margin, high + margin])
    ax.set_xlim(*(10**limits if log else limits))


@styled
def line_by(
    table: pd.DataFrame,
    *,
    x: str,
    hue: str | None = None,
    log_x: bool = False,
    chance: str | None = None,
    xlabel: str | None = None,
    ylabel: str = "percent of images",
    width: str = "single",
    height: float = 2.3,
) -> Picture:
    """Percent against a number (names offered, threshold), with intervals and published values.

    Parameters
    ----------
    table : study table, percents 0-100; one row for each x x hue
    x : numeric column
    hue : column of the lines
    log_x : logarithmic x axis
    chance : column with the percent that guessing gives, drawn dashed
    xlabel, ylabel : names of the axes; x by default the column's
    width : "single" (3.35 in) or "double" (6.9 in);  height : of the axes, inches
    """
    hues = _unique(table, hue)
    handles, labels = _dot_legend(table, hues)
    if len(hues) > 1 and _has_published(table):
        labels[-1] = "published (in its line's colour)"
    if chance is not None:
        handles.append(Line2D([], [], color="0.4", ls="--", lw=0.9))
        labels.append("chance")
    total = WIDTHS[width]
    key = Legend(handles, labels, total - 2 * PAD)
    low, high = _range(table)
    left, foot = PAD + 0.42, 0.4
    fig = new_picture(width, PAD + key.height + 0.06 + height + foot)
    ax = add_axes(fig, left, foot, total - left - 0.14, height)
    _ticks(ax, table[x], log_x, total - left - 0.14)
    ax.set_ylim(low, high)
    ax.grid(axis="y")
    if chance is not None:
        level = table[[x, chance]].dropna().drop_duplicates().sort_values(x)
        ax.plot(level[x], level[chance], color="0.4", ls="--", lw=0.9, zorder=2)
    cells = _cells(table, hue, x)
    for slot, value in enumerate(hues):
        points = sorted(((at, c) for (h, at), c in cells.items() if h == value), key=lambda p: p[0])
        measured = [(at, c) for at, c in points if not np.isnan(c["percent"])]
        if measured:
            style = {"color": color(slot), "marker": MARKERS[slot % 7], "elinewidth": 1}
            at, found = zip(*measured, strict=True)
            percents = [c["percent"] for c in found]
            ax.errorbar(at, percents, yerr=_errors(found), **style, zorder=3, clip_on=False)
        known = [(at, c["published"]) for at, c in points if not np.isnan(c["published"])]
        if known:  # several lines: the diamond takes its line's colour
            edge = _PUBLISHED | ({"mec": color(slot)} if len(hues) > 1 else {})
            ax.plot(*zip(*known, strict=True), **edge, zorder=4, clip_on=False)
    name = wrapped(x.replace("_", " ") if xlabel is None else xlabel, total - left, 7.5, 1)
    ax.set_xlabel(name, labelpad=2)
    ax.set_ylabel(wrapped(ylabel, height, 7.5, 2), labelpad=2)
    key.draw(fig, PAD)
    fig.alt = alt_text(table, y=x, hue=hue, what=ylabel)
    return fig


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
    cells = _cells(table, *keys)
    measured = {key: c for key, c in cells.items() if not np.isnan(c["percent"])}
    if not measured:
        return f"{start}: nothing measured."

    def say(key):
        cell = measured[key]
        ends = f" (interval {_tenths(cell['ci_low'])} to {_tenths(cell['ci_high'])})"
        known = not np.isnan(cell["ci_low"])
        return f"{', '.join(map(str, key))}, {_tenths(cell['percent'])}{ends if known else ''}"

    largest = max(measured, key=lambda k: measured[k]["percent"])
    smallest = min(measured, key=lambda k: measured[k]["percent"])
    text = f"{start}: largest for {say(largest)}; smallest for {say(smallest)}."
    if len(measured) == 1:
        text = f"{start}: {say(largest)}."
    gaps = {k: abs(c["percent"] - c["published"]) for k, c in measured.items()}
    gaps = {k: gap for k, gap in gaps.items() if not np.isnan(gap)}
    if gaps:
        key = max(gaps, key=gaps.get)
        found, known = (_tenths(measured[key][name]) for name in ("percent", "published"))
        if found != known:
            text += (
                f" Farthest from its published value: {', '.join(map(str, key))}, "
                f"{found} measured, {known} published."
            )
    return text


def _tenths(percent: float) -> str:
    return f"{round(percent, 1) + 0.0:.1f}"  # no -0.0
