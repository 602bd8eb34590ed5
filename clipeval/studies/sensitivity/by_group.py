"""How far each group's rate moves with choices, and what fewer pixels do: extensions, which are not in the paper."""

import numpy as np
import pandas as pd

from clipeval.models.reduced import pixels_of
from clipeval.output.provenance import pathless
from clipeval.session.session import Session
from clipeval.stats import IMAGES, RATE_COLUMNS, counted, group_rates
from clipeval.studies import get_study
from clipeval.studies.sensitivity.hits import contents_of
from clipeval.studies.sensitivity.spread import FACTORS
from clipeval.studies.sensitivity.variation import about_base, bases_of, hits_over_choices

WORDS = ["quantity", "class_set", "templates"]
KEYS = ["study", "quantity", "grouping", "group"]


def group_ranges(session: Session, table: pd.DataFrame, **choices) -> pd.DataFrame:
    """Each group's rate at the reference choice, and its lowest and highest over all choices.

    Parameters
    ----------
    session : the study's
    table : as `vary` returns it for the same choices
    choices : studies, class_sets, templates, precisions, resizes and compute, as for `vary`

    Returns
    -------
    DataFrame
        study, quantity, grouping, group, n, count, metric, percent, ci_low, ci_high (Wilson, of the reference),
        published, difference (NaN), lowest, highest, width (percentage points), choices (number of
        combinations); no rows where the images have no groups
    """
    names = ("precisions", "resizes", "compute")
    bases, _ = bases_of(session, *(choices.pop(name) for name in names))
    by = {g.name: g.add_to(session.images)[g.name] for g in session.groupings}
    groups = session.images[["image_id"]].assign(**by)
    parts = []
    for base, study, hits in hits_over_choices(session, bases, **choices):
        if "hit" not in hits:  # measures that are no shares of images have no rate of a group
            continue
        asked = [study.id, about_base(base), *contents_of(hits), *_said(groups)]

        def rated(base=base, study=study, hits=hits) -> pd.DataFrame:
            counts = counted_within(hits, groups)
            rates = pd.concat([rates_within(counts, name) for name in by], ignore_index=True)
            return rates.assign(study=study.id, **about_base(base))

        if by:
            parts.append(session.remember("rates of groups", asked, rated))
    if not parts:
        return pd.DataFrame()
    keys = ["study", "quantity", *FACTORS]
    # choices that ask nothing new for a quantity are left out there
    called = {pathless(spec): name for name, spec in table.attrs.get("words", {}).items()}
    rates = pd.concat(parts).replace({words: called for words in WORDS[1:]})
    rates = rates.merge(table[[*keys, "reference"]], on=keys)
    found = []
    for key, rows in rates.groupby(KEYS, sort=False):
        point = rows[rows["reference"]].iloc[0]
        numbers = point[[*RATE_COLUMNS]].to_dict()
        low, high = rows["percent"].min(), rows["percent"].max()
        found.append(
            dict(zip(KEYS, key, strict=True))
            | numbers
            | {"published": np.nan, "difference": np.nan, "lowest": low, "highest": high}
            | {"width": high - low, "choices": len(rows)}
        )
    return pd.DataFrame(found)


def counted_within(hits: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """How many hits and misses of each choice are of which groups, by `stats.counted`: images are read once.

    Parameters
    ----------
    hits : as from `hits_over_choices`; images without groups are left out
    groups : image_id and a column of each grouping
    """
    images = hits["image_id"].astype("category").cat
    place = pd.Index(groups["image_id"]).get_indexer(images.categories)
    codes = images.codes.to_numpy()
    if (place < 0).any():
        known = (place >= 0)[codes]
        hits, codes = hits[known], codes[known]
    own = {name: groups[name].array.take(place)[codes] for name in groups.columns[1:]}
    rows = hits[[*WORDS, "hit"]].assign(**own)
    return counted(rows, list(rows))


def rates_within(counts: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rates of hits by one grouping, each choice's groups in their order, of what `counted_within` returns."""
    how = {"metric": "rate", "observed": True, "images": IMAGES}
    rates = group_rates(counts, "hit", by=[*WORDS, name], **how)
    rates = rates.astype(dict.fromkeys(WORDS, str)).sort_values(WORDS, kind="stable")
    rates = rates.rename(columns={name: "group"}).astype({"group": str}).assign(grouping=name)
    order = {str(v): i for i, v in enumerate(pd.Categorical(counts[name]).categories)}
    return rates.sort_values("group", key=lambda g: g.map(order), kind="stable")


def _said(groups: pd.DataFrame) -> list:
    """All that a table of groups says, in its order: a part of a key for `Source.remember`."""
    parts = [groups["image_id"].tolist()]
    for name in groups.columns[1:]:
        values = pd.Categorical(groups[name])
        parts += [name, list(map(str, values.categories)), values.codes]
    return parts


def by_pixels(table: pd.DataFrame) -> pd.DataFrame:
    """The headline numbers by how many pixels were left of an image, at the reference words and precision.

    Parameters
    ----------
    table : as `vary` returns it

    Returns
    -------
    DataFrame: study, quantity, pixels ("all", then from many to few), n, count, metric, percent, ci_low, ci_high,
    published, difference; no rows where no reduction was tried
    """
    parts = []
    for (study, _), rows in table.groupby(["study", "quantity"], sort=False):
        point = rows[rows["reference"]].iloc[0]
        words = ["class_set", "templates", "precision", *get_study(study).choices]
        same = rows[(rows[words] == point[words]).all(axis=1)]
        pixels = same["resize"].map(pixels_of)
        same = same.assign(pixels=pixels.astype(str).mask(same["reference"] & (pixels == 0), "all"))
        same = same[(pixels > 0) | same["reference"]].assign(order=pixels.mask(pixels == 0, 10**6))
        parts.append(same.sort_values("order", ascending=False))
    found = pd.concat(parts, ignore_index=True)
    if not found["resize"].map(pixels_of).any():
        return found[:0]
    # what was published is of whole images
    told = ["published", "difference"]
    found[told] = found[told].astype(float).where(found["pixels"] == "all")
    first = ["study", "quantity", "pixels", *RATE_COLUMNS]
    return found[[*first, "published", "difference"]]
