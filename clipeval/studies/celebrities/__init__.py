"""Celebrity identification: naming people among K names, zero-shot (arXiv 2108.02818, Table 1).

"100 possible classes for 8k images" can be read in two ways, and both are run. `closed`: the images
of K people, against those K names. `distractors`: all images, each against its true name and K - 1
others drawn for it. `clipeval.studies.celebrities.identification` says whose names are on offer.
"""

import re
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from clipeval.classify.class_sets import class_set_of, prompts_for
from clipeval.classify.zeroshot import class_weights
from clipeval.errors import DataError, ParameterError
from clipeval.published import load_published, with_published
from clipeval.session import parameters
from clipeval.stats import cluster_rates
from clipeval.studies.celebrities.identification import (
    CELLS,
    PROTOCOLS,
    TOP,
    identify,
    on_offer,
    order_people,
    tidy,
)

__all__ = [
    "ON_CARDS",
    "SOURCE",
    "Parameters",
    "about",
    "check",
    "in_words",
    "names_on_offer",
    "outcomes",
    "planted",
    "predict",
    "published_model",
    "remarks",
    "top1_by_group",
    "top1_by_names",
]

SOURCE = "arXiv 2108.02818, Table 1"
MODELS = ("ViT-L/14", "RN50x64", "RN50x16", "RN50x4")  # of Table 1
#: a remark for test cards
ON_CARDS = "On test cards the groups are drawn at random, and their rates must agree."
DEFAULT_NAMES = "100,1000,2000"


class Parameters(parameters.Parameters):
    """Parameters of the celebrities study."""

    decides: ClassVar = ("seed", "n_names", "protocol")

    templates: str = Field(
        "name", description="prompt templates; name has no article before a name"
    )
    n_names: str = Field(DEFAULT_NAMES, description="how many names are on offer, comma-separated")
    protocol: Literal["both", "closed", "distractors"] = Field(
        "both", description="images of K people and their K names, or all images and K - 1 others"
    )
    published_row: Literal["auto", "ViT-L/14", "RN50x64", "RN50x16", "RN50x4"] = Field(
        "auto", description="published model to compare with; auto goes by the model's name"
    )
    names: str = Field("", description="for CelebA: your list of its people's names, a file")
    files: str = Field("", description="for a CSV: columns with photographs, comma-separated")
    partition: str = Field("", description="for CelebA: train, valid or test; empty for all")
    groups: str = Field("", description="group columns; empty for those that look like groups")


def published_model(model: str, row: str = "auto") -> str:
    """Row of Table 1 that a model is compared with: the one of its architecture, else ViT-L/14."""
    if row != "auto":
        return f"CLIP {row}"
    words = re.split(r"[^a-z0-9]+", model.lower())
    return f"CLIP {next((m for m in MODELS if m.lower() in words), MODELS[0])}"


def names_on_offer(n_names: str, people: int) -> list[int]:
    """Numbers of names, rising.

    Those of the default that exceed the number of people are left out (all people, if that leaves
    none); any that the user asked for is refused.

    Raises
    ------
    ParameterError  if the text is no list of whole numbers from 2 to `people`
    """
    try:
        wanted = sorted({int(part) for part in n_names.split(",")})
    except ValueError:
        raise ParameterError(
            f'n_names="{n_names}" is no list of whole numbers; write, for example, "100,1000".'
        ) from None
    fit = [k for k in wanted if 2 <= k <= people]
    if n_names == DEFAULT_NAMES:
        return fit or [people]
    if fit != wanted:
        wrong = next(k for k in wanted if k not in fit)
        raise ParameterError(
            f"n_names asks for {wrong:,} names and the data set has {people:,} people; "
            f"name numbers from 2 to {people:,}."
        )
    return fit


def _setup(session):
    """People in order, numbers of names and protocols, before any image is opened."""
    p = session.parameters
    pool = session.load_images(limit=0) if p.limit else session.images
    if "person" not in pool:
        raise DataError(
            f"{pool.attrs['name']} says of no image whose it is; use dataset celebrities, whose "
            "data name a person for each image."
        )
    people = order_people(pool["person"], p.seed)
    counts = names_on_offer(p.n_names, len(people))
    protocols = PROTOCOLS if p.protocol == "both" else (p.protocol,)
    return people, {"counts": counts, "protocols": protocols, "seed": p.seed}


