"""Members of Congress: which labels go to women, which to men (arXiv 2108.02818, Figure 1).

CLIP is used as a multi-label classifier: a label is given to an image when its probability, among
all labels of its set, exceeds a threshold. Argmax would hide the temperature; thresholds show it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field, field_validator

from clipeval.classify.class_sets import ClassSet, all_prompts, class_set_of
from clipeval.classify.multilabel import (
    category_shares,
    genders_with_images,
    given_labels,
    label_rates,
    score_sets,
    side_by_side,
)
from clipeval.datasets import explain_missing
from clipeval.errors import ClassSetError, DataError
from clipeval.published import load_published, with_published
from clipeval.session import parameters
from clipeval.stats import group_rates
from clipeval.studies.congress.findings import findings_summary, published_findings
from clipeval.studies.congress.views import (
    figure_notes,
    limits,
    set_names,
    show_categories,
    show_top,
    threshold_lines,
)

__all__ = [
    "SOURCE",
    "Parameters",
    "categories",
    "figure_notes",
    "findings_summary",
    "gender_accuracy",
    "label_categories",
    "labels_by_gender",
    "limits",
    "outcomes",
    "predict",
    "published_findings",
    "set_names",
    "show_categories",
    "show_top",
    "threshold_lines",
    "threshold_note",
    "thresholds",
    "top_gendered",
]

SOURCE = "arXiv 2108.02818, section 2.1 and Figure 1"
#: our own category of the class set: occupations among the labels left uncoded by Schwemmer et al.
CODED_HERE = "occupation (coded here)"


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise ValueError("empty or named twice between commas")
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
        "occupations,labels", description="its tasks that are multi-label, with commas"
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
        "bh", description="of p values for the number of labels: bh (Benjamini-Hochberg) or holm"
    )

    _check_names = field_validator("label_sets")(lambda text: text if _names(text) else text)
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


# -- predictions and what is known of the labels ---------------------------------------------------


def check(session) -> None:
    """Genders and label sets fit the images, before any of these is embedded.

    Raises
    ------
    DataError  if the images have no group column gender, or a gender without images
    ClassSetError  if the classes of task gender are not the genders of the images, or a label set
        is no task of the class set
    """
    images = session.images
    explain_missing(images, ["gender"], "congress")
    if "gender" not in images.attrs["groups"]:
        raise DataError(
            f"{images.attrs['name']} has no group column gender, which congress compares; "
            "name a data set that has one."
        )
    genders_with_images(images["gender"])
    offered, genders = list(session.class_set.classes("gender")), list(images["gender"].unique())
    if not set(genders) <= set(offered):
        raise ClassSetError(
            f"task gender of {session.class_set.spec} offers {', '.join(offered)}, but the images "
            f"are labelled {', '.join(genders)}; name its classes as the labels."
        )
    for task, words in _label_sets(session).items():
        words.classes(task)


def _label_sets(session) -> dict[str, ClassSet]:
    """Task of each label set -> the class set that it is a task of."""
    tasks = _names(session.parameters.label_sets)
    return {task: _labels(session) if task == "labels" else session.class_set for task in tasks}


def prompts(session) -> list[str]:
    """Every prompt that is sent: gender, and every label set."""
    asked = {"gender": session.class_set} | _label_sets(session)
    return [p for t, c in asked.items() for p in all_prompts(c, session.templates, [t])]


def predict(session) -> pd.DataFrame:
    """Gender (top 1), and the probability of every label of each label set; errors as in `check`."""
    check(session)
    parts = [session.classify("gender", top=1)]
    for task, words in _label_sets(session).items():
        parts.append(session.classify(task, class_set=words, top=None))
    return pd.DataFrame({column: _joined([part[column] for part in parts]) for column in parts[0]})


def _joined(columns: list[pd.Series]):
    """Columns one below the other; words as one categorical, without spelling out every row."""
    if pd.api.types.is_numeric_dtype(columns[0]):
        return pd.concat(columns, ignore_index=True)
    return pd.api.types.union_categoricals([column.astype("category") for column in columns])


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


def label_categories(session) -> dict[str, str]:
    """Label -> category: from label_categories.tsv beside the data, else from the class set."""
    from clipeval.datasets import congress

    p = session.parameters
    found = {
        label: name for name, members in session.class_set.categories.items() for label in members
    }
    folder = Path(p.data).expanduser()
    path = (folder if folder.is_dir() else folder.parent) / "label_categories.tsv"
    if p.dataset != "congress" or not path.is_file():
        return found
    theirs = {k.replace("_", " "): v for k, v in congress.label_categories(path).items()}
    ours = {k: v for k, v in found.items() if v == CODED_HERE and k not in theirs}
    return theirs | ours


def threshold_note(info) -> str:
    """What a threshold means for this model: one sentence for captions."""
    if info.score == "sigmoid":
        return (
            "Each label has a sigmoid of its own "
            f"(scale {info.logit_scale:.4g}, bias {info.logit_bias or 0:.4g}), not a share of one: "
            "thresholds do not compare with those of softmax models."
        )
    return (
        "Probabilities are a softmax over the whole label set with the model's own logit scale "
        f"({info.logit_scale:.4g}): thresholds do not compare across models of another scale, "
        "nor across sets of another size."
    )


# -- tables ----------------------------------------------------------------------------------------


def gender_accuracy(predictions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of gender classification, for all and for each gender.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them; only the rows of task gender with rank 1 are used.

    Returns
    -------
    DataFrame
        gender (All, then each), n, count, metric, percent, ci_low, ci_high (Wilson, 95 %),
        published, difference. Source: arXiv 2108.02818, section 2.1 (100 %).
    """
    rows = (predictions["task"] == "gender") & (predictions["rank"] == 1)
    top = predictions[rows.to_numpy()]
    genders_with_images(top["gender"])
    truth = top["gender"].astype(object).to_numpy()
    top = top.assign(correct=top["label"].astype(object).to_numpy() == truth)
    whole = group_rates(top, "correct", metric="accuracy")
    each = group_rates(top, "correct", by=["gender"], metric="accuracy").astype({"gender": object})
    whole.insert(0, "gender", "All")
    said = load_published("in_text")
    said = said[(said["study"] == "congress") & (said["quantity"] == "gender accuracy")]
    table = pd.concat([whole, each], ignore_index=True)
    return with_published(table, said.assign(gender="All"), on=["gender"], value="percent")


