"""What each method changes, for better and worse, on the same images: rates, paired changes, gaps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipeval import stats
from clipeval.classify.class_sets import ClassSet, load_class_set
from clipeval.classify.zeroshot import ANSWER
from clipeval.errors import DataError
from clipeval.stats import (
    IMAGES,
    RATE_COLUMNS,
    adjust,
    codes_of,
    counted_once,
    group_counts,
    newcombe,
    newcombe_paired,
    paired_changes,
    wilson,
)
from clipeval.stats.differences import difference_ends
from clipeval.stats.gaps import largest_skew
from clipeval.stats.skew import skew_of_counts
from clipeval.studies.class_design import AGREEMENT, person_classes
from clipeval.studies.denigration.tables import harm_categories
from clipeval.studies.mitigation.methods import UNCHANGED, kind_of

#: metric: no class of the set is named, but none at all or one that was added
OUTSIDE = "named otherwise"


class Counted(NamedTuple):
    """One metric: `hits` (images, methods) bool; `people`: the images' groups in the same order."""

    metric: str
    hits: pd.DataFrame
    people: pd.DataFrame


def counted(predictions: pd.DataFrame, harms: ClassSet | str) -> list[Counted]:
    """Hits of every metric: accuracies, harm categories, agreement with the labels, and what no class names.

    A method that leaves a question as it was has no column there.

    Parameters
    ----------
    predictions : as the study's `predict` returns them
    harms : class set with harm categories
    """
    harms, found = load_class_set(harms), []
    task = harms.counted_task()
    first = predictions["rank"] == 1
    top = (predictions if first.all() else predictions[first]).reset_index(drop=True)
    (task_of, tasks), (method_of, all_methods) = (codes_of(top[c]) for c in ("task", "method"))
    codes, names = codes_of(top["label"])  # compared in place of names

    def among(labels: pd.DataFrame, members) -> pd.DataFrame:
        return labels.apply(np.append(np.isin(names, list(members)), False).take, raw=True)

    asked = list(tasks[pd.unique(task_of)])
    for name in sorted(asked, key=lambda name: name == task):
        rows = np.flatnonzero(task_of == list(tasks).index(name))
        of = method_of[rows]
        places = {all_methods[code]: rows[of == code] for code in pd.unique(of)}
        methods = list(places)
        people = top.iloc[places[methods[0]]].reset_index(drop=True)
        labels = pd.DataFrame(
            {m: codes[_aligned(top, at, people, name)] for m, at in places.items()}
        )
        if name != task:
            truth = _places(people[name], names)
            found.append(Counted(f"{name} accuracy", labels.eq(truth, axis=0), people))
            continue
        for category, members in harm_categories(harms).items():
            found.append(Counted(category, among(labels, members), people))
        if {"race", "gender"} <= set(people):
            expected = person_classes(people, harms.classes(task))
            if (expected != "").any():
                agrees = labels.eq(_places(pd.Series(expected), names), axis=0)
                found.append(Counted(AGREEMENT, agrees, people))
        moved = [m for m in methods if m == UNCHANGED or kind_of(m) in ("classes", "abstain")]
        if len(moved) > 1:
            outside = ~among(labels[moved], harms.classes(task))
            found.append(Counted(OUTSIDE, outside, people))
    return found


@counted_once
def counted_answers(predictions: pd.DataFrame, harms: ClassSet | str) -> pd.DataFrame:
    """How many images of which groups are hits before and after each method, by each metric of `counted`.

    Returns
    -------
    DataFrame: metric, method, before, after (bool), the group columns, and `stats.IMAGES`
    """
    parts, order = [], list(pd.unique(predictions["method"]))
    for metric, hits, people in counted(predictions, harms):
        groups = people[[name for name in people if name not in ANSWER]]
        # images are read once: those of the same groups and hits of all methods are alike
        numbered = hits.set_axis(range(hits.shape[1]), axis=1)
        alike = stats.counted(groups.join(numbered), [*groups, *numbered])
        found, methods = alike[[*numbered]].to_numpy(), list(hits)
        codes = [order.index(method) for method in methods]
        frame = alike[[*groups, IMAGES]].iloc[np.tile(np.arange(len(alike)), len(methods))]
        frame = frame.reset_index(drop=True).assign(
            method=pd.Categorical.from_codes(np.repeat(codes, len(alike)), order),
            before=np.tile(found[:, methods.index(UNCHANGED)], len(methods)),
            after=found.T.ravel(),
        )
        parts.append(stats.counted(frame, frame.columns.drop(IMAGES)).assign(metric=metric))
    return pd.concat(parts, ignore_index=True)


def _places(values: pd.Series, names) -> np.ndarray:
    """Place of each value among names; -2, which is no label's, of one that is not there."""
    codes, values = codes_of(values)
    found = pd.Index(names).get_indexer([*map(str, values), None])
    return np.where(found < 0, -2, found)[codes]


