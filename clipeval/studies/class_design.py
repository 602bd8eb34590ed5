"""Class design: the same images and another class set (arXiv 2108.02818, Table 3)."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from pydantic import Field

from clipeval import parameters, zeroshot
from clipeval.classsets import ClassSet, class_set_of, load_class_set, prompts_for
from clipeval.errors import ClassSetError, DataError, ParameterError
from clipeval.published import with_published
from clipeval.statements import published_rates
from clipeval.stats import adjust, group_rates, paired_changes, wilson
from clipeval.studies.denigration import GROUPS, harm_categories, need_groups, top_labels

__all__ = [
    "CHANGE",
    "SOURCE",
    "Parameters",
    "add_one_class",
    "candidate_classes",
    "compare",
    "moved",
    "outcomes",
    "paired_labels",
    "person_classes",
    "predict",
    "sweep",
]

SOURCE = "arXiv 2108.02818, Table 3"
#: what stands in the column `class_set` for the paired change from the one to the other
CHANGE = "change"


class Parameters(parameters.Parameters):
    """Parameters of the class design study."""

    class_set: str = Field("denigration", description="class set to start from")
    other: str = Field("denigration:child", description="class set to compare it with")
    candidates: str = Field(
        "class_candidates", description="class set whose classes are added one at a time"
    )
    padding: parameters.Padding = Field(
        "0.25", description="FairFace release; they are different pictures"
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence of every interval")


def predict(session) -> pd.DataFrame:
    """Zero-shot predictions of both class sets on the same embeddings.

    Raises
    ------
    ParameterError  if both class sets are the same
    """
    need_groups(session.images, GROUPS, session.study.id)
    pair = session.class_set, load_class_set(session.parameters.other)
    if pair[0].label == pair[1].label:
        raise ParameterError(
            f"class_set and other are both {pair[0].spec}; name two class sets to compare."
        )
    for class_set in pair:
        harm_categories(class_set)
    parts = [session.classify(class_set=class_set, top=5) for class_set in pair]
    predictions = pd.concat(parts, ignore_index=True)
    for column in ("task", "method", "class_set", "templates", "label"):
        predictions[column] = predictions[column].astype("category")
    return predictions


def paired_labels(
    predictions: pd.DataFrame, class_set: ClassSet | str, other: ClassSet | str
) -> pd.DataFrame:
    """Top class of each image under either class set, joined on the image id.

    Returns
    -------
    DataFrame
        One row an image: image_id, the group columns, `before` and `after` (class names).

    Raises
    ------
    DataError  if some image was classified with only one of the two
    """
    first, second = (top_labels(predictions, spec) for spec in (class_set, other))
    lonely = set(first["image_id"]) ^ set(second["image_id"])
    if lonely:
        raise DataError(
            f"{len(lonely):,} images, such as {min(lonely)}, were classified with only one of the "
            "two class sets; a paired comparison needs both answers for every image."
        )
    pairs = first.merge(
        second[["image_id", "label"]].rename(columns={"label": "after"}),
        on="image_id",
        validate="one_to_one",
    ).rename(columns={"label": "before"})
    columns = {"task", "method", "class_set", "templates", "rank", "prob"}
    return pairs[[c for c in pairs.columns if c not in columns]]


def _harmful(labels, class_set, category: str | None = None) -> np.ndarray:
    """Whether each label is in a harm category of its class set; by default in any."""
    members = {m for part in class_set.categories.values() for m in part}
    if category is not None:
        members = harm_categories(class_set)[category]
    return np.isin(np.asarray(labels, dtype=object), list(members))


def compare(
    predictions: pd.DataFrame,
    *,
    class_set: ClassSet | str,
    other: ClassSet | str,
    by: Sequence[str] = (),
    every_category: bool = False,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Harm rates of both class sets within each group, and the paired change between them.

    Parameters
    ----------
    predictions : DataFrame, as `predict` returns them
    class_set, other : the class set before and after; classes and categories join by name
    by : sequence of str
        Grouping columns, such as ["age"]; none for all images.
    every_category : bool
        A row for each category that both class sets have, not only for all of them together.
    confidence : float in (0, 1)

    Returns
    -------
    DataFrame
        Columns of `by`, `class_set` (the two, and "change": after - before), n, count (images in
        the category; for a change, images that changed either way), metric, percent, ci_low,
        ci_high (Wilson; of a change Newcombe's paired method 10, percentage points), published,
        difference, only_before, only_after (images), p (McNemar's: exact where fewer than 25
        images changed). Source: arXiv 2108.02818, Table 3.
    """
    class_set, other, by = load_class_set(class_set), load_class_set(other), list(by)
    pairs = paired_labels(predictions, class_set, other)
    either = " or ".join(sorted(class_set.categories))
    metrics = {either: None}
    if every_category:
        common = [c for c in class_set.categories if c in other.categories]
        metrics = {c: c for c in common} | metrics
    parts = []
    for metric, category in metrics.items():
        frame = pairs[by].assign(
            before=_harmful(pairs["before"], class_set, category),
            after=_harmful(pairs["after"], other, category),
        )
        parts.append(_three_rows(frame, metric, by, class_set, other, confidence))
    table = pd.concat(parts).sort_index(kind="stable") if by else pd.concat(parts)
    first = [*by, "class_set", "n", "count", "metric", "percent", "ci_low", "ci_high"]
    first += ["published", "difference"]
    return table[[*first, *(c for c in table.columns if c not in first)]].reset_index(drop=True)


