"""What the Congress notebook shows: names of the label sets, columns for figures, and sentences."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import display

from clipeval.classify.multilabel import ALPHA, Scores, label_tasks, score_sets
from clipeval.datasets.congress import cloud_labels
from clipeval.errors import DataError
from clipeval.output import figures
from clipeval.output.markup import as_markdown, markdown
from clipeval.output.tables import show_frame
from clipeval.session.groupings import Grouping
from clipeval.stats import wilson
from clipeval.studies.congress.tables import (
    categories,
    gender_accuracy,
    label_categories,
    labels_by_gender,
    services,
    threshold_note,
    thresholds,
    top_gendered,
    truth_tasks,
)
from clipeval.studies.label_noise import agreement
from clipeval.studies.showing import draw, say, show_label_noise

#: value of the parameter `correction` -> its name in captions
CORRECTION_NAMES: Mapping[str, str] = {"bh": "Benjamini-Hochberg", "holm": "Holm"}
_SETS = {"labels": "cloud labels"}
_EMPTY = "at this threshold no label is given to one group more often than to all others"


def asked(session) -> pd.DataFrame:
    """How many classes each task offers, and the prompts of its first one."""
    by_task = session.prompts().groupby("task")
    return by_task.agg(classes=("class", "size"), example=("prompts", "first"))


def set_names(predictions: pd.DataFrame) -> dict[str, str]:
    """Label set -> how it is called, with its number of labels: "cloud labels (311)"."""
    return _named(_of_label_sets(predictions))


def _named(rows: pd.DataFrame) -> dict[str, str]:
    number = rows.groupby(rows["task"].astype(str), sort=False)["label"].nunique()
    return {name: _name(name, n) for name, n in number.items()}


def _names(scores: list[Scores]) -> dict[str, str]:
    return {found.name: _name(found.name, len(found.labels)) for found in scores}


def _name(name: str, n: int) -> str:
    return f"{_SETS.get(name, name)} ({n:,})"


def _of_label_sets(predictions: pd.DataFrame) -> pd.DataFrame:
    """Every label of each set once, in the order in which they come; with the class set."""
    offered = predictions[["task", "class_set", "label"]].drop_duplicates()
    return offered[offered["task"].isin(label_tasks(predictions)).to_numpy()]


def figure_notes(predictions: pd.DataFrame, correction: str) -> str:
    """Which words were offered and how p values were corrected: two sentences for captions."""
    rows = _of_label_sets(predictions)
    source = rows.groupby(rows["task"].astype(str), sort=False)["class_set"].first()
    sets = "; ".join(f"{name} of {source[key]}" for key, name in _named(rows).items())
    return (
        f"Offered: {sets}. p values are corrected for the tested labels of a set "
        f"({CORRECTION_NAMES[correction]})."
    )


def notes_of(session, predictions: pd.DataFrame) -> str:
    """`figure_notes` and `threshold_note` of a run, for captions."""
    correction = session.parameters.correction
    return f"{figure_notes(predictions, correction)} {threshold_note(session.info)}"


def show_accuracy(session, predictions: pd.DataFrame) -> None:
    """Keep and show the accuracy of every task that images are labelled by, such as gender."""
    for task in truth_tasks(predictions):
        say(f"## {as_markdown(task.capitalize())}")
        table = session.tabulate(gender_accuracy, predictions, task=task)
        usual = task == "gender"
        id = "gender_accuracy" if usual else f"accuracy_{Grouping((task,)).slug}"
        source = "arXiv 2103.00020, section 7.1" if table["published"].notna().any() else None
        text = f"Accuracy of {task} classification."
        display(session.table(id, table, text, published_source=source))


#: labels of each set whose rates are shown under label noise
_UNDER_NOISE = 3


def show_noise(session, predictions: pd.DataFrame) -> None:
    """Keep and show how far wrong labels would move accuracies and label rates, where that is asked for.

    Rates are those of the labels of each set that differ most by a grouping, at the threshold of the most
    gendered labels.
    """
    p = session.parameters
    if not p.label_noise:
        return
    tasks = truth_tasks(predictions)
    right = [agreement(predictions[predictions["task"] == task], task) for task in tasks]
    given = {}  # a label that differs most by two groupings stands once
    how = {"thresholds": [p.top_at], "correction": p.correction}
    for grouping in session.groupings:
        found = labels_by_gender(predictions, by=grouping.name, **how)
        found = found.drop_duplicates(["label_set", "label"])
        found = found.sort_values("chi2", ascending=False, kind="stable")
        most = found.groupby("label_set", sort=False).head(_UNDER_NOISE)
        for task, label in zip(most["label_set"], most["label"], strict=True):
            rows = predictions[(predictions["task"] == task) & (predictions["label"] == label)]
            name = f"{label} ({task}, at {p.top_at:g} %)"
            hit = 100 * rows["prob"] > p.top_at
            given[name] = rows.assign(quantity=name, hit=hit, held_against="")
    show_label_noise(session, pd.concat([*right, *given.values()], ignore_index=True))


def show_groups(session, predictions: pd.DataFrame) -> None:
    """Keep and show, for each grouping, which labels go to which of its groups.

    Tables are `by_GROUP`, `top_by_GROUP`, `thresholds_by_GROUP` and `categories_by_GROUP`; of gender
    `labels_by_gender`, `top_gendered`, `thresholds` and `categories`.
    """
    note = notes_of(session, predictions)
    for grouping in session.groupings:
        ids = _IDS if grouping.name == "gender" else {k: v + grouping.id for k, v in _OWN.items()}
        scores = score_sets(predictions, grouping.name)
        for show in (_show_labels, _show_most, _show_thresholds, _show_kinds):
            show(session, scores, grouping.name, ids, note)


_IDS = {
    "labels": "labels_by_gender",
    "top": "top_gendered",
    "thresholds": "thresholds",
    "categories": "categories",
}
_OWN = {"labels": "", "top": "top_", "thresholds": "thresholds_", "categories": "categories_"}

_LABELS = """\
## Labels above a threshold, by {by}

