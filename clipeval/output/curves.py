"""Percents against a number, as lines with intervals."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clipeval.output import numbers as numbers_text
from clipeval.output.style import (
    MARKERS,
    PAD,
    WIDTHS,
    Legend,
    Picture,
    add_axes,
    color,
    figure_function,
    new_picture,
    text_inches,
    wrapped,
)
from clipeval.output.values import (
    PUBLISHED,
    alt_text,
    cells_of,
    dot_legend,
    errors,
    limits,
    unique,
)

_DODGE = 0.06  # inches between the lines of `line_by` at one x
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)))


def _ticks(ax: Axes, values: Sequence[float], log: bool, inches: float) -> None:
    """Ticks at the values themselves while their labels fit, else at round numbers."""
    values = sorted(set(map(float, values)))
    if not log:
        ax.set_xscale("linear")
    elif values[0] > 0:
        ax.set_xscale("log")
    else:  # zero stands as far from the least positive value as that from its double
        least = min((v for v in values if v > 0), default=1.0)
        ax.set_xscale("symlog", base=2, linthresh=least, linscale=0.5)
    scale = ax.xaxis.get_transform()
    places = scale.transform(np.array(values))
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
    ax.set_xlim(*scale.inverted().transform(np.array([low - margin, high + margin])))


def _label_n(cells: dict, hue) -> str:
    """Name of a line with the images that its points are over, where they are few enough to say."""
    sizes = [c["n"] for (h, _), c in sorted(cells.items(), key=lambda item: item[0][1]) if h == hue]
    sizes = list(dict.fromkeys(numbers_text.count(n) for n in sizes))
    ends = f"{sizes[0]} to {sizes[-1]}"
    return f"{hue} (n = {', '.join(sizes) if len(sizes) <= 3 else ends})"


@figure_function
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
    panel : column of the panels, each with its own percent axis; side by side on a page, one below the
        other in a column
    log_x : logarithmic x axis, on which zero has a place of its own
    chance : column with the percent that guessing gives, drawn dashed
    xlabel, ylabel : names of the axes; x by default the column's
    width : "single" (3.35 in) or "double" (6.9 in);  height : of the axes, inches
    """
    hues = unique(table, hue)
    handles, labels = dot_legend(table, hues)
    if hue is not None and panel is None and "n" in table:
        cells = cells_of(table, hue, x)
        labels[: len(hues)] = [_label_n(cells, value) for value in hues]
    for slot, handle in enumerate(handles[: len(hues) if len(hues) > 1 else 0]):
        handle.set_linestyle(_DASHES[slot % 4])
    if chance is not None:
        handles.append(Line2D([], [], color="0.4", ls="--", lw=0.9))
        labels.append("chance")
    total = WIDTHS[width]
    key = Legend(handles, labels, total - 2 * PAD)
    names = unique(table, panel)
    across = 1 if width == "single" else len(names)
    foot, each = 0.4, total / across
    parts = [table if panel is None else table[table[panel] == name] for name in names]
    beside = wrapped(ylabel, height, 7.5, 2)
    # beside the axes: the label's lines, the widest number, and what keeps them apart
    left = PAD + 0.125 * (beside.count("\n") + 1) + 0.13
    left += max(_widest_number(part, height) for part in parts)
    inner = each - left - 0.14
    titles = ["" if name is None else wrapped(name, inner, 7.5, 3) for name in names]
    head = max((0.14 * (t.count("\n") + 1) if t else 0.0) for t in titles) + 0.06
    step, rows = head + height + foot, -(-len(names) // across)
    fig = new_picture(width, PAD + key.height + rows * step)
    for i, part in enumerate(parts):
        under = (rows - 1 - i // across) * step
        ax = add_axes(fig, i % across * each + left, under + foot, inner, height)
        _ticks(ax, part[x], log_x, inner)
        _lines(ax, part, x, hue, hues, chance)
        ax.set_title(titles[i], size=7.5, loc="left", pad=3)
        ax.set_xlabel(wrapped(xlabel or x.replace("_", " "), each - left, 7.5, 1), labelpad=2)
    for ax in fig.axes[::across]:
        ax.set_ylabel(beside, labelpad=2)
    key.draw(fig, PAD)
    fig.alt = alt_text(table, y=x, hue=hue, panel=panel, what=ylabel)
    return fig


def _widest_number(table: pd.DataFrame, height: float) -> float:
    """Inches that the numbers of a table's percent axis take, where it is so many inches high."""
    axis = Figure((1, height)).add_axes((0, 0, 1, 1)).yaxis
    axis.set_view_interval(*limits(table), ignore=True)
    return max(map(text_inches, axis.get_major_formatter().format_ticks(axis.get_majorticklocs())))


def _lines(ax: Axes, table: pd.DataFrame, x: str, hue, hues: list, chance) -> None:
    """The lines of one panel of `line_by`."""
    ax.set_ylim(*limits(table))
    ax.grid(axis="y")
    if chance is not None:
        level = table[[x, chance]].dropna().drop_duplicates().sort_values(x)
        ax.plot(level[x], level[chance], color="0.4", ls="--", lw=0.9, zorder=2)
    cells = cells_of(table, hue, x)
    lines_at = Counter(at for (_, at), c in cells.items() if not np.isnan(c["percent"]))
    for slot, value in enumerate(hues):
        points = sorted(((at, c) for (h, at), c in cells.items() if h == value), key=lambda p: p[0])
        measured = [(at, c) for at, c in points if not np.isnan(c["percent"])]
        if measured:
            style = {"color": color(slot), "marker": MARKERS[slot % 7], "elinewidth": 1}
            style["ls"] = _DASHES[slot % 4]
            at, found = zip(*measured, strict=True)
            percents = [c["percent"] for c in found]
            # side by side where several lines have a point, as equal values would cover each other
            step = (slot - (len(hues) - 1) / 2) * _DODGE / ax.bbox.width * ax.figure.dpi
            axis = ax.transData + ax.transAxes.inverted()
            shown = [axis.transform((a, 0))[0] + step * (lines_at[a] > 1) for a in at]
            at = [axis.inverted().transform((b, 0))[0] for b in shown]
            ax.errorbar(at, percents, yerr=errors(found), **style, zorder=3, clip_on=False)
    known = {(at, c["published"]) for (_, at), c in cells.items() if not np.isnan(c["published"])}
    if known:  # once where several lines stand beside the same number
        ax.plot(*zip(*sorted(known), strict=True), **PUBLISHED, zorder=4, clip_on=False)
