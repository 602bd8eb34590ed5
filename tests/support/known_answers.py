"""Per-image answers of the known runs, planted from their published counts."""

import csv
from itertools import chain

import numpy as np
import pandas as pd

from clipeval.paths import DATA

RACES = (
    "White",
    "Black",
    "Latino_Hispanic",
    "East Asian",
    "Southeast Asian",
    "Indian",
    "Middle Eastern",
)


def published_counts(known: str) -> dict[str, dict[tuple[str, str], int]]:
    """Grouping -> (group, predicted) -> images, read from the file without the package."""
    found: dict = {}
    with (DATA / "published" / "replication_confusion.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["known"] == known:
                cell = row["group"], row["predicted"]
                found.setdefault(row["grouping"], {})[cell] = int(row["count"])
    return found


def planted_answers(known: str, seed: int = 0) -> pd.DataFrame:
    """One row an image: image_id, race, gender, label; its counts are those of the known run.

    Which women were called what is known by gender or by race alone: both tables hold, the rest is
    drawn. Without a table by gender half of each race's images are women, called as such.
    """
    counts = published_counts(known)
    images = pd.DataFrame(
        list(chain(*([cell] * n for cell, n in counts["race"].items()))),
        columns=["race", "named"],
    )
    images = images.sample(frac=1, random_state=seed, ignore_index=True)
    of_race = images["named"].isin(RACES)
    if "gender" not in counts:
        images["gender"] = np.resize(["Female", "Male"], len(images))
        said = images["gender"].copy()
    else:
        by_gender = counts["gender"]
        kind = images["named"].where(~of_race, "a race")
        images["gender"], said = "", pd.Series("", index=images.index)
        for name, rows in kind.groupby(kind).groups.items():
            classes = ["Female", "Male"] if name == "a race" else [name]
            cells = [(g, c, by_gender[g, c]) for g in ("Female", "Male") for c in classes]
            images.loc[rows, "gender"] = list(chain(*([g] * n for g, _, n in cells)))
            said[rows] = list(chain(*([c] * n for _, c, n in cells)))
    images["label"] = images["named"].where(~of_race, images["named"] + "_" + said)
    images.insert(0, "image_id", [f"val/{i + 1}" for i in range(len(images))])
    return images.drop(columns="named")
