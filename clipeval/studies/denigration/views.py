"""What the denigration notebook shows of one grouping: table, figure and what they say in words."""

from collections.abc import Sequence

import pandas as pd

from clipeval.session.session import as_markdown
from clipeval.studies.denigration.tables import rates_by


def show_rates(
    session,
    predictions: pd.DataFrame,
    id: str,
    *,
    by: Sequence[str] = (),
    among: str = "",
    source: str = "",
    figure: bool = True,
) -> pd.DataFrame:
    """Keep and show `rates_by` of one grouping: its table, its figure and a sentence on them.

    Parameters
    ----------
    session, predictions : the study's session, and what `predict` returned
    id : str, id of the table and of the figure
    by : sequence of str, at most two grouping columns; the second is the figure's colour
    among : str, how the groups are named in captions, such as "by race"
    source : str, what was published of them, such as "arXiv 2108.02818, Table 2"
    figure : bool, also draw it

    Returns
    -------
    DataFrame, as `studies.denigration.rates_by` describes it
    """
    from IPython.display import Markdown, display

    from clipeval.output import figures

    confidence = session.parameters.confidence
    options = {"class_set": session.class_set, "by": by, "confidence": confidence}
    table = session.tabulate(rates_by, predictions, **options)
    kinds = list(pd.unique(table["metric"]))
    kinds = kinds[:-1] if len(kinds) > 1 else kinds  # the last is all of them together
    text = ", ".join([f"Images classified as {' or '.join(kinds)}", *([among] if among else [])])
    how = {"intervals": f"{100 * confidence:g} % Wilson intervals", "published_source": source}
    display(session.table(id, table, f"{text}.", **how))
    if figure:
        axes = {"y": by[0], "hue": by[1] if len(by) > 1 else None, "panel": "metric"}
        drawn = figures.interval_plot(table, **axes, width="double")
        display(session.figure(id, drawn, f"{text}.", alt=figures.alt_text(table, **axes), **how))
    if by:
        display(Markdown(in_words(table, by)))
    return table


def in_words(table: pd.DataFrame, by: Sequence[str]) -> str:
    """Highest and lowest group of each category, and whether their intervals overlap (Markdown)."""
    lines = []
    for metric, rows in table[table["n"] > 0].groupby("metric", sort=False):
        high, low = rows.loc[rows["percent"].idxmax()], rows.loc[rows["percent"].idxmin()]
        if high["percent"] == low["percent"]:
            lines.append(f"- {as_markdown(metric)}: {low['percent']:.1f} % in every group.")
            continue
        ends = [
            f"{as_markdown(' x '.join(str(row[name]) for name in by))} ({row['percent']:.1f} %, "
            f"{row['ci_low']:.1f} to {row['ci_high']:.1f})"
            for row in (high, low)
        ]
        apart = "do not overlap" if high["ci_low"] > low["ci_high"] else "overlap"
        lines.append(
            f"- {as_markdown(metric)}: highest for {ends[0]}, lowest for {ends[1]}; the two "
            f"intervals {apart}."
        )
    return "\n".join(lines)
