"""The FairFace demo set: test cards in the group sizes of FairFace val that replay the published rates.

It serves the studies fairface, denigration and class_design: the same cards answer all their tasks.
"""

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import load_class_set, load_templates
from clipeval.published import fairface_groups, load_published
from clipeval.testcards.planting import Deck, chosen, compose, prediction_rows

#: files under data/ that decide what is drawn
SOURCES = (
    "class_sets/fairface.yaml",
    "class_sets/denigration.yaml",
    "templates/photo.yaml",
    "published/class_design_by_age.csv",
    "published/denigration_by_race.csv",
    "published/fairface_accuracy.csv",
    "published/fairface_gender_by_race.csv",
    "published/fairface_val_groups.csv",
    "published/in_text.csv",
)

TRAIN_CARDS = 1200
LOW, HIGH, CHILD = 0.10, 0.22, 0.27  # cosines: not chosen, chosen, child where it wins
PROBE = 0.25  # length of the component that only a probe can find


def _classes():
    """Task -> class -> prompt, for every prompt that the three studies send by default."""
    template = load_templates("photo")
    faces = load_class_set("fairface")
    harms = load_class_set("denigration:child")
    tasks = {task: faces.classes(task) for task in faces.tasks} | {"denigration": harms.classes()}
    return {
        task: {name: template.fill(text)[0] for name, text in classes.items()}
        for task, classes in tasks.items()
    }


def _people(rng) -> pd.DataFrame:
    """One row a card, in the group sizes of FairFace val; ages spread evenly over race and gender."""
    groups = fairface_groups()
    cells = groups[groups["age"] == "All"]
    ages = groups[groups["age"] != "All"]
    places = np.concatenate([(np.arange(n) + 0.5) / n for n in ages["n"]])
    age = np.repeat(ages["age"].to_numpy(), ages["n"])[np.argsort(places, kind="stable")]
    people = pd.DataFrame(
        {
            "race": np.repeat(cells["race"].to_numpy(), cells["n"]),
            "gender": np.repeat(cells["gender"].to_numpy(), cells["n"]),
            "age": age,
        }
    )
    return people.iloc[rng.permutation(len(people))].reset_index(drop=True)


def _wrong(labels, names):
    """A wrong answer for each label: the next class (for ages: the bin above, or below the last)."""
    following = {
        name: names[i + 1] if i + 1 < len(names) else names[i - 1] for i, name in enumerate(names)
    }
    return np.array([following[label] for label in labels], dtype=object)


def _answers(people, share, classes, column, rng):
    """Labels right in `share` (a fraction for each card, equal within cells), else the next class."""
    labels = people[column].to_numpy(dtype=object).copy()
    right = np.zeros(len(people), dtype=bool)
    cells = people.assign(share=share).groupby(["share"], observed=True).indices
    for (value,), rows in ((k if isinstance(k, tuple) else (k,), v) for k, v in cells.items()):
        right[rows] = chosen(len(rows), value, rng)
    labels[~right] = _wrong(labels[~right], list(classes))
    return labels


def _shares(people, model, attribute) -> np.ndarray:
    """Published accuracy (fraction) for each card, by White and Non-White (Tables 3 and 4)."""
    table = load_published("fairface_accuracy")
    rows = table[(table["model"] == model) & (table["attribute"] == attribute)]
    by = rows.set_index("images_of")["accuracy_percent"] / 100
    return np.where(people["race"] == "White", by["White"], by["Non-White"])


def _races(people, model, rng) -> np.ndarray:
    """Race as predicted: White against the rest at the published rate, and right within the rest."""
    labels = people["race"].to_numpy(dtype=object).copy()
    share = _shares(people, model, "race")
    for white in (True, False):
        rows = np.flatnonzero((people["race"] == "White") == white)
        wrong = rows[~chosen(len(rows), share[rows][0], rng)]
        others = [race for race in sorted(people["race"].unique()) if race != "White"]
        labels[wrong] = np.resize(others, len(wrong)) if white else "White"
    return labels


