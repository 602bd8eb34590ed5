"""Those called something: which images, how sure the model is of each, and what it would say next."""

import numpy as np
import pandas as pd

from clipeval.errors import ParameterError
from clipeval.output.markup import Grid, render
from clipeval.output.numbers import number

LISTED = 20  # images


def called(explorer, name: str) -> pd.DataFrame:
    """The images chosen whose top class is `name`, or in that category, those with the largest margin first.

    Returns
    -------
    DataFrame: image_id, file, groups, answer (top class), prob (its probability, percent), next (the class
    after it), next_prob (percent), margin (percentage points between the two)

    Raises
    ------
    ParameterError  if it is neither a class nor a category
    """
    if name not in explorer.items:
        raise ParameterError(
            f'"{name}" is not a class or category; there are {", ".join(explorer.items)}.'
        )
    classes, prob = explorer.probabilities.columns, explorer.probabilities.to_numpy()
    names, rows = classes.to_numpy(object), np.arange(len(prob))
    top = classes.get_indexer(explorer.images["top"])
    others = prob.copy()
    others[rows, top] = -np.inf
    after = others.argmax(axis=1)
    found = explorer.images.drop(columns="top").assign(
        answer=names[top],
        prob=100 * prob[rows, top],
        next=names[after],
        next_prob=100 * prob[rows, after],
        margin=100 * (prob[rows, top] - prob[rows, after]),
    )
    found = found[found["answer"].isin(explorer.class_set.categories.get(name, [name]))]
    return found.sort_values("margin", ascending=False, kind="stable", ignore_index=True)


def listed(explorer, name: str) -> str:
    """Those called `name` as an HTML table, the first `LISTED`."""
    found = called(explorer, name)
    numbers = {c: [number(v) for v in found[c][:LISTED]] for c in ("prob", "next_prob", "margin")}
    heads = {"prob": "%", "next_prob": "its %", "margin": "margin, points"}
    columns = ["image_id", *explorer.groups, "answer", "prob", "next", "next_prob", "margin"]
    cells = [numbers.get(c, found[c][:LISTED].astype(str).tolist()) for c in columns]
    values = {
        i: [f"{v:.6g}" for v in found[c][:LISTED]] for i, c in enumerate(columns) if c in numbers
    }
    grid = Grid([heads.get(c, c) for c in columns], list(zip(*cells, strict=True)), values, 1)
    said = f"{len(found):,} of {len(explorer.images):,} images called {name}, those with the largest margin first"
    said += f"; the first {LISTED}." if len(found) > LISTED else "."
    return render("table", table=grid.about(), caption=said, id="")
