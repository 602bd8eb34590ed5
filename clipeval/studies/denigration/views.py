"""What the denigration notebook shows: tables, figures and what they say in words, one grouping after the other."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import display

from clipeval.output.markup import as_markdown, markdown
from clipeval.output.sentences import between_extremes, picked
from clipeval.output.tables import show_frame
from clipeval.stats import extreme_rates
from clipeval.studies.denigration.tables import (
    gaps,
    harm_categories,
    harm_classes,
    rates_by,
    top_labels,
)
from clipeval.studies.showing import draw, say, show_label_noise

#: group column of the paper's data set -> where its rates stand, and whether they are drawn
_OF_PAPER = {
    "race": ("arXiv 2108.02818, Table 2", True),
    "gender": ("arXiv 2108.02818, section 2.1", False),
    "age": ("arXiv 2108.02818, Table 3", True),
}


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
    session, predictions : the study's session, and what `predict` or `counted_answers` returned
    id : str, id of the table and of the figure
    by : sequence of str, at most two grouping columns; the second is the figure's colour
    among : str, how the groups are named in captions, such as "by race"
    source : str, what was published of them, such as "arXiv 2108.02818, Table 2"
    figure : bool, also draw it

    Returns
    -------
    DataFrame, as `studies.denigration.rates_by` describes it
    """
    confidence = session.parameters.confidence
    options = {"class_set": session.class_set, "by": by, "confidence": confidence}
    table = session.tabulate(rates_by, predictions, **options)
    kinds = list(pd.unique(table["metric"]))
    kinds = kinds[:-1] if len(kinds) > 1 else kinds  # the last is all of them together
    text = ", ".join([f"Images classified as {' or '.join(kinds)}", *([among] if among else [])])
    known = source if table["published"].notna().any() else None
    how = {"intervals": f"{100 * confidence:g} % Wilson intervals", "published_source": known}
    display(session.table(id, table, f"{text}.", **how))
    if figure:
        axes = {"y": by[0], "hue": by[1] if len(by) > 1 else None, "panel": "metric"}
        draw(session, id, table, f"{text}.", how, **axes, width="double")
    if by:
        say(in_words(table, by, confidence))
    return table


def show_groups(session, predictions: pd.DataFrame) -> None:
    """Keep and show the rates by each grouping, a section each, and the classes that make them up.

    Tables and figures are called `by_GROUP` and `classes_by_GROUP`. On the paper's data set, unless groups
    are asked for, these are the paper's: race, gender, race and gender, age, and the age groups of its text.
    """
    usual = session.on_data_of_paper and not session.groupings.asked
    for grouping in session.groupings:
        name = grouping.name
        source, drawn = _OF_PAPER.get(name, ("", True))
        heading = f"## By {as_markdown(name)}"
        if session.comparable and "Table" in source:
            heading += f" ({source.rpartition(', ')[2]})"
        say(heading)
        how = {"among": f"by {name}", "source": source, "figure": drawn or not usual}
        show_rates(session, predictions, grouping.id, by=[name], **how)
        if name == "race" or not usual:
            _show_classes(session, predictions, grouping)
        if usual and name == "gender":
            say(_CROSSED)
            pair = {"by": ["race", "gender"], "among": "by race and gender"}
            show_rates(session, predictions, "by_race_gender", **pair)
        if usual and name == "age":
            say(_AGE_GROUPS)
            among, source = "by the age groups of the paper's text", _OF_PAPER["gender"][0]
            how = {"among": among, "source": source, "figure": False}
            show_rates(session, predictions, "by_age_group", by=["age_group"], **how)
            if said := session.on_test_cards(_ON_CARDS):
                display(said)


_CROSSED = "An average over a group can hide a smaller one. Nothing was published for race and gender together."
_AGE_GROUPS = (
    "The paper's Table 3 gives either harm for each of FairFace's nine bins; its text speaks of three groups "
    "(0-20, 20-60, over 70), which are made of whole bins here; it leaves out 60-69."
)
_ON_CARDS = (
    "On test cards the statements by age and gender are met only as far as Table 2, which is exact there, "
    "and each other allow: they cannot all hold at once."
)


def _show_classes(session, predictions: pd.DataFrame, grouping) -> None:
    confidence = session.parameters.confidence
    options = {"class_set": session.class_set, "by": [grouping.name], "confidence": confidence}
    table = session.tabulate(harm_classes, predictions, **options)
    text = f"Top classes of the harm categories, by {grouping.name}."
    how = {"intervals": f"{100 * confidence:g} % Wilson intervals"}
    display(session.table(f"classes_{grouping.id}", table, text, **how))


def show_gaps(session, predictions: pd.DataFrame) -> None:
    """Keep and show `gaps` of every grouping; nothing where there is none."""
    p, by = session.parameters, session.groupings.names
    if not by:
        return
    options = {"class_set": session.class_set, "by": by, "confidence": p.confidence}
    found = gaps(predictions, **options, seed=p.seed)
    drawn = f"{100 * p.confidence:g} % intervals (Newcombe"
    largest = f"{drawn}; of the largest gap between any two groups)"
    text = "The two groups farthest apart, percentage points. p values: chi-squared of shuffled groups, "
    text += "corrected (Holm) for the rows."
    display(
        session.table(
            "gaps", found.largest, text, extra=["p_adjusted", "control_p95"], intervals=largest
        )
    )
    tests = ["chi2", "dof", "p_chi2", "min_expected", "p_permutation", "p_adjusted"]
    tests += ["control_median", "control_p95", "control_below"]
    display(show_frame(found.largest[["grouping", "category", *tests]]))
    text = "Each group's rate minus the rate of all images, percentage points; detectable: the smallest that "
    text += "chi-squared finds with 80 % power."
    extra = ["detectable"]
    display(
        session.table("from_overall", found.from_overall, text, extra=extra, intervals=f"{drawn})")
    )
    ratios = ["rate", "overall", "ratio", "ratio_low", "ratio_high"]
    display(show_frame(found.from_overall[["grouping", "group", "category", *ratios]], decimals=2))


def show_noise(session, predictions: pd.DataFrame) -> None:
    """Keep and show how far wrong labels would move the rate of each category, where that is asked for."""
    top = top_labels(predictions, session.class_set)
    label, categories = top["label"].astype(object), harm_categories(session.class_set)
    parts = [
        top.assign(quantity=q, hit=label.isin(m), held_against="") for q, m in categories.items()
    ]
    show_label_noise(session, pd.concat(parts, ignore_index=True))


def in_words(table: pd.DataFrame, by: Sequence[str], confidence: float = 0.95) -> str:
    """Lowest and highest group of each category, and whether they can be told apart (Markdown).

    Parameters
    ----------
    table : DataFrame, as `rates_by` returns it
    by : its grouping columns
    confidence : float in (0, 1), of the intervals, which allow for the two groups having been picked
    """
    lines, picks = [], []
    for metric, rows in table[table["n"] > 0].groupby("metric", sort=False):
        if len(rows) < 2:
            continue
        names = [" x ".join(map(str, key)) for key in rows[list(by)].itertuples(index=False)]
        found = extreme_rates(rows["count"].to_numpy(int), rows["n"].to_numpy(int), confidence)
        picks.append(found)
        ends = between_extremes(found, names)
        lines.append(markdown("- {metric}: {ends}.", metric=metric, ends=ends))
    if said := picked(picks, confidence):
        lines.append(f"\n{said}")
    return "\n".join(lines)
