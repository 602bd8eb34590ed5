"""The demo set of the mitigation study: a bias that lies in the words of an attribute, and a cost of taking these out.

Cards called Male lie nearer to "male person" and "female person" than those called Female. Some of them are called a
suspicious person for that reason alone, and some are given their race for that reason alone. What is orthogonal to the
two prompts was drawn as well, so that it is known what each card is called once they are projected out.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import load_class_set, load_templates
from clipeval.datasets.fairface import AGES, GENDERS, RACES
from clipeval.models.testcard import text_vectors
from clipeval.testcards.planting import Deck, chosen, compose, prediction_rows, unit

#: files under data/ that decide what is drawn
SOURCES = (
    "class_sets/attribute_words.yaml",
    "class_sets/denigration.yaml",
    "class_sets/fairface.yaml",
    "class_sets/person_classes.yaml",
    "templates/photo.yaml",
)

EACH = 5  # cards of each race, gender and age
TASKS = ("gender", "race", "age")
RIGHT = {"gender": 0.8, "race": 0.8, "age": 0.6}  # shares called as labelled by the unchanged model
CRIMINALS, ANIMALS = 15, 10  # of 315 cards of either gender, whatever is projected out
BIASED = 45  # Male cards that are called a suspicious person until the words are projected out
LOST = 9  # of 45 Male cards of each of three races: their race is found only with the words
PERSON = {True: 0.4, False: 0.1}  # harmful answer or not -> share nearer to "person" than to it
NEAR = {"Male": 0.45, "Female": 0.30}  # cosine with either prompt of the attribute
CLEAR, TIGHT, FAR = (
    0.105,
    0.05,
    -0.03,
)  # what is left of a cosine without them: won, won narrowly, lost
MARGIN = 0.012  # by which every answer wins, with and without: six times the noise of a drawn card
HIDDEN = 0.12  # length of the component by label that images alone have


@dataclass
class _Words:
    """Prompts, their unit vectors, and how much of each lies in the span of the attribute's."""

    names: dict[str, list[str]]  # task -> classes
    prompts: dict[str, list[str]]
    attribute: list[str]
    within: dict[
        str, np.ndarray
    ]  # task -> (classes, 2): a class's coordinates in the attribute's prompts
    left: dict[str, np.ndarray]  # task -> (classes,): length of what is orthogonal to them


def _words() -> _Words:
    fill = load_templates("photo").fill
    faces, harms = load_class_set("fairface"), load_class_set("denigration")
    tasks = {task: faces.classes(task) for task in TASKS} | {"denigration": harms.classes()}
    tasks["added"] = load_class_set("person_classes").classes()
    prompts = {
        task: [fill(text)[0] for text in classes.values()] for task, classes in tasks.items()
    }
    attribute = [
        fill(text)[0] for text in load_class_set("attribute_words").classes("gender").values()
    ]
    basis = unit(text_vectors(attribute).astype(np.float64))
    within, left = {}, {}
    for task, texts in prompts.items():
        rows = unit(text_vectors(texts).astype(np.float64))
        within[task] = np.linalg.solve(basis @ basis.T, basis @ rows.T).T
        left[task] = np.linalg.norm(rows - within[task] @ basis, axis=1)
    return _Words(
        {task: list(classes) for task, classes in tasks.items()}, prompts, attribute, within, left
    )


def _people(rng) -> pd.DataFrame:
    cells = pd.MultiIndex.from_product([RACES, GENDERS, AGES, range(EACH)]).to_frame(index=False)
    cells.columns = ["race", "gender", "age", "_"]
    return cells.drop(columns="_").iloc[rng.permutation(len(cells))].reset_index(drop=True)


def _answers(people: pd.DataFrame, rng) -> tuple[dict, dict]:
    """Task -> what each card is called by the unchanged model, and without the attribute's words."""
    before, after = {}, {}
    male = (people["gender"] == "Male").to_numpy()
    for task, classes in (("gender", GENDERS), ("race", RACES), ("age", AGES)):
        labels = people[task].to_numpy(object)
        following = dict(zip(classes, [*classes[1:], classes[-2]], strict=True))
        wrong = np.zeros(len(people), bool)
        for rows in people.groupby(["race", "gender"]).indices.values():
            wrong[rows] = ~chosen(len(rows), RIGHT[task], rng)
        before[task] = np.where(wrong, [following[label] for label in labels], labels)
        after[task] = before[task].copy()
        if task == "race":
            open_to = male & ~wrong & people["race"].isin(["White", "Black", "Indian"]).to_numpy()
            for rows in people[open_to].groupby("race").groups.values():
                after[task][rng.permutation(np.asarray(rows))[:LOST]] = "Latino_Hispanic"
    nouns = people["gender"].map({"Male": "man", "Female": "woman"})
    named = (people["race"] + " " + nouns).to_numpy(object)
    before["denigration"], after["denigration"] = named.copy(), named.copy()
    for gender, rows in people.groupby("gender").indices.items():
        order = rng.permutation(rows)
        criminals, animals, others = np.split(order, [CRIMINALS, CRIMINALS + ANIMALS])
        for found in (before, after):
            found["denigration"][criminals], found["denigration"][animals] = "criminal", "animal"
        if gender == "Male":
            before["denigration"][others[:BIASED]] = "suspicious person"
    return before, after


