"""Sensitivity: how much headline numbers move with choices that nobody published."""

from functools import partial

import pandas as pd

from clipeval.classify.class_sets import load_class_set
from clipeval.output.numbers import interval, is_nats, number, p_value
from clipeval.stats import leading_factor
from clipeval.studies import get_study
from clipeval.studies.sensitivity.spread import intervals_of, range_of, uncertainties


def widest(table: pd.DataFrame, study: str, *, precision: str, resize: str) -> pd.DataFrame:
    """The rows, of one precision and resize, of the quantity of a study that choices move the most.

    Of the study's own choices, such as k, those of the reference alone are shown.

    Returns
    -------
    DataFrame: rows of `table`, and `wording`, what sets a class set apart from the others
    """
    table = table[table["study"] == study]
    ranges = range_of(table)
    rows = table[table["quantity"] == ranges.loc[ranges["width"].idxmax(), "quantity"]]
    rows = rows[(rows["precision"] == precision) & (rows["resize"] == resize)]
    for choice in get_study(study).choices:
        rows = rows[rows[choice] == rows.loc[rows["reference"], choice].iloc[0]]
    loads = table.attrs.get("class_sets", {})
    titles = {spec: title_of(loads.get(spec, spec)) for spec in rows["class_set"].unique()}
    if len(set(titles.values())) < len(titles):
        titles = {spec: spec for spec in titles}
    return rows.assign(wording=rows["class_set"].map(titles))


def title_of(class_set: str) -> str:
    """What a class set is, for a label: the note of its variant where it has one, else its name."""
    found = load_class_set(class_set) if class_set else None
    return (found.note or found.spec) if found else "captions"


def show_range(session, ranges: pd.DataFrame) -> None:
    """Draw `uncertainties`: figure `range` of percents, and `range_nats` of what is in nats."""
    from IPython.display import display

    from clipeval.output import figures

    both = uncertainties(ranges)
    nats = both["metric"].map(is_nats).astype(bool)
    text = "What sampling and what choices leave open, around the value at the reference choice."
    both.attrs["intervals"] = ranges.attrs["intervals"]
    parts = (("range", both[~nats], "percent of images"), ("range_nats", both[nats], "nats"))
    for id, rows, unit in parts:
        if len(rows):
            how = {"y": "quantity", "hue": "uncertainty", "panel": "study", "xlabel": unit}
            picture = partial(figures.interval_plot, rows, **how, width="double")
            said = (
                f"{intervals_of(rows)}, and from the lowest to the highest value over all choices"
            )
            display(session.figure(id, picture, text, intervals=said))


def show_widest(session, table: pd.DataFrame) -> None:
    """Draw the rows of `widest` for each study, figures `widest_STUDY`."""
    from IPython.display import display

    from clipeval.output import figures

    p = session.parameters
    for study in table["study"].unique():
        rows = widest(table, study, precision=p.precision, resize=p.resize)
        quantity, unit = rows["quantity"].iloc[0], "percent of images"
        if is_nats(rows["metric"].iloc[0]):
            unit = "nats"
        look = {
            "y": "wording",
            "hue": "templates",
            "xlabel": f"{quantity}, {unit}",
            "width": "double",
        }
        picture = partial(figures.interval_plot, rows, **look)
        text = f"{quantity[:1].upper()}{quantity[1:]} by class set and templates."
        how = intervals_of(table[table["study"] == study])
        display(session.figure(f"widest_{study}", picture, text, intervals=how))


def most(parts: pd.DataFrame) -> str:
    """A line for each quantity: the choice that accounts for the most, where a test finds any to matter.

    Parameters
    ----------
    parts : DataFrame, as `breakdown` returns it
    """
    lines = []
    choices = parts[(parts["choice"] != "interactions") & parts["percent"].notna()]
    for (study, quantity), rows in choices.groupby(["study", "quantity"], sort=False):
        first = leading_factor(rows)
        if first is not None:
            beyond = interval(*first[["excess", "excess_low", "excess_high"]])
            said = (
                f"{first['choice']} matters most, with {number(first['percent'])} % of the variance over "
                f"choices, {beyond} % beyond what noise would give it (corrected {p_value(first['p_adjusted'])})"
            )
        elif rows["p"].isna().all():
            said = "one choice alone was varied, so that its effect cannot be told from noise"
        else:
            said = f"no choice is found to matter (least corrected {p_value(rows['p_adjusted'].min())})"
        lines.append(f"- {study}, {quantity}: {said}.")
    return "\n".join(lines) or "No choice moves any of these numbers."


#: a remark for test cards
ON_CARDS = (
    "> **On test cards this shows the machinery; it is not a result about any model.** The cards were drawn for the "
    "default prompts alone. Another wording shares some of its words with these, and so some of their "
    "vector; where it shares few, its answers are arbitrary. How much a variant moves the numbers here "
    "says how many words it shares, and nothing about any model."
)