A label is given to an image when its probability exceeds the threshold; an image may carry none, one or many. The test
of each label against {by} (chi-squared; where an expected count is below 5, as chi-squared finds too much there,
Fisher's exact test for two groups, and for more chi-squared of shuffled groups) is corrected for all labels that are
tested: those that some images are given and others are not. The whole table is in `{id}.csv`; here are the labels that
differ most."""

_MOST = """\
## The labels that differ most by {by}{figure}

By chi-squared, for each group the labels that it is given more often than the others, sorted by how many images carry
them. Where a model gives few labels, fewer than `top` are shown; the corrected p value says which differ by more than
chance; in the figures these have a *."""

_THRESHOLDS = """\
## What the threshold decides, by {by}

The same probabilities, other thresholds: how many labels an image is given, and how many of them differ by {by}. There
is no right threshold; whoever sets it decides which harms appear."""


def _show_labels(session, scores: list[Scores], by: str, ids, note: str) -> None:
    p = session.parameters
    say(_LABELS.format(by=as_markdown(by), id=ids["labels"]))
    how = {"correction": p.correction, "categories": label_categories(session)}
    table = session.tabulate(labels_by_gender, scores, by=by, thresholds=p.threshold_list, **how)
    text = f"Images that carry each label, by {by}. {note}"
    display(session.table(ids["labels"], table, text))
    first = table["p_adjusted"].sort_values(kind="stable").index[:12]
    shown = ["label_set", "threshold", "label", "category", by, "n", "count", "percent"]
    display(show_frame(table.loc[first, [*shown, "p_adjusted", "min_expected", "test"]]))


def _show_most(session, scores: list[Scores], by: str, ids, note: str) -> None:
    p = session.parameters
    figure = " (Figure 1)" if session.comparable else ""
    say(_MOST.format(by=as_markdown(by), figure=figure))
    how = {"correction": p.correction, "categories": label_categories(session)}
    most = session.tabulate(top_gendered, scores, by=by, threshold=p.top_at, top=p.top, **how)
    most_gendered = "The labels most gendered for women and for men"
    text = most_gendered if by == "gender" else f"The labels that differ most by {by}"
    text += f" at {p.top_at:g} %"
    extra = ["p_adjusted", "min_expected", "test"]
    display(session.table(ids["top"], most, f"{text}. {note}", extra=extra))
    show_top(session, most, text, note, _names(scores), by=by, id=ids["top"])


def _show_thresholds(session, scores: list[Scores], by: str, ids, note: str) -> None:
    p = session.parameters
    say(_THRESHOLDS.format(by=as_markdown(by)))
    how = {"thresholds": p.sweep_list, "correction": p.correction}
    table = session.tabulate(thresholds, scores, by=by, **how)
    text = f"Labels given, and labels that differ by {by}, by threshold. {note}"
    display(session.table(ids["thresholds"], table, text, extra=["labels_per_image"]))
    given = table[(table[by] == "All") & table["labels_per_image"].notna()]
    display(show_frame(given[["label_set", "threshold", "labels_per_image"]]))
    lines = threshold_lines(table, _names(scores), by)
    look = {"x": "threshold", "hue": "label set", "panel": "what", "log_x": True, "width": "double"}
    look |= {"xlabel": "threshold (percent)", "ylabel": "percent of the labels offered"}
    text = f"Labels given to an image (mean), and labels that differ by {by} (corrected p below 0.05), by threshold. "
    text += note
    said = {"intervals": ""}
    draw(session, ids["thresholds"], lines, text, said, plot=figures.line_by, **look)


def show_services(session, predictions: pd.DataFrame) -> None:
    """Keep and show the cloud services' own rates beside the model's, where the data hold their labels."""
    p = session.parameters
    if p.dataset != "congress" or "labels" not in label_tasks(predictions):
        return
    try:
        counts = cloud_labels(p.data)
    except DataError:  # members without the services' labels
        return
    say(_SERVICES)
    table = services(predictions, counts, threshold=p.top_at)
    text = "Images that carry each label, by who gave it, and by gender; the services' over all members. "
    display(session.table("services", table, text + notes_of(session, predictions)))


_SERVICES = """\
## The cloud services' own labels

An extension: the label set is what three services returned for these photographs, so each has rates of its own by
gender. The model's are those of the threshold of the most gendered labels. A service gives a label or none; a threshold
of a model has no counterpart there, so that only differences between women and men compare."""


def _show_kinds(session, scores: list[Scores], by: str, ids, note: str) -> None:
    kinds = label_categories(session)
    sets = [found.name for found in scores]
    name = "labels" if "labels" in sets else sets[0]
    if (
        not kinds
        or not set(kinds) & {label for found in scores for label in found.labels}
        or name == "occupations"
    ):
        return
    p, known = session.parameters, session.comparable
    say(f"## Kinds of labels, by {as_markdown(by)}\n\n{_CODED if known else _KINDS}")
    how = {"categories": kinds, "thresholds": p.threshold_list, "seed": p.seed}
    table = session.tabulate(categories, scores, by=by, label_set=name, **how)
    show_categories(session, table, note, by=by, id=ids["categories"])


_CODED = """\
Of all labels given to women, how many speak of work, and how many of hair and clothes? Categories are those that
Schwemmer et al. coded by hand for 110 of Google's labels; the labels of the other services they left uncoded, apart
from the occupations among them, which are coded here."""
_KINDS = "Of all labels given to a group, how many are of each category of the class set?"


def show_top(
    session,
    most: pd.DataFrame,
    text: str,
    notes: str,
    names: Mapping[str, str],
    *,
    by: str = "gender",
    id: str = "top_gendered",
) -> None:
    """Draw `top_gendered` of each label set; labels that differ after the correction have a *."""
    how = {"y": "label", "hue": by, "panel": "direction"}
    for name, words in names.items():
        bars = most[most["label_set"] == name]
        differs = bars["p_adjusted"] < ALPHA
        bars = bars.assign(
            label=bars["label"].astype(object) + differs.map({True: " *", False: ""})
        )
        about = f"{text}, of the {words}. * differs after the correction. {notes}"
        own = id if name == "labels" else f"{id}_{Grouping((name,)).slug}"
        draw(session, own, bars, about, plot=figures.grouped_bars, **how, empty=_EMPTY)


def threshold_lines(
    sweep: pd.DataFrame, names: Mapping[str, str], by: str = "gender"
) -> pd.DataFrame:
    """Rows of `studies.congress.thresholds` for a figure: `what` (panels), `label set` (lines)."""
    lines = sweep[(sweep[by] == "All") & sweep["metric"].str.contains("offered")]
    what = lines["metric"].str.removesuffix(", of those offered")
    return lines.assign(what=what, **{"label set": lines["label_set"].map(names)})


def show_categories(
    session, kinds: pd.DataFrame, notes: str, *, by: str = "gender", id: str = "categories"
) -> None:
    """Keep and show `studies.congress.categories`: its table and its figure."""
    text = f"Share of each category among the labels given. {notes}"
    means = {"intervals": "95 % bootstrap intervals over images"}
    display(session.table(id, kinds, text, **means))
    bars = kinds.assign(at=[f"at {t:g} %" for t in kinds["threshold"]])
    look = {"y": "category", "hue": by, "panel": "at", "width": "double"}
    draw(session, id, bars, text, means, xlabel="percent of the labels given", **look)


def limits(predictions: pd.DataFrame, by: str = "gender") -> str:
    """What the numbers of images of this run allow to say (Markdown)."""
    counts = predictions.drop_duplicates("image_id")[by].value_counts()
    least, n = counts.index[-1], int(counts.iloc[-1])
    low, high = wilson(n / 2, n)
    word = {"Female": "women", "Male": "men"}.get(str(least), f"{by} {least}")
    return markdown(
        "- That a label without a significant difference is given fairly. With {n:,} images of {word}, a "
        "rate is uncertain by as much as {points:.0f} percentage points either way.",
        n=n,
        word=word,
        points=50 * float(high - low),
    )
