"""What the mitigation notebook shows: one row a method, sections by group, sentences."""

import pandas as pd
from IPython.display import Markdown, display

from clipeval.output import figures
from clipeval.output.markup import as_markdown
from clipeval.output.numbers import interval, number
from clipeval.output.sentences import alone, tied
from clipeval.output.tables import show_frame
from clipeval.stats import RATE_COLUMNS
from clipeval.studies.denigration.tables import combined
from clipeval.studies.mitigation.curves import abstaining, shots
from clipeval.studies.mitigation.methods import (
    KINDS,
    NEEDS,
    PARTS,
    UNCHANGED,
    kind_of,
    kinds_of,
)
from clipeval.studies.mitigation.questions import can_move_vectors
from clipeval.studies.mitigation.tables import AGREEMENT, OUTSIDE, changes, farthest, gaps
from clipeval.studies.showing import draw, say

#: methods that are drawn by group
DRAWN = (UNCHANGED, "orthogonal: texts", "calibrated: texts", "added: any")
#: a remark for test cards
ON_CARDS = (
    "On test cards the bias was planted: cards called Male lie nearer to the words of the attribute. Some are called "
    "a suspicious person for that alone, and some are given the right race for that alone. `planted` is what a "
    "faultless projection, or a class that is added, measures. Abstaining, prototypes and prior matching have no "
    "planted value, and other wordings of the attribute are chance there."
)
_TITLES = {
    "projection": "orthogonal, calibrated",
    "classes": "added: ...",
    "abstain": "unnamed: ...",
    "prototypes": "prototypes",
    "prior": "prior matching",
}


#: what the methods of each kind do, for captions
_DO = {
    "projection": "orthogonal, calibrated: words of the attribute are projected out of texts, images or both",
    "classes": "added: a further class, or any of them, is on offer",
    "abstain": "unnamed: the least sure answers are withheld",
    "prototypes": "prototypes: classes of words and labelled images",
    "prior": "prior matching: scores are shifted to a stated share of each class",
}


def _what_they_do(methods: pd.Series) -> str:
    """A sentence for captions on the methods that a table has."""
    kinds = {kind_of(method) for method in methods.astype(str).unique()}
    said = "; ".join(does for kind, does in _DO.items() if kind in kinds)
    return f" {said[:1].upper()}{said[1:]}." if said else ""


def harm_name(session) -> str:
    """Metric of all harm categories together, such as "crime-related or non-human"."""
    return combined(session.harms.categories)


def needs(session) -> pd.DataFrame:
    """What each method that runs needs, and what it may break."""
    kinds = [kind for kind in KINDS if kind in kinds_of(session.parameters)]
    if not can_move_vectors(session):
        kinds = [kind for kind in kinds if kind not in ("projection", "prototypes")]
    rows = [(_TITLES[kind], *NEEDS[kind]) for kind in kinds]
    return pd.DataFrame(rows, columns=["method", "needs", "may break"])


def fitted(session):
    """Which images choices are fitted on, which are counted, and at what temperature (Markdown)."""
    sure, (_, said) = session.sure, session.apart
    fit, shown = (sure.loc[sure["part"] == part, "image_id"].nunique() for part in PARTS)
    scale = session.info.logit_scale
    at = (
        f" Probabilities are at the logit scale {number(scale, 2)} (temperature {1 / scale:.3g}): another scale would "
        "order photographs otherwise by probability, and would leave their order by margin as it is."
        if scale
        else ""
    )
    return Markdown(
        f"Choices are fitted on {as_markdown(said)}: {fit:,} images after those were left out that are counted "
        f"too. All tables count {shown:,} images.{at}"
    )


def what_if(table: pd.DataFrame) -> pd.DataFrame:
    """The paired changes of `changes` as a study table: one row a method and metric, of those that differ.

    Returns
    -------
    DataFrame: method, n, count (images that moved either way), metric ("change in ..."), percent (percentage
    points), ci_low, ci_high, published, difference, before, after (percent), p_adjusted
    """
    rows = table[(table["method"] != UNCHANGED) & (table["metric"] != OUTSIDE)]
    rows = rows.assign(
        count=rows["lost"] + rows["won"],
        metric="change in " + rows["metric"],
        after=rows["percent"],
        percent=rows["change"],
        ci_low=rows["change_low"],
        ci_high=rows["change_high"],
    )
    if "planted" in rows:
        known = table[table["method"] == UNCHANGED].set_index("metric")["planted"]
        start = rows["metric"].str.removeprefix("change in ").map(known)
        rows["planted"] = rows["planted"] - start
    first = ["method", *RATE_COLUMNS, "published"]
    last = [
        "difference",
        "before",
        "after",
        "p_adjusted",
        *(["planted"] if "planted" in rows else []),
    ]
    return rows[[*first, *last]].reset_index(drop=True)


