"""A zero-shot classifier as a multi-label one: the labels whose probability exceeds a threshold."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipeval.errors import DataError
from clipeval.stats import RATE_COLUMNS, chi2_by_label, rates_of_counts, wilson
from clipeval.stats.bootstrap import percentiles, resample

ALPHA = 0.05  # a label differs between groups where its corrected p value is below
UNCODED = "uncoded"  # category of a label that nobody has put into one
CORRECTIONS = {"bh": "fdr_bh", "holm": "holm"}


def groups_with_images(groups: pd.Series) -> list[str]:
    """The groups of a column, in order; DataError where one of them, or an image's, is missing."""
    name = groups.name
    if groups.isna().any():
        raise DataError(
            f"{int(groups.isna().sum()):,} images have no {name}; leave them out first."
        )
    counts = groups.value_counts(sort=False)
    if isinstance(groups.dtype, pd.CategoricalDtype):
        counts = counts.reindex(groups.cat.categories, fill_value=0)
    empty = [str(value) for value, n in counts.items() if n == 0]
    if empty or len(counts) < 2:
        lacking = f"no image of {name} {', '.join(empty)}" if empty else f"one {name} only"
        raise DataError(
            f"there is {lacking}, so nothing can be compared; raise limit or complete the data."
        )
    return [str(name) for name in counts.index]


class Scores(NamedTuple):
    """Probabilities (n images, L labels) of one label set, with each image's group."""

    name: str
    labels: list[str]
    prob: np.ndarray
    group: np.ndarray
    groups: list[str]
    by: str = "gender"

    def hits(self, threshold: float) -> np.ndarray:
        """Bool (n, L): the label's probability exceeds the threshold (percent)."""
        return 100 * self.prob > threshold

    def tests(self, hits: np.ndarray, correction: str) -> pd.DataFrame:
        """Test of every label offered, as `stats.chi2_by_label` returns it."""
        method = CORRECTIONS[correction]
        return chi2_by_label(hits, self.group, labels=self.labels, correction=method)


def score_sets(predictions: pd.DataFrame | list[Scores], by: str = "gender") -> list[Scores]:
    """Every multi-label task of the predictions (all but those named like a group column), in their order.

    Parameters
    ----------
    predictions : with the probability of every label; or what this function returned, which is returned again, so
        that tables take either and a million probabilities are read once and not by each of them
    by : group column that is compared

    Raises
    ------
    DataError  if labels were left out of the predictions, or a group has no images
    """
    if not isinstance(predictions, pd.DataFrame):
        return predictions
    return [_scores(predictions, task, by) for task in label_tasks(predictions)]


def label_tasks(predictions: pd.DataFrame) -> list[str]:
    """Tasks whose labels are given by a threshold: those that images are not labelled by."""
    tasks = map(str, pd.unique(predictions["task"]))
    return [task for task in tasks if task not in predictions.columns]


def _scores(predictions: pd.DataFrame, task: str, by: str) -> Scores:
    columns = predictions[["image_id", "label", "prob", by]]
    rows = columns[(predictions["task"] == task).to_numpy()]
    label = rows["label"].astype("category").cat
    codes = label.codes.to_numpy()
    there = np.isin(np.arange(len(label.categories)), codes)
    labels, codes = list(label.categories[there]), (np.cumsum(there) - 1)[codes]
    # an image's labels stand one below the other: what is compared is the first of each
    other = rows["image_id"].iloc[1:].array != rows["image_id"].iloc[:-1].array
    first = np.flatnonzero(np.append(True, other)[: len(rows)])
    image, ids = pd.factorize(rows["image_id"].iloc[first])
    image = np.repeat(image, np.diff(first, append=len(rows)))
    prob = np.full((len(ids), len(labels)), np.nan)
    prob[image, codes] = rows["prob"]
    if len(rows) != prob.size or np.isnan(prob).any():
        raise DataError(
            f"{task}: {len(rows):,} probabilities for {prob.shape[0]:,} images and "
            f"{prob.shape[1]:,} labels; keep every label of every image (top=None)."
        )
    # images are numbered as they appear: a row is an image's first where the highest number rises
    first = np.flatnonzero(np.diff(np.maximum.accumulate(image), prepend=-1))
    group = rows[by].iloc[first]
    groups = groups_with_images(group)
    return Scores(task, labels, prob, group.to_numpy(dtype=object), groups, by)


def _unpublished(table: pd.DataFrame) -> pd.DataFrame:
    """`published` and `difference` behind the interval: the paper prints no rates."""
    at = table.columns.get_loc("ci_high") + 1
    table.insert(at, "published", np.nan)
    table.insert(at + 1, "difference", np.nan)
    return table


def _category(scores: Scores, categories: Mapping[str, str] | None) -> list[str]:
    if (
        scores.name == "occupations"
    ):  # an occupation may also be a coded label; here it is one of its own list
        return ["occupation"] * len(scores.labels)
    return [(categories or {}).get(label, UNCODED) for label in scores.labels]


