"""A study table in the form that papers print: the groups across, a rate a row with its interval below."""

import functools
from collections.abc import Iterator

import numpy as np
import pandas as pd

from clipeval.output.latex import escape, stacked, text_width, wrap
from clipeval.output.numbers import count, decimals_of, number, unit_of
from clipeval.output.tables import DOUBT, doubts, group_columns

COLUMN, PAGE = 242.0, 498.0  # points: 3.35 and 6.9 inches, what figures are drawn for
LINES = 3  # of a caption, and at most of the head of a column
HEIGHT, LINE = 560.0, 9.6  # points: of a float, and of a row in it
_ACROSS = 9
_SEP = 6.0
# points: the widest head of a column, and of a row where the page has room; longer ones wrap
_HEAD, _KEYS = 48.0, (120.0, 90.0, 64.0)
_SMALL = 0.88  # width of \scriptsize as a part of \footnotesize


def across(table: pd.DataFrame) -> tuple[str, list[str]] | None:
    """The grouping column whose groups become columns, and those that tell the rows apart.

    Race where there is one, else the column with most groups; only groups of images, of which n
    differs, and not questions put to the same images.
    """
    groups = {name: table[name].nunique(dropna=False) for name in group_columns(table)}
    candidates = [name for name, n in groups.items() if 2 <= n <= _ACROSS]
    candidates.sort(key=lambda name: (name == "race", groups[name]))
    for name in reversed(candidates):
        keys = [other for other in groups if other != name and groups[other] > 1]
        # a metric that only goes with a group says nothing of its own
        keys += ["metric"] if not keys or table.duplicated([name, *keys]).any() else []
        rows = table.groupby(keys, sort=False, dropna=False)["n"]
        if (rows.nunique() > 1).any() and len(table) >= 0.8 * len(rows) * groups[name]:
            return name, keys
    return None


def unsaid(table: pd.DataFrame) -> str:
    """What the percents of a wide table are, where its rows do not say: a sentence for its caption."""
    found = across(table)
    if found is None or "metric" in found[1]:
        return ""
    metrics = [str(metric) for metric in table["metric"].unique()]
    units = " or ".join(dict.fromkeys(map(unit_of, metrics)))
    return f" {units.capitalize()}: {', '.join(metrics)}."


def wide_table(table: pd.DataFrame, caption: str, label: str) -> str | None:
    """A table as one LaTeX float as wide as the page; None where its groups do not fit across.

    Parameters
    ----------
    table : study table, percents 0-100
    caption, label : plain text; the label is used as it is

    Returns
    -------
    str, which needs the package booktabs; each rate has its interval in the row below, then the
    published one and, on test cards, the planted one; n stands above the rows that share it
    """
    found = across(table)
    if found is None:
        return None
    name, keys = found
    groups = list(dict.fromkeys(table[name]))
    rows = list(_rows(table, name, keys, groups))
    heads = [wrap(str(group), _HEAD) for group in groups]
    widths = [
        max(text_width(row[i]) * (1 if big else _SMALL) for row, big in rows)
        for i in range(len(keys) + len(groups))
    ]
    for i, lines in enumerate(heads, len(keys)):
        widths[i] = max(widths[i], *map(text_width, lines))
    for room in _KEYS:
        needed = sum(min(width, room) for width in widths[: len(keys)]) + sum(widths[len(keys) :])
        needed += _SEP * (len(widths) - 1)
        if needed <= PAGE:
            break
    lines = [max(len(wrap(text, room)) for text in row[: len(keys)]) for row, _ in rows]
    if needed > PAGE or sum(lines) * LINE > HEIGHT or max(map(len, heads)) > LINES:
        return None
    environment = "table" if needed <= COLUMN else "table*"
    # "metric" is no word of a paper
    shown = ["" if key == "metric" else escape(key.replace("_", " ")) for key in keys]
    shown += [stacked(lines, "r", "b") for lines in heads]
    body = [" & ".join(_cells(row, big, len(keys), room)) + r" \\" for row, big in rows]
    columns = "l" * len(keys) + "r" * len(groups)
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            rf"\begin{{{environment}}}[tp]",
            r"\centering",
            rf"\caption{{{escape(caption)}}}\vspace{{4pt}}",
            rf"\label{{{label}}}",
            rf"\footnotesize\setlength{{\tabcolsep}}{{{_SEP / 2:g}pt}}",
            rf"\begin{{tabular*}}{{\linewidth}}{{@{{\extracolsep{{\fill}}}}{columns}@{{}}}}",
            r"\toprule",
            " & ".join(shown) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular*}",
            rf"\end{{{environment}}}",
            "",
        ]
    )


def _rows(table, name, keys, groups) -> Iterator[tuple[list[str], bool]]:
    """Cells as plain text, and whether they are in full size."""
    table = table.assign(doubt=doubts(table))
    blank, before, found = [""] * (len(keys) - 1), None, []
    for key, part in table.groupby(keys, sort=False, dropna=False):
        row = part.drop_duplicates(name).set_index(name).reindex(groups)
        found.append((key, row, [count(n) for n in row["n"]]))
    order = list(dict.fromkeys(tuple(ns) for _, _, ns in found))
    # rows of one n beside each other, so that it is said once
    for key, row, ns in sorted(found, key=lambda each: order.index(tuple(each[2]))):
        measured = row["percent"].notna().any()
        if measured and ns != before:
            yield ["n", *blank, *ns], True
            before = ns
        marks = np.where(row["doubt"].fillna(False).astype(bool), DOUBT, "")
        metric = next(iter(row["metric"].dropna()), "") if "metric" in row else ""
        said = functools.partial(number, decimals=decimals_of(metric))
        rates = [said(x) + mark for x, mark in zip(row["percent"], marks, strict=True)]
        yield [*map(str, key), *(rates if measured else [""] * len(groups))], True
        ends = zip(row["ci_low"], row["ci_high"], strict=True)
        ends = ["" if pd.isna(low) else f"[{said(low)}, {said(high)}]" for low, high in ends]
        if any(ends):
            yield ["", *blank, *ends], False
        for column in ("published", "planted"):
            if column in row and row[column].notna().any():
                yield [column, *blank, *map(said, row[column])], False


def _cells(row: list[str], big: bool, keys: int, room: float) -> Iterator[str]:
    for i, text in enumerate(row):
        cell = stacked(wrap(text, room) if i < keys else [text], "l")
        if not big and text:
            cell = (r"\quad " if i == 0 else "") + rf"{{\scriptsize {cell}}}"
        yield "$n$" if (i, text) == (0, "n") else cell


def sentences(text: str) -> list[str]:
    """The sentences of a caption."""
    return text.replace(". ", ".\0").split("\0")


def fitting(text: str, across: float) -> tuple[str, str]:
    """A caption's sentences that fit into three lines, at least the first, and the rest.

    Parameters
    ----------
    text : plain text of a caption in \\footnotesize
    across : points that a line has
    """
    parts = sentences(text)
    for kept in range(len(parts), 1, -1):
        said = " ".join(parts[:kept])
        # the number of the float stands before it, and no line is filled to its end
        if text_width("Figure 10: " + said) <= 0.95 * LINES * across:
            return said, " ".join(parts[kept:])
    return parts[0], " ".join(parts[1:])