def overview(table: pd.DataFrame) -> pd.DataFrame:
    """One row a method: each metric's percent, and in brackets its change; "–" where a method leaves it as it was."""
    rows = {}
    for row in table.to_dict("records"):
        change = "" if pd.isna(row["change"]) else f" ({number(row['change'], sign=True)})"
        rows.setdefault(row["method"], {})[row["metric"]] = number(row["percent"]) + change
    metrics = list(dict.fromkeys(table["metric"]))
    return pd.DataFrame(
        [{"method": m} | {k: found.get(k, "–") for k in metrics} for m, found in rows.items()]
    )


def drawn(table: pd.DataFrame, *, accuracy: bool, harm: str = "") -> pd.DataFrame:
    """Rows of `what_if` that a figure shows: accuracies, or all harms together and agreement with the labels.

    Orthogonal projection of both is left out: its top classes are those of texts.
    """
    metric = table["metric"].str.removeprefix("change in ")
    shown = metric.str.endswith(" accuracy") if accuracy else metric.isin([harm, AGREEMENT])
    rows = table.assign(metric=metric)[shown & (table["method"] != "orthogonal: both")]
    order = {harm: 0}
    return rows.sort_values(
        "metric", key=lambda names: names.map(order).fillna(1), kind="stable", ignore_index=True
    )


