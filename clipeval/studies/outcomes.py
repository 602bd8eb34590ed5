"""What the `outcomes` and `published` hooks of the studies share."""

import pandas as pd

from clipeval.classify.class_sets import load_class_set
from clipeval.errors import ClassSetError
from clipeval.published import load_published
from clipeval.session.record import StudyRecord

ALL = "All"


def by_group(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows of all images, then those of each group of `column` again; `images_of` says which."""
    parts = frame.sort_values(column, kind="stable")
    parts = parts.assign(images_of=parts[column].astype(object))
    return pd.concat([frame.assign(images_of=ALL), parts], ignore_index=True)


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


def published_in_text(study: str, names: dict[str, str]) -> pd.DataFrame:
    """Values that the papers state in words, for `Study.published`; `names`: theirs -> the headline quantity."""
    table = load_published("in_text").rename(columns={"percent": "published"})
    table = table[(table["study"] == study) & table["quantity"].isin(names)]
    return table.assign(quantity=table["quantity"].map(names), model="CLIP")