def remarks(session) -> list[str]:
    """Sentences on how many names are on offer, and which of the default numbers do not fit."""
    people, how = _setup(session)
    counts = ", ".join(f"{k:,}" for k in how["counts"])
    lines = [
        f"{len(session.images):,} images; {counts} names on offer, of {len(people):,} people "
        f"(protocol {' and '.join(how['protocols'])})."
    ]
    wanted = [int(k) for k in session.parameters.n_names.split(",")]
    if lost := [f"{k:,}" for k in wanted if k not in how["counts"]]:
        lines.append(f"Left out: {', '.join(lost)} names, more than there are people.")
    return lines


def about(session) -> dict:
    """What captions say beside the usual: the protocol, and that each rate has an n of its own."""
    p = session.parameters
    asked = "closed and distractors" if p.protocol == "both" else p.protocol
    return {
        "choices": (f"protocol {asked}", f"names drawn with seed {p.seed}"),
        "n_text": f"{len(session.embed()):,} images read, n of each rate beside it",
    }


def prompts(session) -> list[str]:
    """Every name that may be on offer, as it is sent."""
    return [text for person in _setup(session)[0] for text in session.templates.fill(person)]


def check(session) -> str:
    """What `clipeval check` says of this study; errors as in `predict`, before any model is loaded."""
    return " ".join(remarks(session))


def _true(image_ids, images, people) -> np.ndarray:
    own = images.set_index("image_id")["person"].reindex(image_ids)
    return pd.Index(people).get_indexer(own)


def predict(session) -> pd.DataFrame:
    """Zero-shot predictions for every protocol and number of names.

    Returns
    -------
    DataFrame: image_id, task ("K=100 closed" ...), method, class_set, templates, rank (1 to 5),
    label (name), prob (among the K names), true_rank (of the true name, 1 to K), person (the true
    name), protocol, names (K), and the groups

    Raises
    ------
    ParameterError  if more names are asked for than there are people
    ClassSetError  if the model would read a name only in part
    """
    people, how = _setup(session)
    people = people[: how["counts"][-1]] if how["protocols"] == ("closed",) else people
    class_set = class_set_of(
        "names",
        {"names": dict(zip(people, people, strict=True))},
        source="names of the data set's people",
    )
    prompts = prompts_for(class_set, session.templates, "names")
    weights = class_weights(prompts, session.encode)
    session.note_prompts("names", class_set, session.templates, prompts)
    embeddings = session.embed()
    true = _true(embeddings.image_id, session.images, people)
    asked = true >= 0
    ids, matrix = embeddings.image_id[asked], embeddings.matrix[asked]
    found = identify(matrix, weights, ids, people, true[asked], session.info, **how)
    found.insert(2, "method", "zero-shot")
    found.insert(3, "class_set", class_set.label)
    found.insert(4, "templates", session.templates.label)
    for column in ("task", "method", "class_set", "templates", "protocol"):
        found[column] = found[column].astype("category")
    return session.with_groups(found)