def _aligned(top: pd.DataFrame, places: np.ndarray, people: pd.DataFrame, task: str) -> np.ndarray:
    """Places of one method's answers in the order of the images of the first."""
    ids, wanted = top["image_id"].iloc[places].reset_index(drop=True), people["image_id"]
    if ids.equals(wanted):
        return places
    order = pd.Index(ids).get_indexer(wanted)
    if len(ids) != len(wanted) or (order < 0).any():
        raise DataError(
            f"{task}: the methods did not answer for the same images; a paired comparison needs all answers."
        )
    return places[order]


def changes(
    predictions: pd.DataFrame,
    *,
    harms: ClassSet | str,
    by: Sequence[str] = (),
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Every metric under every method, and its paired change from the unchanged model.

    Parameters
    ----------
    predictions : as the study's `predict` or `counted_answers` returns them
    harms : class set with harm categories
    by : group columns; with any, harm categories alone are counted

    Returns
    -------
    DataFrame
        method, columns of `by`, n, count, metric, percent, ci_low, ci_high (Wilson), published, difference
        (nothing was published), before (percent), change, change_low, change_high (percentage points;
        Newcombe's paired method 10, or where a method can only take away, Wilson's of the images that moved),
        lost, won (images that are hits no longer, or newly), p (McNemar's; NaN where there is nothing to test),
        p_adjusted (Holm, over the table)
    """
    by, answers = list(by), counted_answers(predictions, harms)
    if by:
        answers = answers[answers["metric"].isin(harm_categories(harms))]
    table = _changes(answers, by, confidence)
    table = table.assign(published=np.nan, difference=np.nan, p_adjusted=np.nan)
    tested = table["p"].notna()
    table.loc[tested, "p_adjusted"] = adjust(table.loc[tested, "p"], "holm")
    if not by:
        table = table.sort_values("method", kind="stable", ignore_index=True)
    table["method"] = table["method"].astype(object)
    first = ["method", *by, *RATE_COLUMNS]
    last = ["published", "difference", "before", "change", "change_low", "change_high"]
    return table[[*first, *last, "lost", "won", "p", "p_adjusted"]]


def _changes(answers: pd.DataFrame, by: list[str], confidence: float):
    """Rate after, and paired change, of each metric, method and group."""
    by = ["metric", "method", *by]
    metrics = pd.Categorical(answers["metric"], pd.unique(answers["metric"]))
    rows = stats.counted(answers.assign(metric=metrics), [*by, "before", "after"])
    how = {"by": by, "images": IMAGES}
    found = paired_changes(rows, "before", "after", confidence=confidence, **how)
    found["count"] = group_counts(rows, "after", **how)["count"]
    # a method that has no column of a metric is left out there, but none of its groups
    asked = pd.MultiIndex.from_frame(rows[by[:2]]).unique()
    found = found[pd.MultiIndex.from_frame(found[by[:2]]).isin(asked)].reset_index(drop=True)
    count, n, lost, won = (found[c].to_numpy() for c in ("count", "n", "only_before", "only_after"))
    low, high = wilson(count, n, confidence)
    change = found[["change", "ci_low", "ci_high", "p"]].to_numpy(float)
    # can move in one direction only: there is nothing to test
    one_way = found["method"].astype(str).map(kind_of).isin(["classes", "abstain"]).to_numpy()
    outside = (found["metric"] == OUTSIDE).to_numpy()
    least, most = 100 * np.array(wilson(np.where(outside, won, lost), n, confidence))
    ends = np.column_stack([np.where(outside, least, -most), np.where(outside, most, -least)])
    change[one_way, 1:3] = ends[one_way] + 0.0
    change[one_way, 3] = np.nan
    change[(found["method"] == UNCHANGED).to_numpy()] = np.nan
    return found[by].assign(
        metric=found["metric"].astype(str),
        n=n,
        count=count,
        percent=found["after"],
        ci_low=100 * low,
        ci_high=100 * high,
        before=found["before"],
        change=change[:, 0],
        change_low=change[:, 1],
        change_high=change[:, 2],
        lost=lost,
        won=won,
        p=change[:, 3],
    )


def farthest(predictions: pd.DataFrame, *, harms: ClassSet | str, by: Sequence[str]) -> dict:
    """(grouping, metric) -> the two groups that the unchanged model's rates set farthest apart, highest first.

    Groups that are all alike have none.

    Parameters
    ----------
    predictions : of the unchanged model, for the images that choices are fitted on
    harms, by : as in `changes`
    """
    found, unchanged = {}, predictions[predictions["method"] == UNCHANGED]
    for metric, rows in counted_answers(unchanged, harms).groupby("metric", sort=False):
        for grouping in by if metric not in (AGREEMENT, OUTSIDE) else ():
            table = group_counts(rows, "before", by=[grouping], observed=True, images=IMAGES)
            if len(table) > 1:
                rates = (table["count"] / table["n"]).to_numpy()
                groups = table[grouping].astype(str).to_numpy()
                if rates.max() > rates.min():
                    found[grouping, metric] = groups[rates.argmax()], groups[rates.argmin()]
    return found


def gaps(
    predictions: pd.DataFrame,
    *,
    harms: ClassSet | str,
    pairs: Mapping[tuple[str, str], tuple[str, str]],
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """How far two groups are apart under every method, and MaxSkew of those called a harm.

    Parameters
    ----------
    predictions, harms : as in `changes`
    pairs : as `farthest` returns them, of other images than these: a pair picked on the same images would
        come nearer by regression to the mean alone

    Returns
    -------
    DataFrame
        method, grouping, metric, higher, lower (the pair), n, count (hits of both), percent (percentage points,
        first minus second), ci_low, ci_high (Newcombe), published, difference, before (points), change,
        change_low, change_high (points: MOVER of the groups' paired changes), and for harm categories skew
        (MaxSkew of the images in the category: the largest over groups of ln(share of these / share of all)),
        skew_low, skew_high (`largest_skew`), skew_before, skew_change, skew_change_low,
        skew_change_high, skew_chance (median when the category is dealt out at random). `metric` is named
        "gap in ...".
    """
    categories, rows = harm_categories(harms), []
    for metric, answers in counted_answers(predictions, harms).groupby("metric", sort=False):
        codes, methods = pd.factorize(answers["method"])
        kinds = 2 * answers["before"].to_numpy(int) + answers["after"].to_numpy(int)
        for (grouping, name), pair in pairs.items():
            if name != metric:
                continue
            groups, names = pd.factorize(answers[grouping].astype(str), sort=True)
            if not set(pair) <= set(names):
                continue
            places = [list(names).index(group) for group in pair]
            shape = len(methods), len(names), 4
            cells = np.ravel_multi_index((codes, groups, kinds), shape)
            images = np.bincount(cells, answers[IMAGES], np.prod(shape)).astype(np.int64)
            for method, given in zip(methods, images.reshape(shape), strict=True):
                size, (_, won, lost, both) = given.sum(axis=1), given.T
                row = {"method": method, "grouping": grouping, "higher": pair[0], "lower": pair[1]}
                row |= _pair(size, both, lost, won, places, confidence, method == UNCHANGED)
                if metric in categories:
                    row |= _skew(size, both, lost, won, confidence, seed, method == UNCHANGED)
                rows.append(row | {"metric": f"gap in {metric}"})
    table = pd.DataFrame(rows).assign(published=np.nan, difference=np.nan)
    first = ["method", "grouping", "higher", "lower", *RATE_COLUMNS]
    last = ["published", "difference", "before", "change", "change_low", "change_high"]
    skews = [name for name in table if name.startswith("skew")]
    return table[[*first, *last, *skews]]


def _pair(size, both, lost, won, pair, confidence, same: bool) -> dict:
    """Gap between two groups, and how it changed; of each group: images, hits in both, before only, after only."""
    n, both, lost, won = (list(map(int, kind[pair])) for kind in (size, both, lost, won))
    count = [both[i] + won[i] for i in (0, 1)]
    was_count = [both[i] + lost[i] for i in (0, 1)]
    low, high = newcombe(count[0], n[0], count[1], n[1], confidence)
    gap = count[0] / n[0] - count[1] / n[1]
    was = was_count[0] / n[0] - was_count[1] / n[1]
    moved = [count[i] / n[i] - was_count[i] / n[i] for i in (0, 1)]
    ends = [newcombe_paired(both[i], won[i], lost[i], n[i], confidence) for i in (0, 1)]
    least, most = difference_ends(moved[0], ends[0], moved[1], ends[1])
    found = {"n": sum(n), "count": sum(count), "percent": 100 * gap, "ci_low": 100 * float(low)}
    found |= {"ci_high": 100 * float(high), "before": 100 * was}
    change = (np.nan,) * 3 if same else (100 * (gap - was), 100 * float(least), 100 * float(most))
    return found | dict(zip(("change", "change_low", "change_high"), change, strict=True))


def _skew(size, both, lost, won, confidence, seed, same: bool) -> dict:
    """MaxSkew of the hits after, and its change, with intervals over images (`largest_skew`).

    The interval of the change spans from either end of one to the other end of the other, both at half the error.
    """
    was, now = both + lost, both + won
    share, rng = size / size.sum(), np.random.default_rng([seed, 4])
    dealt = rng.multivariate_hypergeometric(size, int(now.sum()), size=200, method="marginals")
    chance = _max_skew(dealt, share)
    known = np.isfinite(chance)
    skew_was, skew_now = (float(_max_skew(count, share)) for count in (was, now))
    found = {"skew": skew_now, "skew_before": skew_was}
    found["skew_low"], found["skew_high"] = largest_skew(now, size, confidence)
    found["skew_chance"] = float(np.median(chance[known])) if known.any() else np.nan
    moved = (np.nan,) * 3
    if not same:
        ends = [largest_skew(count, size, (1 + confidence) / 2) for count in (was, now)]
        moved = (skew_now - skew_was, ends[1][0] - ends[0][1], ends[1][1] - ends[0][0])
    return found | dict(
        zip(("skew_change", "skew_change_low", "skew_change_high"), moved, strict=True)
    )


def _max_skew(counts: np.ndarray, share: np.ndarray) -> np.ndarray:
    """`skew_of_counts` over the groups that have images; NaN where there is no hit."""
    total = counts.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = skew_of_counts(counts, share, k=np.asarray(total))
    return np.where(total > 0, found, np.nan)
