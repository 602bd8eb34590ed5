"""What the FairFace notebook shows: the paper's tables where labels are as its were, and accuracy by own groups."""

import pandas as pd
from IPython.display import Markdown, display

from clipeval.output.markup import as_markdown
from clipeval.output.tables import show_frame
from clipeval.studies.fairface.labels import labelled_tasks
from clipeval.studies.fairface.probe import probe_fits
from clipeval.studies.fairface.tables import (
    AVERAGE_INTERVALS,
    accuracy_by_group,
    accuracy_by_white,
    counted_answers,
    gender_by_race,
    like_the_paper,
    published_note,
    with_replications,
)
from clipeval.studies.label_noise import agreement
from clipeval.studies.showing import draw, say, show_label_noise

__all__ = ["introduction", "limits", "show_accuracy", "show_noise"]

#: how accuracies are drawn
_LOOK = {"xlabel": "accuracy (percent of images)", "width": "double"}

_REPEATS = """\
This repeats Tables 3, 4 and 5 of the CLIP paper (arXiv 2103.00020, section 7.1, also in arXiv 2108.02818): zero-shot,
and with a linear probe on the image features."""

_WHITE = """\
## White and Non-White{tables}

"Race" is White against Non-White. For the zero-shot classifier one of seven races is predicted and then collapsed
(`race_rule`); for the probe `probe_race_rule` says whether two classes are fitted. Accuracy over all seven races stands
in rows of its own."""

_PUBLISHED = """\
For the probe the published 93.4 % suggests two classes. FairFace's own 75.4 % is an accuracy over four classes in its
source, not over White and Non-White; the caption says so."""

_PROBE = (
    "The linear probe is a logistic regression on the train split's embeddings; C is the value that does best on a "
    "held-out part of train."
)

_CROSSED = """\
## Every attribute within every group

An average can hide a group. These are the intersections of race and gender; the intervals say how much each can
bear."""

_DIFFERENCE = """\
- That a difference from the published number is an error of either side: the paper states neither its prompts nor its
  probe, so templates, class wording, `race_rule` and features all move the numbers."""


def introduction(session):
    """What is repeated, or which tasks are held against which labels (Markdown)."""
    if session.comparable:
        return Markdown(_REPEATS)
    tasks = labelled_tasks(session)
    said = [f"{task} ({', '.join(session.class_set.classes(task))})" for task in tasks]
    return Markdown(
        f"Tasks, each held against the labels of that name: {as_markdown('; '.join(said))}."
    )


def show_probe(predictions: pd.DataFrame) -> None:
    """Show how the linear probe was fitted; nothing where there is none."""
    fits = probe_fits(predictions)
    if len(fits):
        say(_PROBE)
        display(show_frame(fits))


def show_accuracy(session, predictions: pd.DataFrame) -> None:
    """Keep and show Tables 3 to 5 where labels are as FairFace's, else the accuracy of every task; then by group.

    By group (`by_GROUP`) is shown what was asked for; unless something was, all group columns, without those that the
    paper's tables are by.
    """
    predictions = counted_answers(predictions)
    paper = like_the_paper(predictions)
    if paper:
        _show_paper(session, predictions)
    else:
        table = _by(session, predictions, [])
        display(session.table("accuracy", table, "Accuracy of every task."))
    for grouping in session.groupings:
        of_paper = paper and set(grouping.columns) <= {"race", "gender", "age"}
        if session.groupings.asked or not of_paper:
            _show_group(session, predictions, grouping)


def _by(session, predictions: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    p = session.parameters
    rules = {"race_rule": p.race_rule, "probe_race_rule": p.probe_race_rule}
    return session.tabulate(accuracy_by_group, predictions, by=by, **rules)


def _show_group(session, predictions: pd.DataFrame, grouping) -> None:
    name = grouping.name
    say(f"## By {as_markdown(name)}")
    table = _by(session, predictions, [name])
    text = f"Accuracy of every task, by {name}."
    display(session.table(grouping.id, table, text))
    hue = "method" if table["method"].nunique() > 1 else None
    axes = {"y": name, "hue": hue, "panel": "attribute"}
    draw(session, grouping.id, table, text, what="accuracy", **axes, **_LOOK)


def show_noise(session, predictions: pd.DataFrame) -> None:
    """Keep and show how far wrong labels would move the accuracy of each task, where that is asked for."""
    top = predictions[predictions["rank"] == 1]
    top = top[top["method"] == top["method"].iloc[0]]
    tasks = (task for task in map(str, pd.unique(top["task"])) if task in top)
    parts = [agreement(top[top["task"] == task], task) for task in tasks]
    show_label_noise(session, pd.concat(parts, ignore_index=True))


def _show_paper(session, predictions: pd.DataFrame) -> None:
    p, known = session.parameters, session.comparable
    say(_WHITE.format(tables=" (Tables 3 and 4)" if known else ""))
    if known:
        say(_PUBLISHED)
    rules = {"race_rule": p.race_rule, "probe_race_rule": p.probe_race_rule}
    table = with_replications(session.tabulate(accuracy_by_white, predictions, **rules))
    shown = "Accuracy for race (White against Non-White; all seven), gender and age, on images labelled White and on "
    shown += "all others."
    source = {"published_source": "arXiv 2103.00020, Tables 3 and 4" if known else None}
    text = f"{shown} {published_note(table)}".strip()
    display(session.table("accuracy_by_white", table, text, **source))
    measured = table[table["n"].notna()]
    axes = {"y": "images_of", "hue": "method", "panel": "attribute"}
    draw(session, "accuracy_by_white", measured, shown, source, what="accuracy", **axes, **_LOOK)

    if "gender" in set(predictions["task"].astype(str)):
        _show_table_5(session, predictions)
    say(_CROSSED)
    table = _by(session, predictions, ["race", "gender"])
    text = "Accuracy of every attribute by race and gender."
    display(session.table("accuracy_by_group", table, text))


def _show_table_5(session, predictions: pd.DataFrame) -> None:
    known = session.comparable
    say(f"## Gender by race and gender{' (Table 5)' if known else ''}")
    table = session.tabulate(gender_by_race, predictions)
    text = "Accuracy of gender classification by race and gender."
    source = {"published_source": "arXiv 2103.00020, Table 5" if known else None}
    source["intervals"] = AVERAGE_INTERVALS
    display(session.table("gender_by_race", table, text, **source))
    axes = {"y": "race", "hue": "gender", "panel": "method"}
    draw(session, "gender_by_race", table, text, source, what="gender accuracy", **axes, **_LOOK)


def limits(session):
    """What the labels and differences from published numbers do not say (Markdown)."""
    lines = []
    if session.comparable:
        lines.append(
            "- Anything about the people shown. The labels are other people's guesses, gender is forced into two "
            "classes and race into seven."
        )
        lines.append(_DIFFERENCE)
    if session.images.attrs.get("planted"):
        lines.append("- Anything at all about a model from test cards.")
    return Markdown("\n".join(lines)) if lines else None
