"""FairFace classification: race, gender and age, zero-shot and by linear probe (arXiv 2103.00020, Tables 3-5)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clipeval.classify.zeroshot import ANSWER
from clipeval.datasets.fairface import RACES
from clipeval.published import load_published, replications, with_published
from clipeval.stats import IMAGES, codes_of, counted, counted_once, group_rates, mean_rate

SOURCE = "arXiv 2103.00020, Tables 3, 4 and 5"
ATTRIBUTES = ("race", "gender", "age")
#: attributes in the order of the tables
ORDER = ("race", "race, 7 classes", "gender", "age")
#: method of a prediction -> name of the same method in the published tables
PUBLISHED = {"zero-shot": "Zero-shot CLIP", "linear probe": "Linear probe CLIP"}
#: attribute of the tables -> headline quantity
QUANTITIES = {
    "race": "race accuracy (White or not)",
    "race, 7 classes": "race accuracy (7 classes)",
    "gender": "gender accuracy",
    "age": "age accuracy",
}


def like_the_paper(predictions: pd.DataFrame) -> bool:
    """Whether Tables 3 to 5 can be made: labels of gender and race are FairFace's, White and others among them."""
    tasks = set(map(str, predictions["task"].unique()))
    if not {"race", "gender"} <= set(predictions.columns) or tasks.isdisjoint(ATTRIBUTES):
        return False
    races, genders = (_values(predictions[name]) for name in ("race", "gender"))
    return (
        "White" in races
        and 1 < len(races)
        and races <= set(RACES)
        and genders <= {"Male", "Female"}
    )


def _values(labels: pd.Series) -> set:
    """Labels that a column may have: of a categorical also those that no image here has."""
    if isinstance(labels.dtype, pd.CategoricalDtype):
        return set(labels.cat.categories)
    return set(labels.dropna().unique())


def attributes_of(predictions: pd.DataFrame) -> list[str]:
    """Tasks that were asked and that images are labelled by; "race, 7 classes" is apart from White or not."""
    tasks = [str(t) for t in pd.unique(predictions["task"]) if str(t) in predictions.columns]
    if not like_the_paper(predictions):
        return tasks
    first = [name for name in ORDER if name in tasks or (name == ORDER[1] and "race" in tasks)]
    return [*first, *(task for task in tasks if task not in ORDER)]


def white(values) -> np.ndarray:
    """White or Non-White, for race labels."""
    return np.where(np.asarray(values, dtype=object) == "White", "White", "Non-White")


def _counted(attributes: list[str]) -> list[str]:
    """Attributes in the order in which headline numbers list them: race, which a rule decides, last."""
    last = [name for name in ("race, 7 classes", "race") if name in attributes]
    return [*(name for name in attributes if name not in last), *last]


def score(predictions: pd.DataFrame, rules: dict[str, str]) -> pd.DataFrame:
    """Top-1 rows with `attribute` and `correct`.

    Where `like_the_paper`, race is White against Non-White by each method's rule, "race, 7 classes" counts
    apart, and `images_of` says of whom an image is.
    """
    top = predictions[predictions["rank"] == 1]
    columns = {name: codes_of(top[name]) for name in ("method", "task", "label")}
    order, paper = attributes_of(predictions), like_the_paper(predictions)
    columns |= {name: codes_of(top[name]) for name in order if name != ORDER[1]}

    def is_one(column, value) -> np.ndarray:
        codes, names = columns[column]
        return np.append(names == value, False)[codes]  # a missing value has the code -1

    positions, attributes, methods, correct = [], [], [], []
    for of, (method, rule) in enumerate(rules.items()):
        of_method = is_one("method", method)
        for attribute in _counted(order):
            name = "race" if attribute == "race, 7 classes" else attribute
            two = paper and attribute == "race"
            asked = "race_binary" if two and rule == "binary" else name
            rows = np.flatnonzero(of_method & is_one("task", asked))
            if two:
                right = is_one("label", "White")[rows] == is_one(name, "White")[rows]
            else:
                right = _equal(columns["label"], columns[name], rows)
            positions.append(rows)
            correct.append(right)
            attributes.append(np.full(len(rows), order.index(attribute)))
            methods.append(np.full(len(rows), of))
    attributes = np.concatenate(attributes)
    scored = top.take(np.concatenate(positions)).reset_index(drop=True)
    there = [name for place, name in enumerate(order) if (attributes == place).any()]
    place = np.array([there.index(name) if name in there else -1 for name in order])
    scored["attribute"] = pd.Categorical.from_codes(place[attributes], there, ordered=True)
    scored["correct"] = np.concatenate(correct)
    methods = np.concatenate(methods)
    scored["method"] = pd.Categorical.from_codes(methods, list(rules), ordered=True)
    if paper:
        codes, names = codes_of(scored["race"])
        kinds = np.append(np.where(names == "White", 0, 1), 1)[codes]
        scored["images_of"] = pd.Categorical.from_codes(kinds, ["White", "Non-White"], ordered=True)
    return scored


