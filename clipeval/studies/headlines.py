"""Headline quantities: which images are hits by each study's rule, their rates, what was published.

A study joins in by a function of its module, `outcomes(predictions, record)`: one row an image and
quantity, with columns

    image_id, quantity   such as "gender accuracy"
    hit                  bool: right, or in the harm category, whatever the quantity counts
    method               "zero-shot" where it is left out
    images_of            the group that the row counts for; "All" where it is left out
    task                 task of the predictions it was read from (a key of prompts.json)
    cluster              the sequence or person of the image, where images are not independent

`record` is the study's part of run.json; a hook reads `parameters` and `class_sets` of it. What
compares models and what varies choices asks only this, so that no rule is written down twice.
"""

import numpy as np
import pandas as pd

from clipeval.errors import DataError
from clipeval.published import load_published, replications
from clipeval.stats import cluster_bootstrap, wilson
from clipeval.studies import get_study
from clipeval.studies.outcomes import ALL, recorded_class_set

__all__ = [
    "ALL",
    "KEYS",
    "counterpart",
    "has_outcomes",
    "headline_rates",
    "outcomes_of",
    "published_headlines",
]

#: what tells one headline number of a study from another
KEYS = ["quantity", "method", "images_of"]
INTERVALS = ("Wilson", "bootstrap over clusters", "bootstrap over few clusters: may be too narrow")


def has_outcomes(study: str) -> bool:
    """Whether a study has headline quantities that are counted image by image."""
    return hasattr(get_study(study).module, "outcomes")


def outcomes_of(study: str, predictions: pd.DataFrame, record: dict) -> pd.DataFrame:
    """Hits of a study, by its own rule.

    Parameters
    ----------
    study : id of a study with a hook
    predictions : as the study's `predict` returns them, or as read from predictions.parquet
    record : the study's part of run.json

    Returns
    -------
    DataFrame
        image_id, quantity, method, images_of, task, hit (bool), cluster (None where images are
        independent); quantities in the order of the study.

    Raises
    ------
    DataError  if an image counts twice for one quantity
    """
    found = get_study(study).module.outcomes(predictions, record).reset_index(drop=True)
    defaults = {"method": "zero-shot", "images_of": ALL, "task": "", "cluster": None}
    for name, value in defaults.items():
        if name not in found:
            found[name] = pd.Series([value] * len(found), dtype=object)
    for name in ("quantity", "method", "images_of", "task"):
        found[name] = found[name].astype(str)
    twice = found.duplicated(["image_id", *KEYS])
    if twice.any():
        row = found[twice].iloc[0]
        raise DataError(
            f"{study}: image {row['image_id']} counts twice for {row['quantity']} "
            f"({row['method']}, {row['images_of']}); mend the study's outcomes."
        )
    return found[["image_id", *KEYS, "task", "hit", "cluster"]]


