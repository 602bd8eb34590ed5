"""FairFace classification: race, gender and age, zero-shot and by linear probe (arXiv 2103.00020, Tables 3-5)."""

from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from clipeval.classify.class_sets import all_prompts
from clipeval.datasets import dataset_options, explain_missing
from clipeval.errors import DataError, ParameterError
from clipeval.published import load_published, replications, with_published
from clipeval.session import parameters
from clipeval.stats import group_rates

__all__ = [
    "SOURCE",
    "Parameters",
    "accuracy_by_group",
    "accuracy_by_white",
    "check",
    "gender_by_race",
    "outcomes",
    "predict",
    "probe_fits",
    "tasks",
    "with_replications",
]

SOURCE = "arXiv 2103.00020, Tables 3, 4 and 5"
ATTRIBUTES = ("race", "gender", "age")
#: method of a prediction -> name of the same method in the published tables
PUBLISHED = {"zero-shot": "Zero-shot CLIP", "linear probe": "Linear probe CLIP"}
#: images of a race below which the interval of a mean over races may be too narrow
SMALL_CELL = 50
#: attribute of the tables -> headline quantity
QUANTITIES = {
    "race": "race accuracy (White or not)",
    "race, 7 classes": "race accuracy (7 classes)",
    "gender": "gender accuracy",
    "age": "age accuracy",
}


class Parameters(parameters.Parameters):
    """Parameters of the FairFace study."""

    decides: ClassVar = ("seed", "race_rule")
    probe_decides: ClassVar = ("probe_race_rule", "probe_features", "train_limit")

    class_set: str = Field("fairface", description="class set with the tasks race, gender, age")
    padding: parameters.Padding = Field(
        "0.25", description="FairFace release; they are different pictures"
    )
    methods: Literal["both", "zero-shot", "linear probe"] = Field("both", description="what to run")
    race_rule: Literal["collapse", "binary"] = Field(
        "collapse",
        description="White or Non-White: collapse predicts one of 7 races first; binary offers two classes",
    )
    probe_race_rule: Literal["collapse", "binary"] = Field(
        "binary", description="the same for the linear probe"
    )
    probe_features: Literal["projected", "pre_projection"] = Field(
        "projected", description="image features that the probe is trained on"
    )
    train_limit: int = Field(
        0, ge=0, description="train the probe on a sample of this many images; 0 for all"
    )


def white(values) -> np.ndarray:
    """White or Non-White, for race labels."""
    return np.where(np.asarray(values, dtype=object) == "White", "White", "Non-White")


def tasks(parameters: Parameters) -> list[str]:
    """Tasks of the class set whose prompts are sent to the model."""
    if parameters.methods == "linear probe":
        return []
    return [*ATTRIBUTES, *(["race_binary"] if parameters.race_rule == "binary" else [])]


def prompts(session) -> list[str]:
    """Every prompt that is sent."""
    return all_prompts(session.class_set, session.templates, tasks(session.parameters))


def trained_on(session):
    """Images of the train split that the probe is fitted on, and their features; None without a probe."""
    p = session.parameters
    if p.methods == "zero-shot":
        return None
    return session.train, session.embed(session.train, p.probe_features)


def check(session) -> None:
    """Refuse labels and splits that would give numbers without a meaning.

    Raises
    ------
    ClassSetError, DataError
        If a task or a group column is missing, or a label is no class: every such image would be wrong.
    ParameterError
        If the probe would be trained on the images that it is tested on.
    """
    p, images = session.parameters, session.images
    for task in ATTRIBUTES:
        classes = session.class_set.classes(task)
        explain_missing(images, [task], "fairface")
        if task not in images.attrs["groups"]:
            raise DataError(
                f"{images.attrs['name']} has no group column {task} (it has "
                f"{', '.join(images.attrs['groups']) or 'none'}), which fairface needs; add it."
            )
        if strange := [str(label) for label in images[task].unique() if label not in classes]:
            raise DataError(
                f'{images.attrs["name"]}: {task} "{strange[0]}" is no class of '
                f"{session.class_set.spec}, which has {', '.join(classes)}; name them alike."
            )
    if p.methods != "zero-shot" and not session.pack:
        splits = "split" in dataset_options(p.dataset)
        if not splits or p.split == "train":
            reason = "split=train is what it is trained on" if splits else "it has no train split"
            raise ParameterError(
                f"a linear probe cannot be tested on these images of {p.dataset}, because {reason}; "
                "use methods=zero-shot" + (" or another split." if splits else ".")
            )
        try:
            _ = session.train
        except DataError as error:
            raise DataError(
                f"a linear probe needs the train split too: {error} Or use methods=zero-shot."
            ) from None