def _genders(people, model, rng) -> np.ndarray:
    """Gender as predicted: right at the published rate of each race and gender (Table 5)."""
    labels = people["gender"].to_numpy(dtype=object).copy()
    table = load_published("fairface_gender_by_race")
    rates = table[table["model"] == model].set_index(["race", "gender"])["accuracy_percent"]
    for (race, gender), rows in people.groupby(["race", "gender"]).indices.items():
        wrong = rows[~chosen(len(rows), rates[race, gender] / 100, rng)]
        labels[wrong] = "Female" if gender == "Male" else "Male"
    return labels


def _harm_weights(people) -> tuple[np.ndarray, np.ndarray]:
    """Chance of each card to be planted crime-related and non-human.

    Fitted (iterative proportional fitting) to what the paper states by race (Table 2), by age (Table 3,
    default) and by gender (text; scaled, as it implies a lower total than Table 2). Where the
    statements cannot all hold at once, Table 2 is exact.
    """
    race = load_published("denigration_by_race").set_index(["category", "race"])["percent"] / 100
    age = load_published("class_design_by_age")
    age = age[age["class_set"] == "default"].set_index("age")["crime_or_non_human_percent"] / 100
    text = load_published("in_text").set_index("quantity")["percent"]
    crime = people["race"].map(race["crime-related"]).to_numpy(copy=True)
    other = people["race"].map(race["non-human"]).to_numpy(copy=True)
    total = crime.sum()
    said = (
        people["gender"].str.lower().map(lambda g: text[f"images classified as crime-related, {g}"])
    )
    said = said.to_numpy() * total / said.sum()
    old = (people["age"] == "more than 70").to_numpy()
    for _ in range(200):
        for kind, rows in people.groupby("age").indices.items():
            factor = age[kind] * len(rows) / (crime[rows] + other[rows]).sum()
            crime[rows] *= factor
            other[rows] *= factor
        crime[old] = 0.0  # the text: no crime-related label over 70
        for _, rows in people.groupby("gender").indices.items():
            crime[rows] *= said[rows].sum() / crime[rows].sum()
        for kind, rows in people.groupby("race").indices.items():
            crime[rows] *= race["crime-related", kind] * len(rows) / crime[rows].sum()
            other[rows] *= race["non-human", kind] * len(rows) / max(other[rows].sum(), 1e-12)
    return crime, other


def _systematic(weights: np.ndarray, count: int) -> np.ndarray:
    """`count` places, spread evenly along the running sum of the weights."""
    edges = np.cumsum(weights) / weights.sum() * count
    return np.flatnonzero(np.floor(edges + 0.5) > np.floor(np.r_[0, edges[:-1]] + 0.5))[:count]


def _harms(people, rng):
    """Planted top class for the default class set, and which cards move to `child`."""
    crime, other = _harm_weights(people)
    labels = np.array(
        [
            f"{r} {'man' if g == 'Male' else 'woman'}"
            for r, g in zip(people["race"], people["gender"], strict=True)
        ],
        dtype=object,
    )
    members = load_class_set("denigration").categories["crime-related"]
    published = (
        load_published("denigration_by_race").set_index(["category", "race"])["percent"] / 100
    )
    harmed = np.zeros(len(people), dtype=bool)
    order = people.sort_values(["age", "gender"], kind="stable").index.to_numpy()
    for kind, rows in people.loc[order].groupby("race").groups.items():
        rows = np.asarray(rows)
        picked = rows[_systematic(crime[rows], round(published["crime-related", kind] * len(rows)))]
        labels[picked] = np.resize(members, len(picked))
        harmed[picked] = True
        free = rows[~harmed[rows]]
        count = round(published["non-human", kind] * len(rows))
        if count:
            picked = free[_systematic(other[free], count)]
            # one word stands for the category: which one, the paper does not say
            labels[picked] = "animal"
            harmed[picked] = True
    table = load_published("class_design_by_age")
    after = (
        table[table["class_set"] != "default"].set_index("age")["crime_or_non_human_percent"] / 100
    )
    child = np.zeros(len(people), dtype=bool)
    for kind, rows in people.groupby("age").indices.items():
        stay = min(round(after[kind] * len(rows)), harmed[rows].sum())
        child[rng.permutation(rows[harmed[rows]])[stay:]] = True
    return labels, child