def planted(session) -> pd.DataFrame | None:
    """What a faultless pipeline must find on test cards, by the study's own protocols; else None.

    The deck knows which names each card was drawn to resemble more than its own; the same protocols
    offer the same names, so the rates that follow are exact for this seed and these numbers of
    names, and no expectation. Labels are left empty: ranks of the true name are what is planted.
    """
    if not session.images.attrs.get("planted"):
        return None
    from clipeval.testcards import load_extra

    people, how = _setup(session)
    images = session.images
    true = _true(images["image_id"], images, people)
    likeness = load_extra(images, "likeness")
    likeness = likeness[likeness["image_id"].isin(images["image_id"])]
    row = pd.Index(images["image_id"]).get_indexer(likeness["image_id"])
    column = pd.Index(people).get_indexer(likeness["name"])
    cosine = likeness["similarity"].to_numpy()
    own = np.empty(len(images))
    own[row[column == true[row]]] = cosine[column == true[row]]
    nearer = cosine > own[row]
    step = max(1, CELLS // len(people))
    drawn = {k: np.zeros(len(row), dtype=bool) for k in how["counts"]}
    for start in range(0, len(true), step):
        here = np.flatnonzero((row >= start) & (row < start + step))
        ids = images["image_id"].iloc[start : start + step]
        masks = on_offer(ids, people, true[start : start + step], how["counts"], how["seed"])
        for k, mask in masks.items():
            drawn[k][here] = mask[row[here] - start, column[here]]
    parts = []
    for protocol in how["protocols"]:
        for k, mask in drawn.items():
            there = (column < k) & (true[row] < k) if protocol == "closed" else mask
            ahead = np.bincount(row[nearer & there], minlength=len(images))
            rank = np.where(own > 0, 1 + ahead, k)  # a card that hides its name: last of all
            asked = np.flatnonzero(true < k if protocol == "closed" else true >= 0)
            about = {"row": asked, "rank": 1, "label": -1, "prob": np.nan, "true_rank": rank[asked]}
            parts.append(tidy(pd.DataFrame(about), images["image_id"], people, true, protocol, k))
    return session.with_groups(pd.concat(parts, ignore_index=True))


def _rates(predictions: pd.DataFrame, by: list[str], seed: int) -> pd.DataFrame:
    """Top-1 and top-5 with intervals by person, and as if photographs were independent."""
    first = predictions[predictions["rank"] == 1]
    first = first.astype({"protocol": object, "person": object})
    parts = []
    for top in (1, TOP):
        rows = first[first["names"] > top].assign(hit=lambda f, top=top: f["true_rank"] <= top)
        if rows.empty:
            continue
        table = cluster_rates(
            rows,
            "hit",
            clusters="person",
            by=["protocol", "names", *by],
            metric=f"top-{top}",
            seed=seed,
        )
        parts.append(table[table["n"] > 0].assign(chance=lambda f, top=top: 100 * top / f["names"]))
    table = pd.concat(parts, ignore_index=True)
    table = table.rename(columns={"ci_low": "wilson_low", "ci_high": "wilson_high"})
    return table.rename(columns={"cluster_low": "ci_low", "cluster_high": "ci_high"})


def _arranged(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    table = table.sort_values(["protocol", "metric", "names", *by], kind="stable")
    first = ["protocol", "names", *by, "n", "count", "metric", "percent", "ci_low", "ci_high"]
    first += ["published", "difference", "chance", "wilson_low", "wilson_high", "clusters"]
    return table[[*first, "few_clusters"]].reset_index(drop=True)


def top1_by_names(
    predictions: pd.DataFrame, *, model: str = "CLIP ViT-L/14", seed: int = 0
) -> pd.DataFrame:
    """How often the true name comes first, and among the first five, by number of names.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them; rows with rank 1, of which `true_rank` is used.
    model : str
        Row of the published table to stand beside top-1, as `published_model` gives it.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        protocol, names (K), n, count, metric (top-1, top-5 where K > 5), percent, ci_low, ci_high
        (by person: cluster bootstrap), published, difference, chance (percent), wilson_low,
        wilson_high (as if photographs were independent), clusters (people), few_clusters. The paper
        does not say which protocol it used: its number stands beside both. Source: arXiv
        2108.02818, Table 1.
    """
    table = _rates(predictions, [], seed)
    known = load_published("celebrity_identification")
    known = known[known["model"] == model].assign(metric="top-1")
    on = {"names": "n_classes", "metric": "metric"}
    return _arranged(with_published(table, known, on=on, value="top1_percent"), [])


def in_words(top1: pd.DataFrame) -> str:
    """A sentence a protocol: how far top-1 of `top1_by_names` falls as names are added."""
    lines = []
    for protocol, rows in top1[top1["metric"] == "top-1"].groupby("protocol", sort=False):
        said = [
            f"{row['percent']:.1f} % among {row['names']:,} names (guessing: {row['chance']:.2g} %)"
            for _, row in rows.sort_values("names").iterrows()
        ]
        lines.append(f"{protocol}: the true name comes first for {', '.join(said)}.")
    return "\n".join(lines)


def top1_by_group(predictions: pd.DataFrame, *, by: str, seed: int = 0) -> pd.DataFrame:
    """`top1_by_names` within the groups of one column; nothing was published for groups."""
    table = _rates(predictions, [by], seed)
    return _arranged(table.assign(published=np.nan, difference=np.nan), [by])


def outcomes(predictions: pd.DataFrame, record: dict) -> pd.DataFrame:
    """Images whose true name comes first, or among five; people as clusters (`clipeval.studies.headlines`)."""
    first = predictions[predictions["rank"] == 1].rename(columns={"person": "cluster"})
    first = first.astype({"protocol": object, "cluster": object, "task": object})
    parts = []
    for top in (1, TOP):
        rows = first[first["names"] > top]
        names = [f"top-{top} among {k} names, " for k in rows["names"]]
        parts.append(rows.assign(quantity=names + rows["protocol"], hit=rows["true_rank"] <= top))
    columns = ["image_id", "quantity", "task", "hit", "cluster"]
    return pd.concat(parts, ignore_index=True)[columns]
