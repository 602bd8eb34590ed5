"""Members of Congress: which labels go to women, which to men (arXiv 2108.02818, Figure 1)."""

from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field, field_validator

from clipeval.classify.class_sets import ClassSet, class_set_of, task_prompts
from clipeval.classify.multilabel import ALPHA, genders_with_images
from clipeval.datasets import explain_missing
from clipeval.errors import ClassSetError, DataError
from clipeval.session import parameters
from clipeval.session.record import StudyRecord
from clipeval.session.study import Study
from clipeval.studies.congress.card import CARD
from clipeval.studies.outcomes import by_group, published_in_text
from clipeval.studies.sentences import listed, p_value, rate


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise ValueError("empty or named twice between commas")
    return names


def _label_set_names(text: str) -> tuple[str, ...]:
    names = _names(text)
    if "gender" in names:
        raise ValueError("gender is asked in any case, by itself; name multi-label tasks")
    return names


def _percents(text: str) -> tuple[float, ...]:
    """Thresholds of a parameter: percents above 0 and below 100, separated by commas."""
    found = tuple(float(name) for name in _names(text))
    if not all(0 < value < 100 for value in found) or len(set(found)) < len(found):
        raise ValueError("thresholds are percents above 0 and below 100, each once")
    return found


class Parameters(parameters.Parameters):
    """Parameters of the Congress study."""

    decides: ClassVar = ("seed", "label_sets", "labels_from")

    class_set: str = Field(
        "congress", description="class set with the tasks gender, occupations, labels"
    )
    label_sets: str = Field(
        "occupations,labels", description="multi-label tasks of the class set, comma-separated"
    )
    labels_from: Literal["data", "class_set"] = Field(
        "data",
        description="labels of the services: data (of members.tsv, if there is one) or class_set",
    )
    thresholds: str = Field(
        "0.5,4.0", description="percents; a label is given where its probability exceeds one"
    )
    sweep: str = Field("0.1,0.2,0.5,1,2,4,8", description="thresholds of the sweep, percents")
    top_threshold: float = Field(
        0.5, gt=0, lt=100, description="threshold of the most gendered labels, percent"
    )
    top: int = Field(20, ge=1, description="how many labels most gendered for each gender to show")
    correction: Literal["bh", "holm"] = Field(
        "bh", description="multiple-testing correction over labels: bh (Benjamini-Hochberg) or holm"
    )

    _check_names = field_validator("label_sets")(lambda text: _label_set_names(text) and text)
    _check_percents = field_validator("thresholds", "sweep")(
        lambda text: text if _percents(text) else text
    )

    @property
    def threshold_list(self) -> tuple[float, ...]:
        """`thresholds` as numbers (percent)."""
        return _percents(self.thresholds)

    @property
    def sweep_list(self) -> tuple[float, ...]:
        """`sweep` as numbers (percent), in ascending order."""
        return tuple(sorted(_percents(self.sweep)))


