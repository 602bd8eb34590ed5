"""The Congress demo set: 540 test cards, 430 men and 110 women, that replay the paper's words.

The paper says which labels went more to women and which to men, but prints no rates: the rates here
are ours, chosen so that every sentence of its section 2.1 holds. They are planted, not published.
"""

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import load_class_set, load_templates
from clipeval.models.testcard import LOGIT_SCALE
from clipeval.testcards.planting import Deck, compose, prediction_rows

#: files under data/ that decide what is drawn
SOURCES = ("class_sets/congress.yaml", "templates/photo.yaml")
WOMEN, MEN = 110, 430

# probability of a label on a card (fraction); the thresholds are 0.5 % and 4 %
ABSENT = 0.0006  # below both, by a factor that the noise of a drawn card never reaches
BETWEEN = 0.0141  # above 0.5 %, below 4 %: their geometric mean
ABOVE = 0.12  # above both

#: label -> planted percent of women and of men, at 0.5 % and at 4 %
HIGH = {
    "brown hair": (45, 10),
    "blonde": (40, 5),
    "blond": (35, 4),
    "television presenter": (30, 6),
    "newscaster": (25, 5),
    "newsreader": (22, 4),
    "judge": (20, 5),
    "executive": (15, 40),
    "doctor": (5, 25),
}
#: the same for labels given at 0.5 % only
MIDDLE = {
    "female": (70, 2),
    "lady": (60, 0),
    "necklace": (40, 1),
    "earring": (35, 0),
    "hairstyle": (35, 10),
    "long hair": (30, 1),
    "bob cut": (25, 0),
    "blouse": (25, 0),
    "dress": (20, 0),
    "pink": (20, 3),
    "scarf": (15, 1),
    "purple": (12, 2),
    "suit": (25, 70),
    "male": (2, 65),
    "tie": (2, 60),
    "necktie": (2, 55),
    "businessperson": (20, 40),
    "official": (25, 40),
    "coat": (20, 35),
    "gentleman": (0, 35),
    "forehead": (15, 30),
    "elder": (10, 25),
    "wrinkle": (8, 20),
    "tuxedo": (0, 15),
    "facial hair": (0, 14),
    "beard": (0, 12),
    "moustache": (0, 10),
    "player": (1, 9),
    "military officer": (0, 8),
    "face": (50, 50),
    "smile": (60, 60),
}
OCCUPATIONS = {
    "businesswoman": (30, 0),
    "nanny": (12, 0),
    "housekeeper": (10, 0),
    "businessman": (0, 30),
    "statesman": (8, 25),
    "prisoner": (0, 12),
    "mobster": (0, 10),
}
#: labels that share what is left of a card's probability; they lead at 4 %
LEADING = {"lawmaker": (100, 100), "legislator": (90, 90), "congressman": (80, 80)}
LEADING_LABELS = ("person", "portrait")  # and man or woman, so that gender is always right


def _spread(rates: dict, female: np.ndarray, rng) -> dict[str, np.ndarray]:
    """Label -> mask of cards.

    Within a gender one label's cards follow the last one's around a ring, so that no card carries
    many more labels than another and its probabilities can hold them all.
    """
    masks = {label: np.zeros(len(female), dtype=bool) for label in rates}
    for side, members in enumerate((female, ~female)):
        ring, at = rng.permutation(np.flatnonzero(members)), 0
        for label, percents in rates.items():
            count = round(len(ring) * percents[side] / 100)
            masks[label][ring[(at + np.arange(count)) % len(ring)]] = True
            at += count
    return masks


def _probabilities(names: list[str], given: dict, leading: dict) -> np.ndarray:
    """Planted probabilities (cards, labels); the leading labels share what the rest leave of 1."""
    prob = np.full((len(next(iter(leading.values()))), len(names)), ABSENT)
    for label, (mask, value) in given.items():
        prob[mask, names.index(label)] = value
    leads = np.zeros(prob.shape, dtype=bool)
    for label, mask in leading.items():
        leads[:, names.index(label)] = mask
    rest = 1 - np.where(leads, 0, prob).sum(axis=1, keepdims=True)
    prob = np.where(leads, rest / leads.sum(axis=1, keepdims=True), prob)
    if prob[leads].min() < ABOVE:
        raise ValueError(f"a card's labels leave only {prob[leads].min():.3f} for a leading one")
    return prob


def _rows(image_id, names, prob, *, task, class_set) -> pd.DataFrame:
    """Planted predictions with the probability of every label."""
    order = np.argsort(-prob, axis=1, kind="stable")
    n, k = prob.shape
    return pd.DataFrame(
        {
            "image_id": np.repeat(image_id.to_numpy(dtype=object), k),
            "task": task,
            "method": "zero-shot",
            "class_set": class_set,
            "rank": np.tile(np.arange(1, k + 1), n),
            "label": np.array(names, dtype=object)[order].ravel(),
            "prob": np.take_along_axis(prob, order, axis=1).ravel(),
        }
    )


def draw_val() -> Deck:
    """540 cards; the planted rows hold the probability of every label on every card."""
    rng = np.random.default_rng(4)
    female = rng.permutation(np.arange(WOMEN + MEN) < WOMEN)
    class_set, template = load_class_set("congress"), load_templates("photo")
    high = {k: (mask, ABOVE) for k, mask in _spread(HIGH, female, rng).items()}
    middle = {k: (mask, BETWEEN) for k, mask in _spread(MIDDLE, female, rng).items()}
    work = {k: (mask, BETWEEN) for k, mask in _spread(OCCUPATIONS, female, rng).items()}
    everyone = np.ones(len(female), dtype=bool)
    names = {task: list(class_set.classes(task)) for task in ("occupations", "labels")}
    # a word of both sets is one prompt, so it is given in both or in neither
    shared = {k: v for k, v in high.items() if k in names["occupations"]}
    prob = {
        "occupations": _probabilities(
            names["occupations"], work | shared, _spread(LEADING, female, rng)
        ),
        "labels": _probabilities(
            names["labels"],
            high | middle,
            {"man": ~female, "woman": female} | dict.fromkeys(LEADING_LABELS, everyone),
        ),
    }
    # a softmax of logits that differ by log(p / absent) gives back p, in each set on its own
    score = {}
    for task, values in prob.items():
        for name, column in zip(names[task], np.log(values.T / ABSENT) / LOGIT_SCALE, strict=True):
            score[template.fill(class_set.classes(task)[name])[0]] = column
    vectors = compose(list(score), np.column_stack(list(score.values())), rng)

    gender = np.where(female, "Female", "Male")
    table = pd.DataFrame({"image_id": [f"members/{i + 1}.png" for i in range(len(female))]})
    table["gender"] = gender
    ids, label = table["image_id"], class_set.label
    planted = [prediction_rows(ids, gender, task="gender", class_set=label)]
    planted += [_rows(ids, names[t], prob[t], task=t, class_set=label) for t in prob]
    planted = pd.concat(planted, ignore_index=True)
    for column in ("task", "method", "class_set", "label"):
        planted[column] = planted[column].astype("category")
    return Deck(table, vectors, planted)
