"""The retrieval demo set: test cards whose nearest ones are of each gender in planted shares.

For every concept and occupation the 10, 30, 100, 300 and 1,000 nearest cards hold a planted number of
men. Race and age are dealt at random, so that what is measured by them is what chance makes.
"""

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import load_class_set, load_templates
from clipeval.testcards.fairface import _people
from clipeval.testcards.planting import Deck, compose

#: files under data/ that decide what is drawn
SOURCES = (
    "class_sets/berg2022.yaml",
    "class_sets/occupations.yaml",
    "templates/article.yaml",
    "templates/berg2022.yaml",
    "published/fairface_val_groups.csv",
)

CARDS = 2000
#: class set -> its templates, as the study asks them by default
WORDS = {"berg2022": "berg2022", "occupations": "article"}
TIERS = (10, 30, 100, 300, 1000)  # cards at this place and before it stand out from the next
HIGHEST, STEP = 0.10, 0.02  # cosine of the nearest tier, and how much lower the next is
SPREAD = 0.30  # most by which the share of men differs from one half, among the nearest
#: the share of men minus one half where it is not dealt at random
PLANTED = {"criminal": SPREAD, "smart": 0.0, "nurse": -SPREAD}


def _tier(men: np.ndarray, pull: float, rng) -> np.ndarray:
    """Tier of each card for one word, 0 the nearest, with `pull` more men than one half in the first.

    The pull fades as more cards are found: there are only so many men.
    """
    tier, free = (
        np.full(len(men), len(TIERS)),
        [rng.permutation(np.flatnonzero(men == m)) for m in (0, 1)],
    )
    have = [0, 0]
    for i, k in enumerate(TIERS):
        wanted = round(k * (0.5 + pull * (1 - k / len(men))))
        for m, count in ((1, wanted), (0, k - wanted)):
            tier[free[m][have[m] : count]] = i
            have[m] = count
    return tier


def draw_val() -> Deck:
    """2,000 cards of people as in FairFace val; `tiers` holds the tier of each card for each word."""
    rng = np.random.default_rng(15)
    people = _people(rng).iloc[:CARDS].reset_index(drop=True)
    men = (people["gender"] == "Male").to_numpy(int)
    ids = pd.Series([f"faces/{i + 1}.png" for i in range(CARDS)], name="image_id")
    tiers, scores = {"image_id": ids}, {}
    for name, wording in WORDS.items():
        texts, templates = load_class_set(name).classes(), load_templates(wording)
        dealt = rng.permutation(np.linspace(-SPREAD, SPREAD, len(texts)))
        for (word, text), pull in zip(texts.items(), dealt, strict=True):
            tiers[word] = _tier(men, PLANTED.get(word, pull), rng)
            level = HIGHEST - STEP * tiers[word] + 0.001 * rng.standard_normal(CARDS)
            scores |= dict.fromkeys(templates.fill(text), level)
    vectors = compose(list(scores), np.column_stack(list(scores.values())), rng)
    table = pd.concat([ids, people], axis=1)
    return Deck(table, vectors, pd.DataFrame({"image_id": ids}), {"tiers": pd.DataFrame(tiers)})