class Congress(Study):
    """Members of Congress: which labels go to women, which to men (arXiv 2108.02818, Figure 1)."""

    id = "congress"
    title = "Members of Congress"
    notebook = "04_congress"
    question = "Which labels does the model give to women and which to men?"
    figure = "top_gendered_occupations"
    Parameters = Parameters
    deck = "congress"
    card = CARD
    every_class = True

    def check(self, session) -> None:
        """Genders and label sets fit the images, before any of these is embedded.

        Raises
        ------
        DataError  if the images have no group column gender, or a gender without images
        ClassSetError  if the classes of task gender are not the genders of the images, or a label set
            is not a task of the class set
        """
        images = session.images
        explain_missing(images, ["gender"], self.id)
        if "gender" not in images.attrs["groups"]:
            raise DataError(
                f"{images.attrs['name']} has no group column gender, which congress compares; "
                "name a data set that has one."
            )
        genders_with_images(images["gender"])
        offered, genders = (
            list(session.class_set.classes("gender")),
            list(images["gender"].unique()),
        )
        if not set(genders) <= set(offered):
            raise ClassSetError(
                f"task gender of {session.class_set.spec} offers {', '.join(offered)}, but the images "
                f"are labelled {', '.join(genders)}; name its classes as the labels."
            )
        for task, words in _label_sets(session).items():
            words.classes(task)

    def rivals(self, session) -> list[tuple[str, dict]]:
        """Genders, and the labels of every label set."""
        asked = {"gender": session.class_set} | _label_sets(session)
        return [o for t, c in asked.items() for o in task_prompts(c, session.templates, [t])]

    def predict(self, session) -> pd.DataFrame:
        """Gender (top 1), and the probability of every label of each label set."""
        parts = [session.classify("gender", top=1)]
        for task, words in _label_sets(session).items():
            parts.append(session.classify(task, class_set=words, top=None))
        return pd.DataFrame(
            {column: _joined([part[column] for part in parts]) for column in parts[0]}
        )

    def finding(self, tables) -> list[str]:
        """How many labels differ by gender at the lowest threshold, and the one that does most."""
        labels, top = tables["labels_by_gender"], tables["top_gendered"]
        lowest = labels["threshold"].min()
        offered = labels[labels["threshold"] == lowest].drop_duplicates(["label_set", "label"])
        said = [
            f"{(rows['p_adjusted'] < ALPHA).sum():,} of {len(rows):,} {name}"
            for name, rows in offered.groupby("label_set", sort=False)
        ]
        found = [
            f"Above a threshold of {lowest:g} %, gives {listed(said)} to the genders at different rates "
            f"(corrected p below {ALPHA:g})."
        ]
        top = top[(top["label_set"] == offered["label_set"].iloc[0]) & top["chi2"].notna()]
        if len(top):
            most = top[top["label"] == top.loc[top["chi2"].idxmax(), "label"]]
            each = [f"{row['gender']} {rate(row)}" for _, row in most.iterrows()]
            each.append(f"corrected {p_value(most['p_adjusted'].iloc[0])}")
            found.append(f"Most different is {most['label'].iloc[0]} ({', '.join(each)}).")
        return found

    def outcomes(self, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
        """Right answers on gender, of all images and by gender; see `clipeval.studies.headlines`."""

        top = predictions[(predictions["task"] == "gender") & (predictions["rank"] == 1)]
        right = top["label"].astype(object) == top["gender"].astype(object)
        top = by_group(top.assign(quantity="gender accuracy", hit=right), "gender")
        return top[["image_id", "quantity", "images_of", "task", "hit"]]

    def published(self, record: StudyRecord) -> pd.DataFrame:
        """Gender accuracy, as stated in words."""
        return published_in_text(self.id, {"gender accuracy": "gender accuracy"})


def _label_sets(session) -> dict[str, ClassSet]:
    """Task of each label set -> the class set that it is a task of."""
    tasks = _names(session.parameters.label_sets)
    return {task: _labels(session) if task == "labels" else session.class_set for task in tasks}


def _labels(session) -> ClassSet:
    """The class set with the cloud services' labels: the bundled one where the words agree."""
    from clipeval.datasets.congress import cloud_labels

    p = session.parameters
    if p.dataset != "congress" or p.labels_from == "class_set":
        return session.class_set
    try:
        words = list(cloud_labels(p.data)["prompt"])
    except DataError as error:
        raise DataError(f"{error} Or use labels_from=class_set.") from None
    if set(words) == set(session.class_set.tasks.get("labels", ())):
        return session.class_set
    return class_set_of(
        "labels of members.tsv", {"labels": words}, source="members.tsv of the data"
    )


def _joined(columns: list[pd.Series]):
    """Columns one below the other; words as one categorical, without spelling out every row."""
    if pd.api.types.is_numeric_dtype(columns[0]):
        return pd.concat(columns, ignore_index=True)
    return pd.api.types.union_categoricals([column.astype("category") for column in columns])


study = Congress()
