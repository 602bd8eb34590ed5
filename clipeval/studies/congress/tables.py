"""Members of Congress: which labels go to women, which to men (arXiv 2108.02818, Figure 1).

CLIP is used as a multi-label classifier: a label is given to an image when its probability, among
all labels of its set, exceeds a threshold. Argmax would hide the temperature; thresholds show it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from clipeval.classify.multilabel import (
    category_shares,
    genders_with_images,
    given_labels,
    label_rates,
    score_sets,
    side_by_side,
)
from clipeval.errors import DataError
from clipeval.published import load_published, with_published
from clipeval.stats import group_rates

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
    folder = Path(p.data).expanduser()
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
        published, difference. Source: arXiv 2103.00020, section 7.1 (100 %).
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
