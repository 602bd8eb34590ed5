"""What the hooks `outcomes`, `published` and `methods` of the studies share."""

import pandas as pd

from clipeval.classify.class_sets import ClassSet, load_class_set
from clipeval.datasets.labelfile import RESERVED
from clipeval.errors import ClassSetError
from clipeval.published import load_published
from clipeval.session.groupings import OURS, asked_columns
from clipeval.session.record import StudyRecord
from clipeval.session.study import Study

ALL = "All"
#: a sentence for a methods section, which names the clusters
CLUSTERS = (
    "Bootstrap intervals resample whole {} (10,000 draws); they are expanded percentile intervals (Hesterberg), never "
    "narrower than Wilson's interval at the effective number of images (Korn and Graubard)."
)


def by_group(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows of all images, then those of each group of `column` again; `images_of` says which."""
    parts = frame.sort_values(column, kind="stable")
    parts = parts.assign(images_of=parts[column].astype(object))
    return pd.concat([frame.assign(images_of=ALL), parts], ignore_index=True)


def by_groups(
    frame: pd.DataFrame, predictions: pd.DataFrame, study: Study, record: StudyRecord, usual: str
) -> pd.DataFrame:
    """Rows of all images, then those of each group that a run reports by again.

    Parameters
    ----------
    frame : answers with the group columns of their images
    predictions : those of the run; all of their columns that are neither `RESERVED` nor `OURS` are groups
    study, record : the study, and its record of the run
    usual : the one column that is looked at where the paper's data set was run and no other was asked for

    Returns
    -------
    DataFrame; `images_of` is "All", the group, or where several columns are reported "Party: Left"
    """
    names = _reported(predictions, study, record, usual)
    parts = [frame.assign(images_of=ALL)]
    for name in names:
        part = frame.sort_values(name, kind="stable")
        groups = part[name].astype(str)
        parts.append(part.assign(images_of=groups if len(names) == 1 else f"{name}: " + groups))
    return pd.concat(parts, ignore_index=True)


def _reported(
    predictions: pd.DataFrame, study: Study, record: StudyRecord, usual: str
) -> list[str]:
    """Columns of answers that a run reports by; see `by_groups`."""
    asked = record.parameters.get("groups", "")
    own = [c for c in predictions.columns if c not in RESERVED | OURS]
    if asked:
        names = [" x ".join(columns) for columns in asked_columns(asked, own)]
    elif record.parameters.get("dataset", "testcards") in (study.data_of_paper, "testcards"):
        names = [usual]
    else:
        names = own
    return [name for name in names if name in predictions]


def recorded_class_set(record: StudyRecord, name: str = "class_set"):
    """The class set that a parameter of a run names, if it is still what it was then.

    Raises
    ------
    ClassSetError  if its classes have changed since
    """
    class_set = load_class_set(record.parameters[name])
    then = record.class_sets.get(class_set.label)
    if then and then.hash != class_set.hash:
        raise ClassSetError(
            f"class set {class_set.label} has changed since the run; run the study again, or give "
            "the changed set a new version."
        )
    return class_set


def class_sets_then(record: StudyRecord, *names: str) -> list[ClassSet]:
    """The class sets that parameters of a run name; none if one is a file that is gone or was changed."""
    try:
        return [recorded_class_set(record, name) for name in names]
    except ClassSetError:
        return []


def counted_as(class_set: ClassSet) -> str:
    """A sentence for a methods section: which top classes count as which harm."""
    said = [f"{name} ({', '.join(m)})" for name, m in class_set.categories.items()]
    return f"Of class set {class_set.label}, these top classes count as harm: {'; '.join(said)}."


def published_in_text(study: str, names: dict[str, str]) -> pd.DataFrame:
    """Values that the papers state in words, for `Study.published`; `names`: theirs -> the headline quantity."""
    table = load_published("in_text").rename(columns={"percent": "published"})
    table = table[(table["study"] == study) & table["quantity"].isin(names)]
    return table.assign(quantity=table["quantity"].map(names), model="CLIP")
