"""Figures at a journal's column width, from tidy study tables; nothing here computes a rate.

Every function takes a table, keyword-only column names after it, and returns a figure that is
shown in a notebook with its alt text. Rows and groups are drawn in the order of the table. Colours
can be told apart by the colour-blind and come with marker shapes or hatches for grey print;
intervals are bars, published values open diamonds.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from clipeval.canvas import (
    PAD,
    WIDTHS,
    Legend,
    Picture,
    Rows,
    add_axes,
    color,
    new_picture,
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

_MARKERS = "os^vPX<"
_DODGE = 0.06  # inches between the lines of `line_by` at one x
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)))
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


def _range(table: pd.DataFrame, *, zero: bool = False) -> tuple[float, float]:
    """Limits that hold every percent, interval and published value, within what a percent can be.

    They start at zero for bars, and for dots unless that would squeeze them into a small part.
    """
    values = np.concatenate([_numbers(table, name) for name in _VALUES[:4]])
    values = values[~np.isnan(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 100.0)
    if low >= 0 and (zero or low < 0.4 * high):
        low = 0.0
    margin = 0.04 * (high - low) or 1.0
    bottom = low if low == 0 and zero else low - margin
    return (bottom if low < 0 else max(bottom, -margin * 0.5)), min(high + margin, 100 + margin / 2)


def _count(value) -> str:
    return "–" if pd.isna(value) else f"{int(value):,}"


def _notes(cells: dict, name, labels: list, hues: list) -> list[list[str]]:
    """Number of images of each row; one text where all hues agree."""
    notes = []
    for label in labels:
        found = [cells.get((name, label, hue)) for hue in hues]
        blank = [cell is None or np.isnan([cell["n"], cell["percent"]]).all() for cell in found]
        texts = ["" if no else _count(cell["n"]) for no, cell in zip(blank, found, strict=True)]
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
        Line2D([], [], marker=_MARKERS[i % 7], color=color(i), ls="-", lw=1)
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
    limits = xlim or _range(table)
    for p in rows:
        p.axes.set_xlim(limits)
        if np.nanmin(_numbers(table, "percent"), initial=0.0) < 0:
            p.axes.axvline(0, color="0.4", lw=0.6, zorder=1)

    def dot(ax: Axes, found: list[dict], at: list[float], slot: int) -> None:
        style = {"marker": _MARKERS[slot % 7], "color": color(slot), "ls": "none", "lw": 1.1}
        percents = [c["percent"] for c in found]
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
    empty: str = "there is nothing to draw",
) -> Picture:
    """Horizontal bars with intervals, one for each hue within a row; each panel has its own rows.

    Figure 1 of arXiv 2108.02818 is `y="label", hue="gender", panel="most gendered for"`.

    Parameters
    ----------
    table : study table, percents 0-100; one row for each y x hue x panel
    y, hue, panel : columns of the rows, the bars within a row, and the panels side by side
    xlabel : what the percents are of
    width : "single" (3.35 in) or "double" (6.9 in)
    empty : what stands in place of the bars where the table has no row
    """
    if table.empty:
        fig = new_picture(width, 0.5)
        fig.text(0.5, 0.5, wrapped(empty, WIDTHS[width] - 2 * PAD, 7.5), ha="center", va="center")
        fig.alt = f"{empty[:1].upper()}{empty[1:]}."
        return fig
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
        p.axes.set_xlim(_range(table, zero=True))
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


def _label_n(cells: dict, hue) -> str:
    """Name of a line with the images that its points are over, where they are few enough to say."""
    sizes = [c["n"] for (h, _), c in sorted(cells.items(), key=lambda item: item[0][1]) if h == hue]
    sizes = list(dict.fromkeys(_count(n) for n in sizes))
    ends = f"{sizes[0]} to {sizes[-1]}"
    return f"{hue} (n = {', '.join(sizes) if len(sizes) <= 3 else ends})"


@styled
def line_by(
    table: pd.DataFrame,
    *,
    x: str,
    hue: str | None = None,
    panel: str | None = None,
    log_x: bool = False,
    chance: str | None = None,
    xlabel: str | None = None,
    ylabel: str = "percent of images",
    width: str = "single",
    height: float = 2.3,
) -> Picture:
    """Percent against a number (names offered, threshold), with intervals and published values.

    Points of several lines at one x stand side by side.

    Parameters
    ----------
    table : study table, percents 0-100; one row for each x x hue x panel
    x : numeric column
    hue : column of the lines, told apart by dashes too, as they may lie on each other
    panel : column of the panels, side by side, each with its own percent axis
    log_x : logarithmic x axis
    chance : column with the percent that guessing gives, drawn dashed
    xlabel, ylabel : names of the axes; x by default the column's
    width : "single" (3.35 in) or "double" (6.9 in);  height : of the axes, inches
    """
    hues = _unique(table, hue)
    handles, labels = _dot_legend(table, hues)
    if hue is not None and panel is None and "n" in table:
        cells = _cells(table, hue, x)
        labels[: len(hues)] = [_label_n(cells, value) for value in hues]
    for slot, handle in enumerate(handles[: len(hues) if len(hues) > 1 else 0]):
        handle.set_linestyle(_DASHES[slot % 4])
    if chance is not None:
        handles.append(Line2D([], [], color="0.4", ls="--", lw=0.9))
        labels.append("chance")
    total = WIDTHS[width]
    key = Legend(handles, labels, total - 2 * PAD)
    names = _unique(table, panel)
    left, foot, each = PAD + 0.42, 0.4, total / len(names)
    inner = each - left - 0.14
    titles = ["" if name is None else wrapped(name, inner, 7.5, 3) for name in names]
    head = max((0.14 * (t.count("\n") + 1) if t else 0.0) for t in titles) + 0.06
    fig = new_picture(width, PAD + key.height + head + height + foot)
    for i, name in enumerate(names):
        ax = add_axes(fig, i * each + left, foot, inner, height)
        part = table if panel is None else table[table[panel] == name]
        _ticks(ax, part[x], log_x, inner)
        _lines(ax, part, x, hue, hues, chance)
        ax.set_title(titles[i], size=7.5, loc="left", pad=3)
        ax.set_xlabel(wrapped(xlabel or x.replace("_", " "), each - left, 7.5, 1), labelpad=2)
    fig.axes[0].set_ylabel(wrapped(ylabel, height, 7.5, 2), labelpad=2)
    key.draw(fig, PAD)
    fig.alt = alt_text(table, y=x, hue=hue, panel=panel, what=ylabel)
    return fig


def _lines(ax: Axes, table: pd.DataFrame, x: str, hue, hues: list, chance) -> None:
    """The lines of one panel of `line_by`."""
    ax.set_ylim(*_range(table, zero=True))
    ax.grid(axis="y")
    if chance is not None:
        level = table[[x, chance]].dropna().drop_duplicates().sort_values(x)
        ax.plot(level[x], level[chance], color="0.4", ls="--", lw=0.9, zorder=2)
    cells = _cells(table, hue, x)
    for slot, value in enumerate(hues):
        points = sorted(((at, c) for (h, at), c in cells.items() if h == value), key=lambda p: p[0])
        measured = [(at, c) for at, c in points if not np.isnan(c["percent"])]
        if measured:
            style = {"color": color(slot), "marker": _MARKERS[slot % 7], "elinewidth": 1}
            style["ls"] = _DASHES[slot % 4]
            at, found = zip(*measured, strict=True)
            percents = [c["percent"] for c in found]
            if len(hues) > 1:  # side by side, as equal values would cover each other
                step = (slot - (len(hues) - 1) / 2) * _DODGE / ax.bbox.width * ax.figure.dpi
                axis = ax.transData + ax.transAxes.inverted()
                shown = [axis.transform((a, 0))[0] + step for a in at]
                at = [axis.inverted().transform((b, 0))[0] for b in shown]
            ax.errorbar(at, percents, yerr=_errors(found), **style, zorder=3, clip_on=False)
    known = {(at, c["published"]) for (_, at), c in cells.items() if not np.isnan(c["published"])}
    if known:  # once where several lines stand beside the same number
        ax.plot(*zip(*sorted(known), strict=True), **_PUBLISHED, zorder=4, clip_on=False)


def alt_text(
    table: pd.DataFrame,
    *,
    y: str,
    hue: str | None = None,
    panel: str | None = None,
    what: str = "percent of images",
) -> str:
    """One or two sentences that say what a figure shows: largest, smallest, published gap.

    Plain text, not escaped. Parameters as in `interval_plot`; `what` names the percents.
    """
    keys = [k for k in (panel, y, hue) if k is not None]
    start = f"{what[:1].upper()}{what[1:]} by {', '.join(k.replace('_', ' ') for k in keys)}"
    cells = _cells(table, *keys)
    measured = {key: c for key, c in cells.items() if not np.isnan(c["percent"])}
    if not measured:
        return f"{start}: nothing measured."

    def say(key):
        cell = measured[key]
        ends = f" (interval {cell['ci_low']:.1f} to {cell['ci_high']:.1f})"
        known = not np.isnan(cell["ci_low"])
        return f"{', '.join(map(str, key))}, {cell['percent']:.1f}{ends if known else ''}"

    largest = max(measured, key=lambda k: measured[k]["percent"])
    smallest = min(measured, key=lambda k: measured[k]["percent"])
    text = f"{start}: largest for {say(largest)}; smallest for {say(smallest)}."
    if len(measured) == 1:
        text = f"{start}: {say(largest)}."
    gaps = {k: abs(c["percent"] - c["published"]) for k, c in measured.items()}
    gaps = {k: gap for k, gap in gaps.items() if not np.isnan(gap)}
    if gaps:
        key = max(gaps, key=gaps.get)
        text += (
            f" Farthest from its published value: {', '.join(map(str, key))}, "
            f"{measured[key]['percent']:.1f} measured, {measured[key]['published']:.1f} published."
        )
    return text
