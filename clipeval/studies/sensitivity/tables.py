"""Sensitivity: how much headline numbers move with choices that nobody published."""

import pandas as pd

from clipeval.classify.class_sets import load_class_set
from clipeval.output.numbers import interval, number, p_value
from clipeval.stats import leading_factor
from clipeval.studies.sensitivity.variation import (
    range_of,
)


def widest(table: pd.DataFrame, study: str, *, precision: str, resize: str) -> pd.DataFrame:
    """The rows, of one precision and resize, of the quantity of a study that choices move the most.

    Returns
    -------
    DataFrame: rows of `table`, and `wording`, what sets a class set apart from the others
    """
    table = table[table["study"] == study]
    ranges = range_of(table)
    rows = table[table["quantity"] == ranges.loc[ranges["width"].idxmax(), "quantity"]]
    rows = rows[(rows["precision"] == precision) & (rows["resize"] == resize)]
    loads = table.attrs.get("class_sets", {})
    titles = {spec: title_of(loads.get(spec, spec)) for spec in rows["class_set"].unique()}
    if len(set(titles.values())) < len(titles):
        titles = {spec: spec for spec in titles}
    return rows.assign(wording=rows["class_set"].map(titles))


def title_of(class_set: str) -> str:
    """What a class set is, for a label: the note of its variant where it has one, else its name."""
    found = load_class_set(class_set) if class_set else None
    return (found.note or found.spec) if found else "captions"


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
                f"choices, {beyond} % beyond what noise would give it ({p_value(first['p_adjusted'])})"
            )
        elif rows["p"].isna().all():
            said = "one choice alone was varied, so that its effect cannot be told from noise"
        else:
            said = f"no choice is found to matter (least {p_value(rows['p_adjusted'].min())})"
        lines.append(f"- {study}, {quantity}: {said}.")
    return "\n".join(lines) or "No choice moves any of these numbers."


#: a remark for test cards
ON_CARDS = (
    "> **On test cards this shows the machinery; it is not a result about any model.** The cards were drawn for the "
    "default prompts alone. Another wording shares some of its words with these, and so some of their "
    "vector; where it shares few, its answers are arbitrary. How much a variant moves the numbers here "
    "says how many words it shares, and nothing about any model."
)