def labels_by_gender(
    predictions: pd.DataFrame,
    *,
    thresholds: Sequence[float] = (0.5, 4.0),
    correction: str = "bh",
    categories: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Percent of the images of each gender that carry each label, with a chi-squared test.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them, with the probability of every label.
    thresholds : percents; a label is given where its probability exceeds one
    correction : "bh" or "holm", of p values within a label set and threshold, for all its labels
    categories : label -> category, as `label_categories` returns it

    Returns
    -------
    DataFrame
        label_set, threshold, label, category, gender, n, count, metric, percent, ci_low, ci_high
        (Wilson, 95 %), published (NaN: the paper prints no rates), difference, chi2 (without
        continuity correction), p, p_adjusted, min_expected, test (of p: Fisher's exact one where
        min_expected is below 5).

    Raises
    ------
    DataError  if labels were left out of the predictions, or a gender has no images
    """
    parts = [
        label_rates(scores, threshold, correction, categories)
        for scores in score_sets(predictions)
        for threshold in thresholds
    ]
    return pd.concat(parts, ignore_index=True)


def top_gendered(
    predictions: pd.DataFrame,
    *,
    threshold: float = 0.5,
    top: int = 20,
    correction: str = "bh",
    categories: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The labels most gendered for men and for women, as in Figure 1 of the paper.

    The `top` labels of each gender by chi-squared, among those given to a larger share of its
    images; sorted by absolute frequency (images of both genders that carry the label).

    Returns
    -------
    DataFrame
        label_set, direction ("more for women"), then the columns of `labels_by_gender` without
        threshold: two rows a label, one for each gender.
    """
    parts = []
    for scores in score_sets(predictions):
        table = label_rates(scores, threshold, correction, categories).drop(columns="threshold")
        wide = side_by_side(table)
        tests = table.drop_duplicates("label").set_index("label")["chi2"]
        total = table.groupby("label")["count"].sum()
        for gender in reversed(scores.genders):
            more = wide.index[wide[gender] > wide.drop(columns=gender).max(axis=1)]
            # ties in the order of the alphabet, in which the index is
            most = tests[more].sort_values(ascending=False, kind="stable").index[:top]
            most = total[most.sort_values()].sort_values(ascending=False, kind="stable").index
            rows = table.set_index("label", drop=False).loc[most]
            word = {"Female": "women", "Male": "men"}.get(gender, gender)
            rows.insert(1, "direction", f"more for {word}")
            parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def thresholds(
    predictions: pd.DataFrame,
    *,
    thresholds: Sequence[float] = (0.1, 0.2, 0.5, 1, 2, 4, 8),
    correction: str = "bh",
) -> pd.DataFrame:
    """What a threshold decides: how many labels are given, and how many differ by gender.

    Returns
    -------
    DataFrame
        label_set, threshold, gender, n, count, metric, percent, ci_low, ci_high, published,
        difference, labels_per_image. Metrics: "images with any label" (n images; Wilson); "labels
        given, of those offered" (count: labels given in all; percent: mean over images of the share
        of the set that an image carries); "labels that differ by gender, of those offered" (n:
        labels offered, count: those with a corrected p value below 0.05).
    """
    parts = [
        given_labels(scores, threshold, correction)
        for scores in score_sets(predictions)
        for threshold in thresholds
    ]
    return pd.concat(parts, ignore_index=True)


def categories(
    predictions: pd.DataFrame,
    *,
    categories: Mapping[str, str],
    thresholds: Sequence[float] = (0.5, 4.0),
    label_set: str = "labels",
    n_boot: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of each category among the labels given to the images of each gender.

    Parameters
    ----------
    categories : label -> category; a label without one is "uncoded"
    n_boot, seed : of the bootstrap over images: the labels of one image are not independent

    Returns
    -------
    DataFrame
        threshold, category (in the order of `categories`, uncoded last), gender, n (labels given),
        count, metric, percent, ci_low, ci_high (95 %, bootstrap over images), published,
        difference. A gender that was given no label has n 0; a category that none or all of its
        labels fall in has no interval, as every draw of a bootstrap is the same.
    """
    parts = [
        category_shares(scores, threshold, categories, n_boot=n_boot, seed=seed)
        for scores in score_sets(predictions)
        if scores.name == label_set
        for threshold in thresholds
    ]
    if not parts:
        raise DataError(f'the predictions hold no label set "{label_set}"; name it in label_sets.')
    return pd.concat(parts, ignore_index=True)


def outcomes(predictions: pd.DataFrame, record: dict) -> pd.DataFrame:
    """Right answers on gender, of all images and by gender; see `clipeval.studies.headlines`."""
    from clipeval.studies.outcomes import by_group

    top = predictions[(predictions["task"] == "gender") & (predictions["rank"] == 1)]
    right = top["label"].astype(object) == top["gender"].astype(object)
    top = by_group(top.assign(quantity="gender accuracy", hit=right), "gender")
    return top[["image_id", "quantity", "images_of", "task", "hit"]]
