"""Class design: the same images and another class set (arXiv 2108.02818, Table 3)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clipeval.classify import zeroshot
from clipeval.classify.class_sets import ClassSet, load_class_set, prompts_for
from clipeval.classify.zeroshot import ANSWER
from clipeval.datasets.labelfile import few
from clipeval.errors import DataError
from clipeval.output.numbers import interval
from clipeval.output.sentences import between_extremes, picked, tied
from clipeval.published import with_published
from clipeval.published.denigration import published_rates
from clipeval.stats import (
    IMAGES,
    RATE_COLUMNS,
    adjust,
    all_different,
    change_ends,
    clopper_pearson,
    codes_of,
    counted,
    counted_once,
    extremes,
    group_rates,
    paired_changes,
    rate_ends,
    rates_of_counts,
    wilson,
)
from clipeval.studies.class_design.candidates import (
    BEFORE,
    candidate_classes,
    offered,
    person_classes,
    rates_taken,
    taken_by,
)
from clipeval.studies.denigration.tables import (
    among,
    combined,
    harm_categories,
    top_labels,
)

SOURCE = "arXiv 2108.02818, Table 3"
#: a remark for test cards
ON_CARDS = (
    "On test cards only `child` was planted: what other candidates do there follows from chance "
    "likeness of made-up vectors and means nothing."
)
#: what stands in the column `class_set` for the paired change from the one to the other
CHANGE = "change"


def pair_of(session) -> tuple[ClassSet, ClassSet]:
    return session.class_set, load_class_set(session.parameters.other)


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
    groups = [name for name in predictions if name not in ANSWER]
    told = ["image_id", "class_set", "rank", "label"]
    first = top_labels(predictions[[*told, *groups]], class_set)
    first = first.drop(columns=["class_set", "rank"]).rename(columns={"label": "before"})
    second = top_labels(predictions[told], other)[["image_id", "label"]]
    if first["image_id"].equals(second["image_id"]) and all_different(first["image_id"]):
        return first.assign(after=second["label"])
    lonely = set(first["image_id"]) ^ set(second["image_id"])
    if lonely:
        raise DataError(
            f"{len(lonely):,} images, such as {min(lonely)}, were classified with only one of the "
            "two class sets; a paired comparison needs both answers for every image."
        )
    second = second.rename(columns={"label": "after"})
    return first.merge(second, on="image_id", validate="one_to_one")


@counted_once
def counted_answers(
    predictions: pd.DataFrame, class_set: ClassSet | str, other: ClassSet | str
) -> pd.DataFrame:
    """How many images of which groups were given which class before and after; errors as in `paired_labels`.

    Returns
    -------
    DataFrame: the columns of `paired_labels` but `image_id`, and `stats.IMAGES`
    """
    pairs = paired_labels(predictions, class_set, other)
    return counted(pairs, [name for name in pairs if name != "image_id"])


def harmful(labels, class_set, category: str | None = None) -> np.ndarray:
    """Whether each label is in a harm category of its class set; by default in any."""
    members = {m for part in class_set.categories.values() for m in part}
    if category is not None:
        members = harm_categories(class_set)[category]
    return among(pd.Series(labels), list(members))


def _only_adds(smaller: ClassSet, larger: ClassSet) -> bool:
    """Whether the second class set is the first and harmless classes more."""
    same = {k: set(v) for k, v in smaller.categories.items()} == {
        k: set(v) for k, v in larger.categories.items()
    }
    return same and offered(smaller).items() < offered(larger).items()


def one_way(class_set: ClassSet | str, other: ClassSet | str) -> int:
    """The only direction that harm can change in from one class set to the other.

    A harmless class that is added can only take images from harms, and one that is taken away can
    only give them back. A test against change in both directions would test what cannot be.

    Returns
    -------
    -1 where `other` is `class_set` and harmless classes more, 1 the other way round, else 0
    """
    class_set, other = load_class_set(class_set), load_class_set(other)
    return int(_only_adds(other, class_set)) - int(_only_adds(class_set, other))


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
    predictions : DataFrame, as `predict` or `counted_answers` returns them
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
        the category; for a change, images that changed either way), metric (each rate is named
        after its own set's categories, and a change after both, or "any harm category" where they
        differ), percent, ci_low, ci_high (Wilson; of a change, percentage points, Newcombe's paired
        method 10, or where harm can change in one direction only, Wilson's of the images that
        changed), published (of a change only where `other` is `class_set` and the class child more
        or less, which is what was published), difference, only_before, only_after (images), p
        (McNemar's: exact where fewer than 25 images changed; NaN where `one_way` leaves nothing to
        test), p_adjusted (Holm, over the changes of the table). Source: arXiv 2108.02818, Table 3.
    """
    class_set, other, by = load_class_set(class_set), load_class_set(other), list(by)
    pairs = counted(counted_answers(predictions, class_set, other), [*by, "before", "after"])
    metrics = [None]
    if every_category:
        # one category alone is all of them together
        whole = {combined(asked.categories) for asked in (class_set, other)}
        both = [c for c in class_set.categories if c in other.categories]
        metrics = [c for c in both if c not in whole] + metrics
    parts = []
    for category in dict.fromkeys(metrics):
        frame = pairs[[*by, IMAGES]].assign(
            before=harmful(pairs["before"], class_set, category),
            after=harmful(pairs["after"], other, category),
        )
        parts.append(_three_rows(frame, category, by, class_set, other, confidence))
    table = pd.concat(parts).sort_index(kind="stable") if by else pd.concat(parts)
    # of a set with one category, that one and all together are the same row
    table = table.drop_duplicates([*by, "class_set", "metric"], ignore_index=True)
    table = table.assign(p_adjusted=np.nan)
    tested = table["p"].notna()
    table.loc[tested, "p_adjusted"] = adjust(table.loc[tested, "p"], "holm")
    first = [*by, "class_set", *RATE_COLUMNS]
    last = ["published", "difference", "only_before", "only_after", "p", "p_adjusted"]
    return table[[*first, *last]]


