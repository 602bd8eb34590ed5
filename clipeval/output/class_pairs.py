"""Figures over pairs of classes: what moved from one to another, what was taken for what."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from clipeval.output.numbers import number
from clipeval.output.style import (
    LINE,
    PAD,
    SIZE,
    WIDTHS,
    Picture,
    add_axes,
    color,
    figure_function,
    legible,
    new_picture,
    plain,
    text_inches,
    wrapped,
)


@figure_function
def flow(
    table: pd.DataFrame,
    *,
    source: str,
    target: str,
    n: str = "n",
    top: int = 15,
    unit: str = "images moved",
    heads: tuple[str, str] = ("before", "after"),
    width: str = "single",
) -> Picture:
    """Which images moved from which class to which: bands as thick as their number of images.

    Classes that images left stand at the left, those that they went to at the right, each with the
    images of the bands that are drawn; more than `top` bands cannot be told apart, so the rest is a
    number below.

    Parameters
    ----------
    table : one row for each pair of classes; pairs of a class with itself are left out
    source, target, n : columns of the class before, the class after, and the number of images
    top : moves drawn, the largest
    unit : what the numbers count
    heads : what stands over the two sides
    """
    moved = table[(table[source].astype(str) != table[target].astype(str)) & (table[n] > 0)]
    moved = moved.sort_values(n, ascending=False, kind="stable")
    pairs = list(zip(moved[source].astype(str), moved[target].astype(str), strict=True))
    counts = [int(k) for k in moved[n]]
    shown = list(zip(pairs, counts, strict=True))[:top]
    below, total = unit, WIDTHS[width]
    if len(counts) > top:
        rest = f"{len(counts) - top:,} other moves, not shown: {sum(counts[top:]):,} in all"
        below += f" ({rest})"
    below = wrapped(below if shown else "no image moved", total - 2 * PAD, SIZE, 2)
    drawn = sum(k for _, k in shown)
    inches = (0.7 + 0.09 * len(shown)) / max(drawn, 1)  # of one image
    sides = [_Side(shown, i, 0.31 * total, inches) for i in (0, 1)]
    tall = max(side.height for side in sides)
    foot = LINE * (below.count("\n") + 1) + 2 * PAD
    fig = new_picture(width, PAD + LINE + 0.06 + tall + foot)
    room = [max(side.widest, text_inches(h)) + 0.06 for side, h in zip(sides, heads, strict=True)]
    across = total - 2 * PAD - sum(room)
    ax = add_axes(fig, PAD + room[0], foot, across, tall)
    ax.set(xlim=(0, across), ylim=(tall, 0))
    ax.set_axis_off()
    for slot, name in enumerate(sides[0].names):
        for ((start, _), k), left, right in zip(shown, *(s.bands for s in sides), strict=True):
            if start == name:
                ax.add_patch(_band(across, left, right, k * inches, color(slot)))
    for side, x, at, head in zip(
        sides, (-0.05, across + 0.05), ("right", "left"), heads, strict=True
    ):
        for label, y in side.labels:
            ax.text(x, y, label, ha=at, va="center", clip_on=False)
        ax.text(x, -0.06, head, ha=at, va="bottom", color="0.35", clip_on=False)
    fig.text(0.5, PAD / fig.get_figheight(), below, ha="center", va="bottom")
    most = f"; most, {counts[0]:,}, {' → '.join(pairs[0])}" if shown else ", no image moved"
    fig.alt = f"{unit.capitalize()}: {sum(counts):,} in all{most}."
    return fig


class _Side:
    """One side of a flow: its classes from the top down, and where each band begins or ends (inches)."""

    def __init__(self, shown, side: int, room: float, inches: float):
        self.names = list(dict.fromkeys(pair[side] for pair, _ in shown))
        sizes = {name: sum(k for pair, k in shown if pair[side] == name) for name in self.names}
        texts = {m: wrapped(f"{plain(m)} ({k:,})", room, SIZE, 2) for m, k in sizes.items()}
        self.labels, self.bands, at = [], [0.0] * len(shown), 0.0
        for name, text in texts.items():
            thick = sizes[name] * inches
            slot = max(thick, LINE * (text.count("\n") + 1)) + 0.05
            self.labels.append((text, at + slot / 2))
            y = at + (slot - thick) / 2
            for i, (pair, k) in enumerate(shown):
                if pair[side] == name:
                    self.bands[i], y = y, y + k * inches
            at += slot
        self.height = max(at, LINE)
        lines = [line for text in texts.values() for line in text.split("\n")]
        self.widest = max(map(text_inches, lines), default=0.0)


def _band(across: float, left: float, right: float, thick: float, fill: str) -> PathPatch:
    """A band from height `left` to height `right`, everywhere as thick."""
    half = across / 2
    over = [(0, left), (half, left), (half, right), (across, right)]
    under = [
        (across, right + thick),
        (half, right + thick),
        (half, left + thick),
        (0, left + thick),
    ]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    path = Path([*over, *under, (0, left)], codes)
    return PathPatch(path, facecolor=fill, edgecolor="white", lw=0.4, alpha=0.75, clip_on=False)


@figure_function
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
    texts = [number(v, decimals) for v in values[values > 0]] or ["0"]
    size = min(SIZE, SIZE * (cell - 0.02) / max(map(text_inches, texts)))
    for (i, j), v in np.ndenumerate(values):
        if v > 0:
            ax.text(
                j, i, number(v, decimals), ha="center", va="center", size=size,
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
        ends = " to ".join(number(v, decimals) for v in dict.fromkeys((min(own), max(own))))
        fig.alt += f": on the diagonal {ends} a row"
    fig.alt += "."
    return fig
