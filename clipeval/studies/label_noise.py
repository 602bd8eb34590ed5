"""Label noise beside the rates of a study: an extension, which is not in the paper."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from clipeval.errors import DataError, ParameterError
from clipeval.published import load_published
from clipeval.session import parameters
from clipeval.stats import RATE_COLUMNS, codes_of, group_rates, noisy_rates, wrong_labels

SOURCE = "Rijgersberg 2023 (openai/CLIP issue 157)"
BANDS = ("sampling ({:g} %)", "label noise (95 % of draws)")


class Parameters(parameters.Parameters):
    """Parameters of a study that can show what wrong labels would do."""

    label_noise: float = Field(
        0.0, ge=0, lt=100, description="percent of the labels taken to be wrong; 0 for none"
    )
    label_noise_as: Literal["random", "published"] = Field(
        "random",
        description="random, or published for races confused as in a published replication",
    )


def confusion_of(names: list[str]) -> np.ndarray:
    """Published shares (k, k) of images labelled one race that were called another.

    FairFace's makers print no confusion matrix of their model; this is the one of FairFace's seven races at hand,
    of CLIP ViT-L/14-336 in a replication, answers that are no race left out.

    Raises
    ------
    DataError  if the labels are not those seven
    """
    table = load_published("replication_confusion")
    table = table[(table["source"] == SOURCE) & (table["grouping"] == "race")]
    wide = table.pivot_table(index="group", columns="predicted", values="count", aggfunc="sum")
    if set(names) != set(wide.index):
        raise DataError(
            f"label_noise_as=published knows how {', '.join(wide.index)} are confused, and the labels are "
            f"{', '.join(names)}; use label_noise_as=random."
        )
    wide = wide.loc[names, names]
    return wide.div(wide.sum(axis=1), axis=0).to_numpy(float)


def agreement(rows: pd.DataFrame, task: str) -> pd.DataFrame:
    """Answers to a task that images are labelled by, as `with_noise` takes them: hits are those that agree."""
    right = rows["label"].astype(str) == rows[task].astype(str)
    return rows.assign(quantity=f"{task} accuracy", hit=right, held_against=task)


def with_noise(
    answers: pd.DataFrame,
    by: Mapping[str, str],
    *,
    share: float,
    seed: int = 0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Rates of each group as labelled, and how far they move where a share of labels is wrong.

    Parameters
    ----------
    answers : one row an image and quantity: quantity, hit (bool), label (the answer), held_against (the label
        column that decides `hit`; "" where none does), and the columns of `by`
    by : label column whose values may be wrong -> "random" or "published"
    share : fraction of labels that is wrong
    seed : of the draws
    confidence : of the intervals of the rates as labelled, a fraction

    Returns
    -------
    DataFrame: grouping, group ("All" where all images' rate depends on the labels), quantity, n, count, metric,
    percent, ci_low, ci_high (Wilson), published, difference (NaN), expected, noise_low, noise_high (percent)
    """
    parts, how = [], {"metric": "rate", "confidence": confidence}
    for column, shape in by.items():
        for quantity, rows in answers.groupby("quantity", sort=False):
            codes, names = codes_of(rows[column])
            names = [str(name) for name in names]
            own = rows["held_against"].iloc[0] == column
            at = rows["hit"].to_numpy(int)
            hits = np.repeat([[False], [True]], len(names), axis=1)
            if own:  # a wrong label makes another answer the right one
                place = {name: i for i, name in enumerate(names)}
                at = rows["label"].astype(str).map(place).fillna(len(names)).to_numpy(int)
                hits = np.eye(len(names) + 1, len(names), dtype=bool)
            cells = np.zeros((len(names), len(hits)), dtype=np.int64)
            np.add.at(cells, (codes, at), 1)
            likely = confusion_of(names) if shape == "published" else None
            found = noisy_rates(cells, hits, wrong_labels(len(names), share, likely), seed=seed)
            table = group_rates(rows, "hit", by=[column], **how)
            table = table.set_index(table[column].astype(str)).loc[names].drop(columns=column)
            if own:
                whole = group_rates(rows, "hit", **how).set_axis(["All"])
                table = pd.concat([table, whole])
            moved = {"expected": found.expected, "noise_low": found.low, "noise_high": found.high}
            table = table.assign(**{k: 100 * v[: len(table)] for k, v in moved.items()})
            table = table.rename_axis("group").reset_index()
            parts.append(table.assign(grouping=column, quantity=quantity))
    table = pd.concat(parts, ignore_index=True).assign(published=np.nan, difference=np.nan)
    first = ["grouping", "group", "quantity", *RATE_COLUMNS, "published", "difference"]
    return table[[*first, "expected", "noise_low", "noise_high"]]


def noise_of(session) -> dict[str, str]:
    """Label columns whose values may be wrong -> "random" or "published"; none unless noise is asked for.

    Raises
    ------
    DataError, ParameterError  where the labels, or the share, are not those that the noise is known for
    """
    p, found = session.parameters, {}
    if not p.label_noise:
        return found
    for column in (g.name for g in session.groupings if len(g.columns) == 1):
        names = [str(name) for name in codes_of(session.images[column])[1]]
        if len(names) > 1:
            found[column] = p.label_noise_as if column == "race" else "random"
            likely = confusion_of(names) if found[column] == "published" else None
            wrong_labels(len(names), p.label_noise / 100, likely)
    if p.label_noise_as not in ("random", *found.values()):
        raise ParameterError(
            f"label_noise_as={p.label_noise_as} knows how FairFace's seven races are confused, and "
            f"{session.images.attrs['name']} is not reported by race; use label_noise_as=random."
        )
    return found
