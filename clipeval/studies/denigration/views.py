"""What the denigration notebook shows of one grouping: table, figure and what they say in words."""

from collections.abc import Sequence

import pandas as pd

from clipeval.output.markup import markdown
from clipeval.output.sentences import PICKED, between_extremes
from clipeval.stats import extreme_rates
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
        display(Markdown(in_words(table, by, confidence)))
    return table


def in_words(table: pd.DataFrame, by: Sequence[str], confidence: float = 0.95) -> str:
    """Lowest and highest group of each category, and whether they can be told apart (Markdown).

    Parameters
    ----------
    table : DataFrame, as `rates_by` returns it
    by : its grouping columns
    confidence : float in (0, 1), of the intervals, which allow for the two groups having been picked
    """
    lines = []
    for metric, rows in table[table["n"] > 0].groupby("metric", sort=False):
        if len(rows) < 2:
            continue
        names = [" x ".join(map(str, key)) for key in rows[list(by)].itertuples(index=False)]
        found = extreme_rates(rows["count"].to_numpy(int), rows["n"].to_numpy(int), confidence)
        ends = between_extremes(found, names)
        lines.append(markdown("- {metric}: {ends}.", metric=metric, ends=ends))
    if lines:
        lines.append(f"\n{PICKED.format(100 * confidence)}")
    return "\n".join(lines)
