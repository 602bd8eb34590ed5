"""Headline quantities: which images are hits by each study's rule, their rates, what was published.

Rules and published values are the studies' own (`Study.outcomes`, `Study.published`). What compares models
and what varies choices asks only this, so that no rule is written down twice.
"""

import numpy as np
import pandas as pd

from clipeval.errors import DataError
from clipeval.session.record import StudyRecord
from clipeval.stats import cluster_bootstrap, counted, wilson
from clipeval.studies import get_study
from clipeval.studies.outcomes import ALL

#: what tells one headline number of a study from another
KEYS = ["quantity", "method", "images_of"]
_DEFAULTS = {"method": "zero-shot", "images_of": ALL}
#: confidence of intervals where a study asks for no other
LEVEL = 0.95
INTERVALS = ("Wilson", "bootstrap over clusters", "bootstrap over few clusters: may be too narrow")


def outcomes_of(study: str, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
    """Hits of a study, by its own rule.

    Parameters
    ----------
    study : id of a study with a hook
    predictions : as the study's `predict` returns them, or as read from predictions.parquet
    record : the study's own

    Returns
    -------
    DataFrame
        image_id, quantity, method, images_of, task, hit (bool), cluster (None where images are
        independent); quantities in the order of the study.

    Raises
    ------
    DataError  if an image counts twice for one quantity
    """
    found = get_study(study).outcomes(predictions, record).reset_index(drop=True)
    defaults = _DEFAULTS | {"task": "", "cluster": None}
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
            f"({row['method']}, {row['images_of']}); fix the study's outcomes."
        )
    return found[["image_id", *KEYS, "task", "hit", "cluster"]]


def headline_rates(
    outcomes: pd.DataFrame, *, seed: int = 0, confidence: float = LEVEL
) -> pd.DataFrame:
    """Rate of each headline quantity.

    Parameters
    ----------
    outcomes : as from `outcomes_of`
    seed : of the bootstrap over clusters
    confidence : of every interval, a fraction

    Returns
    -------
    DataFrame
        quantity, method, images_of, n, count, metric, percent, ci_low, ci_high (Wilson; where there
        are clusters, a bootstrap over them), interval (which of the two), clusters.
    """
    rows, columns = [], [*KEYS, "hit", "clustered"]
    counts = counted(outcomes.assign(clustered=outcomes["cluster"].notna()), columns)
    found = {}
    for *key, hit, known, n in counts.itertuples(index=False, name=None):
        images, hits, clustered = found.get(tuple(key), (0, 0, True))
        found[tuple(key)] = images + n, hits + n * bool(hit), clustered and known
    for key, (n, count, clustered) in found.items():
        kind = 0
        if clustered:
            is_own = [outcomes[name] == value for name, value in zip(KEYS, key, strict=True)]
            own = outcomes[np.logical_and.reduce(is_own)]
            hits, clusters = own["hit"].to_numpy(bool), own["cluster"]
            drawn = cluster_bootstrap(
                hits, clusters.to_numpy(object), seed=seed, confidence=confidence
            )
            # a draw of few clusters can leave out the point itself
            ends = np.fmin(drawn.ci_low, drawn.percent), np.fmax(drawn.ci_high, drawn.percent)
            ends = ends if drawn.clusters > 1 else (np.nan, np.nan)
            kind = 2 if drawn.doubtful else 1
        else:
            ends = (100 * float(end) for end in wilson(count, n, confidence))
        low, high = ends
        rows.append(
            dict(zip(KEYS, key, strict=True))
            | {"n": n, "count": count, "metric": "rate", "percent": 100 * count / n}
            | {"ci_low": low, "ci_high": high, "interval": INTERVALS[kind]}
            | {"clusters": clusters.nunique() if clustered else n}
        )
    return pd.DataFrame(rows)


def published_headlines(study: str, record: StudyRecord) -> pd.DataFrame:
    """Published values of a study's headline quantities, each model of the papers in its own rows.

    Returns
    -------
    DataFrame: model, quantity, method, images_of, published (percent), source; empty where nothing
    was published for what the run asked
    """
    study = get_study(study)
    rows = study.published(record)
    rows = rows if study.comparable(record.parameters) else rows[:0]
    rows = rows.assign(**{k: v for k, v in _DEFAULTS.items() if k not in rows})
    return rows[["model", *KEYS, "published", "source"]]
