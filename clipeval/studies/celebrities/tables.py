"""Celebrity identification: naming people among K names, zero-shot (arXiv 2108.02818, Table 1).

"100 possible classes for 8k images" can be read in two ways, and both are run. `closed`: the images
of K people, against those K names. `distractors`: all images, each against its true name and K - 1
others drawn for it. `clipeval.studies.celebrities.identification` says whose names are on offer.
"""

import re

import numpy as np
import pandas as pd

from clipeval.errors import DataError, ParameterError
from clipeval.output.numbers import number
from clipeval.published import load_published, with_published
from clipeval.session.parameters import whole_numbers
from clipeval.stats import RATE_COLUMNS, cluster_rates
from clipeval.studies.celebrities.identification import (
    PROTOCOLS,
    TOP,
    order_people,
)

SOURCE = "arXiv 2108.02818, Table 1"
MODELS = ("ViT-L/14", "RN50x64", "RN50x16", "RN50x4")  # of Table 1
#: a remark for test cards
ON_CARDS = "On test cards the groups are drawn at random, and their rates must agree."
DEFAULT_NAMES = "100,1000,2000"


def session_row(session) -> str:
    """Row of Table 1 that a session's model is compared with; "" where its photographs are others."""
    p = session.parameters
    return published_model(p.model, p.published_row) if session.comparable else ""


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
    ParameterError  if the text is not a list of whole numbers from 2 to `people`
    """
    wanted = whole_numbers("n_names", n_names, example="100,1000")
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


def setup(session):
    """People in order, numbers of names and protocols, before any image is opened."""
    p = session.parameters
    pool = session.load_images(limit=0) if p.limit else session.images
    if "person" not in pool or "person" in pool.attrs["groups"]:
        raise DataError(
            f"{pool.attrs['name']} does not say who is shown; use dataset celebrities, whose "
            "data name a person for each image."
        )
    people = order_people(pool["person"], p.seed)
    counts = names_on_offer(p.n_names, len(people))
    protocols = PROTOCOLS if p.protocol == "both" else (p.protocol,)
    return people, {"counts": counts, "protocols": protocols, "seed": p.seed}


def remarks(session) -> list[str]:
    """Sentences on how many names are on offer, and which of the default numbers do not fit."""
    people, how = setup(session)
    counts = ", ".join(f"{k:,}" for k in how["counts"])
    lines = [
        f"{len(session.images):,} images; {counts} names on offer, of {len(people):,} people "
        f"(protocol {' and '.join(how['protocols'])})."
    ]
    wanted = whole_numbers("n_names", session.parameters.n_names, example="100,1000")
    if lost := [f"{k:,}" for k in wanted if k not in how["counts"]]:
        lines.append(f"Left out: {', '.join(lost)} names, more than there are people.")
    return lines


def true_names(image_ids, images, people) -> np.ndarray:
    own = images.set_index("image_id")["person"].reindex(image_ids)
    return pd.Index(people).get_indexer(own)


def _rates(predictions: pd.DataFrame, by: list[str], seed: int) -> pd.DataFrame:
    """Top-1 and top-5 with intervals by person, and as if photographs were independent."""
    columns = list(dict.fromkeys(["protocol", "names", "person", "true_rank", *by]))
    first, parts = predictions.loc[predictions["rank"] == 1, columns], []
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
    table = pd.concat(parts, ignore_index=True).astype({"protocol": "str"})
    table = table.rename(columns={"ci_low": "wilson_low", "ci_high": "wilson_high"})
    return table.rename(columns={"cluster_low": "ci_low", "cluster_high": "ci_high"})


def _arranged(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    table = table.sort_values(["protocol", "metric", "names", *by], kind="stable")
    first = ["protocol", "names", *by, *RATE_COLUMNS]
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
        Row of the published table to stand beside top-1, as `published_model` gives it; "" for none.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        protocol, names (K), n, count, metric (top-1, top-5 where K > 5), percent, ci_low, ci_high
        (by person: cluster bootstrap, for the names on offer), published, difference, chance (percent), wilson_low,
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
            f"{number(row['percent'])} % among {row['names']:,} names (guessing: {row['chance']:.2g} %)"
            for _, row in rows.sort_values("names").iterrows()
        ]
        lines.append(f"{protocol}: the true name comes first for {', '.join(said)}.")
    return "\n".join(lines)


def top1_by_group(predictions: pd.DataFrame, *, by: str, seed: int = 0) -> pd.DataFrame:
    """`top1_by_names` within the groups of one column; nothing was published for groups."""
    table = _rates(predictions, [by], seed)
    return _arranged(table.assign(published=np.nan, difference=np.nan), [by])
