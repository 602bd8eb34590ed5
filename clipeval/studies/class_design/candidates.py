"""Candidate classes for a class set: which are left to add, and what each one takes, added alone."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import ClassSet, class_set_of, load_class_set
from clipeval.errors import ClassSetError
from clipeval.stats import codes_of, wilson

#: column with the class that an image had before a candidate was added
BEFORE = "(class before)"
#: metric: the answer is the class of the image's labels of race and gender
AGREEMENT = "agreement with race and gender labels"


def offered(class_set: ClassSet) -> dict[str, str]:
    """Class -> text of the task that a class set is compared by."""
    return class_set.classes(class_set.counted_task())


def candidate_classes(candidates: ClassSet | str, class_set: ClassSet | str) -> ClassSet:
    """The candidates that a class set does not offer yet, neither by name nor by text.

    Raises
    ------
    ClassSetError  if none is left
    """
    candidates, class_set = load_class_set(candidates), load_class_set(class_set)
    there = offered(class_set)
    texts = {text.lower() for text in there.values()}
    left = {
        name: text
        for classes in candidates.tasks.values()
        for name, text in classes.items()
        if name not in there and text.lower() not in texts
    }
    if not left:
        raise ClassSetError(
            f"every candidate of {candidates.spec} is a class of {class_set.spec} already; "
            "name other candidates."
        )
    if len(left) == 1:  # a class set of its own would need two
        return replace(candidates, tasks={"add": left}, categories={}, answers={})
    about = {name: getattr(candidates, name) for name in ("version", "source", "language")}
    return class_set_of(candidates.name, {"add": left}, **about)


def person_classes(people: pd.DataFrame, classes: Collection[str]) -> np.ndarray:
    """The class that fits each image's race and gender labels.

    Parameters
    ----------
    people : DataFrame with columns race and gender (Male, Female)
    classes : names of the classes on offer

    Returns
    -------
    ndarray of str
        "RACE man" or "RACE woman" where the class set has it, else "RACE", else "".
    """
    (race, races), (gender, genders) = (codes_of(people[name]) for name in ("race", "gender"))
    nouns = [{"Male": "man", "Female": "woman"}.get(name, "") for name in [*genders, ""]]
    there = set(classes)
    choices = [[(f"{name} {noun}", name) for noun in nouns] for name in [*races, ""]]
    fit = [[next((c for c in pair if c in there), "") for pair in row] for row in choices]
    return np.array(fit, object)[race, gender]


def taken_by(scores: np.ndarray, classes: Sequence[str], candidates: Sequence[str]) -> pd.DataFrame:
    """Which images each candidate takes, added alone.

    A class that is added can only take images from others: an image goes to the candidate if its
    score is above that of every class of the set.

    Parameters
    ----------
    scores : ndarray (n, classes + candidates)
        Similarities or logits, the columns in the order of `classes`, then `candidates`.

    Returns
    -------
    DataFrame: `BEFORE` (class of each image, category), and a column of bools for each candidate
    """
    scores, old = np.asarray(scores), len(classes)
    best = scores[:, :old].max(axis=1)
    top = pd.Categorical.from_codes(scores[:, :old].argmax(axis=1), list(classes))
    taken = pd.DataFrame(scores[:, old:] > best[:, None], columns=list(candidates))
    return pd.concat([pd.DataFrame({BEFORE: top}), taken], axis=1)


def rates_taken(
    top: Sequence[str],
    taken: pd.DataFrame,
    *,
    harmful: Collection[str],
    expected: Sequence[str],
    metric: str,
    confidence: float,
) -> pd.DataFrame:
    """How much each candidate, added alone, lowers the harm rate, and what it costs.

    Candidates count as harmless. The cost is in agreement with the data set's labels: the share of
    images whose top class was the one of their race and gender and no longer is. That a picture
    labelled as of a small child goes to `child` is such a loss too, though no error: the class of
    race and gender is the only right answer that the labels know.

    Parameters
    ----------
    top, taken : as `taken_by` finds them: class of each image before, and a column of bools for each candidate
    harmful : names of the classes that are harms
    expected : sequence of n str
        Class of each image's labels; "" where the set has none.
    metric : str, name of the harm
    confidence : float in (0, 1)

    Returns
    -------
    DataFrame
        Two rows a candidate, the one that lowers the harm most first: candidate, n, count (images
        that went to the candidate and were a harm, or were agreed, before), metric ("change in
        ..."), percent (percentage points, never above 0), ci_low, ci_high (Wilson's of `count`),
        published, difference, rank, taken (images that went to the candidate), before, after
        (percent). There is no p value: that a class which is added takes something from others is
        no hypothesis. Without expected classes there are no rows on agreement.
    """
    top, expected = np.asarray(top, dtype=object), np.asarray(expected, dtype=object)
    candidates, taken = list(taken.columns), taken.to_numpy(bool)
    held = {metric: np.isin(top, list(harmful))}
    if (expected != "").any():
        held[AGREEMENT] = top == expected
    n, parts = len(top), []
    for name, before in held.items():
        count = (taken & before[:, None]).sum(axis=0)
        low, high = wilson(count, n, confidence)
        columns = {
            "candidate": np.asarray(candidates, dtype=object),
            "n": n,
            "count": count,
            "metric": f"change in {name}",
            "percent": 0.0 - 100 * count / n,
            "ci_low": 0.0 - 100 * high,
            "ci_high": 0.0 - 100 * low,
            "published": np.nan,
            "difference": np.nan,
            "taken": taken.sum(axis=0),
            "before": 100 * before.mean(),
            "after": 100 * (before.sum() - count) / n,
        }
        parts.append(pd.DataFrame(columns))
    table = pd.concat(parts, ignore_index=True)
    # most harm avoided first; among equals the least agreement lost
    changes = table["percent"].to_numpy().reshape(len(held), len(candidates))
    rank = np.argsort(np.lexsort([*-changes[1:], changes[0]])) + 1
    table.insert(table.columns.get_loc("taken"), "rank", np.tile(rank, len(held)))
    return table.sort_values("rank", kind="stable", ignore_index=True)