def headline_rates(outcomes: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Rate of each headline quantity.

    Parameters
    ----------
    outcomes : as from `outcomes_of`
    seed : of the bootstrap over clusters

    Returns
    -------
    DataFrame
        quantity, method, images_of, n, count, metric, percent, ci_low, ci_high (Wilson; where there
        are clusters, a bootstrap over them), interval (which of the two), clusters.
    """
    rows = []
    for key, part in outcomes.groupby(KEYS, sort=False):
        hits, clustered = part["hit"].to_numpy(bool), bool(part["cluster"].notna().all())
        n, count = len(hits), int(hits.sum())
        kind = 0
        if clustered:
            found = cluster_bootstrap(hits, part["cluster"].to_numpy(object), seed=seed)
            # a draw of few clusters can leave out the point itself
            ends = np.fmin(found.ci_low, found.percent), np.fmax(found.ci_high, found.percent)
            ends = ends if found.clusters > 1 else (np.nan, np.nan)
            kind = 2 if found.few else 1
        else:
            ends = (100 * float(end) for end in wilson(count, n))
        low, high = ends
        rows.append(
            dict(zip(KEYS, key, strict=True))
            | {"n": n, "count": count, "metric": "rate", "percent": 100 * count / n}
            | {"ci_low": low, "ci_high": high, "interval": INTERVALS[kind]}
            | {"clusters": part["cluster"].nunique() if clustered else n}
        )
    return pd.DataFrame(rows)


# -- what was published of the same quantities -----------------------------------------------------

_FAIRFACE = {
    "Zero-shot CLIP": ("CLIP", "zero-shot"),
    "Linear probe CLIP": ("CLIP", "linear probe"),
    "Linear probe Instagram": ("Instagram ResNeXt-101", "linear probe"),
    "FairFace model": ("FairFace model", "its own classifier"),
}


def published_headlines(study: str, record: dict) -> pd.DataFrame:
    """Published values of a study's headline quantities, each model of the papers in its own rows.

    Returns
    -------
    DataFrame: model, quantity, method, images_of, published (percent), source; empty where nothing
    was published for what the run asked
    """
    rows = _PUBLISHED[study](record) if study in _PUBLISHED else []
    columns = ["model", *KEYS, "published", "source"]
    if isinstance(rows, list):
        return pd.DataFrame(rows, columns=columns)
    return rows.assign(**{k: v for k, v in _DEFAULTS.items() if k not in rows})[columns]


_DEFAULTS = {"method": "zero-shot", "images_of": ALL}


def _fairface(record: dict) -> pd.DataFrame:
    from clipeval.studies.fairface import QUANTITIES

    table = load_published("fairface_accuracy").rename(columns={"accuracy_percent": "published"})
    table["method"] = table["model"].map(lambda name: _FAIRFACE[name][1])
    table["model"] = table["model"].map(lambda name: _FAIRFACE[name][0])
    others = replications("fairface").rename(columns={"percent": "published"})
    pattern = r"(?P<attribute>\w+) accuracy, images of (?P<images_of>.+)"
    said = others["quantity"].str.extract(pattern)
    others = others.assign(**said, method="zero-shot")
    others["model"] += ", replication"
    table = pd.concat([table, others], ignore_index=True)
    return table.assign(quantity=table["attribute"].map(QUANTITIES))


def _denigration(record: dict) -> pd.DataFrame:
    from clipeval.studies.denigration import SOURCE, published_rates

    class_set = recorded_class_set(record)
    whole = published_rates([], class_set)
    races = published_rates(["race"], class_set).rename(columns={"race": "images_of"})
    table = pd.concat([whole, races], ignore_index=True).fillna({"images_of": ALL})
    return table.rename(columns={"metric": "quantity"}).assign(model="CLIP ViT-L/14", source=SOURCE)


def _class_design(record: dict) -> pd.DataFrame:
    from clipeval.studies.class_design import SOURCE
    from clipeval.studies.denigration import published_rates

    parts = []
    for name in ("class_set", "other"):
        class_set = recorded_class_set(record, name)
        known = published_rates(["age"], class_set).rename(columns={"age": "images_of"})
        parts.append(known.assign(quantity=known["metric"] + f", classes {class_set.spec}"))
    return pd.concat(parts).assign(model="CLIP ViT-L/14", source=SOURCE)


def _in_text(study: str, names: dict[str, str]) -> pd.DataFrame:
    table = load_published("in_text").rename(columns={"percent": "published"})
    table = table[(table["study"] == study) & table["quantity"].isin(names)]
    return table.assign(quantity=table["quantity"].map(names), model="CLIP")


def _congress(record: dict) -> pd.DataFrame:
    return _in_text("congress", {"gender accuracy": "gender accuracy"})


def _cctv(record: dict) -> pd.DataFrame:
    from clipeval.studies.cctv import METRICS

    return _in_text("cctv", {name: f"{task} {metric}" for (task, metric), name in METRICS.items()})


def _celebrities(record: dict) -> pd.DataFrame:
    table = load_published("celebrity_identification")
    table = table.rename(columns={"top1_percent": "published"})
    parts = [  # the paper does not say which protocol it used: its number stands beside both
        table.assign(quantity=[f"top-1 among {k} names, {protocol}" for k in table["n_classes"]])
        for protocol in ("closed", "distractors")
    ]
    return pd.concat(parts, ignore_index=True)


_PUBLISHED = {
    "fairface": _fairface,
    "denigration": _denigration,
    "class_design": _class_design,
    "congress": _congress,
    "cctv": _cctv,
    "celebrities": _celebrities,
}


def counterpart(study: str, record: dict) -> str:
    """The published model that a run's model is compared with, by its architecture if known."""
    name = record["model"]["model"]
    if study == "celebrities":
        from clipeval.studies.celebrities import published_model

        return published_model(name, record["parameters"].get("published_row", "auto"))
    if study == "fairface" and "resnext101_32x" in name.lower():
        return "Instagram ResNeXt-101"
    return "CLIP ViT-L/14" if study in ("denigration", "class_design") else "CLIP"
