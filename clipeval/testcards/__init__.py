"""Test cards: the embedded default. They calibrate the instrument and depict nobody.

A demo set is drawn so that what a faultless pipeline must measure is known; each one replays what the
paper published. `load_cards` returns its images table, `load_planted` the truth.
"""

import os
from pathlib import Path

import pandas as pd

from clipeval.errors import ParameterError
from clipeval.models.testcard import load_testcard_model, testcard_info
from clipeval.paths import DATA
from clipeval.testcards.planting import write_deck

__all__ = [
    "DECKS",
    "load_cards",
    "load_extra",
    "load_planted",
    "load_testcard_model",
    "testcard_info",
]

#: study -> the module of this package that draws its cards
DECKS = {
    "fairface": "fairface",
    "denigration": "fairface",
    "class_design": "fairface",
    "congress": "congress",
    "cctv": "cctv",
    "celebrities": "celebrities",
    "sensitivity": "fairface",
}


def _folder(study: str, split: str) -> Path:
    from importlib import import_module

    if study not in DECKS:
        raise ParameterError(
            f'there are no test cards for "{study}"; there are for {", ".join(DECKS)}.'
        )
    module = import_module(f"clipeval.testcards.{DECKS[study]}")
    draw = getattr(module, f"draw_{split}", None)
    if draw is None:
        raise ParameterError(f'the test cards of {study} have no split "{split}"; name val.')
    return write_deck(
        f"{DECKS[study]}-{split}",
        draw,
        [module.__file__, *(DATA / name for name in module.SOURCES)],
    )


def load_cards(data: str = "", *, study: str = "fairface", split: str = "val") -> pd.DataFrame:
    """Images table of a study's test cards, drawn at first use and kept in the cache.

    Parameters
    ----------
    study : one of `DECKS`
    split : "val", for FairFace also "train"

    Returns
    -------
    DataFrame with the columns of the data set that the cards stand for; `attrs["planted"]` is the
    folder of the planted truth
    """
    from clipeval.datasets.base import finish

    if data:
        raise ParameterError(
            "dataset testcards draws its own cards and takes no data folder; "
            "name the data set that the folder holds (see `clipeval list datasets`)."
        )
    folder = _folder(study, split)
    table = pd.read_parquet(folder / "cards.parquet")
    start = f"{folder}{os.sep}"
    table.insert(1, "file", [start + image_id for image_id in table["image_id"]])
    orders = {}
    if DECKS[study] == "fairface":
        from clipeval.datasets.fairface import AGES, GENDERS, RACES

        orders = {"age": AGES, "gender": GENDERS, "race": RACES}
    elif "gender" in table:
        orders = {"gender": ("Male", "Female")}
    for column, order in orders.items():
        table[column] = pd.Categorical(table[column], categories=order, ordered=True)
    table = finish(
        table,
        name="test cards",
        groups=list(orders),
        version=f"{DECKS[study]} deck, {len(table):,} cards",
        licence="MIT",
        terms="Made by this package.",
        labels="Groups are those of the data set that the cards stand for; cards depict nobody.",
    )
    table.attrs["planted"] = str(folder)
    return table


def load_planted(images: pd.DataFrame) -> pd.DataFrame | None:
    """Planted top-1 predictions of these cards, with their group columns; None for photographs."""
    folder = images.attrs.get("planted")
    if not folder:
        return None
    planted = pd.read_parquet(Path(folder) / "planted.parquet")
    groups = images[["image_id", *images.attrs["groups"]]]
    return planted.merge(groups, on="image_id", how="inner", validate="many_to_one")


def load_extra(images: pd.DataFrame, name: str) -> pd.DataFrame:
    """A further table of a deck, such as planted shares or the labels on offer."""
    return pd.read_parquet(Path(images.attrs["planted"]) / f"{name}.parquet")
