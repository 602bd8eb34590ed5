"""Figures over pairs of classes: what moved from one to another, what was taken for what."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator

from clipeval.canvas import (
    LINE,
    PAD,
    SIZE,
    WIDTHS,
    Picture,
    Rows,
    add_axes,
    color,
    legible,
    new_picture,
    plain,
    rows_picture,
    styled,
    text_inches,
    wrapped,
)

__all__ = ["confusion", "flow"]


@styled
def flow(
    table: pd.DataFrame,
    *,
    source: str,
    target: str,
    n: str = "n",
    top: int = 15,
    xlabel: str = "images moved",
    width: str = "single",
) -> Picture:
    """Which images moved from which class to which: the largest as bars, the rest as a number below.

    An alluvial of twenty classes cannot be read at a column's width; a list of moves can.

    Parameters
    ----------
    table : one row for each pair of classes; pairs of a class with itself are left out
    source, target, n : columns of the class before, the class after, and the number of images
    top : moves shown one by one
    """
    moved = table[(table[source].astype(str) != table[target].astype(str)) & (table[n] > 0)]
    moved = moved.sort_values(n, ascending=False, kind="stable")
    labels = [f"{a} → {b}" for a, b in zip(moved[source], moved[target], strict=True)]
    counts = [int(k) for k in moved[n]]
    total, more = sum(counts), len(counts) - top
    unit = xlabel.capitalize()
    if more > 0:  # no row of theirs: a bar for all of them would dwarf every single move
        xlabel += f" ({more:,} other moves, not shown: {sum(counts[top:]):,} in all)"
        labels, counts = labels[:top], counts[:top]
    if not labels:
        labels, counts = ["no image moved"], [0]
    rows = Rows(labels, notes=[[f"{k:,}"] for k in counts])
    fig = rows_picture(
        [rows], width=width, xlabel=xlabel, legend=([], []), note_head="images", label_share=0.58
    )
    rows.axes.barh(rows.centers, counts, height=0.11, color=color(0))
    rows.axes.set_xlim(0, max(1, *counts) * 1.04)
    rows.axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    rows.axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    rows.axes.axvline(0, color="black", lw=0.6)
    fig.alt = f"{unit}: {total:,} in all; most, {counts[0]:,}, {labels[0]}."
    return fig


@styled
def confusion(
    matrix: pd.DataFrame,
    *,
    xlabel: str = "chosen",
    ylabel: str = "true",
    unit: str = "images",
    n: Mapping[str, int] | None = None,
    width: str = "single",
    decimals: int = 0,
) -> Picture:
    """Heat map with its numbers; zeros stay empty.

    Parameters
    ----------
    matrix : rows the truth, columns the choice; counts, or percents of a row, 0-100
    unit : what the numbers are, such as "images" or "percent of a row's frames"
    n : images of each row, shown with its name; by default none, as counts say it themselves
    decimals : of the numbers
    """
    values = matrix.to_numpy(dtype=float)
    total = WIDTHS[width]
    names, heads = list(map(str, matrix.index)), list(map(str, matrix.columns))
    if names == heads and max(map(text_inches, map(plain, heads))) > 0.6:
        # long names are written once, beside the rows, and stand as numbers below the columns
        heads = [str(i + 1) for i in range(len(heads))]
        names = [f"{i}. {name}" for i, name in zip(heads, names, strict=True)]
    if n is not None:
        sizes = [n[str(row)] for row in matrix.index]
        names = [f"{name} (n = {k:,})" for name, k in zip(names, sizes, strict=True)]
    rows = [wrapped(name, total * 0.4, lines=2) for name in names]
    columns = [wrapped(head, total * 0.3, lines=1) for head in heads]
    turned = max(map(len, columns)) > 3

    def longest(texts):
        return max(text_inches(line) for text in texts for line in text.split("\n"))

    left = PAD + 0.17 + longest(rows) + 0.06
    foot = PAD + 0.17 + (longest(columns) if turned else 0.1) + 0.06
    cell = (total - left - PAD) / len(columns)
    tall = max(LINE * max(row.count("\n") + 1 for row in rows) + 0.03, min(cell, 0.3))
    fig = new_picture(width, PAD + tall * len(rows) + foot)
    ax = add_axes(fig, left, foot, cell * len(columns), tall * len(rows))
    largest = np.nanmax(values) if values.size and np.nanmax(values) > 0 else 1.0
    cells = ax.imshow(
        values, cmap="Blues", vmin=0, vmax=largest, aspect="auto", interpolation="none"
    )
    ax.set_xticks(range(len(columns)), columns, rotation=90 if turned else 0)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    texts = [f"{v:,.{decimals}f}" for v in values[values > 0]] or ["0"]
    size = min(SIZE, SIZE * (cell - 0.02) / max(map(text_inches, texts)))
    for (i, j), v in np.ndenumerate(values):
        if v > 0:
            ax.text(
                j, i, f"{v:,.{decimals}f}", ha="center", va="center", size=size,
                color=legible(cells.to_rgba(v)),
            )  # fmt: skip
    w, h = fig.get_size_inches()
    below = wrapped(f"{xlabel}; numbers: {unit}", total - 2 * PAD, lines=1)
    half = text_inches(below) / 2
    at = min(max(left + cell * len(columns) / 2, half + PAD), total - half - PAD)
    fig.text(at / w, 0.03 / h, below, ha="center", va="bottom")
    middle = foot + tall * len(rows) / 2
    fig.text(0.03 / w, middle / h, plain(ylabel), rotation=90, ha="left", va="center")
    columns = {name: j for j, name in enumerate(matrix.columns)}
    own = [values[i, columns[name]] for i, name in enumerate(matrix.index) if name in columns]
    fig.alt = f"Heat map of {len(rows)} {ylabel} by {len(columns)} {xlabel}, {unit}"
    if own:
        ends = " to ".join(f"{v:,.{decimals}f}" for v in dict.fromkeys((min(own), max(own))))
        fig.alt += f": on the diagonal {ends} a row"
    fig.alt += "."
    return fig
