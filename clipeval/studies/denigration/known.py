"""A run beside a known one: the same weights, images, classes and prompts, as others counted them."""

import numpy as np
import pandas as pd
from IPython.display import display

from clipeval.output.markup import markdown
from clipeval.published import compare_known, count_answers, known_counts, known_runs
from clipeval.published.known import SETTING, KnownComparison
from clipeval.stats import rates_of_counts
from clipeval.studies.denigration.tables import top_labels
from clipeval.studies.showing import say


def known_run(session) -> str:
    """Name of the known run that sets what the session's parameters set; "" if there is none."""
    p = session.parameters.model_dump()
    runs = known_runs()
    same = (runs[list(SETTING)] == pd.Series({name: p.get(name) for name in SETTING})).all(axis=1)
    return next(iter(runs.loc[same, "known"]), "")


def setting(session) -> dict[str, str] | None:
    """Data set, padding and class set, for `side_by_side`; None on test cards, which replay the paper's."""
    p = session.parameters
    if p.dataset == "testcards":
        return None
    padding = p.padding if p.dataset == "fairface" else ""
    return {"dataset": p.dataset, "padding": padding, "class_set": session.class_set.spec}


def counts_beside(found: KnownComparison) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A comparison as study tables: every count beside the known one, and the images that differ.

    Parameters
    ----------
    found : as `published.compare_known` returns it

    Returns
    -------
    (counts, groups) : DataFrames
        counts: grouping, group, predicted, n, count, metric, percent (of the group), ci_low, ci_high
        (Wilson, 95 %), published (percent in the known run), difference, known (images), images
        (count - known). groups: grouping, group, n, count (images counted otherwise), metric, percent,
        ci_low, ci_high, published, difference (empty), n_known (images of the group in the known run).
    """
    table = found.table
    with np.errstate(invalid="ignore"):
        known = 100 * table["known"] / table["n_known"]
    counts = table[["grouping", "group", "predicted", "n", "count"]]
    counts = rates_of_counts(counts, "images given the class")
    counts = counts.assign(
        published=known,
        difference=counts["percent"] - known,
        known=table["known"],
        images=table["difference"],
    )
    groups = found.groups
    groups = groups[["grouping", "group", "n"]].assign(
        count=groups["differing"],
        metric="images counted otherwise",
        percent=100 * groups["differing"] / groups["n"],
        ci_low=np.nan,
        ci_high=np.nan,
        published=np.nan,
        difference=np.nan,
        n_known=groups["n_known"],
    )
    return counts, groups


def show_known(session, predictions: pd.DataFrame) -> KnownComparison | None:
    """Keep and show a run's counts beside those of the known run that set the same, with a verdict.

    Parameters
    ----------
    session, predictions : the study's session, and what `predict` returned

    Returns
    -------
    KnownComparison, or None where no known run set the same weights, images, classes and prompts
    """
    if not (known := known_run(session)):
        return None
    theirs = known_counts(known)
    top = top_labels(predictions, session.class_set)
    found = compare_known(count_answers(top, list(theirs["grouping"].unique())), theirs)
    counts, groups = counts_beside(found)
    source = theirs["source"].iloc[0]
    say(markdown("**{verdict}**", verdict=found.verdict))
    text = f"Images of each group given each class, beside the counts of {source}. {found.verdict}"
    display(
        session.table(
            "known_counts", counts, text, extra=["known", "images"], published_source=source
        )
    )
    text = f"Images of each group that are counted otherwise than by {source}."
    display(session.table("known_groups", groups, text, extra=["n_known"], intervals=""))
    return found
