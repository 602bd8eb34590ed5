"""Which runs of a study are compared: those of the same images and labels, prompts and rules."""

import json
from dataclasses import dataclass, field, replace

import pandas as pd

from clipeval.classify.class_sets import NOT_STATED
from clipeval.datasets.labelfile import RESERVED, few
from clipeval.runs.finished import Run
from clipeval.session.groupings import OURS
from clipeval.session.record import StudyRecord
from clipeval.studies import get_study

SAME = {"data": "images or their labels", "prompts": "class sets or prompts"}
SAME |= {"rules": "parameters", "train": "training images or their labels"}


@dataclass(frozen=True)
class Entry:
    """One run's answers to one study."""

    label: str
    run: Run
    record: StudyRecord
    outcomes: pd.DataFrame
    measures: pd.DataFrame = field(default_factory=pd.DataFrame)


def conditions(record: StudyRecord, method: str) -> dict[str, object]:
    """What two runs must share for one method of a study."""
    p, kind = record.parameters, get_study(record.study).Parameters
    rules = kind.decides + (kind.probe_decides if method == "linear probe" else ())
    shared = {"data": record.dataset.hash, "rules": {k: p[k] for k in rules if k in p}}
    if method == "linear probe":
        shared["train"] = record.train and record.train.hash
    if method == "zero-shot":  # a probe is told nothing
        shared["prompts"] = [record.prompts_hash, _words(record)]
    return {what: json.dumps(value, sort_keys=True) for what, value in shared.items()}


def is_unworded(record: StudyRecord) -> bool:
    """Whether the prompts of a run are not known, as its answers were made elsewhere."""
    return NOT_STATED.label in record.templates


def _words(record: StudyRecord) -> dict[str, str]:
    return {name: words.hash for name, words in record.class_sets.items()}


def matching(study: str, entries: list[Entry], notes: list[str]) -> list[list[Entry]]:
    """For each method of a study the largest set of runs that match; the others are noted.

    Answers made elsewhere join a model's run whose images have the same ids and labels, as no photograph
    was opened for them, and the same class sets, where their prompts are not known; a note says so.
    """
    found = []
    methods = dict.fromkeys(m for e in entries for m in e.outcomes["method"].unique())
    for method in methods:
        of_method = [e for e in entries if (e.outcomes["method"] == method).any()]
        kinds: dict[str, list[Entry]] = {}
        for entry in of_method:
            kinds.setdefault(json.dumps(conditions(entry.record, method)), []).append(entry)
        first, *others = sorted(kinds.values(), key=len, reverse=True)
        largest, joined = list(first), [first[0]]
        for kind in others:
            reasons = (_apart(study, method, kind[0], other) for other in joined)
            if reason := next(filter(None, reasons), ""):
                notes.append(
                    f"{study}, {method}: {_listed(kind)} and {_listed(largest)} {reason}, so they are not compared."
                )
                continue
            largest, joined = largest + kind, [*joined, kind[0]]
        if len(joined) > 1:
            notes.append(_made_elsewhere(largest))
        if len(largest) < 2:
            if len(of_method) == 1:
                notes.append(f"{study}, {method}: only {_listed(largest)} was run.")
            continue
        found.append(
            [
                replace(e, outcomes=e.outcomes[e.outcomes["method"] == method])
                for e in entries
                if e in largest
            ]
        )
    return found


def _apart(study: str, method: str, one: Entry, other: Entry) -> str:
    """What keeps two runs from being compared; "" where nothing does."""
    mine, theirs = (conditions(e.record, method) for e in (one, other))
    differ = [what for what in mine if mine[what] != theirs[what]]
    images = ""
    if one.record.scores or other.record.scores:
        unknown = is_unworded(one.record) or is_unworded(other.record)
        if unknown and _words(one.record) == _words(other.record):
            differ = [what for what in differ if what != "prompts"]
        if "data" in differ:
            differ.remove("data")
            images = _other_images(study, one, other)
    have = [f"have different {' and '.join(SAME[what] for what in differ)}"] if differ else []
    return "; ".join([*have, images] if images else have)


def _other_images(study: str, one: Entry, other: Entry) -> str:
    """How the images of two runs differ by their ids and by the groups that both have; "" where they do not."""
    tables = []
    for entry in (one, other):
        rows = entry.run.predictions(study).drop_duplicates("image_id").set_index("image_id")
        tables.append(rows[[c for c in rows.columns if c not in RESERVED | OURS]].astype(str))
    for (a, b), who, whose in ((tables, one, other), (tables[::-1], other, one)):
        if len(missing := b.index.difference(a.index)):
            return (
                f"have different images ({who.label} has no answer for {len(missing):,} of those of "
                f"{whose.label}: {few(list(missing), 3)}; leave these out of the images table and run "
                f"{whose.label} again)"
            )
    a, b = tables[0], tables[1].reindex(tables[0].index)
    for column in [c for c in a.columns if c in b.columns]:
        if (odd := a[column] != b[column]).any():
            return (
                f'have different labels (image "{a.index[odd][0]}" is {a[column][odd].iloc[0]} and '
                f"{b[column][odd].iloc[0]} by {column}; run both with one images table)"
            )
    return ""


def _made_elsewhere(entries: list[Entry]) -> str:
    """What a reader must know of answers made elsewhere beside a model's."""
    elsewhere = [e for e in entries if e.record.scores]
    unknown = [e for e in elsewhere if is_unworded(e.record)]
    said = (
        f"Answers of {_listed(elsewhere)} were made elsewhere: their images are matched with those of "
        "the others by ids and labels, not by content"
    )
    return said + (f", and the prompts of {_listed(unknown)} are not known." if unknown else ".")


def _listed(entries: list[Entry]) -> str:
    return ", ".join(f"{e.label} ({e.run.name})" for e in entries)
