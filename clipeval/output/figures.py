"""Figures at a journal's column width, from tidy study tables; nothing here computes a rate.

Every function takes a table, keyword-only column names after it, and returns a figure that is
shown in a notebook with its alt text. Rows and groups are drawn in the order of the table. Colours
can be told apart by the colour-blind and come with marker shapes or hatches for grey print;
intervals are bars, published values open diamonds.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from clipeval.output import numbers as numbers_text
from clipeval.output.class_pairs import confusion, flow
from clipeval.output.curves import line_by
from clipeval.output.saving import save_figure
from clipeval.output.style import (
    PAD,
    WIDTHS,
    Picture,
    Rows,
    color,
    dot_style,
    figure_function,
    new_picture,
    percent_axis,
    rows_picture,
    wrapped,
)
from clipeval.output.values import (
    PUBLISHED,
    alt_text,
    cells_of,
    dot_legend,
    errors,
    has_published,
    numbers,
    span,
    unique,
)

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


def _notes(cells: dict, name, labels: list, hues: list) -> list[list[str]]:
    """Number of images of each row; one text where all hues agree."""
    notes = []
    for label in labels:
        found = [cells.get((name, label, hue)) for hue in hues]
        blank = [cell is None or np.isnan([cell["n"], cell["percent"]]).all() for cell in found]
        texts = [
            "" if no else numbers_text.count(cell["n"])
            for no, cell in zip(blank, found, strict=True)
        ]
        agreed = sorted({t for t in texts if t})
        notes.append(texts if len(agreed) > 1 else agreed or [""])
    return notes


def _panels(table: pd.DataFrame, y: str, hue, panel) -> tuple[list[Rows], list, list, dict]:
    hues, names, cells = unique(table, hue), unique(table, panel), cells_of(table, panel, y, hue)
    rows = []
    for name in names:
        labels = unique(table if panel is None else table[table[panel] == name], y)
        notes = _notes(cells, name, labels, hues) if "n" in table else []
        title = "" if name is None else str(name)
        rows.append(Rows(labels, title, slots=len(hues), notes=notes))
    return rows, hues, names, cells


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
                p.axes.plot(*zip(*known, strict=True), **PUBLISHED, zorder=4, clip_on=False)


@figure_function
def interval_plot(
    table: pd.DataFrame,
    *,
    y: str,
    hue: str | None = None,
    panel: str | None = None,
    xlabel: str = "percent of images",
    width: str = "single",
    xlim: tuple[float, float] | None = None,
    mark: float | None = None,
) -> Picture:
    """Dots with intervals, published values as open diamonds, n of every row at the right.

    Parameters
    ----------
    table : study table, percents 0-100; one row for each y x hue x panel
    y : column of the rows
    hue : column of the colours, drawn one under the other within a row
    panel : column of the panels, side by side on a page and one below the other in a column
    xlabel : what the percents are of
    width : "single" (3.35 in) or "double" (6.9 in)
    xlim : limits of the percent axis; by default what holds all values
    mark : percent at which a line stands, such as that of no preference; by default 0 where a value is below

    Returns
    -------
    Picture, a matplotlib figure; its height follows from the number of rows
    """
    rows, hues, names, cells = _panels(table, y, hue, panel)
    legend = dot_legend(table, hues)
    fig = rows_picture(rows, width=width, xlabel=xlabel, legend=legend)
    limits = xlim or span(table)
    for p in rows:
        percent_axis(p.axes, *limits, fig.get_figwidth() * p.axes.get_position().width)
        below = np.nanmin(numbers(table, "percent"), initial=0.0) < 0
        if below or mark is not None:
            p.axes.axvline(mark or 0, color="0.4", lw=0.6, zorder=1)

    def dot(ax: Axes, found: list[dict], at: list[float], slot: int) -> None:
        percents = [c["percent"] for c in found]
        # an interval narrower than its marker is seen on it
        style = dot_style(slot) | {"ls": "none", "elinewidth": 1.2, "barsabove": True}
        ax.errorbar(percents, at, xerr=errors(found), **style, zorder=3, clip_on=False)

    _draw(rows, names, hues, cells, dot)
    fig.alt = alt_text(table, y=y, hue=hue, panel=panel, what=xlabel)
    return fig


@figure_function
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
    n = numbers(table, "n")
    counts = {h: np.unique(n[(table[hue] == h) & ~np.isnan(n)]) for h in hues}
    if all(len(n) == 1 for n in counts.values()):  # n depends on the hue alone: say it once
        labels = [f"{h} (n = {numbers_text.count(counts[h][0])})" for h in hues]
        for p in rows:
            p.notes = []
    else:
        labels = [str(h) for h in hues]
    style = [{"fc": color(i), "ec": "white", "hatch": _HATCHES[i % 7]} for i in range(len(hues))]
    handles = [Patch(lw=0, **s) for s in style]
    if has_published(table):
        handles.append(Line2D([], [], **PUBLISHED))
        labels.append("published")
    fig = rows_picture(rows, width=width, xlabel=xlabel, legend=(handles, labels))
    for p in rows:
        inches = fig.get_figwidth() * p.axes.get_position().width
        percent_axis(p.axes, *span(table, zero=True), inches)
        p.axes.axvline(0, color="black", lw=0.6)

    def bar(ax: Axes, found: list[dict], at: list[float], slot: int) -> None:
        percents = [c["percent"] for c in found]
        ax.barh(at, percents, height=0.11, lw=0, zorder=2, **style[slot])
        error = {"fmt": "none", "ecolor": "black", "elinewidth": 0.7, "zorder": 3}
        ax.errorbar(percents, at, xerr=errors(found), **error)

    _draw(rows, names, hues, cells, bar)
    fig.alt = alt_text(table, y=y, hue=hue, panel=panel, what=xlabel)
    return fig