def predict(session) -> pd.DataFrame:
    """Predictions for every task and method that the session's parameters ask for.

    Tasks are race (7 classes), gender, age, and race_binary where a rule asks for two classes.
    """
    check(session)
    p = session.parameters
    parts = []
    if p.methods != "linear probe" and session.info.has_text:
        parts += [session.classify(task, top=5) for task in tasks(p)]
    elif p.methods == "zero-shot":
        raise ParameterError(
            f"{session.info.model} has no text encoder, so methods=zero-shot cannot run; "
            "use methods=linear probe."
        )
    fits = []
    if p.methods != "zero-shot":
        found = probe(session)
        fits = found.attrs["fits"]
        parts.append(found)
    predictions = pd.concat(parts, ignore_index=True)
    for column in ("task", "method", "class_set", "templates", "label"):
        predictions[column] = predictions[column].astype("category")
    predictions.attrs["fits"] = fits
    return predictions


def probe(session) -> pd.DataFrame:
    """Linear-probe predictions: trained on the labels of the train split, for the session's images.

    The fits (C, accuracy on held-out train, notes) are in `attrs["fits"]`. They are kept in the store.
    """
    p = session.parameters
    train, fitted = trained_on(session)
    wanted = session.embed(session.images, p.probe_features)
    people = train.set_index("image_id").loc[fitted.image_id]
    targets = {task: people[task].astype(str).to_numpy() for task in ATTRIBUTES}
    if p.probe_race_rule == "binary":
        targets["race_binary"] = white(people["race"])

    def fit() -> pd.DataFrame:
        from clipeval.classify.probe import fit_probe

        parts, fits = [], []
        for task, labels in targets.items():
            model = fit_probe(fitted.matrix, labels, seed=p.seed)
            parts.append(model.predict(wanted.image_id, wanted.matrix, task=task, top=5))
            fits.append(
                {
                    "task": task,
                    "C": model.C,
                    "trained on": model.n_fit,
                    "held out for C": model.n_validation,
                    "accuracy there": float(model.validation["accuracy"].max()),
                    "notes": " ".join(model.notes),
                }
            )
        found = pd.concat(parts, ignore_index=True)
        found.attrs["fits"] = fits
        return found

    key = [fitted.matrix, wanted.matrix, *targets.values(), wanted.image_id, p.seed]
    return session.with_groups(session.remember("linear probe", key, fit))


def probe_fits(predictions: pd.DataFrame) -> pd.DataFrame:
    """How each probe was fitted: C, images, accuracy (percent) on held-out train, notes."""
    return pd.DataFrame(predictions.attrs.get("fits", []))


def _scored(predictions: pd.DataFrame, rules: dict[str, str]) -> pd.DataFrame:
    """Top-1 rows with `attribute` and `correct`; White against Non-White by each method's rule."""
    top = predictions[predictions["rank"] == 1]
    task, label = top["task"].astype(object), top["label"].astype(object)
    parts = []
    for method, rule in rules.items():
        of_method = (top["method"] == method).to_numpy()
        chosen = {"gender": "gender", "age": "age", "race, 7 classes": "race"}
        chosen["race"] = "race" if rule == "collapse" else "race_binary"
        for attribute, name in chosen.items():
            rows = of_method & (task == name).to_numpy()
            part = top[rows].assign(attribute=attribute)
            if attribute == "race":
                part["correct"] = white(label[rows]) == white(part["race"])
            else:
                truth = part[name].astype(object).to_numpy()
                part["correct"] = label[rows].to_numpy() == truth
            parts.append(part)
    scored = pd.concat(parts, ignore_index=True)
    scored["images_of"] = white(scored["race"])
    order = ["race", "race, 7 classes", "gender", "age"]
    scored["attribute"] = pd.Categorical(scored["attribute"], order, ordered=True)
    scored["images_of"] = pd.Categorical(scored["images_of"], ["White", "Non-White"], ordered=True)
    scored["method"] = pd.Categorical(scored["method"].astype(str), list(rules), ordered=True)
    return scored


def _rules(predictions, race_rule, probe_race_rule) -> dict[str, str]:
    have = set(predictions["method"].astype(str).unique())
    rules = {"zero-shot": race_rule, "linear probe": probe_race_rule}
    return {method: rule for method, rule in rules.items() if method in have}


