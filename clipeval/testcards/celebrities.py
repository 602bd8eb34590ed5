"""The identification demo set: four cards of each of 2,000 invented names, at the published rates.

A card is planted in one of three ways. On a share of cards the own name lies nearest of all. On a
second share a few other names, drawn for the card, lie nearer: it is named right only while none of
them is on offer, so accuracy falls as names are added. On the rest the own name lies farther than
any other. The shares are solved so that the three rates of Table 1 (ViT-L/14) are expected under
either protocol; what follows exactly, for the names that are in fact on offer, is computed by
`clipeval.studies.celebrities.planted`.
"""

from math import comb

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import load_templates
from clipeval.models.testcard import DIMENSION, text_vectors
from clipeval.published import load_published
from clipeval.testcards.planting import Deck, prediction_rows, unit

#: files under data/ that decide what is drawn
SOURCES = ("templates/name.yaml", "published/celebrity_identification.csv")

PEOPLE, CARDS = 2000, 4
RIVALS = (4, 5)  # names that lie nearer than the own one, on cards of the second share
# cosines with a name's prompt; those of names not planted stay below 0.13
OWN, RIVAL, STEP, HIDDEN = 0.16, 0.18, 0.003, -0.16
CHUNK = 500


def people() -> list[str]:
    """2,000 invented names: the word Person and two syllables; no real person is meant."""
    syllables = [consonant + vowel for consonant in "blmnrtvwy" for vowel in "aeiou"]
    words = [first + second for first in syllables for second in syllables]
    return [f"Person {word.capitalize()}" for word in words[:PEOPLE]]


def survival(rivals: int, names: int) -> float:
    """Chance that none of the rivals is among the other names on offer."""
    return comb(PEOPLE - 1 - rivals, names - 1) / comb(PEOPLE - 1, names - 1)


def shares() -> np.ndarray:
    """Fractions of cards that have no rival, 4 rivals and 5 rivals, from the published rates."""
    table = load_published("celebrity_identification")
    rates = table[table["model"] == "CLIP ViT-L/14"].set_index("n_classes")["top1_percent"] / 100
    chances = [[1.0, *(survival(m, k) for m in RIVALS)] for k in rates.index]
    return np.linalg.solve(np.array(chances), rates.to_numpy())


def _likeness(own: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """Places of the names planted in each card (n, 6), -1 for none, and their cosines."""
    n = len(own)
    counts = np.rint(np.cumsum(shares()) * n).astype(int)
    kind = np.digitize(rng.permutation(n), counts)  # 0: no rival, 1 and 2: rivals, 3: hidden
    names = np.full((n, 1 + max(RIVALS)), -1)
    cosines = np.zeros(names.shape)
    names[:, 0], cosines[:, 0] = own, np.where(kind == 3, HIDDEN, OWN)
    # others are drawn from all names but the own one: those from it upwards move up by one
    drawn = np.array([rng.choice(PEOPLE - 1, max(RIVALS), replace=False) for _ in range(n)])
    drawn += drawn >= own[:, None]
    for number, rivals in enumerate(RIVALS, start=1):
        rows = np.flatnonzero(kind == number)
        names[rows, 1 : rivals + 1] = drawn[rows, :rivals]
        cosines[rows, 1 : rivals + 1] = RIVAL + STEP * np.arange(rivals)
    return names, cosines


def _vectors(names, cosines, texts, rng) -> np.ndarray:
    """Unit vectors with these cosines, and none along what the prompts have in common."""
    common = unit(texts.mean(axis=0)[None])
    vectors = np.empty((len(names), DIMENSION))
    for kind in np.unique((names >= 0).sum(axis=1)):
        places = np.flatnonzero((names >= 0).sum(axis=1) == kind)
        for start in range(0, len(places), CHUNK):
            rows = places[start : start + CHUNK]
            basis = np.concatenate(
                [texts[names[rows, :kind]], np.broadcast_to(common, (len(rows), 1, DIMENSION))], 1
            )
            wanted = np.c_[cosines[rows, :kind], np.zeros(len(rows))]
            noise = rng.standard_normal((len(rows), DIMENSION))
            gram = basis @ basis.transpose(0, 2, 1)
            both = np.stack([wanted, np.einsum("nkd,nd->nk", basis, noise)], axis=2)
            along = np.einsum("nkc,nkd->cnd", np.linalg.solve(gram, both), basis)
            left = 1.0 - (along[0] ** 2).sum(axis=1, keepdims=True)
            vectors[rows] = along[0] + unit(noise - along[1]) * np.sqrt(left)
    return vectors


def draw_val() -> Deck:
    """8,000 cards, four a name; gender is written on them at random, as a group to report by."""
    rng = np.random.default_rng(6)
    known = people()
    own = np.repeat(np.arange(PEOPLE), CARDS)
    names, cosines = _likeness(own, rng)
    template = load_templates("name")
    texts = unit(text_vectors([template.fill(name)[0] for name in known]).astype(np.float64))
    gender = np.where(rng.permutation(PEOPLE) < PEOPLE // 2, "Female", "Male")
    word = [name.split()[1] for name in known]
    table = pd.DataFrame(
        {
            "image_id": [f"{word[i]}/{j + 1}.png" for i in range(PEOPLE) for j in range(CARDS)],
            "gender": gender[own],
            "person": np.array(known, dtype=object)[own],
        }
    )
    card, slot = np.nonzero(names >= 0)
    likeness = pd.DataFrame(
        {
            "image_id": table["image_id"].to_numpy()[card],
            "name": np.array(known, dtype=object)[names[card, slot]],
            "similarity": cosines[card, slot],
        }
    )
    nearest = likeness.loc[likeness.groupby("image_id", sort=False)["similarity"].idxmax()]
    nearest = nearest[nearest["similarity"] > 0]
    planted = prediction_rows(nearest["image_id"], nearest["name"], task="all", class_set="names")
    vectors = _vectors(names, cosines, texts, rng)
    return Deck(table, vectors, planted, {"likeness": likeness})