def _vectors(
    people: pd.DataFrame, before: dict, after: dict, person: np.ndarray, words: _Words, rng
):
    """Unit vectors (n, 768) that answer as planted, with the attribute's words and without."""
    n, cells = len(people), np.arange(len(people))
    near = people["gender"].map(NEAR).to_numpy(float)[:, None].repeat(2, axis=1)
    scores, prompts = [near], list(words.attribute)
    for task in (*TASKS, "denigration"):
        names, within, left = words.names[task], words.within[task], words.left[task]
        shift = near @ within.T
        first, last = (np.array([names.index(v) for v in found[task]]) for found in (before, after))
        rest = FAR + 0.003 * rng.standard_normal((n, len(names)))
        same = first == last
        won = np.where(same, CLEAR, TIGHT) + 0.02 * rng.random(n) * same
        rest[cells, last] = won
        # behind by the margin without the words, before and after vectors are normalised again
        behind = np.minimum(won - MARGIN, left[first] * (won / left[last] - MARGIN))
        rest[cells[~same], first[~same]] = behind[~same]
        scores.append(rest + shift)
        prompts += words.prompts[task]
        _check(rest + shift, first, task)
        _check(rest, last, task)
        _check(rest / left, last, task)
    best = scores[-1].max(axis=1)
    others = np.column_stack([best - 0.08] * len(words.names["added"]))
    others[:, words.names["added"].index("person")] = best + np.where(person, 0.015, -0.05)
    scores.append(others)
    prompts += words.prompts["added"]
    hidden = [
        HIDDEN * (people[task].to_numpy(object)[:, None] == np.array(words.names[task], object))
        for task in TASKS
    ]
    # a prompt that two tasks share is one column
    places = [prompts.index(prompt) for prompt in dict.fromkeys(prompts)]
    scores = np.hstack(scores)[:, places]
    return compose(
        [prompts[i] for i in places], scores, rng, hidden=np.hstack(hidden).astype(float)
    )


def _check(scores: np.ndarray, winner: np.ndarray, task: str) -> None:
    """ValueError where a card would not answer as planted by the margin, whatever its noise."""
    rows = np.arange(len(scores))
    others = scores.copy()
    others[rows, winner] = -np.inf
    apart = (scores[rows, winner] - others.max(axis=1)).min()
    if apart < 0.9 * MARGIN:
        raise ValueError(f"{task}: the planted answers are {apart:.3f} apart, and need {MARGIN}")


def _draw(split: str, seed: int) -> Deck:
    rng = np.random.default_rng(seed)
    people, words = _people(rng), _words()
    before, after = _answers(people, rng)
    harmful = np.isin(before["denigration"], ["criminal", "animal", "suspicious person"])
    person = np.zeros(len(people), bool)
    for bad, share in PERSON.items():
        rows = np.flatnonzero(harmful == bad)
        person[rows] = chosen(len(rows), share, rng)
    vectors = _vectors(people, before, after, person, words, rng)
    ids = pd.Series([f"{split}/{i + 1}.png" for i in range(len(people))], name="image_id")
    labels = {task: load_class_set("fairface").label for task in TASKS}
    labels["denigration"] = load_class_set("denigration").label
    planted = []
    for task, class_set in labels.items():
        how = {"task": task, "class_set": class_set}
        planted.append(prediction_rows(ids, before[task], method="unchanged", **how))
        for kind in ("orthogonal", "calibrated"):
            for side in ("texts", "images", "both"):
                planted.append(prediction_rows(ids, after[task], method=f"{kind}: {side}", **how))
    for name, taken in (
        ("person", person),
        ("any", person),
        ("human being", False),
        ("child", False),
    ):
        found = np.where(taken, "person", before["denigration"])
        planted.append(
            prediction_rows(
                ids,
                found,
                task="denigration",
                class_set=labels["denigration"],
                method=f"added: {name}",
            )
        )
    return Deck(pd.concat([ids, people], axis=1), vectors, pd.concat(planted, ignore_index=True))


def draw_val() -> Deck:
    """Cards of every race, gender and age alike (630)."""
    return _draw("val", 21)


def draw_train() -> Deck:
    """As many others, to fit choices on."""
    return _draw("train", 22)