def accuracy_by_white(
    predictions: pd.DataFrame, *, race_rule="collapse", probe_race_rule="binary", probe_model="CLIP"
) -> pd.DataFrame:
    """Accuracy for race, gender and age on images of White people and of everybody else.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them; only rows with rank 1 are used.
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
    rules = _rules(predictions, race_rule, probe_race_rule)
    scored = _scored(predictions, rules)
    by = ["method", "attribute"]
    split = group_rates(scored, "correct", by=[*by, "images_of"], metric="accuracy")
    whole = group_rates(scored, "correct", by=by, metric="accuracy").assign(images_of="All")
    table = pd.concat([split, whole[split.columns]]).astype({k: object for k in [*by, "images_of"]})
    names = PUBLISHED | {"linear probe": f"Linear probe {probe_model}"}
    published = load_published("fairface_accuracy")
    measured = {name: method for method, name in names.items() if method in rules}
    published["method"] = published["model"].map(lambda m: measured.get(m, f"{m} (published)"))
    keys = ["method", "attribute", "images_of"]
    others = published[~published["model"].isin(measured)][keys].assign(metric="accuracy")
    table = pd.concat([table, others], ignore_index=True)
    table = with_published(table, published, on=keys, value="accuracy_percent")
    methods = list(dict.fromkeys(table["method"]))
    order = {
        "method": methods,
        "attribute": list(scored["attribute"].cat.categories),
        "images_of": ["White", "Non-White", "All"],
    }
    rank = [table[key].map(values.index) for key, values in order.items()]
    return table.iloc[np.lexsort(rank[::-1])].reset_index(drop=True)


def with_replications(table: pd.DataFrame) -> pd.DataFrame:
    """`accuracy_by_white` with the known replications by others in rows of their own."""
    found = replications("fairface")
    parts = found["quantity"].str.extract(
        r"(?P<attribute>\w+) accuracy, images of (?P<images_of>\S+)"
    )
    rows = parts.assign(
        method="replication: " + found["model"] + ", " + found["source"],
        metric="accuracy",
        percent=found["percent"],
    )
    keyed = table[table["method"] == "zero-shot"].set_index(["attribute", "images_of"])["published"]
    at = list(zip(rows["attribute"], rows["images_of"], strict=True))
    rows["published"] = [keyed.get(key, np.nan) for key in at]
    rows["difference"] = rows["percent"] - rows["published"]
    return pd.concat([table, rows], ignore_index=True)


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
        Zou and Donner's (2008) combination of the seven. Source: arXiv 2103.00020, Table 5.
    """
    rules = _rules(predictions, "collapse", "collapse")
    scored = _scored(predictions, rules)
    scored = scored[scored["attribute"] == "gender"]
    cells = group_rates(scored, "correct", by=["method", "race", "gender"], metric="accuracy")
    both = group_rates(scored, "correct", by=["method", "race"], metric="accuracy")
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
    """Mean of rates with a combined interval (MOVER; Zou and Donner 2008, Statistics in Medicine 27).

    Simulated for seven rates of 80 to 98 %, it covers 85 to 94 % where races have fewer than
    `SMALL_CELL` images, and the metric's name then says so; 90 to 95 % with 50 to 300.
    """
    cells = cells[cells["n"] > 0]  # a race without images has no rate to average
    mean, k = cells["percent"].mean(), max(len(cells), 1)
    low = np.sqrt(((cells["percent"] - cells["ci_low"]) ** 2).sum()) / k
    high = np.sqrt(((cells["ci_high"] - cells["percent"]) ** 2).sum()) / k
    metric = "mean accuracy of the races"
    if (cells["n"] < SMALL_CELL).any():
        metric += f" (some of fewer than {SMALL_CELL} images: interval may be too narrow)"
    return pd.Series(
        {
            "race": "Average",
            "n": cells["n"].sum(),
            "count": cells["count"].sum(),
            "metric": metric,
            "percent": mean,
            "ci_low": mean - low,
            "ci_high": mean + high,
        }
    )


def accuracy_by_group(
    predictions: pd.DataFrame,
    *,
    by=("race", "gender"),
    race_rule="collapse",
    probe_race_rule="binary",
) -> pd.DataFrame:
    """Accuracy of every attribute within groups, crossed by default (intersections of race and gender).

    Returns
    -------
    DataFrame
        method, attribute, the columns of `by`, n, count, metric, percent, ci_low, ci_high, published,
        difference (nothing was published for these cells).
    """
    scored = _scored(predictions, _rules(predictions, race_rule, probe_race_rule))
    table = group_rates(scored, "correct", by=["method", "attribute", *by], metric="accuracy")
    return table.assign(published=np.nan, difference=np.nan)


def outcomes(predictions: pd.DataFrame, record: dict) -> pd.DataFrame:
    """Right answers of every method and attribute, for all images and as split in Tables 3 and 4.

    Returns
    -------
    DataFrame: image_id, quantity, method, images_of, task, hit; see `clipeval.studies.headlines`
    """
    from clipeval.studies.outcomes import by_group

    p = record["parameters"]
    rules = _rules(predictions, p["race_rule"], p["probe_race_rule"])
    scored = by_group(_scored(predictions, rules), "images_of")
    scored = scored[(scored["images_of"] == "All") | (scored["attribute"] != "race, 7 classes")]
    scored["quantity"] = scored["attribute"].astype(object).map(QUANTITIES)
    scored = scored.rename(columns={"correct": "hit"})
    return scored[["image_id", "quantity", "method", "images_of", "task", "hit"]]