def _three_rows(frame, category, by, class_set, other, confidence) -> pd.DataFrame:
    """Before, after and change of one harm, for each group; the index numbers the groups."""
    options = {"by": by, "confidence": confidence, "images": IMAGES}
    parts, known, names = [], [], []
    for column, asked in (("before", class_set), ("after", other)):
        names.append(category or combined(asked.categories))
        rates = group_rates(frame, column, metric=names[-1], **options)
        published = published_rates(by, asked)
        rates = with_published(rates, published, on=[*by, "metric"], value="published")
        known.append(rates["published"].to_numpy())
        parts.append(rates.assign(class_set=asked.spec))
    change = paired_changes(frame, "before", "after", **options)
    change = change.drop(columns=["before", "after", "test"])
    change = change.rename(columns={"change": "percent"})
    if way := one_way(class_set, other):
        moved = change["only_before" if way < 0 else "only_after"]
        ends = 100 * way * np.array(wilson(moved, change["n"], confidence)) + 0.0  # no minus zero
        low, high = ends if way > 0 else ends[::-1]
        change = change.assign(ci_low=low, ci_high=high, p=np.nan)
    published = known[1] - known[0] if _differ_by_child(class_set, other) else np.nan
    name = names[0] if names[0] == names[1] else "any harm category"
    change = change.assign(
        class_set=CHANGE,
        count=change["only_before"] + change["only_after"],
        metric=f"change in {name}",
        published=published,
        difference=change["percent"] - published,
    )
    return pd.concat([*parts, change]).sort_index(kind="stable")


def _differ_by_child(first: ClassSet, second: ClassSet) -> bool:
    """Whether the class child is all that one set has more: the change that the paper published."""
    apart = offered(first).items() ^ offered(second).items()
    return one_way(first, second) != 0 and {name for name, _ in apart} == {"child"}


def intervals(class_set: ClassSet | str, other: ClassSet | str, confidence: float = 0.95) -> str:
    """Name of the intervals of `compare`, for captions."""
    how = "Wilson of the images that moved" if one_way(class_set, other) else "Newcombe, paired"
    return f"{100 * confidence:g} % intervals (rates: Wilson; changes: {how})"


def published_source(table: pd.DataFrame) -> str | None:
    """Source of a table's published values, for captions; None where it has none."""
    return SOURCE if table["published"].notna().any() else None


def shown(table: pd.DataFrame) -> list[str]:
    """Columns of `compare` to show beside the usual: p values only where something is tested."""
    return ["only_before", "only_after", *(["p_adjusted"] if table["p"].notna().any() else [])]


def most_changed(table: pd.DataFrame, by: str, *, confidence: float = 0.95) -> str:
    """A sentence: how far apart the changes of the groups are, the two groups having been picked.

    Parameters
    ----------
    table : DataFrame, as `compare` returns it, of one harm
    by : its grouping column
    confidence : float in (0, 1), of the intervals
    """
    rows = table[(table["class_set"] == CHANGE) & table["percent"].notna()]
    before = table[table["class_set"] == table["class_set"].iloc[0]].set_index(by)
    lost, won, n = (rows[c].to_numpy(int) for c in ("only_before", "only_after", "n"))
    both = before.loc[rows[by], "count"].to_numpy(int) - lost

    def signed(ends):  # harm changes in one direction only, see `compare`
        return (-ends[1], -ends[0]) if lost.any() else ends

    if len(rows) < 2:
        return f"By {by}, one group alone has images, so that no two changes can be compared."
    change, moved = (won - lost) / n, lost + won
    if rows["p"].notna().any():
        found = extremes(change, change_ends(both, won, lost, n), confidence)
    else:  # exact for the two picked: Wilson's hold both in 76 to 96 % of samples where 0.2 to 2 % move
        found = extremes(
            change,
            lambda level: signed(rate_ends(moved, n)(level)),
            confidence,
            picked=lambda level: signed(clopper_pearson(moved, n, level)),
        )
    said = between_extremes(found, list(rows[by].astype(str)), unit="percentage points")
    return f"By {by}, the change is {said}. {picked([found], confidence)}".rstrip()