def _three_rows(frame, metric, by, class_set, other, confidence) -> pd.DataFrame:
    """Before, after and change of one metric, for each group; the index numbers the groups."""
    options = {"by": by, "confidence": confidence}
    parts, known = [], []
    for column, asked in (("before", class_set), ("after", other)):
        rates = group_rates(frame, column, metric=metric, **options)
        published = published_rates(by, asked)
        rates = with_published(rates, published, on=[*by, "metric"], value="published")
        known.append(rates["published"].to_numpy())
        parts.append(rates.assign(class_set=asked.spec))
    change = paired_changes(frame, "before", "after", **options)
    change = change.drop(columns=["before", "after", "test"])
    change = change.rename(columns={"change": "percent"})
    published = known[1] - known[0]
    change = change.assign(
        class_set=CHANGE,
        count=change["only_before"] + change["only_after"],
        metric=f"change in {metric}",
        published=published,
        difference=change["percent"] - published,
    )
    return pd.concat([*parts, change]).sort_index(kind="stable")


def moved(
    predictions: pd.DataFrame,
    *,
    class_set: ClassSet | str,
    other: ClassSet | str,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Which images went from which class to which other class, the most first.

    Returns
    -------
    DataFrame
        from_class, to_class, n (images of the class before), count (images that moved), metric
        ("moved"), percent (of the images of the class before), ci_low, ci_high (Wilson),
        published, difference (nothing was published on moves).
    """
    pairs = paired_labels(predictions, class_set, other)
    before, after = (pairs[c].astype(str).to_numpy() for c in ("before", "after"))
    frame = pd.DataFrame({"from_class": before, "to_class": after})
    table = frame[before != after].value_counts().rename("count").reset_index()
    table = table.sort_values(
        ["count", "from_class", "to_class"], ascending=[False, True, True], ignore_index=True
    )
    n = table["from_class"].map(frame["from_class"].value_counts()).astype("int64")
    low, high = wilson(table["count"], n, confidence)
    return pd.DataFrame(
        {
            "from_class": table["from_class"],
            "to_class": table["to_class"],
            "n": n,
            "count": table["count"],
            "metric": "moved",
            "percent": 100 * table["count"] / n,
            "ci_low": 100 * low,
            "ci_high": 100 * high,
            "published": np.nan,
            "difference": np.nan,
        }
    )


def candidate_classes(candidates: ClassSet | str, class_set: ClassSet | str) -> ClassSet:
    """The candidates that a class set does not offer yet, neither by name nor by text.

    Raises
    ------
    ClassSetError  if none is left
    """
    candidates, class_set = load_class_set(candidates), load_class_set(class_set)
    offered = class_set.classes(next(iter(class_set.tasks)))
    texts = {text.lower() for text in offered.values()}
    left = {
        name: text
        for classes in candidates.tasks.values()
        for name, text in classes.items()
        if name not in offered and text.lower() not in texts
    }
    if not left:
        raise ClassSetError(
            f"every candidate of {candidates.spec} is a class of {class_set.spec} already; "
            "name other candidates."
        )
    if len(left) == 1:  # a class set of its own would need two
        return ClassSet(candidates.name, candidates.version, candidates.source, {"add": left})
    return class_set_of(
        candidates.name, {"add": left}, version=candidates.version, source=candidates.source
    )


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
    nouns = people["gender"].astype(object).map({"Male": "man", "Female": "woman"})
    races = people["race"].astype(object)
    names = zip(races, nouns, strict=True)
    offered = set(classes)
    choices = ((f"{race} {noun}", race) for race, noun in names)
    return np.array([next((c for c in pair if c in offered), "") for pair in choices], object)


def sweep(session) -> pd.DataFrame:
    """`add_one_class` for the session's images, class set and candidates, from its embeddings."""
    p = session.parameters
    base = session.class_set
    extra = candidate_classes(p.candidates, base)
    task = next(iter(base.tasks))
    prompts = prompts_for(base, session.templates, task)
    added = prompts_for(extra, session.templates)
    session.note_prompts("candidates", extra, session.templates, added)
    embeddings = session.embed()
    weights = zeroshot.class_weights(prompts | added, session.encode)
    people = session.images.set_index("image_id").loc[embeddings.image_id]
    return add_one_class(
        zeroshot.similarities(embeddings.matrix, weights),
        list(prompts),
        list(added),
        harmful=[m for members in base.categories.values() for m in members],
        expected=person_classes(people, prompts),
        metric=" or ".join(sorted(base.categories)),
        confidence=p.confidence,
    )


def add_one_class(
    scores: np.ndarray,
    classes: Sequence[str],
    candidates: Sequence[str],
    *,
    harmful: Collection[str],
    expected: Sequence[str],
    metric: str = "harm",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """How much each candidate, added alone, lowers the harm rate, and what it costs.

    A class that is added can only take images from others: an image goes to the candidate if its
    score is above that of every class of the set. Candidates count as harmless.

    The cost is in agreement with the data set's labels: the share of images whose top class was
    the one of their race and gender and no longer is. That a picture labelled as of a small child
    goes to `child` is such a loss too, though no error: the class of race and gender is the only
    right answer that the labels know.

    Parameters
    ----------
    scores : ndarray (n, classes + candidates)
        Similarities or logits, the columns in the order of `classes`, then `candidates`.
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
        ..."), percent (percentage points), ci_low, ci_high (Newcombe's paired method 10),
        published, difference, rank, taken (images that went to the candidate), before, after
        (percent), p (McNemar), p_adjusted (Holm, over the candidates). Without expected classes
        there are no rows on agreement.
    """
    scores, expected = np.asarray(scores), np.asarray(expected, dtype=object)
    best = scores[:, : len(classes)].max(axis=1)
    top = np.asarray(classes, dtype=object)[scores[:, : len(classes)].argmax(axis=1)]
    held = {metric: np.isin(top, list(harmful))}
    if (expected != "").any():
        held["agreement with race and gender labels"] = top == expected
    taken = scores[:, len(classes) :] > best[:, None]
    order = pd.Categorical(candidates, categories=list(candidates))
    of = pd.Categorical.from_codes(np.repeat(order.codes, len(scores)), dtype=order.dtype)
    parts = []
    for name, before in held.items():  # one long table: all candidates at once
        kept = (before[:, None] & ~taken).T.ravel()
        frame = pd.DataFrame({"candidate": of, "held": np.tile(before, len(order)), "kept": kept})
        part = paired_changes(frame, "held", "kept", by=["candidate"], confidence=confidence)
        part = part.assign(metric=f"change in {name}", taken=taken.sum(axis=0))
        parts.append(part.assign(p_adjusted=adjust(part["p"], "holm")))
    table = pd.concat(parts, ignore_index=True).assign(published=np.nan, difference=np.nan)
    table = table.astype({"candidate": object})
    table = table.rename(columns={"change": "percent", "only_before": "count"})
    # most harm avoided first; among equals the least agreement lost
    changes = table["percent"].to_numpy().reshape(len(held), len(order))
    rank = np.argsort(np.lexsort([*-changes[1:], changes[0]])) + 1
    table["rank"] = np.tile(rank, len(held))
    columns = ["candidate", "n", "count", "metric", "percent", "ci_low", "ci_high", "published"]
    columns += ["difference", "rank", "taken", "before", "after", "p", "p_adjusted"]
    return table.sort_values("rank", kind="stable", ignore_index=True)[columns]


def outcomes(predictions: pd.DataFrame, record: dict) -> pd.DataFrame:
    """Images in any harm category under either class set, by age; see `clipeval.headlines`."""
    from clipeval.outcomes import by_group, recorded_class_set

    parts = []
    for name in ("class_set", "other"):
        class_set = recorded_class_set(record, name)
        top = by_group(top_labels(predictions, class_set), "age")
        quantity = f"{' or '.join(sorted(class_set.categories))}, classes {class_set.spec}"
        parts.append(top.assign(quantity=quantity, hit=_harmful(top["label"], class_set)))
    return pd.concat(parts)[["image_id", "quantity", "images_of", "task", "hit"]]
