"""What each choice trades: harm avoided against photographs left unnamed, accuracy against labelled images."""

import numpy as np
import pandas as pd

from clipeval.classify.zeroshot import similarities
from clipeval.stats import RATE_COLUMNS, rates_of_counts
from clipeval.studies.mitigation.methods import (
    RULES,
    Asked,
    best_share,
    of_part,
    prior_of,
    prototypes,
    thresholds,
)
from clipeval.studies.mitigation.questions import can_move_vectors

#: percent of the images to fit on that are left unnamed, along the curve
LEFT = (0, 1, 2, 5, 10, 15, 20, 30, 40, 50)
#: labelled images of each class, along the curve
SHOTS = (0, 1, 2, 4, 8, 16, 32, 64)


def abstaining(session) -> pd.DataFrame:
    """Harm avoided when the answers that the model is least sure of are left out.

    Returns
    -------
    DataFrame
        rule (probability, margin), left (percent of the images to fit on that the threshold leaves unnamed), n,
        count (harmful answers avoided), metric, percent (of all photographs), ci_low, ci_high (Wilson),
        published, difference, chance (percent: as many harmful answers as so many photographs at random
        have), threshold (probability, or difference of similarities), unnamed (percent of the images
        counted), harmless (percent: harmless answers that were left out). No rows without harm classes.
    """
    rows = []
    for q in session.questions:
        if q.labels:
            continue
        sure = of_part(session.sure, "shown", q)
        members = [m for part in q.class_set.categories.values() for m in part]
        harmful = sure["label"].isin(members).to_numpy()
        for left in LEFT:
            for rule, least in thresholds(session.sure, q, left).items():
                unnamed = (sure[rule] < least).to_numpy()
                row = {"rule": rule, "left": left, "n": len(unnamed)}
                row |= {"count": int((unnamed & harmful).sum()), "unnamed": 100 * unnamed.mean()}
                row |= {"threshold": least, "chance": harmful.mean() * row["unnamed"]}
                rows.append(row | {"harmless": 100 * (unnamed & ~harmful).mean()})
    if not rows:
        return pd.DataFrame()
    found = rates_of_counts(
        pd.DataFrame(rows),
        "harmful answers avoided",
        confidence=session.parameters.confidence,
    )
    found = found.assign(published=np.nan, difference=np.nan)
    found = found.sort_values("rule", key=lambda rules: rules.map(RULES.index), kind="stable")
    first = ["rule", "left", *RATE_COLUMNS, "published", "difference"]
    last = ["chance", "threshold", "unnamed", "harmless"]
    return found[[*first, *last]].reset_index(drop=True)


def shots(session) -> pd.DataFrame:
    """Accuracy with prototypes of more and more labelled images, each of several draws.

    Returns
    -------
    DataFrame
        attribute, k (labelled images of each class), n, metric, percent (mean over draws), ci_low, ci_high
        (Wilson, of the mean), published, difference, lowest, highest (percent: of the draws), draws, share
        (weight of the words, chosen for each k on the images to fit on). No rows without labels or vectors.
    """
    p, rows = session.parameters, []
    for q in session.questions if can_move_vectors(session) else ():
        if not q.labels:
            continue
        answers = session.drawn[session.drawn["task"] == q.task]
        for k in SHOTS:
            share = best_share(session.tried, q, k) if k else 1.0
            right = [int(sum(hits)) for hits in answers.loc[answers["k"] == k, "hits"]]
            n, row = len(session.shown), {"attribute": q.task, "k": k}
            row |= {"n": n, "count": float(np.mean(right)), "draws": len(right), "share": share}
            rows.append(row | {"lowest": 100 * min(right) / n, "highest": 100 * max(right) / n})
    if not rows:
        return pd.DataFrame()
    found = rates_of_counts(pd.DataFrame(rows), "accuracy", confidence=p.confidence)
    found = found.assign(published=np.nan, difference=np.nan)
    first = ["attribute", "k", "n", "metric", "percent", "ci_low", "ci_high"]
    last = ["published", "difference", "lowest", "highest", "draws", "share"]
    return found[[*first, *last]]


def hits_drawn(asked: Asked, tried: pd.DataFrame, *, draws: int, seed: int) -> pd.DataFrame:
    """Which images prototypes of each number of labelled images name rightly, draw by draw.

    Parameters
    ----------
    tried : as from `shares_tried`
    draws, seed : draws of the labelled images, and the seed of the first

    Returns
    -------
    DataFrame: task, k, draw, hits (list of bool, in the order of the images that are counted)
    """
    rows = []
    for q in asked.questions:
        if not q.labels:
            continue
        truth = asked.shown.labels(q.labels)
        names = np.asarray(q.classes, object)
        for k in SHOTS:
            share = best_share(tried, q, k) if k else 1.0
            for draw in range(draws if k else 1):
                weights = prototypes(asked, q, k=k, share=share, seed=seed + draw)
                top = names[similarities(asked.shown.matrix, weights).argmax(axis=1)]
                rows.append((q.task, k, draw, top == truth))
    return pd.DataFrame(rows, columns=["task", "k", "draw", "hits"])


def options(session) -> pd.DataFrame:
    """What was fitted on other images than the tables count: method, question, option, value, unit.

    Returns
    -------
    DataFrame: method, question, option, value
    """
    p, rows = session.parameters, []
    for q in session.questions:
        for rule, least in thresholds(session.sure, q, p.unnamed).items():
            rows.append((f"unnamed: {rule}", q.task, f"least {rule}", least))
        if q.labels and can_move_vectors(session):
            share = best_share(session.tried, q, p.shots)
            rows.append(("prototypes", q.task, "weight of the words", share))
        prior = 100 * prior_of(q, p.harm_prior)
        said = "stated share of each class, %" if q.labels else "stated share of each harm class, %"
        rows.append(("prior matching", q.task, said, float(prior.min() if q.labels else prior[-1])))
    return pd.DataFrame(rows, columns=["method", "question", "option", "value"])