def best_candidate(sweep: pd.DataFrame) -> str:
    """A sentence: which candidate lowers the harm rate the most, and at what cost."""
    rows, tried = sweep[sweep["rank"] == 1], sweep["candidate"].nunique()
    if rows["count"].iloc[0] == 0:
        return f"None of {tried} candidates takes an image from a harmful class."
    said = "; ".join(f"{row['metric']} {_points(row)}" for _, row in rows.iterrows())
    first = sweep[sweep["metric"] == rows["metric"].iloc[0]]
    at = int(first["rank"].to_numpy().argmin())
    best = tied(at, first["percent"].to_numpy(), list(first["candidate"]))
    return (
        f"Of {tried} candidates {best} lowers harm the most on these images: "
        f"{said}. It was picked as the best of them, and is likely to do worse on others."
    )


def _points(row: pd.Series) -> str:
    """A change with its interval."""
    ends = row["ci_low"], row["ci_high"]
    return interval(row["percent"], *ends, sign=True, unit="percentage points")


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
    pairs = counted_answers(predictions, class_set, other)
    (before, names), (after, others) = (codes_of(pairs[c]) for c in ("before", "after"))
    counts = np.zeros((len(names), len(others)), dtype=np.int64)
    np.add.at(counts, (before, after), pairs[IMAGES])
    rows, columns = np.nonzero((counts > 0) & (names[:, None] != others))
    table = pd.DataFrame({"from_class": names[rows], "to_class": others[columns]}, dtype=object)
    table = table.assign(count=counts[rows, columns], n=counts.sum(axis=1)[rows])
    table = table.sort_values(
        ["count", "from_class", "to_class"], ascending=[False, True, True], ignore_index=True
    )
    table = rates_of_counts(table, "moved", confidence=confidence)
    return table[["from_class", "to_class", *RATE_COLUMNS]].assign(
        published=np.nan, difference=np.nan
    )


def sweep_words(session) -> tuple[ClassSet, dict, dict]:
    """The candidates, the prompts of the class set that they are added to, and theirs.

    Of answers made elsewhere, candidates that have none are no longer among the prompts.
    """
    base, templates = session.class_set, session.templates
    extra = candidate_classes(session.parameters.candidates, base)
    added = prompts_for(extra, templates)
    return (
        extra,
        prompts_for(base, templates, base.counted_task()),
        {name: texts for name, texts in added.items() if session.source.answers({name: texts})},
    )


def not_added(session) -> list[str]:
    """A sentence on candidates that there are no answers for; none where a model can be asked."""
    extra, _, added = sweep_words(session)
    absent = [name for name in prompts_for(extra, session.templates) if name not in added]
    if not absent:
        return []
    be = "is" if len(absent) == 1 else "are"
    return [
        f"Of the candidates of {session.parameters.candidates}, {few(absent, 4)} {be} not added: there "
        f"are no answers for {'it' if len(absent) == 1 else 'them'}."
    ]


def sweep(session) -> pd.DataFrame:
    """`rates_taken` for the session's images, class set and candidates, from its embeddings; without rows if
    there are answers for no candidate."""
    p, base = session.parameters, session.class_set
    extra, prompts, added = sweep_words(session)
    if not added:
        return pd.DataFrame()
    session.note_prompts("candidates", extra, session.templates, added)
    embeddings = session.embed()
    people = session.images.set_index("image_id").loc[embeddings.image_id]

    def asked() -> pd.DataFrame:
        weights = zeroshot.class_weights(prompts | added, session.encode)
        similarity = zeroshot.similarities(embeddings.matrix, weights)
        return taken_by(similarity, list(prompts), list(added))

    key = [session.info.fingerprint, session.data_hash, embeddings.image_id, prompts, added]
    taken = session.answers("candidates", key, asked)
    return rates_taken(
        taken[BEFORE],
        taken[list(added)],
        harmful=[m for members in base.categories.values() for m in members],
        expected=_expected(people, prompts),
        metric=combined(base.categories),
        confidence=p.confidence,
    )


def _expected(people: pd.DataFrame, prompts: dict) -> Sequence[str]:
    """Class of each image's race and gender labels; "" where the data set has no such labels."""
    if {"race", "gender"} <= set(people.columns):
        return person_classes(people, prompts)
    return [""] * len(people)