@counted_once
def counted_answers(predictions: pd.DataFrame) -> pd.DataFrame:
    """How many images of which groups were given which class by which method, of rank 1."""
    first = (predictions["rank"] == 1).to_numpy()
    top = predictions if first.all() else predictions[first]
    groups = [name for name in top if name not in ANSWER]
    return counted(top, ["method", "task", "label", *groups]).assign(rank=1)


def _scored(predictions: pd.DataFrame, rules: dict[str, str], by: Sequence[str]) -> pd.DataFrame:
    """`score` of different rows, each with how many images it stands for, by the columns of `by`."""
    names = ["method", "task", "label", "rank", "race", "gender", *attributes_of(predictions), *by]
    top = counted_answers(predictions)
    return score(counted(top, [name for name in names if name in top]), rules)


def _rates(scored: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    return group_rates(scored, "correct", by=by, metric="accuracy", images=IMAGES)


def _equal(found, truth, rows) -> np.ndarray:
    """Whether values at `rows` are equal, of columns given as codes and names; missing ones are not."""
    (found, names), (truth, labels) = found, truth
    place = {label: code for code, label in enumerate(labels)}
    same = np.array([*(place.get(name, -2) for name in names), -2])
    return same[found[rows]] == truth[rows]


def rules_of(predictions, race_rule, probe_race_rule) -> dict[str, str]:
    have = set(map(str, predictions["method"].unique()))
    rules = {"zero-shot": race_rule, "linear probe": probe_race_rule}
    return {method: rule for method, rule in rules.items() if method in have}


def accuracy_by_white(
    predictions: pd.DataFrame, *, race_rule="collapse", probe_race_rule="binary", probe_model="CLIP"
) -> pd.DataFrame:
    """Accuracy for race, gender and age on images of White people and of everybody else.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them, of which only rows with rank 1 are used, or as `counted_answers` does.
    race_rule, probe_race_rule : "collapse" or "binary"
        "Race" is White against Non-White: 7 classes collapsed after the prediction, or two classes.
    probe_model : "CLIP" or "Instagram"
        Which published linear probe stands beside the measured one.

    Returns
    -------
    DataFrame
        method, attribute, images_of (White, Non-White, All), n, count, metric, percent, ci_low, ci_high
        (Wilson, 95 %), published, difference. Rows of methods that only others ran (FairFace's own model,
        the probe of an Instagram model) have no percent. Source: arXiv 2103.00020, Tables 3 and 4.
    """
    rules = rules_of(predictions, race_rule, probe_race_rule)
    scored = _scored(predictions, rules, [])
    scored = scored[scored["attribute"].isin(ORDER)]
    by = ["method", "attribute"]
    split = _rates(scored, [*by, "images_of"])
    whole = _rates(scored, by).assign(images_of="All")
    table = pd.concat([split, whole[split.columns]]).astype({k: object for k in [*by, "images_of"]})
    names = PUBLISHED | {"linear probe": f"Linear probe {probe_model}"}
    published = load_published("fairface_accuracy")
    published = published[published["attribute"].isin(scored["attribute"].cat.categories)]
    published = published.reset_index(drop=True)
    measured = {name: method for method, name in names.items() if method in rules}
    published["method"] = published["model"].map(lambda m: measured.get(m, f"{m} (published)"))
    keys = ["method", "attribute", "images_of"]
    others = published[~published["model"].isin(measured)][keys].assign(metric="accuracy")
    table = pd.concat([table, others], ignore_index=True)
    table = with_published(table, published, on=keys, value="accuracy_percent")
    methods = list(dict.fromkeys(table["method"]))
    order = {
        "method": methods,
        "attribute": list(ORDER),
        "images_of": ["White", "Non-White", "All"],
    }
    rank = [table[key].map(values.index) for key, values in order.items()]
    return table.iloc[np.lexsort(rank[::-1])].reset_index(drop=True)


def published_note(table: pd.DataFrame) -> str:
    """What data/published notes of the accuracies beside `table`, for its caption; else ""."""
    if table["published"].isna().all():
        return ""
    noted = load_published("fairface_accuracy").dropna(subset="note")
    return " ".join(
        f"Published {row.accuracy_percent:g} %: {row.note}." for row in noted.itertuples()
    )


def _replication(row: pd.Series) -> str:
    """Whose replication a row is, and what its source does not state."""
    unstated = [name for name in ("split", "padding", "prompts") if row[name] == "not stated"]
    said = f"replication: {row['model']}, {row['source']}"
    return f"{said} ({', '.join(unstated)} not stated)" if unstated else said


def with_replications(table: pd.DataFrame) -> pd.DataFrame:
    """`accuracy_by_white` with the known replications by others in rows of their own."""
    found = replications("fairface")
    if table["published"].isna().all():
        return table
    parts = found["quantity"].str.extract(
        r"(?P<attribute>\w+) accuracy, images of (?P<images_of>\S+)"
    )
    rows = parts.assign(
        method=[_replication(row) for _, row in found.iterrows()],
        metric="accuracy",
        percent=found["percent"],
    )
    keyed = table[table["method"] == "zero-shot"].set_index(["attribute", "images_of"])["published"]
    at = list(zip(rows["attribute"], rows["images_of"], strict=True))
    rows["published"] = [keyed.get(key, np.nan) for key in at]
    rows["difference"] = rows["percent"] - rows["published"]
    return pd.concat([table, rows], ignore_index=True)


#: of `gender_by_race`, for its caption
AVERAGE_INTERVALS = (
    "95 % Wilson intervals; of averages over races, at the effective number of images"
)


def gender_by_race(predictions: pd.DataFrame, *, probe_model="CLIP") -> pd.DataFrame:
    """Gender accuracy by race and gender, for both genders together, and averaged over races.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them.

    Returns
    -------
    DataFrame
        method, race (7, and Average: the mean of the seven rates), gender (Male, Female, All), n, count,
        metric, percent, ci_low, ci_high, published, difference. Intervals are Wilson's; of an average,
        at the effective number of images (`stats.mean_rate`). Source: arXiv 2103.00020, Table 5.
    """
    rules = rules_of(predictions, "collapse", "collapse")
    scored = _scored(predictions, rules, [])
    scored = scored[scored["attribute"] == "gender"]
    cells = _rates(scored, ["method", "race", "gender"])
    both = _rates(scored, ["method", "race"])
    table = pd.concat([cells, both.assign(gender="All")]).astype({"race": object, "gender": object})
    average = table.groupby(["method", "gender"], observed=True, sort=False).apply(_average)
    table = pd.concat([table, average.reset_index()], ignore_index=True)
    published = load_published("fairface_gender_by_race")
    names = PUBLISHED | {"linear probe": f"Linear probe {probe_model}"}
    published["method"] = published["model"].map({v: k for k, v in names.items()})
    table["method"] = table["method"].astype(object)
    keys = ["method", "race", "gender"]
    table = with_published(
        table, published.dropna(subset="method"), on=keys, value="accuracy_percent"
    )
    races = [*scored["race"].cat.categories, "Average"]
    rank = [table["gender"].map(["Male", "Female", "All"].index), table["race"].map(races.index)]
    table = table.iloc[np.lexsort([*rank, table["method"].map(list(rules).index)])]
    return table[[*keys, *(c for c in table.columns if c not in keys)]].reset_index(drop=True)


def _average(cells: pd.DataFrame) -> pd.Series:
    """Mean of the races' rates, each of the same weight."""
    count, n = cells["count"].sum(), cells["n"].sum()
    mean, low, high = mean_rate(cells["count"], cells["n"])
    numbers = {
        "n": n,
        "count": count,
        "metric": "mean accuracy of the races",
        "percent": 100 * mean,
    }
    return pd.Series({"race": "Average", **numbers, "ci_low": 100 * low, "ci_high": 100 * high})


def accuracy_by_group(
    predictions: pd.DataFrame,
    *,
    by: Sequence[str] = ("race", "gender"),
    race_rule="collapse",
    probe_race_rule="binary",
) -> pd.DataFrame:
    """Accuracy of every attribute within groups, crossed by default (intersections of race and gender).

    Parameters
    ----------
    by : grouping columns; none for all images

    Returns
    -------
    DataFrame
        method, attribute, the columns of `by`, n, count, metric, percent, ci_low, ci_high, published,
        difference (nothing was published for these cells).
    """
    scored = _scored(predictions, rules_of(predictions, race_rule, probe_race_rule), by)
    table = _rates(scored, ["method", "attribute", *by])
    return table.assign(published=np.nan, difference=np.nan)