def label_rates(
    scores: Scores, threshold: float, correction: str, categories: Mapping[str, str] | None
) -> pd.DataFrame:
    """Percent of the images of each group that carry each label of one set at one threshold.

    Parameters
    ----------
    threshold : percent, exceeded by the probability of a label that is given
    correction : "bh" or "holm"
    categories : label -> category; others are "uncoded"

    Returns
    -------
    DataFrame, one row a label and group, as `studies.congress.labels_by_gender` describes it
    """
    hits = scores.hits(threshold)
    tests = scores.tests(hits, correction)
    members = np.array([scores.group == name for name in scores.groups])
    count = (members.astype(float) @ hits).T.astype(int)  # (labels, groups)
    n = np.broadcast_to(members.sum(axis=1), count.shape)
    each = len(scores.groups)
    table = pd.DataFrame(
        {
            "label_set": scores.name,
            # a key, not a measure: a plain object, so that tables join on it exactly
            "threshold": pd.Series([threshold] * count.size, dtype=object),
            "label": np.repeat(np.array(scores.labels, dtype=object), each),
            "category": np.repeat(np.array(_category(scores, categories), dtype=object), each),
            scores.by: scores.groups * len(scores.labels),
            "n": n.ravel(),
            "count": count.ravel(),
        }
    )
    table = rates_of_counts(table, "images with the label")
    for column in ("chi2", "p", "p_adjusted", "min_expected", "test"):
        table[column] = np.repeat(tests[column].to_numpy(), each)
    return _unpublished(table)


def side_by_side(table: pd.DataFrame, by: str = "gender") -> pd.DataFrame:
    """Percents of a table of `label_rates`: one row a label, one column a group."""
    groups = list(pd.unique(table[by]))
    percent = table["percent"].to_numpy().reshape(-1, len(groups))
    return pd.DataFrame(percent, index=table["label"].iloc[:: len(groups)], columns=groups)


def given_labels(scores: Scores, threshold: float, correction: str) -> pd.DataFrame:
    """How many labels of one set a threshold gives to an image, and how many differ by group.

    Returns
    -------
    DataFrame, as `studies.congress.thresholds` describes it
    """
    hits, offered = scores.hits(threshold), len(scores.labels)
    each = hits.sum(axis=1)
    groups = {"All": np.ones(len(scores.group), dtype=bool)}
    groups |= {name: scores.group == name for name in scores.groups}
    rows = []
    for group, members in groups.items():
        given, n = each[members], int(members.sum())
        some = int((given > 0).sum())
        low, high = (100 * float(end) for end in wilson(some, n))
        rows.append((group, n, some, "images with any label", 100 * some / n, low, high, np.nan))
        mean, share = given.mean(), 100 * given.mean() / offered
        metric = "labels given, of those offered"
        rows.append((group, n, int(given.sum()), metric, share, np.nan, np.nan, mean))
    differ = int((scores.tests(hits, correction)["p_adjusted"] < ALPHA).sum())
    metric, share = f"labels that differ by {scores.by}, of those offered", 100 * differ / offered
    rows.append(("All", offered, differ, metric, share, np.nan, np.nan, np.nan))
    columns = [scores.by, *RATE_COLUMNS, "labels_per_image"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "label_set", scores.name)
    table.insert(1, "threshold", pd.Series([threshold] * len(table), dtype=object))
    return _unpublished(table)


def category_shares(
    scores: Scores,
    threshold: float,
    categories: Mapping[str, str],
    *,
    n_boot: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of each category among the labels that one threshold gives to images of each group.

    Simulated, the 95 % intervals cover 91 % at 30 images of a group: with so few they are narrow.

    Returns
    -------
    DataFrame, as `studies.congress.categories` describes it
    """
    order = [*dict.fromkeys(categories.values()), UNCODED]
    kinds = np.array([categories.get(label, UNCODED) for label in scores.labels], dtype=object)
    given = scores.hits(threshold).astype(float) @ (kinds[:, None] == np.array(order, dtype=object))
    parts = []
    for group in scores.groups:
        mine = given[scores.group == group]  # (images, categories): labels given
        count, n = mine.sum(axis=0), mine.sum()
        draws = resample(np.column_stack([mine, mine.sum(axis=1)]), n_boot, seed)
        with np.errstate(invalid="ignore"):
            percent, draws = 100 * count / n, 100 * draws[:, :-1] / draws[:, -1:]
        # a share of a few labels can lie beyond the percentiles of its own draws
        low, high = percentiles(draws, 0.95)
        low, high = np.where((count == 0) | (count == n), np.nan, (low, high))
        part = pd.DataFrame({"category": order, scores.by: group, "n": int(n)})
        part = part.assign(count=count.astype(int), metric="share of the labels given")
        part = part.assign(percent=percent, ci_low=np.minimum(low, percent))
        parts.append(part.assign(ci_high=np.maximum(high, percent)))
    table = pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
    table.insert(0, "threshold", pd.Series([threshold] * len(table), dtype=object))
    return _unpublished(table)