def _scores(answers: dict, prompts: list[str], tasks: dict, child, rng):
    """Cosine of every card with every prompt: the planted answer of each task stands out."""
    n = len(next(iter(answers.values())))
    scores = LOW + 0.01 * rng.standard_normal((n, len(prompts)))
    place = {prompt: i for i, prompt in enumerate(prompts)}
    for task, labels in answers.items():
        columns = np.array([place[tasks[task][label]] for label in labels])
        scores[np.arange(n), columns] = HIGH + 0.01 * rng.random(n)
    scores[child, place[tasks["denigration"]["child"]]] = CHILD
    return scores


def _hidden(race, gender, age, tasks) -> np.ndarray:
    parts = [
        PROBE * (np.asarray(labels)[:, None] == np.array(list(tasks[task]), dtype=object))
        for task, labels in (("race", race), ("gender", gender), ("age", age))
    ]
    return np.hstack(parts).astype(float)


def _table(people, split) -> pd.DataFrame:
    ids = [f"{split}/{i + 1}.png" for i in range(len(people))]
    return pd.concat([pd.Series(ids, name="image_id"), people], axis=1)


def draw_val() -> Deck:
    """Cards in the group sizes of FairFace val (10,954)."""
    rng = np.random.default_rng(1)
    people = _people(rng)
    tasks = _classes()
    harm, child = _harms(people, rng)
    found = {
        "race": _races(people, "Zero-shot CLIP", rng),
        "gender": _genders(people, "Zero-shot CLIP", rng),
        "age": _answers(people, _shares(people, "Zero-shot CLIP", "age"), tasks["age"], "age", rng),
    }
    binary = np.where(found["race"] == "White", "White", "Non-White")
    probe = {
        "race": _races(people, "Linear probe CLIP", rng),
        "gender": _genders(people, "Linear probe CLIP", rng),
        "age": _answers(
            people, _shares(people, "Linear probe CLIP", "age"), tasks["age"], "age", rng
        ),
    }
    two_races = np.where(probe["race"] == "White", "White", "Non-White")
    prompts = sorted({prompt for classes in tasks.values() for prompt in classes.values()})
    scores = _scores(
        found | {"race_binary": binary, "denigration": harm}, prompts, tasks, child, rng
    )
    table = _table(people, "val")
    ids = table["image_id"]
    faces, harms, more = (
        load_class_set(spec).label for spec in ("fairface", "denigration", "denigration:child")
    )
    planted = [
        *(prediction_rows(ids, found[t], task=t, class_set=faces) for t in found),
        prediction_rows(ids, binary, task="race_binary", class_set=faces),
        *(
            prediction_rows(ids, labels, task=t, class_set="", method="linear probe")
            for t, labels in (probe | {"race_binary": two_races}).items()
        ),
        prediction_rows(ids, harm, task="denigration", class_set=harms),
        prediction_rows(ids, np.where(child, "child", harm), task="denigration", class_set=more),
    ]
    vectors = compose(prompts, scores, rng, hidden=_hidden(*probe.values(), tasks))
    return Deck(table, vectors, pd.concat(planted, ignore_index=True))


def draw_train() -> Deck:
    """Training cards for the probe: right labels along the hidden directions, chance elsewhere."""
    rng = np.random.default_rng(2)
    people = _people(rng).iloc[:TRAIN_CARDS].reset_index(drop=True)
    tasks = _classes()
    prompts = sorted({prompt for classes in tasks.values() for prompt in classes.values()})
    answers = {task: rng.choice(list(classes), len(people)) for task, classes in tasks.items()}
    scores = _scores(answers, prompts, tasks, np.zeros(len(people), dtype=bool), rng)
    hidden = _hidden(people["race"], people["gender"], people["age"], tasks)
    table = _table(people, "train")
    planted = prediction_rows(table["image_id"], people["race"], task="race", class_set="")[:0]
    return Deck(table, compose(prompts, scores, rng, hidden=hidden), planted)
