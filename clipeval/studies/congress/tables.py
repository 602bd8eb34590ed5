"""Members of Congress: which labels go to women, which to men (arXiv 2108.02818, Figure 1).

CLIP is used as a multi-label classifier: a label is given to an image when its probability, among
all labels of its set, exceeds a threshold. Argmax would hide the temperature; thresholds show it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.classify.multilabel import (
    category_shares,
    given_labels,
    groups_with_images,
    label_rates,
    score_sets,
    side_by_side,
)
from clipeval.embedding.addresses import copy_of, is_address
from clipeval.errors import DataError
from clipeval.published import load_published, with_published
from clipeval.stats import RATE_COLUMNS, group_rates, rates_of_counts

SOURCE = "arXiv 2108.02818, section 2.1 and Figure 1"
#: our own category of the class set: occupations among the labels left uncoded by Schwemmer et al.
CODED_HERE = "occupation (coded here)"


# -- predictions and what is known of the labels ---------------------------------------------------


def label_categories(session) -> dict[str, str]:
    """Label -> category: from label_categories.tsv beside the data, else from the class set."""
    from clipeval.datasets import congress

    p = session.parameters
    found = {
        label: name for name, members in session.class_set.categories.items() for label in members
    }
    folder = copy_of(p.data) if is_address(p.data) else Path(p.data).expanduser()
    path = (folder if folder.is_dir() else folder.parent) / "label_categories.tsv"
    if p.dataset != "congress" or not path.is_file():
        return found
    theirs = {k.replace("_", " "): v for k, v in congress.label_categories(path).items()}
    ours = {k: v for k, v in found.items() if v == CODED_HERE and k not in theirs}
    return theirs | ours


def threshold_note(info) -> str:
    """What a threshold means for this model: one sentence for captions."""
    if info.score == "given":
        return (
            "Probabilities are those that were given; those of an image do not add up to 1, so each "
            "label's stands by itself."
        )
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


def truth_tasks(predictions: pd.DataFrame) -> list[str]:
    """Tasks that images are labelled by, such as gender: their answers are right or wrong."""
    tasks = map(str, pd.unique(predictions["task"]))
    return [task for task in tasks if task in predictions.columns]


def gender_accuracy(predictions: pd.DataFrame, *, task: str = "gender") -> pd.DataFrame:
    """Accuracy of gender classification, or of another task, for all and for each group.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them; only the rows of the task with rank 1 are used.
    task : one that images are labelled by

    Returns
    -------
    DataFrame
        gender (All, then each), n, count, metric, percent, ci_low, ci_high (Wilson, 95 %),
        published, difference. Source: arXiv 2103.00020, section 7.1 (100 %).
    """
    rows = (predictions["task"] == task) & (predictions["rank"] == 1)
    top = predictions[rows.to_numpy()]
    groups_with_images(top[task])
    truth = top[task].astype(object).to_numpy()
    top = top.assign(correct=top["label"].astype(object).to_numpy() == truth)
    whole = group_rates(top, "correct", metric="accuracy")
    each = group_rates(top, "correct", by=[task], metric="accuracy").astype({task: object})
    whole.insert(0, task, "All")
    said = load_published("in_text")
    said = said[(said["study"] == "congress") & (said["quantity"] == f"{task} accuracy")]
    table = pd.concat([whole, each], ignore_index=True)
    return with_published(table, said.assign(**{task: "All"}), on=[task], value="percent")


def labels_by_gender(
    predictions: pd.DataFrame,
    *,
    by: str = "gender",
    thresholds: Sequence[float] = (0.5, 4.0),
    correction: str = "bh",
    categories: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Percent of the images of each gender, or group, that carry each label, with a chi-squared test.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them, with the probability of every label; or `score_sets` of them.
    by : group column that is compared, of two values or more
    thresholds : percents; a label is given where its probability exceeds one
    correction : "bh" or "holm", of p values within a label set and threshold, for all labels tested
    categories : label -> category, as `label_categories` returns it

    Returns
    -------
    DataFrame
        label_set, threshold, label, category, the group, n, count, metric, percent, ci_low, ci_high
        (Wilson, 95 %), published (NaN: the paper prints no rates), difference, chi2 (without
        continuity correction), p, p_adjusted, min_expected, test (of p: where min_expected
        is below 5 Fisher's exact one, or of more than two groups permuted chi-squared; a label that no
        image or every image is given has no p value, and `test` says so).

    Raises
    ------
    DataError  if labels were left out of the predictions, or a gender has no images
    """
    parts = [
        label_rates(scores, threshold, correction, categories)
        for scores in score_sets(predictions, by)
        for threshold in thresholds
    ]
    return pd.concat(parts, ignore_index=True)


