"""What the class design notebook shows of groups: a section each, with tables, figures and a sentence."""

from functools import partial

import pandas as pd
from IPython.display import Markdown, display

from clipeval.output import figures
from clipeval.output.markup import as_markdown
from clipeval.output.tables import show_frame
from clipeval.studies.class_design.tables import (
    CHANGE,
    best_candidate,
    compare,
    harmful,
    intervals,
    most_changed,
    moved,
    pair_of,
    published_source,
    shown,
    sweep,
)
from clipeval.studies.denigration.tables import combined, top_labels
from clipeval.studies.showing import draw, say, show_label_noise

_REPEATS = """\
arXiv 2108.02818, Table 3 (also arXiv 2103.00020, Table 7), added the class `child` to the classes of the denigration
study and saw fewer pictures of children end in a crime-related or non-human class. This is repeated here, image by
image. `denigration:seven_races` and `denigration:seven_races_child` are the paper's idea with 7 classes for people in
place of 14."""

#: how changes are drawn, and what they are called for a reader who cannot see them
_CHANGE = {"xlabel": "change, percentage points", "what": "change in percentage points"}
_COLUMNS = (
    "In the tables, `only before` and `only after` count the images with a harmful class under one of the two "
    "sets only."
)
_READ = (
    "Where the two sets lie apart, the choice of classes and nothing in the model makes the difference: images "
    "and embeddings are the same. A group whose interval of the change holds 0 may have gained nothing."
)


def names(session) -> tuple[str, str]:
    """What the two class sets are called in captions."""
    first, other = pair_of(session)
    return first.spec, other.spec


def introduction(session):
    """What is repeated, or which two class sets are compared (Markdown)."""
    first, other = (as_markdown(class_set.label) for class_set in pair_of(session))
    lines = [_REPEATS] if session.comparable else []
    return Markdown("\n\n".join([*lines, f"Compared are {first} and {other}."]))


def _compared(session) -> dict:
    """The two class sets and the confidence, as the tables take them."""
    first, other = pair_of(session)
    return {
        "class_set": first,
        "other": other,
        "confidence": session.parameters.confidence,
    }


def show_overall(session, predictions: pd.DataFrame) -> None:
    """Keep and show both class sets' rates of every harm category, and the paired change: table `overall`."""
    (first, other), how = names(session), _compared(session)
    table = session.tabulate(compare, predictions, every_category=True, **how)
    text = f"Harm rates with {first} and with {other}, and the paired change."
    said = {"extra": shown(table), "intervals": intervals(**how)}
    display(session.table("overall", table, text, **said))


def show_moved(session, predictions: pd.DataFrame) -> None:
    """Keep, show and draw from which class to which images moved: table and figure `moved`."""
    (first, other), how = names(session), _compared(session)
    table = session.tabulate(moved, predictions, **how)
    text = f"Images whose top class changed from {first} to {other}."
    display(session.table("moved", table, text, intervals=intervals(**how)))
    look = {"source": "from_class", "target": "to_class", "n": "count"}
    display(session.figure("moved", partial(figures.flow, table, **look), text, intervals=""))


def show_groups(session, predictions: pd.DataFrame) -> None:
    """Keep and show both class sets' rates by each grouping, and the paired change.

    Tables are called `by_GROUP`, figures `by_GROUP` and `change_by_GROUP`. On the paper's data set, unless
    groups are asked for, these are age and race, and ages alone are drawn.
    """
    (first, other), how = names(session), _compared(session)
    usual = session.on_data_of_paper and not session.groupings.asked
    for grouping in session.groupings:
        name = grouping.name
        at = " (Table 3)" if name == "age" and session.comparable else ""
        say(f"## By {as_markdown(name)}{at}")
        table = session.tabulate(compare, predictions, by=[name], **how)
        text = f"Images classified into a harm category with {first} and with {other}, by {name}."
        said = {"intervals": intervals(**how), "published_source": published_source(table)}
        display(session.table(grouping.id, table, text, extra=shown(table), **said))
        changed = most_changed(table, name, confidence=how["confidence"])
        say(as_markdown(changed))
        if name == "age" or not usual:
            _draw(session, grouping, table, text, (first, other), said["intervals"])
    if len(session.groupings):
        say(f"{_COLUMNS} {_READ}")


def _draw(session, grouping, table: pd.DataFrame, text: str, pair, intervals: str) -> None:
    name, changed = grouping.name, table["class_set"] == CHANGE
    rates, changes = table[~changed], table[changed]
    said = {"intervals": intervals, "published_source": published_source(rates)}
    draw(session, grouping.id, rates, text, said, y=name, hue="class_set")
    text = f"Paired change of the harm rate from {pair[0]} to {pair[1]}, by {name}."
    said["published_source"] = published_source(changes)
    draw(session, f"change_{grouping.id}", changes, text, said, y=name, **_CHANGE)


def show_noise(session, predictions: pd.DataFrame) -> None:
    """Keep and show how far wrong labels would move the harm rate with either class set, where that is asked for."""
    parts = []
    for class_set in pair_of(session):
        top = top_labels(predictions, class_set)
        quantity = f"{combined(class_set.categories)}, classes {class_set.spec}"
        hit = harmful(top["label"], class_set)
        parts.append(top.assign(quantity=quantity, hit=hit, held_against=""))
    show_label_noise(session, pd.concat(parts, ignore_index=True))


def show_sweep(session) -> None:
    """Keep and show what each candidate does when it is added alone (`sweep`); a sentence where there is none."""
    table = sweep(session)
    if table.empty:
        say("There are answers for no candidate, so none is added.")
        return
    text = f"One class added to {names(session)[0]}: change of the harm rate and of agreement with the labels."
    level = 100 * session.parameters.confidence
    said = {"intervals": f"{level:g} % Wilson intervals of the images taken"}
    display(session.table("sweep", table, text, **said))
    ranked = table[["rank", "candidate", "metric", "taken", "count", "before", "after"]]
    display(show_frame(ranked.head(10), decimals=2))
    look = {"y": "candidate", "panel": "metric", "width": "double"}
    draw(session, "sweep", table, text, said, **look, **_CHANGE)
    print(best_candidate(table))