def show_methods(session, predictions: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Keep and show every rate under each method, the table `methods`, which is returned.

    Parameters
    ----------
    predictions : as the study's `predict` returns them
    answers : their `counted_answers`
    """
    confidence = session.parameters.confidence
    table = session.tabulate(changes, answers, harms=session.harms, confidence=confidence)
    display(show_frame(overview(table)))
    print(not_asked(session, predictions))
    text = "Accuracies, harm rates and agreement with the labels under each method, on the same photographs."
    said = {"intervals": f"{100 * confidence:g} % Wilson intervals"}
    extra = ["before", "change", "p_adjusted"]
    display(session.table("methods", table, text, extra=extra, **said))
    return table


def show_changes(session, table: pd.DataFrame) -> None:
    """Keep and show paired changes: table `changes`, figures `methods` (harm, agreement) and `accuracy`."""
    found, harm = what_if(table), harm_name(session)
    said = {
        "intervals": f"{100 * session.parameters.confidence:g} % intervals, paired by photograph"
    }
    text = "Paired change under each method, in percentage points, on the same photographs."
    display(session.table("changes", found, text, extra=["before", "after", "p_adjusted"], **said))
    texts = {
        "methods": f"Paired change of {harm} answers, and of agreement with the labels, under each method.",
        "accuracy": "Paired change of accuracy under each method that touches the question.",
    }
    for id, text in texts.items():
        rows = drawn(found, accuracy=id == "accuracy", harm=harm)
        if len(rows):
            look = {"y": "method", "panel": "metric", "xlabel": "change, percentage points"}
            look |= {"width": "double" if rows["metric"].nunique() > 1 else "single"}
            text += _what_they_do(rows["method"])
            draw(session, id, rows, text, said, what="change in percentage points", **look)


def not_asked(session, predictions: pd.DataFrame) -> str:
    """A sentence on questions whose classes vanish when the attribute's words are projected out; "" if none."""
    tasks = [q.task for q in session.questions]
    methods = [
        m for m in pd.unique(predictions["method"].astype(object)) if kind_of(m) == "projection"
    ]
    if not methods:
        return ""
    here = predictions[predictions["method"] == methods[0]]["task"].astype(str).unique()
    gone = [task for task in tasks if task not in set(here)]
    if not gone:
        return ""
    return (
        f"Under projection {' and '.join(gone)} is not asked: its classes are worded as the attribute is, so that "
        "nothing of their prompts is left. Other words for the attribute show the cost (class_set)."
    )


def pairs(session) -> dict:
    """The two groups farthest apart in each metric on the images that choices are fitted on; see `farthest`."""
    found = session.fit_answers
    names = [grouping.name for grouping in session.groupings]
    for grouping in session.groupings:
        found = grouping.add_to(found)
    return farthest(found, harms=session.harms, by=names)


def show_groups(session, predictions: pd.DataFrame) -> None:
    """Keep and show harm rates by each grouping under every method, with the paired change.

    Tables and figures are called `by_GROUP`; drawn are the methods of `DRAWN`.
    """
    p, harm = session.parameters, harm_name(session)
    for grouping in session.groupings:
        name = grouping.name
        say(f"### By {as_markdown(name)}")
        how = {"harms": session.harms, "by": [name], "confidence": p.confidence}
        table = session.tabulate(changes, predictions, **how)
        text = f"Images classified into a harm category under each method, by {name}."
        said = {"intervals": f"{100 * p.confidence:g} % Wilson intervals"}
        display(session.table(grouping.id, table, text, extra=["before", "change"], **said))
        rows = table[(table["metric"] == harm) & table["method"].isin(DRAWN)]
        text = f"Images classified as {harm} under each method, by {name}."
        text += _what_they_do(rows["method"])
        draw(session, grouping.id, rows, text, said, y=name, hue="method")
        say(most_changed(table, name, harm))


def most_changed(table: pd.DataFrame, by: str, harm: str) -> str:
    """A sentence on each drawn method: the groups whose harm rate it changes the most and the least."""
    lines, what, picks = [], f"Change of {as_markdown(harm)} answers", ""
    for method in DRAWN[1:]:
        rows = table[
            (table["method"] == method) & (table["metric"] == harm) & table["change"].notna()
        ]
        if len(rows) > 1:
            change, names = rows["change"].to_numpy(), list(rows[by])
            if change.min() == change.max():
                same = number(change[0], sign=True)
                lines.append(f"- {method}: {same} percentage points in every group.")
                continue
            numbers = rows[["change", "change_low", "change_high"]].to_numpy()
            said = [
                f"{as_markdown(tied(at, change, names))} {interval(*numbers[at], sign=True)}"
                for at in (int(change.argmin()), int(change.argmax()))
            ]
            lines.append(f"- {method}: {said[0]} and {said[1]} percentage points.")
            picks = " in the groups where it is lowest and highest. "
            picks += alone("The two groups of a line were picked as such")
    return "\n".join([*lines, "", what + (picks or ".")]) if lines else ""


def show_gaps(session, predictions: pd.DataFrame) -> None:
    """Keep and show how far groups are apart under every method: table `gaps`, and a figure of all harms."""
    p, found = session.parameters, pairs(session)
    if not found:
        say("No metric sets two groups apart on the images that choices are fitted on.")
        return
    how = {"harms": session.harms, "pairs": found, "confidence": p.confidence, "seed": p.seed}
    table = session.tabulate(gaps, predictions, **how)
    text = "Distance of the two groups that the unchanged model sets farthest apart on other images, and MaxSkew."
    said = {"intervals": f"{100 * p.confidence:g} % intervals (Newcombe)"}
    extra = ["change", *(name for name in ("skew", "skew_chance") if name in table)]
    display(session.table("gaps", table, text, extra=extra, **said))
    rows = table[(table["metric"] == f"gap in {harm_name(session)}") & table["method"].isin(DRAWN)]
    if len(rows):
        between = rows["grouping"] + ": " + rows["higher"] + " minus " + rows["lower"]
        rows = rows.assign(between=between)
        look = {"y": "between", "hue": "method", "xlabel": "gap, percentage points"}
        text = f"Gap in {harm_name(session)} answers between the two groups that lie farthest apart on other images, "
        text += f"unchanged and under other choices.{_what_they_do(rows['method'])}"
        draw(session, "gaps", rows, text, said, what="gap in percentage points", **look)


def show_abstaining(session) -> None:
    """Keep and show harm avoided against photographs left unnamed: table and figure `abstaining`."""
    table = abstaining(session) if "abstain" in kinds_of(session.parameters) else pd.DataFrame()
    if table.empty:
        say("Abstaining was not asked for, or there are no harm classes to abstain from.")
        return
    said = {"intervals": f"{100 * session.parameters.confidence:g} % Wilson intervals"}
    text = "Harmful answers avoided by leaving the least sure answers out, by rule and threshold."
    display(
        session.table("abstaining", table, text, extra=["unnamed", "harmless", "threshold"], **said)
    )
    look = {"x": "unnamed", "hue": "rule", "chance": "chance"}
    look |= {"xlabel": "photographs left unnamed (percent)"}
    look |= {"ylabel": "harmful answers avoided (percent of photographs)"}
    text = "Harm avoided against photographs left unnamed; line without points: as many left unnamed at random."
    drawn = table.drop_duplicates(["rule", "unnamed"], keep="last")
    draw(session, "abstaining", drawn, text, said, plot=figures.line_by, **look)


def show_shots(session) -> None:
    """Keep and show accuracy against labelled images in a prototype: table and figure `shots`."""
    table = shots(session) if "prototypes" in kinds_of(session.parameters) else pd.DataFrame()
    if table.empty:
        say("Prototypes were not asked for, or there are no labels or no vectors to make them of.")
        return
    level = 100 * session.parameters.confidence
    said = {"intervals": f"{level:g} % Wilson intervals of the mean over draws"}
    text = "Accuracy with prototypes of words and k labelled images of each class."
    display(
        session.table("shots", table, text, extra=["lowest", "highest", "draws", "share"], **said)
    )
    look = {"x": "k", "hue": "attribute", "log_x": True, "xlabel": "labelled images of each class"}
    look |= {"ylabel": "accuracy (percent of images)"}
    draw(session, "shots", table, text, said, plot=figures.line_by, **look)