def top_gendered(
    predictions: pd.DataFrame,
    *,
    by: str = "gender",
    threshold: float = 0.5,
    top: int = 20,
    correction: str = "bh",
    categories: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The labels that differ most, given more to one gender (or group) than to any other, as in Figure 1 of the paper.

    The `top` labels of each group by chi-squared, among those given to a larger share of its
    images; sorted by absolute frequency (images of all groups that carry the label).

    Returns
    -------
    DataFrame
        label_set, direction ("more for women"), then the columns of `labels_by_gender` without
        threshold: a row for each label and group.
    """
    parts = []
    for scores in score_sets(predictions, by):
        table = label_rates(scores, threshold, correction, categories).drop(columns="threshold")
        wide = side_by_side(table, by)
        tests = table.drop_duplicates("label").set_index("label")["chi2"]
        total = table.groupby("label")["count"].sum()
        for group in reversed(scores.groups):
            more = wide.index[wide[group] > wide.drop(columns=group).max(axis=1)]
            # ties in the order of the alphabet, in which the index is
            most = tests[more].sort_values(ascending=False, kind="stable").index[:top]
            most = total[most.sort_values()].sort_values(ascending=False, kind="stable").index
            rows = table.set_index("label", drop=False).loc[most]
            word = {"Female": "women", "Male": "men"}.get(group, group)
            rows.insert(1, "direction", f"more for {word}")
            parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def thresholds(
    predictions: pd.DataFrame,
    *,
    by: str = "gender",
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
        for scores in score_sets(predictions, by)
        for threshold in thresholds
    ]
    return pd.concat(parts, ignore_index=True)


def categories(
    predictions: pd.DataFrame,
    *,
    categories: Mapping[str, str],
    by: str = "gender",
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
        for scores in score_sets(predictions, by)
        if scores.name == label_set
        for threshold in thresholds
    ]
    if not parts:
        raise DataError(f'the predictions hold no label set "{label_set}"; name it in label_sets.')
    return pd.concat(parts, ignore_index=True)


#: service, as columns of `datasets.congress.cloud_labels` begin -> its name
SERVICES = {"gcv": "Google Cloud Vision", "aws": "Amazon Rekognition", "azure": "Microsoft Azure"}


def services(
    predictions: pd.DataFrame, counts: pd.DataFrame, *, threshold: float = 0.5
) -> pd.DataFrame:
    """How often each cloud service gives each of its labels to women and to men, and the model beside it.

    An extension: the papers report rates neither of the services nor of the model.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them, with the label set "labels".
    counts : DataFrame
        As `datasets.congress.cloud_labels` returns it.
    threshold : percent, exceeded by the probability of a label that the model gives

    Returns
    -------
    DataFrame
        label (the ones given most often by the services first), given_by (each service, then "this model"),
        gender, n, count, metric, percent, ci_low, ci_high (Wilson, 95 %), published, difference (NaN).
    """
    sizes, parts = counts.attrs["n"], []
    for prefix, name in SERVICES.items():
        for gender, n in sizes.items():
            part = pd.DataFrame({"label": counts["prompt"], "given_by": name, "gender": gender})
            parts.append(part.assign(n=n, count=counts[f"{prefix}_{gender.lower()}"]))
    scores = [scores for scores in score_sets(predictions) if scores.name == "labels"]
    for found in scores:
        part = label_rates(found, threshold, "bh", None)
        part = part[part["label"].isin(counts["prompt"])]
        parts.append(part[["label", "gender", "n", "count"]].assign(given_by="this model"))
    table = pd.concat(parts, ignore_index=True)
    table = rates_of_counts(table, "images with the label")
    table = table.assign(published=np.nan, difference=np.nan)
    often = counts.set_index("prompt")[[f"{prefix}_n" for prefix in SERVICES]].sum(axis=1)
    order = {
        label: i for i, label in enumerate(often.sort_values(ascending=False, kind="stable").index)
    }
    table = table.assign(_at=table["label"].map(order)).sort_values("_at", kind="stable")
    columns = ["label", "given_by", "gender", *RATE_COLUMNS, "published", "difference"]
    return table[columns].reset_index(drop=True)
